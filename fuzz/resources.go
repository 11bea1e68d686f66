package fuzz

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mqlab/mqlab/internal/ui"
)

// What a quiet target holds is measured again and again, with every connection of the run closed and the sessions and
// retained messages of its pools removed. Growth alone accuses nobody: caches fill and allocators keep. A finding needs a
// script that makes a fresh target grow by as much each time it is run, which is looked for once growth is seen.

// gauge is something that must not grow.
type gauge struct {
	oracle    Oracle
	signature string
	title     string
	read      func(Usage) int64
	show      func(int64) string
	suspect   int64 // growth over the base line that starts a search
	jump      int64 // growth over a batch of scripts that makes it suspicious
	runs      int   // of a script between two measurements
	each      int64 // growth over so many runs that proves a leak, each time
}

func count(n int64) string { return ui.Count(n) }

// gauges are what is measured. Address space counts too: a runtime may reserve it for what it never touches.
var gauges = []gauge{
	{OracleLeak, "descriptors", "descriptors outlive the connections they were opened for", func(u Usage) int64 { return int64(u.FDs) }, count, 5, 1, 4, 2},
	{OracleLeak, "threads", "threads outlive the connections they were started for", func(u Usage) int64 { return int64(u.Threads) }, count, 24, 4, 6, 4},
	{OracleMemory, "address space", "address space grows with every run of the script and does not come back", func(u Usage) int64 { return u.VmSize }, ui.Bytes, 768 << 20, 256 << 20, 6, 192 << 20},
	{OracleMemory, "resident memory", "resident memory grows with every run of the script and does not come back", func(u Usage) int64 { return u.RSS }, ui.Bytes, 128 << 20, 8 << 20, 12, 8 << 20},
}

// spin is the gauge of processor time, in per mille of one processor.
var spin = gauge{oracle: OracleSpin, signature: "processor", title: "the processor is busy though nobody is connected"}

// Times and bounds of measuring.
const (
	weighSettle = 100 * time.Millisecond
	spinSample  = 300 * time.Millisecond
	spinShare   = 250 // per mille of one processor: others may want it too
	idleShare   = 50  // per mille that a target may use before a script is blamed for what it uses afterwards
	spinSure    = 4   // samples of a second each that have to show it
	leakWait    = 5 * time.Second
	huntBudget  = 45 * time.Second
	huntBatch   = 40
	huntRepeat  = 8 // of steps, in every other batch
	warmUp      = 3 // measurements for the base line of what servers start lazily
	exact       = 5 // a gauge that is suspect from so little on has its base line at once
	collected   = 4 // times as many runs have to show that descriptors or threads are not closed late, but never
	stages      = 5 // measurements that have to show growth, three while it is looked for
	steady      = 3 // times as many runs behind them that have to make memory grow as before, or nearly so
)

// resources is what is remembered of measurements.
type resources struct {
	count  int
	base   []int64          // by gauge
	failed map[string]uint8 // searches that found nothing, by signature: each doubles what starts another one
}

// weigh measures the quiet target.
func (f *fuzzer) weigh(ctx context.Context) {
	if f.proc == nil || f.sick || f.dead() != nil {
		return
	}
	f.scrub(ctx)
	f.wait(ctx, weighSettle)
	u, err := f.proc.Sample()
	if err != nil {
		return
	}
	m := &f.measure
	m.count++
	if m.base == nil {
		m.base = make([]int64, len(gauges))
	}
	for i := range gauges {
		g := &gauges[i]
		now := g.read(u)
		if m.count == 1 || m.count <= warmUp && g.oracle == OracleLeak && g.suspect > exact {
			m.base[i] = max(m.base[i], now)
			continue
		}
		suspect := g.suspect << min(m.failed[g.signature], 16)
		if now-m.base[i] < suspect {
			continue
		}
		if g.oracle == OracleLeak { // what is closed late is closed
			if now = f.comesBack(ctx, g, m.base[i]+suspect-1); now-m.base[i] < suspect {
				continue
			}
		}
		grew := fmt.Sprintf("%s of the quiet target: %s, %s after the warm-up", g.signature, g.show(now), g.show(m.base[i]))
		if g.oracle != OracleMemory || !f.sysFirst(ctx) {
			f.pursue(ctx, g, grew)
		}
		m.count, m.base = 0, nil // the target is a fresh one
		return
	}
	if f.busy(ctx, spinSample, spinShare) {
		for range spinSure {
			if !f.busy(ctx, time.Second, spinShare) {
				return
			}
		}
		f.pursue(ctx, &spin, fmt.Sprintf("for %d seconds without a connection of the run the target used more than %d %% of a processor", spinSure, spinShare/10))
		m.count, m.base = 0, nil
	}
}

