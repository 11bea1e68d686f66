package loadgen

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mqlab/mqlab/internal/ledger"
)

// Run runs the workload and returns what it measured. When ctx ends the run stops early, and the result of what has been
// done is returned with Result.Stopped set. An error means that there is no result: the workload is invalid, or no client
// could connect.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	if cfg.Workload == nil {
		return nil, errors.New("a load run needs a workload")
	}
	if err := cfg.Workload.Validate(); err != nil {
		return nil, err
	}
	p, err := newPlan(&cfg)
	if err != nil {
		return nil, err
	}
	if err := p.fits(); err != nil {
		return nil, err
	}
	r := &runner{p: p, c: newCollector(p)}
	return r.run(ctx)
}

// runner leads the workers through a run.
type runner struct {
	p       *plan
	c       *collector
	workers []*worker
	ended   sync.WaitGroup
	stopped string
	// connecting is how long the clients took to connect.
	connecting time.Duration
}

func (r *runner) run(ctx context.Context) (*Result, error) {
	p := r.p
	p.began = time.Now()
	n := p.cfg.Workers
	if n <= 0 {
		n = defaultWorkers()
	}
	n = min(n, p.clients)
	p.dialsAtOnce = max(1, dialsAtOnce/n)
	for i := range n {
		w, err := newWorker(p, i)
		if err != nil {
			for _, w := range r.workers {
				w.poll.close()
			}
			return nil, err
		}
		r.workers = append(r.workers, w)
	}
	r.share()
	r.c.start(r.workers)
	defer r.c.stop()
	for _, w := range r.workers {
		r.ended.Go(w.run)
	}
	defer r.end()

	dialled := time.Now()
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	r.connecting = time.Since(dialled)
	if r.stopped == "" {
		r.load(ctx)
		r.drain(ctx)
	}
	r.leave()
	r.end()
	for _, w := range r.workers {
		if w.err != nil {
			return nil, w.err
		}
	}
	return r.c.result(r), nil
}

// share gives each worker its clients. Members of shared subscriptions stay together, because they have one account.
func (r *runner) share() {
	for _, g := range r.p.groups {
		for i := range g.Count {
			w := r.workers[(g.first+i)%len(r.workers)]
			if g.shared {
				w = r.workers[0]
			}
			c := w.newClient(g, i)
			if r.p.named {
				w.own[c.number()] = c
			}
		}
	}
}

// every has all workers do something and waits for it.
func (r *runner) every(f func(*worker)) {
	var wg sync.WaitGroup
	for _, w := range r.workers {
		wg.Add(1)
		if !w.box.put(func(w *worker) { f(w); wg.Done() }) {
			wg.Done()
		}
	}
	wg.Wait()
}

const (
	connectPatience = 15 * time.Second // without any progress
	refusedPatience = 2 * time.Second  // while everything fails
)

// connect has all clients connect and subscribe.
func (r *runner) connect(ctx context.Context) error {
	p := r.p
	rate := float64(p.w.ConnectRate)
	r.every(func(w *worker) {
		w.tick()
		for _, c := range w.clients {
			if rate > 0 {
				at := w.now + int64(float64(c.number())/rate*1e9)
				w.timers.push(timer{at: at, client: c.place, gen: c.gen, kind: timerDial})
				continue
			}
			w.queueDial(c)
		}
	})
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	planned := time.Now() // when the last one dials
	if rate > 0 {
		planned = planned.Add(time.Duration(float64(p.clients) / rate * 1e9))
	}
	last, since := -1, time.Now()
	for {
		var ready, lost, connected int
		r.every(func(w *worker) {
			r.c.mu.Lock()
			defer r.c.mu.Unlock()
			ready, lost, connected = ready+w.readyN, lost+w.lostN, connected+w.connected
		})
		if ready+lost+connected != last {
			last, since = ready+lost+connected, time.Now()
		}
		patience := connectPatience
		if ready+connected == 0 {
			patience = refusedPatience
		}
		switch {
		case ready >= p.clients:
			return nil
		case ready+lost >= p.clients && ready > 0:
			p.notes = append(p.notes, fmt.Sprintf("%d of %d clients could not connect", p.clients-ready, p.clients))
			return nil
		case ready+lost >= p.clients || time.Since(since) > patience && r.c.failures() > 0 && ready == 0 || time.Since(since) > connectPatience && ready == 0:
			return r.nobody()
		case time.Since(since) > connectPatience && time.Since(planned) > connectPatience:
			p.notes = append(p.notes, fmt.Sprintf("the run began without %d of %d clients, which could not connect", p.clients-ready, p.clients))
			return nil
		}
		select {
		case <-ctx.Done():
			r.stopped = "interrupted while the clients connected"
			return nil
		case <-tick.C:
			r.c.maybeCollect(false)
		}
	}
}

