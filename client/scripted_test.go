package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/client"
	"github.com/mqlab/mqlab/client/store"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/internal/transport"
)

// script is a server of which every packet is chosen by the test.
type script struct {
	t       *testing.T
	version codec.Version
	conns   chan *peer.Conn
}

func newScript(t *testing.T, v codec.Version) *script {
	return &script{t, v, make(chan *peer.Conn, 100)}
}

func (s *script) dial(context.Context) (net.Conn, error) {
	a, b := transport.Pipe()
	s.conns <- peer.New(b, peer.Config{Version: s.version, Remote: codec.Client})
	return a, nil
}

// accept waits for the next connection and answers its CONNECT.
func (s *script) accept(k *codec.Connack) (*peer.Conn, *codec.Connect) {
	s.t.Helper()
	c := <-s.conns
	s.t.Cleanup(func() { _ = c.Close() })
	p := take[*codec.Connect](s.t, c)
	if err := c.Send(k); err != nil {
		s.t.Error(err)
	}
	return c, p
}

// take waits for a packet of the type, which must be the next one but for PINGREQ.
func take[P codec.Packet](t *testing.T, c *peer.Conn) P {
	t.Helper()
	var zero P
	e, err := c.Await(time.Minute, func(e *peer.Event) bool { return e.Packet != nil && e.Packet.Type() != codec.TypePingreq })
	if err != nil {
		t.Fatalf("no %s came: %v", zero.Type(), err)
	}
	p, ok := e.Packet.(P)
	if !ok {
		t.Fatalf("%s came instead of %s", codec.Describe(e.Packet, c.Version()), zero.Type())
	}
	return p
}

func (s *script) send(c *peer.Conn, ps ...codec.Packet) {
	s.t.Helper()
	for _, p := range ps {
		if err := c.Send(p); err != nil {
			s.t.Fatal(err)
		}
	}
}

// start connects a client to the script, and returns both ends.
func (s *script) start(cfg client.Config, k *codec.Connack) (*client.Client, *peer.Conn) {
	s.t.Helper()
	cfg.Dial, cfg.Offline, cfg.Version = s.dial, true, s.version
	c, err := client.Connect(s.t.Context(), "test", cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	p, _ := s.accept(k)
	synctest.Wait()
	return c, p
}

func publish(id uint16, q codec.QoS, topic string) *codec.Publish {
	return &codec.Publish{Topic: topic, QoS: q, PacketID: id, Payload: []byte("x")}
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, codec.V5)
		over := make(chan error, 1)
		k := &codec.Connack{}
		k.Props.SetUint(codec.PropServerKeepAlive, 40)
		c, p := s.start(client.Config{KeepAlive: 5 * time.Second, OnDisconnect: func(_ *client.Client, err error) { over <- err }}, k)
		ping := func(e *peer.Event) bool { return e.Packet != nil && e.Packet.Type() == codec.TypePingreq }
		begin := time.Now()
		for i := range 10 {
			if _, err := p.Await(40*time.Second, ping); err != nil {
				t.Fatalf("PINGREQ %d: %v", i, err)
			}
			s.send(p, &codec.Pingresp{})
			synctest.Wait()
		}
		if took := time.Since(begin); took < 350*time.Second {
			t.Errorf("10 PINGREQ within %s, though the server says 40 s", took)
		}
		// Messages sent count as a sign of life of ours, and not of the peer's.
		for range 5 {
			if err := c.Publish(t.Context(), client.Message{Topic: "a"}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
		}
		if _, err := p.Await(time.Second, ping); err != nil {
			t.Errorf("no PINGREQ while nothing came back: %v", err)
		}
		if err := <-over; !errors.Is(err, client.ErrDead) {
			t.Errorf("the connection ended for %v", err)
		}
		s.accept(&codec.Connack{})
	})
}

func TestNoKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, codec.V4)
		_, p := s.start(client.Config{KeepAlive: -1}, &codec.Connack{})
		if e, err := p.Await(24*time.Hour, func(*peer.Event) bool { return true }); err == nil {
			t.Errorf("%+v came", e)
		}
	})
}

