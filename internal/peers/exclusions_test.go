package peers

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mqlab/mqlab/codec"
)

// direction says which way a packet goes between package codec and a peer.
type direction uint8

const (
	decoding direction = 1 << iota // the peer decodes
	encoding                       // the peer encodes
)

// exclusion is one departure of a peer from the standard. It predicts exactly what the peer
// does, so that it hides nothing else and fails as soon as the peer is right. Exclusions are
// applied in the order of the table.
type exclusion struct {
	peer Peer
	dir  direction
	name string
	// alters makes of what the packet says what the peer makes of it.
	alters func(m *Meaning, frame []byte)
	// refuses says that the peer refuses the packet, or cannot write a legal one.
	refuses func(m *Meaning, frame []byte, from codec.Side) bool
	example codec.Packet // of 5.0, from the client unless the server alone may send it
}

var exclusions = []exclusion{
	{
		peer: Mochi{}, dir: decoding | encoding, name: "an empty string property is the same as none",
		alters:  func(m *Meaning, _ []byte) { m.drop(emptyText) },
		example: publishWith(func(p *codec.Properties) { p.SetText(codec.PropContentType, "") }),
	},
	{
		peer: Mochi{}, dir: decoding | encoding, name: "these four integers have no presence flag, so that 0 is the same as none",
		alters: func(m *Meaning, _ []byte) {
			m.drop(func(p Prop) bool {
				return p.Int == 0 && slices.Contains([]codec.PropID{
					codec.PropMessageExpiry, codec.PropWillDelay, codec.PropRequestResponseInfo, codec.PropTopicAliasMaximum,
				}, p.ID)
			})
		},
		example: publishWith(func(p *codec.Properties) { p.SetUint(codec.PropMessageExpiry, 0) }),
	},
	{
		peer: Mochi{}, dir: encoding, name: "empty binary properties are not written",
		alters:  func(m *Meaning, _ []byte) { m.drop(emptyData) },
		example: publishWith(func(p *codec.Properties) { p.SetBytes(codec.PropCorrelationData, nil) }),
	},
	{
		peer: Mochi{}, dir: encoding, name: "a Reason Code below 0x80 is not written without properties",
		alters: func(m *Meaning, _ []byte) {
			switch m.Type {
			case codec.TypePuback, codec.TypePubrec, codec.TypePubrel, codec.TypePubcomp:
				if len(m.Props) == 0 && len(m.Reasons) == 1 && m.Reasons[0] < 0x80 {
					m.Reasons = []codec.ReasonCode{codec.Success}
				}
			}
		},
		example: &codec.Puback{PacketID: 1, Reason: codec.NoMatchingSubscribers},
	},
	{
		peer: Mochi{}, dir: decoding, name: "the Reason Code of a DISCONNECT without a Property Length is not read",
		alters: func(m *Meaning, frame []byte) {
			if m.Type == codec.TypeDisconnect && len(m.Reasons) == 1 && len(frame) == 3 {
				m.Reasons = []codec.ReasonCode{codec.NormalDisconnection}
			}
		},
		example: &codec.Disconnect{Reason: codec.ProtocolError},
	},
	{
		peer: Mochi{}, dir: decoding, name: "a Will Message of no bytes is refused",
		refuses: func(m *Meaning, _ []byte, from codec.Side) bool {
			return from == codec.Client && m.Will != nil && m.Will.Payload == ""
		},
		example: &codec.Connect{Version: codec.V5, HasWill: true, Will: codec.Will{Topic: "a"}},
	},
	{
		peer: Mochi{}, dir: decoding, name: "a Password of no bytes is refused",
		refuses: func(m *Meaning, _ []byte, from codec.Side) bool {
			return from == codec.Client && m.Password != nil && *m.Password == ""
		},
		example: &codec.Connect{Version: codec.V5, HasPassword: true},
	},
	{
		peer: Mochi{}, dir: encoding, name: "without an Authentication Method, the empty one among them, the packet is not legal",
		refuses: noAuthMethod,
		example: &codec.Auth{Reason: codec.ContinueAuthentication, Props: propsWith(func(p *codec.Properties) { p.SetText(codec.PropAuthMethod, "") })},
	},
	{
		peer: Paho{}, dir: decoding | encoding, name: "an empty string property is the same as none",
		alters:  func(m *Meaning, _ []byte) { m.drop(emptyText) },
		example: publishWith(func(p *codec.Properties) { p.SetText(codec.PropContentType, "") }),
	},
	{
		peer: Paho{}, dir: encoding, name: "empty binary properties are not written",
		alters:  func(m *Meaning, _ []byte) { m.drop(emptyData) },
		example: publishWith(func(p *codec.Properties) { p.SetBytes(codec.PropCorrelationData, nil) }),
	},
	{
		peer: Paho{}, dir: decoding | encoding, name: "there is room for one Subscription Identifier, the last",
		alters: func(m *Meaning, _ []byte) {
			left := 0
			for _, p := range m.Props {
				if p.ID == codec.PropSubscriptionID {
					left++
				}
			}
			m.drop(func(p Prop) bool {
				if p.ID != codec.PropSubscriptionID {
					return false
				}
				left--
				return left > 0
			})
		},
		example: publishWith(func(p *codec.Properties) {
			p.SetUint(codec.PropSubscriptionID, 1)
			p.SetUint(codec.PropSubscriptionID, 2)
		}),
	},
	{
		peer: Paho{}, dir: encoding, name: "the Will Properties that PUBLISH has too are not written",
		alters: func(m *Meaning, _ []byte) {
			if m.Will != nil {
				m.Will.Props = slices.DeleteFunc(m.Will.Props, func(p Prop) bool { return p.ID <= codec.PropCorrelationData })
			}
		},
		example: &codec.Connect{Version: codec.V5, HasWill: true, Will: codec.Will{Topic: "a", Props: propsWith(func(p *codec.Properties) {
			p.SetUint(codec.PropPayloadFormat, 1)
		})}},
	},
	{
		peer: Paho{}, dir: encoding, name: "without an Authentication Method, the empty one among them, the packet is not legal",
		refuses: noAuthMethod,
		example: &codec.Auth{Reason: codec.ContinueAuthentication, Props: propsWith(func(p *codec.Properties) { p.SetText(codec.PropAuthMethod, "") })},
	},
	{
		peer: Paho{}, dir: decoding, name: "a DISCONNECT of two bytes is refused",
		refuses: func(m *Meaning, frame []byte, _ codec.Side) bool {
			return m.Type == codec.TypeDisconnect && len(frame) == 2
		},
		example: &codec.Disconnect{},
	},
}

