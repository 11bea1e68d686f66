package fuzz

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// What a target says it holds is read when nobody is connected, every session that a script began was ended by its
// name, and every retained message was removed. That it says more than in the beginning is a suspicion: a CONNECT with one
// thing wrong may have begun a session under a name that nobody can tell. For a finding, scripts of which it is known
// what they leave are run again and again, the same bytes each time: after the first time there is no right to more.

// sysState is what is remembered of $SYS. It is for the goroutine that watches.
type sysState struct {
	mon    *sysMonitor
	starts int64 // of the target, when mon began
	opened time.Time
	off    map[string]bool // quantities of this target that mean something else
	failed map[string]uint8

	samples int
	base    map[string]int64
	execs   int64 // scripts executed when the base was taken
	over    map[string]int
	due     time.Time
	lead    time.Duration
}

// Times and bounds around the reading of $SYS.
const (
	sysWarm      = 1 // samples for the base line
	sysSure      = 4 // times what is suspect, which need not be seen again
	sysFirm      = 2 // samples in a row that start a search
	sysRounds    = 3 // of runs, behind the first one, that have to show growth
	sysLead      = 400 * time.Millisecond
	sysMaxLead   = 3 * time.Second
	sysComesBack = 5 * time.Second
	sysDelay     = 30 * time.Millisecond // between the last packet and the first message that counts
	sysLongest   = 65 * time.Second      // between two rounds of messages of any broker
	sysRetry     = 10 * time.Second      // before another attempt to subscribe
	sysTries     = 12                    // visits to a broker, to see what it counts
	sysMinBatch  = 40
	sysMaxBatch  = 1000
	sysReports   = 10 // that a search may wait for
	narrowRuns   = 2  // of scripts of which each run is to leave something
	sysShortHunt = 20 * time.Second
	sysNarrow    = 45 * time.Second
	sysLongHunt  = 2 * time.Minute
)

// close ends the subscription.
func (y *sysState) close() { y.mon.close() }

// sysDue says whether the target should be made quiet for the messages under $SYS that are about to come.
func (f *fuzzer) sysDue(ctx context.Context) bool {
	y := &f.sys
	if f.cfg.Resources <= 0 || f.sick {
		return false
	}
	now := time.Now()
	if !y.mon.alive() || y.starts != f.restarts.Load() {
		if now.Sub(y.opened) > sysRetry || y.starts != f.restarts.Load() {
			f.sysOpen(ctx)
		}
		return false
	}
	if now.Before(y.due) || !y.mon.speaks() {
		return false
	}
	next, _, ok := y.mon.next(now)
	return ok && next.Sub(now) < max(y.lead, sysLead)
}

// sysOpen subscribes, and forgets what another process has said.
func (f *fuzzer) sysOpen(ctx context.Context) {
	y := &f.sys
	y.mon.close()
	if starts := f.restarts.Load(); y.starts != starts {
		y.starts, y.samples, y.base, y.over = starts, 0, nil, nil
	}
	y.opened = time.Now()
	y.mon, _ = openSys(ctx, f.guard, min(f.cfg.Patience, quickWait))
	f.left.wanted.Store(y.mon != nil || !f.own)
}

// sysQuiet makes the target quiet and waits for what it says then.
func (f *fuzzer) sysQuiet(ctx context.Context, wait time.Duration) bool {
	f.scrub(ctx)
	f.scrubNames(ctx)
	return f.sys.mon.alive() && f.sys.mon.heard(ctx, time.Now().Add(sysDelay), wait) && ctx.Err() == nil
}

