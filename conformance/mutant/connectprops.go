package mutant

import (
	"slices"
	"unicode/utf8"

	"github.com/mqlab/mqlab/codec"
)

var connectPropertyMutants = []Mutant{
	takenConnect("receive-maximum-twice", "P-3.1.2.11.3-receive-maximum-duplicate"),
	takenConnect("receive-maximum-zero", "P-3.1.2.11.3-receive-maximum-zero"),
	takenConnect("maximum-packet-size-twice", "P-3.1.2.11.4-maximum-packet-size-duplicate"),
	takenConnect("maximum-packet-size-zero", "P-3.1.2.11.4-maximum-packet-size-zero"),
	takenConnect("topic-alias-maximum-twice", "P-3.1.2.11.5-topic-alias-maximum-duplicate"),
	takenConnect("request-response-twice", "P-3.1.2.11.6-request-response-duplicate"),
	takenConnect("request-response-value", "P-3.1.2.11.6-request-response-value"),
	takenConnect("request-problem-twice", "P-3.1.2.11.7-request-problem-duplicate"),
	takenConnect("request-problem-value", "P-3.1.2.11.7-request-problem-value"),
	takenConnect("auth-method-twice", "P-3.1.2.11.9-auth-method-duplicate"),
	takenConnect("auth-data-without-method", "P-3.1.2.11.10-auth-data-without-method"),
	takenConnect("auth-data-twice", "P-3.1.2.11.10-auth-data-duplicate"),
	takenConnect("will-payload-format-twice", "P-3.1.3.2.3-will-payload-format-duplicate"),
	takenConnect("will-content-type-twice", "P-3.1.3.2.5-will-content-type-duplicate"),
	takenConnect("will-response-topic-twice", "P-3.1.3.2.6-will-response-topic-duplicate"),
	takenConnect("will-correlation-data-twice", "P-3.1.3.2.7-will-correlation-duplicate"),
	{
		Name: "connectprops/will-payload-format-value", Versions: mqtt5, Rule: "P-3.1.3.2.3-will-payload-format-value", Warn: true,
		New: takeConnect("P-3.1.3.2.3-will-payload-format-value"),
	},
	{
		Name: "connectprops/will-payload-not-utf8-refused-and-kept-open", Versions: mqtt5, Rule: "P-3.1.3.2.3-will-payload-not-utf8",
		Falls: []string{"MQTT-3.2.2-7", "P-3.1.4-reject-codes"},
		New:   refuseBadWill(true),
	},
	{
		Name: "connectprops/will-payload-not-utf8-refused", Versions: mqtt5, Legal: "a server may look at the payload of a Will",
		New: refuseBadWill(false),
	},
	{
		Name: "connectprops/faults-refused-by-0x81", Versions: mqtt5, Legal: "Malformed Packet fits what is a Protocol Error as well",
		New: alterDown(func(_ *Link, raw *Packet, p *codec.Connack) {
			if p.Reason == codec.ProtocolError {
				p.Reason = codec.MalformedPacket
				raw.reencode(p, codec.V5)
			}
		}),
	},
	{
		Name: "connectprops/faults-closed-silently", Versions: mqtt5, Legal: "a CONNACK before the end is optional",
		New: alterDown(func(_ *Link, raw *Packet, p *codec.Connack) {
			if p.Reason == codec.ProtocolError || p.Reason == codec.MalformedPacket {
				raw.Drop()
			}
		}),
	},
	{
		Name: "connectprops/user-property-repeated-in-connect", Versions: mqtt5, Rule: "P-3.1.2.11.8-user-property-repeat",
		New: func() *Hooks {
			return &Hooks{Up: func(l *Link, p *Packet) {
				if c, ok := p.Packet.(*codec.Connect); ok && manyOfOneName(&c.Props) {
					p.Drop()
					l.ToClient(0x20, 3, 0, byte(codec.ProtocolError), 0)
					l.CloseClient()
				}
			}}
		},
	},
	{
		Name: "connectprops/user-property-repeated-in-subscribe", Versions: mqtt5, Rule: "P-3.1.2.11.8-user-property-repeat",
		New: func() *Hooks {
			return &Hooks{Up: func(l *Link, p *Packet) {
				if s, ok := p.Packet.(*codec.Subscribe); ok && manyOfOneName(&s.Props) {
					p.Drop()
					l.CloseClient()
				}
			}}
		},
	},
	{
		Name: "connectprops/user-property-repeated-in-disconnect", Versions: mqtt5, Rule: "P-3.1.2.11.8-user-property-repeat",
		New: swallow(func(_ *Link, p *Packet) bool {
			d, ok := p.Packet.(*codec.Disconnect)
			return ok && manyOfOneName(&d.Props)
		}),
	},
	{
		Name: "connectprops/few-user-properties", Versions: mqtt5, Legal: "a server may bound the number of properties",
		New: func() *Hooks {
			return &Hooks{Up: func(l *Link, p *Packet) {
				if s, ok := p.Packet.(*codec.Subscribe); ok && userProperties(&s.Props) > 5 {
					p.Drop()
					l.PacketToClient(&codec.Disconnect{Reason: codec.QuotaExceeded})
					l.CloseClient()
				}
			}}
		},
	},
}

