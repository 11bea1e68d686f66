package session

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/mqlab/mqlab/codec"
)

// The model: two endpoints joined by two streams of packets. A stream keeps its order and loses nothing until it is cut;
// a cut loses a random tail of each. An endpoint may lose power, and with it every batch of records that is not stored.
// What has to hold in the end:
//
//	QoS 1: taken at least once    QoS 2: taken exactly once    refused: never taken
//	first deliveries of each QoS arrive in the order of sending [MQTT-4.6.0-5]
//	each message accepted is released exactly once
type packet struct {
	kind   EventKind
	qos    codec.QoS
	dup    bool
	id     uint16
	reason codec.ReasonCode
	h      int
}

type record struct {
	Record[int]
	pos uint64
}

type recordKey struct {
	inbound bool
	id      uint16
}

// disk is what an endpoint's application and store remember.
type disk struct {
	records  map[recordKey]record
	taken    map[int]int
	released map[int]codec.ReasonCode
}

func (d disk) clone() disk {
	return disk{maps.Clone(d.records), maps.Clone(d.taken), maps.Clone(d.released)}
}

type batch struct {
	ticket uint64
	after  disk
}

type endpoint struct {
	t       *rapid.T
	name    string
	s       *Session[int]
	version codec.Version
	window  uint16
	peer    *endpoint
	stream  []packet // on its way to the peer
	outbox  []int    // messages not accepted yet

	live    disk    // as of now
	durable disk    // after losing power
	batches []batch // on the way to the disk

	held    []Action[int]
	arrived []int
	crashed bool

	// What this endpoint did, for the rules that bind a sender.
	sent      map[int]bool   // PUBLISH sent on any connection
	pubrels   map[int]bool   // PUBREL sent on any connection
	recIndex  map[int]int    // order of the PUBRECs
	inUse     map[uint16]int // identifier to handle
	open      map[uint16]bool
	lastSent  int
	lastRel   int
	recs      int
	linkRels  map[int]bool
	rx1, rx2  []uint16 // received on this connection, not answered yet
	deliveryN map[int]int
}

func qosOf(h int) codec.QoS { return codec.QoS(1 + h/3%2) }

func isRequest(h int) bool { return h%10 == 9 }

func refusal(h int, v codec.Version) codec.ReasonCode {
	if h%11 == 5 && v == codec.V5 {
		return codec.NotAuthorized
	}
	return codec.Success
}

func newEndpoint(t *rapid.T, name string, v codec.Version) *endpoint {
	e := &endpoint{t: t, name: name, version: v, window: uint16(rapid.IntRange(1, 6).Draw(t, name+" window"))}
	e.s = &Session[int]{Config: Config{Durable: rapid.Bool().Draw(t, name+" durable")}}
	if v != codec.V5 {
		e.s.Config.MaxInflight = e.window
	}
	e.live = disk{map[recordKey]record{}, map[int]int{}, map[int]codec.ReasonCode{}}
	e.durable = e.live.clone()
	e.sent, e.pubrels, e.recIndex = map[int]bool{}, map[int]bool{}, map[int]int{}
	e.inUse, e.deliveryN = map[uint16]int{}, map[int]int{}
	e.resetLink()
	return e
}

func (e *endpoint) resetLink() {
	e.stream, e.rx1, e.rx2 = nil, nil, nil
	e.open, e.linkRels = map[uint16]bool{}, map[int]bool{}
	e.lastSent, e.lastRel = -1, -1
}

