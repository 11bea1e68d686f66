package session

import (
	"slices"
	"testing"

	"github.com/mqlab/mqlab/codec"
)

// owner watches what any session owes its owner, whatever the peer sends.
type owner struct {
	t       *testing.T
	s       *Session[int]
	next    int
	live    map[int]uint16 // accepted handles and, once sent, their identifiers
	inUse   map[uint16]int
	open    map[uint16]bool // PUBLISH packets of this connection without a final acknowledgement
	window  int
	held    []Action[int]
	tickets uint64
	stored  uint64
	promise map[int]uint64 // handle to the ticket that its next packet waits for
}

func (o *owner) step(e Event[int], now Time) {
	before := o.s.Free()
	out := o.s.Step(e, now, nil)
	handed := 0
	for _, a := range out {
		if a.Kind <= SendRequest && !o.s.Connected() {
			o.t.Fatalf("%s while disconnected", show(a))
		}
		switch a.Kind {
		case SendPublish:
			if a.QoS == 0 {
				break
			}
			o.use(a)
			if o.open[a.ID] || len(o.open) >= o.window {
				o.t.Fatalf("%s with a window of %d, %d open, itself open: %t", show(a), o.window, len(o.open), o.open[a.ID])
			}
			o.open[a.ID] = true
		case SendPubrel:
			if a.H != 0 {
				o.use(a)
			}
		case SendRequest:
			o.use(a)
		case Deliver, Discard:
			handed++
			if a.Ref != 0 {
				o.held = append(o.held, a)
			}
		case Persist, Forget, Clear:
			if o.tickets++; a.Ref != o.tickets || !o.s.Config.Durable {
				o.t.Fatalf("%s after ticket %d, durable %t", show(a), o.tickets-1, o.s.Config.Durable)
			}
			if a.Kind == Persist && a.Stage() <= Released {
				o.promise[a.H] = a.Ref
			}
		case Release:
			if _, ok := o.live[a.H]; !ok {
				o.t.Fatalf("%s: the session does not hold it", show(a))
			}
			delete(o.live, a.H)
			if a.ID != 0 {
				delete(o.inUse, a.ID)
				delete(o.open, a.ID)
			}
		case Refused:
			delete(o.live, a.H)
			if e.Kind == Send && (e.QoS == 1 || e.QoS == 2) && before > 0 {
				o.t.Fatalf("%s with %d slots free", show(a), before)
			}
		case Violation:
			handed++
			if len(out) != 1 || a.Fault().Rule(codec.V5, codec.Client) == "" {
				o.t.Fatalf("%s among %d actions", show(a), len(out))
			}
		}
	}
	if e.Kind == Publish && o.s.Connected() && handed != 1 {
		o.t.Fatalf("an inbound PUBLISH was handed over %d times: %+v", handed, out)
	}
	if err := o.s.check(); err != nil {
		o.t.Fatalf("after %+v: %v", e, err)
	}
}

// use checks an identifier that is being sent.
func (o *owner) use(a Action[int]) {
	if h, ok := o.inUse[a.ID]; a.ID == 0 || ok && h != a.H {
		o.t.Fatalf("%s while %d has the identifier", show(a), h)
	}
	if o.promise[a.H] > o.stored {
		o.t.Fatalf("%s before ticket %d is stored", show(a), o.promise[a.H])
	}
	o.inUse[a.ID] = a.H
}

// reload puts the session's records into a new one, which has to have the same records.
func (o *owner) reload() {
	o.step(Event[int]{Kind: Disconnected}, 0)
	want := slices.Collect(o.s.All())
	next := &Session[int]{Config: o.s.Config}
	for _, r := range want {
		if err := next.Restore(r); err != nil {
			o.t.Fatal(err)
		}
		if err := next.Restore(r); err == nil {
			o.t.Fatalf("record %+v was restored twice", r)
		}
	}
	got := slices.Collect(next.All())
	inbound := func(r Record[int]) bool { return r.Stage == Received }
	n := len(want)
	if i := slices.IndexFunc(want, inbound); i >= 0 {
		n = i
	}
	if len(got) != len(want) || !slices.Equal(got[:n], want[:n]) {
		o.t.Fatalf("restored %+v, want %+v", got, want)
	}
	for _, r := range want[n:] {
		if !slices.Contains(got[n:], r) {
			o.t.Fatalf("record %+v is not restored", r)
		}
	}
	o.s, o.held, o.tickets, o.stored = next, nil, 0, 0
	clear(o.promise)
	if err := next.check(); err != nil {
		o.t.Fatal(err)
	}
}