// weighSys reads what the quiet target says it holds.
func (f *fuzzer) weighSys(ctx context.Context) {
	y := &f.sys
	if !y.mon.alive() || f.sick || f.dead() != nil {
		return
	}
	began := time.Now()
	next, interval, _ := y.mon.next(began)
	f.scrub(ctx)
	f.scrubNames(ctx)
	took := time.Since(began)
	y.due = time.Now().Add(max(2*f.cfg.Resources, 2*interval))
	if interval > time.Second && time.Now().Add(sysDelay).After(next) { // too late for this one, and the next is far away
		y.lead = min(2*took+sysLead, sysMaxLead)
		y.due = time.Now()
		return
	}
	if !y.mon.heard(ctx, time.Now().Add(sysDelay), 2*interval+sysInitial) {
		return
	}
	y.lead = min(2*took+sysLead/2, sysMaxLead)
	if y.base == nil {
		y.base, y.over, y.execs = map[string]int64{}, map[string]int{}, f.execs.Load()
	}
	y.samples++
	for i := range quantities {
		q := &quantities[i]
		now, at, ok := y.mon.value(q)
		if !ok || y.off[q.signature] {
			continue
		}
		if y.samples <= sysWarm {
			y.base[q.signature], y.execs = max(y.base[q.signature], now), f.execs.Load()
			continue
		}
		if now-y.base[q.signature] < q.suspect<<min(y.failed[q.signature], 16) {
			y.over[q.signature] = 0
			continue
		}
		if y.over[q.signature]++; y.over[q.signature] < sysFirm && now-y.base[q.signature] < sysSure*q.suspect<<min(y.failed[q.signature], 16) {
			continue
		}
		f.pursueSys(ctx, q, at, now)
		return
	}
}

// sysFirst looks for the cause of growing memory among what the target says it holds, where a search is shorter. It says
// whether that has led to a search, after which the target is a fresh one.
func (f *fuzzer) sysFirst(ctx context.Context) bool {
	y := &f.sys
	if !y.mon.alive() || y.samples == 0 || y.starts != f.restarts.Load() {
		return false
	}
	f.weighSys(ctx)
	return y.base == nil
}

// pursueSys looks for the script behind what grows, and records what it finds.
func (f *fuzzer) pursueSys(ctx context.Context, q *quantity, at string, now int64) {
	y := &f.sys
	grew := now - y.base[q.signature]
	seen := fmt.Sprintf("%s of the quiet target: %s, %s after the warm-up, as %s says", q.signature, q.show(now), q.show(y.base[q.signature]), at)
	t := &trouble{oracle: q.oracle, signature: q.signature, title: q.title, detail: []string{seen}}
	defer func() { y.base, y.over, y.samples = nil, nil, 0 }()
	if f.sysExplained() {
		y.failed = raised(y.failed, q.signature)
		return
	}
	if !y.mon.plain(at) && f.countsVisits(ctx, q) {
		if y.off == nil {
			y.off = map[string]bool{}
		}
		y.off[q.signature] = true
		f.tell(Event{Note: fmt.Sprintf("%s counts what ever came, not what is there: it is not looked at any more", at)})
		return
	}
	_, interval, _ := y.mon.next(time.Now())
	limit := min(max(sysShortHunt, sysReports*interval), sysLongHunt)
	if f.cfg.Time > 0 { // a suspicion is not to take all the time there is
		limit = min(limit, max(f.cfg.Time/4, sysShortHunt, 5*interval))
	}
	budget, cancel := context.WithTimeout(ctx, limit)
	batch, last := f.huntSys(budget, q, float64(grew)/float64(max(1, f.execs.Load()-y.execs)))
	cancel()
	var s *Script
	if len(batch) > 0 {
		budget, cancel = context.WithTimeout(ctx, max(limit, sysNarrow))
		s = f.narrowSys(budget, q, batch, last)
		cancel()
	}
	if s == nil || !f.foundSys(ctx, t, s, interval) {
		y.failed = raised(y.failed, q.signature)
		f.tell(Event{Note: seen + "; no script was found that does it again and again, so that it may be what one has a right to"})
	}
}

func raised(m map[string]uint8, key string) map[string]uint8 {
	if m == nil {
		m = map[string]uint8{}
	}
	m[key]++
	return m
}

// sysExplained says whether a leak is known already: what stays for the same reason is no news.
func (f *fuzzer) sysExplained() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.order {
		if x.Class() == "leak" && !x.Warn {
			return true
		}
	}
	return false
}

