package pcap

import (
	"encoding/binary"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/ui"
)

// previewBytes is how much of a payload lists show.
const previewBytes = 48

// appendText appends foreign text that is safe to show on a line.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7E {
			return append(b, ui.Printable(s)...)
		}
	}
	return append(b, s...)
}

// appendPadded appends s and spaces up to width cells.
func appendPadded(b []byte, s string, width int) []byte {
	n := len(b)
	b = appendText(b, s)
	cells := len(b) - n
	if !ascii(b[n:]) {
		cells = ui.Width(string(b[n:]))
	}
	if cells > width {
		return append(b[:n], ui.Truncate(string(b[n:]), width)...)
	}
	return appendSpaces(b, width-cells)
}

func ascii(b []byte) bool {
	for _, ch := range b {
		if ch >= 0x80 {
			return false
		}
	}
	return true
}

const spaces = "                                                                "

func appendSpaces(b []byte, n int) []byte {
	for n > 0 {
		k := min(n, len(spaces))
		b = append(b, spaces[:k]...)
		n -= k
	}
	return b
}

// appendInt appends a number aligned right in width cells.
func appendInt(b []byte, v int64, width int) []byte {
	var digits [20]byte
	d := strconv.AppendInt(digits[:0], v, 10)
	b = appendSpaces(b, width-len(d))
	return append(b, d...)
}

// appendSeconds appends nanoseconds as seconds with six digits after the point.
func appendSeconds(b []byte, nanos int64, width int) []byte {
	var digits [24]byte
	d := digits[:0]
	if nanos < 0 {
		d = append(d, '-')
		nanos = -nanos
	}
	micros := nanos / 1000
	d = strconv.AppendInt(d, micros/1e6, 10)
	d = append(d, '.')
	part := micros % 1e6
	for scale := int64(1e5); scale > 0; scale /= 10 {
		d = append(d, byte('0'+part/scale%10))
	}
	b = appendSpaces(b, width-len(d))
	return append(b, d...)
}

// stamp writes times in UTC with nanoseconds, as RFC 3339 has it. Most are of the same second as the one before.
type stamp struct {
	second int64
	text   []byte // of the second
}

func (s *stamp) append(b []byte, nanos int64) []byte {
	second, part := nanos/1e9, nanos%1e9
	if part < 0 {
		second, part = second-1, part+1e9
	}
	if second != s.second || len(s.text) == 0 {
		s.second = second
		s.text = time.Unix(second, 0).UTC().AppendFormat(s.text[:0], "2006-01-02T15:04:05.")
	}
	b = append(b, s.text...)
	var digits [10]byte
	digits[9] = 'Z'
	for i := 8; i >= 0; i-- {
		digits[i] = byte('0' + part%10)
		part /= 10
	}
	return append(b, digits[:]...)
}

// Eight bytes are looked at in one go: ones holds a 1 in each of them, tops the highest bit.
const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// zeros has the highest bit of a byte set where that byte of x is 0, and perhaps of others above it.
func zeros(x uint64) uint64 { return (x - ones) & ^x & tops }

// graphic reports whether eight bytes are all printable ASCII.
func graphic(x uint64) bool {
	return (x|(x-0x20*ones))&tops|zeros(x^0x7F*ones) == 0
}