// takenConnect is a mutant that takes each CONNECT which breaks the rule and no other.
func takenConnect(name, rule string) Mutant {
	return Mutant{Name: "connectprops/" + name, Versions: mqtt5, Rule: rule, New: takeConnect(rule)}
}

func takeConnect(rule string) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			faults := clientFaults(l, p.Raw)
			other := slices.ContainsFunc(faults, func(f *codec.Error) bool { return !slices.Contains(f.Rules(), rule) })
			if p.Raw[0]>>4 == byte(codec.TypeConnect) && len(faults) > 0 && !other {
				p.Encode(replacement(l), l.Version)
			}
		}}
	}
}

// clientFaults returns what is wrong with a packet of the client, by the codec's reading.
func clientFaults(l *Link, raw []byte) codec.Errors {
	d := codec.Decoder{Version: l.Version, From: codec.Client, Mode: codec.Lenient}
	if raw[0]>>4 == byte(codec.TypeConnect) {
		d.Version = 0
	}
	_, err := d.Decode(raw)
	faults, _ := err.(codec.Errors)
	return faults
}

// breaksRule reports whether a packet of the client breaks the rule.
func breaksRule(l *Link, raw []byte, rule string) bool {
	return slices.ContainsFunc(clientFaults(l, raw), func(f *codec.Error) bool { return slices.Contains(f.Rules(), rule) })
}

// refuseBadWill answers a Will that is marked as text and is none in the broker's place. Held open,
// the connection outlives the broker's own end of it.
func refuseBadWill(keep bool) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			c, ok := p.Packet.(*codec.Connect)
			if !ok || !c.HasWill || c.Will.Props.Uint(codec.PropPayloadFormat, 0) != 1 || utf8.Valid(c.Will.Payload) {
				return
			}
			p.Drop()
			l.ToClient(0x20, 3, 0, byte(codec.PayloadFormatInvalid), 0)
			if keep {
				l.State["hold"] = true
			} else {
				l.CloseClient()
			}
		}, Gone: func(l *Link) bool { return l.State["hold"] != nil }}
	}
}

// userProperties counts the User Properties.
func userProperties(props *codec.Properties) int {
	n := 0
	for range props.UserProperties() {
		n++
	}
	return n
}

// manyOfOneName reports whether there are many User Properties that all have the same name.
func manyOfOneName(props *codec.Properties) bool {
	names := map[string]bool{}
	for name := range props.UserProperties() {
		names[name] = true
	}
	return len(names) == 1 && userProperties(props) > 9
}