// A handler that takes its time costs neither memory nor the connection.
func TestSlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, codec.V4)
		slow := make(chan struct{})
		got := 0
		done := make(chan struct{})
		const total = 5000
		c, p := s.start(client.Config{
			KeepAlive: 10 * time.Second, Inbound: client.Bound{Messages: 10},
			Handler: func(*client.Message) {
				<-slow
				if got++; got == total {
					close(done)
				}
			},
		}, &codec.Connack{})
		go func() {
			_ = p.NetConn().SetWriteDeadline(time.Time{})
			b, _ := publish(0, 0, "flood/"+strings.Repeat("x", 100)).AppendTo(nil, codec.V4)
			for range total {
				if _, err := p.NetConn().Write(b); err != nil {
					return
				}
			}
		}()
		for i := range 20 {
			if _, err := p.Await(10*time.Second, func(e *peer.Event) bool { return e.Packet != nil && e.Packet.Type() == codec.TypePingreq }); err != nil {
				t.Fatalf("PINGREQ %d: %v", i, err)
			}
		}
		if n := c.Stats().Undelivered; n > 10 {
			t.Errorf("%d messages wait, the bound is 10", n)
		}
		close(slow)
		<-done
		if st := c.Stats(); st.Connects != 1 || st.Dropped != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A handler that publishes needs the acknowledgement behind the flood that it holds up.
func TestPublishFromHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, codec.V4)
		done := make(chan error, 1)
		var c *client.Client
		ready := make(chan struct{})
		first := true
		c, p := s.start(client.Config{
			Inbound: client.Bound{Messages: 5},
			Handler: func(*client.Message) {
				<-ready
				if first {
					first = false
					done <- c.Publish(t.Context(), client.Message{Topic: "answer", QoS: 1})
				}
			},
		}, &codec.Connack{})
		close(ready)
		for range 50 {
			s.send(p, publish(0, 0, "flood"))
		}
		s.send(p, &codec.Puback{PacketID: take[*codec.Publish](t, p).PacketID})
		if err := <-done; err != nil {
			t.Error(err)
		}
		if st := c.Stats(); st.Dropped == 0 {
			t.Errorf("nothing was dropped: %+v", st)
		}
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		begin := time.Now()
		c, err := client.Connect(t.Context(), "test", client.Config{
			Offline: true,
			Dial: func(context.Context) (net.Conn, error) {
				at = append(at, time.Since(begin))
				return nil, errors.New("no route")
			},
			Reconnect: client.Reconnect{Min: time.Second, Max: 10 * time.Second, Jitter: 0.5, Attempts: 7, Rand: func() float64 { return 0.5 }},
		})
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
		var gaps []time.Duration
		for i := range at[1:] {
			gaps = append(gaps, at[i+1]-at[i])
		}
		ms := time.Millisecond
		if diff := cmp.Diff([]time.Duration{1500 * ms, 3000 * ms, 6000 * ms, 7500 * ms, 7500 * ms, 7500 * ms}, gaps); diff != "" {
			t.Error(diff)
		}
		if c.Err() == nil || c.Err().Error() != "no route" {
			t.Errorf("ended for %v", c.Err())
		}
	})
}

func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, codec.V5)
		begin := time.Now()
		_, err := client.Connect(t.Context(), "test", client.Config{Dial: s.dial, ConnectTimeout: 3 * time.Second})
		if err == nil || !strings.Contains(err.Error(), "did not answer CONNECT in time") || time.Since(begin) != 3*time.Second {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
		_ = (<-s.conns).Close()
	})
}

func TestResubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, codec.V5)
		lost := make(chan error, 1)
		c, p := s.start(client.Config{SessionExpiry: time.Hour, OnError: func(err error) { lost <- err }}, &codec.Connack{})
		subscribe := func(reasons ...codec.ReasonCode) *codec.Subscribe {
			q := take[*codec.Subscribe](t, p)
			s.send(p, &codec.Suback{PacketID: q.PacketID, Reasons: reasons})
			return q
		}
		for _, subs := range [][]client.Subscription{{{Filter: "a", QoS: 1, NoLocal: true}, {Filter: "b"}}, {{Filter: "c"}}} {
			done := make(chan error, 1)
			go func() {
				_, err := c.Subscribe(t.Context(), nil, subs...)
				done <- err
			}()
			reasons := make([]codec.ReasonCode, len(subs))
			if subs[0].Filter == "a" {
				reasons[1] = codec.NotAuthorized
			}
			subscribe(reasons...)
			if err := <-done; (err != nil) != (len(subs) == 2) {
				t.Fatal(err)
			}
		}
		p.Drop()
		p, _ = s.accept(&codec.Connack{SessionPresent: true})
		if e, err := p.Await(time.Second, func(*peer.Event) bool { return true }); err == nil {
			t.Errorf("%v came, though the session is present", e.Packet)
		}
		p.Drop()
		var again *codec.Connect
		p, again = s.accept(&codec.Connack{})
		if again.CleanStart {
			t.Error("the session is thrown away on a later connection")
		}
		if diff := cmp.Diff([]client.Subscription{{Filter: "a", QoS: 1, NoLocal: true}}, subscribe(0).Filters); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]client.Subscription{{Filter: "c"}}, subscribe(codec.QuotaExceeded).Filters); diff != "" {
			t.Error(diff)
		}
		if e, ok := errors.AsType[*client.RefusedError](<-lost); !ok || e.About != "c" {
			t.Errorf("told: %v", e)
		}
	})
}

// A renewal that is not answered is made anew on the next connection, and does not come on top of the one before.
func TestResubscribeUnanswered(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript(t, v)
				c, p := s.start(client.Config{ClientID: "x", SessionExpiry: time.Hour}, &codec.Connack{})
				done := make(chan error, 1)
				go func() {
					_, err := c.Subscribe(t.Context(), nil, client.Subscription{Filter: "a", QoS: 1})
					done <- err
				}()
				s.send(p, &codec.Suback{PacketID: take[*codec.Subscribe](t, p).PacketID, Reasons: []codec.ReasonCode{1}})
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				for range 5 {
					p.Drop()
					p, _ = s.accept(&codec.Connack{})
					q := take[*codec.Subscribe](t, p)
					if diff := cmp.Diff([]client.Subscription{{Filter: "a", QoS: 1}}, q.Filters); diff != "" {
						t.Error(diff)
					}
					if e, err := p.Await(time.Second, func(*peer.Event) bool { return true }); err == nil {
						t.Fatalf("%s came after the renewal", codec.Describe(e.Packet, v))
					}
				}
			})
		})
	}
}

func TestResend(t *testing.T) {
	for _, v := range versions {
		for _, durable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/durable=%t", v, durable), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testResend(t, v, durable) })
			})
		}
	}
}

func testResend(t *testing.T, v codec.Version, durable bool) {
	s := newScript(t, v)
	cfg := client.Config{ClientID: "x", SessionExpiry: time.Hour}
	if durable {
		cfg.Store = store.Memory()
	}
	c, p := s.start(cfg, &codec.Connack{})
	var tokens []*client.Token
	for i := range 4 {
		tok, err := c.PublishAsync(t.Context(), client.Message{Topic: "long/enough", QoS: codec.QoS(i%2 + 1), Payload: fmt.Append(nil, i)})
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, tok)
		<-tok.Stored()
	}
	next := func(payload string, dup bool) *codec.Publish {
		t.Helper()
		m := take[*codec.Publish](t, p)
		if string(m.Payload) != payload || m.Dup != dup {
			t.Errorf("message %q came with DUP %t, want %q with %t", m.Payload, m.Dup, payload, dup)
		}
		return m
	}
	var ids []uint16
	for i := range 4 {
		ids = append(ids, next(fmt.Sprint(i), false).PacketID)
	}
	s.send(p, &codec.Pubrec{PacketID: ids[1]})
	take[*codec.Pubrel](t, p)
	p.Drop()
	p, _ = s.accept(&codec.Connack{SessionPresent: true})
	if r := take[*codec.Pubrel](t, p); r.PacketID != ids[1] {
		t.Errorf("PUBREL of %d, want %d", r.PacketID, ids[1])
	}
	for _, i := range []int{0, 2, 3} {
		if m := next(fmt.Sprint(i), true); m.PacketID != ids[i] {
			t.Errorf("message %d has the identifier %d, and had %d", i, m.PacketID, ids[i])
		}
	}
	s.send(p, &codec.Puback{PacketID: ids[0]})
	<-tokens[0].Done()
	p.Drop()
	if v == codec.V31 { // which has no way to tell that a session is lost
		p, _ = s.accept(&codec.Connack{})
		take[*codec.Pubrel](t, p)
		for i := 2; i < 4; i++ {
			if m := next(fmt.Sprint(i), true); m.PacketID != ids[i] {
				t.Errorf("message %d has the identifier %d, and had %d", i, m.PacketID, ids[i])
			}
		}
		return
	}
	// A server that has lost the session: what it has not acknowledged is published anew, what it took is not.
	p, _ = s.accept(&codec.Connack{})
	<-tokens[1].Done()
	s.send(p, &codec.Puback{PacketID: next("2", false).PacketID})
	id := next("3", false).PacketID
	s.send(p, &codec.Pubrec{PacketID: id})
	take[*codec.Pubrel](t, p)
	s.send(p, &codec.Pubcomp{PacketID: id})
	for i, tok := range tokens {
		<-tok.Done()
		if tok.Err() != nil {
			t.Errorf("message %d: %v", i, tok.Err())
		}
	}
	if st := c.Stats(); st.Pending != 0 || st.PendingBytes != 0 || st.Republished != 2 {
		t.Errorf("%+v", st)
	}
}

func TestOfflineQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		s := newScript(t, codec.V5)
		c, err := client.Connect(t.Context(), "test", client.Config{
			Offline: true, Queue: client.Bound{Messages: 3},
			Dial: func(ctx context.Context) (net.Conn, error) {
				select {
				case <-gate:
					return s.dial(ctx)
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Publish(t.Context(), client.Message{Topic: "a"}); !errors.Is(err, client.ErrOffline) {
			t.Errorf("QoS 0: %v", err)
		}
		message := func(i int, expiry uint32) client.Message {
			m := client.Message{Topic: "a", QoS: 1, Payload: fmt.Append(nil, i)}
			if expiry > 0 {
				m.Props.SetUint(codec.PropMessageExpiry, expiry)
			}
			return m
		}
		var tokens []*client.Token
		for i, expiry := range []uint32{10, 60, 0} {
			tok, err := c.PublishAsync(t.Context(), message(i, expiry))
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, tok)
		}
		if _, err := c.PublishAsync(t.Context(), message(3, 0)); !errors.Is(err, client.ErrQueueFull) {
			t.Errorf("a fourth message: %v", err)
		}
		short, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := c.Flush(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("flush: %v", err)
		}
		tok, err := c.PublishAsync(t.Context(), message(3, 0)) // the first has made room by expiring
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, tok)
		if <-tokens[0].Done(); !errors.Is(tokens[0].Err(), client.ErrExpired) {
			t.Errorf("the expired message: %v", tokens[0].Err())
		}
		close(gate)
		p, _ := s.accept(&codec.Connack{})
		for i := 1; i < 4; i++ {
			m := take[*codec.Publish](t, p)
			if string(m.Payload) != fmt.Sprint(i) {
				t.Errorf("message %q came, want %d", m.Payload, i)
			}
			if left := m.Props.Uint(codec.PropMessageExpiry, 40); left != 40 {
				t.Errorf("%d s of the expiry are left, want 40", left)
			}
			s.send(p, &codec.Puback{PacketID: m.PacketID})
		}
		if err := c.Flush(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What breaks the protocol is answered with DISCONNECT and its reason, and the connection ends.
func TestBrokenServer(t *testing.T) {
	alias := &codec.Publish{Topic: "a"}
	alias.Props.SetUint(codec.PropTopicAlias, 17)
	unknown := &codec.Publish{}
	unknown.Props.SetUint(codec.PropTopicAlias, 3)
	raw := func(v codec.Version, ps ...codec.Packet) []byte {
		var b []byte
		for _, p := range ps {
			b, _ = p.AppendTo(b, v)
		}
		return b
	}
	for _, tt := range []struct {
		name   string
		bytes  []byte
		reason codec.ReasonCode
	}{
		{"reserved type", []byte{0x00, 0x00}, codec.MalformedPacket},
		{"QoS 3", []byte{0x36, 0x06, 0, 1, 'a', 0, 1, 0}, codec.MalformedPacket},
		{"long length", []byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01}, codec.MalformedPacket},
		{"too large", append([]byte{0x30, 0x90, 0x4E}, make([]byte, 10_000)...), codec.PacketTooLarge},
		{"second CONNACK", raw(codec.V5, &codec.Connack{}), codec.ProtocolError},
		{"packet of a client", raw(codec.V5, &codec.Pingreq{}), codec.ProtocolError},
		{"alias too high", raw(codec.V5, alias), codec.TopicAliasInvalid},
		{"alias unknown", raw(codec.V5, unknown), codec.TopicAliasInvalid},
		{"AUTH unasked", []byte{0xF0, 0x08, 0x18, 0x06, 0x15, 0, 3, 'a', 'b', 'c'}, codec.ProtocolError},
		{"Receive Maximum", raw(codec.V5, publish(1, 1, "a"), publish(2, 2, "a"), publish(3, 1, "a")), codec.ReceiveMaximumExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript(t, codec.V5)
				over := make(chan error, 1)
				c, p := s.start(client.Config{
					MaximumPacketSize: 5000, ReceiveMaximum: 2, ManualAck: true, Handler: func(*client.Message) {},
					OnDisconnect: func(_ *client.Client, err error) { over <- err },
				}, &codec.Connack{})
				if err := p.SendRaw(tt.bytes); err != nil {
					t.Fatal(err)
				}
				if d := take[*codec.Disconnect](t, p); d.Reason != tt.reason {
					t.Errorf("DISCONNECT with 0x%02X, want 0x%02X", uint8(d.Reason), uint8(tt.reason))
				}
				if _, ok := p.AwaitClose(5 * time.Second); !ok {
					t.Error("the connection stays open")
				}
				if e, ok := errors.AsType[*client.ProtocolError](<-over); !ok || e.Reason != tt.reason {
					t.Errorf("ended for %v", e)
				}
				s.accept(&codec.Connack{})
				synctest.Wait()
				if err := c.Publish(t.Context(), client.Message{Topic: "a"}); err != nil {
					t.Errorf("it goes on badly: %v", err)
				}
			})
		})
	}
}