// step runs one event and plays the owner.
func (e *endpoint) step(ev Event[int]) {
	acts := e.s.Step(ev, 1, nil)
	var ticket uint64
	for _, a := range acts {
		switch a.Kind {
		case SendPublish:
			e.sendPublish(a)
		case SendPubrel:
			e.sendPubrel(a)
			e.put(packet{kind: Pubrel, id: a.ID, reason: a.Reason})
		case SendPuback:
			e.rx1 = e.answer("PUBACK", e.rx1, a.ID)
			e.put(packet{kind: Puback, id: a.ID, reason: a.Reason})
		case SendPubrec:
			e.rx2 = e.answer("PUBREC", e.rx2, a.ID)
			e.put(packet{kind: Pubrec, id: a.ID, reason: a.Reason})
		case SendPubcomp:
			e.put(packet{kind: Pubcomp, id: a.ID, reason: a.Reason})
		case SendRequest:
			e.use(a.ID, a.H)
			e.put(packet{kind: Request, id: a.ID})
		case Deliver:
			e.deliver(a)
		case Discard:
			if a.QoS == 2 && refusal(a.H, e.version) == 0 && e.deliveryN[a.H] == 0 && e.live.taken[a.H] == 0 {
				e.t.Fatalf("%s: message %d was taken for a duplicate", e.name, a.H)
			}
		case Persist:
			ticket = a.Ref
			if a.Stage() != Accepted {
				k := recordKey{a.Stage() == Received, a.ID}
				e.live.records[k] = record{Record[int]{Stage: a.Stage(), QoS: a.QoS, ID: a.ID, Sent: true, H: a.H}, a.Ref}
			}
			if a.Stage() == Published {
				e.use(a.ID, a.H)
			}
		case Forget:
			ticket = a.Ref
			delete(e.live.records, recordKey{a.Stage() == Received, a.ID})
		case Release:
			e.release(a)
		case Refused:
			if isRequest(a.H) {
				break
			}
			e.t.Fatalf("%s: message %d was refused with %d slots free", e.name, a.H, e.s.Free())
		default:
			e.t.Fatalf("%s: event %+v led to %s", e.name, ev, show(a))
		}
	}
	if ticket != 0 {
		e.batches = append(e.batches, batch{ticket, e.live.clone()})
	}
	if err := e.s.check(); err != nil {
		e.t.Fatalf("%s after %+v: %v", e.name, ev, err)
	}
	if len(e.open) > int(e.window) {
		e.t.Fatalf("%s: %d messages are open, the window is %d [MQTT-3.3.4-9]", e.name, len(e.open), e.window)
	}
}

func (e *endpoint) put(p packet) { e.stream = append(e.stream, p) }

func (e *endpoint) use(id uint16, h int) {
	if old, ok := e.inUse[id]; ok && old != h || id == 0 {
		e.t.Fatalf("%s: identifier %d was given to %d while %d uses it [MQTT-2.2.1-4]", e.name, id, h, old)
	}
	e.inUse[id] = h
}

func (e *endpoint) sendPublish(a Action[int]) {
	e.use(a.ID, a.H)
	e.open[a.ID] = true
	switch {
	case a.H <= e.lastSent:
		e.t.Fatalf("%s: message %d was sent after %d on one connection [MQTT-4.6.0-1, MQTT-4.4.0-1]", e.name, a.H, e.lastSent)
	case e.sent[a.H] && !a.Dup, a.Dup && !e.sent[a.H] && !e.crashed:
		e.t.Fatalf("%s: message %d has DUP %t, was it sent before: %t [MQTT-3.3.1-1]", e.name, a.H, a.Dup, e.sent[a.H])
	case e.pubrels[a.H]:
		e.t.Fatalf("%s: message %d was sent after its PUBREL [MQTT-4.3.3-6]", e.name, a.H)
	}
	e.lastSent, e.sent[a.H] = a.H, true
	e.put(packet{kind: Publish, qos: a.QoS, dup: a.Dup, id: a.ID, h: a.H})
}

func (e *endpoint) sendPubrel(a Action[int]) {
	if a.Reason != 0 {
		e.t.Fatalf("%s: PUBREL %d for an unknown identifier", e.name, a.ID)
	}
	if e.linkRels[a.H] || e.recIndex[a.H] <= e.lastRel {
		e.t.Fatalf("%s: PUBREL of %d is repeated or out of order [MQTT-4.6.0-4]", e.name, a.H)
	}
	if !a.Dup && e.pubrels[a.H] {
		e.t.Fatalf("%s: the PUBREL of %d is called the first twice", e.name, a.H)
	}
	e.lastRel, e.linkRels[a.H], e.pubrels[a.H] = e.recIndex[a.H], true, true
}

// answer checks that acknowledgements leave in the order of receipt [MQTT-4.6.0-2, MQTT-4.6.0-3].
func (e *endpoint) answer(what string, waiting []uint16, id uint16) []uint16 {
	if len(waiting) == 0 || waiting[0] != id {
		e.t.Fatalf("%s: %s %d, the packets %v wait for theirs", e.name, what, id, waiting)
	}
	return waiting[1:]
}

func (e *endpoint) deliver(a Action[int]) {
	e.arrived = append(e.arrived, a.H)
	e.deliveryN[a.H]++
	if a.Ref != 0 {
		e.held = append(e.held, a)
		return
	}
	e.live.taken[a.H]++
}

func (e *endpoint) release(a Action[int]) {
	if isRequest(a.H) {
		delete(e.inUse, a.ID)
		return
	}
	if _, twice := e.live.released[a.H]; twice || a.Cause != Done {
		e.t.Fatalf("%s: message %d is released again or without need: %s", e.name, a.H, show(a))
	}
	e.live.released[a.H] = a.Reason
	delete(e.inUse, a.ID)
	delete(e.open, a.ID)
}

