package fuzz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Times of the goroutine that watches.
const (
	roundEvery  = 100 * time.Millisecond
	freshEvery  = 5 // rounds
	tellEvery   = time.Second
	firstWeigh  = 1500 * time.Millisecond
	firstWait   = 400 * time.Millisecond
	deafPause   = time.Second // between two attempts to reach a target that does not listen
	deafTries   = 3
	traceWait   = 2 * time.Second        // between a stack trace and the end of the process that wrote it
	dyingWait   = 300 * time.Millisecond // between the loss of connections and the end of a process
	returnWait  = 30 * time.Second       // for a live target to come back
	blameBudget = 40 * time.Second
	maxVague    = 5 // findings of one oracle that only their scripts tell apart
)

// watch looks after the target while the workers execute, until the run is over. What it begins to look into is
// finished although the time of the run is up; user ends that too.
func (f *fuzzer) watch(user, run context.Context, done <-chan struct{}) {
	round, tell := time.NewTicker(roundEvery), time.NewTicker(tellEvery)
	defer round.Stop()
	defer tell.Stop()
	var measure <-chan time.Time
	var weigh *time.Timer
	if f.proc != nil && f.cfg.Resources > 0 {
		weigh = time.NewTimer(min(firstWeigh, f.cfg.Resources))
		defer weigh.Stop()
		measure = weigh.C
	}
	measuring, enough := context.WithCancel(run)
	var meter sync.WaitGroup
	meter.Go(func() { f.lag.measure(measuring) })
	defer meter.Wait()
	defer enough()
	gone := f.gone()
	for n := 0; ; n++ {
		select {
		case <-run.Done():
			return
		case <-done:
			return
		case a := <-f.alarms:
			f.quietly(func() { f.look(user, a) })
			gone = f.gone()
		case <-gone:
			f.quietly(func() { f.suspect(user, f.dead()) })
			gone = f.gone()
		case <-round.C:
			t := f.patiently(f.guard.round)
			if t == nil && n%freshEvery == 0 {
				t = f.patiently(func(wait time.Duration) *trouble { return f.guard.probe(user, wait) })
			}
			if t == nil {
				t = f.dead()
			}
			if t != nil {
				f.quietly(func() { f.suspect(user, t) })
				gone = f.gone()
			} else if f.sysDue(user) {
				f.quietly(func() { f.weighSys(user) })
				gone = f.gone()
			}
		case <-measure:
			f.quietly(func() { f.weigh(user) })
			weigh.Reset(f.cfg.Resources)
			gone = f.gone()
		case <-tell.C:
			f.tell(Event{})
		}
	}
}

// patiently asks quickly first. Where that is too short it remembers what was executed until then, for that is where
// the cause lies if there is one, and asks again with all patience.
func (f *fuzzer) patiently(ask func(time.Duration) *trouble) *trouble {
	t := ask(min(firstWait, f.cfg.Patience))
	if t == nil || !t.late {
		return t
	}
	if f.before == nil {
		f.before = suspects(f.rings)
	}
	if t = ask(f.cfg.Patience); t == nil {
		f.before = nil
	}
	return t
}

// gone is closed when the process ends.
func (f *fuzzer) gone() <-chan struct{} {
	if f.proc == nil {
		return nil
	}
	return f.proc.Done()
}

// quietly does something while no worker executes.
func (f *fuzzer) quietly(do func()) {
	f.naps.end()
	defer f.naps.begin()
	f.gate.Lock()
	defer f.gate.Unlock()
	do()
}

// dead says how the process ended, or which stack trace it wrote.
func (f *fuzzer) dead() *trouble {
	if f.proc == nil {
		return nil
	}
	if t := f.ended(); t != nil {
		return t
	}
	traces := f.proc.Traces()
	if len(traces) == 0 {
		return nil
	}
	tr := traces[0]
	sig := tr.Signature()
	if !f.survived[sig] { // most runtimes write before they end
		t := time.NewTimer(f.lingers)
		defer t.Stop()
		select {
		case <-f.proc.Done():
		case <-t.C:
		}
		if t := f.ended(); t != nil {
			return t
		}
		if f.survived == nil {
			f.survived = map[string]bool{}
		}
		f.survived[sig] = true
	}
	// What a runtime has caught may be its way to log; what a sanitizer says or a Go program does not survive is not.
	return &trouble{
		oracle: OracleDied, signature: sig, title: "the target writes a stack trace and lives on: " + tr.Message, stderr: tr.Text,
		warn: !slices.Contains([]string{"go panic", "asan", "ubsan", "valgrind"}, tr.Kind),
	}
}

