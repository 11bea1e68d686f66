package fuzz

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Scripts that wait for something to come due take seconds, in which they cost nothing. Workers of their own execute
// them, so that no other waits, and they are woken when the target has to be quiet.

// maxDozers is how many scripts wait at a time.
const maxDozers = 4

// dozers is how many workers wait: fewer than those that do not, and none where everything is to be light.
func (f *fuzzer) dozers() int {
	if f.cfg.Light {
		return 0
	}
	return min(maxDozers, f.cfg.Workers/2)
}

// naps lets long pauses be cut short. The zero value lets them last.
type naps struct {
	mu sync.Mutex // guards the field below
	ch chan struct{}
}

// call is closed when pauses are to end. It is at once where they have to.
func (n *naps) call() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

// end ends all pauses, and those that begin before the next call of begin.
func (n *naps) end() {
	ch := n.call()
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-ch:
	default:
		close(n.ch)
	}
}

// begin lets pauses last again.
func (n *naps) begin() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ch = nil
}

// generator returns the generator of a worker.
func (f *fuzzer) generator(id int) *Generator {
	return NewGenerator(f.cfg.Seed+uint64(id)*0x9E3779B97F4A7C15, GenConfig{
		Versions: f.cfg.Versions, Prefix: fmt.Sprintf("w%d", id), Username: f.cfg.Username, Password: f.cfg.Password, Light: f.cfg.Light,
	})
}

// dozeAll starts the workers that wait. What it returns ends them.
func (f *fuzzer) dozeAll(ctx context.Context) (stop func()) {
	ctx, wake := context.WithCancel(ctx)
	var all sync.WaitGroup
	for i := range f.dozers() {
		all.Go(func() { f.doze(ctx, f.cfg.Workers+i) })
	}
	return func() {
		wake()
		all.Wait()
	}
}

// doze executes slow scripts until the run ends.
func (f *fuzzer) doze(ctx context.Context, id int) {
	g := f.generator(id)
	x := f.executor()
	for ctx.Err() == nil {
		if n := f.execs.Add(1); f.cfg.Execs > 0 && n > f.cfg.Execs {
			f.execs.Add(-1)
			return
		}
		f.gate.RLock()
		s := f.nextSlow(g)
		ring := f.ring(id)
		ring.add(s, f.execs.Load())
		x.woke = func() { ring.again(s, f.execs.Load()) }
		f.left.note(s)
		r := x.run(ctx, s)
		f.gate.RUnlock()
		f.packets.Add(r.packets)
		f.received.Add(r.received)
		f.bytes.Add(r.bytes)
		for i := range r.troubles {
			f.alarm(ctx, alarm{&r.troubles[i], s, ring.before(s)})
		}
		if r.dialErr != nil && ctx.Err() == nil {
			f.alarm(ctx, alarm{script: s})
			f.wait(ctx, 20*time.Millisecond)
		}
	}
}

// nextSlow makes a slow script, as often as not of one that led somewhere.
func (f *fuzzer) nextSlow(g *Generator) *Script {
	var s *Script
	if g.main.n(100) < 40 {
		f.mu.Lock()
		s = f.corpus.pick(&g.main)
		f.mu.Unlock()
	}
	if s == nil {
		return g.Slow()
	}
	return g.Slowed(s)
}

// asleep returns what each worker that waits executed last: it may lie further back than much else, and be under way.
func (f *fuzzer) asleep() []*Script {
	var all []*Script
	for _, r := range f.rings[min(len(f.rings), f.cfg.Workers):] {
		if own := suspects([]*ring{r}); len(own) > 0 {
			all = append(all, own[0])
		}
	}
	return all
}

// meetings are scripts that do at the same time what several workers did last: what came of two clients that met comes
// back where they meet again.
func (f *fuzzer) meetings(all []*Script, t *trouble) []*Script {
	if c := t.oracle.Class(); c != OracleDied.Class() && c != OracleHang.Class() {
		return nil
	}
	var list []*Script
	add := func(some []*Script) {
		if len(some) > 1 {
			s := abreast(some[:min(len(some), maxParts)])
			list = append(list, s, s)
		}
	}
	add(all[:min(len(all), f.cfg.Workers)])
	for _, n := range []int{2, 5} { // a session may have been left by what the same worker did before
		var some []*Script
		for _, r := range f.rings {
			if own := suspects([]*ring{r}); len(own) > 0 {
				own = slices.Clone(own[:min(len(own), n)])
				slices.Reverse(own)
				some = append(some, joined(own))
			}
		}
		add(some)
	}
	return list
}

// lasting reports whether a script takes long: no other is made of it.
func lasting(s *Script) bool {
	return slices.ContainsFunc(s.Steps, func(st Step) bool {
		return st.Op == Meanwhile || st.Op == Stall || st.Op == Pause && st.Gap >= longPause
	})
}
