package judge

import (
	"time"

	"github.com/mqlab/mqlab/codec"
)

// maxPending bounds what is kept of a packet that came in pieces. A larger one is a gap.
const maxPending = 1 << 20

// stream cuts packets out of the bytes of one side.
type stream struct {
	buf  []byte
	skip int  // bytes to come of a packet too large to keep
	dead bool // what follows cannot be cut into packets
}

func (s *stream) reset() { *s = stream{} }

// Bytes tells of bytes of one side as they went over the wire, in pieces of any size. It cuts them
// into packets for [Conn.Packet]; use one of the two for each side. The bytes are borrowed.
func (c *Conn) Bytes(from codec.Side, at time.Time, b []byte) {
	if from == codec.Either {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := side(from - codec.Client)
	p := &c.pend[s]
	for len(b) > 0 && !p.dead && !c.ended {
		if p.skip > 0 {
			n := min(p.skip, len(b))
			p.skip -= n
			b = b[n:]
			continue
		}
		if len(p.buf) == 0 {
			frame, rest, err := codec.Cut(b, 0)
			if err == nil && frame != nil {
				c.packet(s, at, frame)
				b = rest
				continue
			}
		}
		b = c.collect(s, at, b)
	}
}

// collect adds bytes to the packet under way, one header byte at a time and then all that belongs
// to it, and returns the rest.
func (c *Conn) collect(s side, at time.Time, b []byte) []byte {
	p := &c.pend[s]
	h, n, err := codec.ParseHeader(p.buf)
	if err != nil { // a fifth length byte: no packet ends where it says
		p.dead = true
		c.packet(s, at, p.buf)
		c.gap()
		p.buf = nil
		return nil
	}
	if n == 0 {
		p.buf = append(p.buf, b[0])
		if h, n, err = codec.ParseHeader(p.buf); err != nil || n == 0 {
			if err != nil {
				return c.collect(s, at, b[1:])
			}
			return b[1:]
		}
		b = b[1:]
	}
	need := n + h.Remaining - len(p.buf)
	if n+h.Remaining > maxPending {
		p.skip, p.buf = need, nil
		c.limit("packets: one that came in pieces is larger than what is kept")
		c.gap()
		return b
	}
	k := min(need, len(b))
	p.buf = append(p.buf, b[:k]...)
	if k == need {
		c.packet(s, at, p.buf)
		if cap(p.buf) > 64<<10 {
			p.buf = nil
		}
		p.buf = p.buf[:0]
	}
	return b[k:]
}
