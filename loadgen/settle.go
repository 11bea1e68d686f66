package loadgen

import (
	"github.com/mqlab/mqlab/internal/ledger"
	"github.com/mqlab/mqlab/internal/topic"
)

// share returns the account of a shared subscription.
func (p *plan) share(name, inner string, qos uint8) *shared {
	if s := p.shares[name]; s != nil {
		s.qos = max(s.qos, qos)
		return s
	}
	if p.shares == nil {
		p.shares = map[string]*shared{}
	}
	s := &shared{name: name, text: inner, qos: qos}
	p.shares[name] = s
	return s
}

// entitled is who gets a message: a client's own subscriptions, or a shared subscription.
type entitled struct {
	c *client
	s *shared
}

// audience finds who is entitled to the messages of a topic.
type audience struct {
	tree  topic.Tree[entitled]
	found []topic.Target[entitled]
	seen  map[entitled]struct{}
	list  []entitled
}

func newAudience(workers []*worker) *audience {
	a := &audience{seen: map[entitled]struct{}{}}
	for _, w := range workers {
		for _, c := range w.clients {
			if c.recv == nil {
				continue
			}
			for i := range c.recv.filters {
				f := &c.recv.filters[i]
				who := entitled{c: c}
				if f.shared != nil {
					who = entitled{s: f.shared}
				}
				// Two filters of one client need two places in the tree, which joins what is equal.
				a.tree.Subscribe("", f.text, who, topic.Options{})
			}
		}
	}
	return a
}

// of lists who is entitled to a message of the publisher, each once.
func (a *audience) of(name string, publisher *client) []entitled {
	a.found = a.tree.AppendMatches(a.found[:0], name)
	a.list = a.list[:0]
	if len(a.found) > 1 {
		clear(a.seen)
	}
	for i := range a.found {
		who := a.found[i].Subscriber
		if len(a.found) > 1 {
			if _, twice := a.seen[who]; twice {
				continue
			}
			a.seen[who] = struct{}{}
		}
		if who.c != nil {
			if m := who.c.recv.match(name, who.c == publisher); m.copies == 0 || m.mixed || m.shared != nil {
				continue
			}
		}
		a.list = append(a.list, who)
	}
	return a.list
}

// eachStream calls f for every stream of which something was sent.
func (r *runner) eachStream(f func(c *client, e *emitter, stream int, name string)) {
	for _, w := range r.workers {
		for _, c := range w.clients {
			for i := range c.emitters {
				e := &c.emitters[i]
				for s := range e.streams {
					if e.streams[s].issued > 0 {
						name := e.topic
						if e.pub.perMsg {
							name = e.pub.topicOf(int(c.index), s/len(e.pub.levels))
						}
						f(c, e, s, name)
					}
				}
			}
		}
	}
}

// expected is how many deliveries are to come at most, those with a proof and those without. Nothing is published any
// more when it is called, and clients that subscribe anew meanwhile do not matter: then it is too high, and waiting ends by
// patience.
func (r *runner) expected() (proven, plain uint64) {
	r.pause(func() {
		a := newAudience(r.workers)
		r.eachStream(func(c *client, e *emitter, stream int, name string) {
			s := &e.streams[stream]
			sent := s.issued
			if s.fate != nil {
				sent -= s.fate.void.Len()
			}
			receivers := uint64(len(a.of(name, c)))
			if e.pub.place == proofNone {
				plain += sent * receivers
				return
			}
			proven += sent * receivers
			plain += s.plain * receivers
		})
	})
	return proven, plain
}

// pause runs f while all workers stand still.
func (r *runner) pause(f func()) {
	gate, still := make(chan struct{}), make(chan struct{}, len(r.workers))
	n := 0
	for _, w := range r.workers {
		if w.box.put(func(*worker) { still <- struct{}{}; <-gate }) {
			n++
		}
	}
	for range n {
		<-still
	}
	f()
	close(gate)
}

// settle compares what was sent with what arrived, for all streams and receivers.
func (r *runner) settle() (rows [3]LedgerRow, bytes int64) {
	a := newAudience(r.workers)
	var tallies [3]ledger.Tally
	r.eachStream(func(c *client, e *emitter, stream int, name string) {
		if e.pub.place == proofNone {
			return
		}
		sent := e.pub.levels[stream%len(e.pub.levels)]
		claim := e.streams[stream].claim()
		key := streamKey(uint32(c.number()), uint32(e.pub.base+stream))
		for _, who := range a.of(name, c) {
			var acc *account
			var granted uint8
			if who.s != nil {
				acc, granted = &who.s.account, who.s.qos
			} else {
				acc, granted = &who.c.recv.account, who.c.recv.match(name, who.c == c).qos
			}
			qos := min(sent, granted)
			t := acc.settle(c, e, stream, claim, acc.find(key), qos)
			if who.s != nil {
				t.Reordered = 0 // the members of a shared subscription overtake one another
			}
			tallies[qos].Add(t)
		}
	})
	for _, w := range r.workers {
		for _, c := range w.clients {
			if c.recv == nil {
				continue
			}
			bytes += c.recv.bytes()
			for q := range rows {
				rows[q].Corrupted += c.recv.rows[q].Corrupted
				rows[q].Unexpected += c.recv.rows[q].Unexpected
				rows[q].Unverified += c.recv.rows[q].Unverified
			}
		}
	}
	for _, s := range r.p.shares {
		bytes += s.bytes()
	}
	for q := range rows {
		t := &tallies[q]
		rows[q].QoS = q
		rows[q].Expected, rows[q].Delivered, rows[q].Lost = t.Expected, t.Delivered, t.Lost
		rows[q].Duplicated, rows[q].Reordered, rows[q].Unsettled = t.Duplicated, t.Reordered, t.Unsettled
	}
	return rows, bytes
}

// settle accounts for one stream at one receiver.
func (a *account) settle(c *client, e *emitter, stream int, claim ledger.Claim, at *entry, qos uint8) ledger.Tally {
	kind := ofConnection
	if qos > 0 {
		kind = ofSession
	}
	excuse := func(from uint64, until int64) {
		to := claim.Issued
		if until != never {
			if until < c.g.p.start {
				return
			}
			to = e.before(c, stream, until-c.g.p.start)
		}
		if from < to {
			claim.Excused = append(claim.Excused, ledger.Span{From: from, To: to})
		}
	}
	if !a.begun {
		excuse(0, never)
		return (*ledger.Stream)(nil).Settle(claim)
	}
	if at == nil {
		if a.epoch[kind] > 0 {
			excuse(0, a.since[kind])
		}
		return (*ledger.Stream)(nil).Settle(claim)
	}
	for _, l := range at.loose {
		excuse(l.from, l.until)
	}
	if at.epoch != a.epoch[kind] {
		excuse(at.Next(), a.since[kind])
	}
	return at.Settle(claim)
}
