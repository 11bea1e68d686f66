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
	"github.com/mqlab/mqlab/internal/process"
)

// ClientConfig says which client is fuzzed and for how long. The client is started again whenever it has ended, and
// connects to a server that answers as it should, but for an edit here and there.
type ClientConfig struct {
	// Cmd is the client's command line. {host} and {port} stand for the server, {topic} for a topic on which it sends.
	Cmd       string
	Seed      uint64        // 0: chosen at random
	Time      time.Duration // 0: no bound
	Execs     int64         // exchanges; 0: no bound
	Workers   int           // clients at once; 0: 4
	Corpus    string        // folder of scripts that are kept between runs; empty: none
	Patience  time.Duration // for the client to connect, and to end when asked to; 0: 5 s
	Minimise  time.Duration // budget for making a finding's script smaller; 0: 20 s, negative: not at all
	Replays   int           // by which a finding is confirmed; 0: 3
	Out       string
	FailOn    []string
	StopAfter int
	Events    func(Event)
}

// clientTopic is what {topic} stands for.
const clientTopic = "mqlab/fuzz"

// clientFuzzer is one run against a client.
type clientFuzzer struct {
	cfg     ClientConfig
	words   []string // of the command, with {port} in them
	began   time.Time
	manners manners
	sum     *Summary

	execs, packets, starts atomic.Int64
	stubborn               atomic.Bool  // it was met that it does not end
	over                   atomic.Int64 // how long the run took, in nanoseconds; 0 while it goes on

	settling sync.Mutex // held while a finding is confirmed
	events   sync.Mutex // one call of Events at a time

	mu     sync.Mutex // guards the fields below
	corpus *corpus
	known  map[string]*Finding
}

// manners are what the client does when nobody provokes it: what it did not do then is no finding later.
type manners struct {
	version  codec.Version
	acks     bool // a message at QoS 1 that comes unasked
	leaves   bool // its end of a connection that the server has ended
	obeys    bool // SIGTERM
	swiftly  bool // and at once
	subjects bool // it subscribes
}

