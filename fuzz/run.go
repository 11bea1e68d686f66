package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

// Config says what is fuzzed and for how long. A Target with a command is started, watched and started again; with a
// URL alone it is a live one. Where Dial is set, connections are opened by it.
type Config struct {
	Target Target
	Dial   Dial
	PID    int    // of a live target on this machine that was started elsewhere; 0: unknown
	Name   string // of the target in results; empty: its command or URL

	Username, Password string
	Versions           []codec.Version // empty: those that the target admits
	Seed               uint64          // 0: chosen at random
	Time               time.Duration   // 0: no bound
	Execs              int64           // 0: no bound
	Workers            int             // 0: 8
	Light              bool            // no bursts, no large payloads
	Corpus             string          // folder of scripts that are kept between runs; empty: none
	Coverage           bool            // of a Go program that was built with -cover: new code that runs counts as somewhere new
	Out                string          // folder for what is written about findings; empty: nothing is written
	FailOn             []string        // classes that make the run fail; empty: all
	StopAfter          int             // findings after which the run ends; 0: no bound

	Patience  time.Duration // what a well-behaved client waits for an answer; 0: 5 s
	Minimise  time.Duration // budget for making a finding's script smaller; 0: 20 s, negative: not at all
	Replays   int           // by which a finding is confirmed; 0: 3
	Resources time.Duration // between two measurements of a quiet target; 0: 5 s, negative: not measured
	// Events is told of what happens, from goroutines of the run, one call at a time.
	Events func(Event)
}

// Event is something that happened. One of the fields beside Stats is set where it is more than progress.
type Event struct {
	Stats   Stats
	Finding *Finding // a copy: new, or known better than before
	Settled bool     // the finding was confirmed and made small, as far as it goes
	Note    string   // what a person may want to know
}

// Stats is where a run stands.
type Stats struct {
	Elapsed  time.Duration `json:"elapsed_ns"`
	Execs    int64         `json:"execs"`
	Packets  int64         `json:"packets"`
	Received int64         `json:"received"`
	Bytes    int64         `json:"bytes"`
	Corpus   int           `json:"corpus"`
	States   int           `json:"states"`
	Edges    int           `json:"edges"`
	Findings int           `json:"findings"`
	Restarts int           `json:"restarts"`
	Covered  int           `json:"covered,omitempty"` // blocks of the target's code that have run
}

// fuzzer is one run.
type fuzzer struct {
	cfg     Config
	dial    Dial
	proc    *Process // nil for a target that nobody watches
	own     bool     // proc was started here and can be started again
	started time.Time
	sum     *Summary
	lag     lag
	far     time.Duration // round trip

	execs, packets, received, bytes atomic.Int64
	restarts                        atomic.Int64

	// gate is held for reading while a worker executes, and for writing while the target has to be quiet.
	gate   sync.RWMutex
	naps   naps // long pauses of scripts
	alarms chan alarm
	queue  chan alarm // for the bench, where there is one
	fatal  context.CancelCauseFunc
	closed sync.Map // signatures of connections that were kept, by which nobody has to wait again

	events sync.Mutex // one call of Events at a time

	mu       sync.Mutex // guards the fields below
	corpus   *corpus
	findings map[string]*Finding
	order    []*Finding
	vague    map[string]int // findings that only their scripts tell apart, by key

	// The goroutine that watches has the rest for itself.
	rings   []*ring
	guard   *guard
	replay  *executor
	sick    bool      // the target may not serve
	before  []*Script // what was executed before somebody began to wait
	slow    int       // times that somebody was slow under load
	later   []trouble // met while something else was looked into
	measure resources
	sys     sysState

	left     leavings
	survived map[string]bool // signatures of stack traces that the target lived on after
	lingers  time.Duration   // how long a target may take to end after a stack trace
	cover    *coverage       // nil: nobody looks
}

// alarm is what a worker tells the goroutine that watches.
type alarm struct {
	trouble *trouble // nil: the target does not take connections
	script  *Script
	before  []*Script // what the same worker sent before, the latest last
}

