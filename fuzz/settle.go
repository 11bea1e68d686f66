package fuzz

import (
	"context"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// known counts a trouble that was found before.
func (f *fuzzer) known(t *trouble) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.vague && f.vague[t.key()] < maxVague {
		return false
	}
	x := f.findings[t.key()]
	if x == nil || f.own && x.unsure() {
		return false
	}
	x.Count++
	return true
}

// found records a trouble, confirms it and makes its script smaller. before is what may have to be sent first.
func (f *fuzzer) found(ctx context.Context, t *trouble, s *Script, before ...*Script) {
	var o outcome
	settle := func() {
		if s != nil && (f.own || !f.sick || t.oracle.Class() == "rule") {
			o = f.settleFinding(ctx, s, t, before)
		}
	}
	if f.starved(t) { // only a replay can tell
		if settle(); o.hits == 0 {
			f.slow++
			f.tell(Event{Note: "a bystander was not served for a while, and this machine was late itself: " + t.title})
			return
		}
		if x := f.record(t, s); x != nil {
			f.conclude(x, t, o)
		}
		return
	}
	x := f.record(t, s)
	if x == nil {
		return
	}
	settle()
	f.conclude(x, t, o)
}

// record makes a finding of a trouble; nil where it is known.
func (f *fuzzer) record(t *trouble, s *Script) *Finding {
	if f.known(t) {
		return nil
	}
	x := f.finding(t, s)
	f.mu.Lock()
	if old := f.findings[t.key()]; old != nil && old.unsure() { // it may be confirmed by what was sent this time
		old.Count++
		f.mu.Unlock()
		if s == nil { // nothing was, and it has been told
			return nil
		}
		return old
	}
	if t.vague {
		if f.vague == nil {
			f.vague = map[string]int{}
		}
		f.vague[t.key()]++
	}
	f.findings[t.key()] = x
	f.order = append(f.order, x)
	f.mu.Unlock()
	f.tell(Event{Finding: x})
	return x
}

// outcome is what replays made of a finding.
type outcome struct {
	tried, hits   int
	script, small *Script
	last          *trouble
}

// conclude adds what replays have shown to a finding, and writes it.
func (f *fuzzer) conclude(x *Finding, t *trouble, o outcome) {
	f.mu.Lock()
	if o.tried > 0 {
		x.attempts++
		x.Confirmed, x.Tried, x.Script, x.Minimal = o.hits, o.tried, o.script, o.small
		// What cannot be brought about again accuses nobody, except where the process itself has ended.
		x.Warn = t.warn || o.hits == 0 && x.Oracle != OracleDied
	}
	if o.last != nil {
		f.rename(x, o.last)
		x.Detail = o.last.detail
		if o.last.stderr != "" {
			x.Stderr = o.last.stderr
		}
	}
	if t.vague && x.Best() != nil {
		x.State = stateOf(x.Best())
	}
	n := len(f.order)
	f.mu.Unlock()
	if err := f.write(x); err != nil {
		f.tell(Event{Note: err.Error()})
	}
	f.tell(Event{Finding: x, Settled: true})
	if f.cfg.StopAfter > 0 && n >= f.cfg.StopAfter {
		f.fatal(nil)
	}
}

// settleFinding confirms a finding by replays on a fresh target, and makes its script smaller. Where it does not come
// back alone it may do so behind what was sent before.
func (f *fuzzer) settleFinding(ctx context.Context, s *Script, t *trouble, before []*Script) outcome {
	o := outcome{tried: f.cfg.Replays, script: s}
	patience := f.cfg.Patience
	confirm := func(s *Script) (hits int, last *trouble) {
		for i := range f.cfg.Replays {
			wait := patience
			if i > 0 && t.oracle == OracleClose { // what was waited for once at length
				wait = min(patience, quickWait)
			}
			if hit := f.fires(ctx, s, t, true, wait); hit != nil {
				hits++
				last = hit
			}
			if ctx.Err() != nil {
				break
			}
		}
		return hits, last
	}
	quick := min(patience, quickWait)
	// What depends on chance is tried several times, here and while the script is made smaller.
	tries := 0
	again := func(s *Script, most int) bool {
		for tries = 1; tries <= most; tries++ {
			if hit := f.fires(ctx, s, t, true, quick); hit != nil {
				t = better(t, hit)
				return true
			}
		}
		return false
	}
	alone := again(s, 3)
	var whole *Script
	if !alone && f.own && len(before) > 0 { // a session may have been left by what the same worker did before
		if whole = joined(append(before, s)); again(whole, 2) {
			o.script, alone = whole, true
		}
	}
	most := 1
	if tries > 1 {
		most = 3
	}
	for _, s := range []*Script{held(s), held(whole), storm(s)} { // or it depends on when the target sees that a client has come or gone
		if !alone && f.own && s != nil && t.oracle.Class() != "rule" && again(s, 2) {
			o.script, alone = s, true
		}
	}
	if alone && f.cfg.Minimise > 0 {
		o.small = f.shrink(ctx, o.script, t, most)
	}
	best := o.script
	if o.small != nil {
		best = o.small
	}
	if o.hits, o.last = confirm(best); o.hits < o.tried && o.small != nil { // it took more than the script alone
		if n, l := confirm(o.script); n > o.hits {
			o.hits, o.last, o.small = n, l, nil
		}
	}
	return o
}

// bench settles findings about answers on a process of its own, while the workers go on. It ends when the queue is
// closed, and returns the other trouble that it has met.
func (f *fuzzer) bench(ctx context.Context) []trouble {
	var b *fuzzer
	defer func() {
		if b != nil {
			b.stop()
		}
	}()
	for a := range f.queue {
		x := f.record(a.trouble, a.script)
		if x == nil {
			continue
		}
		if b == nil && ctx.Err() == nil {
			cfg := f.cfg
			cfg.Corpus, cfg.Workers, cfg.Events = "", 1, nil
			var err error
			if b, err = newFuzzer(ctx, cfg); err != nil {
				b = nil
			} else {
				b.fatal = func(error) {}
			}
		}
		var o outcome
		if b != nil && ctx.Err() == nil {
			o = b.settleFinding(ctx, a.script, a.trouble, a.before)
		}
		f.conclude(x, a.trouble, o)
	}
	if b == nil {
		return nil
	}
	return b.later
}

// stateOf says in words what a script sends: packets and edits, in order.
func stateOf(s *Script) string {
	var words []string
	for i := range s.Steps {
		st := &s.Steps[i]
		if st.Op != Send && st.Op != Drip && st.Op != Churn || len(st.Bytes) == 0 {
			continue
		}
		word := codec.Type(st.Bytes[0] >> 4).String()
		if st.Edit != "" {
			word += " (" + st.Edit + ")"
		}
		if words = append(words, word); len(words) == 8 {
			words = append(words, "...")
			break
		}
	}
	return s.Version.String() + ": " + strings.Join(words, ", ")
}

// afterwards records what was met while something else was looked into.
func (f *fuzzer) afterwards(ctx context.Context) {
	later := f.later
	f.later = nil
	for i := range later {
		f.found(ctx, &later[i], nil)
	}
}
