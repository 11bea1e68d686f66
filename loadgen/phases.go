package loadgen

import (
	"slices"
	"time"
)

// phaseEvents counts the events of a phase that come at a rate: clients that go and come back, takeovers. All workers
// count all events, and each acts on those of its own clients.
type phaseEvents struct {
	next   uint64
	about  []*group
	total  uint64 // clients of these groups
	stride uint64 // coprime to total: goes through all of them, neighbours apart
}

// The two timers of a phase, by gen.
const (
	phaseBegins = iota
	phaseEvent
)

func (w *worker) phaseTimer(t timer) {
	i := int(t.arg)
	ph := &w.p.phases[i]
	if w.quiet || t.at > w.end {
		return // what was due before the end happens, late or not
	}
	if t.gen == phaseBegins {
		w.phase = i
		for _, c := range w.clients {
			if len(c.emitters) > 0 {
				w.pump(c) // another window, another QoS, the end of an idle phase
			}
		}
		switch ph.Kind {
		case "storm":
			w.storm(i)
			return
		case "churn", "takeover":
			if ph.Rate <= 0 {
				return
			}
			w.events[i] = w.p.eventsOf(i)
		default:
			return
		}
	}
	w.phaseEvents(i)
}

// eventsOf says which clients the events of a phase go through.
func (p *plan) eventsOf(phase int) phaseEvents {
	var e phaseEvents
	for _, g := range p.groups {
		if about := p.phases[phase].Groups; len(about) == 0 || slices.Contains(about, g.Name) {
			e.about = append(e.about, g)
			e.total += uint64(g.Count)
		}
	}
	for e.stride = max(1, e.total*5/8); gcd(e.stride, e.total) != 1; e.stride++ {
	}
	return e
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// client is the number of the client of an event.
func (e *phaseEvents) client(n uint64) int {
	i := int(n * e.stride % e.total)
	for _, g := range e.about {
		if i < g.Count {
			return g.first + i
		}
		i -= g.Count
	}
	return 0
}

// phaseEvents acts on the events that are due and sets the timer for this worker's next.
func (w *worker) phaseEvents(i int) {
	e := &w.events[i]
	ph := &w.p.phases[i]
	if e.total == 0 {
		return
	}
	start, stop := w.t0+w.p.table.from(i), min(w.end, w.t0+w.p.table.ends[i])
	for {
		at := start + int64(float64(e.next)/float64(ph.Rate)*1e9)
		if at >= stop {
			return
		}
		c := w.own[e.client(e.next)]
		if c == nil {
			e.next++
			continue
		}
		if at > w.now {
			w.timers.push(timer{at: at, kind: timerPhase, gen: phaseEvent, arg: uint8(i)})
			return
		}
		e.next++
		if !c.attached() || c.state != stateReady {
			continue
		}
		if ph.Kind == "takeover" {
			w.takeover(c)
		} else {
			w.bounce(c, ph.Abrupt)
		}
	}
}

// storm cuts a share of the clients at once. They come back at the phase's rate, or as their own backoff says.
func (w *worker) storm(i int) {
	ph := &w.p.phases[i]
	rank := 0
	e := w.p.eventsOf(i)
	for _, g := range e.about {
		for index := range g.Count {
			number := g.first + index
			if ph.Share > 0 && unit(draw(w.p.seed, forStorm, uint64(number), uint64(i))) >= ph.Share {
				continue
			}
			rank++
			c := w.own[number]
			if c == nil || !c.attached() {
				continue
			}
			if ph.Rate > 0 {
				c.pause = max(1, int64(float64(rank-1)/float64(ph.Rate)*1e9))
			}
			w.cut(c)
		}
	}
}

// bounce has a client go and come back at once.
func (w *worker) bounce(c *client, abrupt bool) {
	c.pause = 1
	if abrupt {
		w.cut(c)
		return
	}
	w.goodbye(c)
}

// orphan is a connection whose Client Identifier a newer one uses: the server has to close it.
type orphan struct {
	fd    int
	io    *stream
	gen   uint16
	since int64
}

// takeover opens a second connection of the client while the first is still there.
func (w *worker) takeover(c *client) {
	w.abandon(c)
	c.orphan = &orphan{fd: c.fd, io: c.io, gen: c.gen, since: w.now}
	c.fd, c.io = -1, nil
	c.pause = 1
	c.wanted = true
	w.drop(c, false)
}

// orphanEvent reads an older connection to its end.
func (w *worker) orphanEvent(ev event) {
	c := w.clients[uint32(ev.token)]
	o := c.orphan
	if o == nil || o.fd < 0 || o.gen != uint16(ev.token>>32) || !ev.readable {
		return
	}
	for {
		n, err := readSocket(o.fd, w.read)
		switch {
		case err == errAgain:
			return
		case err != nil || n == 0:
			closeSocket(o.fd, false)
			c.orphan = nil
			return
		}
	}
}

// ended reads what a socket holds and says whether its end is among it.
func (w *worker) ended(fd int) bool {
	for {
		if n, err := readSocket(fd, w.read); err != nil || n == 0 {
			return err != errAgain
		}
	}
}

// takeoverPatience is how long a server may leave an older connection open.
const takeoverPatience = int64(5 * time.Second)

// abandon closes an older connection that is still there.
func (w *worker) abandon(c *client) {
	o := c.orphan
	if o == nil {
		return
	}
	c.orphan = nil
	if o.fd >= 0 {
		if w.now-o.since > takeoverPatience && !w.ended(o.fd) {
			w.fault(c, "protocol", "the server left the older connection of a Client Identifier open for 5s", -1)
		}
		closeSocket(o.fd, true)
	}
	if o.io != nil {
		o.io.close()
	}
}