// printable reports whether a payload is text: UTF-8 without control characters but line breaks and tabs.
func printable(b []byte) bool {
	for i := 0; i < len(b); {
		for i+8 <= len(b) && graphic(binary.LittleEndian.Uint64(b[i:])) {
			i += 8
		}
		if i == len(b) {
			break
		}
		if ch := b[i]; ch < utf8.RuneSelf {
			if ch < 0x20 && ch != '\n' && ch != '\r' && ch != '\t' || ch == 0x7F {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 {
			return false
		}
		i += n
	}
	return true
}

// appendPreview appends the beginning of a payload: JSON as it is, text in quotes, and anything else
// as hexadecimal digits.
func appendPreview(b, payload []byte) []byte {
	if len(payload) == 0 {
		return append(b, "(empty)"...)
	}
	cut := payload
	if len(cut) > previewBytes {
		cut = cut[:previewBytes]
		for k := 0; k < 3 && len(cut) > 0 && !utf8.RuneStart(payload[len(cut)]); k++ {
			cut = cut[:len(cut)-1]
		}
	}
	if !printable(cut) {
		b = append(b, "0x"...)
		cut = cut[:min(len(cut), previewBytes/2)]
		const digits = "0123456789abcdef"
		for _, ch := range cut {
			b = append(b, digits[ch>>4], digits[ch&15])
		}
		if len(cut) < len(payload) {
			b = append(b, "…"...)
		}
		return b
	}
	quote := true
	// What has the brackets of JSON is shown as JSON: to validate it would cost more than all the rest.
	if first, last := payload[0], payload[len(payload)-1]; first == '{' && last == '}' || first == '[' && last == ']' {
		quote = false
	}
	if quote {
		b = append(b, '"')
	}
	for start := 0; start < len(cut); {
		end := start
		for end < len(cut) && cut[end] >= 0x20 && cut[end] < 0x7F {
			end++
		}
		b = append(b, cut[start:end]...)
		if end < len(cut) {
			if cut[end] == '\n' || cut[end] == '\r' || cut[end] == '\t' {
				if quote {
					b = append(b, '\\', map[byte]byte{'\n': 'n', '\r': 'r', '\t': 't'}[cut[end]])
				} else {
					b = append(b, ' ')
				}
				end++
			} else {
				_, n := utf8.DecodeRune(cut[end:])
				b = append(b, ui.Printable(string(cut[end:end+n]))...)
				end += n
			}
		}
		start = end
	}
	if len(cut) < len(payload) {
		b = append(b, "…"...)
	}
	if quote {
		b = append(b, '"')
	}
	return b
}

// typeName is the name of a packet type, also of the one that is not defined.
func typeName(t codec.Type) string {
	if t == 0 {
		return "RESERVED"
	}
	return t.String()
}

// reasonsOf returns the Reason Codes of a packet in order; before 5.0 there are few.
func reasonsOf(p *Packet, dst []codec.ReasonCode) []codec.ReasonCode {
	v5 := p.Version == codec.V5
	one := func(r codec.ReasonCode, has bool) []codec.ReasonCode {
		if !has {
			return dst
		}
		return append(dst, r)
	}
	switch m := p.MQTT.(type) {
	case *codec.Connack:
		return one(m.Reason, true)
	case *codec.Puback:
		return one(m.Reason, v5)
	case *codec.Pubrec:
		return one(m.Reason, v5)
	case *codec.Pubrel:
		return one(m.Reason, v5)
	case *codec.Pubcomp:
		return one(m.Reason, v5)
	case *codec.Disconnect:
		return one(m.Reason, v5)
	case *codec.Auth:
		return one(m.Reason, true)
	case *codec.Suback:
		return append(dst, m.Reasons...)
	case *codec.Unsuback:
		return append(dst, m.Reasons...)
	}
	return dst
}

// packetID returns the Packet Identifier of a packet that has one.
func packetID(p *Packet) (uint16, bool) {
	switch m := p.MQTT.(type) {
	case *codec.Publish:
		return m.PacketID, p.Flags&6 != 0
	case *codec.Puback:
		return m.PacketID, true
	case *codec.Pubrec:
		return m.PacketID, true
	case *codec.Pubrel:
		return m.PacketID, true
	case *codec.Pubcomp:
		return m.PacketID, true
	case *codec.Subscribe:
		return m.PacketID, true
	case *codec.Suback:
		return m.PacketID, true
	case *codec.Unsubscribe:
		return m.PacketID, true
	case *codec.Unsuback:
		return m.PacketID, true
	}
	return 0, false
}

// propertiesOf returns the properties of a packet, or nil.
func propertiesOf(p *Packet) *codec.Properties {
	switch m := p.MQTT.(type) {
	case *codec.Connect:
		return &m.Props
	case *codec.Connack:
		return &m.Props
	case *codec.Publish:
		return &m.Props
	case *codec.Puback:
		return &m.Props
	case *codec.Pubrec:
		return &m.Props
	case *codec.Pubrel:
		return &m.Props
	case *codec.Pubcomp:
		return &m.Props
	case *codec.Subscribe:
		return &m.Props
	case *codec.Suback:
		return &m.Props
	case *codec.Unsubscribe:
		return &m.Props
	case *codec.Unsuback:
		return &m.Props
	case *codec.Disconnect:
		return &m.Props
	case *codec.Auth:
		return &m.Props
	}
	return nil
}

// payloadLength is the length of a payload on the wire, of which some may be missing here.
func payloadLength(p *Packet, m *codec.Publish) int { return len(m.Payload) + p.Missing }
