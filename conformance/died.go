package conformance

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/internal/process"
)

// Death is one time that a target which the suite had started ended by itself, or ran on
// without accepting connections.
type Death struct {
	At      time.Time `json:"at"`
	During  []string  `json:"during,omitempty"`  // the checks that ran at the time
	Culprit string    `json:"culprit,omitempty"` // the check that brings it about alone; empty where none does
	Status  string    `json:"status"`            // goes on from "the target", such as "ended: exit status 2"
	Output  []string  `json:"output,omitempty"`  // the last lines that it wrote
}

// String describes the end for reasons.
func (d Death) String() string {
	s := "the target " + d.Status
	if len(d.Output) > 0 {
		s += "; its last output: " + strings.Join(d.Output, " | ")
	}
	return s
}

// Times around the life of a target that the suite started.
const (
	startTimeout = 30 * time.Second       // it has to answer a CONNECT within this time
	startPause   = 50 * time.Millisecond  // between two attempts to reach it
	quickStart   = time.Second            // one that starts faster is started anew for every suspect
	shortlyAgo   = 250 * time.Millisecond // a check that ended so shortly before a death may have caused it
	lately       = 5 * time.Second        // one that ended undecided so long before a death may have suffered from it
	outputLines  = 8
)

// server is a target that the suite starts, and starts again.
type server struct {
	words []string // the command with its placeholders filled in
	ready func(context.Context) error
	took  time.Duration // what the last start took

	mu     sync.Mutex // guards the fields below
	life   *life
	epoch  *epoch
	deaths []Death
}

// life is one process.
type life struct {
	p        *process.Process
	stopping bool // guarded by server.mu: the end is our doing
}

// epoch is the time between two deaths; it may span several orderly restarts.
type epoch struct {
	died chan struct{} // closed by the death
	dead *Death        // set before died is closed
	told bool          // the death stands in deaths
}

// newServer prepares the command. The placeholders stand for values chosen here.
func newServer(command string, values map[string]string, ready func(context.Context) error) (*server, error) {
	words, err := process.Split(command)
	if err != nil {
		return nil, err
	}
	for i := range words {
		words[i] = process.Fill(words[i], values)
	}
	return &server{words: words, ready: ready, epoch: newEpoch()}, nil
}

func newEpoch() *epoch { return &epoch{died: make(chan struct{})} }

// current returns the epoch that lasts.
func (s *server) current() *epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}

// dead reports whether the target has died and was not started since.
func (s *server) dead() bool {
	select {
	case <-s.current().died:
		return true
	default:
		return false
	}
}

// declare ends the epoch by a death, unless it is over already.
func (s *server) declare(l *life, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != l || l.stopping || s.epoch.dead != nil {
		return
	}
	s.epoch.dead = &Death{At: time.Now().UTC(), Status: status, Output: l.p.Output().Lines(outputLines)}
	close(s.epoch.died)
}

// stuck declares dead a target that accepts no connection any more though it runs.
func (s *server) stuck(err error) {
	s.mu.Lock()
	l := s.life
	s.mu.Unlock()
	if l != nil {
		s.declare(l, "accepts no connection any more, though it runs: "+err.Error())
	}
}

// record keeps a death of this epoch, once.
func (s *server) record(e *epoch, d Death) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !e.told {
		e.told = true
		s.deaths = append(s.deaths, d)
	}
}

// count returns how many deaths were recorded.
func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.deaths)
}

// obituaries returns every death, the one that no check has noticed included.
func (s *server) obituaries() []Death {
	if e := s.current(); s.dead() {
		s.record(e, *e.dead)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Death(nil), s.deaths...)
}