// nobody says why there is no run.
func (r *runner) nobody() error {
	r.c.collect(false)
	e := r.c.worst("connect", "subscribe", "disconnect", "protocol")
	if e == nil {
		return fmt.Errorf("connect to %s: %w within %s", r.p.cfg.Target, errNobody, connectPatience)
	}
	err := fmt.Errorf("connect to %s: %w: %s", r.c.target, errNobody, e.Reason)
	if e.Advice != "" {
		err = fmt.Errorf("%w; %s", err, e.Advice)
	}
	return err
}

// load runs the phases.
func (r *runner) load(ctx context.Context) {
	p := r.p
	start := int64(time.Since(p.began)) + int64(2*time.Millisecond)
	end := start + p.table.end()
	r.c.begin(start)
	r.every(func(w *worker) { w.begin(start, end) })
	for {
		now := int64(time.Since(p.began))
		if now >= end {
			break
		}
		wait := min(r.c.nextAt()-now, end-now)
		t := time.NewTimer(time.Duration(max(wait, 1)))
		select {
		case <-ctx.Done():
			t.Stop()
			r.stopped = "interrupted"
			cut := int64(time.Since(p.began))
			r.every(func(w *worker) { w.finish(cut) })
			r.c.finish(cut)
			return
		case <-t.C:
		}
		r.c.maybeCollect(false)
		if r.done() {
			break
		}
	}
	now := int64(time.Since(p.began))
	r.c.finish(min(now, end))
	r.every(func(w *worker) { w.finish(min(now, end)) })
}

// done says that nothing is left to publish, because all publications have a count.
func (r *runner) done() bool {
	for _, g := range r.p.groups {
		for _, pub := range g.pubs {
			if pub.Count == 0 {
				return false
			}
		}
		if len(g.pubs) == 0 && r.p.offers == 0 && !r.p.closed {
			return false
		}
	}
	for _, ph := range r.p.phases {
		switch ph.Kind {
		case "storm", "churn", "takeover":
			return false
		}
	}
	busy := false
	r.every(func(w *worker) {
		if w.publishing() {
			r.c.mu.Lock()
			busy = true
			r.c.mu.Unlock()
		}
	})
	return !busy
}

// longestLook is how much one look at the workers adds to a silence at most.
const longestLook = 50 * time.Millisecond

// drain waits for what is under way. It goes on as long as messages arrive: what comes late is not lost.
func (r *runner) drain(ctx context.Context) {
	patience := r.p.w.Drain
	if patience <= 0 {
		patience = 5 * time.Second
	}
	if r.stopped != "" {
		patience = min(patience, time.Second)
	}
	r.c.draining = true
	var last uint64
	// Silence is what was looked at: while the machine had no time for this loop, it had none for what would have broken it.
	var silence time.Duration
	looked := time.Now()
	limit := looked.Add(20 * patience)
	var proven, plain uint64 // that are to come
	known := false
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		var sent, delivered, unproven, asked, answered uint64
		inflight, held := 0, false
		r.every(func(w *worker) {
			r.c.mu.Lock()
			defer r.c.mu.Unlock()
			delivered, unproven = delivered+w.delivered, unproven+w.plain
			asked, answered = asked+w.asked, answered+w.answered
			inflight += w.inflight
			held = held || w.publishing()
			for i := range w.st.counts {
				sent += w.st.counts[i].Acknowledged + w.st.counts[i].Published
			}
		})
		progress := sent + r.c.settledCount() + delivered + unproven + answered
		if !held && !known {
			proven, plain = r.expected()
			known = true
		}
		if known && inflight == 0 && delivered >= proven && unproven >= plain && answered >= asked {
			return
		}
		now := time.Now()
		silence += min(now.Sub(looked), longestLook)
		looked = now
		if progress != last {
			last, silence = progress, 0
		}
		if silence > patience || now.After(limit) {
			return
		}
		select {
		case <-ctx.Done():
			if r.stopped == "" {
				r.stopped = "interrupted while what was under way came in"
			}
			patience = min(patience, time.Second)
			ctx = context.WithoutCancel(ctx)
		case <-tick.C:
			r.c.maybeCollect(false)
		}
	}
}

// leave ends all connections in order.
func (r *runner) leave() {
	r.c.collect(true)
	r.every(func(w *worker) {
		w.quiet = true
		w.tick()
		for _, c := range w.clients {
			c.settleEnd(w)
			w.abandon(c)
			w.goodbye(c)
		}
	})
	r.c.collect(true)
}

// end stops the workers and waits for all they started.
func (r *runner) end() {
	for _, w := range r.workers {
		w.box.put(func(w *worker) { w.stop = true })
	}
	r.ended.Wait()
	for _, w := range r.workers {
		if w.poll == nil {
			continue
		}
		w.box.close(w)
		w.streams.Wait()
		w.poll.close()
		w.poll = nil
	}
}

