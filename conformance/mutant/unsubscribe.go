package mutant

import (
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
)

var unsubscribeMutants = []Mutant{{
	Name: "unsubscribe/unanswered", Versions: both, Rule: "MQTT-3.10.4-4",
	// The rest of the suite is spared: only identifiers that other checks do not get to go without an answer.
	Falls: []string{"MQTT-3.10.4-5", "MQTT-2.3.1-7"}, Falls5: []string{"MQTT-3.10.4-5", "MQTT-2.2.1-6"},
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Unsuback) {
		if p.PacketID > 0xFF {
			raw.Drop()
		}
	}),
}, {
	Name: "unsubscribe/unsuback-id-bytes-swapped", Versions: both, Rule: "MQTT-3.10.4-4", Rule5: "MQTT-3.10.4-5",
	Falls: []string{"MQTT-2.3.1-7"}, Falls5: []string{"MQTT-2.2.1-6"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Unsuback) {
		if p.PacketID == 0x100 {
			p.PacketID = 1
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "unsubscribe/unsuback-with-codes", Versions: mqtt311, Rule: "MQTT-3.10.4-4",
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Unsuback) {
		raw.Set(0xB0, 3, byte(p.PacketID>>8), byte(p.PacketID), 0)
	}),
}, {
	Name: "unsubscribe/nothing-removed-unanswered", Versions: both, Rule: "MQTT-3.10.4-5",
	New: func() *Hooks {
		known := subscriptions{}
		return &Hooks{Up: func(l *Link, p *Packet) {
			q, ok := p.Packet.(*codec.Unsubscribe)
			if ok && len(q.Filters) == 1 && strings.Contains(q.Filters[0], "never") {
				if _, subscribed := known[l][q.Filters[0]]; !subscribed {
					p.Drop()
				}
			}
			known.up(l, p)
		}}
	},
}, {
	Name: "unsubscribe/nothing-removed-ends-connection", Versions: mqtt311, Rule: "MQTT-3.10.4-5",
	New: func() *Hooks {
		known := subscriptions{}
		return &Hooks{Up: func(l *Link, p *Packet) {
			if q, ok := p.Packet.(*codec.Unsubscribe); ok && len(q.Filters) == 1 && strings.Contains(q.Filters[0], "never") {
				if _, subscribed := known[l][q.Filters[0]]; !subscribed {
					p.Drop()
					l.CloseClient()
				}
			}
			known.up(l, p)
		}}
	},
}, {
	Name: "unsubscribe/filter-used-as-pattern", Versions: both, Rule: "MQTT-3.10.4-1",
	New: func() *Hooks {
		known := subscriptions{}
		return &Hooks{Up: func(l *Link, p *Packet) {
			q, ok := p.Packet.(*codec.Unsubscribe)
			if ok && len(q.Filters) == 1 {
				for f := range known[l] {
					if f != q.Filters[0] && strings.Contains(f, "+") && codec.ValidTopicName(q.Filters[0]) && topic.Match(f, q.Filters[0]) {
						q.Filters[0] = f
						p.reencode(q, l.Version)
						break
					}
				}
			}
			known.up(l, p)
		}}
	},
}, {
	Name: "unsubscribe/wildcard-filter-not-removed", Versions: both, Rule: "MQTT-3.10.4-1",
	New: tolerate(func(r *request) bool {
		return !r.subscribe && len(r.filters) == 1 && strings.HasSuffix(r.filters[0], "/+")
	}, answerWith(codec.Success)),
}, {
	Name: "unsubscribe/without-effect", Versions: both, Rule: "MQTT-3.10.4-2",
	Falls: []string{"MQTT-3.10.4-1"}, Falls5: []string{"MQTT-3.10.4-1", "P-3.10.4-buffered-messages", "MQTT-3.3.1-10", "P-2.2.2.2-identifier-wrong-packet"},
	New: tolerate(func(r *request) bool {
		return !r.subscribe && r.flags == 2 && !r.overrun && len(r.filters) == 1 && strings.HasSuffix(r.filters[0], "/a") && !strings.HasPrefix(r.filters[0], "$")
	}, answerWith(codec.Success)),
}, {
	Name: "unsubscribe/without-effect-under-load", Versions: mqtt5, Rule: "P-3.10.4-buffered-messages",
	Falls5: []string{"MQTT-3.10.4-2"},
	New: func() *Hooks {
		published := map[string]int{}
		return &Hooks{Up: func(l *Link, p *Packet) {
			if q, ok := p.Packet.(*codec.Publish); ok {
				published[q.Topic]++
			}
			if r := readRequest(l.Version, p.Raw); r != nil && !r.subscribe && legal(l, p) && published[r.filters[0]] > 8 {
				p.Drop()
				answerWith(codec.Success)(l, r)
			}
		}}
	},
}, {
	Name: "unsubscribe/messages-delayed", Versions: both, Legal: "what was buffered may come after UNSUBACK",
	New: func() *Hooks {
		sent, held := map[*Link]int{}, map[*Link][]byte{}
		return &Hooks{Down: func(l *Link, p *Packet) {
			q, ok := p.Packet.(*codec.Publish)
			if !ok || q.QoS != 1 {
				return
			}
			if sent[l]++; sent[l] <= 5 {
				return
			}
			if held[l] == nil {
				l.After(shortDelay, func() {
					l.ToClient(held[l]...)
					delete(held, l)
				})
			}
			held[l] = append(held[l], p.Raw...)
			p.Drop()
		}}
	},
}, {
	Name: "unsubscribe/first-filter-only", Versions: both, Rule: "MQTT-3.10.4-6",
	New: func() *Hooks {
		asked := map[*Link]int{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Unsubscribe); ok && len(q.Filters) > 2 && legal(l, p) {
					asked[l] = len(q.Filters)
					q.Filters = q.Filters[:1]
					p.reencode(q, l.Version)
				}
			},
			Down: func(l *Link, p *Packet) {
				if a, ok := p.Packet.(*codec.Unsuback); ok && l.Version == codec.V5 && asked[l] > 0 {
					for len(a.Reasons) < asked[l] {
						a.Reasons = append(a.Reasons, codec.Success)
					}
					delete(asked, l)
					p.Encode(a, l.Version)
				}
			},
		}
	},
	// With all codes alike no order shows, which leaves the rule on their order undecided.
	Falls5: []string{"MQTT-3.11.3-1"},
}, {
	Name: "unsubscribe/unsuback-for-each-filter", Versions: both, Rule: "MQTT-3.10.4-6",
	Falls:  []string{"MQTT-3.10.4-4", "MQTT-2.3.1-7"},
	Falls5: []string{"MQTT-3.10.4-5", "MQTT-3.11.3-2", "MQTT-2.2.1-6"},
	New: func() *Hooks {
		asked := map[*Link]int{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Unsubscribe); ok {
					asked[l] = len(q.Filters)
				}
			},
			Down: func(l *Link, p *Packet) {
				a, ok := p.Packet.(*codec.Unsuback)
				if !ok || asked[l] < 3 {
					return
				}
				p.Drop()
				for i := range asked[l] {
					one := &codec.Unsuback{PacketID: a.PacketID}
					if l.Version == codec.V5 {
						one.Reasons = a.Reasons[i : i+1]
					}
					l.PacketToClient(one)
				}
			},
		}
	},
}, {
	Name: "unsubscribe/codes-out-of-order", Versions: mqtt5, Rule: "MQTT-3.11.3-1",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Unsuback) {
		if len(p.Reasons) == 3 {
			p.Reasons[0], p.Reasons[1] = p.Reasons[1], p.Reasons[0]
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "unsubscribe/no-codes", Versions: mqtt5, Rule: "MQTT-3.11.3-2",
	Falls5: []string{"MQTT-3.10.4-6"},
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Unsuback) {
		if len(p.Reasons) > 2 {
			raw.Set(0xB0, 3, byte(p.PacketID>>8), byte(p.PacketID), 0)
		}
	}),
}, {
	Name: "unsubscribe/code-undefined", Versions: mqtt5, Rule: "MQTT-3.11.3-2",
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Unsuback) {
		if len(p.Reasons) == 3 {
			raw.Raw[len(raw.Raw)-1] = 0x12
		}
	}),
}, {
	Name: "unsubscribe/always-success", Versions: mqtt5, Legal: "code 0x00 for a filter without a subscription is worth a note",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Unsuback) {
		for i := range p.Reasons {
			p.Reasons[i] = codec.Success
		}
		raw.Encode(p, l.Version)
	}),
}}