// feed offers messages while the window has room.
func (e *endpoint) feed() {
	for len(e.outbox) > 0 && e.s.Free() > 0 {
		h := e.outbox[0]
		e.outbox = e.outbox[1:]
		e.step(Event[int]{Kind: Send, QoS: qosOf(h), H: h})
	}
}

// take lets the endpoint process the first packet on its way to it.
func (e *endpoint) take() {
	p := e.peer.stream[0]
	e.peer.stream = e.peer.stream[1:]
	ev := Event[int]{Kind: p.kind, QoS: p.qos, ID: p.id, Reason: p.reason, H: p.h}
	switch p.kind {
	case Request:
		e.put(packet{kind: Response, id: p.id})
		return
	case Publish:
		ev.Reason = refusal(p.h, e.version)
		ev.Hold = p.h%4 == 1
		if p.qos == 1 {
			e.rx1 = append(e.rx1, p.id)
		} else {
			e.rx2 = append(e.rx2, p.id)
		}
	case Pubrec:
		if h := e.inUse[p.id]; p.reason < codec.UnspecifiedError {
			if _, ok := e.recIndex[h]; !ok {
				e.recs++
				e.recIndex[h] = e.recs
			}
		}
	}
	e.step(ev)
}

// ackHeld lets the application acknowledge the i-th message that it holds.
func (e *endpoint) ackHeld(i int) {
	a := e.held[i]
	e.held = slices.Delete(e.held, i, i+1)
	e.live.taken[a.H]++
	e.step(Event[int]{Kind: Ack, ID: a.ID, Ref: a.Ref})
}

// store makes the first n batches durable.
func (e *endpoint) store(n int) {
	b := e.batches[n-1]
	e.durable, e.batches = b.after, e.batches[n:]
	e.step(Event[int]{Kind: Stored, Ref: b.ticket})
}

// crash loses power: session and application go on from the disk.
func (e *endpoint) crash(created []int) {
	e.crashed = true
	e.live, e.batches, e.held = e.durable.clone(), nil, nil
	e.s = &Session[int]{Config: e.s.Config}
	clear(e.inUse)
	clear(e.deliveryN)
	list := slices.SortedFunc(maps.Values(e.durable.records), func(a, b record) int { return cmp.Compare(a.pos, b.pos) })
	stored, released := map[int]bool{}, map[int]bool{}
	var pubrels []int
	for _, r := range list {
		if err := e.s.Restore(r.Record); err != nil {
			e.t.Fatalf("%s: %v", e.name, err)
		}
		if r.Stage != Received {
			stored[r.H] = true
			e.inUse[r.ID] = r.H
		}
		if r.Stage == Released {
			released[r.H] = true
			pubrels = append(pubrels, r.H)
		}
	}
	maps.DeleteFunc(e.recIndex, func(h, _ int) bool { return !released[h] })
	for i, h := range pubrels {
		if i > 0 && e.recIndex[h] < e.recIndex[pubrels[i-1]] {
			e.t.Fatalf("%s: records of PUBRECs are out of order", e.name)
		}
	}
	// Tickets start anew in the restored session: records written before count as older.
	for k, r := range e.live.records {
		r.pos = 0
		for i, old := range list {
			if old.Stage == r.Stage && old.ID == r.ID {
				r.pos = uint64(i)
			}
		}
		e.live.records[k] = r
	}
	e.s.ticket += uint64(len(list))
	e.durable = e.live.clone()
	e.outbox = nil
	for _, h := range created {
		if _, done := e.live.released[h]; !done && !stored[h] {
			e.outbox = append(e.outbox, h)
		}
	}
}

type world struct {
	t       *rapid.T
	a, b    *endpoint
	online  bool
	created map[*endpoint][]int
	next    int
}

func (w *world) ends() []*endpoint { return []*endpoint{w.a, w.b} }

func (w *world) connect() {
	if w.online {
		return
	}
	w.online = true
	for _, e := range w.ends() {
		e.resetLink()
		if e.version == codec.V5 {
			e.window = uint16(rapid.IntRange(1, 6).Draw(w.t, e.name+" window"))
		}
	}
	for _, e := range w.ends() {
		e.step(Event[int]{Kind: Connected, Link: &Link{
			Version: e.version, Present: true, SendMaximum: e.window, ReceiveMaximum: e.peer.window,
		}})
	}
}

