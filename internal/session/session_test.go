package session

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
)

// show writes an action in one line: what a test expects is a list of such lines.
func show(a Action[int]) string {
	dup := ""
	if a.Dup {
		dup = " dup"
	}
	switch a.Kind {
	case SendPublish:
		return fmt.Sprintf("publish q%d id%d h%d%s", a.QoS, a.ID, a.H, dup)
	case SendPuback:
		return fmt.Sprintf("puback id%d %02x", a.ID, uint8(a.Reason))
	case SendPubrec:
		return fmt.Sprintf("pubrec id%d %02x", a.ID, uint8(a.Reason))
	case SendPubrel:
		return fmt.Sprintf("pubrel id%d h%d %02x%s", a.ID, a.H, uint8(a.Reason), dup)
	case SendPubcomp:
		return fmt.Sprintf("pubcomp id%d %02x", a.ID, uint8(a.Reason))
	case SendRequest:
		return fmt.Sprintf("request id%d h%d", a.ID, a.H)
	case Deliver:
		return fmt.Sprintf("deliver q%d id%d h%d ref%d", a.QoS, a.ID, a.H, a.Ref)
	case Discard:
		return fmt.Sprintf("discard q%d id%d h%d", a.QoS, a.ID, a.H)
	case Persist:
		return fmt.Sprintf("persist stage%d q%d id%d h%d #%d", a.Stage(), a.QoS, a.ID, a.H, a.Ref)
	case Forget:
		return fmt.Sprintf("forget stage%d id%d #%d", a.Stage(), a.ID, a.Ref)
	case Clear:
		return fmt.Sprintf("clear #%d", a.Ref)
	case Release:
		return fmt.Sprintf("release q%d id%d h%d cause%d %02x", a.QoS, a.ID, a.H, a.Cause, uint8(a.Reason))
	case Refused:
		return fmt.Sprintf("refused q%d h%d", a.QoS, a.H)
	case Violation:
		return fmt.Sprintf("violation %02x fault%d id%d", uint8(a.Reason), a.Fault(), a.ID)
	}
	return fmt.Sprintf("unknown %+v", a)
}

type ev = Event[int]

func up(v codec.Version) ev { return ev{Kind: Connected, Link: &Link{Version: v, Present: true}} }

func upWith(l Link) ev { return ev{Kind: Connected, Link: &l} }

func send(q codec.QoS, h int) ev { return ev{Kind: Send, QoS: q, H: h} }

func in(q codec.QoS, id uint16, h int) ev { return ev{Kind: Publish, QoS: q, ID: id, H: h} }

func held(q codec.QoS, id uint16, h int) ev {
	return ev{Kind: Publish, QoS: q, ID: id, H: h, Hold: true}
}

func pk(k EventKind, id uint16) ev { return ev{Kind: k, ID: id} }

func code(e ev, r codec.ReasonCode) ev { e.Reason = r; return e }

func ack(id uint16, ref uint64) ev { return ev{Kind: Ack, ID: id, Ref: ref} }

func stored(n uint64) ev { return ev{Kind: Stored, Ref: n} }

var down = ev{Kind: Disconnected}

// step is an event and all the actions that it has to cause.
type step struct {
	e    ev
	want []string
}

func on(e ev, want ...string) step { return step{e, want} }

type stepCase struct {
	name   string
	config Config
	steps  []step
}

func runCases(t *testing.T, cases []stepCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &Session[int]{Config: c.config}
			for i, st := range c.steps {
				var got []string
				for _, a := range s.Step(st.e, 100, nil) {
					got = append(got, show(a))
				}
				if diff := cmp.Diff(st.want, got); diff != "" {
					t.Fatalf("step %d, event %+v (-want +got):\n%s", i, st.e, diff)
				}
				if err := s.check(); err != nil {
					t.Fatalf("step %d, event %+v: %v", i, st.e, err)
				}
			}
		})
	}
}

// check is the invariants of the session's own books.
func (s *Session[H]) check() error {
	n, requests, peers := 0, 0, 0
	var groups [fullSlots / 64]uint8
	for i, p := range s.out.slots {
		if p.id == 0 {
			continue
		}
		n++
		if int(p.id)&(len(s.out.slots)-1) != i {
			return fmt.Errorf("identifier %d is in slot %d of %d", p.id, i, len(s.out.slots))
		}
		if p.state == outRequest {
			requests++
		}
		if p.flags&outCounted != 0 && (p.flags&outSent == 0 || p.state == outRequest) {
			return fmt.Errorf("identifier %d has a slot of the window without a PUBLISH", p.id)
		}
		groups[p.id/64]++
	}
	for i, e := range s.in.slots {
		if e.id == 0 {
			continue
		}
		peers++
		if s.in.find(e.id) != i {
			return fmt.Errorf("inbound identifier %d at %d is not found there", e.id, i)
		}
	}
	switch {
	case n != int(s.out.n) || requests != int(s.requests) || peers != int(s.in.n):
		return fmt.Errorf("counts are off: %d/%d identifiers, %d/%d requests, %d/%d inbound",
			s.out.n, n, s.requests, requests, s.in.n, peers)
	case (s.out.groups != nil) != (len(s.out.slots) == fullSlots), s.out.groups != nil && *s.out.groups != groups:
		return fmt.Errorf("the groups of %d slots are off", len(s.out.slots))
	case s.quota < 0:
		return fmt.Errorf("the quota is %d", s.quota)
	case !s.connected && s.Free() != 0:
		return fmt.Errorf("Free is %d while disconnected", s.Free())
	}
	return nil
}

