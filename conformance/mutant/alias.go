package mutant

import "github.com/mqlab/mqlab/codec"

// aliasMax returns the Topic Alias Maximum that the client announced.
func aliasMax(l *Link) uint32 {
	if l.Connect == nil {
		return 0
	}
	return l.Connect.Props.Uint(codec.PropTopicAliasMaximum, 0)
}

// outboundAlias puts an alias on messages to clients that take aliases and get the topic in full.
func outboundAlias(alias func(maximum uint32) uint32) func() *Hooks {
	return alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		if aliasMax(l) == 0 || p.Topic == "" || p.Props.Has(codec.PropTopicAlias) {
			return
		}
		a := alias(aliasMax(l))
		props := append([]byte{byte(codec.PropTopicAlias), byte(a >> 8), byte(a)}, p.Props.Raw()...)
		raw.Set(publishBytes(p, p.Topic, props, l.Version)...)
	})
}

// mapAliases keeps track of the aliases that each connection has set. seen is told of each
// PUBLISH with an alias, and the topic that the connection mapped it to before, if any.
func mapAliases(seen func(l *Link, raw *Packet, p *codec.Publish, alias uint32, known string)) func() *Hooks {
	return func() *Hooks {
		mapped := map[*Link]map[uint32]string{}
		return &Hooks{Up: func(l *Link, raw *Packet) {
			p, ok := raw.Packet.(*codec.Publish)
			if !ok || !p.Props.Has(codec.PropTopicAlias) {
				return
			}
			if mapped[l] == nil {
				mapped[l] = map[uint32]string{}
			}
			a := p.Props.Uint(codec.PropTopicAlias, 0)
			seen(l, raw, p, a, mapped[l][a])
			if p.Topic != "" {
				mapped[l][a] = p.Topic
			}
		}}
	}
}

// twice reports whether the message carries the property more than once.
func twice(p *codec.Publish, id codec.PropID) bool {
	n := 0
	for pr := range p.Props.All() {
		if pr.ID == id {
			n++
		}
	}
	return n > 1
}

var aliasMutants = []Mutant{{
	Name: "alias/above-maximum-of-client", Versions: mqtt5, Rule: "MQTT-3.3.2-11",
	Falls: []string{"MQTT-3.1.2-26", "MQTT-3.1.2-27"},
	New:   outboundAlias(func(most uint32) uint32 { return most + 1 }),
}, {
	Name: "alias/zero-sent", Versions: mqtt5, Rule: "MQTT-3.3.2-8",
	Falls: []string{"MQTT-3.3.2-11", "MQTT-3.1.2-26", "P-3.3.4-topic-alias-range"},
	New:   outboundAlias(func(uint32) uint32 { return 0 }),
}, {
	Name: "alias/zero-undetected", Versions: mqtt5, Rule: "MQTT-3.3.2-8", Warn: true,
	Falls: []string{"P-3.3.4-topic-alias-range", "MQTT-4.13.1-1"},
	New: tolerateMessage(func(_ *Link, p *codec.Publish) bool {
		return p.Props.Has(codec.PropTopicAlias) && p.Props.Uint(codec.PropTopicAlias, 1) == 0
	}),
}, {
	Name: "alias/above-maximum-undetected", Versions: mqtt5, Rule: "P-3.3.4-topic-alias-range", Warn: true,
	Falls: []string{"MQTT-3.2.2-17", "MQTT-3.2.2-18", "MQTT-4.13.1-1"},
	New:   tolerateMessage(func(_ *Link, p *codec.Publish) bool { return p.Props.Uint(codec.PropTopicAlias, 0) > 64 }),
}, {
	Name: "alias/highest-refused", Versions: mqtt5, Rule: "MQTT-3.3.2-12",
	New: upPublish(func(l *Link, raw *Packet, p *codec.Publish) {
		if p.Props.Uint(codec.PropTopicAlias, 0) == 64 {
			raw.Drop()
			l.PacketToClient(&codec.Disconnect{Reason: codec.TopicAliasInvalid})
			l.CloseBroker()
		}
	}),
}, {
	Name: "alias/highest-message-lost", Versions: mqtt5, Rule: "MQTT-3.3.2-12",
	New: tolerateMessage(func(_ *Link, p *codec.Publish) bool {
		return p.Props.Uint(codec.PropTopicAlias, 0) == 64 && p.Topic == ""
	}),
}, {
	Name: "alias/wrong-topic", Versions: mqtt5, Rule: "MQTT-3.3.2-12",
	New: mapAliases(func(l *Link, raw *Packet, p *codec.Publish, a uint32, known string) {
		if p.Topic == "" && a > 1 && known != "" {
			p.Topic = known + "/elsewhere"
			p.Props.Remove(codec.PropTopicAlias)
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "alias/carried-over", Versions: mqtt5, Rule: "MQTT-3.3.2-7",
	New: func() *Hooks {
		earlier := map[string]string{}
		return mapAliases(func(l *Link, raw *Packet, p *codec.Publish, a uint32, known string) {
			if l.Connect == nil {
				return
			}
			if p.Topic != "" {
				earlier[l.Connect.ClientID] = p.Topic
				return
			}
			if topic := earlier[l.Connect.ClientID]; known == "" && topic != "" {
				p.Topic = topic
				raw.Encode(p, l.Version)
			}
		})()
	},
}, {
	Name: "alias/unknown-acknowledged", Versions: mqtt5, Rule: "P-3.3.4-topic-alias-unknown",
	Falls: []string{"MQTT-4.13.1-1"},
	New: mapAliases(func(l *Link, raw *Packet, p *codec.Publish, _ uint32, known string) {
		if p.Topic == "" && known == "" {
			raw.Drop()
			acknowledge(l, p)
		}
	}),
}, {
	Name: "alias/first-mapping-stays", Versions: mqtt5, Rule: "P-3.3.4-topic-alias-remap",
	New: mapAliases(func(l *Link, raw *Packet, p *codec.Publish, _ uint32, known string) {
		if p.Topic != "" && known != "" {
			p.Props.Remove(codec.PropTopicAlias)
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "alias/remapping-refused", Versions: mqtt5, Rule: "P-3.3.4-topic-alias-remap",
	New: mapAliases(func(l *Link, raw *Packet, p *codec.Publish, _ uint32, known string) {
		if p.Topic != "" && known != "" && known != p.Topic {
			raw.Drop()
			l.CloseBroker()
		}
	}),
}, {
	Name: "alias/twice-undetected", Versions: mqtt5, Rule: "P-3.3.2.3.4-topic-alias-duplicate", Warn: true,
	Falls: []string{"MQTT-4.13.1-1"},
	New:   tolerateMessage(func(_ *Link, p *codec.Publish) bool { return twice(p, codec.PropTopicAlias) }),
}}