// errTarget is why a run ends that has lost its target.
var errTarget = errors.New("the target is gone")

// Run fuzzes a target until the time or the number of scripts is reached, or the context ends. The error is about the
// run itself: a target that cannot be started or reached. The summary is nil then.
func Run(ctx context.Context, cfg Config) (*Summary, error) {
	f, err := newFuzzer(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	return f.run(ctx), nil
}

// newFuzzer starts and reaches the target.
func newFuzzer(ctx context.Context, cfg Config) (*fuzzer, error) {
	f := &fuzzer{cfg: cfg, alarms: make(chan alarm, 64), findings: map[string]*Finding{}, corpus: newCorpus(), lingers: traceWait}
	c := &f.cfg
	if c.Seed == 0 {
		c.Seed = rand.Uint64() >> 1
	}
	if c.Workers <= 0 {
		c.Workers = 8
	}
	if c.Patience <= 0 {
		c.Patience = 5 * time.Second
	}
	if c.Minimise == 0 {
		c.Minimise = 20 * time.Second
	}
	if c.Replays <= 0 {
		c.Replays = 3
	}
	if c.Resources == 0 {
		c.Resources = 5 * time.Second
	}
	if err := f.reach(ctx); err != nil {
		return nil, err
	}
	if c.Name == "" {
		c.Name = c.Target.Cmd
		if c.Name == "" {
			c.Name = transport.Redact(c.Target.URL)
		}
	}
	far, err := f.meet(ctx)
	if err != nil {
		f.stop()
		return nil, err
	}
	if len(c.Versions) == 0 {
		c.Versions = f.admitted(ctx)
	}
	if err := f.watchCoverage(); err != nil {
		f.stop()
		return nil, err
	}
	f.far = far
	f.replay = f.executor()
	f.replay.calls = nil // it works while the rest is quiet
	f.left.wanted.Store(!f.own)
	f.sum = &Summary{Target: c.Name, Seed: c.Seed, Versions: c.Versions, FailOn: c.FailOn}
	for range c.Workers + f.dozers() {
		f.rings = append(f.rings, &ring{})
	}
	if c.Corpus != "" {
		notes, err := f.corpus.load(c.Corpus)
		if err != nil {
			f.stop()
			return nil, err
		}
		f.started = time.Now()
		for _, n := range notes {
			f.tell(Event{Note: n})
		}
	}
	return f, nil
}

// reach starts the target, or finds out how to dial it.
func (f *fuzzer) reach(ctx context.Context) error {
	c := &f.cfg
	var err error
	switch {
	case c.Target.Cmd != "":
		if f.proc, err = Start(ctx, c.Target); err != nil {
			return err
		}
		f.own = true
	case c.Dial == nil && c.Target.URL == "":
		return errors.New("nothing to fuzz: name a command or an address")
	case c.PID != 0:
		if f.proc, err = Attach(c.PID, c.Target.URL); err != nil {
			return err
		}
	}
	f.dial = c.Dial
	if f.dial == nil {
		d := c.Target.Dialer
		if d.Timeout == 0 {
			d.Timeout = c.Patience
		}
		f.dial = func(ctx context.Context) (net.Conn, error) {
			url := c.Target.URL
			if f.own {
				url = f.proc.URL()
			}
			return d.Dial(ctx, url)
		}
	}
	return nil
}

// meet sees that the target serves an ordinary client, and returns how far away it is. A target that dies of one now and
// then is given several tries: scripts will say more about it.
func (f *fuzzer) meet(ctx context.Context) (time.Duration, error) {
	for try := 1; ; try++ {
		far, err := f.greet(ctx)
		if err == nil || !f.own || ctx.Err() != nil {
			return far, err
		}
		t := f.dying(ctx)
		if t == nil {
			return 0, err
		}
		if err = fmt.Errorf("%w; %s", err, t.title); try == tries {
			return 0, err
		}
		if f.guard != nil {
			f.guard.close()
			f.guard = nil
		}
		if rerr := f.proc.Restart(ctx); rerr != nil {
			return 0, errors.Join(err, rerr)
		}
	}
}

// tries is how often a target is started that dies of an ordinary client.
const tries = 5

// greet sends the bystanders, and a client that comes and goes.
func (f *fuzzer) greet(ctx context.Context) (time.Duration, error) {
	c := &f.cfg
	var err error
	if f.guard, err = openGuard(ctx, f.dial, c.Username, c.Password, c.Patience); err != nil {
		return 0, fmt.Errorf("the target %s does not serve an ordinary client: %w; see that it runs and that user name and password are right", c.Name, err)
	}
	far := f.guard.took / 7 // round trips of an opening
	if t := f.guard.round(c.Patience); t != nil {
		return 0, fmt.Errorf("the target %s does not serve an ordinary client: %s", c.Name, t.title)
	}
	if t := f.guard.probe(ctx, c.Patience); t != nil {
		f.guard.retained = false // the rest must do
		if t := f.guard.probe(ctx, c.Patience); t != nil {
			return 0, fmt.Errorf("the target %s does not serve an ordinary client: %s", c.Name, t.title)
		}
	}
	return far, nil
}

// admitted returns the versions under which the target admits a client: not to serve one is no fault.
func (f *fuzzer) admitted(ctx context.Context) []codec.Version {
	var all []codec.Version
	for _, v := range []codec.Version{codec.V5, codec.V4, codec.V31} {
		if admits(ctx, f.dial, f.hello(v), f.cfg.Patience) {
			all = append(all, v)
		}
	}
	return all
}

// hello is the CONNECT of a client that nobody knows.
func (f *fuzzer) hello(v codec.Version) *codec.Connect {
	c := &codec.Connect{Version: v, ClientID: unique() + "v", CleanStart: true, KeepAlive: 600}
	if f.cfg.Username != "" {
		c.HasUsername, c.Username = true, f.cfg.Username
		c.HasPassword, c.Password = f.cfg.Password != "", []byte(f.cfg.Password)
	}
	return c
}

func (f *fuzzer) executor() *executor {
	x := newExecutor(f.dial)
	x.roundTrip(f.far)
	x.closeWait = min(quickWait, f.cfg.Patience) // a finding waits longer
	x.closeKnown = func(sig string) bool { _, known := f.closed.LoadOrStore(sig, true); return known }
	x.closeForget = func(sig string) { f.closed.Delete(sig) }
	x.left = &f.left
	x.calls = f.naps.call
	return x
}

// stop ends the target where it was started here.
func (f *fuzzer) stop() {
	f.sys.close()
	f.cover.close()
	if f.guard != nil {
		f.guard.tidy()
		f.guard.close()
	}
	if f.own {
		_ = f.proc.Stop()
	}
}

func (f *fuzzer) run(user context.Context) *Summary {
	if f.cfg.Resources > 0 { // before anything is sent
		f.weigh(user)
		f.sysOpen(user)
	}
	f.started = time.Now()
	f.sum.Started = f.started.UTC()
	ctx, cancel := context.WithCancelCause(user)
	defer cancel(nil)
	f.fatal = cancel
	if f.cfg.Time > 0 {
		t := time.AfterFunc(f.cfg.Time, func() { cancel(nil) })
		defer t.Stop()
	}
	var workers sync.WaitGroup
	for i := range f.cfg.Workers {
		workers.Go(func() { f.work(ctx, i) })
	}
	wake := f.dozeAll(ctx)
	done := make(chan struct{})
	go func() {
		workers.Wait()
		wake()
		close(done)
	}()
	settle, enough := context.WithCancel(user)
	defer enough()
	var met []trouble
	var bench sync.WaitGroup
	if f.own {
		f.queue = make(chan alarm, 64)
		bench.Go(func() { met = f.bench(settle) })
	}
	f.watch(user, ctx, done)
	cancel(nil)
	<-done
	if f.queue != nil {
		close(f.queue)
		t := time.AfterFunc(lastBudget, enough)
		bench.Wait()
		t.Stop()
		f.later = append(f.later, met...)
	}
	if !errors.Is(context.Cause(ctx), errTarget) {
		f.last(user)
	}
	f.clean()
	if err := context.Cause(ctx); errors.Is(err, errTarget) {
		f.sum.Stopped = err.Error()
	}
	st := f.stats()
	f.sum.Elapsed, f.sum.Execs, f.sum.Packets, f.sum.Corpus, f.sum.States, f.sum.Edges, f.sum.Restarts = st.Elapsed, st.Execs, st.Packets, st.Corpus, st.States, st.Edges, st.Restarts
	f.sum.Covered = st.Covered
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sum.Findings = f.order
	slices.SortStableFunc(f.sum.Findings, func(a, b *Finding) int { return rank(a) - rank(b) })
	if f.sum.Findings == nil {
		f.sum.Findings = []*Finding{}
	}
	return f.sum
}

// rank orders findings, the gravest first.
func rank(f *Finding) int {
	n := slices.Index(Oracles(), f.Oracle)
	if f.Warn {
		n += 100
	}
	return n
}

func (f *fuzzer) stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Stats{
		Elapsed: time.Since(f.started), Execs: f.execs.Load(), Packets: f.packets.Load(), Received: f.received.Load(), Bytes: f.bytes.Load(),
		Corpus: len(f.corpus.entries), States: len(f.corpus.states), Edges: len(f.corpus.edges), Findings: len(f.order), Restarts: int(f.restarts.Load()), Covered: f.cover.covered(),
	}
}

