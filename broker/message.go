package broker

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/internal/topic"
)

// message is an Application Message on its way through one batch. Its strings and slices view
// the publisher's frame; detach makes what outlives the batch.
type message struct {
	topic   string
	payload []byte
	props   []byte // as forwarded: without Topic Alias
	expiry  int    // offset in props of the Message Expiry Interval's value, 0 for none
	expires session.Time
	qos     codec.QoS
	retain  bool
	from    *sess // nil for the broker's own messages
	now     session.Time

	kept  *body     // made when first needed
	plain *delivery // shared by all receivers that need nothing of their own
	forms [4]form
}

// body is a message that outlives its batch. It is immutable and shared.
type body struct {
	topic   string
	payload []byte
	props   []byte
	expiry  int
	expires session.Time
	qos     codec.QoS
	retain  bool
}

// size is what the body counts for in queues and the retained store.
func (b *body) size() int { return len(b.topic) + len(b.payload) + len(b.props) + 64 }

// delivery is a body together with what one receiver's copy carries beside it. It is the
// handle that delivery state holds, immutable, and nil where nothing can ask for it again.
type delivery struct {
	*body
	retain bool
	ids    []uint32            // Subscription Identifiers
	share  *topic.Share[*sess] // the group that the copy was sent for
}

// reset prepares m for the next message and keeps the buffers.
func (m *message) reset() {
	for i := range m.forms {
		m.forms[i].size = 0
	}
	m.topic, m.payload, m.props = "", nil, nil
	m.expiry, m.expires, m.now = 0, 0, 0
	m.qos, m.retain, m.from = 0, false, nil
	m.kept, m.plain = nil, nil
}

// set takes over a body, for messages that do not come from a frame.
func (m *message) set(b *body, now session.Time) {
	m.reset()
	m.now = now
	m.topic, m.payload, m.props, m.expiry, m.expires = b.topic, b.payload, b.props, b.expiry, b.expires
	m.qos, m.retain, m.kept = b.qos, b.retain, b
}

// detach returns the message in memory of its own.
func (m *message) detach() *body {
	if m.kept == nil {
		store := make([]byte, len(m.payload)+len(m.props))
		n := copy(store, m.payload)
		copy(store[n:], m.props)
		m.kept = &body{
			topic: strings.Clone(m.topic), payload: store[:n:n], props: store[n:],
			expiry: m.expiry, expires: m.expires, qos: m.qos, retain: m.retain,
		}
	}
	return m.kept
}

// hold returns the handle of a copy that may have to be sent again or later.
func (m *message) hold(retain bool, ids []uint32, share *topic.Share[*sess]) *delivery {
	if retain || ids != nil || share != nil {
		return &delivery{m.detach(), retain, ids, share}
	}
	if m.plain == nil {
		m.plain = &delivery{body: m.detach()}
	}
	return m.plain
}

// setProps takes over the properties of a PUBLISH or a Will that are forwarded, in their
// order [MQTT-3.3.2-18]. buf is reused where something has to be left out. now starts the
// Message Expiry Interval.
func (m *message) setProps(p *codec.Properties, buf []byte, now session.Time) []byte {
	raw := p.Raw()
	if len(raw) == 0 {
		return buf
	}
	if p.Has(codec.PropTopicAlias) || p.Has(codec.PropWillDelay) {
		buf = buf[:0]
		for rest := raw; len(rest) > 0; {
			n := propertySize(rest)
			if id := codec.PropID(rest[0]); id != codec.PropTopicAlias && id != codec.PropWillDelay {
				buf = append(buf, rest[:n]...)
			}
			rest = rest[n:]
		}
		raw = buf
	}
	m.props, m.now = raw, now
	if p.Has(codec.PropMessageExpiry) {
		seconds := p.Uint(codec.PropMessageExpiry, 0)
		m.expires = now + session.Time(seconds)*session.Time(time.Second)
		m.expiry = findExpiry(raw)
		if m.expires == 0 {
			m.expires = 1
		}
	}
	return buf
}

// findExpiry returns the offset of the Message Expiry Interval's value.
func findExpiry(raw []byte) int {
	for at := 0; at < len(raw); at += propertySize(raw[at:]) {
		if codec.PropID(raw[at]) == codec.PropMessageExpiry {
			return at + 1
		}
	}
	return 0
}

