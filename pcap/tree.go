package pcap

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/ui"
)

// Tree writes every field of every packet with its bytes and what they mean.
type Tree struct {
	UI *ui.UI // nil is plain
	// Passwords shows passwords as they are; otherwise only their length is shown.
	Passwords bool

	w      io.Writer
	fields []codec.Field
	first  int64
	begun  bool
	b      strings.Builder
}

// NewTree returns a Tree that writes to w.
func NewTree(w io.Writer) *Tree { return &Tree{w: w} }

const treeBytes = 8 // of a field are shown beside its meaning

// Packet writes the fields of a packet.
func (t *Tree) Packet(p *Packet) error {
	if t.UI == nil {
		t.UI = ui.Plain()
	}
	t.b.Reset()
	if t.begun {
		t.b.WriteByte('\n')
	} else {
		t.begun, t.first = true, p.Nanos
	}
	from, to := p.Stream.Client, p.Stream.Server
	if p.From == codec.Server {
		from, to = to, from
	}
	fmt.Fprintf(&t.b, "%s\n", t.UI.Strong(fmt.Sprintf("%s  frame %d  %s s  stream %d  %s -> %s  %s  MQTT %s  %d bytes",
		typeName(p.Type), p.Frame, strings.TrimSpace(string(appendSeconds(nil, p.Nanos-t.first, 0))), p.Stream.ID, from, to,
		p.Stream.Transport, p.Version, p.Size)))
	if p.Stream.ClientID != "" {
		fmt.Fprintf(&t.b, "      client %s\n", ui.Printable(p.Stream.ClientID))
	}
	t.fields = codec.AppendFields(t.fields[:0], p.Raw, p.Version)
	for _, f := range t.fields {
		raw := p.Raw[f.Offset : f.Offset+f.Len]
		t.line(f.Offset, raw, f.Name, t.value(p, f, raw))
		for _, bit := range bitsOf(p, f, raw) {
			fmt.Fprintf(&t.b, "%s%s\n", spaces[:34], t.UI.Dim(bit))
		}
	}
	if p.Topic != "" {
		if m, ok := p.MQTT.(*codec.Publish); ok && m.Topic == "" {
			fmt.Fprintf(&t.b, "      (the Topic Alias stands for %s)\n", ui.Printable(p.Topic))
		}
	}
	if p.Missing > 0 {
		fmt.Fprintf(&t.b, "      %s %d bytes of this packet are missing\n", t.UI.Verdict(ui.Warn), p.Missing)
	}
	for _, f := range p.Faults {
		word := ui.Fail
		if f.Level == codec.Should {
			word = ui.Warn
		}
		fmt.Fprintf(&t.b, "      %s %s\n", t.UI.Verdict(word), f.Error())
	}
	_, err := io.WriteString(t.w, t.b.String())
	return err
}

// Gap writes a gap.
func (t *Tree) Gap(g *Gap) error {
	if t.UI == nil {
		t.UI = ui.Plain()
	}
	_, err := fmt.Fprintf(t.w, "\n%s stream %d, from the %s: %s\n", t.UI.Verdict(ui.Warn), g.Stream.ID, sideName(g.From), appendGap(nil, g))
	return err
}

// Flush does nothing: what is written is written.
func (t *Tree) Flush() error { return nil }

func (t *Tree) line(offset int, raw []byte, name, value string) {
	shown := raw[:min(len(raw), treeBytes)]
	text := fmt.Sprintf("% x", shown)
	if len(raw) > len(shown) {
		text = fmt.Sprintf("% x ..", raw[:treeBytes-1])
	}
	fmt.Fprintf(&t.b, "%6d  %s  %s", offset, t.UI.Dim(ui.Pad(text, 3*treeBytes)), name)
	if value != "" {
		t.b.WriteString(": " + value)
	}
	t.b.WriteByte('\n')
}