// countsVisits says whether a quantity grows with every visit of a client that leaves nothing behind.
func (f *fuzzer) countsVisits(ctx context.Context, q *quantity) bool {
	v := f.guard.version
	s := &Script{Version: v, Steps: []Step{{Op: Open}}}
	send := func(p codec.Packet) {
		b, _ := p.AppendTo(nil, v)
		s.Steps = append(s.Steps, Step{Op: Send, Bytes: b}, Step{Op: Settle, Gap: settleGap})
	}
	c := &codec.Connect{Version: v, ClientID: f.guard.prefix + "v", CleanStart: true, KeepAlive: 60}
	if f.cfg.Username != "" {
		c.HasUsername, c.Username = true, f.cfg.Username
		c.HasPassword, c.Password = f.cfg.Password != "", []byte(f.cfg.Password)
	}
	name := f.guard.prefix + "/v"
	send(c)
	send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: name, QoS: 1}}})
	send(&codec.Publish{Topic: name, Payload: []byte("visit"), QoS: 1, PacketID: 2, Retain: f.guard.retained})
	s.Steps = append(s.Steps, Step{Op: Answer})
	if f.guard.retained {
		send(&codec.Publish{Topic: name, QoS: 1, PacketID: 3, Retain: true})
		s.Steps = append(s.Steps, Step{Op: Answer})
	}
	send(&codec.Unsubscribe{PacketID: 4, Filters: []string{name}})
	send(&codec.Disconnect{})
	s.Steps = append(s.Steps, Step{Op: Close})
	before, ok := f.sysLevel(ctx, q)
	for range sysTries {
		f.replay.run(ctx, s)
	}
	after, ok2 := f.sysLevel(ctx, q)
	return ok && ok2 && after-before >= sysTries
}

// sysLevel reads a quantity of the quiet target.
func (f *fuzzer) sysLevel(ctx context.Context, q *quantity) (int64, bool) {
	y := &f.sys
	if !y.mon.alive() || y.starts != f.restarts.Load() {
		if f.sysOpen(ctx); !y.mon.alive() {
			return 0, false
		}
	}
	wait := sysLongest
	if _, interval, ok := y.mon.next(time.Now()); ok {
		wait = 2*interval + sysInitial
	}
	if !f.sysQuiet(ctx, wait) {
		return 0, false
	}
	n, _, ok := y.mon.value(q)
	return n, ok
}

// runAll runs scripts, each so many times.
func (f *fuzzer) runAll(ctx context.Context, batch []*Script, times int) bool {
	x := f.replay
	wait := x.closeWait
	x.closeWait = 0
	defer func() { x.closeWait = wait }()
	for _, s := range batch {
		f.left.note(s)
		for range times {
			if x.run(ctx, s).dialErr != nil {
				f.sick = true
			}
			if f.sick || ctx.Err() != nil {
				return false
			}
		}
	}
	return true
}

// huntSys looks for scripts behind which a quantity grows each time, and says where it stands then. rate is how much a
// script has made it grow on average.
func (f *fuzzer) huntSys(ctx context.Context, q *quantity, rate float64) ([]*Script, int64) {
	n := sysMinBatch
	if want := 3 * float64(q.jump) / max(rate, 1e-9); want > float64(n) {
		n = int(min(want, sysMaxBatch))
	}
	gen := NewGenerator(f.cfg.Seed^0x5bd1e995, GenConfig{Versions: f.cfg.Versions, Prefix: "w0", Username: f.cfg.Username, Password: f.cfg.Password, Light: f.cfg.Light})
	pool := suspects(f.rings)
	if f.own {
		f.renew(ctx)
	}
	last, ok := f.sysLevel(ctx, q)
	for ok && ctx.Err() == nil {
		var batch []*Script
		for tries := 0; len(batch) < n && tries < 20*n; tries++ {
			var s *Script
			if len(pool) > 0 {
				s, pool = pool[0], pool[1:]
			} else {
				s, _ = f.next(gen)
			}
			if _, _, sure := s.leaves(); sure {
				batch = append(batch, s)
			}
		}
		var levels [3]int64
		levels[0] = last
		for i := 1; ok && i < len(levels); i++ {
			ok = f.runAll(ctx, batch, 1)
			if !ok && f.sick && ctx.Err() == nil { // it died, which has its own finding
				f.renew(ctx)
			}
			if ok {
				levels[i], ok = f.sysLevel(ctx, q)
			}
			if last = levels[i]; i == 1 && levels[1]-levels[0] < q.jump {
				break
			}
		}
		if ok && levels[2]-levels[1] >= q.jump {
			return batch, last
		}
		n = min(2*n, sysMaxBatch)
	}
	return nil, 0
}