// begin starts the schedule.
func (w *worker) begin(t0, end int64) {
	w.t0, w.end = t0, end
	w.tick()
	for _, c := range w.clients {
		for i := range c.emitters {
			e := &c.emitters[i]
			e.begin(w)
			if c.state != stateReady {
				e.freeAt = never
			}
			if e.due != never {
				e.armed = e.due
				w.timers.push(timer{at: e.due, client: c.place, kind: timerEmit, arg: uint8(i)})
			}
		}
		if len(c.emitters) > 0 && c.state != stateReady {
			w.blocked[c] = struct{}{}
		}
	}
	for i := range w.p.phases {
		w.timers.push(timer{at: t0 + w.p.table.from(i), kind: timerPhase, arg: uint8(i)})
	}
}

// finish ends the schedule: what is due later is not published, what is held back still is. Emitters that are behind come
// to the end by themselves.
func (w *worker) finish(end int64) {
	w.end = end
	w.tick()
	for _, c := range w.clients {
		for i := range c.emitters {
			e := &c.emitters[i]
			if e.pub.flood || e.due > end {
				e.due = never
			}
		}
	}
}

// publishing says that something is due, or will be.
func (w *worker) publishing() bool {
	for _, c := range w.clients {
		if c.state == stateGone {
			continue
		}
		for i := range c.emitters {
			if c.emitters[i].due != never {
				return true
			}
		}
	}
	return false
}

// settleEnd notes, before the client leaves, what has come to nothing.
func (c *client) settleEnd(w *worker) {
	for i := range c.emitters {
		e := &c.emitters[i]
		for e.due != never && e.due <= w.end {
			phase := w.p.table.at(e.due - w.t0)
			qos := e.pub.qosOf(draw(w.p.seed, forQoS, uint64(c.number())<<16|uint64(e.pub.ordinal), e.sched.k), phase)
			s := &e.streams[e.pub.topicIndexOf(e.sched.k)*len(e.pub.levels)+e.pub.slot[qos]]
			s.outcome().void.Add(s.issued, s.issued+1)
			s.issued++
			counts := w.st.at(phase, c.g.index)
			counts.Scheduled++
			counts.Dropped++
			e.advance(w, c)
		}
		e.due = never
	}
	for rec := range c.sess.All() {
		if m := rec.H; int(m.emitter) < len(c.emitters) && m.sent != 0 {
			e := &c.emitters[m.emitter]
			s := &e.streams[e.pub.topicIndexOf(m.k)*len(e.pub.levels)+e.pub.slot[m.qos]]
			s.outcome().open.Add(m.seq, m.seq+1)
		}
	}
	if c.recv != nil && c.state != stateReady {
		c.recv.gone()
	}
}

// claim is what the publisher says of a stream for a receiver.
func (s *outStream) claim() ledger.Claim {
	c := ledger.Claim{Issued: s.issued}
	if s.fate != nil {
		c.Void, c.Open, c.Cuts = &s.fate.void, &s.fate.open, s.fate.cuts
	}
	return c
}

// before is how many messages of a stream were due by an instant since the run's first message, the instant included.
func (e *emitter) before(c *client, stream int, until int64) uint64 {
	s := &e.streams[stream]
	if until == never || s.issued == 0 {
		return s.issued
	}
	pub := e.pub
	var k uint64
	if pub.flood {
		k = e.sched.k
		for _, m := range e.marks {
			if m.at >= until+c.g.p.start {
				k = m.k
				break
			}
		}
	} else {
		sched := pub.schedule(c.g, int(c.index))
		if pub.arrival != arrivePoisson {
			k = sched.count(&c.g.p.profile, until+1)
		} else {
			for k < e.sched.k && sched.due(&c.g.p.profile) <= until {
				sched.advance(pub.arrival, pub.gap(c.number(), sched.k+1))
				k++
			}
		}
	}
	k = min(k, e.sched.k)
	topicIndex, level := uint64(stream/len(pub.levels)), stream%len(pub.levels)
	if len(pub.levels) == 1 {
		return (k + uint64(pub.topics) - 1 - topicIndex) / uint64(pub.topics)
	}
	// The QoS of each message follows from its number and its instant.
	var n uint64
	sched := pub.schedule(c.g, int(c.index))
	for i := range k {
		if i%uint64(pub.topics) == topicIndex {
			phase := 0
			if !pub.flood {
				phase = c.g.p.table.at(sched.due(&c.g.p.profile))
			}
			qos := pub.qosOf(draw(c.g.p.seed, forQoS, uint64(c.number())<<16|uint64(pub.ordinal), i), phase)
			if pub.slot[qos] == level {
				n++
			}
		}
		sched.advance(pub.arrival, pub.gap(c.number(), sched.k+1))
	}
	return n
}
