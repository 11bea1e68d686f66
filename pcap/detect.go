package pcap

import (
	"bytes"
	"slices"

	"github.com/mqlab/mqlab/codec"
)

// kind is what a connection carries.
type kind uint8

const (
	kindUnknown   kind = iota
	kindForced         // not known either, but asked for: MQTT unless the bytes say WebSocket or TLS
	kindOther          // nothing for us
	kindMQTT           // Control Packets
	kindWebSocket      // Control Packets in WebSocket frames
	kindTLS            // encrypted, without keys
)

const (
	maxProbe       = 32 << 10 // bytes kept of a connection while its kind is unknown
	maxProbeAll    = 16 << 20 // and of all; beyond it, slimProbe each
	slimProbe      = 512
	maxProbePieces = 64 // looked at before giving up where the port says nothing
	enoughPoints   = 5  // of evidence where the port says nothing
)

// probe is what has been seen of a connection of unknown kind.
type probe struct {
	pieces []piece
	size   int
	looked int
	dead   [2]bool // the beginning of this direction is no MQTT
}

type piece struct {
	dir     int
	data    []byte
	missing int
	frame   int
	nanos   int64
}

func (c *conn) undecided() bool { return c.kind == kindUnknown || c.kind == kindForced }

// bytes takes in bytes of a TCP connection in sequence.
func (d *Dissector) bytes(c *conn, dir int, b []byte, frame int, nanos int64) error {
	if c.tls != nil {
		return d.tlsBytes(c, dir, b, frame, nanos)
	}
	return d.app(c, dir, b, frame, nanos)
}

// hole tells that n bytes of a TCP connection are missing, an unknown number where n is negative.
func (d *Dissector) hole(c *conn, dir, n, frame int, nanos int64) error {
	if c.tls != nil {
		return d.tlsHole(c, dir, n, frame, nanos)
	}
	return d.appHole(c, dir, n, frame, nanos)
}

// app takes in bytes of the application.
func (d *Dissector) app(c *conn, dir int, b []byte, frame int, nanos int64) error {
	switch c.kind {
	case kindMQTT:
		return d.feed(c, dir, b, frame, nanos)
	case kindWebSocket:
		return d.wsBytes(c, dir, b, frame, nanos)
	case kindUnknown, kindForced:
		return d.probeBytes(c, piece{dir: dir, data: b, frame: frame, nanos: nanos})
	}
	return nil
}

func (d *Dissector) appHole(c *conn, dir, n, frame int, nanos int64) error {
	switch c.kind {
	case kindMQTT:
		return d.mqttHole(c, dir, n, frame, nanos)
	case kindWebSocket:
		return d.wsHole(c, dir, n, frame, nanos)
	case kindUnknown, kindForced:
		return d.probeBytes(c, piece{dir: dir, missing: n, frame: frame, nanos: nanos})
	}
	return nil
}

func (d *Dissector) probeBytes(c *conn, p piece) error {
	if c.probe == nil {
		c.probe = new(probe)
	}
	pr := c.probe
	pr.pieces = append(pr.pieces, p)
	pr.size += len(p.data)
	d.probed += len(p.data)
	if p.missing == 0 {
		pr.looked++
		if err := d.detect(c, false); err != nil || !c.undecided() || c.probe != pr {
			return err
		}
	}
	// It is not decided yet. What was borrowed is kept, and the oldest goes when it is too much.
	last := &pr.pieces[len(pr.pieces)-1]
	last.data = slices.Clone(last.data)
	room := maxProbe
	if d.probed > maxProbeAll {
		room = slimProbe
	}
	for pr.size > room || len(pr.pieces) > maxProbePieces {
		pr.size -= len(pr.pieces[0].data)
		d.probed -= len(pr.pieces[0].data)
		pr.pieces = slices.Delete(pr.pieces, 0, 1)
		c.midstream = true
	}
	return nil
}

// detect decides what a connection carries, as far as its first bytes tell. At the end of the
// connection it is final.
func (d *Dissector) detect(c *conn, final bool) error {
	pr := c.probe
	if pr == nil {
		return nil
	}
	points, waiting := 0, false
	var first [2]bool
	for i := range pr.pieces {
		p := &pr.pieces[i]
		if len(p.data) == 0 {
			continue
		}
		start := !first[p.dir]
		first[p.dir] = true
		b := p.data
		if start { // the beginning may be spread over segments
			b = pr.joined(p.dir, i)
		}
		switch k, more := opening(b); {
		case k == kindMQTT:
			c.setSide(p.dir, codec.Client, true)
			return d.decide(c, kindMQTT)
		case start && k == kindWebSocket:
			return d.decideHTTP(c)
		case start && k == kindTLS && !c.encrypted():
			return d.decideTLS(c)
		case start && more && !final:
			waiting = true
			continue
		}
		n, ok := d.score(b)
		if ok {
			points += n
		} else if start && !c.midstream {
			pr.dead[p.dir] = true
		}
		if !ok && d.wsPlausible(b) {
			return d.decideWebSocket(c)
		}
	}
	need := enoughPoints
	if c.kind == kindForced || wellKnown(c.key) {
		need = 1
	}
	switch {
	case points >= need && c.kind == kindForced, points >= need && !(pr.dead[0] && pr.dead[1]):
		return d.decide(c, kindMQTT)
	case c.kind == kindForced && (pr.size >= 64 || final) && !waiting:
		return d.decide(c, kindMQTT)
	case waiting:
		return nil
	case pr.dead[0] && pr.dead[1], final,
		need > 1 && !c.midstream && (pr.dead[0] || pr.dead[1]),
		need > 1 && pr.looked >= maxProbePieces:
		c.kind = kindOther
		d.release(c)
	}
	return nil
}

