package pcap

import (
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/bits"
	"strconv"
	"unicode/utf8"

	"github.com/mqlab/mqlab/codec"
)

// JSON writes one JSON object on a line for each packet, and one for each gap. Lines are written
// in blocks: call Flush when nothing more comes.
type JSON struct {
	// Passwords writes passwords as they are; otherwise only their length is written.
	Passwords bool
	// Files adds the index of the file, where there are several.
	Files bool
	// Prompt writes each line at once, for captures that are still growing.
	Prompt bool

	w       io.Writer
	b       []byte
	held    bool // for a [Parallel], which takes the lines
	time    stamp
	reasons []codec.ReasonCode
}

// NewJSON returns a JSON that writes to w.
func NewJSON(w io.Writer) *JSON { return &JSON{w: w, b: make([]byte, 0, flushAt+8<<10)} }

// Flush writes what is held back.
func (j *JSON) Flush() error {
	_, err := j.w.Write(j.b)
	j.b = j.b[:0]
	if cap(j.b) > 1<<20 {
		j.b = nil
	}
	return err
}

func (j *JSON) written() error {
	j.b = append(j.b, '}', '\n')
	if !j.held && (j.Prompt || len(j.b) >= flushAt) {
		return j.Flush()
	}
	return nil
}

func (j *JSON) fork() Lines {
	return &JSON{Passwords: j.Passwords, Files: j.Files, held: true}
}

func (j *JSON) begin(b *batch)  { j.b = b.text }
func (j *JSON) finish(b *batch) { b.text = j.b }
func (j *JSON) out() io.Writer  { return j.w }

// key appends a name; its value follows. The first one of an object is preceded by the brace.
func (j *JSON) key(name string) {
	if last := j.b[len(j.b)-1]; last != '{' && last != '[' {
		j.b = append(j.b, ',')
	}
	j.b = append(j.b, '"')
	j.b = append(j.b, name...)
	j.b = append(j.b, '"', ':')
}

func (j *JSON) num(name string, v int64) {
	j.key(name)
	j.b = strconv.AppendInt(j.b, v, 10)
}

func (j *JSON) str(name, v string) {
	j.key(name)
	j.b = appendQuoted(j.b, v)
}

func (j *JSON) flag(name string, v bool) {
	j.key(name)
	j.b = strconv.AppendBool(j.b, v)
}

// bytes writes name as text where it is text, and name_hex otherwise.
func (j *JSON) bytes(name string, v []byte) {
	if printable(v) {
		j.key(name)
		j.b = appendQuotedText(j.b, v)
		return
	}
	j.key(name + "_hex")
	j.b = append(j.b, '"')
	j.b = hex.AppendEncode(j.b, v)
	j.b = append(j.b, '"')
}

// text is bytes for what should be text.
func (j *JSON) text(name, v string) {
	if utf8.ValidString(v) {
		j.str(name, v)
		return
	}
	j.bytes(name, []byte(v))
}

// plain are the bytes that stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for ch := range t {
		t[ch] = ch >= 0x20 && ch < 0x7F && ch != '"' && ch != '\\'
	}
	return t
}()

