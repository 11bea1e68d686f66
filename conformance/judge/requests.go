package judge

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
)

const (
	maxRequests = 1024
	maxPings    = 16
)

// request is a SUBSCRIBE or UNSUBSCRIBE that waits for its answer.
type request struct {
	kind    codec.Type
	frame   int
	at      time.Time
	hash    uint64
	filters []wanted // nil where there are too many to keep
	n       int
	subID   bool
}

// most returns the highest QoS that the request names for the Topic Filter: one that stands in it more than once is one
// subscription, and the code may be that of the subscription each time.
func (q *request) most(w wanted) codec.QoS {
	most := w.qos
	if w.entry < 0 {
		return 2
	}
	for _, o := range q.filters {
		if o.entry == w.entry {
			most = max(most, o.qos)
		}
	}
	return most
}

// wanted is one Topic Filter of a SUBSCRIBE.
type wanted struct {
	qos    codec.QoS
	wild   bool
	shared bool
	entry  int32 // index into subscriptions.entries, -1 for none
}

type ping struct {
	frame int
	at    time.Time
}

// requests follows what a client asks for and a server has to answer.
type requests struct {
	open     map[uint16]*request
	answered map[uint16]answeredRequest // the last few, to tell a repeated answer from a stray one
	odd      idSet
	off      bool
	pings    []ping
	scanned  time.Time

	connected bool // a CONNECT was seen
	doubled   bool // a second one was seen while all was in order
	pingsOwed int  // PINGREQ packets without an answer, however many
	pingsOld  int  // those of them that came before the second CONNECT

	early  bool   // the client sent more before it was accepted
	served bool   // the server went on after it refused
	authed bool   // the server sent AUTH
	auth   bool   // the client sent AUTH without a method
	over   excess // limits that the client went beyond, while no such packet was acknowledged
}

type answeredRequest struct {
	kind codec.Type
	n    int
}

func (r *requests) has(id uint16) bool { return r.open[id] != nil }

// ask follows a new request and judges its id.
func (c *Conn) ask(kind codec.Type, id uint16, n int, frame []byte) *request {
	r := &c.requests
	if !c.whole || r.off || id == 0 || r.odd.has(id) {
		return nil
	}
	hash := maphash.Bytes(hashSeed, frame)
	switch old := r.open[id]; {
	case old != nil:
		r.odd.add(id)
		delete(r.open, id)
		if old.hash != hash && c.can(client) {
			c.breach(dIDInUseClient, client, Fail, "an id that is not in use", fmt.Sprintf("%s with id %d, which an unanswered request has", kind, id))
			c.excused[server] = true
		}
		return nil
	case c.flows[client].open[id] != nil && c.flows[client].open[id].stage != declined:
		r.odd.add(id)
		// Between the begin of a resumed session and its CONNACK the client may not know yet.
		if c.can(client) && c.flows[client].open[id].here {
			c.breach(dIDInUseClient, client, Fail, "an id that is not in use", fmt.Sprintf("%s with id %d, which an unacknowledged message has", kind, id))
			c.excused[server] = true
		}
		c.flows[client].blur(id)
		return nil
	}
	if len(r.open) >= maxRequests {
		r.off = true
		r.open = nil
		c.subs.known = false
		c.limit("requests: more unanswered than are followed; SUBACK and UNSUBACK are not matched any more")
		return nil
	}
	if c.can(client) {
		c.keep(dIDInUseClient, client)
	}
	if r.open == nil {
		r.open = make(map[uint16]*request)
	}
	q := &request{kind: kind, frame: c.frame, at: c.at, hash: hash, n: n}
	r.open[id] = q
	delete(r.answered, id)
	return q
}

// subscribe follows a SUBSCRIBE.
func (c *Conn) subscribe(p *codec.Subscribe, frame []byte) {
	q := c.ask(codec.TypeSubscribe, p.PacketID, len(p.Filters), frame)
	subID := uint32(0)
	if c.v == codec.V5 {
		subID = p.Props.Uint(codec.PropSubscriptionID, 0)
	}
	for i := range p.Filters {
		f := &p.Filters[i]
		entry := c.subs.add(c, f, subID)
		if q != nil && len(p.Filters) <= maxEntries {
			q.filters = append(q.filters, wanted{qos: f.QoS, wild: topic.IsWild(f.Filter), shared: c.v == codec.V5 && shared(f.Filter), entry: entry})
		}
	}
	if q != nil {
		q.subID = subID != 0
	}
}