func (f *fuzzer) tell(e Event) {
	if f.cfg.Events == nil {
		return
	}
	e.Stats = f.stats()
	if e.Finding != nil { // its counter goes on while somebody reads
		f.mu.Lock()
		c := *e.Finding
		f.mu.Unlock()
		e.Finding = &c
	}
	f.events.Lock()
	defer f.events.Unlock()
	f.cfg.Events(e)
}

// work executes scripts until the run ends.
func (f *fuzzer) work(ctx context.Context, id int) {
	g := f.generator(id)
	x := f.executor()
	for ctx.Err() == nil {
		if n := f.execs.Add(1); f.cfg.Execs > 0 && n > f.cfg.Execs {
			f.execs.Add(-1)
			return
		}
		f.gate.RLock()
		s, seed := f.next(g)
		f.ring(id).add(s, f.execs.Load())
		f.left.note(s)
		epoch := f.cover.last()
		r := x.run(ctx, s)
		f.gate.RUnlock()
		f.packets.Add(r.packets)
		f.received.Add(r.received)
		f.bytes.Add(r.bytes)
		if r.dialErr == nil && !r.slow && !lasting(s) {
			f.learn(s, r, seed)
			f.coverLearn(s, seed, epoch)
		}
		for i := range r.troubles {
			f.alarm(ctx, alarm{&r.troubles[i], s, f.ring(id).before(s)})
		}
		if r.dialErr != nil && ctx.Err() == nil {
			f.alarm(ctx, alarm{script: s})
			f.wait(ctx, 20*time.Millisecond)
		}
	}
}

