package codec

import "encoding/binary"

// Nearly every packet of a busy connection is a PUBLISH without properties and without a fault.
// The functions here recognise such a one with a few comparisons; they say no to everything
// else, which the cursor then judges. They report nothing, and whatever they accept the cursor
// accepts with the same outcome.

// decodePlain fills p from a frame that holds a PUBLISH with nothing to remark. It leaves p alone
// where it returns false.
func (p *Publish) decodePlain(b []byte, v Version) bool {
	if len(b) < 4 || b[0]>>4 != byte(TypePublish) || v < V31 || v > V5 {
		return false
	}
	i, n := 2, int(b[1])
	if n >= 0x80 {
		if b[2] == 0 || b[2] >= 0x80 {
			return false // padded, or of more than two bytes
		}
		i, n = 3, n&0x7F|int(b[2])<<7
	}
	if n != len(b)-i {
		return false
	}
	flags := b[0]
	if flags&flagQoS == flagQoS || flags&(flagDup|flagQoS) == flagDup || len(b) < i+2 {
		return false
	}
	i += 2
	end := i + int(binary.BigEndian.Uint16(b[i-2:]))
	if end == i || end > len(b) {
		return false
	}
	payload := end
	var id uint16
	if flags&flagQoS != 0 {
		if payload += 2; payload > len(b) {
			return false
		}
		if id = binary.BigEndian.Uint16(b[end:]); id == 0 {
			return false
		}
	}
	if v == V5 {
		if payload >= len(b) || b[payload] != 0 {
			return false
		}
		payload++
	}
	topic := viewString(b[i:end])
	if !plainName(topic) {
		return false
	}
	p.Topic, p.Payload = topic, b[payload:]
	p.PacketID, p.QoS = id, QoS(flags>>1&3)
	p.Dup, p.Retain = flags&flagDup != 0, flags&flagRetain != 0
	p.Props = Properties{}
	return true
}

// plain reports whether AppendTo writes p for the version without a fault.
func (p *Publish) plain(v Version) bool {
	switch v {
	case 0, V31, V4:
	case V5:
		if !p.Props.Empty() {
			return false
		}
	default:
		return false
	}
	if p.QoS == 0 {
		return !p.Dup && p.Topic != "" && plainName(p.Topic)
	}
	return p.QoS <= 2 && p.PacketID != 0 && p.Topic != "" && plainName(p.Topic)
}

// plainText reports whether s is all ASCII without NUL. It asks less than scanText: as long as no
// byte of a word x has its highest bit set, x-lows has one set exactly when a byte of x is zero.
func plainText(s string) bool {
	b := []byte(s) // read alone, and so not copied
	if len(b) < 8 {
		x := shortWord(b)
		return (x|(x-lows))&highs == 0
	}
	x := binary.LittleEndian.Uint64(b[len(b)-8:])
	seen := x | (x - lows)
	for ; len(b) > 8; b = b[8:] {
		x := binary.LittleEndian.Uint64(b)
		seen |= x | (x - lows)
	}
	return seen&highs == 0
}

// plainName is plainText that looks for wildcards too.
func plainName(s string) bool {
	b := []byte(s)
	if len(b) < 8 {
		return notPlain(shortWord(b))&highs == 0
	}
	seen := notPlain(binary.LittleEndian.Uint64(b[len(b)-8:]))
	for ; len(b) > 8; b = b[8:] {
		seen |= notPlain(binary.LittleEndian.Uint64(b))
	}
	return seen&highs == 0
}

func notPlain(x uint64) uint64 { return x | (x - lows) | ((x&^plusBits ^ hashes) - lows) }
