package codec

import (
	"encoding/binary"
	"unsafe"
)

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

// plainField returns the field with a two-byte length at i, and where it ends: 0 where the
// frame ends first.
func plainField(b []byte, i int) (s string, end int) {
	if i+2 > len(b) {
		return "", 0
	}
	end = i + 2 + int(binary.BigEndian.Uint16(b[i:]))
	if end > len(b) {
		return "", 0
	}
	return viewString(b[i+2 : end]), end
}

// decodePlain fills p from a frame that holds a CONNECT with nothing to remark.
func (p *Connect) decodePlain(b []byte) bool {
	i := plainBody(b)
	if i == 0 || len(b) < i+12 || b[0] != byte(TypeConnect)<<4 || string(b[i:i+6]) != "\x00\x04"+nameMQTT {
		return false
	}
	v, flags := Version(b[i+6]), b[i+7]
	if v != V4 && v != V5 || !plainFlags(flags, v) {
		return false
	}
	keepAlive := binary.BigEndian.Uint16(b[i+8:])
	i += 10
	if v == V5 {
		if b[i] != 0 {
			return false
		}
		i++
	}
	id, i := plainField(b, i)
	if i == 0 || scanText(id) != 0 || id == "" && v == V4 && flags&flagCleanStart == 0 {
		return false
	}
	var topic, payload, username, password string
	if flags&flagWill != 0 {
		if v == V5 {
			if i >= len(b) || b[i] != 0 {
				return false
			}
			i++
		}
		if topic, i = plainField(b, i); i == 0 || topic == "" || !plainName(topic) {
			return false
		}
		if payload, i = plainField(b, i); i == 0 {
			return false
		}
	}
	if flags&flagUsername != 0 {
		if username, i = plainField(b, i); i == 0 || scanText(username) != 0 {
			return false
		}
	}
	if flags&flagPassword != 0 {
		if password, i = plainField(b, i); i == 0 {
			return false
		}
	}
	if i != len(b) {
		return false
	}

	p.Version, p.ProtocolName, p.Level = v, "", 0
	p.ClientID, p.KeepAlive = id, keepAlive
	p.CleanStart, p.HasWill = flags&flagCleanStart != 0, flags&flagWill != 0
	p.HasUsername, p.HasPassword = flags&flagUsername != 0, flags&flagPassword != 0
	p.Username, p.Password = username, viewBytes(password, p.HasPassword)
	p.Will.Topic, p.Will.Payload = topic, viewBytes(payload, p.HasWill)
	p.Will.QoS, p.Will.Retain = QoS(flags>>3&3), flags&flagWillRetain != 0
	p.Props, p.Will.Props = Properties{}, Properties{}
	return true
}

// viewBytes returns the bytes of a field that is there.
func viewBytes(s string, there bool) []byte {
	if !there {
		return nil
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
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
	return scanText(p.ClientID) == 0 && (!p.HasUsername || scanText(p.Username) == 0)
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
		s, end := plainField(b, i)
		if end == 0 || end == len(b) || !plainFilter(s) {
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
	p.PacketID, p.Props = id, Properties{}
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
