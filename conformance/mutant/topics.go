package mutant

import (
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
)

// misrouted delivers each message that a client publishes also to those who hold a subscription
// for which wrong says so, as a broker with a mistake in its matching would.
func misrouted(wrong func(filter, name string) bool) func() *Hooks {
	return func() *Hooks {
		known, own := subscriptions{}, extras{}
		return &Hooks{Up: func(l *Link, p *Packet) {
			known.up(l, p)
			own.up(l, p)
			q, ok := p.Packet.(*codec.Publish)
			if !ok || q.Topic == "" || q.Dup || !legal(l, p) || q.Props.Has(codec.PropTopicAlias) {
				return
			}
			for to, filters := range known {
				for f, s := range filters {
					if f != "" && wrong(f, q.Topic) && to.Version == l.Version && !to.Held {
						cp := *q
						cp.Retain, cp.QoS = false, min(q.QoS, s.QoS)
						own.send(to, &cp)
					}
				}
			}
		}}
	}
}

// alike routes by a folded form of the names.
func alike(fold func(string) string) func() *Hooks {
	return misrouted(func(filter, name string) bool {
		return filter != name && !strings.ContainsAny(filter, "+#") && fold(filter) == fold(name)
	})
}

// watching reports a filter that a client watches a whole tree with.
func watching(filters map[string]codec.Subscription, name string) bool {
	for f := range filters {
		if tree, ok := strings.CutSuffix(f, "#"); ok && strings.HasPrefix(name, tree) && tree != "" {
			return true
		}
	}
	return false
}

// relayed passes an illegal PUBLISH of QoS 1 on to whoever watches its topic, as it came.
func relayed(bad func(name string) bool) func() *Hooks {
	return func() *Hooks {
		known := subscriptions{}
		return &Hooks{Up: func(l *Link, p *Packet) {
			known.up(l, p)
			q, ok := p.Packet.(*codec.Publish)
			if !ok || !bad(q.Topic) {
				return
			}
			p.Drop()
			for to, filters := range known {
				if watching(filters, q.Topic) && to.Version == l.Version {
					to.ToClient(rawPublish(l.Version, q.Topic, q.Payload)...)
				}
			}
		}}
	}
}

