package pcap

import (
	"slices"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

const (
	maxKept    = 4 << 20  // bytes kept of one packet
	maxKeptAll = 32 << 20 // and of all that are not complete
	slimKept   = 256      // kept of a packet beyond these bounds
	maxSync    = 16 << 10 // bytes in which the next packet is looked for
	maxOpen    = 64       // places that may be its beginning
	maxAliases = 256 << 10
)

// cutter cuts packets out of the bytes of one direction.
type cutter struct {
	buf  []byte // the beginning of a packet that is not complete
	size int    // of that packet; 0 while its header is not complete
	got  int    // bytes of it that have passed, kept or not
	hole bool   // something of it is missing: what follows is not kept
	lost bool   // where the next packet begins is not known: buf is what is looked through
	open []int  // places in buf where a packet may begin
	// passed counts bytes that were passed over in search of a packet.
	passed int64
}

// drop lets go of what is held.
func (d *Dissector) drop(h *cutter) {
	d.heldBytes -= len(h.buf)
	h.buf, h.open, h.size, h.got, h.hole = nil, nil, 0, 0, false
}

// feed takes in bytes of Control Packets.
func (d *Dissector) feed(c *conn, dir int, b []byte, frame int, nanos int64) error {
	h := &c.mqtt[dir]
	if h.lost {
		rest, err := d.resync(c, dir, b, frame, nanos)
		if err != nil || rest == nil {
			return err
		}
		b = rest
	}
	for len(b) > 0 {
		if h.size == 0 {
			head := b
			if len(h.buf) > 0 { // the header itself came in pieces
				n := min(5-len(h.buf), len(b))
				head = append(h.buf[:len(h.buf):len(h.buf)], b[:n]...)
			}
			hd, n, err := codec.ParseHeader(head)
			if err != nil { // a fifth byte of length: nobody can say where this packet ends
				used := 5 - len(h.buf)
				d.drop(h)
				if err := d.emit(c, dir, head[:5], 5, 0, frame, nanos); err != nil {
					return err
				}
				h.lost = true
				if rest, err := d.resync(c, dir, b[used:], frame, nanos); err != nil || rest == nil {
					return err
				} else {
					b = rest
				}
				continue
			}
			if n == 0 {
				d.hold(h, b)
				return nil
			}
			size := n + hd.Remaining
			if len(h.buf) == 0 && size <= len(b) {
				if err := d.emit(c, dir, b[:size:size], size, 0, frame, nanos); err != nil {
					return err
				}
				b = b[size:]
				continue
			}
			h.size, h.got = size, len(h.buf)
		}
		k := min(h.size-h.got, len(b))
		if !h.hole {
			if len(h.buf)+k > maxKept || d.heldBytes+k > maxKeptAll {
				h.hole = true
				if len(h.buf) == 0 {
					d.hold(h, b[:min(k, slimKept)])
				}
			} else {
				d.hold(h, b[:k])
			}
		}
		h.got += k
		b = b[k:]
		if h.got == h.size {
			if err := d.complete(c, dir, frame, nanos); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Dissector) hold(h *cutter, b []byte) {
	if h.buf == nil && h.size > len(b) {
		h.buf = make([]byte, 0, min(h.size, 64<<10))
	}
	h.buf = append(h.buf, b...)
	d.heldBytes += len(b)
}

// complete emits the packet that is held.
func (d *Dissector) complete(c *conn, dir int, frame int, nanos int64) error {
	h := &c.mqtt[dir]
	raw, size := h.buf, h.size
	d.drop(h)
	if len(raw) == 0 {
		return nil
	}
	return d.emit(c, dir, raw, size, size-len(raw), frame, nanos)
}

// mqttHole tells that n bytes of Control Packets are missing.
func (d *Dissector) mqttHole(c *conn, dir, n, frame int, nanos int64) error {
	h := &c.mqtt[dir]
	lost := int64(max(n, 0))
	if h.size > 0 && n >= 0 {
		left := h.size - h.got
		if !h.hole {
			h.hole = true
		}
		if n < left {
			h.got += n
			return d.gap(c, dir, lost, 0, frame, nanos)
		}
		if err := d.complete(c, dir, frame, nanos); err != nil {
			return err
		}
		if n > left {
			h.lost = true
		}
		return d.gap(c, dir, lost, 0, frame, nanos)
	}
	if h.size > 0 {
		if err := d.complete(c, dir, frame, nanos); err != nil {
			return err
		}
	}
	if h.lost {
		h.passed += int64(len(h.buf))
	}
	d.drop(h)
	h.lost = true
	return d.gap(c, dir, lost, 0, frame, nanos)
}

func (d *Dissector) gap(c *conn, dir int, lost, skipped int64, frame int, nanos int64) error {
	d.sum.Gaps++
	d.sum.Lost += lost
	if d.cfg.Gap == nil {
		return nil
	}
	return d.cfg.Gap(&Gap{Stream: &c.Stream, From: c.side[dir], Frame: frame, File: d.file, Nanos: nanos, Lost: lost, Skipped: skipped})
}

// resync looks for the next packet after bytes were lost: at the beginning of b, which is a segment
// and so most often a packet, and else at every place in what has come since. It returns the bytes
// from the packet on, or nil.
func (d *Dissector) resync(c *conn, dir int, b []byte, frame int, nanos int64) ([]byte, error) {
	h := &c.mqtt[dir]
	kept := len(h.buf)
	d.hold(h, b)
	buf := h.buf
	at := -1
	if ok, chain, exact := d.chain(buf[kept:]); ok && (exact && chain > 0 || chain >= 2) {
		at = kept
	}
	// What has been ruled out stays ruled out; the other places wait for more bytes.
	open := h.open[:0]
	look := func(i int) bool {
		ok, chain, exact := d.chain(buf[i:])
		if ok && (chain >= 3 || chain >= 2 && exact) {
			at = i
			return true
		}
		if ok {
			open = append(open, i)
		}
		return false
	}
	if at < 0 {
		old := h.open
		for len(old) > 0 && !look(old[0]) {
			old = old[1:]
		}
		for i := kept; i < len(buf) && at < 0; i++ {
			look(i)
		}
	}
	if at < 0 {
		if over := len(open) - maxOpen; over > 0 {
			open = slices.Delete(open, 0, over)
		}
		h.open = open
		room := maxSync
		if d.heldBytes > maxKeptAll {
			room = slimKept
		}
		if over := len(buf) - room; over > 0 {
			h.passed += int64(over)
			h.buf = append([]byte(nil), buf[over:]...)
			d.heldBytes -= over
			for i := range h.open {
				h.open[i] -= over
			}
			h.open = slices.DeleteFunc(h.open, func(i int) bool { return i < 0 })
		}
		return nil, nil
	}
	h.passed += int64(at)
	h.lost = false
	d.drop(h)
	if h.passed > 0 {
		passed := h.passed
		h.passed = 0
		if err := d.gap(c, dir, 0, passed, frame, nanos); err != nil {
			return nil, err
		}
	}
	if at == len(buf) {
		return nil, nil
	}
	return buf[at:], nil
}

// chain follows packets from the start of b: whether they are plausible as far as b goes, how many
// whole ones follow one another, and whether they end where b does.
func (d *Dissector) chain(b []byte) (ok bool, n int, exact bool) {
	for len(b) > 0 && n < 8 {
		size, points, v := d.plausible(b)
		switch {
		case v == no:
			return false, 0, false
		case v == more:
			// A large packet that begins with readable words is as good as a whole one.
			if points > 0 && size-len(b) < maxKept {
				return true, n + 1, true
			}
			return true, n, false
		}
		n++
		b = b[size:]
	}
	return n > 0, n, true
}

// emit decodes a packet and passes it on.
func (d *Dissector) emit(c *conn, dir int, raw []byte, size, missing, frame int, nanos int64) error {
	t := codec.Type(raw[0] >> 4)
	st := &c.Stream
	c.learnSide(dir, t)
	p := &d.pkt
	faults := p.Faults[:0]
	*p = Packet{
		Stream: st, From: c.side[dir], File: d.file, Frame: frame, Nanos: nanos, Index: st.Packets,
		Type: t, Flags: raw[0] & 15, Raw: raw, Size: size, Missing: missing, Version: st.Version, Faults: faults, Unseen: c.tcp[1-dir].unseen(),
	}
	st.Packets++
	d.sum.Packets++
	switch {
	case t == codec.TypeConnect:
		p.Version = 0
	case p.Version == 0:
		p.Version = d.infer(c, raw, missing)
	}
	if d.cfg.raw != nil && p.mute() {
		return d.cfg.raw(p)
	}
	d.dec.decode(p)
	switch m := p.MQTT.(type) {
	case *codec.Publish:
		p.Topic = m.Topic
		if p.Version == codec.V5 && !m.Props.Empty() {
			d.resolve(c, dir, p, m)
		}
		if d.cfg.raw != nil && m.Topic != "" { // it is found again in the bytes
			p.Topic = ""
		}
	case *codec.Connect:
		p.Version = m.Version
		if m.Version >= codec.V31 && m.Version <= codec.V5 && (st.Version == 0 || st.Inferred) {
			st.Version, st.Inferred = m.Version, false
		}
		if st.ClientID == "" {
			st.ClientID = strings.Clone(m.ClientID)
		}
	case *codec.Connack:
		if id := m.Props.Text(codec.PropAssignedClientID); id != "" && st.ClientID == "" {
			st.ClientID = strings.Clone(id)
		}
	}
	switch {
	case d.cfg.raw != nil:
		return d.cfg.raw(p)
	case d.cfg.Packet != nil:
		return d.cfg.Packet(p)
	}
	return nil
}

// mute reports whether the packet says nothing about its stream, and may be decoded later.
func (p *Packet) mute() bool {
	switch p.Type {
	case codec.TypeConnect, codec.TypeConnack:
		return false
	case codec.TypePublish:
		if p.Version != codec.V5 {
			return true
		}
		_, at, _ := codec.ParseHeader(p.Raw)
		if at == 0 || at+2 > len(p.Raw) {
			return false
		}
		at += 2 + int(p.Raw[at])<<8 + int(p.Raw[at+1])
		if p.Flags&6 != 0 {
			at += 2
		}
		return at < len(p.Raw) && p.Raw[at] == 0 // no properties, and so no Topic Alias
	}
	return true
}

// decoders decode packets for one goroutine. Almost all have no faults and are decoded by the strict way, which
// is shorter.
type decoders struct{ strict, lenient codec.Decoder }

// decode fills in the packet and its faults.
func (d *decoders) decode(p *Packet) {
	if p.Missing == 0 {
		d.strict.Version, d.strict.From = p.Version, p.From
		m, err := d.strict.Decode(p.Raw)
		if err == nil {
			p.MQTT = m
			return
		}
	}
	d.lenient.Mode, d.lenient.Version, d.lenient.From = codec.Lenient, p.Version, p.From
	m, err := d.lenient.Decode(p.Raw)
	p.MQTT = m
	if list, ok := err.(codec.Errors); ok && p.Missing == 0 {
		p.Faults = append(p.Faults, list...)
	}
}

// finish decodes a packet that was passed on by [Config.raw].
func (d *decoders) finish(p *Packet) {
	if p.Type == codec.TypeConnect {
		p.Version = 0
	}
	p.MQTT = nil
	d.decode(p)
	switch m := p.MQTT.(type) {
	case *codec.Connect:
		p.Version = m.Version
	case *codec.Publish:
		if p.Topic == "" {
			p.Topic = m.Topic
		}
	}
}

// learnSide corrects who sends in a direction by what is sent, as long as it is a guess.
func (c *conn) learnSide(dir int, t codec.Type) {
	if c.known[0] && t != codec.TypeConnect {
		return
	}
	switch t {
	case codec.TypeConnect:
		if c.side[dir] != codec.Client && c.Packets > 0 && c.known[0] {
			return // a server that sends CONNECT stays a server
		}
		c.setSide(dir, codec.Client, true)
	case codec.TypeSubscribe, codec.TypeUnsubscribe, codec.TypePingreq:
		c.setSide(dir, codec.Client, true)
	case codec.TypeConnack, codec.TypeSuback, codec.TypeUnsuback, codec.TypePingresp:
		c.setSide(dir, codec.Server, true)
	}
}

// infer concludes the version of a stream whose CONNECT was not seen from one of its packets. What
// reads well in one version alone settles it for the stream.
func (d *Dissector) infer(c *conn, raw []byte, missing int) codec.Version {
	t := codec.Type(raw[0] >> 4)
	if missing > 0 {
		return codec.V4
	}
	four, five := d.decodes(raw, codec.V4), d.decodes(raw, codec.V5)
	settle := func(v codec.Version) codec.Version {
		c.Version, c.Inferred = v, true
		return v
	}
	switch {
	case four && !five:
		return settle(codec.V4)
	case five && !four:
		return settle(codec.V5)
	case four && five && t == codec.TypePublish:
		// As 3.1.1 the payload begins with what reads as properties of 5.0: a zero byte most often.
		d.guess.Version = codec.V5
		if m, err := d.guess.Decode(raw); err == nil {
			if p, ok := m.(*codec.Publish); ok && !p.Props.Empty() {
				return settle(codec.V5)
			}
		}
		return codec.V5
	case four && five && t == codec.TypeSuback:
		return codec.V5
	}
	return codec.V4
}

// aliases are the Topic Aliases of one direction, as far as the capture shows their meaning.
type aliases struct {
	topics map[uint16]string
	bytes  int
}

// resolve finds the topic that a Topic Alias stands for.
func (d *Dissector) resolve(c *conn, dir int, p *Packet, m *codec.Publish) {
	alias := uint16(m.Props.Uint(codec.PropTopicAlias, 0))
	if alias == 0 {
		return
	}
	a := &c.alias[dir]
	old, set := a.topics[alias]
	if m.Topic == "" {
		p.Topic = old
		return
	}
	if set && old == m.Topic {
		return
	}
	if a.topics == nil {
		a.topics = make(map[uint16]string)
	}
	a.bytes -= len(old)
	delete(a.topics, alias)
	if a.bytes+len(m.Topic) <= maxAliases {
		a.topics[alias] = strings.Clone(m.Topic)
		a.bytes += len(m.Topic)
	}
}