// comesBack waits for a gauge to fall to the level, and returns where it stands.
func (f *fuzzer) comesBack(ctx context.Context, g *gauge, level int64) int64 {
	limit := time.Now().Add(leakWait)
	for {
		u, err := f.proc.Sample()
		if err != nil {
			return 0
		}
		if n := g.read(u); n <= level || time.Now().After(limit) || ctx.Err() != nil {
			return n
		}
		f.wait(ctx, 20*time.Millisecond)
	}
}

// busy measures whether the target uses more than a share of one processor for that long.
func (f *fuzzer) busy(ctx context.Context, d time.Duration, share int64) bool {
	a, err := f.proc.Sample()
	began := time.Now()
	f.wait(ctx, d)
	b, err2 := f.proc.Sample()
	if err != nil || err2 != nil || ctx.Err() != nil {
		return false
	}
	return int64(b.CPU-a.CPU)*1000/int64(time.Since(began)) > share
}

// pursue looks for the script that makes a gauge grow, and records what it finds. Without a script there is no finding.
func (f *fuzzer) pursue(ctx context.Context, g *gauge, grew string) {
	t := &trouble{oracle: g.oracle, signature: g.signature, title: g.title, detail: []string{grew}}
	defer func() {
		forget(f.rings)
		f.renew(ctx)
	}()
	f.sick = true
	if f.known(t) {
		return
	}
	if !f.own {
		f.tell(Event{Note: grew + "; a target that mqlab did not start cannot be searched for the cause"})
		return
	}
	limit := huntBudget
	if g.oracle == OracleMemory { // memory that was touched often stays for good reasons
		limit /= 3
	}
	budget, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s := f.hunt(budget, g)
	if s == nil {
		if f.measure.failed == nil {
			f.measure.failed = map[string]uint8{}
		}
		f.measure.failed[g.signature]++
		f.tell(Event{Note: grew + "; no script was found that does it again"})
		return
	}
	f.found(ctx, t, s)
}

// hunt runs scripts in batches on a fresh target until one grows by a batch, and narrows that down.
func (f *fuzzer) hunt(ctx context.Context, g *gauge) *Script {
	pool := suspects(f.rings)
	gen := NewGenerator(f.cfg.Seed^0x5bd1e995, GenConfig{Versions: f.cfg.Versions, Prefix: "w0", Username: f.cfg.Username, Password: f.cfg.Password, Light: f.cfg.Light})
	f.renew(ctx)
	for capping := false; ctx.Err() == nil && !f.sick; {
		batch := pool[:min(len(pool), huntBatch)]
		pool = pool[len(batch):]
		for len(batch) < huntBatch {
			s, _ := f.next(gen)
			batch = append(batch, s)
		}
		if capping = !capping; capping { // many more scripts in the time, and none that fills at once what has a bound
			batch = capped(batch, huntRepeat)
		}
		if f.batchGrows(ctx, g, batch) {
			if s := f.narrow(ctx, g, batch); s != nil {
				return s
			}
		}
		if f.sick { // it died, which has its own finding
			f.renew(ctx)
		}
	}
	return nil
}

// batchGrows runs each script once and says whether that is worth a closer look.
func (f *fuzzer) batchGrows(ctx context.Context, g *gauge, batch []*Script) bool {
	before, ok := f.level(ctx, g)
	if !ok {
		return false
	}
	x := f.replay
	wait := x.closeWait
	x.closeWait = 0
	defer func() { x.closeWait = wait }()
	for _, s := range batch {
		if x.run(ctx, s).dialErr != nil {
			f.sick = true
			return false
		}
	}
	if g.oracle == OracleSpin {
		f.sick = f.busy(ctx, 150*time.Millisecond, spinShare) && f.busy(ctx, time.Second, spinShare)
		return f.sick
	}
	after, ok := f.level(ctx, g)
	if ok && after-before >= g.jump && g.oracle == OracleLeak {
		after = min(after, f.briefly(ctx, g, before))
	}
	return ok && after-before >= g.jump
}

// briefly is comesBack with less patience: many batches have to be looked at.
func (f *fuzzer) briefly(ctx context.Context, g *gauge, level int64) int64 {
	for i := 0; ; i++ {
		u, err := f.proc.Sample()
		if err != nil {
			return 0
		}
		if n := g.read(u); n <= level || i == 20 || ctx.Err() != nil {
			return n
		}
		f.wait(ctx, 20*time.Millisecond)
	}
}

