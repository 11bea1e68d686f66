package codec

import (
	"encoding/binary"
	"unicode/utf8"
)

// willProps stands for the Will Properties where a packet type is asked for.
const willProps Type = 0

// allowedProps holds, for each packet type and for the Will Properties, the properties that may
// stand there: bit n is property n.
var allowedProps = buildAllowedProps()

func buildAllowedProps() (a [16]uint64) {
	for id := range propTable {
		in := &propTable[id]
		if in.Kind == KindNone {
			continue
		}
		for t := TypeConnect; t <= TypeAuth; t++ {
			if in.Packets>>t&1 == 1 {
				a[t] |= 1 << id
			}
		}
		if in.Will {
			a[willProps] |= 1 << id
		}
	}
	return a
}

// repeatable says whether the property may stand more than once in the packet type.
func repeatable(id PropID, t Type) bool {
	return id == PropUserProperty || id == PropSubscriptionID && t == TypePublish
}

// properties reads a Property Length and the properties of a packet type, or of the Will. The
// fault is missing where the packet ends before the Property Length.
func (c *cursor) properties(p *Properties, where Type, missing fault) {
	at := c.i
	var n int
	if at < len(c.b) && c.b[at] < 0x80 {
		n = int(c.b[at])
		c.i = at + 1
	} else if n = c.propertyLength(missing); n < 0 {
		return
	}
	if n == 0 {
		return
	}
	if n > len(c.b)-c.i {
		c.fault(faultPropertyOverrun, at)
		if c.short = true; !c.lenient {
			return
		}
		n = len(c.b) - c.i
	}
	base := c.i
	p.raw = c.b[base : base+n : base+n]
	c.i = base + n
	c.judgeProperties(p, where, base)
}

// propertyLength reads a Property Length that is not one byte. It returns -1 where there is none.
func (c *cursor) propertyLength(missing fault) int {
	at := c.i
	if c.atEnd() {
		c.cut(missing)
		return -1
	}
	v, n := Varint(c.b[at:])
	switch {
	case n < 0:
		c.fault(faultVarintLong, at)
		c.short, c.i = true, len(c.b)
		return -1
	case n == 0:
		c.cut(faultPropertyOverrun)
		return -1
	}
	c.i = at + n
	if n != VarintSize(v) {
		c.fault(faultVarintPadded, at)
	}
	return int(v)
}

// judgeProperties walks the properties, which begin at the offset base of the packet.
func (c *cursor) judgeProperties(p *Properties, where Type, base int) {
	raw := p.raw
	allowed := allowedProps[where&15]
	var has uint64
	for i := 0; i < len(raw); {
		id := PropID(raw[i])
		bit := uint64(1) << (id & 63)
		if id > 63 || allowed&bit == 0 {
			if id.Info().Kind == KindNone {
				c.propertyFault(faultPropertyUnknown, id, where, base+i)
				break
			}
			c.propertyFault(faultPropertyForeign, id, where, base+i)
		}
		if has&bit != 0 && !repeatable(id, where) {
			c.propertyFault(faultPropertyDuplicate, id, where, base+i)
		}
		n := c.judgeProperty(raw[i:], id, where, base+i)
		if n <= 0 {
			break
		}
		has |= bit
		i += n
	}
	p.has = has
	if has>>PropAuthData&1 == 1 && has>>PropAuthMethod&1 == 0 && where == TypeConnect {
		c.property(faultAuthDataWithoutMethod, PropAuthData, p, where)
	}
}

// judgeProperty judges the property at the start of b, which stands at the offset of the
// packet, and returns its length. It returns 0 where the property is cut.
func (c *cursor) judgeProperty(b []byte, id PropID, where Type, at int) int {
	in := &propTable[id]
	var v uint32
	n := 0
	switch in.Kind {
	case KindByte:
		if len(b) < 2 {
			return c.cutProperty(id, where, at)
		}
		v, n = uint32(b[1]), 2
	case KindUint16:
		if len(b) < 3 {
			return c.cutProperty(id, where, at)
		}
		v, n = uint32(binary.BigEndian.Uint16(b[1:])), 3
	case KindUint32:
		if len(b) < 5 {
			return c.cutProperty(id, where, at)
		}
		v, n = binary.BigEndian.Uint32(b[1:]), 5
	case KindVarint:
		w, m := Varint(b[1:])
		switch {
		case m < 0:
			c.propertyFault(faultVarintLong, id, where, at)
			return 0
		case m == 0:
			return c.cutProperty(id, where, at)
		case m != VarintSize(w):
			c.propertyFault(faultVarintPadded, id, where, at)
		}
		v, n = w, 1+m
	case KindBinary:
		w, ok := cutText(b[1:])
		if !ok {
			return c.cutProperty(id, where, at)
		}
		return 3 + len(w)
	case KindString:
		w, ok := cutText(b[1:])
		if !ok {
			return c.cutProperty(id, where, at)
		}
		if seen := scanName(viewString(w)); seen != 0 {
			c.propertyText(viewString(w), seen, id, where, at)
		}
		return 3 + len(w)
	case KindPair:
		name, ok := cutText(b[1:])
		if !ok {
			return c.cutProperty(id, where, at)
		}
		value, ok := cutText(b[3+len(name):])
		if !ok {
			return c.cutProperty(id, where, at)
		}
		if seen := scanText(viewString(name)); seen != 0 {
			c.propertyText(viewString(name), seen, id, where, at)
		}
		if seen := scanText(viewString(value)); seen != 0 {
			c.propertyText(viewString(value), seen, id, where, at)
		}
		return 5 + len(name) + len(value)
	}
	if v < in.Min || v > in.Max {
		f := faultPropertyRange
		if id == PropTopicAlias {
			f = faultTopicAliasZero // [MQTT-3.3.2-8]
		}
		c.propertyFault(f, id, where, at)
	}
	return n
}

// propertyText is the slow half of judging a property's string.
func (c *cursor) propertyText(s string, seen int, id PropID, where Type, at int) {
	f := faultPropertyUTF8
	switch id {
	case PropUserProperty:
		f = faultPairUTF8 // [MQTT-1.5.7-1]
	case PropResponseTopic:
		f = faultResponseTopicUTF8
	case PropContentType:
		f = faultContentTypeUTF8
	}
	bad := faultNone
	switch {
	case seen&seenHigh != 0 && !utf8.ValidString(s):
		bad = f
	case seen&seenNUL != 0:
		bad = f + 1
	case seen&seenWildcard != 0 && id == PropResponseTopic:
		bad = faultResponseTopicWildcard // [MQTT-3.3.2-14]
	}
	if bad != faultNone {
		c.propertyFault(bad, id, where, at)
	}
}

func (c *cursor) cutProperty(id PropID, where Type, at int) int {
	c.propertyFault(faultPropertyOverrun, id, where, at)
	return 0
}

// propertyFault records a fault of one property.
func (c *cursor) propertyFault(f fault, id PropID, where Type, at int) {
	if c.err == nil {
		c.report(propertyError(f, id, c.t, where == willProps, at))
	}
}

// property records a fault at the first property with the identifier. It is for use while the
// cursor stands right behind the properties.
func (c *cursor) property(f fault, id PropID, p *Properties, where Type) {
	if c.err != nil {
		return
	}
	at := c.i - len(p.raw)
	for b := p.raw; len(b) > 0; {
		pr, n := parseProperty(b)
		if n == 0 || pr.ID == id {
			break
		}
		at += n
		b = b[n:]
	}
	c.propertyFault(f, id, where, at)
}
