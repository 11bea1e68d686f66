package mutant

import (
	"strings"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

var connackPropertyMutants = []Mutant{
	connackWith("duplicate", "P-3.2.2.3-connack-duplicates",
		byte(codec.PropServerKeepAlive), 0, 60, byte(codec.PropServerKeepAlive), 0, 60),
	{
		// Only where it is asked with the longest Keep Alive: what is announced guides other checks.
		Name: "connackprops/receive-maximum-zero", Versions: mqtt5, Rule: "P-3.2.2.3.3-receive-maximum-zero",
		New: alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
			if l.Connect != nil && l.Connect.KeepAlive == 65535 {
				addToConnack(raw, p, byte(codec.PropReceiveMaximum), 0, 0)
			}
		}),
	},
	connackWith("maximum-qos-2", "P-3.2.2.3.4-maximum-qos-value", byte(codec.PropMaximumQoS), 2),
	connackWith("retain-available-2", "P-3.2.2.3.5-retain-available-value", byte(codec.PropRetainAvailable), 2),
	{
		Name: "connackprops/maximum-packet-size-zero", Versions: mqtt5, Rule: "P-3.2.2.3.6-maximum-packet-size-zero",
		Falls: []string{"P-3.2.2.3.6-packet-too-large"}, // every packet is larger than that
		New: alterDown(func(_ *Link, raw *Packet, p *codec.Connack) {
			if p.Reason == codec.Success {
				addToConnack(raw, p, byte(codec.PropMaximumPacketSize), 0, 0, 0, 0)
			}
		}),
	},
	connackWith("wildcard-available-2", "P-3.2.2.3.11-wildcard-value", byte(codec.PropWildcardAvailable), 2),
	connackWith("subscription-identifiers-available-2", "P-3.2.2.3.12-subscription-identifiers-value", byte(codec.PropSubscriptionIDsAvail), 2),
	connackWith("shared-available-2", "P-3.2.2.3.13-shared-value", byte(codec.PropSharedSubscriptionsAvl), 2),
	{
		Name: "connackprops/client-id-replaced", Versions: mqtt5, Rule: "P-3.2.2.3.7-assigned-id-use",
		New: alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
			if l.Connect != nil && l.Connect.ClientID != "" && p.Reason == codec.Success {
				p.Props.SetText(codec.PropAssignedClientID, "another")
				raw.reencode(p, codec.V5)
			}
		}),
	},
	{
		Name: "connackprops/client-id-confirmed", Versions: mqtt5, Legal: "to name the client's own identifier again replaces nothing",
		New: alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
			if l.Connect != nil && l.Connect.ClientID != "" && codec.ValidString(l.Connect.ClientID) && p.Reason == codec.Success {
				p.Props.SetText(codec.PropAssignedClientID, l.Connect.ClientID)
				raw.reencode(p, codec.V5)
			}
		}),
	},
	{
		Name: "connackprops/stored-id-assigned-again", Versions: mqtt5, Rule: "MQTT-3.2.2-16",
		Falls: []string{"MQTT-3.1.3-6", "MQTT-3.1.3-7"},
		New: func() *Hooks {
			stored := ""
			return alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
				id := p.Props.Text(codec.PropAssignedClientID)
				switch {
				case id == "" || l.Connect == nil:
				case l.Connect.Props.Uint(codec.PropSessionExpiry, 0) > 0:
					stored = id
				case stored != "":
					p.Props.SetText(codec.PropAssignedClientID, stored)
					raw.reencode(p, codec.V5)
				}
			})()
		},
	},
	{
		Name: "connackprops/assigned-id-left-out-once", Versions: mqtt5, Rule: "MQTT-3.2.2-16",
		Falls: []string{"MQTT-3.1.3-6", "MQTT-3.1.3-7"},
		New: alterDown(func(_ *Link, raw *Packet, p *codec.Connack) {
			if p.Props.Has(codec.PropAssignedClientID) {
				p.Props.Remove(codec.PropAssignedClientID)
				raw.reencode(p, codec.V5)
			}
		}),
	},
	{
		Name: "connackprops/response-information-unasked", Versions: mqtt5, Rule: "MQTT-3.1.2-28",
		New: alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
			if l.Connect != nil && p.Reason == codec.Success && l.Connect.Props.Uint(codec.PropRequestResponseInfo, 0) == 0 {
				p.Props.SetText(codec.PropResponseInfo, "answers")
				raw.reencode(p, codec.V5)
			}
		}),
	},
	{
		Name: "connackprops/response-information", Versions: mqtt5, Legal: "Response Information may be sent to whoever asks for it",
		Broker: broker.Config{ResponseInformation: "answers"}, New: plainly,
	},
	{
		Name: "connackprops/reason-string-too-long", Versions: mqtt5, Rule: "MQTT-3.2.2-19",
		Falls:  []string{"MQTT-3.1.2-24"},
		Broker: broker.Config{AckProperties: true},
		New: alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
			if limit := smallLimit(l); limit > 0 {
				p.Props.Remove(codec.PropUserProperty)
				p.Props.SetText(codec.PropReasonString, strings.Repeat("~", limit))
				raw.reencode(p, codec.V5)
			}
		}),
	},
	{
		Name: "connackprops/user-property-too-long", Versions: mqtt5, Rule: "MQTT-3.2.2-20",
		Falls:  []string{"MQTT-3.1.2-24"},
		Broker: broker.Config{AckProperties: true},
		New: alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
			if limit := smallLimit(l); limit > 0 {
				p.Props.Remove(codec.PropReasonString)
				p.Props.AddUser("filler", strings.Repeat("~", limit))
				raw.reencode(p, codec.V5)
			}
		}),
	},
	{
		Name: "connackprops/too-long-is-no-connack", Versions: mqtt5, Legal: "whoever has no room for a refusal gets a bare close",
		Broker: broker.Config{AckProperties: true},
		New: alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
			if p.Reason != codec.Success && smallLimit(l) > 0 {
				raw.Drop()
			}
		}),
	},
}

// connackWith is a mutant that adds the properties to each CONNACK that accepts.
func connackWith(name, rule string, list ...byte) Mutant {
	return Mutant{Name: "connackprops/" + name, Versions: mqtt5, Rule: rule, New: alterDown(func(_ *Link, raw *Packet, p *codec.Connack) {
		if p.Reason == codec.Success {
			addToConnack(raw, p, list...)
		}
	})}
}

// addToConnack adds properties, which may be illegal.
func addToConnack(raw *Packet, p *codec.Connack, list ...byte) {
	flags := byte(0)
	if p.SessionPresent {
		flags = 1
	}
	list = append(append([]byte(nil), p.Props.Raw()...), list...)
	body := codec.AppendVarint([]byte{flags, byte(p.Reason)}, uint32(len(list)))
	body = append(body, list...)
	raw.Set(append(codec.AppendVarint([]byte{0x20}, uint32(len(body))), body...)...)
}

// ServerReferenceAlways puts a Server Reference on every CONNACK, which is worth a remark and
// nothing more.
func ServerReferenceAlways() *Hooks {
	return alterDown(func(_ *Link, raw *Packet, p *codec.Connack) {
		p.Props.SetText(codec.PropServerReference, "elsewhere:1883")
		raw.reencode(p, codec.V5)
	})()
}

// smallLimit returns the Maximum Packet Size of a client that leaves little room, 0 for others.
func smallLimit(l *Link) int {
	if l.Connect == nil {
		return 0
	}
	if limit := l.Connect.Props.Uint(codec.PropMaximumPacketSize, 0); limit < 1000 {
		return int(limit)
	}
	return 0
}
