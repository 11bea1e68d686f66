package loadgen

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/scenarios"
)

const (
	readBuffer  = 64 << 10
	writeBatch  = 64 << 10 // of one client before others have their turn
	fireBatch   = 256      // timers before sockets have their turn
	dialsAtOnce = 64       // of all workers: connections not yet accepted; more would overflow the backlog of common servers
)

// worker is an event loop on a thread of its own with a share of the clients. Everything of a client happens on it: there
// is no lock and no channel on the way of a message.
type worker struct {
	p       *plan
	index   int
	clients []*client
	own     map[int]*client // by number, where phases name clients
	poll    *poller
	timers  timers
	stop    bool

	now   int64 // nanoseconds since the plan began
	wall  int64 // the wall clock when the plan began, as of the last round
	t0    int64 // when the first message is due; never while connecting
	end   int64 // when the last one is
	phase int   // of now

	read  []byte
	from  arrivals
	out   []byte // what is being written to one client
	acts  []session.Action[message]
	ready []*client // have more to read or to publish
	again []*client
	dec   [6]codec.Decoder

	// Scratch space of messages that are made.
	vars    scenarios.Vars
	pcg     *rand.PCG
	rand    *rand.Rand
	topic   []byte
	text    []byte
	scratch []byte
	props   codec.Properties
	header  [proofSize]byte

	st, spare *stats
	connected int
	inflight  int
	readyN    int // clients that have come as far as publishing
	lostN     int // clients that will not come back
	missing   uint64
	doubled   uint64
	delivered uint64
	plain     uint64 // arrivals without a proof
	asked     uint64 // requests whose answers can be told
	answered  uint64
	blocked   map[*client]struct{}

	dialing  int
	dials    []*client // wait for their turn to dial
	dialHead int

	box     mailbox
	streams sync.WaitGroup
	events  []phaseEvents
	quiet   bool // the run is over: nothing connects, nothing is published
	err     error
}

func newWorker(p *plan, index int) (*worker, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	w := &worker{
		p: p, index: index, poll: poll, t0: never, end: never, read: make([]byte, readBuffer), out: make([]byte, 0, writeBatch+4096),
		blocked: map[*client]struct{}{}, events: make([]phaseEvents, len(p.phases)),
		st: newStats(len(p.groups), len(p.phases)), spare: newStats(len(p.groups), len(p.phases)),
	}
	if p.named {
		w.own = map[int]*client{}
	}
	w.pcg = rand.NewPCG(0, 0)
	w.rand = rand.New(w.pcg)
	w.vars = scenarios.Vars{Run: p.run, Counts: p.counts}
	for _, v := range []codec.Version{codec.V31, codec.V4, codec.V5} {
		w.dec[v] = codec.Decoder{Version: v, From: codec.Server}
	}
	w.box.wake = poll.wake
	return w, nil
}

func (w *worker) tick() { w.now = int64(time.Since(w.p.began)) }

// backTo sets now to the instant of a stamp, so that what arrived counts from then, however late it is read. A stamp that
// lies ahead or far back tells of a wall clock that was set, and of nothing else.
func (w *worker) backTo(stamp int64) {
	if at := stamp - w.wall; stamp != 0 && at < w.now && w.now-at < int64(time.Second) {
		w.now = at
	}
}

// run is the loop. It ends when a command has set stop.
func (w *worker) run() {
	// The thread ends with the goroutine, which never gives it back: its timer slack is not for others.
	runtime.LockOSThread()
	w.poll.prepare()
	handle := w.event
	for !w.stop {
		now := time.Now()
		w.now = int64(now.Sub(w.p.began))
		w.wall = now.UnixNano() - w.now
		w.box.take(w)
		w.fire()
		w.serveReady()
		w.dialMore()
		var timeout int64
		if len(w.ready) == 0 && !w.stop {
			if timeout = w.timers.next(); timeout != never {
				w.tick()
				timeout -= w.now
			}
		}
		if err := w.poll.wait(timeout, handle); err != nil {
			w.err = err
			break
		}
	}
	for _, c := range w.clients {
		w.drop(c, false)
		w.abandon(c)
	}
}

