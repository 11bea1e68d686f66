package pcap

import (
	"slices"
	"time"
)

const (
	maxEarly      = 4 << 20  // bytes of early segments of one direction
	maxEarlyAll   = 32 << 20 // of all directions
	maxEarlyParts = 8192
	farAway       = 1 << 26 // a sequence number as far off belongs to another connection

	// A hole is given up when the receiver has acknowledged what was in it and the capture does
	// not show it even so much later: it was not captured. Taps may show an acknowledgement
	// a little before what it acknowledges.
	ackedFrames = 24
	ackedTime   = int64(time.Second)
	// A hole that nobody acknowledged is given up after what no retransmission takes.
	holeTime = int64(2 * time.Minute)
)

// tcpHalf is one direction of a TCP connection: what arrives is made a sequence again.
type tcpHalf struct {
	begun  bool
	syn    bool   // begun by SYN
	isn    uint32 // of the SYN
	next   uint32 // sequence number of the next byte
	acked  uint32 // what the other side has acknowledged
	hasAck bool
	fin    bool
	finAt  uint32

	early      []early // sorted by seq
	earlyBytes int
	holeSince  int64 // capture time when the hole in front of early was first seen
	ackedSince int64 // and when it was first seen to be acknowledged; 0: it is not
	ackedSegs  int
}

// early is a segment that came before what precedes it.
type early struct {
	seq     uint32
	data    []byte
	missing int
	frame   int
	nanos   int64
}

func (e *early) end() uint32 { return e.seq + uint32(len(e.data)+e.missing) }

// distance is how far it is from one sequence number to another, which wrap around.
func distance(from, to uint32) int { return int(int32(to - from)) }

// segment takes in one segment of a connection in direction dir.
func (d *Dissector) segment(c *conn, dir int, s *segment) error {
	h, o := &c.tcp[dir], &c.tcp[1-dir]
	if s.has && (!o.hasAck || distance(o.acked, s.ack) > 0) {
		o.acked, o.hasAck = s.ack, true
	}
	seq := s.seq
	if s.syn {
		if !h.begun {
			h.begun, h.syn, h.isn, h.next = true, true, seq, seq+1
			c.sawSYN(dir, s.has)
		}
		seq++
	}
	if n := len(s.data) + s.missing; n > 0 {
		if !h.begun {
			h.begun, h.next = true, seq
			c.midstream = c.midstream || !c.syn
		}
		if err := d.take(c, dir, seq, s); err != nil {
			return err
		}
	}
	if s.fin {
		h.fin, h.finAt = true, s.seq+uint32(len(s.data)+s.missing)
		if s.syn {
			h.finAt++
		}
		c.closing(dir, s, false)
	}
	if s.rst {
		c.closing(dir, s, true)
	}
	for side := range c.tcp {
		if err := d.holes(c, side, s.nanos); err != nil {
			return err
		}
	}
	// What is still missing at RST may yet be seen: it has been sent before.
	if c.reset && len(h.early) == 0 && len(o.early) == 0 || h.done() && o.done() {
		return d.closed(c)
	}
	return nil
}

// done reports whether everything up to FIN has arrived.
func (h *tcpHalf) done() bool { return h.fin && h.begun && distance(h.finAt, h.next) >= 0 }

// unseen reports whether the other side has acknowledged bytes that the capture has not shown.
func (h *tcpHalf) unseen() bool {
	if !h.begun {
		return true
	}
	next := h.next
	if h.fin {
		next++
	}
	return h.hasAck && distance(next, h.acked) > 0
}

// take passes on what continues the sequence, keeps what comes too early, and drops what was there.
func (d *Dissector) take(c *conn, dir int, seq uint32, s *segment) error {
	h := &c.tcp[dir]
	data, missing := s.data, s.missing
	off := distance(h.next, seq)
	if off > farAway || off < -farAway {
		if err := d.flush(c, dir); err != nil {
			return err
		}
		if err := d.hole(c, dir, -1, s.frame, s.nanos); err != nil {
			return err
		}
		h.next, off = seq, 0
	}
	if off < 0 {
		if -off >= len(data)+missing {
			d.sum.Repeated++
			return nil
		}
		if -off >= len(data) {
			missing -= -off - len(data)
			data = nil
		} else {
			data = data[-off:]
		}
		off = 0
	}
	if off > 0 {
		return d.keep(c, dir, seq, s)
	}
	if err := d.pass(c, dir, data, missing, s.frame, s.nanos); err != nil {
		return err
	}
	if len(h.early) > 0 {
		return d.drain(c, dir, s.frame, s.nanos)
	}
	return nil
}