var topicMutants = []Mutant{{
	Name: "topics/parent-level-missed", Versions: both, Rule: "MQTT-4.7.1-3", Rule5: "P-4.7.1-match-table",
	New: func() *Hooks {
		known := subscriptions{}
		return &Hooks{
			Up: func(l *Link, p *Packet) { known.up(l, p) },
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Publish); ok && len(known[l]) == 1 {
					if _, parent := known[l][q.Topic+"/#"]; parent {
						p.Drop()
					}
				}
			},
		}
	},
}, {
	Name: "topics/plus-spans-levels", Versions: both, Rule: "MQTT-4.7.1-3", Rule5: "P-4.7.1-match-table",
	Falls: []string{"MQTT-3.3.2-3"},
	New: misrouted(func(filter, name string) bool {
		head, ok := strings.CutSuffix(filter, "/+")
		return ok && head != "+" && !topic.Match(filter, name) && strings.HasPrefix(name, head+"/") && name[0] != '$'
	}),
}, {
	Name: "topics/plus-needs-a-character", Versions: both, Rule: "MQTT-4.7.1-3", Rule5: "P-4.7.1-match-table",
	New: func() *Hooks {
		known := subscriptions{}
		return &Hooks{
			Up: func(l *Link, p *Packet) { known.up(l, p) },
			Down: func(l *Link, p *Packet) {
				q, ok := p.Packet.(*codec.Publish)
				if !ok || len(known[l]) != 1 {
					return
				}
				if _, single := known[l][q.Topic+"+"]; single && strings.HasSuffix(q.Topic, "/") {
					p.Drop()
				}
			},
		}
	},
}, {
	Name: "topics/dollar-shown-to-wildcards", Versions: both, Rule: "MQTT-4.7.2-1",
	New: misrouted(func(filter, name string) bool {
		return name[0] == '$' && (filter == "#" || filter == "+/x" || filter == "+/#")
	}),
}, {
	Name: "topics/case-folded", Versions: both, Rule: "MQTT-4.7.3-4", Rule5: "P-4.7.3-case-and-slash",
	Falls: []string{"MQTT-3.10.4-1", "MQTT-3.3.2-3"},
	New:   alike(strings.ToLower),
}, {
	Name: "topics/slashes-trimmed", Versions: both, Rule: "MQTT-4.7.3-4", Rule5: "P-4.7.3-case-and-slash",
	Falls: []string{"MQTT-3.3.2-3"},
	New:   alike(func(s string) string { return strings.TrimRight(strings.ReplaceAll(s, "//", "/"), "/") }),
}, {
	Name: "topics/text-normalised", Versions: both, Rule: "MQTT-4.7.3-4",
	New: alike(func(s string) string {
		return strings.NewReplacer("e\u0301", "\u00E9", "\uFEFF", "", "%41", "A").Replace(s)
	}),
	Falls: []string{"MQTT-3.3.2-3", "MQTT-1.5.3-3"}, Falls5: []string{"MQTT-3.3.2-3", "MQTT-1.5.4-3", "P-4.7.3-case-and-slash"},
}, {
	Name: "topics/space-refused", Versions: mqtt5, Rule: "MQTT-4.7.3-1",
	New: tolerate(func(r *request) bool { return r.subscribe && r.any(func(f string) bool { return f == " " }) },
		answerWith(codec.TopicFilterInvalid)),
}, {
	Name: "topics/empty-name-tolerated", Versions: mqtt311, Rule: "MQTT-4.7.3-1",
	New: swallow(func(l *Link, p *Packet) bool { return isEmpty(l, p, codec.TypePublish, codec.FieldTopic) }),
}, {
	Name: "topics/empty-name-acknowledged", Versions: mqtt5, Rule: "MQTT-4.7.3-1",
	Falls5: []string{"P-3.3.2.1-empty-topic-without-alias", "P-3.3.4-topic-alias-unknown"},
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if q, ok := p.Packet.(*codec.Publish); ok && isEmpty(l, p, codec.TypePublish, codec.FieldTopic) && !q.Props.Has(codec.PropTopicAlias) {
				p.Drop()
				if q.QoS == 1 && q.PacketID != 0 {
					l.PacketToClient(&codec.Puback{PacketID: q.PacketID})
				}
			}
		}}
	},
}, {
	Name: "topics/empty-will-topic-accepted", Versions: both, Rule: "MQTT-4.7.3-1", Warn: true,
	New: acceptWill(func(name string) bool { return name == "" }),
}, {
	Name: "topics/wildcard-in-name-tolerated", Versions: mqtt311, Rule: "MQTT-4.7.1-1",
	Falls: []string{"MQTT-3.3.2-2"},
	New: swallow(func(_ *Link, p *Packet) bool {
		q, ok := p.Packet.(*codec.Publish)
		return ok && strings.ContainsAny(q.Topic, "+#")
	}),
}, {
	Name: "topics/wildcard-in-name-relayed", Versions: mqtt5, Rule: "MQTT-4.7.0-1",
	Falls5: []string{"MQTT-3.3.2-2"},
	New:    relayed(func(name string) bool { return strings.ContainsAny(name, "+#") }),
}, {
	Name: "topics/wildcard-in-name-ignored", Versions: mqtt5, Rule: "MQTT-4.7.0-1", Warn: true,
	Falls5: []string{"MQTT-3.3.2-2"},
	New: swallow(func(_ *Link, p *Packet) bool {
		q, ok := p.Packet.(*codec.Publish)
		return ok && strings.ContainsAny(q.Topic, "+#")
	}),
}, {
	Name: "topics/wildcard-in-will-topic-accepted", Versions: both, Rule: "MQTT-4.7.1-1", Rule5: "MQTT-4.7.0-1", Warn: true,
	New: acceptWill(func(name string) bool { return strings.ContainsAny(name, "+#") }),
}, {
	Name: "topics/nul-in-name-tolerated", Versions: mqtt311, Rule: "MQTT-4.7.3-2",
	Falls: []string{"MQTT-1.5.3-2"},
	New: swallow(func(_ *Link, p *Packet) bool {
		q, ok := p.Packet.(*codec.Publish)
		return ok && nulInside(q.Topic)
	}),
}, {
	Name: "topics/nul-in-name-relayed", Versions: mqtt5, Rule: "MQTT-4.7.3-2",
	Falls5: []string{"MQTT-1.5.4-2", "MQTT-3.3.2-1"},
	New:    relayed(nulInside),
}, {
	Name: "topics/nul-in-will-topic-accepted", Versions: mqtt5, Rule: "MQTT-4.7.3-2", Warn: true,
	Falls5: []string{"MQTT-1.5.4-2", "MQTT-3.1.3-11"},
	New:    acceptWill(nulInside),
}}

// isEmpty reports whether the text field of a packet of the type is there and empty.
func isEmpty(l *Link, p *Packet, typ codec.Type, field string) bool {
	if codec.Type(p.Raw[0]>>4) != typ {
		return false
	}
	for _, f := range codec.AppendFields(nil, p.Raw, l.Version) {
		if f.Name == field {
			return f.Len == 2 && p.Raw[f.Offset] == 0 && p.Raw[f.Offset+1] == 0
		}
	}
	return false
}

// acceptWill makes the broker accept a CONNECT whose Will Topic is illegal, by giving it none.
func acceptWill(bad func(name string) bool) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			c, ok := p.Packet.(*codec.Connect)
			if ok && c.HasWill && bad(c.Will.Topic) && (c.Will.Topic != "" || isEmpty(l, p, codec.TypeConnect, codec.FieldWillTopic)) {
				q := *c
				q.HasWill, q.Will = false, codec.Will{}
				p.reencode(&q, l.Version)
			}
		}}
	}
}

// rawPublish returns a PUBLISH of QoS 0 without properties to a short topic, legal or not.
func rawPublish(v codec.Version, topic string, payload []byte) []byte {
	body := append([]byte{0, byte(len(topic))}, topic...)
	if v == codec.V5 {
		body = append(body, 0)
	}
	body = append(body, payload...)
	return append([]byte{0x30, byte(len(body))}, body...)
}
