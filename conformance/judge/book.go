package judge

import (
	"sync"
	"time"

	"github.com/mqlab/mqlab/codec"
)

const (
	maxSessions  = 4096
	maxBookBytes = 16 << 20

	// grace is how long a session that ended with its connection may still be found.
	grace = 5 * time.Second
)

// Book carries what is known of the sessions of one server from one connection to the next. Use
// one only where every connection of the clients in view is in view. The zero value is empty and
// ready; it is safe for concurrent use. It keeps 4,096 sessions and about 16 MiB at most, and
// forgets beyond that.
type Book struct {
	mu       sync.Mutex // guards the fields below
	sessions map[string]*record
	bytes    int
}

// record is what is known of one Client Identifier.
type record struct {
	owner *Conn // the connection that is open
	v     codec.Version
	alive bool // the session outlives its connection
	known bool // everything that happened in it was seen
	ended time.Time
	subs  subscriptions
	open  [2]map[uint16]*exchange
	orig  [2]uint32
	cost  int
}

// meet takes over what is known when a connection is accepted, and judges the server's word on it.
func (c *Conn) meet(present bool) {
	c.subs.known = c.subs.known || c.announce.fresh
	id := c.hello.clientID
	b := c.book
	if b == nil || id == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.sessions[id]
	if c.hello.emptyID && c.can(server) {
		if !c.holds(dAssignedIDUnique, server, r == nil || r.owner == nil) {
			c.breach(dAssignedIDUnique, server, Fail, "an Assigned Client Identifier that no other session has",
				quote(id)+" a second time")
		}
	}
	if r != nil && r.owner == nil && r.v == c.v {
		c.inherit(r, present)
	}
	b.drop(id)
	if b.sessions == nil {
		b.sessions = make(map[string]*record)
	}
	if len(b.sessions) >= maxSessions {
		for old := range b.sessions { // any one: to forget is always safe
			b.drop(old)
			break
		}
	}
	b.sessions[id] = &record{owner: c}
}

// inherit takes over the record of the client's former connection.
func (c *Conn) inherit(r *record, present bool) {
	if !c.hello.clean && !r.alive && c.hello.at.Sub(r.ended) >= grace && c.can(server) {
		c.judge(dSessionPresentAfterEnd, server, !present, "Session Present 0, as the session ended with its connection", "Session Present 1")
	}
	if !r.known {
		return
	}
	for s := client; s <= server; s++ {
		f := &c.flows[s]
		switch {
		case !c.announce.resumed:
			f.stale = r.open[s]
		case r.alive && len(f.open) == 0: // else the client spoke before it had CONNACK
			f.open, f.original = r.open[s], r.orig[s]
			if f.open == nil {
				f.open = make(map[uint16]*exchange)
			}
		}
	}
	if c.announce.resumed && r.alive && len(c.subs.entries) == 0 {
		special := r.subs.special
		c.subs = r.subs
		c.subs.special = special
	}
}

// leave records what is known when a connection has ended.
func (b *Book) leave(c *Conn, at time.Time) {
	if b == nil || c.hello.clientID == "" || c.phase != up {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.sessions[c.hello.clientID]
	if r == nil || r.owner != c {
		return
	}
	*r = record{v: c.v, ended: at, alive: !c.hello.clean}
	if c.v == codec.V5 {
		r.alive = c.announce.expiry > 0
	}
	if !c.whole || !c.subs.known || c.flows[client].off || c.flows[server].off {
		return
	}
	cost := 64*len(c.subs.entries) + c.subs.bytes
	for s := client; s <= server; s++ {
		cost += 128 * len(c.flows[s].open)
	}
	if b.bytes+cost > maxBookBytes {
		return
	}
	b.bytes += cost
	r.known, r.cost, r.subs = true, cost, c.subs
	r.subs.retained = nil
	for s := client; s <= server; s++ {
		f := &c.flows[s]
		for id, e := range f.open {
			if e.stage == declined {
				delete(f.open, id)
				continue
			}
			e.here, e.relHere, e.counted, e.due, e.recs, e.over = false, false, false, false, 0, 0
		}
		r.open[s], r.orig[s] = f.open, f.original
		f.open = nil
	}
}

func (b *Book) drop(id string) {
	if r := b.sessions[id]; r != nil {
		b.bytes -= r.cost
		delete(b.sessions, id)
	}
}