// start starts the process, ending one that runs, and waits until it answers.
func (s *server) start(ctx context.Context) error {
	s.stop()
	began := time.Now()
	p, err := process.Start(s.words, process.Options{})
	if err != nil {
		return fmt.Errorf("start the target: %w", err)
	}
	l := &life{p: p}
	s.mu.Lock()
	s.life = l
	if s.epoch.dead != nil {
		s.epoch = newEpoch()
	}
	e := s.epoch
	s.mu.Unlock()
	go func() {
		<-p.Done()
		e, _ := p.Ending()
		s.declare(l, "ended: "+e.Status)
	}()
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	for {
		err := s.ready(ctx)
		if err == nil {
			s.took = time.Since(began)
			return nil
		}
		select {
		case <-e.died:
			return fmt.Errorf("the command %s ended before it served: %s", s.words[0], e.dead)
		case <-deadline.C:
			s.stop()
			return fmt.Errorf("the command %s did not serve within %v: %w; its last output: %s", s.words[0], startTimeout, err, strings.Join(p.Output().Lines(outputLines), " | "))
		case <-ctx.Done():
			s.stop()
			return ctx.Err()
		case <-time.After(startPause):
		}
	}
}

// stop ends the process and what it started in its group, gently first.
func (s *server) stop() {
	s.mu.Lock()
	l := s.life
	if l != nil {
		l.stopping = true
	}
	s.mu.Unlock()
	if l == nil {
		return
	}
	l.p.Stop()
	s.mu.Lock()
	if s.life == l {
		s.life = nil
	}
	s.mu.Unlock()
}

// launch starts the target by its command. The returned function ends it and removes its folder.
func (r *run) launch(ctx context.Context) (func(), error) {
	values := map[string]string{}
	for _, name := range []string{"{port}", "{ws_port}"} {
		port, err := process.FreePort()
		if err != nil {
			return nil, err
		}
		values[name] = port
	}
	if strings.Contains(r.cfg.Cmd, "{dir}") {
		dir, err := os.MkdirTemp("", "mqlab-target-")
		if err != nil {
			return nil, fmt.Errorf("make a folder for the target: %w", err)
		}
		values["{dir}"], r.cfg.Ephemeral = dir, true
	}
	remove := func() {
		if dir := values["{dir}"]; dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
	if r.cfg.Target == "" {
		r.cfg.Target = "mqtt://127.0.0.1:{port}"
	}
	if r.cfg.WSTarget == "" && strings.Contains(r.cfg.Cmd, "{ws_port}") {
		r.cfg.WSTarget = "ws://127.0.0.1:{ws_port}/mqtt"
	}
	for _, url := range []*string{&r.cfg.Target, &r.cfg.WSTarget} {
		*url = process.Fill(*url, values)
	}
	if r.cfg.Dial != nil {
		r.dial = r.cfg.Dial
	} else {
		r.dialURL(r.cfg.Target)
	}
	s, err := newServer(r.cfg.Cmd, values, r.answers)
	if err == nil {
		r.server = s
		err = s.start(ctx)
	}
	if err != nil {
		if r.server != nil {
			r.server.stop()
		}
		remove()
		return nil, err
	}
	return func() { s.stop(); remove() }, nil
}

// answers reports whether the target answers a CONNECT of any of the versions, whatever it says.
func (r *run) answers(ctx context.Context) error {
	var err error
	for _, v := range r.cfg.Versions.Split() {
		if f := r.features[v]; f != nil && !f.Served {
			continue
		}
		if err = r.answersVersion(ctx, v); err == nil {
			return nil
		}
	}
	return err
}

func (r *run) answersVersion(ctx context.Context, v Versions) error {
	nc, err := r.dial(ctx)
	if err != nil {
		return err
	}
	c := peer.New(nc, peer.Config{Name: "probe", Version: wire(v)})
	defer c.Close()
	t := &T{run: r, version: v, check: &Check{Name: "probe"}}
	if err := c.Send(t.ConnectPacket()); err != nil {
		return err
	}
	if _, err := c.Await(r.cfg.Timeout, ofType(codec.TypeConnack)); err != nil {
		return fmt.Errorf("CONNECT is not answered: %w", err)
	}
	_ = c.Send(&codec.Disconnect{})
	return nil
}

// Restart ends the target in order and starts it again, with its folder as it is. Only a check
// that needs CapRestart may call it: such checks run alone, after all others. Connections from
// before the restart are gone.
func (t *T) Restart() {
	s := t.run.server
	if s == nil || t.check.Needs&CapRestart == 0 {
		panic(stop{Errored, "the check restarts the target without needing CapRestart"})
	}
	t.Note("the target is restarted")
	s.stop()
	if err := s.start(t.ctx); err != nil {
		t.Inconclusive("the target does not start again: %v", err)
	}
}