// expected returns what the peer makes of a packet that says m, or the exclusion by which it
// refuses it. The frame is nil where the peer encodes.
func expected(p Peer, dir direction, m Meaning, frame []byte, from codec.Side) (Meaning, *exclusion) {
	m = m.clone()
	for i := range exclusions {
		e := &exclusions[i]
		switch {
		case e.peer != p || e.dir&dir == 0:
		case e.alters != nil:
			e.alters(&m, frame)
		case e.refuses(&m, frame, from):
			return m, e
		}
	}
	return m, nil
}

// clone copies what exclusions alter.
func (m Meaning) clone() Meaning {
	m.Props = slices.Clone(m.Props)
	if m.Will != nil {
		w := *m.Will
		w.Props = slices.Clone(w.Props)
		m.Will = &w
	}
	return m
}

// drop removes properties, those of the Will too.
func (m *Meaning) drop(drop func(Prop) bool) {
	m.Props = slices.DeleteFunc(m.Props, drop)
	if m.Will != nil {
		m.Will.Props = slices.DeleteFunc(m.Will.Props, drop)
	}
}

func emptyText(p Prop) bool { return p.ID.Info().Kind == codec.KindString && p.Value == "" }

func emptyData(p Prop) bool { return p.ID.Info().Kind == codec.KindBinary && p.Value == "" }

// noAuthMethod says that a packet would need an Authentication Method and has none.
func noAuthMethod(m *Meaning, _ []byte, _ codec.Side) bool {
	has := func(id codec.PropID) bool {
		return slices.ContainsFunc(m.Props, func(p Prop) bool { return p.ID == id })
	}
	return !has(codec.PropAuthMethod) &&
		(m.Type == codec.TypeAuth || m.Type == codec.TypeConnect && has(codec.PropAuthData))
}

func propsWith(set func(p *codec.Properties)) codec.Properties {
	var p codec.Properties
	set(&p)
	return p
}

func publishWith(set func(p *codec.Properties)) *codec.Publish {
	return &codec.Publish{Topic: "a", Props: propsWith(set)}
}

// An exclusion that nothing needs would hide faults of ours. The table predicts what a peer does,
// so that compareAll fails where a peer is better than its exclusion; here each one is seen at work.
func TestExclusions(t *testing.T) {
	for _, e := range exclusions {
		t.Run(e.peer.Name()+"/"+e.name, func(t *testing.T) {
			from := codec.Client
			frame, err := e.example.AppendTo(nil, codec.V5)
			if err != nil {
				t.Fatalf("the example is not legal: %v", err)
			}
			d := codec.Decoder{Version: codec.V5, From: from}
			p, err := d.Decode(frame)
			if err != nil {
				from = codec.Server
				d.From = from
				if p, err = d.Decode(frame); err != nil {
					t.Fatalf("the example is legal from neither side: %v", err)
				}
			}
			m := MeaningOf(p, codec.V5)
			if err := compareAll(p, frame, codec.V5, from); err != nil {
				t.Errorf("the exclusion does not say what the peer does: %v", err)
			}
			altered := m.clone()
			switch {
			case e.alters != nil:
				if e.alters(&altered, frame); cmp.Equal(m, altered, cmpopts.EquateEmpty()) {
					t.Error("the exclusion does not apply to its example")
				}
			default:
				altered.drop(emptyText) // what an exclusion further up has taken away
				if !e.refuses(&altered, frame, from) {
					t.Error("the exclusion does not apply to its example")
				}
			}
		})
	}
}