// release takes away what was kept of a connection while its kind was unknown.
func (d *Dissector) release(c *conn) *probe {
	pr := c.probe
	c.probe = nil
	if pr == nil {
		return new(probe)
	}
	d.probed -= pr.size
	return pr
}

// wellKnown reports whether one of the ports is that of MQTT, so that little evidence is enough.
func wellKnown(k flowKey) bool { return k.lo.port == 1883 || k.hi.port == 1883 }

// joined returns the bytes of one direction from piece i to the first hole.
func (pr *probe) joined(dir, i int) []byte {
	b, owned := pr.pieces[i].data, false
	for _, p := range pr.pieces[i+1:] {
		if p.dir != dir {
			continue
		}
		if p.missing != 0 {
			break
		}
		if !owned {
			b, owned = slices.Clone(b), true
		}
		b = append(b, p.data...)
	}
	return b
}

// opening recognises how conversations begin. More says that b may become one of them.
func opening(b []byte) (k kind, more bool) {
	switch b[0] {
	case byte(codec.TypeConnect) << 4:
		h, n, err := codec.ParseHeader(b)
		if err != nil {
			return kindUnknown, false
		}
		if n == 0 {
			return kindUnknown, true
		}
		if h.Remaining < 10 {
			return kindUnknown, false
		}
		body := b[n:]
		for _, name := range []string{"\x00\x04MQTT", "\x00\x06MQIsdp"} {
			if bytes.HasPrefix(body, []byte(name)) {
				return kindMQTT, false
			}
			if len(body) < len(name) && name[:len(body)] == string(body) {
				return kindUnknown, true
			}
		}
	case 'G':
		return prefix(b, "GET ", kindWebSocket)
	case 'H':
		return prefix(b, "HTTP/1.1 101", kindWebSocket)
	case recordHandshake, recordData:
		if len(b) < headTLSRecord {
			return kindUnknown, true
		}
		if recordPlausible(b) {
			return kindTLS, false
		}
	}
	return kindUnknown, false
}

func prefix(b []byte, want string, k kind) (kind, bool) {
	if bytes.HasPrefix(b, []byte(want)) {
		return k, false
	}
	return kindUnknown, len(b) < len(want) && want[:len(b)] == string(b)
}

// decide settles the kind and takes in again what was kept.
func (d *Dissector) decide(c *conn, k kind) error {
	pr := d.release(c)
	c.kind = k
	d.sum.MQTT++
	c.setTransport()
	if c.side[0] == codec.Either {
		c.guessSide()
	}
	c.Stream.Midstream = c.midstream
	for dir := range c.mqtt {
		if c.midstream || !c.tcp[dir].syn && !c.syn {
			c.mqtt[dir].lost = true
		}
	}
	return d.replay(c, pr.pieces)
}

