package loadgen

import (
	"time"

	"github.com/mqlab/mqlab/scenarios"
)

// linkLimit is how many bytes of one direction a link holds before it is full, as a router's queue is.
const linkLimit = 32 << 10

// link is a client's constrained network: a bandwidth, a delay with jitter in order, and cuts. It is driven by the worker's
// timers.
type link struct {
	spec     *scenarios.Link
	up, down lane
	armed    int64
	cuts     uint64
	live     bool
}

// lane is one direction.
type lane struct {
	queue  []parcel
	bytes  int
	freeAt int64 // when the last byte has passed the bottleneck
	last   int64 // when the last parcel arrives
	draws  uint64
}

type parcel struct {
	at   int64
	data []byte
}

func (l *link) choked() bool { return l.down.bytes >= linkLimit }
func (l *link) full() bool   { return l.up.bytes >= linkLimit }

// open makes the link new for a connection.
func (l *link) open(w *worker, c *client) {
	l.up, l.down = lane{draws: l.up.draws}, lane{draws: l.down.draws}
	l.live, l.armed = true, never
	l.scheduleCut(w, c)
}

func (l *link) ready(*worker, *client) {}

func (l *link) close() {
	l.live = false
	l.up.queue, l.up.bytes, l.down.queue, l.down.bytes = nil, 0, nil, 0
}

// scheduleCut draws when the connection breaks. The clock runs from its beginning.
func (l *link) scheduleCut(w *worker, c *client) {
	every := int64(l.spec.CutEvery)
	if every <= 0 || w.quiet {
		return
	}
	l.cuts++
	spread := int64(l.spec.CutJitter)
	u := unit(draw(w.p.seed, forCut, uint64(c.number()), l.cuts))
	at := w.now + max(1, every+int64((2*u-1)*float64(spread)))
	w.timers.push(timer{at: at, client: c.place, gen: c.gen, kind: timerCut})
}

// pass puts bytes on the way and returns when they arrive.
func (l *link) pass(w *worker, c *client, ln *lane, b []byte, rate scenarios.Bandwidth, salt uint64) {
	start := max(w.now, ln.freeAt)
	if rate > 0 {
		ln.freeAt = start + int64(float64(len(b))/float64(rate)*1e9)
	} else {
		ln.freeAt = start
	}
	at := ln.freeAt + int64(l.spec.Delay)
	if l.spec.Jitter > 0 {
		ln.draws++
		at += int64(unit(draw(w.p.seed, forJitter, uint64(c.number())<<1|salt, ln.draws)) * float64(l.spec.Jitter))
	}
	at = max(at, ln.last)
	ln.last = at
	ln.queue = append(ln.queue, parcel{at, append([]byte(nil), b...)})
	ln.bytes += len(b)
	l.arm(w, c, at)
}

func (l *link) arm(w *worker, c *client, at int64) {
	if at >= l.armed {
		return
	}
	l.armed = at
	w.timers.push(timer{at: at, client: c.place, gen: c.gen, kind: timerLink})
}

// send takes bytes from the client.
func (l *link) send(w *worker, c *client, b []byte) {
	if c.silent {
		return // into the void
	}
	l.pass(w, c, &l.up, b, l.spec.Up, 0)
}

// arrive takes bytes from the network.
func (l *link) arrive(w *worker, c *client, b []byte) {
	l.pass(w, c, &l.down, b, l.spec.Down, 1)
}

// linkTimer lets go what has come through.
func (w *worker) linkTimer(c *client) {
	l := c.link
	l.armed = never
	gen := c.gen
	wasFull, wasChoked := l.full(), l.choked()
	for len(l.up.queue) > 0 && l.up.queue[0].at <= w.now {
		p := l.up.pop()
		w.transmit(c, p.data)
		if c.gen != gen {
			return
		}
	}
	for len(l.down.queue) > 0 && l.down.queue[0].at <= w.now {
		p := l.down.pop()
		w.consume(c, p.data)
		if c.gen != gen || !c.attached() {
			return
		}
	}
	for _, ln := range []*lane{&l.up, &l.down} {
		if len(ln.queue) > 0 {
			l.arm(w, c, ln.queue[0].at)
		}
	}
	if wasChoked && !l.choked() && c.unread {
		w.queueReady(c)
	}
	if wasFull && !l.full() {
		w.pump(c)
	}
}

func (ln *lane) pop() parcel {
	p := ln.queue[0]
	ln.queue[0] = parcel{}
	ln.queue = ln.queue[1:]
	if len(ln.queue) == 0 {
		ln.queue = nil
	}
	ln.bytes -= len(p.data)
	return p
}

// cutTimer breaks the connection, in the midst of what is under way: the first bytes of the next parcel still go out.
func (w *worker) cutTimer(c *client, kind timerKind) {
	l := c.link
	if !c.attached() || c.state == stateDialing || w.quiet {
		return
	}
	if kind == timerCut {
		if len(l.up.queue) > 0 && !c.silent {
			p := l.up.queue[0].data
			n := int(draw(w.p.seed, forCut, uint64(c.number()), l.cuts<<8|1) % uint64(len(p)))
			if w.transmit(c, p[:n]); !c.attached() {
				return
			}
		}
		if l.spec.HalfOpen > 0 {
			c.silent = true
			l.up.queue, l.up.bytes, l.down.queue, l.down.bytes = nil, 0, nil, 0
			w.timers.push(timer{at: w.now + int64(l.spec.HalfOpen), client: c.place, gen: c.gen, kind: timerRest})
			return
		}
	}
	c.wanted = true
	if l.spec.CutFor > 0 {
		c.pause = int64(l.spec.CutFor)
	} else {
		c.pause = int64(time.Millisecond)
	}
	w.cut(c)
}

// cut resets the connection, as a network does that fails.
func (w *worker) cut(c *client) {
	c.wanted = true
	w.drop(c, true)
}
