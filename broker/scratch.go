package broker

import (
	"hash/maphash"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/internal/topic"
)

// scratch is what processing a batch needs and an idle connection does not: the read buffer,
// a decoder, and the routes of the topics seen last. Connections borrow one while bytes are
// at hand, so there are about as many as processors.
type scratch struct {
	b       *Broker
	owner   *conn // whose batch is processed; nil for the broker's own messages
	buf     []byte
	fill    int // bytes of a packet that is not whole yet
	dec     codec.Decoder
	now     session.Time
	acts    []session.Action[*delivery] // of the own session
	fan     []session.Action[*delivery] // of receivers
	touched []*conn                     // got bytes in this batch
	msg     message
	props   []byte
	slots   [routeSlots]slot
	cached  int // targets held by the slots
	matches []topic.Target[*sess]
	spare   route
	stats   batchStats
	inVain  bool         // a socket was waited for in this batch until its time was up; no other is
	spent   session.Time // until when a queue was last waited for in vain in this batch; 0: none was
	passing bool         // a message is given to those that can take it; no full queue is waited for
	late    []late       // who could not
}

// batchStats is added to the Broker's counters once per batch.
type batchStats struct {
	packetsIn, bytesIn, messagesIn    int
	packetsOut, bytesOut, messagesOut int
	droppedQoS0                       int
}

// readSize is the size of the read buffer: what one batch takes in at most.
const readSize = 32 << 10

func newScratch(b *Broker) *scratch {
	return &scratch{b: b, buf: make([]byte, readSize), dec: codec.Decoder{From: codec.Client}}
}

// begin prepares for the batch of a connection, which may be nil.
func (sc *scratch) begin(owner *conn, now session.Time) {
	sc.owner, sc.now, sc.inVain, sc.spent = owner, now, false, 0
}

// touch notes that c got bytes. c.out.mu is held.
func (sc *scratch) touch(c *conn) {
	if !c.out.marked {
		c.out.marked = true
		sc.touched = append(sc.touched, c)
	}
}

// shareFlush is the number of touched connections from which other processors help to write.
const shareFlush = 512

// flush sends what the batch has appended so far.
func (sc *scratch) flush() {
	for len(sc.touched) > shareFlush {
		rest := len(sc.touched) - shareFlush/2
		part := append([]*conn(nil), sc.touched[rest:]...)
		clear(sc.touched[rest:])
		sc.touched = sc.touched[:rest]
		sc.b.wg.Go(func() { // the caller is counted itself, so the counter is not zero here
			for _, c := range part {
				c.flush()
			}
		})
	}
	for i, c := range sc.touched {
		c.flush()
		sc.touched[i] = nil
	}
	sc.touched = sc.touched[:0]
}

// settle adds the batch's statistics to the Broker's.
func (sc *scratch) settle() {
	s, n := &sc.b.stats, &sc.stats
	if n.packetsIn > 0 {
		s.received.Add(uint64(n.packetsIn))
	}
	if n.bytesIn > 0 {
		s.receivedBytes.Add(uint64(n.bytesIn))
	}
	if n.messagesIn > 0 {
		s.receivedMessages.Add(uint64(n.messagesIn))
	}
	if n.packetsOut > 0 {
		s.sent.Add(uint64(n.packetsOut))
		s.sentBytes.Add(uint64(n.bytesOut))
	}
	if n.messagesOut > 0 {
		s.sentMessages.Add(uint64(n.messagesOut))
	}
	if n.droppedQoS0 > 0 {
		s.droppedQoS0.Add(uint64(n.droppedQoS0))
	}
	*n = batchStats{}
}

// sent counts a packet that was appended for a Client.
func (sc *scratch) sent(bytes int) {
	sc.stats.packetsOut++
	sc.stats.bytesOut += bytes
}

// route is whom a Topic Name goes to.
type route struct {
	name    string
	gen     uint64
	targets []target
	shares  []*topic.Share[*sess]
}