func (w *world) cut(t *rapid.T) {
	if !w.online {
		return
	}
	for _, e := range w.ends() {
		for range rapid.IntRange(0, len(e.peer.stream)).Draw(t, "arrive") {
			e.take()
		}
	}
	w.online = false
	for _, e := range w.ends() {
		e.step(Event[int]{Kind: Disconnected})
		e.resetLink()
	}
}

func (w *world) actions() map[string]func(*rapid.T) {
	end := func(t *rapid.T) *endpoint {
		if rapid.Bool().Draw(t, "which") {
			return w.a
		}
		return w.b
	}
	return map[string]func(*rapid.T){
		"publish": func(t *rapid.T) {
			e := end(t)
			for range rapid.IntRange(1, 4).Draw(t, "n") {
				if w.next++; isRequest(w.next) {
					continue
				}
				e.outbox = append(e.outbox, w.next)
				w.created[e] = append(w.created[e], w.next)
			}
			e.feed()
		},
		"subscribe": func(t *rapid.T) { end(t).step(Event[int]{Kind: Request, H: 9}) },
		"packets": func(t *rapid.T) {
			e := end(t)
			for range rapid.IntRange(0, len(e.peer.stream)).Draw(t, "n") {
				e.take()
				e.feed()
			}
		},
		"ack": func(t *rapid.T) {
			if e := end(t); len(e.held) > 0 {
				e.ackHeld(rapid.IntRange(0, len(e.held)-1).Draw(t, "i"))
			}
		},
		"store": func(t *rapid.T) {
			if e := end(t); len(e.batches) > 0 {
				e.store(rapid.IntRange(1, len(e.batches)).Draw(t, "n"))
			}
		},
		"tick": func(t *rapid.T) { end(t).step(Event[int]{Kind: Tick}) },
		"cut":  w.cut,
		"connect": func(*rapid.T) {
			w.connect()
		},
		"crash": func(t *rapid.T) {
			e := end(t)
			if !e.s.Config.Durable {
				return
			}
			w.cut(t)
			e.crash(w.created[e])
		},
	}
}

// settle runs everything to its end on a good connection.
func (w *world) settle() {
	w.connect()
	for range 10000 {
		busy := false
		w.a.feed()
		w.b.feed()
		for _, e := range w.ends() {
			switch {
			case len(e.peer.stream) > 0:
				e.take()
			case len(e.held) > 0:
				e.ackHeld(len(e.held) - 1)
			case len(e.batches) > 0:
				e.store(1)
			default:
				continue
			}
			busy = true
		}
		if !busy {
			return
		}
	}
	w.t.Fatal("the endpoints do not come to rest")
}

func (w *world) judge() {
	for _, e := range w.ends() {
		if n := len(e.outbox) + e.s.InFlight() + e.s.Waiting() + len(e.rx1) + len(e.rx2); n != 0 {
			w.t.Fatalf("%s: %d messages are left over: outbox %v, in flight %d, waiting %d, unanswered %v %v",
				e.name, n, e.outbox, e.s.InFlight(), e.s.Waiting(), e.rx1, e.rx2)
		}
		if got := e.s.Free(); got != int(e.window) {
			w.t.Fatalf("%s: %d of %d slots are free at rest", e.name, got, e.window)
		}
		for _, h := range w.created[e] {
			taken := e.peer.live.taken[h]
			reason, released := e.live.released[h]
			want := refusal(h, e.version)
			if !released || reason != want || (taken > 0) != (want == 0) || qosOf(h) == 2 && taken > 1 {
				w.t.Fatalf("%s: message %d of QoS %d was taken %d times, released %t with reason %#x",
					e.name, h, qosOf(h), taken, released, reason)
			}
		}
		last := map[codec.QoS]int{}
		seen := map[int]bool{}
		for _, h := range e.arrived {
			if !seen[h] && h < last[qosOf(h)] {
				w.t.Fatalf("%s: message %d arrived first after %d [MQTT-4.6.0-5]: %v", e.name, h, last[qosOf(h)], e.arrived)
			}
			seen[h] = true
			last[qosOf(h)] = max(last[qosOf(h)], h)
		}
	}
}

func TestModel(t *testing.T) {
	for _, v := range []codec.Version{codec.V4, codec.V5} {
		for round := range 10 {
			t.Run(fmt.Sprintf("v%d/%d", v, round), func(t *testing.T) { testModel(t, v) })
		}
	}
}

func testModel(t *testing.T, v codec.Version) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, created: map[*endpoint][]int{}}
		w.a, w.b = newEndpoint(t, "a", v), newEndpoint(t, "b", v)
		w.a.peer, w.b.peer = w.b, w.a
		w.connect()
		t.Repeat(w.actions())
		w.settle()
		w.judge()
	})
}
