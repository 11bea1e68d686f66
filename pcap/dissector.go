package pcap

import (
	"net/netip"
	"slices"

	"github.com/mqlab/mqlab/codec"
)

// maxConns bounds the connections followed at a time.
const maxConns = 32768

// flowKey names a connection by its two ends in a fixed order.
type flowKey struct{ lo, hi endpoint }

// conn is one TCP connection.
type conn struct {
	Stream
	key        flowKey
	v6         bool
	tcp        [2]tcpHalf // by direction: 0 is from key.lo
	side       [2]codec.Side
	syn        bool
	midstream  bool
	kind       kind
	probe      *probe
	mqtt       [2]cutter
	ws         *websocket
	tls        *tlsConn
	alias      [2]aliases
	end        bool // the end has been reported
	closer     int8 // direction that began to close, plus 1
	reset      bool
	closedIn   int   // frame of the first FIN or RST
	closedAt   int64 // and its time
	counted    bool  // among the streams of MQTT
	shut       bool  // closed: it goes first when room is needed
	prev, next *conn
}

// Dissector turns frames into MQTT packets. Start from [NewDissector]. It is for one goroutine.
type Dissector struct {
	cfg   Config
	stack stack
	conns map[flowKey]*conn
	// The connections in the order of their last segment, as a ring: ring.next is the latest.
	ring       conn
	earlyBytes int
	heldBytes  int // of packets that are not complete
	probed     int // of connections of unknown kind
	dec        decoders
	guess      codec.Decoder
	pkt        Packet
	sum        Summary
	file       int
	last       *conn // of the segment before: most often the same again
}

// NewDissector returns a Dissector with the configuration.
func NewDissector(cfg Config) *Dissector {
	d := &Dissector{cfg: cfg, conns: make(map[flowKey]*conn)}
	d.ring.prev, d.ring.next = &d.ring, &d.ring
	d.pkt.Faults = make(codec.Errors, 0, 4)
	return d
}

// Summary returns what was counted so far.
func (d *Dissector) Summary() Summary {
	s := d.sum
	return s
}

// Frame takes in one frame. Frames come in the order of the capture.
func (d *Dissector) Frame(f *Frame) error {
	d.sum.Frames++
	d.sum.Bytes += int64(len(f.Data))
	if d.sum.Frames == 1 {
		d.sum.First = f.Nanos
	}
	d.sum.First, d.sum.Last = min(d.sum.First, f.Nanos), max(d.sum.Last, f.Nanos)
	s := d.stack.segment(f)
	if s == nil {
		return nil
	}
	d.sum.Segments++
	key, dir := flowKey{s.src, s.dst}, 0
	if less(&s.dst, &s.src) {
		key, dir = flowKey{s.dst, s.src}, 1
	}
	c := d.last
	if c == nil || c.key != key {
		c = d.conns[key]
	}
	if c != nil && s.syn && c.reused(dir, s) {
		if err := d.forget(c); err != nil {
			return err
		}
		c = nil
	}
	if c == nil {
		if len(d.conns) >= maxConns {
			oldest := d.ring.prev
			if !oldest.shut {
				d.sum.Forgotten++
			}
			if err := d.forget(oldest); err != nil {
				return err
			}
		}
		c = &conn{key: key, v6: s.v6}
		c.ID = d.sum.Streams
		d.sum.Streams++
		d.conns[key] = c
		if d.forced(key.lo.port) || d.forced(key.hi.port) {
			c.kind = kindForced
		}
	} else if c.next != nil && d.ring.next != c {
		c.unlink()
	}
	if d.ring.next != c {
		c.link(&d.ring)
	}
	d.last = c
	return d.segment(c, dir, s)
}

func (d *Dissector) forced(port uint16) bool { return slices.Contains(d.cfg.Ports, port) }

// less orders endpoints; which order it is does not matter.
func less(a, b *endpoint) bool {
	if a.port != b.port {
		return a.port < b.port
	}
	return string(a.addr[:]) < string(b.addr[:])
}

func (c *conn) unlink() {
	c.prev.next, c.next.prev = c.next, c.prev
	c.prev, c.next = nil, nil
}

