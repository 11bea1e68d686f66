package peers

import (
	"cmp"
	"slices"

	"github.com/mqlab/mqlab/codec"
)

// Meaning is what a packet says. Two packets with equal Meanings differ at most in what the
// standard leaves free: the order of properties and the length of encodings. Fields that a
// packet type does not have are zero.
type Meaning struct {
	Type     codec.Type
	Version  codec.Version // of CONNECT alone
	PacketID uint16

	Topic       string
	Payload     string
	QoS         codec.QoS
	Dup, Retain bool

	ClientID   string
	KeepAlive  uint16
	CleanStart bool
	Will       *Will
	Username   *string
	Password   *string

	SessionPresent bool
	Reasons        []codec.ReasonCode // one, or in SUBACK and UNSUBACK one for each Topic Filter
	Filters        []codec.Subscription
	Props          []Prop
}

// Will is what a CONNECT says of the Will Message.
type Will struct {
	Topic   string
	Payload string
	QoS     codec.QoS
	Retain  bool
	Props   []Prop
}

// Prop is one property. Lists of them are in order of ID, repeats in the order of the packet.
type Prop struct {
	ID    codec.PropID
	Int   uint32
	Key   string // of a User Property
	Value string
}

// MeaningOf returns what a packet of package codec says in the version. It views the packet.
func MeaningOf(p codec.Packet, v codec.Version) Meaning {
	m := Meaning{Type: p.Type()}
	switch p := p.(type) {
	case *codec.Connect:
		m.connect(p)
	case *codec.Connack:
		m.SessionPresent = p.SessionPresent
		m.Reasons, m.Props = []codec.ReasonCode{p.Reason}, propsOf(&p.Props)
	case *codec.Publish:
		m.Topic, m.Payload, m.PacketID = p.Topic, string(p.Payload), p.PacketID
		m.QoS, m.Dup, m.Retain, m.Props = p.QoS, p.Dup, p.Retain, propsOf(&p.Props)
	case *codec.Puback:
		m.ack(v, p.PacketID, p.Reason, &p.Props)
	case *codec.Pubrec:
		m.ack(v, p.PacketID, p.Reason, &p.Props)
	case *codec.Pubrel:
		m.ack(v, p.PacketID, p.Reason, &p.Props)
	case *codec.Pubcomp:
		m.ack(v, p.PacketID, p.Reason, &p.Props)
	case *codec.Subscribe:
		m.PacketID, m.Filters, m.Props = p.PacketID, slices.Clone(p.Filters), propsOf(&p.Props)
	case *codec.Suback:
		m.PacketID, m.Reasons, m.Props = p.PacketID, slices.Clone(p.Reasons), propsOf(&p.Props)
	case *codec.Unsubscribe:
		m.PacketID, m.Props = p.PacketID, propsOf(&p.Props)
		m.filters(p.Filters)
	case *codec.Unsuback:
		m.PacketID, m.Reasons, m.Props = p.PacketID, slices.Clone(p.Reasons), propsOf(&p.Props)
	case *codec.Disconnect:
		m.ack(v, 0, p.Reason, &p.Props)
	case *codec.Auth:
		m.ack(v, 0, p.Reason, &p.Props)
	}
	return m
}

func (m *Meaning) connect(p *codec.Connect) {
	m.Version, m.ClientID, m.KeepAlive, m.CleanStart = p.Version, p.ClientID, p.KeepAlive, p.CleanStart
	m.Props = propsOf(&p.Props)
	if p.HasWill {
		m.Will = &Will{
			Topic: p.Will.Topic, Payload: string(p.Will.Payload), QoS: p.Will.QoS, Retain: p.Will.Retain,
			Props: propsOf(&p.Will.Props),
		}
	}
	if p.HasUsername {
		m.Username = &p.Username
	}
	if p.HasPassword {
		s := string(p.Password)
		m.Password = &s
	}
}

// ack fills in what acknowledgements, DISCONNECT and AUTH share.
func (m *Meaning) ack(v codec.Version, id uint16, reason codec.ReasonCode, props *codec.Properties) {
	m.PacketID = id
	if v == codec.V5 {
		m.Reasons, m.Props = []codec.ReasonCode{reason}, propsOf(props)
	}
}

// filters sets Topic Filters without options.
func (m *Meaning) filters(filters []string) {
	for _, f := range filters {
		m.Filters = append(m.Filters, codec.Subscription{Filter: f})
	}
}

// reason returns the one Reason Code of a packet that has but one, Success where it has none.
func (m *Meaning) reason() byte {
	if len(m.Reasons) == 0 {
		return byte(codec.Success)
	}
	return byte(m.Reasons[0])
}

func propsOf(p *codec.Properties) []Prop {
	var props []Prop
	for pr, ok := range p.All() {
		if ok {
			props = append(props, Prop{ID: pr.ID, Int: pr.Int, Key: pr.Key, Value: string(pr.Value)})
		}
	}
	return sorted(props)
}

// sorted puts properties in the order of Meaning. The standard keeps the order among User
// Properties and gives no other one a meaning.
func sorted(props []Prop) []Prop {
	slices.SortStableFunc(props, func(a, b Prop) int { return cmp.Compare(a.ID, b.ID) })
	return props
}

func codesOf(b []byte) []codec.ReasonCode {
	var codes []codec.ReasonCode
	for _, c := range b {
		codes = append(codes, codec.ReasonCode(c))
	}
	return codes
}

func bytesOf(codes []codec.ReasonCode) []byte {
	var b []byte
	for _, c := range codes {
		b = append(b, byte(c))
	}
	return b
}
