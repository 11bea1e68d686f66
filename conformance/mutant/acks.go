package mutant

import (
	"strings"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

var ackMutants = []Mutant{
	wrongCode("acks/puback-with-foreign-code", "MQTT-3.4.2-1", codec.TypePuback, codec.NoSubscriptionExisted),
	wrongCode("acks/pubrec-with-foreign-code", "MQTT-3.5.2-1", codec.TypePubrec, codec.NoSubscriptionExisted),
	wrongCode("acks/pubrel-with-foreign-code", "MQTT-3.6.2-1", codec.TypePubrel, codec.NoMatchingSubscribers),
	wrongCode("acks/pubcomp-with-foreign-code", "MQTT-3.7.2-1", codec.TypePubcomp, codec.NoMatchingSubscribers),
	tooLarge("acks/puback-reason-string-too-large", "MQTT-3.4.2-2", codec.TypePuback, codec.PropReasonString),
	tooLarge("acks/puback-user-property-too-large", "MQTT-3.4.2-3", codec.TypePuback, codec.PropUserProperty),
	tooLarge("acks/pubrec-reason-string-too-large", "MQTT-3.5.2-2", codec.TypePubrec, codec.PropReasonString),
	tooLarge("acks/pubrec-user-property-too-large", "MQTT-3.5.2-3", codec.TypePubrec, codec.PropUserProperty),
	tooLarge("acks/pubrel-reason-string-too-large", "MQTT-3.6.2-2", codec.TypePubrel, codec.PropReasonString),
	tooLarge("acks/pubrel-user-property-too-large", "MQTT-3.6.2-3", codec.TypePubrel, codec.PropUserProperty),
	tooLarge("acks/pubcomp-reason-string-too-large", "MQTT-3.7.2-2", codec.TypePubcomp, codec.PropReasonString),
	tooLarge("acks/pubcomp-user-property-too-large", "MQTT-3.7.2-3", codec.TypePubcomp, codec.PropUserProperty),
	{
		Name: "acks/form-with-code-alone-refused", Versions: mqtt5, Rule: "P-3.4.2.1-short-ack",
		Falls: []string{"MQTT-4.3.3-4"},
		New: func() *Hooks {
			return &Hooks{Up: func(l *Link, raw *Packet) {
				if ack := isAck(raw.Packet); ack && len(raw.Raw) == 5 && raw.Raw[4] == 0 {
					raw.Drop()
					l.CloseBroker()
				}
			}}
		},
	},
	{
		Name: "acks/form-with-property-length-unheard", Versions: mqtt5, Rule: "P-3.4.2.1-short-ack",
		Falls: []string{"MQTT-4.3.3-4"},
		New: swallow(func(_ *Link, raw *Packet) bool {
			return isAck(raw.Packet) && len(raw.Raw) == 6 && raw.Raw[4] == 0
		}),
	},
	{
		Name: "acks/second-reason-string-undetected", Versions: mqtt5, Rule: "P-3.4.2.2-ack-reason-string-duplicate", Warn: true,
		New: swallow(func(_ *Link, raw *Packet) bool {
			typ := codec.Type(raw.Raw[0] >> 4)
			return typ >= codec.TypePuback && typ <= codec.TypePubcomp && len(raw.Raw) == 16
		}),
	},
	{
		Name: "acks/two-reason-strings-from-the-server", Versions: mqtt5, Rule: "P-3.4.2.2-ack-reason-string-duplicate",
		Falls: []string{"MQTT-3.1.2-29"},
		New: alterDown(func(_ *Link, raw *Packet, p *codec.Puback) {
			if p.Props.Empty() {
				one := string([]byte{byte(codec.PropReasonString), 0, 1, '?'})
				raw.Set(append([]byte{0x40, 12, byte(p.PacketID >> 8), byte(p.PacketID), byte(p.Reason), 8}, one+one...)...)
			}
		}),
	},
	{
		Name: "acks/unknown-id-ends-other-connections", Versions: mqtt5, Rule: "P-3.4.4-unknown-puback",
		New: func() *Hooks {
			return &Hooks{Up: func(l *Link, raw *Packet) {
				typ, id := ackID(raw.Packet)
				if typ != codec.TypePuback || id != 999 {
					return
				}
				// The whole suite runs over this proxy: only the connections of the same check end.
				check := func(l *Link) string {
					id := clientID(l)
					return id[:max(0, strings.LastIndexByte(id, 'c'))]
				}
				for _, other := range l.Proxy.Links() {
					if other != l && check(other) == check(l) {
						other.CloseClient()
					}
				}
			}}
		},
	},
	{
		Name: "acks/unknown-id-ends-its-connection", Versions: mqtt5,
		Legal: "no reaction to an acknowledgement with an unknown Packet Identifier is stated",
		New: func() *Hooks {
			return &Hooks{Up: func(l *Link, raw *Packet) {
				if typ, id := ackID(raw.Packet); typ != 0 && (id == 999 || id == 998) {
					raw.Drop()
					l.CloseBroker()
				}
			}}
		},
	},
	{
		Name: "acks/unknown-pubrec-answered", Versions: mqtt5,
		Legal: "PUBREL with 0x92 may answer a PUBREC with an unknown Packet Identifier",
		New: func() *Hooks {
			return &Hooks{Up: func(l *Link, raw *Packet) {
				if p, ok := raw.Packet.(*codec.Pubrec); ok && p.PacketID > 700 && p.PacketID < 0x0800 {
					raw.Drop()
					l.PacketToClient(&codec.Pubrel{PacketID: p.PacketID, Reason: codec.PacketIDNotFound})
				}
			}}
		},
	},
	{
		Name: "acks/in-the-longest-form", Versions: mqtt5,
		Legal: "an acknowledgement may spell out code 0x00 and an empty property set",
		New: func() *Hooks {
			return &Hooks{Down: func(_ *Link, raw *Packet) {
				if isAck(raw.Packet) && len(raw.Raw) == 4 {
					raw.Raw = append([]byte{raw.Raw[0], 4, raw.Raw[2], raw.Raw[3]}, 0, 0)
				}
			}}
		},
	},
	{
		Name: "acks/no-matching-subscribers", Versions: mqtt5,
		Legal: "PUBACK and PUBREC may say that nobody has subscribed",
		New: func() *Hooks {
			return &Hooks{Down: func(_ *Link, raw *Packet) {
				typ := raw.Raw[0] >> 4
				if (typ == byte(codec.TypePuback) || typ == byte(codec.TypePubrec)) && len(raw.Raw) == 4 {
					raw.Raw = append([]byte{raw.Raw[0], 3, raw.Raw[2], raw.Raw[3]}, byte(codec.NoMatchingSubscribers))
				}
			}}
		},
	},
}

// isAck reports one of the four acknowledgements.
func isAck(p codec.Packet) bool {
	_, ok := p.(*codec.Pubrel)
	typ, _ := ackID(p)
	return ok || typ != 0
}

// wrongCode puts a code that only other packets have on each acknowledgement of the type that
// reports success.
func wrongCode(name, rule string, typ codec.Type, code codec.ReasonCode) Mutant {
	return Mutant{Name: name, Versions: mqtt5, Rule: rule, New: func() *Hooks {
		return &Hooks{Down: func(_ *Link, raw *Packet) {
			if raw.Raw[0]>>4 == byte(typ) && len(raw.Raw) == 4 {
				raw.Raw = append([]byte{raw.Raw[0], 3, raw.Raw[2], raw.Raw[3]}, byte(code))
			}
		}}
	}}
}

// tooLarge adds a long property to each acknowledgement of the type to a client with a small
// Maximum Packet Size.
func tooLarge(name, rule string, typ codec.Type, id codec.PropID) Mutant {
	return Mutant{
		Name: name, Versions: mqtt5, Rule: rule, Falls: []string{"MQTT-3.1.2-24"}, Broker: broker.Config{AckProperties: true},
		New: func() *Hooks {
			return &Hooks{Down: func(l *Link, raw *Packet) {
				if l.Connect == nil || !l.Connect.Props.Has(codec.PropMaximumPacketSize) || raw.Raw[0]>>4 != byte(typ) {
					return
				}
				var props codec.Properties
				if id == codec.PropReasonString {
					props.SetText(id, strings.Repeat("because ", 10))
				} else {
					props.AddUser("why", strings.Repeat("because ", 10))
				}
				switch p := raw.Packet.(type) {
				case *codec.Puback:
					p.Props = props
				case *codec.Pubrec:
					p.Props = props
				case *codec.Pubrel:
					p.Props = props
				case *codec.Pubcomp:
					p.Props = props
				default:
					return
				}
				raw.Encode(raw.Packet, l.Version)
			}}
		},
	}
}
