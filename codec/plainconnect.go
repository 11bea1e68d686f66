package codec

import "encoding/binary"

// CONNECT and SUBSCRIBE of 3.1.1 and 5.0 have shortcuts as PUBLISH does: for those without
// properties and without a fault.

// plainBody returns the offset of the body of a frame whose Remaining Length takes one or two
// bytes, is not padded and agrees with the frame, and 0 for any other.
func plainBody(b []byte) int {
	switch {
	case len(b) < 4:
		return 0
	case int(b[1]) == len(b)-2 && b[1] < 0x80:
		return 2
	case b[1] >= 0x80 && b[2] < 0x80 && b[2] > 0 && int(b[1]&0x7F)|int(b[2])<<7 == len(b)-3:
		return 3
	}
	return 0
}

// plainField returns the field with a two-byte length at i, and where it ends. That is beyond the
// frame where the frame ends first, so that a caller may read on and judge the last end alone.
func plainField(b []byte, i int) (field []byte, end int) {
	if i < 0 || i > len(b)-2 {
		return nil, len(b) + 1
	}
	end = i + 2 + (int(b[i])<<8 | int(b[i+1]))
	if end > len(b) {
		return nil, len(b) + 1
	}
	return b[i+2 : end : end], end
}

// decodePlain fills p from a frame that holds a CONNECT with nothing to remark. What p holds is
// of no use where it returns false.
func (p *Connect) decodePlain(b []byte) bool {
	i := plainBody(b)
	if i == 0 || len(b) < i+12 || b[0] != byte(TypeConnect)<<4 || string(b[i:i+6]) != "\x00\x04"+nameMQTT {
		return false
	}
	v, flags := Version(b[i+6]), b[i+7]
	p.Version, p.ProtocolName, p.Level = v, "", 0
	p.KeepAlive = uint16(b[i+8])<<8 | uint16(b[i+9])
	p.CleanStart, p.HasWill = flags&flagCleanStart != 0, flags&flagWill != 0
	p.HasUsername, p.HasPassword = flags&flagUsername != 0, flags&flagPassword != 0
	p.Props = Properties{}
	i += 10
	if v == V5 {
		if b[i] != 0 {
			return false
		}
		i++
	}
	var id, topic, payload, username, password []byte
	id, i = plainField(b, i)
	if p.HasWill {
		if v == V5 {
			if i >= len(b) || b[i] != 0 {
				return false
			}
			i++
		}
		topic, i = plainField(b, i)
		payload, i = plainField(b, i)
	}
	if p.HasUsername {
		username, i = plainField(b, i)
	}
	if p.HasPassword {
		password, i = plainField(b, i)
	}
	p.ClientID, p.Username, p.Password = viewString(id), viewString(username), password
	p.Will.Topic, p.Will.Payload = viewString(topic), payload
	p.Will.QoS, p.Will.Retain = QoS(flags>>3&3), flags&flagWillRetain != 0
	p.Will.Props = Properties{}
	return i == len(b) && p.plain(v, flags)
}

// plainFlags reports whether nothing is to be remarked about the Connect Flags.
func plainFlags(flags byte, v Version) bool {
	const will = 3<<3 | flagWillRetain
	switch {
	case flags&flagReserved != 0, flags&(3<<3) == 3<<3, flags&flagWill == 0 && flags&will != 0:
		return false
	}
	return v == V5 || flags&(flagUsername|flagPassword) != flagPassword
}

// plain reports whether AppendTo writes p for the version without a fault.
func (p *Connect) plain(v Version, flags byte) bool {
	switch {
	case v != V4 && v != V5, !plainFlags(flags, v):
		return false
	case v == V5 && !p.Props.Empty(), v == V4 && p.ClientID == "" && !p.CleanStart:
		return false
	case p.HasWill && (v == V5 && !p.Will.Props.Empty() || p.Will.Topic == "" || !plainName(p.Will.Topic)):
		return false
	}
	return plainText(p.ClientID) && (!p.HasUsername || plainText(p.Username))
}

// decodePlain fills p from a frame that holds a SUBSCRIBE with nothing to remark. The filters of
// p are lost where it returns false.
func (p *Subscribe) decodePlain(b []byte, v Version) bool {
	i := plainBody(b)
	if i == 0 || b[0] != byte(TypeSubscribe)<<4|2 || v != V4 && v != V5 {
		return false
	}
	id := binary.BigEndian.Uint16(b[i:])
	i += 2
	if v == V5 {
		if i >= len(b) || b[i] != 0 {
			return false
		}
		i++
	}
	if id == 0 || i == len(b) {
		return false
	}
	p.Filters = p.Filters[:0]
	for i < len(b) {
		field, end := plainField(b, i)
		if end >= len(b) {
			return false
		}
		s := viewString(field)
		if !plainFilter(s) {
			return false
		}
		o := b[end]
		switch {
		case o <= 2:
		case v == V4, o&optionQoS == 3, o&optionsReserved5 != 0, o&optionRetainHandling == optionRetainHandling:
			return false
		}
		p.Filters = append(p.Filters, Subscription{
			Filter: s, QoS: QoS(o & optionQoS), NoLocal: o&optionNoLocal != 0,
			RetainAsPublished: o&optionRetainAsPublished != 0, RetainHandling: o & optionRetainHandling >> 4,
		})
		i = end + 1
	}
	p.PacketID = id
	p.Props = Properties{}
	return true
}

// plainFilter reports whether s is a Topic Filter in ASCII that is no Shared Subscription.
func plainFilter(s string) bool {
	if s == "" || s[0] == '$' {
		return false
	}
	seen := scanName(s)
	return seen == 0 || seen == seenWildcard && wildcardFault(s) == faultNone
}

// plain reports whether AppendTo writes p for the version without a fault.
func (p *Subscribe) plain(v Version) bool {
	if v != V4 && v != V5 || p.PacketID == 0 || len(p.Filters) == 0 || v == V5 && !p.Props.Empty() {
		return false
	}
	for i := range p.Filters {
		s := &p.Filters[i]
		if s.QoS > 2 || v == V5 && s.RetainHandling > 2 || !plainFilter(s.Filter) {
			return false
		}
	}
	return true
}
