package client_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqlab/mqlab/client"
	"github.com/mqlab/mqlab/client/store"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/internal/session"
)

var errDiskFull = errors.New("the disk is full")

// failing is a store of which a commit fails, and all after it.
type failing struct {
	*store.Mem
	mu     sync.Mutex // guards the rest
	left   int        // commits that succeed
	failed bool
	// What is durable, or was: messages by their content, how far they have come by identifier, and identifiers received.
	messages map[string]bool
	stages   map[uint16]session.Stage
	received map[uint16]bool
	done     map[uint16]bool // received, and forgotten
}

func newFailing(commits int) *failing {
	return &failing{
		Mem: store.Memory(), left: commits, messages: map[string]bool{}, stages: map[uint16]session.Stage{},
		received: map[uint16]bool{}, done: map[uint16]bool{},
	}
}

func (f *failing) Commit(changes iter.Seq2[[]byte, []byte]) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left--; f.left < 0 {
		f.failed = true
		return errDiskFull
	}
	for k, v := range changes {
		switch {
		case k[0] == 'm' && v != nil:
			f.messages[string(v[bytes.LastIndexByte(v, ' ')+1:])] = true
		case k[0] == 's' && v != nil:
			f.stages[binary.BigEndian.Uint16(v[1:])] = session.Stage(v[0])
		case k[0] == 'i':
			id := uint16(binary.BigEndian.Uint64(k[1:]))
			f.received[id], f.done[id] = true, v == nil
		}
	}
	return f.Mem.Commit(changes)
}

// holds asks what is durable.
func (f *failing) holds(t *testing.T, what string, ok func() bool) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !ok() {
		t.Errorf("%s before it is stored", what)
	}
}

// TestStoreFails lets each commit of an exchange fail in turn: the server and the publisher are told nothing that the
// store does not hold.
func TestStoreFails(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			commits := 0
			for whole := false; !whole; commits++ {
				synctest.Test(t, func(t *testing.T) { whole = testStoreFails(t, v, commits) })
			}
			if commits < 5 {
				t.Errorf("the exchange has %d commits", commits-1)
			}
		})
	}
}

func testStoreFails(t *testing.T, v codec.Version, commits int) (whole bool) {
	f := newFailing(commits)
	s := newScript(t, v)
	inbound := map[string]int{}
	cfg := client.Config{ClientID: "x", SessionExpiry: time.Hour, Store: f, Handler: func(m *client.Message) {
		inbound[string(m.Payload)]++
	}}
	c, p := s.start(cfg, &codec.Connack{})
	for _, m := range []*codec.Publish{publish(7, 2, "two"), publish(8, 1, "one")} {
		_ = p.Send(m) // the client may have ended
	}
	var tokens []*client.Token
	for q := codec.QoS(1); q <= 2; q++ {
		tok, err := c.PublishAsync(t.Context(), client.Message{Topic: "t", QoS: q, Payload: fmt.Appendf(nil, " out%d", q)})
		if err == nil {
			tokens = append(tokens, tok)
		} else if !errors.Is(err, client.ErrStore) {
			t.Error(err)
		}
	}
	said := map[codec.Type]int{}
	for {
		e, err := p.Await(time.Second, func(e *peer.Event) bool { return e.Packet != nil })
		if err != nil {
			break
		}
		said[e.Packet.Type()]++
		var answer codec.Packet
		switch m := e.Packet.(type) {
		case *codec.Publish:
			f.holds(t, "PUBLISH is sent", func() bool { return f.messages[string(m.Payload[1:])] })
			answer = &codec.Puback{PacketID: m.PacketID}
			if m.QoS == 2 {
				answer = &codec.Pubrec{PacketID: m.PacketID}
			}
		case *codec.Pubrel:
			f.holds(t, "PUBREL is sent", func() bool { return f.stages[m.PacketID] == session.Released })
			answer = &codec.Pubcomp{PacketID: m.PacketID}
		case *codec.Pubrec:
			f.holds(t, "PUBREC is sent", func() bool { return f.received[m.PacketID] })
			answer = &codec.Pubrel{PacketID: m.PacketID}
		case *codec.Pubcomp:
			f.holds(t, "PUBCOMP is sent: the end of the identifier is told", func() bool { return f.done[m.PacketID] })
		}
		if answer != nil && p.Send(answer) != nil {
			break
		}
	}
	synctest.Wait()
	if said[codec.TypePubrec] > 0 && inbound["x"] == 0 {
		t.Error("a message was acknowledged that nobody got")
	}
	for i, tok := range tokens {
		stored := false
		select {
		case <-tok.Stored():
			stored = true
			f.holds(t, "a token says so", func() bool { return f.messages[fmt.Sprintf("out%d", i+1)] })
		default:
		}
		select {
		case <-tok.Done():
			if err := tok.Err(); err == nil && !stored || err != nil && !errors.Is(err, client.ErrStore) {
				t.Errorf("message %d: stored %v, %v", i+1, stored, err)
			}
		default:
			t.Errorf("with %d commits nobody is told what became of message %d", commits, i+1)
		}
	}
	if !f.failed {
		want := map[codec.Type]int{codec.TypePublish: 2, codec.TypePubrel: 1, codec.TypePubrec: 1, codec.TypePubcomp: 1, codec.TypePuback: 1}
		for k, n := range want {
			if said[k] != n {
				t.Errorf("%d %s, want %d", said[k], k, n)
			}
		}
		if inbound["x"] != 2 {
			t.Errorf("%d messages came, want 2", inbound["x"])
		}
		return true
	}
	if err := c.Err(); !errors.Is(err, client.ErrStore) || !errors.Is(err, errDiskFull) {
		t.Errorf("the client ended with %v", err)
	}
	return false
}
