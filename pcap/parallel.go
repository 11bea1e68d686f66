package pcap

import (
	"io"

	"github.com/mqlab/mqlab/codec"
)

// Lines is a sink that can be run by a [Parallel]: [List], [JSON] and [CSV]. What it writes for a packet
// depends on that packet, on its stream, and on little that is known before the packet is decoded.
type Lines interface {
	Packet(*Packet) error
	Gap(*Gap) error
	Flush() error

	// fork returns a copy for one goroutine, which writes between begin and finish.
	fork() Lines
	begin(*batch)
	finish(*batch)
	out() io.Writer
}

const (
	maxWorkers = 6 // more have nothing to do: reading and reassembly take a seventh of the time
)

// Parallel decodes packets and writes their lines by several goroutines, in the same order and with the
// same bytes as the sink would write by itself. Start from [NewParallel]; Attach it to the configuration of
// one [Dissector], and call Flush at the end, also after an error: it ends the goroutines. Packets are copied
// for it, in batches of which there are as many as goroutines and one more.
type Parallel struct {
	batches
	sink    Lines
	workers int
	work    chan *batch // nil while no goroutine runs
	ended   chan struct{}
	err     error // of writing; it stays
}

// NewParallel returns a Parallel with up to so many goroutines that does the work of the sink. The sink must
// not be used beside it.
func NewParallel(sink Lines, workers int) *Parallel {
	return &Parallel{sink: sink, workers: max(1, min(workers, maxWorkers))}
}

// Attach makes cfg pass packets and gaps to the Parallel.
func (p *Parallel) Attach(cfg *Config) {
	cfg.raw = func(q *Packet) error {
		if p.err != nil {
			return p.err
		}
		if p.packet(q) {
			return p.submit()
		}
		return nil
	}
	cfg.Gap = func(g *Gap) error {
		if p.err != nil {
			return p.err
		}
		if p.gap(g) {
			return p.submit()
		}
		return nil
	}
}

// submit hands the batch over, and writes the oldest one when there are enough.
func (p *Parallel) submit() error {
	if p.work == nil {
		p.work = make(chan *batch, p.workers+1)
		p.ended = make(chan struct{}, p.workers)
		for range p.workers {
			go func(work <-chan *batch, ended chan<- struct{}, sink Lines) {
				for b := range work {
					b.render(sink)
					b.done <- struct{}{}
				}
				ended <- struct{}{}
			}(p.work, p.ended, p.sink.fork())
		}
	}
	p.work <- p.hand()
	for len(p.queue) > p.workers && p.err == nil {
		p.write()
	}
	return p.err
}

// write waits for the oldest batch, writes it, and takes it back.
func (p *Parallel) write() {
	b := p.oldest()
	<-b.done
	if p.err == nil {
		_, p.err = p.sink.out().Write(b.text)
	}
	p.recycle(b)
}

// Flush writes what is held back and ends the goroutines.
func (p *Parallel) Flush() error {
	if p.cur != nil && p.err == nil {
		_ = p.submit() // the error stays in p.err
	}
	for len(p.queue) > 0 {
		p.write()
	}
	if p.work != nil {
		close(p.work)
		for range p.workers {
			<-p.ended
		}
		p.work = nil
	}
	return p.err
}

// render decodes the packets of the batch and writes their lines.
func (b *batch) render(sink Lines) {
	var dec decoders
	var faults [8]*codec.Error
	sink.begin(b)
	for i := range b.recs {
		r := &b.recs[i]
		if r.gap != nil {
			_ = sink.Gap(r.gap) // a fork writes to memory
			continue
		}
		q := b.packet(r)
		q.Faults = faults[:0]
		dec.finish(q)
		_ = sink.Packet(q)
	}
	sink.finish(b)
}
