package broker_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newMem starts a broker that overwrites frames it is done with.
func newMem(t testing.TB, cfg broker.Config) *brokertest.Server {
	t.Helper()
	srv := brokertest.NewMem(t, cfg)
	broker.Poison(srv.Broker)
	return srv
}

// newServer is newMem with a TCP listener.
func newServer(t testing.TB, cfg broker.Config) *brokertest.Server {
	t.Helper()
	srv := newMem(t, cfg)
	srv.URL = srv.Listen("mqtt://127.0.0.1:0")
	return srv
}

// patience bounds the wait for what has to come.
const patience = time.Minute

// client speaks MQTT packet by packet.
type client struct {
	t    testing.TB
	nc   net.Conn
	v    codec.Version
	r    *codec.Reader
	dec  codec.Decoder
	next uint16
	wait time.Duration // for what has to come; more than any timer inside a bubble
}

func newClient(t testing.TB, nc net.Conn, v codec.Version) *client {
	t.Cleanup(func() { _ = nc.Close() })
	return &client{
		t: t, nc: nc, v: v, r: codec.NewReader(nc, 0), wait: patience,
		dec: codec.Decoder{Version: v, From: codec.Server},
	}
}

// dial opens a connection to the URL.
func dial(t testing.TB, url string, v codec.Version) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	nc, err := (&transport.Dialer{}).Dial(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, nc, v)
}

// connect opens a connection in memory and has CONNECT accepted.
func connect(t testing.TB, srv *brokertest.Server, v codec.Version, p *codec.Connect) (*client, *codec.Connack) {
	t.Helper()
	c := newClient(t, srv.Mem(), v)
	c.send(p)
	return c, c.connack()
}

func (c *client) connack() *codec.Connack {
	c.t.Helper()
	k, ok := c.recv().(*codec.Connack)
	if !ok || k.Reason != codec.Success {
		c.t.Fatalf("not accepted: %v", k)
	}
	return k
}

func (c *client) send(ps ...codec.Packet) {
	c.t.Helper()
	var b []byte
	for _, p := range ps {
		var err error
		if b, err = p.AppendTo(b, c.v); err != nil {
			c.t.Fatalf("encode %v: %v", p.Type(), err)
		}
	}
	c.raw(b)
}

func (c *client) raw(b []byte) {
	c.t.Helper()
	_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// recv returns the next packet.
func (c *client) recv() codec.Packet {
	c.t.Helper()
	p, err := c.tryRecv(c.wait)
	if err != nil {
		c.t.Fatalf("no packet: %v", err)
	}
	return p
}

func (c *client) tryRecv(d time.Duration) (codec.Packet, error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(d))
	frame, err := c.r.Next()
	if err != nil {
		return nil, err
	}
	p, err := c.dec.Decode(frame)
	if err != nil {
		return nil, err
	}
	return codec.Clone(p), nil
}

// expect compares the next packets with those given.
func (c *client) expect(want ...codec.Packet) {
	c.t.Helper()
	for _, w := range want {
		got := c.recv()
		if diff := cmp.Diff(w, got, cmp.Comparer(equalProps), cmp.Comparer(bytes.Equal), cmp.Comparer(slices.Equal[[]codec.ReasonCode])); diff != "" {
			c.t.Fatalf("packet differs (-want +got):\n%s", diff)
		}
	}
}

func equalProps(a, b codec.Properties) bool { return string(a.Raw()) == string(b.Raw()) }

// fence proves that nothing else is on its way: PINGRESP is the next packet.
func (c *client) fence() {
	c.t.Helper()
	c.send(&codec.Pingreq{})
	c.expect(&codec.Pingresp{})
}

// closed expects the end of the connection, after a DISCONNECT with the reason where one is
// given.
func (c *client) closed(reason ...codec.ReasonCode) {
	c.t.Helper()
	for _, r := range reason {
		d, ok := c.recv().(*codec.Disconnect)
		if !ok || d.Reason != r {
			c.t.Fatalf("got %v, want DISCONNECT 0x%02X", d, uint8(r))
		}
	}
	p, err := c.tryRecv(c.wait)
	if err == nil {
		c.t.Fatalf("got %v, want the end of the connection", p.Type())
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection is still open")
	}
	if !errors.Is(err, io.EOF) && !isReset(err) {
		c.t.Fatalf("unexpected end: %v", err)
	}
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed)
}

// subscribe subscribes and expects the grant.
func (c *client) subscribe(filter string, qos codec.QoS) {
	c.t.Helper()
	c.subscribeWith(codec.Subscription{Filter: filter, QoS: qos}, 0)
}

func (c *client) subscribeWith(s codec.Subscription, id uint32) {
	c.t.Helper()
	c.next++
	p := &codec.Subscribe{PacketID: c.next, Filters: []codec.Subscription{s}}
	if id != 0 {
		p.Props.SetUint(codec.PropSubscriptionID, id)
	}
	c.send(p)
	c.expect(&codec.Suback{PacketID: c.next, Reasons: []codec.ReasonCode{codec.ReasonCode(s.QoS)}})
}

// props builds properties in a literal.
func props(f func(p *codec.Properties)) codec.Properties {
	var p codec.Properties
	f(&p)
	return p
}

// advance lets the clock of a synctest bubble pass.
func advance(d time.Duration) { <-time.After(d) }

// cut ends the connection without DISCONNECT and returns when the broker has noticed.
func (c *client) cut(srv *brokertest.Server) {
	c.t.Helper()
	n := srv.Stats().Connections
	_ = c.nc.Close()
	eventually(c.t, func() bool { return srv.Stats().Connections == n-1 })
}

// eventually waits for what has no event of its own.
func eventually(t testing.TB, f func() bool) {
	t.Helper()
	over := time.After(patience)
	for !f() {
		select {
		case <-over:
			t.Fatal("it does not happen")
		case <-time.After(time.Millisecond):
		}
	}
}
