package mutant

import (
	"github.com/mqlab/mqlab/codec"
)

var propertyCodeMutants = []Mutant{
	ignoredFault("length-overrun", "P-2.2.2.1-property-length-overrun"),
	ignoredFault("unknown-identifier", "P-2.2.2.2-unknown-identifier"),
	ignoredFault("identifier-of-another-packet", "P-2.2.2.2-identifier-wrong-packet"),
	takenFault("length-overrun", "P-2.2.2.1-property-length-overrun"),
	takenFault("unknown-identifier", "P-2.2.2.2-unknown-identifier"),
	takenFault("identifier-of-another-packet", "P-2.2.2.2-identifier-wrong-packet"),
	{
		Name: "propertycode/unknown-identifier-in-disconnect", Versions: mqtt5, Rule: "P-2.2.2.2-unknown-identifier",
		Falls: []string{"MQTT-3.14.1-1"},
		New: func() *Hooks {
			return &Hooks{Up: func(l *Link, p *Packet) {
				if p.Raw[0]>>4 == byte(codec.TypeDisconnect) && breaksRule(l, p.Raw, "P-2.2.2.2-unknown-identifier") {
					p.Encode(&codec.Disconnect{}, l.Version)
				}
			}}
		},
	},
	{
		Name: "propertycode/order-refused-in-connect", Versions: mqtt5, Rule: "P-2.2.2.2-order-free",
		New: func() *Hooks {
			return &Hooks{Up: func(l *Link, p *Packet) {
				c, ok := p.Packet.(*codec.Connect)
				if !ok || c != l.Connect || inOrder(&c.Props, codec.PropReceiveMaximum, codec.PropTopicAliasMaximum) {
					return
				}
				p.Drop()
				l.ToClient(0x20, 3, 0, byte(codec.MalformedPacket), 0)
				l.CloseClient()
			}}
		},
	},
	{
		Name: "propertycode/late-property-lost", Versions: mqtt5, Rule: "P-2.2.2.2-order-free",
		New: upPublish(func(l *Link, raw *Packet, p *codec.Publish) {
			if !inOrder(&p.Props, codec.PropContentType, codec.PropCorrelationData) {
				p.Props.Remove(codec.PropContentType)
				raw.reencode(p, l.Version)
			}
		}),
	},
}

// ignoredFault is a mutant that does not mind a fault behind CONNECT.
func ignoredFault(name, rule string) Mutant {
	return Mutant{
		Name: "propertycode/" + name, Versions: mqtt5, Rule: rule, Falls: []string{"MQTT-4.13.1-1", "P-2.2.2.1-property-length-overrun"},
		New: swallow(func(l *Link, p *Packet) bool {
			t := codec.Type(p.Raw[0] >> 4)
			return t != codec.TypeConnect && t != codec.TypeDisconnect && breaksRule(l, p.Raw, rule)
		}),
	}
}

// takenFault is a mutant that does not mind a fault in CONNECT.
func takenFault(name, rule string) Mutant {
	return Mutant{
		Name: "propertycode/" + name + "-in-connect", Versions: mqtt5, Rule: rule, Falls: []string{"MQTT-3.1.4-1", "P-2.2.2.1-property-length-overrun"},
		New: func() *Hooks {
			return &Hooks{Up: func(l *Link, p *Packet) {
				if p.Raw[0]>>4 == byte(codec.TypeConnect) && breaksRule(l, p.Raw, rule) && !connectHas(p.Raw, malformedConnectFaults...) {
					p.Encode(replacement(l), codec.V5)
				}
			}}
		},
	}
}

// inOrder reports whether the first property does not stand behind the second.
func inOrder(props *codec.Properties, first, second codec.PropID) bool {
	behind := false
	for pr, ok := range props.All() {
		if ok && pr.ID == second {
			behind = true
		}
		if ok && pr.ID == first && behind {
			return false
		}
	}
	return true
}