// alarm tells the goroutine that watches, unless it knows. Troubles are copied.
func (f *fuzzer) alarm(ctx context.Context, a alarm) {
	if a.trouble != nil {
		t := *a.trouble
		a.trouble = &t
		f.mu.Lock()
		known := f.findings[t.key()]
		if known != nil {
			known.Count++
		}
		f.mu.Unlock()
		if known != nil {
			return
		}
	}
	to := f.alarms
	if f.queue != nil && a.trouble != nil {
		to = f.queue
	}
	select {
	case to <- a:
	case <-ctx.Done():
	default: // there is enough to look into
	}
}

func (f *fuzzer) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (f *fuzzer) ring(id int) *ring { return f.rings[id] }

// next chooses what is executed next: a script that was kept from another run, a new one, or one made of those that
// led somewhere.
func (f *fuzzer) next(g *Generator) (s *Script, seed bool) {
	f.mu.Lock()
	if s := f.corpus.takeSeed(); s != nil {
		f.mu.Unlock()
		return s, true
	}
	var a, b *Script
	if g.main.n(100) < 50 {
		a, b = f.corpus.pick(&g.main), f.corpus.pick(&g.main)
	}
	f.mu.Unlock()
	if a == nil {
		return g.Next(), false
	}
	return g.Mutate(a, b), false
}

