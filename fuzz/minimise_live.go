package fuzz

import (
	"context"
	"time"
)

// shrink makes a script smaller that is known to bring a trouble about on a fresh start of the target. most is how often
// each attempt is made, where chance decides. The target is started anew where it has to be, and at times to prove what
// has been reached: an attempt may rest on what those before it have left behind.
func (f *fuzzer) shrink(ctx context.Context, s *Script, t *trouble, most int) *Script {
	limit := f.cfg.Minimise
	if t.warn || t.oracle.Class() == "rule" {
		limit /= 4
	}
	budget, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p := &prober{f: f, want: t, wait: f.quick(t)}
	if near := f.own && f.far < time.Millisecond; near && t.oracle == OracleDelivery {
		p.wait = min(p.wait, hangWaitQuick)
	}
	// A script that has fired at once many times over is no matter of chance any more.
	streak := 0
	often := func(ctx context.Context, s *Script, fresh bool) bool {
		for i := range most {
			if i > 0 && streak >= sureStreak {
				break
			}
			if p.fires(ctx, s, fresh) {
				if streak++; i > 0 {
					streak = 0
				}
				return true
			}
		}
		return false
	}
	m := newMinimiser(budget, s, func(s *Script) bool { return often(budget, s, false) })
	m.chancy = most > 1
	if f.own {
		// What is reached when time is up deserves to be proven.
		m.sure = func(s *Script) bool {
			if often(ctx, s, true) {
				return true
			}
			streak = 0
			return false
		}
	}
	m.run()
	return m.best
}

// sureStreak is how often in a row a script has to fire at the first attempt.
const sureStreak = 5

// prober asks quickly whether a script brings one trouble about: what it says is proven afterwards.
type prober struct {
	f    *fuzzer
	want *trouble
	wait time.Duration // for an answer

	// Of a gauge: where it stands since the last attempt, which spares a measurement before the next one.
	known        bool
	level, first int64
}

// fires replays a script, on a fresh start of the target or on the one that runs.
func (p *prober) fires(ctx context.Context, s *Script, fresh bool) bool {
	f := p.f
	g := gaugeOf(p.want)
	switch {
	case g.oracle == p.want.oracle && g.signature == p.want.signature && f.proc != nil:
		if (fresh || !p.known) && f.own || f.sick { // it may hold all that it can already
			f.renew(ctx)
			p.known = false
		}
		if ctx.Err() != nil || f.sick {
			return false
		}
		wait := f.replay.closeWait
		f.replay.closeWait = 0
		defer func() { f.replay.closeWait = wait }()
		if g.oracle == OracleSpin {
			return p.spins(ctx, s)
		}
		return p.grows(ctx, g, s)
	case p.want.oracle == OracleDeaf:
		return p.deafens(ctx, s, fresh)
	}
	return f.fires(ctx, s, p.want, fresh, p.wait) != nil
}

// How a script is asked quickly whether it keeps the processor busy: the clock of a process goes by hundredths of a second.
const (
	spinAfter  = 40 * time.Millisecond // for what ends with the connections
	spinGlance = 60 * time.Millisecond
	spinLook   = 150 * time.Millisecond
)

// spins says whether the script keeps the processor busy. What does not at the first glance is done with.
func (p *prober) spins(ctx context.Context, s *Script) bool {
	f := p.f
	if !p.known && f.busy(ctx, weighSettle, idleShare) {
		return false
	}
	p.known = false
	if f.replay.run(ctx, s).dialErr != nil {
		f.sick = true
		return false
	}
	f.wait(ctx, spinAfter)
	for _, d := range []time.Duration{spinGlance, spinLook, spinSample} {
		if !f.busy(ctx, d, spinShare) {
			p.known = true
			return false
		}
	}
	f.sick = true
	return true
}

// fullAfter is after how many times the growth that proves a leak a target is started anew: it may hold no more than so much.
const fullAfter = 16

// grows says whether running the script makes the gauge grow, twice in a row. A part of the runs suffices where it does
// next to nothing.
func (p *prober) grows(ctx context.Context, g *gauge, s *Script) bool {
	f := p.f
	if p.known && p.level-p.first > fullAfter*g.each && f.own {
		f.renew(ctx)
		p.known = false
		if ctx.Err() != nil || f.sick {
			return false
		}
	}
	run := func(n int) bool {
		for range n {
			if f.replay.run(ctx, s).dialErr != nil {
				f.sick = true
				return false
			}
		}
		return true
	}
	if !p.known { // what a fresh target starts lazily is no growth
		if !run(g.runs) {
			return false
		}
		if p.level, p.known = f.level(ctx, g); !p.known {
			return false
		}
		p.first = p.level
	}
	for range 2 {
		if !p.once(ctx, g, run) {
			return false
		}
	}
	return true
}

// once says whether one series of runs makes the gauge grow.
func (p *prober) once(ctx context.Context, g *gauge, run func(int) bool) bool {
	f := p.f
	part := max(1, g.runs/3)
	if p.known = run(part); !p.known {
		return false
	}
	u, err := f.proc.Sample()
	if p.known = err == nil; !p.known {
		return false
	}
	if n := g.read(u); n-p.level < g.each/8 || n <= p.level {
		if g.oracle == OracleMemory || n < p.level { // a descriptor may be closed late
			p.level = n
		}
		return false
	}
	if p.known = run(g.runs - part); !p.known {
		return false
	}
	n, ok := f.level(ctx, g)
	if ok && n-p.level >= g.each && g.oracle == OracleLeak {
		n = min(n, f.briefly(ctx, g, p.level+g.each-1))
	}
	grew := n - p.level
	p.level, p.known = n, ok
	return ok && grew >= g.each
}

// Two attempts to connect that fail, so long apart, say that nobody listens.
const (
	deafLook  = 300 * time.Millisecond
	deafAgain = 30 * time.Millisecond
)

// deafens says whether the script makes the target accept no connection any more.
func (p *prober) deafens(ctx context.Context, s *Script, fresh bool) bool {
	f := p.f
	if fresh && f.own || f.sick {
		f.renew(ctx)
	}
	if ctx.Err() != nil || f.sick {
		return false
	}
	f.replay.closeKnown, f.replay.closeForget = func(string) bool { return true }, nil
	f.replay.run(ctx, s)
	for i := range 2 {
		if i > 0 {
			f.wait(ctx, deafAgain)
		}
		dctx, cancel := context.WithTimeout(ctx, deafLook)
		nc, err := dialTarget(dctx, f.dial)
		cancel()
		if err == nil {
			_ = nc.Close()
			f.sick = f.dead() != nil
			return false
		}
		if ctx.Err() != nil || ours(err) {
			return false
		}
	}
	f.sick = true
	return f.dying(ctx) == nil // what has died accepts nothing either, which is another trouble
}