func TestWrongAnswers(t *testing.T) {
	for name, answer := range map[string]codec.Packet{
		"UNSUBACK for SUBSCRIBE": &codec.Unsuback{PacketID: 1, Reasons: []codec.ReasonCode{0}},
		"too many reasons":       &codec.Suback{PacketID: 1, Reasons: []codec.ReasonCode{0, 0}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t, codec.V5)
			c, p := s.start(client.Config{}, &codec.Connack{})
			done := make(chan error, 1)
			go func() {
				_, err := c.Subscribe(t.Context(), nil, client.Subscription{Filter: "a"})
				done <- err
			}()
			take[*codec.Subscribe](t, p)
			s.send(p, &codec.Puback{PacketID: 9}, &codec.Suback{PacketID: 7, Reasons: []codec.ReasonCode{0}}, answer)
			if d := take[*codec.Disconnect](t, p); d.Reason != codec.ProtocolError {
				t.Errorf("%s: 0x%02X", name, uint8(d.Reason))
			}
			// The request is made again on the next connection.
			p, _ = s.accept(&codec.Connack{})
			s.send(p, &codec.Suback{PacketID: take[*codec.Subscribe](t, p).PacketID, Reasons: []codec.ReasonCode{0}})
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

func TestEnds(t *testing.T) {
	named := func(r codec.ReasonCode) (k *codec.Connack, d *codec.Disconnect) {
		k, d = &codec.Connack{Reason: r}, &codec.Disconnect{Reason: r}
		if r == codec.UseAnotherServer || r == codec.ServerMoved {
			k.Props.SetText(codec.PropServerReference, "other.example:1883")
			d.Props.SetText(codec.PropServerReference, "other.example:1883")
		}
		return k, d
	}
	for _, tt := range []struct {
		reason codec.ReasonCode
		ends   bool
	}{
		{codec.UseAnotherServer, true},
		{codec.ServerMoved, true},
		{codec.NotAuthorized, true},
		{codec.SessionTakenOver, true},
		{codec.ServerShuttingDown, false},
		{codec.ServerBusy, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t, codec.V5)
			c, p := s.start(client.Config{}, &codec.Connack{})
			k, d := named(tt.reason)
			s.send(p, d)
			if !tt.ends {
				s.accept(&codec.Connack{})
				return
			}
			<-c.Done()
			e, ok := errors.AsType[*client.RefusedError](c.Err())
			if !ok || e.Reason != tt.reason || e.ServerReference != d.Props.Text(codec.PropServerReference) {
				t.Errorf("0x%02X: ended for %v", uint8(tt.reason), c.Err())
			}
			if tt.reason == codec.SessionTakenOver {
				return
			}
			go s.accept(k)
			_, err := client.Connect(t.Context(), "test", client.Config{Dial: s.dial})
			if e, ok := errors.AsType[*client.RefusedError](err); !ok || e.ServerReference != d.Props.Text(codec.PropServerReference) {
				t.Errorf("0x%02X: refused with %v", uint8(tt.reason), err)
			}
		})
	}
}

func TestStartsClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Without memory on this side a session must not go on.
		s := newScript(t, codec.V5)
		done := make(chan error, 1)
		go func() {
			_, err := client.Connect(t.Context(), "test", client.Config{Dial: s.dial})
			done <- err
		}()
		if _, p := s.accept(&codec.Connack{SessionPresent: true}); !p.CleanStart {
			t.Error("no clean start without memory of a session")
		}
		if e, ok := errors.AsType[*client.ProtocolError](<-done); !ok {
			t.Errorf("a session present after a clean start: %v", e)
		}
		// Version 3.1.1 clears and resumes with two connections.
		s = newScript(t, codec.V4)
		cfg := client.Config{Dial: s.dial, Version: codec.V4, CleanStart: true, SessionExpiry: time.Hour}
		clients := make(chan *client.Client, 1)
		go func() {
			c, err := client.Connect(t.Context(), "test", cfg)
			if err != nil {
				t.Error(err)
			}
			clients <- c
		}()
		p, first := s.accept(&codec.Connack{})
		take[*codec.Disconnect](t, p)
		_ = p.Close()
		_, second := s.accept(&codec.Connack{})
		if !first.CleanStart || second.CleanStart || first.ClientID == "" || first.ClientID != second.ClientID {
			t.Errorf("%+v and %+v", first, second)
		}
		_ = (<-clients).Close()
	})
}

func TestTakenOver(t *testing.T) {
	srv := brokertest.NewServer(t, broker.Config{})
	a := connect(t, srv.URL, client.Config{ClientID: "same"})
	b := connect(t, srv.URL, client.Config{ClientID: "same"})
	wait(t, "the end of the first", a.Done())
	if e, ok := errors.AsType[*client.RefusedError](a.Err()); !ok || e.Reason != codec.SessionTakenOver {
		t.Errorf("ended for %v", a.Err())
	}
	roundTrip(t, b, 1)
}

func TestTopicAliases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t, codec.V5)
		k := &codec.Connack{}
		k.Props.SetUint(codec.PropTopicAliasMaximum, 2)
		c, p := s.start(client.Config{}, k)
		var got []string
		for i := range 8 {
			m := client.Message{Topic: fmt.Sprintf("topic/%d", i%4), QoS: codec.QoS(i % 2)}
			if i >= 4 {
				m.Props.AddUser("a", "b")
			}
			if _, err := c.PublishAsync(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			in := take[*codec.Publish](t, p)
			got = append(got, fmt.Sprintf("%s %d", in.Topic, in.Props.Uint(codec.PropTopicAlias, 0)))
			if i >= 4 && !in.Props.Has(codec.PropUserProperty) {
				t.Error("the user property is lost")
			}
		}
		want := []string{"topic/0 1", "topic/1 2", "topic/2 0", "topic/3 0", " 1", " 2", "topic/2 0", "topic/3 0"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		// The other way round.
		for _, topic := range []string{"in/one", "", "in/two", ""} {
			in := &codec.Publish{Topic: topic}
			in.Props.SetUint(codec.PropTopicAlias, 16)
			s.send(p, in)
		}
		for _, want := range []string{"in/one", "in/one", "in/two", "in/two"} {
			if m := <-c.Messages(); m.Topic != want {
				t.Errorf("%q, want %q", m.Topic, want)
			}
		}
	})
}
