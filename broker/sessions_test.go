package broker_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

// expiring is a CONNECT with a Session Expiry Interval.
func expiring(id string, seconds uint32) *codec.Connect {
	p := &codec.Connect{ClientID: id}
	p.Props.SetUint(codec.PropSessionExpiry, seconds)
	return p
}

func TestSessionExpiry(t *testing.T) {
	tests := []struct {
		name    string
		cfg     broker.Config
		connect uint32
		leave   codec.Packet // nil: the connection is cut
		away    time.Duration
		present bool
	}{
		{name: "none", connect: 0},
		{name: "within", connect: 10, away: 9 * time.Second, present: true},
		{name: "passed [MQTT-4.1.0-2]", connect: 10, away: 11 * time.Second},
		{name: "never", connect: 0xFFFFFFFF, away: 20 * 365 * 24 * time.Hour, present: true},
		{name: "bounded", cfg: broker.Config{SessionExpiryMaximum: 5 * time.Second}, connect: 0xFFFFFFFF, away: 6 * time.Second},
		{name: "none kept", cfg: broker.Config{SessionExpiryMaximum: -1}, connect: 100},
		{name: "kept by DISCONNECT", connect: 10, leave: &codec.Disconnect{}, away: 9 * time.Second, present: true},
		{name: "shortened by DISCONNECT", connect: 100, leave: &codec.Disconnect{Props: props(func(p *codec.Properties) { p.SetUint(codec.PropSessionExpiry, 0) })}},
		{name: "lengthened by DISCONNECT", connect: 5, leave: &codec.Disconnect{Props: props(func(p *codec.Properties) { p.SetUint(codec.PropSessionExpiry, 100) })}, away: 50 * time.Second, present: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newMem(t, tt.cfg)
				c, k := connect(t, srv, codec.V5, expiring("c", tt.connect))
				if k.SessionPresent { // [MQTT-3.2.2-3]
					t.Error("a new session is present")
				}
				c.subscribe("t", 1)
				advance(time.Minute) // only absence counts [MQTT-4.1.0-1]
				c.fence()
				if tt.leave != nil {
					c.send(tt.leave)
					c.closed()
				}
				_ = c.nc.Close()
				advance(tt.away)
				synctest.Wait()
				c, k = connect(t, srv, codec.V5, expiring("c", 10))
				if k.SessionPresent != tt.present {
					t.Errorf("session present %v, want %v", k.SessionPresent, tt.present)
				}
				c.send(text("t", "x", 0, 0))
				if tt.present {
					c.expect(text("t", "x", 0, 0))
				}
				c.fence()
			})
		})
	}
}

func TestCleanSession311(t *testing.T) {
	srv := newMem(t, broker.Config{})
	for i, step := range []struct{ clean, present bool }{
		{false, false}, {false, true}, {true, false}, {false, false}, {false, true},
	} {
		c, k := connect(t, srv, codec.V4, &codec.Connect{ClientID: "c", CleanStart: step.clean})
		if k.SessionPresent != step.present {
			t.Errorf("step %d: session present %v", i, k.SessionPresent)
		}
		c.cut(srv)
	}
}

func TestQueuedWhileAway(t *testing.T) {
	srv := newMem(t, broker.Config{})
	c, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "c"})
	c.subscribe("t", 1)
	c.send(&codec.Disconnect{})
	c.closed()
	pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true})
	for i := range uint16(9) {
		pub.send(text("t", fmt.Sprint(i), codec.QoS(i%3), i))
	}
	pub.send(&codec.Disconnect{})
	for {
		if _, err := pub.tryRecv(patience); err != nil {
			break
		}
	}
	c, _ = connect(t, srv, codec.V4, &codec.Connect{ClientID: "c"})
	id := uint16(0)
	for i := range 9 {
		if i%3 > 0 { // [MQTT-3.1.2-5]
			id++
			c.expect(text("t", fmt.Sprint(i), 1, id))
		}
	}
	c.fence()
}

func TestQueueFullOffline(t *testing.T) {
	srv := newMem(t, broker.Config{QueueMessages: 3})
	c, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "c"})
	c.subscribe("t", 1)
	c.cut(srv)
	pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true})
	for i := range uint16(5) {
		pub.send(text("t", fmt.Sprint(i), 1, i+1))
		pub.expect(&codec.Puback{PacketID: i + 1})
	}
	if n := srv.Stats().Refused; n != 2 {
		t.Errorf("%d refused, want 2", n)
	}
	c, _ = connect(t, srv, codec.V4, &codec.Connect{ClientID: "c"})
	for i := range uint16(3) { // the oldest are kept
		c.expect(text("t", fmt.Sprint(i), 1, i+1))
	}
	c.fence()
}