// narrowSys halves a batch as long as one half alone makes the quantity grow with each run.
func (f *fuzzer) narrowSys(ctx context.Context, q *quantity, batch []*Script, last int64) *Script {
	grows := func(part []*Script) bool {
		if !f.runAll(ctx, part, narrowRuns) {
			return false
		}
		now, ok := f.sysLevel(ctx, q)
		grew := now - last
		last = now
		return ok && grew >= narrowRuns*q.jump/int64(q.runs)
	}
	for len(batch) > 1 && ctx.Err() == nil {
		half, rest := batch[:len(batch)/2], batch[len(batch)/2:]
		switch {
		case grows(half):
			batch = half
		case grows(rest):
			batch = rest
		default:
			return joined(batch)
		}
	}
	return joined(batch)
}

// foundSys confirms, records and makes smaller what was found; false where it does not come back. How long that takes
// depends on how often the target publishes what it counts.
func (f *fuzzer) foundSys(ctx context.Context, t *trouble, s *Script, interval time.Duration) bool {
	t.warn = !f.own // somebody else may use it
	first := f.fires(ctx, s, t, true, f.cfg.Patience)
	if first == nil || !f.stays(ctx, sysQuantity(t)) {
		return false
	}
	x := f.record(t, s)
	if x == nil {
		return true
	}
	o := outcome{tried: f.cfg.Replays, script: s}
	if interval > 2*time.Second {
		o.tried = 1
	}
	if f.cfg.Minimise > 0 {
		limit := min(max(f.cfg.Minimise, f.cfg.Minimise*interval/time.Second), sysLongHunt)
		budget, cancel := context.WithTimeout(ctx, limit)
		o.small = Minimise(budget, s, func(s *Script) bool { return f.fires(budget, s, t, false, 0) != nil })
		cancel()
	}
	confirm := func(s *Script) {
		o.hits = 0
		for range o.tried {
			if hit := f.fires(ctx, s, t, true, f.cfg.Patience); hit != nil {
				o.hits++
				o.last = hit
			}
		}
	}
	if o.small != nil {
		if confirm(o.small); o.hits < o.tried {
			o.small = nil
		}
	}
	if o.small == nil {
		confirm(s)
	}
	if o.last != nil {
		o.last.detail = append(o.last.detail, t.detail...)
	}
	f.conclude(x, t, o)
	return true
}

// stays says whether a quantity does not go down by itself, some servers taking their time.
func (f *fuzzer) stays(ctx context.Context, q *quantity) bool {
	before, ok := f.sysLevel(ctx, q)
	_, interval, _ := f.sys.mon.next(time.Now())
	f.wait(ctx, min(max(10*interval, sysComesBack/5), sysComesBack))
	after, ok2 := f.sysLevel(ctx, q)
	return ok && ok2 && before-after < q.each
}

// sysQuantity returns the quantity that a trouble is about, or nil.
func sysQuantity(t *trouble) *quantity {
	for i := range quantities {
		if q := &quantities[i]; q.oracle == t.oracle && q.signature == t.signature {
			return q
		}
	}
	return nil
}

// sysGrows says whether running the script makes a quantity grow each time by what proves a leak, and nothing else
// does. quick makes do with less.
func (f *fuzzer) sysGrows(ctx context.Context, q *quantity, s *Script, want *trouble, quick bool) *trouble {
	if _, _, sure := s.leaves(); !sure {
		return nil
	}
	f.left.wanted.Store(true)
	rounds := sysRounds
	if quick {
		rounds = 1
	}
	var levels []int64
	var shown []string
	for i := range rounds + 1 {
		if !f.runAll(ctx, []*Script{s}, q.runs) {
			return nil
		}
		n, ok := f.sysLevel(ctx, q)
		if ok && i > 0 && n-levels[i-1] >= q.each && !quick { // what is counted late is counted in the next round
			var again int64
			again, ok = f.sysLevel(ctx, q)
			n = min(n, again)
		}
		if !ok || i > 0 && n-levels[i-1] < q.each {
			return nil
		}
		levels, shown = append(levels, n), append(shown, q.show(n))
	}
	t := *want
	t.title = q.title
	if !quick { // what grows by itself is nobody's doing
		idle, ok := f.sysLevel(ctx, q)
		if !ok || idle-levels[len(levels)-1] >= q.each {
			return nil
		}
		_, at, _ := f.sys.mon.value(q)
		t.detail = []string{fmt.Sprintf("%s as %s says, with all connections closed, all sessions ended and all retained messages removed, each time after %d further runs of the script: %s; without running it: %s",
			q.signature, at, q.runs, strings.Join(shown, ", "), q.show(idle))}
	}
	return &t
}
