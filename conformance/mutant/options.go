package mutant

import (
	"strings"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

// plainly passes everything: what is unusual is the broker's configuration.
func plainly() *Hooks { return &Hooks{} }

var optionMutants = []Mutant{{
	Name: "options/no-local-ignored", Versions: mqtt5, Rule: "MQTT-3.8.3-3",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			q, ok := p.Packet.(*codec.Subscribe)
			if !ok || !legal(l, p) {
				return
			}
			for i := range q.Filters {
				q.Filters[i].NoLocal = false
			}
			p.reencode(q, l.Version)
		}}
	},
}, {
	Name: "options/no-local-forgotten-on-resume", Versions: mqtt5, Rule: "MQTT-3.8.3-3",
	New: func() *Hooks {
		type key struct{ client, topic string }
		local, resumed, own := map[key]codec.QoS{}, map[*Link]bool{}, extras{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				own.up(l, p)
				switch q := p.Packet.(type) {
				case *codec.Subscribe:
					for _, f := range q.Filters {
						if f.NoLocal && l.Connect != nil {
							local[key{l.Connect.ClientID, f.Filter}] = f.QoS
						}
					}
				case *codec.Publish:
					if l.Connect == nil || !resumed[l] || q.Topic == "" {
						return
					}
					if qos, ok := local[key{l.Connect.ClientID, q.Topic}]; ok {
						cp := *q
						cp.QoS, cp.Retain = min(q.QoS, qos), false
						own.send(l, &cp)
					}
				}
			},
			Down: func(l *Link, p *Packet) {
				if a, ok := p.Packet.(*codec.Connack); ok {
					resumed[l] = a.SessionPresent
				}
			},
		}
	},
}, {
	Name: "options/identifier-cut-to-two-bytes", Versions: mqtt5, Rule: "P-3.8.2.1.2-subscription-identifier-range",
	Falls5: []string{"P-3.3.4-foreign-subscription-identifier"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		if id := p.Props.Uint(codec.PropSubscriptionID, 0); id >= 1<<14 {
			p.Props.Remove(codec.PropSubscriptionID)
			p.Props.SetUint(codec.PropSubscriptionID, max(1, id&(1<<14-1)))
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "options/identifier-not-replaced", Versions: mqtt5, Rule: "P-3.8.4-identifier-replaced",
	Falls5: []string{"MQTT-3.8.4-3"},
	New: func() *Hooks {
		ids := map[*Link]map[string]uint32{}
		return &Hooks{Up: func(l *Link, p *Packet) {
			q, ok := p.Packet.(*codec.Subscribe)
			if !ok || len(q.Filters) != 1 || !legal(l, p) {
				return
			}
			if ids[l] == nil {
				ids[l] = map[string]uint32{}
			}
			f := q.Filters[0].Filter
			old, again := ids[l][f]
			switch {
			case again && old > 0:
				q.Props.Remove(codec.PropSubscriptionID)
				q.Props.SetUint(codec.PropSubscriptionID, old)
				p.reencode(q, l.Version)
			case !again:
				ids[l][f] = q.Props.Uint(codec.PropSubscriptionID, 0)
			}
		}}
	},
}, {
	Name: "options/suback-reason-string-too-large", Versions: mqtt5, Rule: "MQTT-3.9.2-1",
	Falls5: []string{"MQTT-3.1.2-24"}, Broker: broker.Config{AckProperties: true},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Suback) {
		if limited(l, raw) && !p.Props.Has(codec.PropReasonString) {
			p.Props.SetText(codec.PropReasonString, strings.Repeat("because ", 10))
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "options/suback-user-property-too-large", Versions: mqtt5, Rule: "MQTT-3.9.2-2",
	Falls5: []string{"MQTT-3.1.2-24"}, Broker: broker.Config{AckProperties: true},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Suback) {
		if limited(l, raw) && !p.Props.Has(codec.PropUserProperty) {
			p.Props.Remove(codec.PropReasonString)
			p.Props.AddUser("why", strings.Repeat("because ", 10))
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "options/unsuback-reason-string-too-large", Versions: mqtt5, Rule: "MQTT-3.11.2-1",
	Falls5: []string{"MQTT-3.1.2-24"}, Broker: broker.Config{AckProperties: true},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Unsuback) {
		if limited(l, raw) && !p.Props.Has(codec.PropReasonString) {
			p.Props.SetText(codec.PropReasonString, strings.Repeat("because ", 10))
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "options/unsuback-user-property-too-large", Versions: mqtt5, Rule: "MQTT-3.11.2-2",
	Falls5: []string{"MQTT-3.1.2-24"}, Broker: broker.Config{AckProperties: true},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Unsuback) {
		if limited(l, raw) && !p.Props.Has(codec.PropUserProperty) {
			p.Props.Remove(codec.PropReasonString)
			p.Props.AddUser("why", strings.Repeat("because ", 10))
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "options/two-reason-strings-in-suback", Versions: mqtt5, Rule: "P-3.9.2.1.2-reason-string-duplicate",
	Falls: []string{"MQTT-3.1.2-29"},
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Suback) {
		if len(p.Reasons) == 1 && p.Props.Empty() {
			raw.Set(append(twoReasonStrings(0x90, p.PacketID), byte(p.Reasons[0]))...)
		}
	}),
}, {
	Name: "options/two-reason-strings-in-unsuback", Versions: mqtt5, Rule: "P-3.9.2.1.2-reason-string-duplicate",
	Falls: []string{"MQTT-3.1.2-29"},
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Unsuback) {
		if len(p.Reasons) == 1 && p.Props.Empty() {
			raw.Set(append(twoReasonStrings(0xB0, p.PacketID), byte(p.Reasons[0]))...)
		}
	}),
}, {
	Name: "capabilities/no-wildcards", Versions: both, Legal: "a server may have no wildcard subscriptions",
	Broker: broker.Config{WildcardUnavailable: true}, New: plainly,
}, {
	Name: "capabilities/no-shared-subscriptions", Versions: both, Legal: "a server may have no shared subscriptions",
	Broker: broker.Config{SharedUnavailable: true}, New: plainly,
}, {
	Name: "capabilities/no-subscription-identifiers", Versions: mqtt5, Legal: "a server may have no Subscription Identifiers",
	Broker: broker.Config{SubscriptionIDsUnavailable: true}, New: plainly,
}, {
	Name: "capabilities/qos1", Versions: both, Legal: "a server may grant less than QoS 2",
	Broker: broker.Config{MaximumQoS: broker.UpToQoS1}, New: plainly,
}, {
	Name: "capabilities/qos0", Versions: both, Legal: "a server may grant QoS 0 only",
	Broker: broker.Config{MaximumQoS: broker.UpToQoS0}, New: plainly,
}, {
	Name: "capabilities/nothing-retained", Versions: mqtt5, Legal: "a server may keep no retained messages",
	Broker: broker.Config{RetainUnavailable: true}, New: plainly,
}, {
	Name: "capabilities/ack-properties", Versions: mqtt5, Legal: "every acknowledgement may carry a Reason String and User Properties",
	Broker: broker.Config{AckProperties: true}, New: plainly,
}}

// limited reports a client that set a small Maximum Packet Size which the packet keeps to, and
// that asked for so many filters that no other check is meant.
func limited(l *Link, p *Packet) bool {
	return l.Connect != nil && l.Connect.Props.Has(codec.PropMaximumPacketSize) && len(p.Raw) > 80
}

// twoReasonStrings returns the beginning of a SUBACK or UNSUBACK that repeats Reason String and
// lacks its only Reason Code.
func twoReasonStrings(first byte, id uint16) []byte {
	one := []byte{byte(codec.PropReasonString), 0, 1, '?'}
	props := append(one, one...)
	head := []byte{first, byte(2 + 1 + len(props) + 1), byte(id >> 8), byte(id), byte(len(props))}
	return append(head, props...)
}