// appendQuoted appends a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendQuoted[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		for i < len(s) && plain[s[i]] {
			i++
		}
		if i == len(s) {
			break
		}
		ch := s[i]
		if ch >= 0x20 && ch < utf8.RuneSelf && ch != '"' && ch != '\\' && ch != 0x7F {
			i++
			continue
		}
		if ch >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(string(s[i:min(len(s), i+4)]))
			if r == utf8.RuneError && n == 1 {
				b = append(b, s[start:i]...)
				b = append(b, `\ufffd`...)
				start = i + 1
			}
			i += n
			continue
		}
		b = append(b, s[start:i]...)
		switch ch {
		case '"', '\\':
			b = append(b, '\\', ch)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			const digits = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', digits[ch>>4], digits[ch&15])
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// appendQuotedText is appendQuoted for what is printable, which most payloads are.
func appendQuotedText(b, s []byte) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		if i+8 <= len(s) {
			x := binary.LittleEndian.Uint64(s[i:])
			// The lowest bit that is set is the first byte that does not stand for itself.
			special := (x-0x20*ones)&^x&tops | zeros(x^'"'*ones) | zeros(x^'\\'*ones)
			if special == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(special) / 8
		} else if s[i] >= utf8.RuneSelf || plain[s[i]] {
			i++
			continue
		}
		b = append(b, s[start:i]...)
		switch ch := s[i]; ch {
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', ch)
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

func (j *JSON) head(kind string, st *Stream, from codec.Side, file, frame int, nanos int64) {
	j.b = append(j.b, '{')
	if kind != "" {
		j.str("event", kind)
	}
	if j.Files {
		j.num("file", int64(file))
	}
	j.num("frame", int64(frame))
	j.key("time")
	j.b = append(j.b, '"')
	j.b = j.time.append(j.b, nanos)
	j.b = append(j.b, '"')
	j.num("stream", int64(st.ID))
	j.str("transport", st.Transport)
	j.key("client")
	j.b = append(j.b, '"')
	j.b = st.Client.AppendTo(j.b)
	j.b = append(j.b, `","server":"`...)
	j.b = st.Server.AppendTo(j.b)
	j.b = append(j.b, '"')
	j.str("from", sideName(from))
	j.text("client_id", st.ClientID)
}

func sideName(s codec.Side) string {
	switch s {
	case codec.Client:
		return "client"
	case codec.Server:
		return "server"
	}
	return "unknown"
}

// Gap writes the line of a gap.
func (j *JSON) Gap(g *Gap) error {
	j.head("gap", g.Stream, g.From, g.File, g.Frame, g.Nanos)
	j.num("lost_bytes", g.Lost)
	j.num("skipped_bytes", g.Skipped)
	return j.written()
}

// Packet writes the line of a packet.
func (j *JSON) Packet(p *Packet) error {
	j.head("", p.Stream, p.From, p.File, p.Frame, p.Nanos)
	j.str("version", p.Version.String())
	if p.Stream.Inferred {
		j.flag("version_inferred", true)
	}
	j.num("index", int64(p.Index))
	j.str("type", typeName(p.Type))
	j.num("type_id", int64(p.Type))
	j.num("flags", int64(p.Flags))
	j.num("size", int64(p.Size))
	h, _, _ := codec.ParseHeader(p.Raw)
	j.num("remaining_length", int64(h.Remaining))
	if p.Missing > 0 {
		j.num("missing_bytes", int64(p.Missing))
	}
	if id, ok := packetID(p); ok {
		j.num("packet_id", int64(id))
	}
	switch m := p.MQTT.(type) {
	case *codec.Connect:
		j.connect(p, m)
	case *codec.Connack:
		j.flag("session_present", m.SessionPresent)
		if at := len(p.Raw) - h.Remaining; at >= 0 && at < len(p.Raw) {
			j.num("ack_flags", int64(p.Raw[at]))
		}
	case *codec.Publish:
		j.num("qos", int64(p.Flags>>1&3))
		j.flag("dup", p.Flags&8 != 0)
		j.flag("retain", p.Flags&1 != 0)
		j.text("topic", p.Topic)
		j.num("topic_length", int64(len(m.Topic)))
		j.num("payload_length", int64(payloadLength(p, m)))
		j.bytes("payload", m.Payload)
	case *codec.Subscribe:
		j.filters(p, m)
	case *codec.Unsubscribe:
		j.key("filters")
		j.b = append(j.b, '[')
		for _, f := range m.Filters {
			j.object()
			j.text("filter", f)
			j.b = append(j.b, '}')
		}
		j.b = append(j.b, ']')
	}
	j.reason(p)
	if props := propertiesOf(p); props != nil && !props.Empty() {
		j.properties(props)
	}
	if len(p.Faults) > 0 {
		j.faults(p)
	}
	return j.written()
}

// object begins an element of a list.
func (j *JSON) object() {
	if j.b[len(j.b)-1] != '[' {
		j.b = append(j.b, ',')
	}
	j.b = append(j.b, '{')
}

func (j *JSON) connect(p *Packet, m *codec.Connect) {
	name, level := m.ProtocolName, m.Level
	if name == "" && level == 0 {
		name, level = "MQTT", uint8(m.Version)
		if m.Version == codec.V31 {
			name = "MQIsdp"
		}
	}
	j.text("protocol_name", name)
	j.num("protocol_level", int64(level))
	j.num("connect_flags", int64(connectFlags(p.Raw)))
	j.flag("clean_start", m.CleanStart)
	j.num("keep_alive", int64(m.KeepAlive))
	j.text("connect_client_id", m.ClientID)
	if m.HasWill {
		j.key("will")
		j.b = append(j.b, '{')
		j.text("topic", m.Will.Topic)
		j.num("qos", int64(m.Will.QoS))
		j.flag("retain", m.Will.Retain)
		j.num("payload_length", int64(len(m.Will.Payload)))
		j.bytes("payload", m.Will.Payload)
		if !m.Will.Props.Empty() {
			j.properties(&m.Will.Props)
		}
		j.b = append(j.b, '}')
	}
	if m.HasUsername {
		j.text("username", m.Username)
	}
	if m.HasPassword {
		j.num("password_length", int64(len(m.Password)))
		if j.Passwords {
			j.bytes("password", m.Password)
		}
	}
}

// connectFlags finds the flags of a CONNECT, which stand behind name and level.
func connectFlags(raw []byte) byte {
	_, n, _ := codec.ParseHeader(raw)
	if n == 0 || len(raw) < n+2 {
		return 0
	}
	at := n + 2 + int(raw[n])<<8 + int(raw[n+1]) + 1
	if at >= len(raw) {
		return 0
	}
	return raw[at]
}

func (j *JSON) filters(p *Packet, m *codec.Subscribe) {
	j.key("filters")
	j.b = append(j.b, '[')
	for i := range m.Filters {
		f := &m.Filters[i]
		j.object()
		j.text("filter", f.Filter)
		j.num("qos", int64(f.QoS))
		if p.Version == codec.V5 {
			j.flag("no_local", f.NoLocal)
			j.flag("retain_as_published", f.RetainAsPublished)
			j.num("retain_handling", int64(f.RetainHandling))
		}
		j.b = append(j.b, '}')
	}
	j.b = append(j.b, ']')
}

func (j *JSON) reason(p *Packet) {
	j.reasons = reasonsOf(p, j.reasons[:0])
	if len(j.reasons) == 0 {
		return
	}
	if p.Type == codec.TypeSuback || p.Type == codec.TypeUnsuback {
		j.key("reason_codes")
		j.b = append(j.b, '[')
		for i, r := range j.reasons {
			if i > 0 {
				j.b = append(j.b, ',')
			}
			j.b = strconv.AppendUint(j.b, uint64(r), 10)
		}
		j.b = append(j.b, `],"reasons":[`...)
		for i, r := range j.reasons {
			if i > 0 {
				j.b = append(j.b, ',')
			}
			j.b = appendQuoted(j.b, r.Name(p.Type, p.Version))
		}
		j.b = append(j.b, ']')
		return
	}
	j.num("reason_code", int64(j.reasons[0]))
	j.str("reason", j.reasons[0].Name(p.Type, p.Version))
}

func (j *JSON) properties(props *codec.Properties) {
	j.num("property_length", int64(len(props.Raw())))
	j.key("properties")
	j.b = append(j.b, '[')
	for pr, ok := range props.All() {
		if !ok {
			break
		}
		j.object()
		j.num("id", int64(pr.ID))
		info := pr.ID.Info()
		if info.Kind == codec.KindNone {
			j.b = append(j.b, '}')
			break
		}
		j.str("name", info.Name)
		switch info.Kind {
		case codec.KindString:
			j.text("value", string(pr.Value))
		case codec.KindBinary:
			j.bytes("value", pr.Value)
		case codec.KindPair:
			j.text("key", pr.Key)
			j.text("value", string(pr.Value))
		default:
			j.num("value", int64(pr.Int))
		}
		j.b = append(j.b, '}')
	}
	j.b = append(j.b, ']')
}

func (j *JSON) faults(p *Packet) {
	j.key("faults")
	j.b = append(j.b, '[')
	for _, f := range p.Faults {
		j.object()
		j.str("rule", f.Rule)
		j.str("fault", f.Fault)
		j.num("offset", int64(f.Offset))
		j.str("level", f.Level.String())
		j.str("message", f.Msg)
		j.b = append(j.b, '}')
	}
	j.b = append(j.b, ']')
}
