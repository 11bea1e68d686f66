package codec

import (
	"encoding/binary"
	"slices"
)

// Encoding writes first and judges the bytes afterwards with the functions that decode, so that
// what AppendTo refuses is exactly what a strict Decoder refuses. A version before 5.0 has no
// place for properties, Reason Codes of acknowledgements and subscription options: they are
// left out.

// start grows dst for a packet and appends its fixed header.
func start(dst []byte, t Type, flags uint8, remaining int) []byte {
	dst = slices.Grow(dst, 5+remaining)
	return AppendVarint(append(dst, byte(t)<<4|flags), uint32(remaining))
}

// packetSize is the size of a packet whose Remaining Length is known.
func packetSize(remaining int) int { return 1 + VarintSize(uint32(remaining)) + remaining }

func appendU16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }

// size is the wire size of the properties with their length.
func (p *Properties) size() int { return VarintSize(uint32(len(p.raw))) + len(p.raw) }

func (p *Properties) appendTo(dst []byte) []byte {
	return append(AppendVarint(dst, uint32(len(p.raw))), p.raw...)
}

// fits judges what no wire form could show: a body or a field that its length prefix cannot
// say. The offset of such a fault is 0, as nothing has been written.
func fits(t Type, v Version, remaining, longest int) error {
	switch {
	case longest > MaxStringLen:
		return newError(faultTextTooLong, t, v, 0)
	case remaining > MaxRemainingLength:
		return newError(faultTooLarge, t, v, 0)
	}
	return nil
}

// judging returns the cursor that judges a packet which has been appended to a buffer.
func judging(b []byte, v Version) cursor { return cursor{b: b, v: v, dry: true} }

// first returns the first fault of either level: a sender owes the SHOULD-level rules too.
func (c *cursor) first() error {
	switch {
	case c.err != nil:
		return c.err
	case c.soft != nil:
		return c.soft
	}
	return nil
}

// known maps the zero Version to 3.1.1, whose layout it shares.
func known(v Version) Version {
	if v == 0 {
		return V4
	}
	return v
}

func flag(on bool, bit uint8) uint8 {
	if on {
		return bit
	}
	return 0
}

// Size returns the exact number of bytes AppendTo would append.
func (p *Publish) Size(v Version) int { return packetSize(p.remaining(v)) }

func (p *Publish) remaining(v Version) int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		n += p.Props.size()
	}
	return n
}

// AppendTo appends the wire form. PacketID is left out at QoS 0.
func (p *Publish) AppendTo(dst []byte, v Version) ([]byte, error) {
	remaining := p.remaining(v)
	if len(p.Topic) > MaxStringLen || remaining > MaxRemainingLength {
		return dst, fits(TypePublish, v, remaining, len(p.Topic))
	}
	flags := flag(p.Dup, flagDup) | byte(min(p.QoS, 3))<<1 | flag(p.Retain, flagRetain)
	out := start(dst, TypePublish, flags, remaining)
	out = appendText(out, p.Topic)
	if p.QoS > 0 {
		out = appendU16(out, p.PacketID)
	}
	if v == V5 {
		out = p.Props.appendTo(out)
	}
	out = append(out, p.Payload...)
	if p.plain(v) {
		return out, nil
	}

	c := judging(out[len(dst):], known(v))
	var judged Publish
	judged.decode(&c, c.header())
	if err := c.first(); err != nil {
		return dst, err
	}
	return out, nil
}

// appendAck encodes PUBACK, PUBREC, PUBREL and PUBCOMP in the shortest form.
func appendAck(dst []byte, t Type, v Version, id uint16, reason ReasonCode, props *Properties) []byte {
	out := start(dst, t, requiredFlags[t&15], ackRemaining(v, reason, props))
	out = appendU16(out, id)
	if v == V5 && (reason != Success || !props.Empty()) {
		out = append(out, byte(reason))
		if !props.Empty() {
			out = props.appendTo(out)
		}
	}
	return out
}

func ackRemaining(v Version, reason ReasonCode, props *Properties) int {
	switch {
	case v != V5 || reason == Success && props.Empty():
		return 2
	case props.Empty():
		return 3
	}
	return 3 + props.size()
}

func encodeAck(dst []byte, t Type, v Version, id uint16, reason ReasonCode, props *Properties, badCode fault) ([]byte, error) {
	if n := ackRemaining(v, reason, props); n > MaxRemainingLength {
		return dst, fits(t, v, n, 0)
	}
	out := appendAck(dst, t, v, id, reason, props)
	c := judging(out[len(dst):], known(v))
	c.header()
	var judged Puback
	c.ack(&judged.PacketID, &judged.Reason, &judged.Props, badCode)
	if err := c.first(); err != nil {
		return dst, err
	}
	return out, nil
}

