package fuzz

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

// TestGuardTakesLateAnswers holds that a bystander that was told to wait no longer takes the answer when it comes: a
// target that was slow once hangs no more.
func TestGuardTakesLateAnswers(t *testing.T) {
	for _, part := range []string{"/1", "/2"} {
		t.Run(part[1:], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := true
				b := broker.New(broker.Config{Authorize: func(_ context.Context, a broker.Access) bool {
					if slow && a.Action == broker.Publish && strings.HasSuffix(a.Topic, part) {
						slow = false
						time.Sleep(2 * time.Second) // in the bubble: others run meanwhile
					}
					return true
				}})
				defer b.Close()
				g, err := openGuard(t.Context(), func(context.Context) (net.Conn, error) { return b.Dial() }, "", "", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				defer g.close()
				if tr := g.round(time.Second); tr == nil || !tr.late {
					t.Fatalf("a round that takes longer than it may: %+v", tr)
				}
				for range 3 {
					if tr := g.round(time.Minute); tr != nil {
						t.Fatalf("%s: %s %q", tr.signature, tr.title, tr.detail)
					}
				}
			})
		})
	}
}

// TestGuardTakesCutFrames holds the same where time is up in the middle of a packet.
func TestGuardTakesCutFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.New(broker.Config{})
		defer b.Close()
		var cut *cutConn
		g, err := openGuard(t.Context(), func(context.Context) (net.Conn, error) {
			nc, err := b.Dial()
			cut = &cutConn{Conn: nc}
			return cut, err
		}, "", "", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		defer g.close()
		cut.stop = 3 // the publisher's was dialled last
		if tr := g.round(time.Second); tr == nil || !tr.late {
			t.Fatalf("a round whose answer is cut short: %+v", tr)
		}
		cut.stop = 0
		for range 3 {
			if tr := g.round(time.Minute); tr != nil {
				t.Fatalf("%s: %s %q", tr.signature, tr.title, tr.detail)
			}
		}
	})
}

// cutConn lets stop bytes through, where that is not 0, and then nothing.
type cutConn struct {
	net.Conn
	stop int
}

func (c *cutConn) Read(b []byte) (int, error) {
	switch {
	case c.stop < 0:
		return 0, os.ErrDeadlineExceeded
	case c.stop == 0:
		return c.Conn.Read(b)
	}
	n, err := c.Conn.Read(b[:min(len(b), c.stop)])
	if c.stop -= n; c.stop == 0 {
		c.stop = -1
	}
	return n, err
}

// How far away a target is does not depend on how long it ignored a version that it does not speak.
func TestGuardTook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.New(broker.Config{})
		defer b.Close()
		dials := 0
		dial := func(context.Context) (net.Conn, error) {
			if dials++; dials > 1 {
				return b.Dial()
			}
			near, far := net.Pipe()
			go func() {
				_, _ = io.Copy(io.Discard, far)
				_ = far.Close()
			}()
			return near, nil
		}
		g, err := openGuard(t.Context(), dial, "", "", 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer g.close()
		if g.version != codec.V4 || g.took >= time.Second {
			t.Errorf("version %s, the opening took %v", g.version, g.took)
		}
	})
}

// number returns the number of a bystander's message, as text.
func number(p *codec.Publish) string {
	word, _, _ := strings.Cut(string(p.Payload), " ")
	return word
}

// drop passes on all but the messages of the numbers at the QoS.
func drop(qos codec.QoS, numbers ...string) func(*codec.Publish, []byte) []byte {
	return func(p *codec.Publish, frame []byte) []byte {
		for _, n := range numbers {
			if p.QoS == qos && number(p) == n {
				return nil
			}
		}
		return frame
	}
}

// late passes a message on behind another at the same QoS.
func late(qos codec.QoS, n, behind string) func(*codec.Publish, []byte) []byte {
	var kept []byte
	return func(p *codec.Publish, frame []byte) []byte {
		switch {
		case p.QoS == qos && number(p) == n:
			kept = bytes.Clone(frame)
			return nil
		case p.QoS == qos && number(p) == behind:
			return append(bytes.Clone(frame), kept...)
		}
		return frame
	}
}

