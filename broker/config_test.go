package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

func TestValidateReportsAll(t *testing.T) {
	scram := broker.ScramSHA256(nil)
	cfg := broker.Config{
		MaximumQoS: 7, TopicAliasMaximum: 70000, MaximumPacketSize: 5, ServerKeepAlive: time.Millisecond,
		SessionExpiryMaximum: time.Second / 2, MaxInflight: 100_000, ResponseInformation: "\x00",
		ServerReference: "\xff", SysInterval: time.Millisecond, AuthMethods: []broker.AuthMethod{nil, scram, scram},
	}
	err := cfg.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, field := range []string{
		"MaximumQoS", "TopicAliasMaximum", "MaximumPacketSize", "ServerKeepAlive", "SessionExpiryMaximum",
		"MaxInflight", "ResponseInformation", "ServerReference", "SysInterval", "AuthMethods[0]", "AuthMethods[2]",
	} {
		if !strings.Contains(err.Error(), field+": ") {
			t.Errorf("%s is not reported in:\n%v", field, err)
		}
	}
	if strings.Contains(err.Error(), "AuthMethods[1]") {
		t.Error("a good method is reported")
	}
	b := broker.New(cfg)
	defer b.Close()
	if _, err := b.Listen("mqtt://127.0.0.1:0"); err == nil {
		t.Error("a broker with a bad configuration listens")
	}
	if err := (&broker.Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
}

// manualClock stands still until it is told to move.
type manualClock struct {
	mu     sync.Mutex // guards all below
	now    time.Time
	timers []*manualTimer
}

type manualTimer struct {
	c  *manualClock
	at time.Time
	f  func()
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) AfterFunc(d time.Duration, f func()) broker.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &manualTimer{c, c.now.Add(d), f}
	c.timers = append(c.timers, t)
	return t
}

func (t *manualTimer) Stop() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	n := len(t.c.timers)
	t.c.timers = slices.DeleteFunc(t.c.timers, func(o *manualTimer) bool { return o == t })
	return len(t.c.timers) < n
}

// move lets time pass and runs what is due.
func (c *manualClock) move(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	var due []*manualTimer
	c.timers = slices.DeleteFunc(c.timers, func(t *manualTimer) bool {
		if t.at.After(c.now) {
			return false
		}
		due = append(due, t)
		return true
	})
	c.mu.Unlock()
	for _, t := range due {
		t.f()
	}
}

func TestClockIsInjected(t *testing.T) {
	clock := &manualClock{now: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}
	srv := newMem(t, broker.Config{Clock: clock})
	watch, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "watch"})
	watch.subscribe("w", 0)
	p := expiring("c", 20)
	p.KeepAlive, p.HasWill, p.Will.Topic = 10, true, "w"
	p.Will.Props.SetUint(codec.PropWillDelay, 10)
	c, _ := connect(t, srv, codec.V5, p)
	clock.move(14 * time.Second)
	c.fence()
	clock.move(14 * time.Second)
	c.fence()
	clock.move(16 * time.Second)
	c.closed(codec.KeepAliveTimeout)
	eventually(t, func() bool { return srv.Stats().Connections == 1 })
	clock.move(9 * time.Second)
	watch.fence()
	clock.move(time.Second)
	watch.expect(&codec.Publish{Topic: "w"})
	if n := srv.Stats().Sessions; n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
	clock.move(11 * time.Second)
	if n := srv.Stats().Sessions; n != 1 {
		t.Errorf("%d sessions after the expiry, want 1", n)
	}
}

func TestBounds(t *testing.T) {
	srv := newMem(t, broker.Config{MaxSessions: 2, MaxRetained: 2, MaxSubscriptions: 2})
	c, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "a"})
	c.send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "a"}, {Filter: "b"}, {Filter: "c"}, {Filter: "a"}}})
	c.expect(&codec.Suback{PacketID: 1, Reasons: []codec.ReasonCode{0, 0, codec.QuotaExceeded, 0}})
	for i := range 3 {
		m := text(fmt.Sprint("r/", i), "x", 0, 0)
		m.Retain = true
		c.send(m)
	}
	c.fence()
	if st := srv.Stats(); st.Retained != 2 || st.Refused != 1 || st.Subscriptions != 2 {
		t.Errorf("%+v", st)
	}
	connect(t, srv, codec.V4, &codec.Connect{ClientID: "b", CleanStart: true})
	d := newClient(t, srv.Mem(), codec.V5)
	d.send(&codec.Connect{ClientID: "c"})
	d.expect(&codec.Connack{Reason: codec.QuotaExceeded, Props: props(func(p *codec.Properties) {
		p.SetText(codec.PropReasonString, "the server has as many sessions as it may have")
	})})
	d.closed()
	// A session that is there may be taken over.
	connect(t, srv, codec.V5, &codec.Connect{ClientID: "a"})
}