// ended says how the process ended.
func (f *fuzzer) ended() *trouble {
	d, died := f.proc.Died()
	if !died {
		return nil
	}
	text := d.Trace
	if text == "" {
		text = d.Stderr
	}
	return &trouble{oracle: OracleDied, signature: d.Signature, title: "the target died: " + d.String(), stderr: text, vague: d.Trace == ""}
}

// dying waits a moment for the end of a process whose connections were lost.
func (f *fuzzer) dying(ctx context.Context) *trouble {
	if f.proc == nil {
		return nil
	}
	t := time.NewTimer(dyingWait)
	defer t.Stop()
	select {
	case <-f.proc.Done():
	case <-t.C:
	case <-ctx.Done():
	}
	return f.dead()
}

// examine says what is wrong with the target, which nobody else uses at the time.
func (f *fuzzer) examine(ctx context.Context, wait time.Duration) *trouble {
	if t := f.dead(); t != nil {
		return t
	}
	t := f.guard.round(wait)
	if t == nil {
		t = f.guard.probe(ctx, wait)
	}
	if t == nil {
		return f.dead()
	}
	d := f.dead()
	if d == nil && !t.late {
		d = f.dying(ctx)
	}
	if d != nil {
		return d
	}
	if ctx.Err() != nil {
		return nil
	}
	if deaf := f.deaf(ctx, wait); deaf != nil {
		return deaf
	}
	if lost := f.loss(ctx, t, wait); lost != nil {
		return lost
	}
	return f.outlast(ctx, t, wait)
}

// deaf says whether nobody listens any more: three attempts a second apart.
func (f *fuzzer) deaf(ctx context.Context, wait time.Duration) *trouble {
	var err error
	for i := range deafTries {
		if i > 0 {
			f.wait(ctx, min(deafPause, wait))
		}
		dctx, cancel := context.WithTimeout(ctx, wait)
		nc, derr := dialTarget(dctx, f.dial)
		cancel()
		if derr == nil {
			_ = nc.Close()
			return nil
		}
		if ctx.Err() != nil || ours(derr) {
			return nil
		}
		err = derr
	}
	return &trouble{oracle: OracleDeaf, signature: "no connection", title: "the target accepts no connection any more", detail: []string{err.Error()}, vague: true}
}

// look follows what a worker has told.
func (f *fuzzer) look(ctx context.Context, a alarm) {
	if a.trouble != nil {
		f.found(ctx, a.trouble, a.script, a.before...)
		f.heal(ctx)
		return
	}
	if t := f.examine(ctx, f.cfg.Patience); t != nil {
		f.blame(ctx, t)
	}
}

// suspect follows what the bystanders complain of. That somebody is slow while others send all they can is no trouble.
func (f *fuzzer) suspect(ctx context.Context, t *trouble) {
	if t == nil {
		return
	}
	if t.oracle == OracleHang || t.warn {
		again := f.examine(ctx, f.cfg.Patience)
		if again == nil {
			f.slow++
			f.before = nil
			return
		}
		t = again
	}
	f.blame(ctx, t)
}

// heal makes sure that the target serves.
func (f *fuzzer) heal(ctx context.Context) {
	if f.sick {
		f.renew(ctx)
	}
}

// renew starts the target afresh where it was started here, and waits for a live one to come back.
func (f *fuzzer) renew(ctx context.Context) {
	f.later = append(f.later, f.guard.findings()...)
	f.guard.close()
	var err error
	if f.own {
		f.restarts.Add(1)
		if err = f.proc.Restart(ctx); err != nil {
			f.lost(ctx, fmt.Errorf("%w: it does not start again: %w", errTarget, err))
			return
		}
	}
	limit := time.Now().Add(returnWait)
	for {
		var g *guard
		if g, err = openGuard(ctx, f.dial, f.cfg.Username, f.cfg.Password, f.cfg.Patience); err == nil {
			g.retained = g.retained && f.guard.retained
			f.guard, f.sick = g, false
			return
		}
		if ctx.Err() != nil || time.Now().After(limit) {
			break
		}
		f.wait(ctx, deafPause)
	}
	f.lost(ctx, fmt.Errorf("%w: %w", errTarget, err))
}

func (f *fuzzer) lost(ctx context.Context, err error) {
	if ctx.Err() == nil {
		f.fatal(err)
	}
	f.sick = true
}

