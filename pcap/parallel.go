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
	maxWorkers   = 6         // more have nothing to do: reading and reassembly take a seventh of the time
	batchBytes   = 256 << 10 // of packets
	batchPackets = 1024
	maxIdle      = 1 << 20 // bytes of a buffer that is kept for the next batch
)

// Parallel decodes packets and writes their lines by several goroutines, in the same order and with the
// same bytes as the sink would write by itself. Start from [NewParallel]; Attach it to the configuration of
// one [Dissector], and call Flush at the end, also after an error: it ends the goroutines. Packets are copied
// for it, in batches of which there are as many as goroutines and one more.
type Parallel struct {
	sink    Lines
	workers int
	work    chan *batch // nil while no goroutine runs
	queue   []*batch    // handed over, the oldest first
	idle    []*batch
	cur     *batch
	begun   bool
	first   int64 // time of the first packet or gap
	last    int64 // and of the latest
	ended   chan struct{}
	err     error // of writing; it stays
}

// batch is a stretch of the capture.
type batch struct {
	begun       bool // something stands in front of it
	first, last int64
	raw         []byte
	recs        []record
	text        []byte
	done        chan struct{}
}

// record is a packet that is not decoded, or a gap.
type record struct {
	packet   Packet // Topic is that of a Topic Alias only
	from, to int    // of its bytes in raw
	gap      *Gap
}

// NewParallel returns a Parallel with up to so many goroutines that does the work of the sink. The sink must
// not be used beside it.
func NewParallel(sink Lines, workers int) *Parallel {
	return &Parallel{sink: sink, workers: max(1, min(workers, maxWorkers))}
}

// Attach makes cfg pass packets and gaps to the Parallel.
func (p *Parallel) Attach(cfg *Config) { cfg.raw, cfg.Gap = p.packet, p.gap }

// snapshot returns a copy of the stream as it is at present, which is shared until the stream changes.
func (s *Stream) snapshot() *Stream {
	c := s.copied
	if c == nil || c.Client != s.Client || c.Server != s.Server || c.Transport != s.Transport || c.ClientID != s.ClientID ||
		c.Version != s.Version || c.Inferred != s.Inferred || c.Midstream != s.Midstream {
		c = new(Stream)
		*c = *s
		c.copied, c.Value = nil, nil
		s.copied = c
	}
	return c
}

// room returns the record for what comes next.
func (p *Parallel) room(nanos int64) *record {
	if !p.begun {
		p.first, p.last = nanos, nanos
	}
	b := p.cur
	if b == nil {
		if n := len(p.idle); n > 0 {
			b, p.idle = p.idle[n-1], p.idle[:n-1]
		} else {
			b = &batch{done: make(chan struct{}, 1), recs: make([]record, 0, batchPackets)}
		}
		b.begun, b.first, b.last = p.begun, p.first, p.last
		p.cur = b
	}
	p.begun, p.last = true, nanos
	b.recs = append(b.recs, record{})
	return &b.recs[len(b.recs)-1]
}

func (p *Parallel) packet(q *Packet) error {
	if p.err != nil {
		return p.err
	}
	r := p.room(q.Nanos)
	b := p.cur
	r.packet = *q
	r.packet.Stream = q.Stream.snapshot()
	r.from = len(b.raw)
	b.raw = append(b.raw, q.Raw...)
	r.to = len(b.raw)
	if len(b.raw) >= batchBytes || len(b.recs) >= batchPackets {
		return p.submit()
	}
	return nil
}

func (p *Parallel) gap(g *Gap) error {
	if p.err != nil {
		return p.err
	}
	r := p.room(g.Nanos)
	c := *g
	c.Stream = g.Stream.snapshot()
	r.gap = &c
	if len(p.cur.recs) >= batchPackets {
		return p.submit()
	}
	return nil
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
	p.queue = append(p.queue, p.cur)
	p.work <- p.cur
	p.cur = nil
	for len(p.queue) > p.workers && p.err == nil {
		p.write()
	}
	return p.err
}

// write waits for the oldest batch, writes it, and takes it back.
func (p *Parallel) write() {
	b := p.queue[0]
	p.queue = append(p.queue[:0], p.queue[1:]...)
	<-b.done
	if p.err == nil {
		_, p.err = p.sink.out().Write(b.text)
	}
	clear(b.recs)
	b.recs = b.recs[:0]
	b.raw, b.text = reuse(b.raw), reuse(b.text)
	p.idle = append(p.idle, b)
}

// reuse empties a buffer, and lets go of a large one.
func reuse(b []byte) []byte {
	if cap(b) > maxIdle {
		return nil
	}
	return b[:0]
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
		q := &r.packet
		q.Raw, q.Faults = b.raw[r.from:r.to:r.to], faults[:0]
		dec.finish(q)
		_ = sink.Packet(q)
	}
	sink.finish(b)
}