// pass hands bytes in sequence to what reads them.
func (d *Dissector) pass(c *conn, dir int, data []byte, missing, frame int, nanos int64) error {
	c.tcp[dir].next += uint32(len(data) + missing)
	if len(data) > 0 {
		if err := d.bytes(c, dir, data, frame, nanos); err != nil {
			return err
		}
	}
	if missing > 0 {
		return d.hole(c, dir, missing, frame, nanos)
	}
	return nil
}

// keep stores an early segment.
func (d *Dissector) keep(c *conn, dir int, seq uint32, s *segment) error {
	h := &c.tcp[dir]
	e := early{seq: seq, missing: s.missing, frame: s.frame, nanos: s.nanos}
	i := len(h.early)
	for i > 0 && distance(h.early[i-1].seq, seq) < 0 {
		i--
	}
	if i > 0 {
		if prev := &h.early[i-1]; distance(prev.end(), seq+uint32(len(s.data)+s.missing)) <= 0 {
			d.sum.Repeated++
			return nil
		}
	}
	if !c.wanted() { // nobody will read it: its place in the sequence is enough
		e.missing += len(s.data)
	} else {
		e.data = slices.Clone(s.data)
	}
	if len(h.early) == 0 {
		h.holeSince, h.ackedSince, h.ackedSegs = s.nanos, 0, 0
	}
	h.early = slices.Insert(h.early, i, e)
	h.earlyBytes += len(e.data)
	d.earlyBytes += len(e.data)
	for h.earlyBytes > maxEarly || d.earlyBytes > maxEarlyAll && len(h.early) > 0 || len(h.early) > maxEarlyParts {
		if err := d.giveUp(c, dir); err != nil {
			return err
		}
	}
	return nil
}

// drain passes on the early segments that have come into sequence. The frame is the one that closed
// the hole; 0 lets every segment keep its own.
func (d *Dissector) drain(c *conn, dir, frame int, nanos int64) error {
	h := &c.tcp[dir]
	n := 0
	for n < len(h.early) && distance(h.early[n].seq, h.next) >= 0 {
		e := h.early[n]
		h.early[n] = early{}
		n++
		h.earlyBytes -= len(e.data)
		d.earlyBytes -= len(e.data)
		skip := distance(e.seq, h.next)
		if skip >= len(e.data)+e.missing {
			continue
		}
		data, missing := e.data, e.missing
		if skip >= len(data) {
			missing -= skip - len(data)
			data = nil
		} else {
			data = data[skip:]
		}
		f, t := frame, nanos
		if f == 0 {
			f, t = e.frame, e.nanos
		}
		if err := d.pass(c, dir, data, missing, f, t); err != nil {
			return err
		}
	}
	h.early = slices.Delete(h.early, 0, n)
	if len(h.early) == 0 {
		h.early = nil
	}
	h.holeSince, h.ackedSince, h.ackedSegs = nanos, 0, 0
	return nil
}

// holes gives up the hole of a direction when it will not be filled any more.
func (d *Dissector) holes(c *conn, dir int, now int64) error {
	h := &c.tcp[dir]
	for len(h.early) > 0 {
		if !h.hasAck || distance(h.early[0].seq, h.acked) < 0 {
			if now-h.holeSince < holeTime {
				return nil
			}
		} else {
			if h.ackedSegs == 0 {
				h.ackedSince = now
			}
			if h.ackedSegs++; h.ackedSegs < ackedFrames && now-h.ackedSince < ackedTime {
				return nil
			}
		}
		if err := d.giveUp(c, dir); err != nil {
			return err
		}
	}
	return nil
}

// giveUp passes over the first hole of a direction.
func (d *Dissector) giveUp(c *conn, dir int) error {
	h := &c.tcp[dir]
	if len(h.early) == 0 {
		return nil
	}
	e := &h.early[0]
	if n := distance(h.next, e.seq); n > 0 {
		h.next = e.seq
		if err := d.hole(c, dir, n, e.frame, e.nanos); err != nil {
			return err
		}
	}
	return d.drain(c, dir, 0, e.nanos)
}

// flush passes over every hole of a direction.
func (d *Dissector) flush(c *conn, dir int) error {
	for len(c.tcp[dir].early) > 0 {
		if err := d.giveUp(c, dir); err != nil {
			return err
		}
	}
	return nil
}
