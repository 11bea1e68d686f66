package mutant

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
)

const (
	mqtt311 = rules.MQTT311
	mqtt5   = rules.MQTT5
	both    = rules.AnyVersion
)

// swallow keeps packets that match from the broker, which therefore sees nothing wrong.
func swallow(match func(l *Link, p *Packet) bool) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if match(l, p) {
				p.Drop()
			}
		}}
	}
}

// alterDown lets f change what the broker sends, one packet type at a time.
func alterDown[P codec.Packet](f func(l *Link, raw *Packet, p P)) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(P); ok {
				f(l, raw, p)
			}
		}}
	}
}

// upPublish lets f change the PUBLISH packets of clients.
func upPublish(f func(l *Link, raw *Packet, p *codec.Publish)) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok {
				f(l, raw, p)
			}
		}}
	}
}

// tolerateMessage keeps PUBLISH packets that match from the broker and acknowledges them as a success.
func tolerateMessage(match func(l *Link, p *codec.Publish) bool) func() *Hooks {
	return upPublish(func(l *Link, raw *Packet, p *codec.Publish) {
		if match(l, p) {
			raw.Drop()
			acknowledge(l, p)
		}
	})
}

// acknowledge answers a client's PUBLISH in the broker's place.
func acknowledge(l *Link, p *codec.Publish) {
	switch p.QoS {
	case 1:
		l.PacketToClient(&codec.Puback{PacketID: p.PacketID})
	case 2:
		l.PacketToClient(&codec.Pubrec{PacketID: p.PacketID})
	}
}

// publishBytes is the wire form of a PUBLISH with whatever topic and properties, legal or not.
func publishBytes(p *codec.Publish, topic string, props []byte, v codec.Version) []byte {
	flags := byte(p.QoS) << 1
	if p.Retain {
		flags |= 1
	}
	if p.Dup {
		flags |= 8
	}
	body := binary.BigEndian.AppendUint16(nil, uint16(len(topic)))
	body = append(body, topic...)
	if p.QoS > 0 {
		body = binary.BigEndian.AppendUint16(body, p.PacketID)
	}
	if v == codec.V5 {
		body = append(codec.AppendVarint(body, uint32(len(props))), props...)
	}
	body = append(body, p.Payload...)
	return append(codec.AppendVarint([]byte{0x30 | flags}, uint32(len(body))), body...)
}

// legalPublish reports whether a client may send the packet.
func legalPublish(l *Link, raw *Packet) bool {
	d := codec.Decoder{Version: l.Version, From: codec.Client}
	_, err := d.Decode(raw.Raw)
	return err == nil
}

// topicLength returns the length that a PUBLISH gives its Topic Name, and how many bytes are
// there for it: -1 where there is not even a length, or no PUBLISH.
func topicLength(raw []byte) (said, there int) {
	_, n := codec.Varint(raw[1:])
	if raw[0]>>4 != byte(codec.TypePublish) || n < 1 {
		return 0, -1
	}
	body := raw[1+n:]
	if len(body) < 2 {
		return len(body), len(body) - 2
	}
	return int(binary.BigEndian.Uint16(body)), len(body) - 2
}

func wildcardTopic(_ *Link, p *codec.Publish) bool { return strings.ContainsAny(p.Topic, "+#") }

func illFormedTopic(_ *Link, p *codec.Publish) bool { return !utf8.ValidString(p.Topic) }

