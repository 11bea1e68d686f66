package pcap

const (
	batchBytes   = 256 << 10 // of packets
	batchPackets = 1024
	maxIdle      = 1 << 20 // bytes of a buffer that is kept for the next batch
)

// batch is a stretch of the capture that goroutines work on.
type batch struct {
	begun       bool // something stands in front of it
	first, last int64
	raw         []byte
	recs        []record
	text        []byte
	found       [][]found // of a [ParallelLint], by goroutine
	done        chan struct{}
}

// record is a packet that is not decoded, a gap, or the end of a stream.
type record struct {
	pkt      Packet // Topic is that of a Topic Alias only
	from, to int    // of its bytes in raw
	gap      *Gap
	end      *StreamEnd
}

// packet returns the packet of a record with its bytes.
func (b *batch) packet(r *record) *Packet {
	r.pkt.Raw = b.raw[r.from:r.to:r.to]
	return &r.pkt
}

// batches collects what a [Dissector] reports.
type batches struct {
	queue []*batch // handed over, the oldest first
	idle  []*batch
	cur   *batch
	begun bool
	first int64 // time of the first packet or gap
	last  int64 // and of the latest
}

// room returns the record for what comes next.
func (p *batches) room(nanos int64) *record {
	if !p.begun {
		p.first, p.last = nanos, nanos
	}
	b := p.cur
	if b == nil {
		if n := len(p.idle); n > 0 {
			b, p.idle = p.idle[n-1], p.idle[:n-1]
		} else {
			b = &batch{done: make(chan struct{}, maxWorkers), recs: make([]record, 0, batchPackets)}
		}
		b.begun, b.first, b.last = p.begun, p.first, p.last
		p.cur = b
	}
	p.begun, p.last = true, nanos
	b.recs = append(b.recs, record{})
	return &b.recs[len(b.recs)-1]
}

// packet takes in a packet, and reports whether the batch is full.
func (p *batches) packet(q *Packet) bool {
	r := p.room(q.Nanos)
	b := p.cur
	r.pkt = *q
	r.pkt.Stream, r.pkt.MQTT, r.pkt.Faults = q.Stream.snapshot(), nil, nil
	r.from = len(b.raw)
	b.raw = append(b.raw, q.Raw...)
	r.to = len(b.raw)
	return len(b.raw) >= batchBytes || len(b.recs) >= batchPackets
}

// gap takes in a gap.
func (p *batches) gap(g *Gap) bool {
	r := p.room(g.Nanos)
	c := *g
	c.Stream = g.Stream.snapshot()
	r.gap = &c
	return len(p.cur.recs) >= batchPackets
}

// end takes in the end of a stream.
func (p *batches) end(e *StreamEnd) bool {
	r := p.room(e.Nanos)
	c := *e
	c.Stream = e.Stream.snapshot()
	r.end = &c
	return len(p.cur.recs) >= batchPackets
}

// hand takes the batch out to be worked on.
func (p *batches) hand() *batch {
	b := p.cur
	p.queue = append(p.queue, b)
	p.cur = nil
	return b
}

// oldest takes the batch that was handed over first from the queue.
func (p *batches) oldest() *batch {
	b := p.queue[0]
	p.queue = append(p.queue[:0], p.queue[1:]...)
	return b
}

// recycle takes a batch back.
func (p *batches) recycle(b *batch) {
	clear(b.recs)
	b.recs = b.recs[:0]
	for i := range b.found {
		clear(b.found[i])
		b.found[i] = b.found[i][:0]
	}
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

// snapshot returns a copy of the stream as it is at present, which is shared until the stream changes. What
// callbacks keep of the stream is the same for all copies.
func (s *Stream) snapshot() *Stream {
	c := s.copied
	if c == nil || !c.ws.same(s.ws) || c.Client != s.Client || c.Server != s.Server || c.Transport != s.Transport || c.ClientID != s.ClientID ||
		c.Version != s.Version || c.Inferred != s.Inferred || c.Midstream != s.Midstream {
		if s.kept == nil {
			s.kept = new(any)
		}
		c = new(Stream)
		*c = *s
		c.copied, c.Value = nil, nil
		if s.ws != nil { // its lists only grow
			ws := *s.ws
			c.ws = &ws
		}
		s.copied = c
	}
	return c
}