// RunClient fuzzes a client until the time or the number of executions is reached, or the context ends. A script of it
// tells what the server sends: Settle waits for a packet of the client, Send sends, Close and Drop end the connection,
// and Open waits for the next one.
func RunClient(ctx context.Context, cfg ClientConfig) (*Summary, error) {
	f, err := newClientFuzzer(&cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Corpus != "" {
		notes, err := f.corpus.load(cfg.Corpus)
		if err != nil {
			return nil, err
		}
		for _, n := range notes {
			f.tell(Event{Note: n})
		}
	}
	// A client that does not get along with a faultless server could not be judged.
	if err := f.meet(ctx); err != nil {
		return nil, err
	}
	f.began = time.Now()
	f.sum.Started = f.began.UTC()
	f.sum.Versions = []codec.Version{f.manners.version}
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if cfg.Time > 0 {
		t := time.AfterFunc(cfg.Time, func() { cancel(nil) })
		defer t.Stop()
	}
	// What is looked into at the end is no part of the run's time.
	defer context.AfterFunc(run, func() { f.over.Store(int64(time.Since(f.began))) })()
	var workers sync.WaitGroup
	for i := range f.cfg.Workers {
		workers.Go(func() {
			if err := f.work(ctx, run, cancel, i); err != nil {
				cancel(err)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		workers.Wait()
		close(done)
	}()
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-tick.C:
			f.tell(Event{})
		case <-done:
			over = true
		}
	}
	if err := context.Cause(run); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	st := f.stats()
	f.sum.Elapsed, f.sum.Execs, f.sum.Packets, f.sum.Restarts = st.Elapsed, st.Execs, st.Packets, st.Restarts
	f.sum.Corpus, f.sum.States, f.sum.Edges = st.Corpus, st.States, st.Edges
	slices.SortStableFunc(f.sum.Findings, func(a, b *Finding) int { return rank(a) - rank(b) })
	return f.sum, nil
}

// ReplayClient runs a script against a client and returns what was found.
func ReplayClient(ctx context.Context, cfg ClientConfig, s *Script) ([]*Finding, error) {
	f, err := newClientFuzzer(&cfg)
	if err != nil {
		return nil, err
	}
	if err := f.meet(ctx); err != nil {
		return nil, err
	}
	p, err := f.player(0)
	if err != nil {
		return nil, err
	}
	defer p.ln.Close()
	for i := range f.cfg.Replays {
		all, err := p.replay(ctx, s, slower(i+1))
		if err != nil {
			return nil, err
		}
		for i := range all {
			f.found(ctx, p, &all[i], s)
		}
		if len(f.sum.Findings) > 0 {
			break
		}
	}
	return f.sum.Findings, nil
}

// slower is how much more time the replay with that number gives a client than the run did.
func slower(replay int) time.Duration { return 1 << min(2*replay, 4) }

func newClientFuzzer(cfg *ClientConfig) (*clientFuzzer, error) {
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64() >> 1
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 4
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 5 * time.Second
	}
	if cfg.Minimise == 0 {
		cfg.Minimise = 20 * time.Second
	}
	if cfg.Replays <= 0 {
		cfg.Replays = 3
	}
	words, err := process.Split(cfg.Cmd)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(cfg.Cmd, "{port}") {
		return nil, errors.New("the client's command needs {port}, and {host} where it does not connect to this machine by itself")
	}
	f := &clientFuzzer{cfg: *cfg, words: words, known: map[string]*Finding{}, corpus: newCorpus(), began: time.Now()}
	f.sum = &Summary{Target: cfg.Cmd, Seed: cfg.Seed, Versions: []codec.Version{}, Started: f.began.UTC(), FailOn: cfg.FailOn, Findings: []*Finding{}}
	return f, nil
}

// player lets one client after the other connect to a server of its own.
type player struct {
	f     *clientFuzzer
	ln    *net.TCPListener
	words []string
	g     *Generator
	x     *session // the client that runs
	waits int      // times that a connection was awaited again in vain, in a row
	asked int      // clients since one was asked to end
}

func (f *clientFuzzer) player(id int) (*player, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the client: %w", err)
	}
	p := &player{f: f, ln: ln.(*net.TCPListener), words: slices.Clone(f.words), g: NewGenerator(f.cfg.Seed+uint64(id)*0x9E3779B97F4A7C15, GenConfig{})}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for i := range p.words {
		p.words[i] = process.Fill(p.words[i], map[string]string{"{host}": "127.0.0.1", "{port}": port, "{topic}": clientTopic})
	}
	return p, nil
}

// meet lets the client connect to a faultless server.
func (f *clientFuzzer) meet(ctx context.Context) error {
	p, err := f.player(0)
	if err != nil {
		return err
	}
	defer p.ln.Close()
	if p.x, err = p.start(ctx); err != nil {
		return err
	}
	x := p.x
	seen := p.hello(ctx)
	if !seen {
		x.p.Stop()
		x.shut()
		return fmt.Errorf("the client %s sends no CONNECT to the server at {host}:{port}: see that its command line names them", f.words[0])
	}
	f.manners.version = x.v
	for range 4 { // it may take a while to begin
		frame := x.next(ctx, clientTurn)
		if frame != nil {
			x.answer(p.g, frame)
		}
	}
	f.manners.subjects = x.subscribed
	f.manners.acks = true
	f.manners.acks = x.fence(ctx, p.g, 2*clientTurn)
	f.manners.leaves = x.farewell(f.cfg.Patience / 5)
	began := time.Now()
	x.p.Stop()
	took := time.Since(began)
	f.manners.obeys, f.manners.swiftly = took < process.StopTimeout/2, took < 100*time.Millisecond
	x.shut()
	return nil
}

// work plays with clients until the run ends.
func (f *clientFuzzer) work(user, run context.Context, cancel context.CancelCauseFunc, id int) error {
	p, err := f.player(id)
	if err != nil {
		return err
	}
	defer p.ln.Close()
	for run.Err() == nil {
		if n := f.execs.Add(1); f.cfg.Execs > 0 && n > f.cfg.Execs {
			f.execs.Add(-1)
			break
		}
		if err := p.exchange(run); err != nil {
			return err
		}
		if p.x.over() {
			f.finish(user, p, cancel)
		}
	}
	f.finish(user, p, cancel)
	return nil
}