// Size returns the exact number of bytes AppendTo would append.
func (p *Puback) Size(v Version) int { return packetSize(ackRemaining(v, p.Reason, &p.Props)) }

// Size returns the exact number of bytes AppendTo would append.
func (p *Pubrec) Size(v Version) int { return packetSize(ackRemaining(v, p.Reason, &p.Props)) }

// Size returns the exact number of bytes AppendTo would append.
func (p *Pubrel) Size(v Version) int { return packetSize(ackRemaining(v, p.Reason, &p.Props)) }

// Size returns the exact number of bytes AppendTo would append.
func (p *Pubcomp) Size(v Version) int { return packetSize(ackRemaining(v, p.Reason, &p.Props)) }

// AppendTo appends the wire form, the shortest that says the same.
func (p *Puback) AppendTo(dst []byte, v Version) ([]byte, error) {
	return encodeAck(dst, TypePuback, v, p.PacketID, p.Reason, &p.Props, faultPubackCode)
}

// AppendTo appends the wire form, the shortest that says the same.
func (p *Pubrec) AppendTo(dst []byte, v Version) ([]byte, error) {
	return encodeAck(dst, TypePubrec, v, p.PacketID, p.Reason, &p.Props, faultPubrecCode)
}

// AppendTo appends the wire form, the shortest that says the same.
func (p *Pubrel) AppendTo(dst []byte, v Version) ([]byte, error) {
	return encodeAck(dst, TypePubrel, v, p.PacketID, p.Reason, &p.Props, faultPubrelCode)
}

// AppendTo appends the wire form, the shortest that says the same.
func (p *Pubcomp) AppendTo(dst []byte, v Version) ([]byte, error) {
	return encodeAck(dst, TypePubcomp, v, p.PacketID, p.Reason, &p.Props, faultPubcompCode)
}

// Size returns the exact number of bytes AppendTo would append.
func (p *Pingreq) Size(Version) int { return 2 }

// Size returns the exact number of bytes AppendTo would append.
func (p *Pingresp) Size(Version) int { return 2 }

// AppendTo appends the wire form.
func (p *Pingreq) AppendTo(dst []byte, _ Version) ([]byte, error) {
	return append(dst, byte(TypePingreq)<<4, 0), nil
}

// AppendTo appends the wire form.
func (p *Pingresp) AppendTo(dst []byte, _ Version) ([]byte, error) {
	return append(dst, byte(TypePingresp)<<4, 0), nil
}

// Size returns the exact number of bytes AppendTo would append.
func (p *Disconnect) Size(v Version) int { return packetSize(p.remaining(v)) }

func (p *Disconnect) remaining(v Version) int { return ackRemaining(v, p.Reason, &p.Props) - 2 }

// AppendTo appends the wire form, the shortest that says the same.
func (p *Disconnect) AppendTo(dst []byte, v Version) ([]byte, error) {
	n := p.remaining(v)
	if n > MaxRemainingLength {
		return dst, fits(TypeDisconnect, v, n, 0)
	}
	out := start(dst, TypeDisconnect, 0, n)
	if n > 0 {
		out = append(out, byte(p.Reason))
	}
	if n > 1 {
		out = p.Props.appendTo(out)
	}
	c := judging(out[len(dst):], known(v))
	c.header()
	var judged Disconnect
	judged.decode(&c)
	if err := c.first(); err != nil {
		return dst, err
	}
	return out, nil
}

// Size returns the exact number of bytes AppendTo would append.
func (p *Auth) Size(Version) int { return packetSize(p.remaining()) }

func (p *Auth) remaining() int {
	if p.Reason == Success && p.Props.Empty() {
		return 0
	}
	return 1 + p.Props.size()
}

// AppendTo appends the wire form. AUTH without an Authentication Method is refused.
func (p *Auth) AppendTo(dst []byte, v Version) ([]byte, error) {
	n := p.remaining()
	if n > MaxRemainingLength {
		return dst, fits(TypeAuth, v, n, 0)
	}
	out := start(dst, TypeAuth, 0, n)
	if n > 0 {
		out = p.Props.appendTo(append(out, byte(p.Reason)))
	}
	c := judging(out[len(dst):], known(v))
	c.header()
	var judged Auth
	judged.decode(&c)
	if err := c.first(); err != nil {
		return dst, err
	}
	return out, nil
}