// learn keeps a script that led to a new state or a new edge.
func (f *fuzzer) learn(s *Script, r *result, seed bool) {
	f.mu.Lock()
	e := f.corpus.learn(s, r)
	f.mu.Unlock()
	if e != nil && !seed && f.cfg.Corpus != "" {
		f.corpus.save(f.cfg.Corpus, s)
	}
}

// lastBudget bounds what is looked into when the time of the run is up.
const lastBudget = 30 * time.Second

// last looks into what the workers have told at the very end.
func (f *fuzzer) last(ctx context.Context) {
	f.gate.Lock()
	defer f.gate.Unlock()
	over, cancel := context.WithTimeout(ctx, lastBudget)
	defer cancel()
	for {
		select {
		case a := <-f.alarms:
			f.look(over, a)
			continue
		default:
		}
		break
	}
	if t := f.examine(over, f.cfg.Patience); t != nil {
		f.blame(over, t)
	} else if f.proc != nil && f.cfg.Resources > 0 {
		f.weigh(over)
	}
	f.later = append(f.later, f.guard.findings()...)
	f.afterwards(over)
}

// clean ends the sessions and removes the retained messages of the pools, so that a target is left as it was found.
func (f *fuzzer) clean() {
	if f.own || f.guard == nil || f.guard.pub == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	f.scrub(ctx)
	f.scrubNames(ctx)
}

// scrub connects with each Client Identifier of the pools and discards its session, and clears the retained messages.
func (f *fuzzer) scrub(ctx context.Context) {
	v := f.guard.version
	x := f.replay
	judge, wait := x.judged, x.closeWait
	x.judged, x.closeWait = false, 0
	defer func() { x.judged, x.closeWait = judge, wait }()
	for i := range f.rings {
		prefix := fmt.Sprintf("w%d", i)
		s := &Script{Version: v}
		for k, id := range clientPool {
			c := &codec.Connect{Version: v, ClientID: prefix + id, CleanStart: true, KeepAlive: 60}
			if f.cfg.Username != "" {
				c.HasUsername, c.Username = true, f.cfg.Username
				c.HasPassword, c.Password = f.cfg.Password != "", []byte(f.cfg.Password)
			}
			b, _ := c.AppendTo(nil, v)
			s.Steps = append(s.Steps, Step{Op: Open, Conn: uint8(k)}, Step{Op: Send, Conn: uint8(k), Bytes: b}, Step{Op: Settle, Conn: uint8(k), Gap: settleGap})
		}
		var clear []byte
		for _, t := range topicPool {
			p := &codec.Publish{Topic: prefix + t, Retain: true}
			clear, _ = p.AppendTo(clear, v)
		}
		if i == 0 {
			for _, t := range oddTopics {
				if strings.HasPrefix(t, "$") {
					continue
				}
				p := &codec.Publish{Topic: t, Retain: true}
				clear, _ = p.AppendTo(clear, v)
			}
		}
		bye, _ := (&codec.Disconnect{}).AppendTo(nil, v)
		s.Steps = append(s.Steps, Step{Op: Send, Bytes: clear}, Step{Op: Send, Bytes: []byte{0xC0, 0}}, Step{Op: Settle, Gap: settleGap})
		for k := range clientPool {
			s.Steps = append(s.Steps, Step{Op: Send, Conn: uint8(k), Bytes: bye}, Step{Op: Close, Conn: uint8(k)})
		}
		x.run(ctx, s)
	}
}