// link puts c behind at.
func (c *conn) link(at *conn) {
	c.prev, c.next = at, at.next
	at.next.prev = c
	at.next = c
}

// reused reports whether a SYN opens another connection between the same ends.
func (c *conn) reused(dir int, s *segment) bool {
	h := &c.tcp[dir]
	if h.syn { // the same again is a repetition, unless all has been said
		return h.isn != s.seq || c.shut && !s.has
	}
	if s.has { // SYN with ACK: the SYN before it has decided, unless it was not seen
		return h.begun
	}
	return h.begun || c.tcp[1-dir].begun && !c.tcp[1-dir].syn
}

// sawSYN notes who opened the connection.
func (c *conn) sawSYN(dir int, ack bool) {
	if c.midstream {
		return
	}
	c.syn = true
	from, to := codec.Client, codec.Server
	if ack {
		from, to = to, from
	}
	c.setSide(dir, from, true)
	c.side[1-dir] = to
}

// setSide says who sends in direction dir.
func (c *conn) setSide(dir int, from codec.Side, sure bool) {
	c.side[dir] = from
	c.side[1-dir] = codec.Client + codec.Server - from
	ends := [2]netip.AddrPort{addrPort(c.key.lo), addrPort(c.key.hi)}
	if from == codec.Client {
		c.Client, c.Server = ends[dir], ends[1-dir]
	} else {
		c.Client, c.Server = ends[1-dir], ends[dir]
	}
	c.known = [2]bool{sure, sure}
}

func addrPort(e endpoint) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(e.addr).Unmap(), e.port)
}

// wanted reports whether the bytes of the connection are of interest.
func (c *conn) wanted() bool { return c.kind != kindOther }

// closing notes who began to close the connection.
func (c *conn) closing(dir int, s *segment, reset bool) {
	if c.closer == 0 {
		c.closer, c.closedAt, c.closedIn = int8(dir)+1, s.nanos, s.frame
	}
	c.reset = c.reset || reset
}

// closed tells that a connection has come to its end.
func (d *Dissector) closed(c *conn) error {
	for dir := range c.tcp {
		if err := d.flush(c, dir); err != nil {
			return err
		}
	}
	err := d.finish(c)
	if !c.shut {
		c.shut = true
		c.unlink()
		c.link(d.ring.prev) // the first to go
		d.last = nil
	}
	return err
}

// finish decides what is undecided, reports the end and lets go of what the connection holds.
func (d *Dissector) finish(c *conn) error {
	if c.undecided() {
		if err := d.detect(c, true); err != nil {
			return err
		}
	}
	for dir := range c.mqtt {
		d.drop(&c.mqtt[dir])
	}
	d.release(c)
	if c.tls != nil && c.tls.sealed && c.tls.version == 0 {
		if err := d.giveUpTLS(c, "its ServerHello was not captured"); err != nil {
			return err
		}
	}
	c.ws, c.tls = nil, nil
	if c.end || c.kind != kindMQTT && c.kind != kindWebSocket && c.kind != kindTLS || c.Packets == 0 {
		return nil
	}
	c.end = true
	if d.cfg.End == nil {
		return nil
	}
	e := StreamEnd{Stream: &c.Stream, Reset: c.reset, Closed: c.closer != 0, Nanos: d.sum.Last}
	if c.closer != 0 {
		e.By, e.Frame, e.Nanos = c.side[c.closer-1], c.closedIn, c.closedAt
	}
	return d.cfg.End(&e)
}

// forget lets go of a connection.
func (d *Dissector) forget(c *conn) error {
	delete(d.conns, c.key)
	if c.next != nil {
		c.unlink()
	}
	if d.last == c {
		d.last = nil
	}
	for dir := range c.tcp {
		if err := d.flush(c, dir); err != nil {
			return err
		}
	}
	return d.finish(c)
}

// Close tells that nothing follows: holes that were waited for are given up, and every stream ends.
func (d *Dissector) Close() error {
	var open []*conn
	for c := d.ring.prev; c != &d.ring; c = c.prev {
		open = append(open, c)
	}
	slices.SortFunc(open, func(a, b *conn) int { return a.ID - b.ID })
	for _, c := range open {
		if err := d.forget(c); err != nil {
			return err
		}
	}
	return nil
}