func (c *Conn) unsubscribe(p *codec.Unsubscribe, frame []byte) {
	c.ask(codec.TypeUnsubscribe, p.PacketID, len(p.Filters), frame)
}

// reply matches an answer with its request. It returns nil where there is nothing to judge by.
func (c *Conn) reply(kind codec.Type, id uint16) *request {
	r := &c.requests
	if !c.whole || r.off || id == 0 || r.odd.has(id) {
		return nil
	}
	idDuty, one := dSubackID, dOneSuback
	if kind == codec.TypeUnsubscribe {
		idDuty, one = dUnsubackID, dOneUnsuback
	}
	q := r.open[id]
	if q == nil || q.kind != kind {
		if c.can(server) {
			expected := "the id of an unanswered " + kind.String()
			c.breach(dReplyID, server, Fail, expected, fmt.Sprintf("id %d", id))
			c.breach(idDuty, server, Fail, expected, fmt.Sprintf("id %d", id))
			if done, ok := r.answered[id]; ok && done.kind == kind && done.n > 1 {
				c.breach(one, server, Fail, "one answer to one "+kind.String(), fmt.Sprintf("a further one with id %d", id))
			}
		}
		r.odd.add(id)
		return nil
	}
	delete(r.open, id)
	if len(r.answered) >= maxPings {
		clear(r.answered)
	}
	if r.answered == nil {
		r.answered = make(map[uint16]answeredRequest)
	}
	r.answered[id] = answeredRequest{kind, q.n}
	c.answered(q.frame)
	if !c.can(server) {
		return nil
	}
	c.keep(dReplyID, server)
	c.keep(idDuty, server)
	if q.n > 1 {
		c.keep(one, server)
	}
	return q
}

func (c *Conn) suback(p *codec.Suback) {
	q := c.reply(codec.TypeSubscribe, p.PacketID)
	if q == nil {
		return
	}
	c.keep(dSubAnswered, server)
	if !c.holds(dSubackCount, server, len(p.Reasons) == q.n) {
		c.breach(dSubackCount, server, Fail, fmt.Sprintf("%d codes, one for each Topic Filter", q.n),
			fmt.Sprintf("%d codes", len(p.Reasons)))
	}
	if len(p.Reasons) != q.n || q.filters == nil {
		return
	}
	above := -1
	for i, w := range q.filters {
		code := p.Reasons[i]
		c.subs.grant(w.entry, code)
		if code <= codec.GrantedQoS2 && codec.QoS(code) > w.qos && codec.QoS(code) > q.most(w) {
			above = i
		}
	}
	c.judgeGrants(p, q, above)
	if c.v == codec.V5 && c.phase == up {
		c.judgeAvailability(p, q)
	}
}

// judgeGrants judges the granted QoS values by those requested.
func (c *Conn) judgeGrants(p *codec.Suback, q *request, above int) {
	if above < 0 {
		c.keep(dSubackAbove, server)
		if len(q.filters) > 1 {
			c.keep(dSubackOrder, server)
		}
		return
	}
	expected := fmt.Sprintf("at most QoS %d for Topic Filter %d", q.filters[above].qos, above+1)
	actual := fmt.Sprintf("QoS %d", p.Reasons[above])
	g := Fail
	if c.v != codec.V5 {
		g = Warn
	}
	c.breach(dSubackAbove, server, g, expected, actual)
	// Codes that would fit in another order were most likely permuted.
	var want, got []int
	for i, w := range q.filters {
		want, got = append(want, int(w.qos)), append(got, int(p.Reasons[i]))
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) > 1 && slices.Equal(want, got) {
		c.breach(dSubackOrder, server, Fail, "codes in the order of the Topic Filters", "the requested values in another order")
	}
}