// target is one Session of a route with all of its Subscriptions that match: it gets one copy
// at the highest QoS [MQTT-3.3.4-2] with all Subscription Identifiers [MQTT-3.3.4-4].
type target struct {
	s       *sess
	ids     []uint32
	more    []topic.Options // all Subscriptions, where there are several
	qos     codec.QoS
	noLocal bool // of at least one
	rap     bool // of at least one
}

// slot is a place of the route cache. A name is given a route on its second use in a row, so
// that topics used once pass through without cost.
type slot struct {
	hash uint64
	r    *route
}

const (
	routeSlots = 1 << 10
	maxCached  = 1 << 16 // targets
)

var routeSeed = maphash.MakeSeed()

// lookup returns the route of a Topic Name, valid until the next call.
func (sc *scratch) lookup(name string) *route {
	h := maphash.String(routeSeed, name)
	sl := &sc.slots[h%routeSlots]
	gen := sc.b.subs.Gen()
	if r := sl.r; r != nil && sl.hash == h && r.name == name {
		if r.gen != gen {
			sc.cached -= len(r.targets)
			sc.build(r, name)
			sc.cached += len(r.targets)
			r.gen = gen
		}
		return r
	}
	if sl.hash != h {
		if sl.r != nil {
			sc.cached -= len(sl.r.targets)
		}
		*sl = slot{hash: h}
		sc.build(&sc.spare, name)
		return &sc.spare
	}
	if sc.cached > maxCached {
		clear(sc.slots[:])
		sc.cached = 0
	}
	r := &route{name: strings.Clone(name), gen: gen}
	sc.build(r, name)
	sl.hash, sl.r = h, r
	sc.cached += len(r.targets)
	return r
}

// dedupeMapFrom is the number of targets from which a map finds an earlier one.
const dedupeMapFrom = 16

func (sc *scratch) build(r *route, name string) {
	clear(r.targets)
	clear(r.shares)
	r.targets, r.shares = r.targets[:0], r.shares[:0]
	sc.matches = sc.b.subs.AppendMatches(sc.matches[:0], name)
	var index map[*sess]int
	if len(sc.matches) > dedupeMapFrom {
		index = make(map[*sess]int, len(sc.matches))
	}
	for i := range sc.matches {
		m := &sc.matches[i]
		if m.Share != nil {
			r.shares = append(r.shares, m.Share)
			continue
		}
		at := -1
		if index != nil {
			if k, ok := index[m.Subscriber]; ok {
				at = k
			} else {
				index[m.Subscriber] = len(r.targets)
			}
		} else {
			for k := range r.targets {
				if r.targets[k].s == m.Subscriber {
					at = k
					break
				}
			}
		}
		if at < 0 {
			r.targets = append(r.targets, newTarget(m.Subscriber, m.Options))
			continue
		}
		t := &r.targets[at]
		if t.more == nil {
			t.more = append(t.more, t.options())
		}
		t.more = append(t.more, m.Options)
		t.add(m.Options)
	}
	clear(sc.matches)
}

func newTarget(s *sess, o topic.Options) target {
	t := target{s: s, qos: o.QoS, noLocal: o.NoLocal, rap: o.RetainAsPublished}
	if o.ID != 0 {
		t.ids = []uint32{o.ID}
	}
	return t
}

// options returns the Subscription that the target was made of.
func (t *target) options() topic.Options {
	o := topic.Options{QoS: t.qos, NoLocal: t.noLocal, RetainAsPublished: t.rap}
	if len(t.ids) > 0 {
		o.ID = t.ids[0]
	}
	return o
}

func (t *target) add(o topic.Options) {
	t.qos = max(t.qos, o.QoS)
	t.noLocal = t.noLocal || o.NoLocal
	t.rap = t.rap || o.RetainAsPublished
	if o.ID != 0 {
		t.ids = append(t.ids, o.ID)
	}
}

// forPublisher returns the target without the Subscriptions that want no messages of their
// own Session [MQTT-3.8.3-3]; false when none is left.
func (t *target) forPublisher() (target, bool) {
	own := target{s: t.s}
	found := false
	for _, o := range t.more {
		if !o.NoLocal {
			own.add(o)
			found = true
		}
	}
	return own, found
}
