package broker_test

import (
	"net"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

// FuzzConn sends arbitrary bytes after CONNECT. The broker has to survive, all it sends has to
// be well-formed, and other clients must not notice (P-4.13.1-other-sessions).
func FuzzConn(f *testing.F) {
	add := func(v codec.Version, ps ...codec.Packet) {
		var b []byte
		for _, p := range ps {
			b, _ = p.AppendTo(b, v)
		}
		f.Add(byte(v), b)
	}
	sub := &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "t/#", QoS: 2}, {Filter: "#", QoS: 1}}}
	for _, v := range versions {
		add(v, sub, text("t", "x", 2, 1), &codec.Pubrel{PacketID: 1}, &codec.Pubrec{PacketID: 1}, &codec.Pubcomp{PacketID: 1})
		add(v, sub, text("t/a", "x", 1, 1), &codec.Puback{PacketID: 1}, &codec.Unsubscribe{PacketID: 2, Filters: []string{"#"}}, &codec.Disconnect{})
		kept := text("t/r", "kept", 1, 3)
		kept.Retain = true
		add(v, kept, sub, &codec.Pingreq{}, &codec.Connect{ClientID: "again"})
	}
	five := text("t", "x", 1, 4)
	five.Props.SetUint(codec.PropTopicAlias, 3)
	five.Props.SetUint(codec.PropMessageExpiry, 9)
	five.Props.AddUser("a", "b")
	again := &codec.Publish{QoS: 1, PacketID: 5}
	again.Props.SetUint(codec.PropTopicAlias, 3)
	add(codec.V5, &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "$share/g/t", QoS: 2, RetainAsPublished: true}}}, five, again)

	f.Fuzz(func(t *testing.T, version byte, data []byte) {
		v := codec.V4
		if version%3 == 1 {
			v = codec.V5
		}
		srv := newMem(t, broker.Config{AckProperties: version&64 != 0})
		other, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "other", CleanStart: true})
		nc := srv.Mem()
		c := newClient(t, nc, v)
		c.send(&codec.Connect{ClientID: "fuzz", CleanStart: true})
		c.connack()
		done := make(chan error, 1)
		go func() { done <- drain(c) }()
		_ = nc.SetWriteDeadline(time.Now().Add(patience))
		_, _ = nc.Write(data)
		_ = nc.(interface{ CloseWrite() error }).CloseWrite()
		if err := <-done; err != nil {
			t.Fatalf("the broker sends what is malformed: %v", err)
		}
		other.subscribe("only/mine", 1)
		other.send(text("only/mine", "x", 1, 9))
		other.expect(text("only/mine", "x", 1, 1), &codec.Puback{PacketID: 9})
		if err := srv.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// drain decodes all that comes and answers nothing.
func drain(c *client) error {
	for {
		_ = c.nc.SetReadDeadline(time.Now().Add(patience))
		frame, err := c.r.Next()
		if err != nil {
			if _, ok := err.(net.Error); ok {
				return err
			}
			return nil
		}
		if _, err := c.dec.Decode(frame); err != nil {
			return err
		}
	}
}
