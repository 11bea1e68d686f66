package fuzz

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
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