func TestWill(t *testing.T) {
	leave := func(r codec.ReasonCode) codec.Packet { return &codec.Disconnect{Reason: r} }
	tests := []struct {
		name   string
		v      codec.Version
		expiry uint32
		delay  uint32
		leave  codec.Packet  // nil: cut
		back   time.Duration // 0: does not come back
		clean  bool          // on coming back
		at     time.Duration // when the Will is published; negative: never
	}{
		{name: "cut 3.1.1", v: codec.V4},
		{name: "DISCONNECT 3.1.1 [MQTT-3.14.4-3]", v: codec.V4, leave: leave(0), at: -1},
		{name: "protocol error 3.1.1", v: codec.V4, leave: &codec.Connect{ClientID: "c"}},
		{name: "cut", v: codec.V5, expiry: 100},
		{name: "DISCONNECT 00", v: codec.V5, expiry: 100, delay: 1, leave: leave(0), at: -1},
		{name: "DISCONNECT 04", v: codec.V5, leave: leave(codec.DisconnectWithWillMessage)},
		{name: "delayed", v: codec.V5, expiry: 100, delay: 3, at: 3 * time.Second},
		{name: "session ends first", v: codec.V5, expiry: 2, delay: 50, at: 2 * time.Second},
		{name: "no session, no delay", v: codec.V5, delay: 50},
		{name: "resumed in time [MQTT-3.1.3-9]", v: codec.V5, expiry: 100, delay: 10, back: 5 * time.Second, at: -1},
		{name: "resumed too late", v: codec.V5, expiry: 100, delay: 3, back: 5 * time.Second, at: 3 * time.Second},
		{name: "invalid DISCONNECT", v: codec.V5, leave: &codec.Disconnect{Props: props(func(p *codec.Properties) { p.SetUint(codec.PropSessionExpiry, 9) })}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newMem(t, broker.Config{})
				watch, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "watch"})
				watch.wait = time.Hour
				watch.subscribe("w", 2)
				p := &codec.Connect{ClientID: "c", CleanStart: true, HasWill: true, Will: codec.Will{Topic: "w", Payload: []byte("gone"), QoS: 1}}
				want := text("w", "gone", 1, 1)
				if tt.v == codec.V5 {
					p.Props.SetUint(codec.PropSessionExpiry, tt.expiry)
					p.Will.Props.AddUser("a", "1")
					p.Will.Props.SetUint(codec.PropWillDelay, tt.delay)
					p.Will.Props.AddUser("a", "2")
					p.Will.Props.SetUint(codec.PropMessageExpiry, 60)
					want.Props.AddUser("a", "1") // [MQTT-3.1.3-10]
					want.Props.AddUser("a", "2")
					want.Props.SetUint(codec.PropMessageExpiry, 60)
				}
				c, _ := connect(t, srv, tt.v, p)
				start := time.Now()
				if tt.leave != nil {
					c.send(tt.leave)
					for err := error(nil); err == nil; {
						_, err = c.tryRecv(patience)
					}
				}
				_ = c.nc.Close()
				if tt.back > 0 {
					advance(tt.back)
					connect(t, srv, tt.v, &codec.Connect{ClientID: "c", CleanStart: tt.clean})
				}
				if tt.at >= 0 {
					if tt.back == 0 {
						watch.expect(want)
						if d := time.Since(start).Round(time.Second); d != tt.at {
							t.Errorf("the Will came after %v, want %v", d, tt.at)
						}
					} else {
						watch.expect(want)
					}
				}
				advance(200 * time.Second)
				watch.fence() // [MQTT-3.1.2-10]
			})
		})
	}
}

func TestWillOnTakeover(t *testing.T) {
	for _, delay := range []uint32{0, 5} {
		t.Run(fmt.Sprint(delay), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := newMem(t, broker.Config{})
				watch, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "watch"})
				watch.subscribe("w", 0)
				p := expiring("c", 100)
				p.HasWill, p.Will.Topic = true, "w"
				p.Will.Props.SetUint(codec.PropWillDelay, delay)
				old, _ := connect(t, srv, codec.V5, p)
				_, k := connect(t, srv, codec.V5, expiring("c", 100))
				if !k.SessionPresent {
					t.Error("the session is gone")
				}
				old.closed(codec.SessionTakenOver)
				if delay == 0 {
					watch.expect(&codec.Publish{Topic: "w"})
				}
				advance(time.Minute)
				watch.fence()
			})
		})
	}
}

func TestRetainedWill(t *testing.T) {
	srv := newMem(t, broker.Config{})
	c, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "c", CleanStart: true, HasWill: true, Will: codec.Will{Topic: "w", Payload: []byte("x"), QoS: 1, Retain: true}})
	c.cut(srv)
	sub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "sub", CleanStart: true})
	sub.subscribe("w", 0)
	sub.expect(&codec.Publish{Topic: "w", Payload: []byte("x"), Retain: true}) // [MQTT-3.1.2-17]
}

func TestCloseTellsClients(t *testing.T) {
	srv := newServer(t, broker.Config{})
	five, four := dial(t, srv.URL, codec.V5), dial(t, srv.URL, codec.V4)
	five.send(&codec.Connect{ClientID: "5"})
	five.connack()
	four.send(&codec.Connect{ClientID: "4", CleanStart: true})
	four.connack()
	half := dial(t, srv.URL, codec.V5)
	half.raw([]byte{0x10})
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	five.closed(codec.ServerShuttingDown)
	four.closed()
	half.closed()
	if err := srv.Close(); err != nil { // idempotent
		t.Fatal(err)
	}
	if _, err := srv.Dial(); err != broker.ErrClosed {
		t.Errorf("Dial after Close: %v", err)
	}
	if _, err := srv.Broker.Listen("mqtt://127.0.0.1:0"); err != broker.ErrClosed {
		t.Errorf("Listen after Close: %v", err)
	}
}

func TestShutdownRedirects(t *testing.T) {
	srv := newMem(t, broker.Config{ServerReference: "b.example"})
	c, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "c"})
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := c.recv().(*codec.Disconnect)
	if d.Reason != codec.UseAnotherServer || d.Props.Text(codec.PropServerReference) != "b.example" {
		t.Errorf("DISCONNECT %v %q", d.Reason, d.Props.Text(codec.PropServerReference))
	}
}