// TestGuardLoss holds what a subscriber that waits in vain says of it: a loss where later messages arrive, how many ever
// are lost; nothing where the message is only late; and a hang where nothing arrives.
func TestGuardLoss(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pass   func(*codec.Publish, []byte) []byte
		want   string // signature
		detail string
	}{
		{"one at qos 1", drop(1, "2"), "qos 1 lost", "not arrived: 2; messages 3 and 4 did"},
		{"one at qos 2", drop(2, "2"), "qos 2 lost", "not arrived: 2; messages 3 and 4 did"},
		{"the next too", drop(1, "2", "3"), "qos 1 lost", "not arrived: 2, 3; messages 4 and 5 did"},
		{"the fence too", drop(1, "2", "4"), "qos 1 lost", "not arrived: 2, 4; messages 5 and 6 did"},
		{"four in a row", drop(2, "2", "3", "4", "5"), "qos 2 lost", "not arrived: 2, 3, 4, 5; messages 6 and 7 did"},
		{"every other one", drop(1, "2", "4", "6", "8", "10", "12"), "", ""}, // never two that arrive
		{"behind the next, qos 1", late(1, "2", "3"), "", ""},
		{"behind the next, qos 2", late(2, "2", "3"), "", ""},
		{"behind the fence, qos 1", late(1, "2", "4"), "", ""},
		{"behind the fence, qos 2", late(2, "2", "4"), "", ""},
		{"nothing arrives", func(p *codec.Publish, frame []byte) []byte {
			if number(p) == "1" {
				return frame
			}
			return nil
		}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := relayedGuard(t, tt.pass)
				if tr := g.round(time.Second); tr != nil {
					t.Fatalf("%s: %s", tr.signature, tr.title)
				}
				if tr := g.round(time.Second); tr == nil || tr.signature != longSubscriber {
					t.Fatalf("a round whose message does not arrive: %+v", tr)
				}
				tr := g.lost(time.Second)
				switch {
				case tt.want == "" && tr == nil:
				case tt.want == "" || tr == nil || tr.oracle != OracleDelivery || tr.signature != tt.want:
					t.Errorf("got %+v, want signature %q", tr, tt.want)
				case !strings.Contains(tr.detail[0], tt.detail):
					t.Errorf("got detail %q, want %q", tr.detail[0], tt.detail)
				}
			})
		})
	}
}

// TestGuardLateIsNotTwice holds that what arrives after nobody waits for it any more is nobody's second copy, and that a
// real one still is; and that a message that is sent once more before PUBREL is one message.
func TestGuardLateIsNotTwice(t *testing.T) {
	twice := func(n string, id uint16) func(*codec.Publish, []byte) []byte {
		return func(p *codec.Publish, frame []byte) []byte {
			if p.QoS != 2 || number(p) != n {
				return frame
			}
			again := codec.Clone(p).(*codec.Publish)
			if again.Dup = id == 0; !again.Dup {
				again.PacketID = id
			}
			copied, _ := again.AppendTo(nil, codec.V5)
			return append(bytes.Clone(frame), copied...)
		}
	}
	for _, tt := range []struct {
		name string
		pass func(*codec.Publish, []byte) []byte
		want string
	}{
		{"late", late(2, "2", "8"), ""},
		{"late at qos 1", late(1, "2", "8"), ""},
		{"twice", twice("4", 9999), "qos 2 twice"},
		{"again before PUBREL", twice("4", 0), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := relayedGuard(t, tt.pass)
				got := ""
				for range 12 {
					switch tr := g.round(time.Second); {
					case tr == nil:
					case tr.late && tr.signature == longSubscriber:
						g.lost(time.Second)
					default:
						got = tr.signature
					}
				}
				if got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestGuardRefused holds that a message that the target refuses need not arrive.
func TestGuardRefused(t *testing.T) {
	for _, part := range []string{"/1", "/2"} {
		t.Run(part[1:], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				b := broker.New(broker.Config{Authorize: func(_ context.Context, a broker.Access) bool {
					if a.Action == broker.Publish && strings.HasSuffix(a.Topic, part) {
						n++
						return n%2 == 1
					}
					return true
				}})
				defer b.Close()
				g, err := openGuard(t.Context(), func(context.Context) (net.Conn, error) { return b.Dial() }, "", "", time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				defer g.close()
				for range 6 {
					if tr := g.round(time.Second); tr != nil {
						t.Fatalf("%s: %s %q", tr.signature, tr.title, tr.detail)
					}
				}
				if n != 6 {
					t.Errorf("%d messages were looked at, want 6", n)
				}
			})
		})
	}
}

// relayedGuard is a guard of a sound broker whose subscriber gets each message as pass makes it.
func relayedGuard(t *testing.T, pass func(*codec.Publish, []byte) []byte) *guard {
	t.Helper()
	b := broker.New(broker.Config{})
	var relays sync.WaitGroup
	g, err := openGuard(t.Context(), func(context.Context) (net.Conn, error) {
		far, err := b.Dial()
		if err != nil {
			return nil, err
		}
		near, own := transport.Pipe()
		relays.Go(func() { // the target's packets
			defer own.Close()
			r, dec := codec.NewReader(far, 0), codec.Decoder{Version: codec.V5, From: codec.Server}
			for {
				frame, err := r.Next()
				if err != nil {
					return
				}
				p, err := dec.Decode(frame)
				if m, ok := p.(*codec.Publish); ok && err == nil {
					frame = pass(m, frame)
				}
				if _, err := own.Write(frame); err != nil {
					return
				}
			}
		})
		relays.Go(func() {
			defer far.Close()
			buf := make([]byte, 4096)
			for {
				n, err := own.Read(buf)
				if err != nil {
					return
				}
				if _, err := far.Write(buf[:n]); err != nil {
					return
				}
			}
		})
		return near, nil
	}, "", "", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.close()
		relays.Wait()
		_ = b.Close()
	})
	return g
}