func TestWildcardUnavailable311(t *testing.T) {
	srv := newMem(t, broker.Config{WildcardUnavailable: true, MaximumQoS: broker.UpToQoS1})
	c, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "a", CleanStart: true})
	c.send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "a/+"}, {Filter: "b", QoS: 2}}})
	c.expect(&codec.Suback{PacketID: 1, Reasons: []codec.ReasonCode{codec.SubackFailure, 1}}) // [MQTT-3.8.3-2]
	c.send(text("b", "", 2, 1))
	c.closed()
}

// Publishers that flood without a window are held back; nothing is lost.
func TestFloodIsNotLost(t *testing.T) {
	srv := newServer(t, broker.Config{OutboundBytes: 64 << 10, SlowQoS0: time.Minute})
	sub := dial(t, srv.URL, codec.V4)
	sub.send(&codec.Connect{ClientID: "sub", CleanStart: true})
	sub.connack()
	sub.subscribe("#", 0)
	const pubs, n = 8, 5000
	for i := range pubs {
		pub := dial(t, srv.URL, codec.V4)
		pub.send(&codec.Connect{ClientID: fmt.Sprint(i), CleanStart: true})
		pub.connack()
		b := burst(fmt.Sprint("t/", i), 0, n)
		go func() { _, _ = pub.nc.Write(b) }()
	}
	for range pubs * n {
		if p := sub.recv(); p.Type() != codec.TypePublish {
			t.Fatalf("got %v", p.Type())
		}
	}
	if st := srv.Stats(); st.DroppedQoS0 != 0 {
		t.Errorf("%d dropped", st.DroppedQoS0)
	}
}

// A message that is only passed on costs no allocation.
func TestDeliveryDoesNotAllocate(t *testing.T) {
	for qos := codec.QoS(0); qos <= 1; qos++ {
		srv := newMem(t, broker.Config{})
		sub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "sub", CleanStart: true})
		sub.subscribe("a/b/c", qos)
		pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true})
		const n = 500
		b := burst("a/b/c", qos, n)
		in, acks := make([]byte, len(b)), make([]byte, 4*n)
		ping, pong := []byte{0xC0, 0}, make([]byte, 2)
		for i := range n {
			copy(acks[4*i:], []byte{0x40, 2, byte((i + 1) >> 8), byte(i + 1)})
		}
		fill := func(c *client, b []byte) {
			for got := 0; got < len(b); {
				k, err := c.nc.Read(b[got:])
				if err != nil {
					t.Fatal(err)
				}
				got += k
			}
		}
		_ = sub.nc.SetReadDeadline(time.Time{})
		_ = pub.nc.SetReadDeadline(time.Time{})
		allocs := testing.AllocsPerRun(50, func() {
			if _, err := pub.nc.Write(b); err != nil {
				t.Fatal(err)
			}
			fill(sub, in)
			if qos == 1 {
				// The identifiers of the copies are read back from the packets themselves.
				for i := range n {
					f := in[i*len(in)/n:]
					copy(acks[4*i+2:], f[4+5:4+7])
				}
				if _, err := sub.nc.Write(acks); err != nil {
					t.Fatal(err)
				}
				fill(pub, acks)
				if _, err := sub.nc.Write(ping); err != nil { // else the next burst may find the window full of this one
					t.Fatal(err)
				}
				fill(sub, pong)
			}
		})
		t.Logf("QoS %d: %.3f allocations per message", qos, allocs/n)
		if allocs/n > 0.1 && !raceEnabled { // batches cost some: a writer's goroutine, a split packet
			t.Errorf("QoS %d: %.3f allocations per message", qos, allocs/n)
		}
	}
}
