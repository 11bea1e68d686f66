package pcap

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// maxNames bounds the names that an [Anonymizer] tells apart in each of its tables.
const maxNames = 1 << 17

// Anonymizer replaces addresses, Client Identifiers, user names, passwords, topics, payloads and all other text
// of packets, always the same by the same. The levels of topics, wildcards, the names that begin with $, and the lengths of
// payloads stay, so that subscriptions match as before. Start from [NewAnonymizer].
type Anonymizer struct {
	names map[string]map[string]string
	addrs map[netip.Addr]netip.Addr
	buf   []byte
}

// NewAnonymizer returns an Anonymizer that has seen nothing.
func NewAnonymizer() *Anonymizer {
	return &Anonymizer{names: make(map[string]map[string]string), addrs: make(map[netip.Addr]netip.Addr)}
}

// name returns what stands for a text: a word and a number, in the order of appearance.
func (a *Anonymizer) name(kind, s string) string {
	if s == "" {
		return ""
	}
	m := a.names[kind]
	if m == nil {
		m = make(map[string]string)
		a.names[kind] = m
	}
	if out, ok := m[s]; ok {
		return out
	}
	if len(m) >= maxNames {
		return kind + "-x"
	}
	out := kind + "-" + strconv.Itoa(len(m)+1)
	m[strings.Clone(s)] = out
	return out
}

// Address returns what stands for an address: one of the range for tests, 198.18.0.0/15. Ports stay.
func (a *Anonymizer) Address(x netip.AddrPort) netip.AddrPort {
	to, ok := a.addrs[x.Addr()]
	if !ok {
		n := min(len(a.addrs), maxNames-2)
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 198<<24|18<<16+uint32(n)+1)
		to = netip.AddrFrom4(b)
		if n < maxNames-2 {
			a.addrs[x.Addr()] = to
		}
	}
	return netip.AddrPortFrom(to, x.Port())
}

// topic replaces the levels of a Topic Name or Topic Filter.
func (a *Anonymizer) topic(s string) string {
	levels := strings.Split(s, "/")
	from := 0
	switch {
	case levels[0] == "$share" && len(levels) > 2:
		levels[1] = a.name("group", levels[1])
		from = 2
	case strings.HasPrefix(s, "$"):
		from = 1
	}
	for i := from; i < len(levels); i++ {
		if levels[i] != "+" && levels[i] != "#" {
			levels[i] = a.name("t", levels[i])
		}
	}
	return strings.Join(levels, "/")
}

// blob returns as many bytes that say nothing.
func blob(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	out := make([]byte, len(b))
	for i := range out {
		out[i] = 'x'
	}
	return out
}

// Packet returns the bytes of the packet with everything replaced, or false where the packet has faults, so
// that nobody can say what in it is what.
func (a *Anonymizer) Packet(p *Packet) ([]byte, bool) {
	if p.MQTT == nil || len(p.Faults) > 0 || p.Missing > 0 {
		return nil, false
	}
	q := codec.Clone(p.MQTT)
	switch m := q.(type) {
	case *codec.Connect:
		m.ClientID = a.name("client", m.ClientID)
		m.Username = a.name("user", m.Username)
		m.Password = blob(m.Password)
		m.Will.Topic = a.topic(m.Will.Topic)
		m.Will.Payload = blob(m.Will.Payload)
		a.properties(&m.Props)
		a.properties(&m.Will.Props)
	case *codec.Connack:
		a.properties(&m.Props)
	case *codec.Publish:
		if m.Topic != "" {
			m.Topic = a.topic(m.Topic)
		}
		m.Payload = blob(m.Payload)
		a.properties(&m.Props)
	case *codec.Subscribe:
		for i := range m.Filters {
			m.Filters[i].Filter = a.topic(m.Filters[i].Filter)
		}
		a.properties(&m.Props)
	case *codec.Unsubscribe:
		for i := range m.Filters {
			m.Filters[i] = a.topic(m.Filters[i])
		}
		a.properties(&m.Props)
	case *codec.Puback:
		a.properties(&m.Props)
	case *codec.Pubrec:
		a.properties(&m.Props)
	case *codec.Pubrel:
		a.properties(&m.Props)
	case *codec.Pubcomp:
		a.properties(&m.Props)
	case *codec.Suback:
		a.properties(&m.Props)
	case *codec.Unsuback:
		a.properties(&m.Props)
	case *codec.Disconnect:
		a.properties(&m.Props)
	case *codec.Auth:
		a.properties(&m.Props)
	}
	var err error
	a.buf, err = q.AppendTo(a.buf[:0], p.Version)
	return a.buf, err == nil
}

// properties replaces the text and the bytes of all properties, in their order.
func (a *Anonymizer) properties(props *codec.Properties) {
	if props.Empty() {
		return
	}
	var out []byte
	text := func(s string) {
		out = binary.BigEndian.AppendUint16(out, uint16(len(s)))
		out = append(out, s...)
	}
	for pr := range props.All() {
		out = append(out, byte(pr.ID))
		switch pr.ID.Info().Kind {
		case codec.KindByte:
			out = append(out, byte(pr.Int))
		case codec.KindUint16:
			out = binary.BigEndian.AppendUint16(out, uint16(pr.Int))
		case codec.KindUint32:
			out = binary.BigEndian.AppendUint32(out, pr.Int)
		case codec.KindVarint:
			out = codec.AppendVarint(out, pr.Int)
		case codec.KindBinary:
			text(string(blob(pr.Value)))
		case codec.KindPair:
			text(a.name("key", pr.Key))
			text(a.name("value", string(pr.Value)))
		case codec.KindString:
			switch s := string(pr.Value); pr.ID {
			case codec.PropResponseTopic:
				text(a.topic(s))
			case codec.PropAssignedClientID:
				text(a.name("client", s))
			case codec.PropResponseInfo:
				text(a.topic(s))
			default:
				text(a.name("text", s))
			}
		}
	}
	props.SetRaw(out)
}