// propertySize returns the wire size of the property at the start of b, which a decoder has
// accepted.
func propertySize(b []byte) int {
	text := func(at int) int { return at + 2 + int(binary.BigEndian.Uint16(b[at:])) }
	switch codec.PropID(b[0]).Info().Kind {
	case codec.KindByte:
		return 2
	case codec.KindUint16:
		return 3
	case codec.KindUint32:
		return 5
	case codec.KindVarint:
		_, n := codec.Varint(b[1:])
		return 1 + n
	case codec.KindPair:
		return text(text(1))
	case codec.KindString, codec.KindBinary:
		return text(1)
	}
	return len(b)
}

// expired reports whether the message may not be sent any more [MQTT-3.3.2-5].
func (b *body) expired(now session.Time) bool { return b.expires != 0 && now >= b.expires }

// remaining is the Message Expiry Interval to send: what was received less the waiting time
// [MQTT-3.3.2-6].
func remaining(expires, now session.Time) uint32 {
	left := expires - now
	if left <= 0 {
		return 0
	}
	return uint32((left + session.Time(time.Second) - 1) / session.Time(time.Second))
}

// packet is a PUBLISH to be encoded for one receiver.
type packet struct {
	topic   string
	payload []byte
	props   []byte
	expiry  int
	left    uint32 // Message Expiry Interval, where expiry is set
	ids     []uint32
	alias   uint16
	id      uint16
	qos     codec.QoS
	dup     bool
	retain  bool
}

// size returns the wire size and the Remaining Length and Property Length within it.
func (p *packet) size(v codec.Version) (total, remaining, props int) {
	remaining = 2 + len(p.topic) + len(p.payload)
	if p.qos > 0 {
		remaining += 2
	}
	if v == codec.V5 {
		props = len(p.props)
		if p.alias != 0 {
			props += 3
		}
		for _, id := range p.ids {
			props += 1 + codec.VarintSize(id)
		}
		remaining += props + codec.VarintSize(uint32(props))
	}
	return 1 + codec.VarintSize(uint32(remaining)) + remaining, remaining, props
}

// appendHead appends all of the packet but the payload.
func (p *packet) appendHead(dst []byte, v codec.Version, remaining, props int) []byte {
	dst = append(dst, firstByte(p.qos, p.dup, p.retain))
	dst = codec.AppendVarint(dst, uint32(remaining))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(p.topic)))
	dst = append(dst, p.topic...)
	if p.qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.id)
	}
	if v != codec.V5 {
		return dst
	}
	dst = codec.AppendVarint(dst, uint32(props))
	at := len(dst)
	dst = append(dst, p.props...)
	if p.expiry != 0 {
		binary.BigEndian.PutUint32(dst[at+p.expiry:], p.left)
	}
	for _, id := range p.ids { // [MQTT-3.3.4-3]
		dst = append(dst, byte(codec.PropSubscriptionID))
		dst = codec.AppendVarint(dst, id)
	}
	if p.alias != 0 {
		dst = append(dst, byte(codec.PropTopicAlias))
		dst = binary.BigEndian.AppendUint16(dst, p.alias)
	}
	return dst
}

// firstByte is the fixed header's first byte of a PUBLISH.
func firstByte(qos codec.QoS, dup, retain bool) byte {
	b := byte(codec.TypePublish)<<4 | byte(qos)<<1
	if dup {
		b |= 8
	}
	if retain {
		b |= 1
	}
	return b
}

// form is a PUBLISH encoded once for all receivers of one wire layout: version 5 or not, QoS 0
// or above. What differs between them is the first byte and the packet identifier.
type form struct {
	head []byte // without the payload
	size int    // of the whole packet; 0: not encoded yet
	idAt int    // offset of the packet identifier, 0 at QoS 0
}

// form returns the encoded message for the layout of the version and QoS.
func (m *message) form(v codec.Version, qos codec.QoS) *form {
	i := 0
	if v == codec.V5 {
		i = 2
	}
	if qos > 0 {
		i++
	}
	f := &m.forms[i]
	if f.size == 0 {
		p := packet{topic: m.topic, payload: m.payload, props: m.props, expiry: m.expiry, qos: qos}
		if m.expiry != 0 {
			p.left = remaining(m.expires, m.now)
		}
		total, remaining, props := p.size(v)
		f.head = p.appendHead(f.head[:0], v, remaining, props)
		f.size, f.idAt = total, 0
		if qos > 0 {
			f.idAt = 1 + codec.VarintSize(uint32(remaining)) + 2 + len(m.topic)
		}
	}
	return f
}

// put writes the form to dst, which has its size.
func (f *form) put(dst, payload []byte, first byte, id uint16) {
	n := copy(dst, f.head)
	copy(dst[n:], payload)
	dst[0] = first
	if f.idAt != 0 {
		binary.BigEndian.PutUint16(dst[f.idAt:], id)
	}
}