func (d *Dissector) replay(c *conn, pieces []piece) error {
	for _, p := range pieces {
		var err error
		if p.missing != 0 {
			err = d.appHole(c, p.dir, p.missing, p.frame, p.nanos)
		} else {
			err = d.app(c, p.dir, p.data, p.frame, p.nanos)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) encrypted() bool { return c.tls != nil }

func (c *conn) setTransport() {
	switch ws := c.ws != nil; {
	case ws && c.encrypted():
		c.Transport = "wss"
	case ws:
		c.Transport = "ws"
	case c.encrypted():
		c.Transport = "tls"
	default:
		c.Transport = "tcp"
	}
}

// guessSide takes the side with the well-known or else the lower port for the server.
func (c *conn) guessSide() {
	from := codec.Server // key.lo has the lower port
	if c.key.hi.port == 1883 || c.key.hi.port == 8883 {
		from = codec.Client
	}
	c.setSide(0, from, false)
}

// verdict is what a look at bytes tells.
type verdict uint8

const (
	no verdict = iota
	yes
	more // as far as the bytes go
)

// score adds up the evidence for MQTT in bytes that may begin with a packet. It is false where
// something contradicts.
func (d *Dissector) score(b []byte) (points int, ok bool) {
	for len(b) > 0 {
		size, n, v := d.plausible(b)
		if v == no {
			return 0, false
		}
		if v == more && n == 0 {
			break
		}
		points += n
		if size > len(b) {
			break
		}
		b = b[size:]
	}
	return points, true
}

// plausible looks whether a packet may begin at the start of b: its size, how much that is worth as
// evidence, and whether anything contradicts.
func (d *Dissector) plausible(b []byte) (size, points int, v verdict) {
	h, n, err := codec.ParseHeader(b)
	if err != nil || b[0]>>4 == 0 {
		return 0, 0, no
	}
	t := h.Type
	switch want, f := flagsOf(t), h.Flags; {
	case t == codec.TypePublish:
		if f&6 == 6 || f&8 != 0 && f&6 == 0 {
			return 0, 0, no
		}
	case f != want:
		return 0, 0, no
	}
	if n == 0 {
		return 0, 0, more
	}
	rem := h.Remaining
	if n > 1+codec.VarintSize(uint32(rem)) {
		return 0, 0, no
	}
	size = n + rem
	body := b[n:min(len(b), size)]
	whole := len(b) >= size
	id := func(at int) bool { return len(body) < at+2 || body[at] != 0 || body[at+1] != 0 }
	at := func(i int) byte {
		if i < len(body) {
			return body[i]
		}
		return 0
	}
	good := false
	switch t {
	case codec.TypeConnect:
		k, undecided := opening(b)
		if undecided {
			return 0, 0, more
		}
		good, points = k == kindMQTT, 10
	case codec.TypeConnack:
		good, points = rem >= 2 && at(0) <= 1 && (rem == 2 && at(1) <= 5 || rem > 2 && reasonLike(at(1))), 1
	case codec.TypePublish:
		good, points = plausiblePublish(body, rem, h.QoS() > 0), 2
		if good && len(body) < 2 {
			points = 0
		}
		if good && at(0) == 0 && at(1) == 0 {
			good = whole && d.decodes(b[:size], codec.V5)
		}
	case codec.TypePuback, codec.TypePubrec, codec.TypePubrel, codec.TypePubcomp:
		good, points = rem >= 2 && rem < 1024 && id(0) && (rem == 2 || reasonLike(at(2))), 1
	case codec.TypeSubscribe, codec.TypeUnsubscribe:
		good, points = rem >= 5 && id(0), 3
		if good && whole {
			good = d.decodes(b[:size], codec.V4) || d.decodes(b[:size], codec.V5)
		}
	case codec.TypeSuback:
		good, points = rem >= 3 && rem < 1<<16 && id(0) && (at(2) <= 2 || rem > 3), 1
	case codec.TypeUnsuback:
		good, points = (rem == 2 || rem >= 4) && rem < 1<<16 && id(0), 1
	case codec.TypePingreq, codec.TypePingresp:
		good, points = rem == 0, 1
	case codec.TypeDisconnect:
		good, points = rem == 0 || rem < 1024 && (reasonLike(at(0)) || at(0) == 4), 1
	case codec.TypeAuth:
		good, points = rem == 0 || at(0) == 0 || at(0) == 0x18 || at(0) == 0x19, 1
	}
	switch {
	case !good:
		return 0, 0, no
	case !whole:
		return size, points / 2, more
	}
	return size, points, yes
}

// flagsOf returns the flags that the header of a type other than PUBLISH has to have.
func flagsOf(t codec.Type) uint8 {
	switch t {
	case codec.TypePubrel, codec.TypeSubscribe, codec.TypeUnsubscribe:
		return 2
	}
	return 0
}

// reasonLike reports whether a byte may be a Reason Code of an answer.
func reasonLike(b byte) bool { return b <= 2 || b >= 0x10 && b <= 0x19 || b >= 0x80 && b <= 0xA2 }

// plausiblePublish looks at the topic, which must be text, and at the Packet Identifier.
func plausiblePublish(body []byte, rem int, id bool) bool {
	fixed := 2
	if id {
		fixed = 4
	}
	if rem < fixed {
		return false
	}
	if len(body) < 2 {
		return true
	}
	n := int(body[0])<<8 | int(body[1])
	if n+fixed > rem {
		return false
	}
	topic := body[2:min(len(body), 2+n)]
	for _, ch := range topic {
		if ch < 0x20 || ch == 0x7F || ch == '#' || ch == '+' {
			return false
		}
	}
	if len(topic) < n {
		return true
	}
	if n > 0 && !codec.ValidTopicName(string(topic)) {
		return false
	}
	return !id || len(body) < n+4 || body[n+2] != 0 || body[n+3] != 0
}

func (d *Dissector) decodes(frame []byte, v codec.Version) bool {
	d.guess.Version = v
	_, err := d.guess.Decode(frame)
	return err == nil
}
