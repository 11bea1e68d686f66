package pcap

import (
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
)

// ParallelLint does the work of a [Lint] by several goroutines, of which each judges some of the streams. It finds the
// same in the same order. Start from [NewParallelLint]; Attach it to the configuration of one [Dissector], and
// call Flush at the end, also after an error: it ends the goroutines.
type ParallelLint struct {
	batches
	lint    *Lint
	workers []*lintWorker // none while no goroutine runs
	n       int
	err     error
}

// lintWorker is what one goroutine has.
type lintWorker struct {
	lint  Lint
	work  chan *batch
	ended chan struct{}
	dec   decoders
}

// found is a finding and the record that showed it.
type found struct {
	rec int
	f   Finding
}

// NewParallelLint returns a ParallelLint with up to so many goroutines. Found of the Lint is called, and its
// counts are complete when Flush has returned.
func NewParallelLint(l *Lint, workers int) *ParallelLint {
	return &ParallelLint{lint: l, n: max(1, min(workers, maxWorkers))}
}

// Attach makes cfg pass packets, gaps and ends to the ParallelLint.
func (p *ParallelLint) Attach(cfg *Config) {
	submit := func(full bool) error {
		if full {
			return p.submit()
		}
		return nil
	}
	cfg.raw = func(q *Packet) error {
		if p.err != nil {
			return p.err
		}
		return submit(p.packet(q))
	}
	cfg.Gap = func(g *Gap) error {
		if p.err != nil {
			return p.err
		}
		return submit(p.gap(g))
	}
	cfg.End = func(e *StreamEnd) error {
		if p.err != nil {
			return p.err
		}
		return submit(p.end(e))
	}
}

// submit hands the batch over to all goroutines, and reports what was found in the oldest one when there are enough.
func (p *ParallelLint) submit() error {
	if p.workers == nil {
		for i := range p.n {
			w := &lintWorker{work: make(chan *batch, p.n+1), ended: make(chan struct{})}
			p.workers = append(p.workers, w)
			go func() {
				for b := range w.work {
					w.judge(b, i, p.n)
					b.done <- struct{}{}
				}
				close(w.ended)
			}()
		}
	}
	b := p.hand()
	if b.found == nil {
		b.found = make([][]found, p.n)
	}
	for _, w := range p.workers {
		w.work <- b
	}
	for len(p.queue) > p.n && p.err == nil {
		p.collect()
	}
	return p.err
}

// judge judges the streams of a batch that are its own.
func (w *lintWorker) judge(b *batch, self, of int) {
	at := 0
	w.lint.Found = func(f *Finding) error {
		b.found[self] = append(b.found[self], found{at, *f})
		return nil
	}
	for i := range b.recs {
		r := &b.recs[i]
		st := r.pkt.Stream
		switch {
		case r.gap != nil:
			st = r.gap.Stream
		case r.end != nil:
			st = r.end.Stream
		}
		if st.ID%of != self {
			continue
		}
		at = i
		st.Value = *st.kept
		switch { // none of them fails, as Found does not
		case r.gap != nil:
			_ = w.lint.Gap(r.gap)
		case r.end != nil:
			_ = w.lint.End(r.end)
		default:
			q := b.packet(r)
			if st.ws != nil && q.Type == codec.TypeConnack {
				w.dec.finish(q)
			}
			_ = w.lint.Packet(q)
		}
		*st.kept = st.Value
	}
}

// collect waits for the oldest batch and reports what was found in it, in order.
func (p *ParallelLint) collect() {
	b := p.oldest()
	for range p.workers {
		<-b.done
	}
	at := make([]int, len(b.found))
	for {
		next := -1
		for i, list := range b.found {
			if at[i] < len(list) && (next < 0 || list[at[i]].rec < b.found[next][at[next]].rec) {
				next = i
			}
		}
		if next < 0 || p.err != nil {
			break
		}
		f := b.found[next][at[next]].f
		at[next]++
		p.err = p.lint.count(&f)
	}
	p.recycle(b)
}

// Flush reports what is left, ends the goroutines, and completes the counts of the [Lint].
func (p *ParallelLint) Flush() error {
	if p.cur != nil && p.err == nil {
		_ = p.submit() // the error stays in p.err
	}
	for len(p.queue) > 0 {
		p.collect()
	}
	for _, w := range p.workers {
		close(w.work)
		<-w.ended
		p.lint.sum(&w.lint)
	}
	p.workers = nil
	return p.err
}

// sum adds what another Lint has judged.
func (l *Lint) sum(o *Lint) {
	if l.judged == nil {
		l.judged, l.limits = make(map[judge.Key]int), make(map[string]int)
	}
	for k, n := range o.judged {
		l.judged[k] += n
	}
	for text, n := range o.limits {
		l.limits[text] += n
	}
}