// judgeAvailability judges grants by what CONNACK announced as unavailable.
func (c *Conn) judgeAvailability(p *codec.Suback, q *request) {
	a := &c.announce
	for i, w := range q.filters {
		code := p.Reasons[i]
		granted := code <= codec.GrantedQoS2
		check := func(d duty, applies bool, what string) {
			switch {
			case !applies:
			case granted:
				c.breach(d, server, Warn, "no grant of "+what+", announced as unavailable", code.Name(codec.TypeSuback, c.v))
			default:
				c.keep(d, server)
			}
		}
		check(dWildcardGranted, a.noWild && w.wild, "a filter with a wildcard")
		check(dSharedGranted, a.noShared && w.shared, "a shared subscription")
		check(dSubIDGranted, a.noSubIDs && q.subID, "a Subscription Identifier")
		if q.subID && !a.noSubIDs {
			c.judge(dSubIDGranted, server, code != codec.SubscriptionIdentifiersNotSupported,
				"no refusal of Subscription Identifiers, which are available", "0xA1")
		}
	}
}

func (c *Conn) unsuback(p *codec.Unsuback) {
	q := c.reply(codec.TypeUnsubscribe, p.PacketID)
	if q == nil {
		return
	}
	c.keep(dUnsubAnswered, server)
	if c.v == codec.V5 {
		if !c.holds(dUnsubackCount, server, len(p.Reasons) == q.n) {
			c.breach(dUnsubackCount, server, Fail, fmt.Sprintf("%d codes, one for each Topic Filter", q.n),
				fmt.Sprintf("%d codes", len(p.Reasons)))
		}
	}
}

// pingreq keeps the first PINGREQ packets that are not answered yet. Behind one that is not kept none is until all are
// answered: which of them a PINGRESP belongs to is told by their order alone.
func (c *Conn) pingreq() {
	r := &c.requests
	if len(r.pings) == r.pingsOwed && len(r.pings) < maxPings {
		r.pings = append(r.pings, ping{c.frame, c.at})
	}
	r.pingsOwed++
}

func (c *Conn) pingresp() {
	r := &c.requests
	if r.pingsOwed == 0 {
		return
	}
	r.pingsOwed--
	if r.pingsOld > 0 {
		r.pingsOld--
	} else if r.doubled && c.whole {
		r.doubled = false
		c.breach(dSecondConnect, server, Fail, "the end of the connection after a second CONNECT", "PINGRESP for a later PINGREQ")
	}
	if c.can(server) {
		c.keep(dPingAnswered, server)
	}
	if len(r.pings) > 0 {
		first := r.pings[0]
		copy(r.pings, r.pings[1:])
		r.pings = r.pings[:len(r.pings)-1]
		c.answered(first.frame)
	}
}

// answered notes that the server answered the client's packet with the index, and looks for older
// requests that should have been answered long ago: the server has read them, as it has read this one.
func (c *Conn) answered(frame int) {
	c.timing.answer(c, frame)
	r := &c.requests
	if !c.can(server) {
		return
	}
	if r.scanned.IsZero() {
		r.scanned = c.at
	}
	if c.at.Sub(r.scanned) < patience {
		return
	}
	r.scanned = c.at
	late := func(at time.Time, f int) bool { return f < frame && c.at.Sub(at) >= patience }
	expected := fmt.Sprintf("an answer within %v", patience)
	const actual = "none, although a later packet was answered"
	for _, id := range slices.Sorted(maps.Keys(r.open)) {
		q := r.open[id]
		if !late(q.at, q.frame) {
			continue
		}
		d := dSubAnswered
		if q.kind == codec.TypeUnsubscribe {
			d = dUnsubAnswered
		}
		c.breach(d, server, Fail, expected+fmt.Sprintf(" to %s with id %d", q.kind, id), actual)
		r.odd.add(id)
		delete(r.open, id)
	}
	f := &c.flows[client]
	for _, id := range slices.Sorted(maps.Keys(f.open)) {
		e := f.open[id]
		if !e.here && !e.relHere || !e.due || !late(e.at, e.frame) {
			continue
		}
		if e.stage == released {
			c.breach(dPubrelAnswered, server, Fail, expected+fmt.Sprintf(" to PUBREL with id %d", id), actual)
		} else {
			c.breach(dPublishAnswered, server, Fail, expected+fmt.Sprintf(" to PUBLISH with id %d", id), actual)
		}
		f.blur(id)
	}
	if len(r.pings) > 0 && late(r.pings[0].at, r.pings[0].frame) {
		c.breach(dPingAnswered, server, Fail, expected+" to PINGREQ", actual)
		r.pings = r.pings[:0]
	}
}

// shared reports whether the filter is that of a Shared Subscription of 5.0.
func shared(filter string) bool { return strings.HasPrefix(filter, "$share/") }