// fire runs the timers that are due, up to a number, so that a worker that is late still reads.
func (w *worker) fire() {
	for range fireBatch {
		if w.timers.next() > w.now {
			return
		}
		t := w.timers.pop()
		if t.kind == timerPhase {
			w.phaseTimer(t)
			continue
		}
		c := w.clients[t.client]
		switch t.kind {
		case timerEmit:
			if e := &c.emitters[t.arg]; e.armed == t.at {
				e.armed = never
				w.tick()
				w.pump(c)
			}
		case timerDial:
			if t.gen == c.gen && c.state == stateAway {
				w.queueDial(c)
			}
		case timerDeadline:
			if t.gen == c.gen && c.state != stateReady {
				w.overdue(c)
			}
		case timerPing:
			if t.gen == c.gen {
				w.pingTimer(c)
			}
		case timerLink:
			if c.link != nil && t.gen == c.gen {
				w.linkTimer(c)
			}
		case timerCut, timerRest:
			if c.link != nil && t.gen == c.gen {
				w.cutTimer(c, t.kind)
			}
		}
	}
	w.tick()
}

// event handles what the poller saw of a client's socket.
func (w *worker) event(ev event) {
	c := w.clients[uint32(ev.token)]
	if uint16(ev.token>>32) != c.gen || c.fd < 0 {
		w.orphanEvent(ev)
		return
	}
	w.tick()
	if c.state == stateDialing {
		if !ev.writable {
			return
		}
		w.dialled(c)
		if c.fd < 0 {
			return
		}
	}
	if ev.writable && len(c.pending) > 0 {
		w.flushPending(c)
	}
	if ev.readable && c.fd >= 0 {
		w.readSome(c, ev.closing)
	}
}

// readSome reads what a socket holds. Edges tell once: the socket is read until it has no more, or the client has its turn
// again.
func (w *worker) readSome(c *client, closing bool) {
	if c.silent || c.choked() {
		c.unread = true
		return
	}
	c.unread = false
	for range 8 {
		n, stamp, err := w.from.read(c.fd, w.read)
		switch {
		case err == errAgain:
			return
		case err != nil:
			w.broken(c, err)
			return
		case n == 0:
			w.broken(c, nil)
			return
		}
		w.tick()
		w.backTo(stamp)
		w.receive(c, w.read[:n])
		w.tick()
		if c.fd < 0 || n < len(w.read) && !closing {
			return
		}
		if c.choked() {
			c.unread = true
			return
		}
	}
	c.unread = true
	w.queueReady(c)
}

func (w *worker) queueReady(c *client) {
	if !c.queued {
		c.queued = true
		w.ready = append(w.ready, c)
	}
}

// serveReady gives each client with more to do its turn.
func (w *worker) serveReady() {
	w.ready, w.again = w.again[:0], w.ready
	for _, c := range w.again {
		c.queued = false
		if c.fd >= 0 && c.unread {
			w.readSome(c, true)
		}
		w.pump(c)
	}
	clear(w.again)
}

// handOver gives the collector what has been counted, and goes on with the other set.
func (w *worker) handOver() *stats {
	s := w.st
	s.connected, s.inflight, s.ready = w.connected, w.inflight, w.readyN
	s.missing, s.duplicated = w.missing, w.doubled
	s.cpu = threadCPU()
	s.backlog = w.backlog()
	w.st = w.spare
	w.spare = nil
	return s
}

// backlog is how many messages are due and held back.
func (w *worker) backlog() uint64 {
	var n uint64
	if w.t0 == never {
		return 0
	}
	at := min(w.now, w.end) - w.t0
	for c := range w.blocked {
		for i := range c.emitters {
			if e := &c.emitters[i]; !e.pub.flood && e.due <= w.now {
				n += e.left(at)
			}
		}
	}
	return n
}