// value says what a field means.
func (t *Tree) value(p *Packet, f codec.Field, raw []byte) string {
	switch f.Name {
	case codec.FieldHeader:
		return fmt.Sprintf("%s (%d), flags %04b", typeName(p.Type), p.Type, p.Flags)
	case codec.FieldReason:
		if len(raw) == 1 {
			r := codec.ReasonCode(raw[0])
			return fmt.Sprintf("0x%02X %s", uint8(r), r.Name(p.Type, p.Version))
		}
	case codec.FieldKeepAlive:
		if len(raw) == 2 {
			return fmt.Sprintf("%d s", binary.BigEndian.Uint16(raw))
		}
	case codec.FieldLevel:
		if len(raw) == 1 {
			return fmt.Sprintf("%d (MQTT %s)", raw[0], codec.Version(raw[0]))
		}
	case codec.FieldConnectFlags, codec.FieldAckFlags, codec.FieldOptions:
		if len(raw) == 1 {
			return fmt.Sprintf("0x%02x", raw[0])
		}
	case codec.FieldPassword:
		if !t.Passwords {
			return fmt.Sprintf("%d bytes, not shown", max(len(raw)-2, 0))
		}
	}
	if f.Prop != 0 && len(raw) > 0 {
		raw = raw[1:] // the identifier
	}
	return kindText(f.Kind, raw)
}

// kindText writes a value of the wire type; a value that is cut is shown as far as it is there.
func kindText(k codec.Kind, raw []byte) string {
	blob := func(b []byte) string {
		return fmt.Sprintf("%s (%d bytes)", appendPreview(nil, b), len(b))
	}
	switch {
	case k == codec.KindByte && len(raw) == 1:
		return fmt.Sprint(raw[0])
	case k == codec.KindUint16 && len(raw) == 2:
		return fmt.Sprint(binary.BigEndian.Uint16(raw))
	case k == codec.KindUint32 && len(raw) == 4:
		return fmt.Sprint(binary.BigEndian.Uint32(raw))
	case k == codec.KindVarint:
		if v, n := codec.Varint(raw); n > 0 {
			return fmt.Sprint(v)
		}
	case k == codec.KindString && len(raw) >= 2:
		return ui.Printable(string(raw[2:]))
	case k == codec.KindBinary && len(raw) >= 2:
		return blob(raw[2:])
	case k == codec.KindPair && len(raw) >= 2:
		n := min(2+int(binary.BigEndian.Uint16(raw)), len(raw))
		value := raw[n:]
		return ui.Printable(string(raw[2:n])) + " = " + ui.Printable(string(value[min(2, len(value)):]))
	case k == codec.KindNone:
		return blob(raw)
	}
	return "cut"
}

// bitsOf explains the bits of a field, one line for each.
func bitsOf(p *Packet, f codec.Field, raw []byte) []string {
	if len(raw) != 1 {
		return nil
	}
	b := raw[0]
	bit := func(mask byte, name string) string {
		return pattern(b, mask) + "  " + name + ": " + map[bool]string{true: "set", false: "not set"}[b&mask != 0]
	}
	num := func(mask byte, shift int, name string) string {
		return fmt.Sprintf("%s  %s: %d", pattern(b, mask), name, b&mask>>shift)
	}
	switch f.Name {
	case codec.FieldHeader:
		if p.Type == codec.TypePublish {
			return []string{bit(8, "DUP"), num(6, 1, "QoS"), bit(1, "RETAIN")}
		}
	case codec.FieldConnectFlags:
		start := "Clean Session"
		if p.Version == codec.V5 {
			start = "Clean Start"
		}
		return []string{
			bit(0x80, "User Name"), bit(0x40, "Password"), bit(0x20, "Will Retain"), num(0x18, 3, "Will QoS"),
			bit(0x04, "Will"), bit(0x02, start), bit(0x01, "Reserved"),
		}
	case codec.FieldAckFlags:
		return []string{num(0xFE, 1, "Reserved"), bit(1, "Session Present")}
	case codec.FieldOptions:
		if p.Version != codec.V5 {
			return []string{num(0xFC, 2, "Reserved"), num(3, 0, "Maximum QoS")}
		}
		return []string{
			num(0xC0, 6, "Reserved"), num(0x30, 4, "Retain Handling"), bit(8, "Retain As Published"),
			bit(4, "No Local"), num(3, 0, "Maximum QoS"),
		}
	}
	return nil
}

// pattern writes the bits of a mask and dots for the others.
func pattern(b, mask byte) string {
	var s [9]byte
	at := 0
	for i := 7; i >= 0; i-- {
		switch bit := byte(1) << i; {
		case mask&bit == 0:
			s[at] = '.'
		case b&bit != 0:
			s[at] = '1'
		default:
			s[at] = '0'
		}
		if at++; i == 4 {
			s[at] = ' '
			at++
		}
	}
	return string(s[:])
}