// FuzzSession runs any sequence of events: four bytes each, after two for the configuration.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0, 3, 0, 0, 0, 5, 2, 0, 1, 0, 10, 0, 1, 0, 12, 0, 1, 0})
	f.Add([]byte{1, 2, 0, 0, 0, 5, 2, 0, 1, 0, 6, 0, 255, 0, 10, 0, 1, 0, 6, 0, 255, 0, 12, 0, 1, 0, 15, 0, 0, 0})
	f.Add([]byte{4, 1, 0, 0, 1, 5, 8, 2, 7, 0, 11, 0, 7, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 5, 8, 6, 7, 0})
	f.Add([]byte{1, 2, 0, 0, 1, 5, 8, 2, 7, 0, 6, 0, 9, 0, 11, 0, 7, 0, 8, 2, 7, 0, 1, 0, 0, 0, 6, 0, 9, 0, 0, 0, 1, 5})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2 {
			return
		}
		o := &owner{
			t: t, live: map[int]uint16{}, inUse: map[uint16]int{}, open: map[uint16]bool{}, promise: map[int]uint64{},
			s: &Session[int]{Config: Config{Durable: data[0]&1 != 0, MaxInflight: uint16(data[1] & 7)}},
		}
		if data[0]&2 != 0 {
			o.s.Config.Side = codec.Client
		}
		data = data[2:]
		for now := Time(1); len(data) >= 4; now++ {
			o.event(data[0], data[1], uint16(data[2]&31), data[3], now)
			data = data[4:]
		}
		o.step(Event[int]{Kind: End}, 0)
		if len(o.live) != 0 || o.s.InFlight() != 0 || o.s.Waiting() != 0 {
			t.Fatalf("after the end %d messages are not released, %d in flight, %d waiting", len(o.live), o.s.InFlight(), o.s.Waiting())
		}
	})
}

func (o *owner) event(kind, x byte, id uint16, y byte, now Time) {
	e := Event[int]{QoS: codec.QoS(x & 3), ID: id, Hold: x&4 != 0, Reason: codec.ReasonCode(y)}
	switch kind % 16 {
	case 0:
		l := Link{Version: codec.V4 + codec.Version(y&1), Present: x&1 == 0, SendMaximum: uint16(y >> 1 & 7), ReceiveMaximum: uint16(x >> 1 & 7)}
		l.MaxPacket = uint32(y>>4) * 4
		o.window = maxID
		if l.Version == codec.V5 && l.SendMaximum != 0 {
			o.window = int(l.SendMaximum)
		}
		if n := int(o.s.Config.MaxInflight); n != 0 {
			o.window = min(o.window, n)
		}
		clear(o.open)
		e.Kind, e.Link = Connected, &l
	case 1:
		e.Kind = Disconnected
	case 2, 3:
		o.next++
		o.live[o.next] = 0
		e.Kind, e.H, e.Size = Send, o.next, uint32(y>>2)
		if x&8 != 0 {
			e.Expires = now + Time(y&15)
		}
	case 4:
		o.next++
		o.live[o.next] = 0
		e.Kind, e.H = Request, o.next
	case 5:
		e.Kind, e.Ref = Ack, uint64(y)
		if n := len(o.held); n > 0 && x&8 == 0 {
			e.ID, e.Ref = o.held[int(y)%n].ID, o.held[int(y)%n].Ref
		}
	case 6:
		e.Kind, e.Ref = Stored, min(o.tickets, o.stored+uint64(id))
		o.stored = e.Ref
	case 7:
		e.Kind = Tick
	case 8:
		e.Kind, e.H = Publish, -1
	case 9:
		e.Kind = Puback
	case 10:
		e.Kind = Pubrec
	case 11:
		e.Kind = Pubrel
	case 12:
		e.Kind = Pubcomp
	case 13:
		e.Kind = Response
	case 14:
		e.Kind = Skip
	default:
		o.reload()
		return
	}
	o.step(e, now)
}