func TestIdleSize(t *testing.T) {
	const limit = 200
	if n := unsafe.Sizeof(Session[*int]{}); n > 144 {
		t.Errorf("a Session is %d bytes, want at most 144", n)
	}
	const sessions = 100000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	list := make([]*Session[*int], sessions)
	var out []Action[*int]
	link := link5
	for i := range list {
		s := &Session[*int]{}
		list[i] = s
		out = s.Step(Event[*int]{Kind: Connected, Link: &link}, 0, out[:0])
		for id := range uint16(5) {
			out = s.Step(Event[*int]{Kind: Send, QoS: 2}, 0, out[:0])
			out = s.Step(Event[*int]{Kind: Pubrec, ID: out[0].ID}, 0, out[:0])
			out = s.Step(Event[*int]{Kind: Pubcomp, ID: out[0].ID}, 0, out[:0])
			out = s.Step(Event[*int]{Kind: Publish, QoS: 2, ID: id + 1, Hold: true}, 0, out[:0])
			out = s.Step(Event[*int]{Kind: Ack, ID: id + 1, Ref: out[0].Ref}, 0, out[:0])
			out = s.Step(Event[*int]{Kind: Pubrel, ID: id + 1}, 0, out[:0])
		}
		out = s.Step(Event[*int]{Kind: Tick}, 0, out[:0])
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / sessions
	t.Logf("%d bytes for each idle session", per)
	if per > limit || per < 64 {
		t.Errorf("an idle session costs %d bytes, want 64 to %d", per, limit)
	}
	runtime.KeepAlive(list)
}

// TestShrink: the memory of a large burst is given back, by traffic alone or at once by Tick.
func TestShrink(t *testing.T) {
	for _, tick := range []bool{false, true} {
		t.Run(fmt.Sprintf("tick=%t", tick), func(t *testing.T) {
			s := open(t, Config{}, link5)
			var out []Action[int]
			for id := 1; id <= maxID; id++ {
				out = s.Step(send(2, id), 0, out[:0])
				out = s.Step(in(2, uint16(id), id), 0, out[:0])
			}
			if s.InFlight() != maxID || s.Waiting() != maxID || s.Free() != 0 {
				t.Fatalf("in flight %d, waiting %d, free %d; want %d, %d, 0", s.InFlight(), s.Waiting(), s.Free(), maxID, maxID)
			}
			if got := s.Step(pk(Request, 0), 0, nil); len(got) != 1 || got[0].Kind != Refused {
				t.Fatalf("a request beyond 65,535 identifiers got %+v, want Refused", got)
			}
			for id := 1; id <= maxID; id++ {
				out = s.Step(pk(Pubrec, uint16(id)), 0, out[:0])
				out = s.Step(pk(Pubcomp, uint16(id)), 0, out[:0])
				out = s.Step(pk(Pubrel, uint16(id)), 0, out[:0])
			}
			if s.InFlight() != 0 || s.Waiting() != 0 || s.Free() != maxID {
				t.Fatalf("in flight %d, waiting %d, free %d; want 0, 0, %d", s.InFlight(), s.Waiting(), s.Free(), maxID)
			}
			want := keepSlots
			if tick {
				out = s.Step(pk(Tick, 0), 0, out[:0])
				want = minSlots
			}
			for range 20 {
				out = qos2(s, out)
				out = s.Step(in(2, 9, 0), 0, out[:0])
				out = s.Step(pk(Pubrel, 9), 0, out[:0])
			}
			if len(s.out.slots) > want || len(s.in.slots) > want {
				t.Errorf("%d and %d slots are left, want at most %d", len(s.out.slots), len(s.in.slots), want)
			}
		})
	}
}

// TestNearlyFull: with one identifier free it is found, wherever it is.
func TestNearlyFull(t *testing.T) {
	s := open(t, Config{}, link5)
	var out []Action[int]
	for id := 1; id <= maxID; id++ {
		out = s.Step(send(1, id), 0, out[:0])
	}
	for _, id := range []uint16{1, maxID, maxID, 64, 63, 30000, 30000, 29999} {
		out = s.Step(pk(Puback, id), 0, out[:0])
		out = s.Step(send(1, 0), 0, out[:0])
		if out[0].Kind != SendPublish || out[0].ID != id {
			t.Fatalf("got %s, want the identifier %d", show(out[0]), id)
		}
		if err := s.check(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTrimKeepsEntries: shrinking under messages in flight loses none.
func TestTrimKeepsEntries(t *testing.T) {
	s := open(t, Config{}, link5)
	var out []Action[int]
	for id := 1; id <= 4096; id++ {
		out = s.Step(send(1, id), 0, out[:0])
		out = s.Step(in(2, uint16(id), id), 0, out[:0])
	}
	for id := uint16(1); id <= 4096; id++ {
		if id%1000 != 7 {
			out = s.Step(pk(Puback, id), 0, out[:0])
			out = s.Step(pk(Pubrel, id), 0, out[:0])
		}
	}
	s.Step(pk(Tick, 0), 0, out[:0])
	if len(s.out.slots) >= 4096 || len(s.in.slots) >= 4096 {
		t.Errorf("%d and %d slots for 5 entries", len(s.out.slots), len(s.in.slots))
	}
	var got []uint16
	for r := range s.All() {
		if r.Stage == Published {
			got = append(got, r.ID)
		}
	}
	if diff := cmp.Diff([]uint16{7, 1007, 2007, 3007, 4007}, got); diff != "" {
		t.Errorf("in flight (-want +got):\n%s", diff)
	}
	if err := s.check(); err != nil {
		t.Error(err)
	}
}

// TestStuckIdentifier: identifiers go round past one that is never acknowledged, and the table stays small.
func TestStuckIdentifier(t *testing.T) {
	s := open(t, Config{}, link5)
	stuck := s.Step(send(1, 1), 0, nil)[0].ID
	var out []Action[int]
	last := stuck
	for range 200000 {
		out = s.Step(send(1, 2), 0, out[:0])
		id := out[0].ID
		if id == stuck || id == 0 || id == last {
			t.Fatalf("identifier %d was given out, with %d in flight and %d used last", id, stuck, last)
		}
		last = id
		out = s.Step(pk(Puback, id), 0, out[:0])
	}
	if len(s.out.slots) != minSlots {
		t.Errorf("%d slots for two messages, want %d", len(s.out.slots), minSlots)
	}
}

// TestInTable compares the inbound table with a map, on identifiers that crowd the same places.
func TestInTable(t *testing.T) {
	var tab inTable
	ref := map[uint16]uint64{}
	x := uint32(1)
	for n := range uint64(300000) {
		x = x*1664525 + 1013904223
		id := uint16(x>>16)&0x3ff<<6 | uint16(x>>10)&1 // a quarter of a thousand places shared by many
		if id == 0 {
			continue
		}
		i := tab.find(id)
		want, ok := ref[id]
		switch {
		case ok != (i >= 0) || ok && tab.slots[i].ref != want:
			t.Fatalf("identifier %d: found at %d, the map says %t %d", id, i, ok, want)
		case ok:
			tab.remove(i)
			delete(ref, id)
		default:
			tab.add(inSlot{id: id, ref: n})
			ref[id] = n
		}
		if n%50000 == 0 {
			tab.trim()
		}
	}
	if int(tab.n) != len(ref) || len(ref) == 0 {
		t.Errorf("%d entries, the map has %d", tab.n, len(ref))
	}
}

// TestFaultRules: each fault names a rule of the registry for every version and side, and a reason code.
func TestFaultRules(t *testing.T) {
	for f := QoSMismatch; f <= PublishAfterPubrel; f++ {
		for v, set := range map[codec.Version]rules.Versions{codec.V4: rules.MQTT311, codec.V5: rules.MQTT5} {
			if f == ReceiveMaximumExceeded && v != codec.V5 {
				continue // raised in 5.0 alone
			}
			for _, peer := range []codec.Side{codec.Client, codec.Server} {
				if id := f.Rule(v, peer); !rules.Known(set, id) {
					t.Errorf("fault %d of version %d: rule %q is not in the registry", f, v, id)
				}
			}
		}
		if f.Reason() < codec.UnspecifiedError {
			t.Errorf("fault %d has reason %#x", f, f.Reason())
		}
	}
}

// collect keeps the actions of the given kinds, as lines.
func collect(out []Action[int], kinds ...ActionKind) []string {
	var got []string
	for _, a := range out {
		if slices.Contains(kinds, a.Kind) {
			got = append(got, show(a))
		}
	}
	return got
}