var publishMutants = []Mutant{{
	Name: "publish/qos3-tolerated", Versions: both, Rule: "MQTT-3.3.1-4",
	Falls: []string{"MQTT-4.8.0-1"}, Falls5: []string{"MQTT-4.13.1-1"},
	New: swallow(func(_ *Link, p *Packet) bool { return p.Raw[0]&0xF6 == 0x36 }),
}, {
	Name: "publish/puback-missing", Versions: both, Rule: "MQTT-3.3.4-1",
	Falls:  []string{"MQTT-4.3.2-2", "MQTT-2.3.1-6"},
	Falls5: []string{"MQTT-4.3.2-4", "MQTT-2.2.1-5", "P-3.1.4-early-packets", "P-4.13.1-other-sessions", "MQTT-3.2.2-9"},
	New:    alterDown(func(_ *Link, raw *Packet, _ *codec.Puback) { raw.Drop() }),
}, {
	Name: "publish/pubrec-for-qos1", Versions: both, Rule: "MQTT-3.3.4-1",
	Falls:  []string{"MQTT-4.3.2-2", "MQTT-4.3.3-2"},
	Falls5: []string{"MQTT-4.3.2-4", "MQTT-4.3.3-8", "P-3.1.4-early-packets", "P-4.13.1-other-sessions", "MQTT-3.2.2-9"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Puback) {
		raw.Encode(&codec.Pubrec{PacketID: p.PacketID}, l.Version)
	}),
}, {
	Name: "publish/qos0-acknowledged", Versions: both, Rule: "MQTT-3.3.4-1",
	Falls:  []string{"MQTT-2.3.1-6"},
	Falls5: []string{"MQTT-2.2.1-5"},
	New: upPublish(func(l *Link, raw *Packet, p *codec.Publish) {
		if p.QoS == 0 && l.Connect != nil && legalPublish(l, raw) {
			l.PacketToClient(&codec.Puback{PacketID: 1})
		}
	}),
}, {
	Name: "publish/puback-foreign-id", Versions: both, Rule: "MQTT-2.3.1-6", Rule5: "MQTT-2.2.1-5",
	Falls:  []string{"MQTT-4.3.2-2"},
	Falls5: []string{"MQTT-4.3.2-4"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Puback) {
		p.PacketID ^= 0x5555
		raw.Encode(p, l.Version)
	}),
}, {
	Name: "publish/topic-beyond-packet-tolerated", Versions: both, Rule: "MQTT-3.3.2-1",
	Falls: []string{"MQTT-4.8.0-1"}, Falls5: []string{"MQTT-4.13.1-1"},
	New: swallow(func(_ *Link, p *Packet) bool {
		said, there := topicLength(p.Raw)
		return said > there && said > 0
	}),
}, {
	Name: "publish/topic-not-utf8-tolerated", Versions: mqtt311, Rule: "MQTT-3.3.2-1",
	Falls: []string{"MQTT-1.5.3-1", "MQTT-4.8.0-1"},
	New:   tolerateMessage(illFormedTopic),
}, {
	Name: "publish/topic-not-utf8-undetected", Versions: mqtt5, Rule: "MQTT-3.3.2-1", Warn: true,
	Falls: []string{"MQTT-1.5.4-1", "MQTT-4.13.1-1"},
	New:   tolerateMessage(illFormedTopic),
}, {
	Name: "publish/topic-garbled", Versions: both, Rule: "MQTT-3.3.2-1",
	Falls:  []string{"MQTT-1.5.3-1", "MQTT-4.7.3-4", "MQTT-3.3.2-3"},
	Falls5: []string{"MQTT-1.5.4-1", "MQTT-4.7.3-4", "MQTT-3.3.2-3"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		if strings.Contains(p.Topic, "ü") {
			raw.Set(publishBytes(p, strings.ReplaceAll(p.Topic, "ü", "\xFC\xFC"), p.Props.Raw(), l.Version)...)
		}
	}),
}, {
	Name: "publish/wildcard-topic-tolerated", Versions: mqtt311, Rule: "MQTT-3.3.2-2",
	Falls: []string{"MQTT-4.7.1-1", "MQTT-4.8.0-1"},
	New:   swallow(func(l *Link, p *Packet) bool { q, ok := p.Packet.(*codec.Publish); return ok && wildcardTopic(l, q) }),
}, {
	Name: "publish/wildcard-topic-undetected", Versions: mqtt5, Rule: "MQTT-3.3.2-2", Warn: true,
	Falls: []string{"MQTT-4.7.0-1", "MQTT-4.7.1-1", "MQTT-4.13.1-1"},
	New:   tolerateMessage(wildcardTopic),
}, {
	Name: "publish/wildcard-topic-forwarded", Versions: both, Rule: "MQTT-3.3.2-2",
	Falls:  []string{"MQTT-4.7.1-1", "MQTT-4.8.0-1"},
	Falls5: []string{"MQTT-4.7.0-1", "MQTT-4.7.1-1", "MQTT-4.13.1-1"},
	New: upPublish(func(l *Link, raw *Packet, p *codec.Publish) {
		if wildcardTopic(l, p) {
			raw.Set(publishBytes(p, strings.NewReplacer("+", "a", "#", "a").Replace(p.Topic), p.Props.Raw(), l.Version)...)
		}
	}),
}, {
	Name: "publish/topic-refused-by-code", Versions: mqtt5,
	Legal: "an acknowledgement with an error code may refuse a Topic Name with wildcards",
	New: upPublish(func(l *Link, raw *Packet, p *codec.Publish) {
		switch {
		case !wildcardTopic(l, p):
		case p.QoS == 1:
			raw.Drop()
			l.PacketToClient(&codec.Puback{PacketID: p.PacketID, Reason: codec.TopicNameInvalid})
		case p.QoS == 2:
			raw.Drop()
			l.PacketToClient(&codec.Pubrec{PacketID: p.PacketID, Reason: codec.TopicNameInvalid})
		}
	}),
}, {
	Name: "publish/empty-topic-tolerated", Versions: mqtt5, Rule: "P-3.3.2.1-empty-topic-without-alias",
	Falls: []string{"MQTT-4.7.3-1", "MQTT-4.13.1-1"},
	New: upPublish(func(l *Link, raw *Packet, p *codec.Publish) {
		if said, there := topicLength(raw.Raw); said == 0 && there >= 0 && !p.Props.Has(codec.PropTopicAlias) {
			raw.Drop()
			acknowledge(l, p)
		}
	}),
}, {
	Name: "publish/delivered-beyond-filter", Versions: both, Rule: "MQTT-3.3.2-3",
	Falls:  []string{"MQTT-4.7.1-3", "MQTT-4.7.1-2"},
	Falls5: []string{"MQTT-4.7.1-1", "MQTT-4.7.1-2", "P-4.7.1-match-table"},
	New:    deliveredBeyondFilter,
}, {
	Name: "publish/late-close", Versions: both,
	Legal: "no deadline is set for the end of the connection after a faulty packet",
	New: func() *Hooks {
		return &Hooks{Gone: func(l *Link) bool {
			l.After(shortDelay, l.CloseClient)
			return true
		}}
	},
}}

// deliveredBeyondFilter takes the wildcard + for any number of levels.
func deliveredBeyondFilter() *Hooks {
	return &Hooks{Up: func(l *Link, raw *Packet) {
		switch p := raw.Packet.(type) {
		case *codec.Subscribe:
			for _, s := range p.Filters {
				l.State[s.Filter] = true
			}
		case *codec.Publish:
			for _, other := range l.Proxy.Links() {
				for filter := range other.State {
					base, ok := strings.CutSuffix(filter, "/+")
					if ok && other.Version == l.Version && strings.HasPrefix(p.Topic, base+"/") && strings.Count(p.Topic, "/") > strings.Count(filter, "/") {
						other.PacketToClient(&codec.Publish{Topic: p.Topic, Payload: p.Payload})
					}
				}
			}
		}
	}}
}