// fires replays a script and says whether it brings the trouble about. Other trouble that it brings about is kept for
// later.
func (f *fuzzer) fires(ctx context.Context, s *Script, want *trouble, fresh bool, wait time.Duration) *trouble {
	if slices.Contains([]Oracle{OracleMemory, OracleLeak, OracleSpin}, want.oracle) {
		return f.grows(ctx, s, want, fresh, wait < f.cfg.Patience)
	}
	if fresh && f.own || f.sick {
		f.renew(ctx)
	}
	if ctx.Err() != nil || f.sick {
		return nil
	}
	f.replay.closeKnown = func(string) bool { return want.oracle != OracleClose }
	f.replay.closeForget = nil
	f.replay.closeWait = wait
	r := f.replay.run(ctx, s)
	var hit *trouble
	for i := range r.troubles {
		if t := r.troubles[i]; same(&t, want) {
			hit = &t
			break
		}
	}
	inside := slices.Contains([]Oracle{OracleRule, OracleMalformed, OracleClose}, want.oracle)
	if hit != nil || inside && r.dialErr == nil && f.dead() == nil {
		return hit
	}
	t := f.examine(ctx, wait)
	if t == nil { // what the end of a connection brings about takes a moment
		f.wait(ctx, lateEffect)
		t = f.examine(ctx, wait)
	}
	if t == nil {
		return nil
	}
	f.sick = true
	if !same(t, want) {
		if len(f.later) < 32 && t.oracle == OracleDied {
			f.later = append(f.later, *t)
		}
		return nil
	}
	return t
}

// same says whether two troubles are one. Where a target hangs, what is noticed first is chance.
func same(a, b *trouble) bool {
	return a.oracle == b.oracle && (a.signature == b.signature || a.oracle == OracleHang) || better(b, a) == a
}

// How long a replay waits for an answer, or for the end of a connection, while a script is made smaller.
const (
	quickWait      = time.Second
	closeWaitQuick = 250 * time.Millisecond
	hangWaitQuick  = 400 * time.Millisecond
	lateEffect     = 15 * time.Millisecond
)

// blame finds the script that brings a trouble about among those that were executed last.
func (f *fuzzer) blame(ctx context.Context, t *trouble) {
	defer func() {
		forget(f.rings)
		f.renew(ctx)
	}()
	f.sick = true
	if f.known(t) {
		return
	}
	all := f.before
	if f.before = nil; len(all) == 0 {
		all = suspects(f.rings)
	}
	if !f.own || len(all) == 0 || f.cfg.Minimise < 0 {
		var s *Script
		if len(all) > 0 {
			last := slices.Clone(all[:min(len(all), f.cfg.Workers)])
			slices.Reverse(last)
			s = joined(last)
		}
		f.found(ctx, t, s)
		return
	}
	budget, cancel := context.WithTimeout(ctx, blameBudget)
	defer cancel()
	wait := f.quick(t)
	// What depends on chance may need to be tried more than once.
	for _, list := range [][]*Script{f.candidates(all), f.meetings(all, t), f.candidates(all)} {
		for _, s := range list {
			if budget.Err() != nil {
				break
			}
			if hit := f.fires(budget, s, t, len(s.Steps) > maxSteps, wait); hit != nil {
				f.found(ctx, t, s)
				return
			}
		}
	}
	last := slices.Clone(all[:min(len(all), f.cfg.Workers)])
	slices.Reverse(last)
	f.found(ctx, t, joined(last))
}

// candidates are the scripts that may have brought trouble about, in the order in which they are tried: the latest alone,
// the latest of each worker together, and ever more of all.
func (f *fuzzer) candidates(all []*Script) []*Script {
	together := func(some []*Script) *Script {
		some = slices.Clone(some)
		slices.Reverse(some)
		return joined(some)
	}
	list := slices.Clone(all[:min(len(all), 2*f.cfg.Workers)])
	for _, s := range f.asleep() {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	for _, n := range []int{3, 8} {
		for _, r := range f.rings[:min(len(f.rings), f.cfg.Workers)] {
			if own := suspects([]*ring{r}); len(own) > 1 {
				list = append(list, together(own[:min(len(own), n)]))
			}
		}
	}
	for n := 2 * f.cfg.Workers; ; n *= 2 {
		list = append(list, together(all[:min(len(all), n)]))
		if n >= len(all) {
			return list
		}
	}
}

// quick is how long a replay waits while it is looked for what brings trouble about.
func (f *fuzzer) quick(t *trouble) time.Duration {
	wait := quickWait
	switch t.oracle {
	case OracleClose: // each replay waits in vain
		wait = closeWaitQuick
	case OracleHang:
		if f.own && f.far < time.Millisecond {
			wait = hangWaitQuick
		}
	}
	return min(wait, f.cfg.Patience)
}

// Err reports whether a run ended because its target was lost.
func (s *Summary) Err() error {
	if s.Stopped == "" {
		return nil
	}
	return errors.New(s.Stopped)
}