// level measures a gauge of the quiet target.
func (f *fuzzer) level(ctx context.Context, g *gauge) (int64, bool) {
	if g.read == nil {
		return 0, true
	}
	if g.oracle == OracleMemory {
		f.scrub(ctx)
	}
	u, err := f.proc.Sample()
	return g.read(u), err == nil && ctx.Err() == nil
}

// narrow halves a batch as long as one half alone makes the gauge grow.
func (f *fuzzer) narrow(ctx context.Context, g *gauge, batch []*Script) *Script {
	t := &trouble{oracle: g.oracle, signature: g.signature}
	if f.grows(ctx, joined(batch), t, f.sick, true) == nil {
		return nil
	}
	for len(batch) > 1 {
		half := batch[:len(batch)/2]
		rest := batch[len(batch)/2:]
		switch {
		case f.grows(ctx, joined(half), t, f.sick, true) != nil:
			batch = half
		case f.grows(ctx, joined(rest), t, f.sick, true) != nil:
			batch = rest
		default:
			return joined(batch)
		}
	}
	return batch[0]
}

// gaugeOf returns the gauge that a trouble is about.
func gaugeOf(t *trouble) *gauge {
	for i := range gauges {
		if gauges[i].oracle == t.oracle && gauges[i].signature == t.signature {
			return &gauges[i]
		}
	}
	return &spin
}

// grows says whether running the script makes a gauge grow twice in a row by what proves a leak. quick has less patience
// with what comes back late.
func (f *fuzzer) grows(ctx context.Context, s *Script, want *trouble, fresh, quick bool) *trouble {
	if fresh && f.own || f.sick {
		f.renew(ctx)
	}
	if ctx.Err() != nil || f.sick {
		return nil
	}
	if q := sysQuantity(want); q != nil {
		return f.sysGrows(ctx, q, s, want, quick)
	}
	if f.proc == nil {
		return nil
	}
	g := gaugeOf(want)
	x := f.replay
	wait := x.closeWait
	x.closeWait = 0
	defer func() { x.closeWait = wait }()
	t := *want
	t.title = g.title
	if g.oracle == OracleSpin {
		if f.busy(ctx, weighSettle, idleShare) {
			return nil
		}
		if x.run(ctx, s).dialErr != nil {
			f.sick = true
			return nil
		}
		f.wait(ctx, weighSettle)
		long := 2 * time.Second
		if quick {
			long /= 4
		}
		if !f.busy(ctx, spinSample, spinShare) || !f.busy(ctx, long, spinShare) {
			return nil
		}
		f.sick = true
		t.detail = []string{"after the script, with all its connections closed, the target used more than a quarter of a processor, and next to nothing before"}
		return &t
	}
	runs, each := g.runs, g.each
	if g.oracle == OracleLeak && !quick { // a runtime that collects garbage may close what it finds there
		runs, each = collected*runs, collected*each
	}
	run := func() (int64, bool) {
		for range runs {
			if x.run(ctx, s).dialErr != nil {
				f.sick = true
				return 0, false
			}
		}
		return f.level(ctx, g)
	}
	most := stages
	if quick || g.oracle == OracleLeak {
		most = 3
	}
	levels := make([]int64, 0, stages)
	for i := range most {
		n, ok := run()
		if !ok {
			return nil
		}
		if i > 0 && n-levels[i-1] >= each && g.oracle == OracleLeak {
			wait := f.comesBack
			if quick {
				wait = f.briefly
			}
			n = min(n, wait(ctx, g, levels[i-1]+each-1))
		}
		if i > 0 && n-levels[i-1] < each {
			return nil
		}
		levels = append(levels, n)
	}
	rest := ""
	if g.oracle == OracleMemory && !quick { // the head room of a garbage collector creeps up, and has an end: a leak goes on
		mean := (levels[most-1] - levels[0]) / int64(most-1)
		n := int64(0)
		for range steady {
			var ok bool
			if n, ok = run(); !ok {
				return nil
			}
		}
		if n-levels[most-1] < mean*steady*2/3 {
			return nil
		}
		rest = fmt.Sprintf("; after %d more runs %s", steady*runs, g.show(n))
	}
	var shown []string
	for _, n := range levels {
		shown = append(shown, g.show(n))
	}
	t.detail = []string{fmt.Sprintf("%s of the target, all connections closed, each time after %d further runs of the script: %s%s", g.signature, runs, strings.Join(shown, ", "), rest)}
	return &t
}