// finish ends the client that runs, if one does, and looks into what was wrong with it.
func (f *clientFuzzer) finish(ctx context.Context, p *player, cancel context.CancelCauseFunc) {
	if p.x == nil {
		return
	}
	x := p.x
	p.x = nil
	for _, t := range x.end(ctx, p) {
		f.found(ctx, p, &t, x.s)
	}
	f.mu.Lock()
	enough := f.cfg.StopAfter > 0 && len(f.sum.Findings) >= f.cfg.StopAfter
	f.mu.Unlock()
	if enough {
		cancel(nil)
	}
}

// learn keeps the script where it led to something new.
func (f *clientFuzzer) learn(s *Script, r *result) {
	c := &Script{Version: s.Version, Steps: slices.Clone(s.Steps)}
	f.mu.Lock()
	e := f.corpus.learn(c, r)
	f.mu.Unlock()
	if e != nil && f.cfg.Corpus != "" {
		f.corpus.save(f.cfg.Corpus, c)
	}
}

func (f *clientFuzzer) stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	elapsed := time.Since(f.began)
	if over := f.over.Load(); over > 0 {
		elapsed = time.Duration(over)
	}
	return Stats{
		Elapsed: elapsed, Execs: f.execs.Load(), Packets: f.packets.Load(), Findings: len(f.sum.Findings), Restarts: int(f.starts.Load()),
		Corpus: len(f.corpus.entries), States: len(f.corpus.states), Edges: len(f.corpus.edges),
	}
}

func (f *clientFuzzer) tell(e Event) {
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

// found records what was wrong, confirms it and makes the script smaller.
func (f *clientFuzzer) found(ctx context.Context, p *player, t *trouble, s *Script) {
	f.mu.Lock()
	if x := f.known[t.key()]; x != nil {
		x.Count++
		f.mu.Unlock()
		return
	}
	x := &Finding{
		Oracle: t.oracle, Signature: t.signature, Title: t.title, Rule: t.rule, Warn: t.warn, Detail: t.detail, Stderr: t.stderr, Script: s,
		Target: f.sum.Target, Seed: f.sum.Seed, Execs: f.execs.Load(), After: time.Since(f.began), At: time.Now().UTC(), Count: 1,
	}
	f.known[t.key()] = x
	f.sum.Findings = append(f.sum.Findings, x)
	f.mu.Unlock()
	f.tell(Event{Finding: x})
	f.settling.Lock()
	defer f.settling.Unlock()
	fires := func(c context.Context, s *Script, slow time.Duration) bool {
		all, err := p.replay(c, s, slow)
		return err == nil && slices.ContainsFunc(all, func(u trouble) bool { return u.key() == t.key() })
	}
	var small *Script
	if f.cfg.Minimise > 0 && (fires(ctx, s, slower(0)) || fires(ctx, s, slower(1))) {
		budget, cancel := context.WithTimeout(ctx, f.cfg.Minimise)
		small = Minimise(budget, s, func(s *Script) bool { return fires(budget, s, slower(0)) })
		cancel()
	}
	best := s
	if small != nil {
		best = small
	}
	tried, confirmed := 0, 0
	for ctx.Err() == nil && tried < f.cfg.Replays {
		if fires(ctx, best, slower(tried)) {
			confirmed++
		}
		tried++
	}
	f.mu.Lock()
	x.Minimal, x.Tried, x.Confirmed = small, tried, confirmed
	// What comes back now and then alone may as well be this machine's doing.
	if 2*confirmed < tried && x.Oracle != OracleDied {
		x.Warn = true
	}
	// A client is not accused of a breach that nobody can show again.
	if confirmed == 0 && tried > 0 && x.Class() == "rule" {
		f.sum.Findings = slices.DeleteFunc(f.sum.Findings, func(y *Finding) bool { return y == x })
		f.mu.Unlock()
		return
	}
	f.mu.Unlock()
	if f.cfg.Out != "" {
		if err := x.WriteFiles(f.cfg.Out); err != nil {
			f.tell(Event{Note: err.Error()})
		}
	}
	f.tell(Event{Finding: x, Settled: true})
}
