package client_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/mqlab/mqlab/client"
	"github.com/mqlab/mqlab/client/store"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/packetgen"
	"github.com/mqlab/mqlab/internal/transport"
)

// FuzzServer lets the server send arbitrary bytes after CONNACK. The client has to end, and all it sends until
// then has to be well-formed.
func FuzzServer(f *testing.F) {
	add := func(flags byte, v codec.Version, ps ...codec.Packet) {
		var b []byte
		for _, p := range ps {
			b, _ = p.AppendTo(b, v)
		}
		f.Add(flags, b)
	}
	for i, v := range versions {
		add(byte(i), v, &codec.Suback{PacketID: 1, Reasons: []codec.ReasonCode{1}}, &codec.Puback{PacketID: 2}, &codec.Pubrec{PacketID: 3},
			&codec.Pubcomp{PacketID: 3}, publish(1, 1, "a"), publish(2, 2, "a"), &codec.Pubrel{PacketID: 2}, &codec.Pingresp{})
		add(byte(i)|4, v, publish(7, 2, "a"), publish(7, 2, "a"), &codec.Pubrel{PacketID: 7}, &codec.Pubrec{PacketID: 2}, &codec.Puback{PacketID: 3})
	}
	alias := publish(0, 0, "a")
	alias.Props.SetUint(codec.PropTopicAlias, 1)
	again := publish(0, 0, "")
	again.Props.SetUint(codec.PropTopicAlias, 1)
	add(2, codec.V5, alias, again, &codec.Disconnect{Reason: codec.ServerMoved})
	for _, v := range packetgen.Vectors(f) {
		f.Add(byte(2), v.Frame)
	}

	f.Fuzz(func(t *testing.T, flags byte, data []byte) {
		v := versions[flags%3%byte(len(versions))]
		ours, theirs := transport.Pipe()
		cfg := client.Config{
			Version: v, ClientID: "fuzz", SessionExpiry: time.Hour, KeepAlive: -1, ManualAck: flags&8 != 0,
			Dial:      func(context.Context) (net.Conn, error) { return ours, nil },
			Reconnect: client.Reconnect{Off: true},
			Handler:   func(m *client.Message) { m.Ack() },
		}
		if flags&4 != 0 {
			cfg.Store = store.Memory()
		}
		drained := make(chan error, 1)
		go func() { drained <- drain(theirs, v) }()
		k, _ := (&codec.Connack{}).AppendTo(nil, v)
		_ = theirs.SetWriteDeadline(time.Now().Add(time.Minute))
		go func() {
			_, _ = theirs.Write(append(k, data...))
			_ = theirs.(interface{ CloseWrite() error }).CloseWrite()
		}()
		c, err := client.Connect(within(t), "fuzz", cfg)
		if err != nil {
			t.Fatalf("a good CONNACK is not taken: %v", err)
		}
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			_, _ = c.Subscribe(context.Background(), nil, client.Subscription{Filter: "a", QoS: 1})
		}()
		for q := range codec.QoS(3) {
			_, _ = c.PublishAsync(context.Background(), client.Message{Topic: "a", QoS: q, Payload: []byte("x")})
		}
		wait(t, "the end of the client", c.Done())
		wait(t, "the end of a request", asked)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if err := <-drained; err != nil {
			t.Errorf("the client sends what is malformed: %v", err)
		}
		_ = theirs.Close()
	})
}

// drain decodes all that the client sends.
func drain(nc net.Conn, v codec.Version) error {
	r := codec.NewReader(nc, 0)
	d := codec.Decoder{Version: v, From: codec.Client}
	for {
		_ = nc.SetReadDeadline(time.Now().Add(time.Minute))
		frame, err := r.Next()
		if err != nil {
			if e, ok := errors.AsType[*codec.Error](err); ok {
				return e
			}
			return nil
		}
		if _, err := d.Decode(frame); err != nil {
			return err
		}
	}
}
