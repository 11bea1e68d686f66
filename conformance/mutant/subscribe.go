package mutant

import (
	"context"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

var subscribeMutants = []Mutant{{
	Name: "subscribe/second-time-unanswered", Versions: both, Rule: "MQTT-3.8.4-1",
	New: func() *Hooks {
		known, drop := subscriptions{}, map[*Link]uint16{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				if again := known.up(l, p); len(again) > 0 {
					drop[l] = p.Packet.(*codec.Subscribe).PacketID
				}
			},
			Down: func(l *Link, p *Packet) {
				if a, ok := p.Packet.(*codec.Suback); ok && a.PacketID == drop[l] {
					p.Drop()
				}
			},
		}
	},
}, {
	Name: "subscribe/suback-id-bytes-swapped", Versions: both, Rule: "MQTT-3.8.4-2",
	Falls: []string{"MQTT-2.3.1-7"}, Falls5: []string{"MQTT-2.2.1-6"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Suback) {
		if p.PacketID > 0xFF {
			p.PacketID = p.PacketID<<8 | p.PacketID>>8
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "subscribe/suback-twice", Versions: both, Rule: "MQTT-3.8.4-2",
	Falls: []string{"MQTT-2.3.1-7"}, Falls5: []string{"MQTT-2.2.1-6"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Suback) {
		if p.PacketID > 0xFF {
			raw.Set(append(raw.Raw, raw.Raw...)...)
		}
	}),
}, {
	Name: "subscribe/code-missing", Versions: both, Rule: "MQTT-3.8.4-5", Rule5: "MQTT-3.8.4-6",
	Falls: []string{"MQTT-3.8.4-4"}, Falls5: []string{"MQTT-3.8.4-5"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Suback) {
		if n := len(p.Reasons); n > 2 {
			p.Reasons = p.Reasons[:n-1]
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "subscribe/codes-reversed", Versions: both, Rule: "MQTT-3.9.3-1",
	Falls:  []string{"MQTT-3.8.4-4", "MQTT-3.8.4-5", "MQTT-3.8.4-6"},
	Falls5: []string{"MQTT-3.8.4-5", "MQTT-3.8.4-7", "MQTT-3.8.4-8"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Suback) {
		if len(p.Reasons) > 2 {
			slices.Reverse(p.Reasons)
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "subscribe/grants-more", Versions: mqtt311, Rule: "MQTT-3.8.4-5", Warn: true, New: grantMore,
}, {
	Name: "subscribe/grants-more-than-asked", Versions: mqtt5, Rule: "MQTT-3.8.4-7", New: grantMore,
}, {
	Name: "subscribe/code-undefined", Versions: both, Rule: "MQTT-3.9.3-2",
	Broker: broker.Config{Authorize: func(_ context.Context, a broker.Access) bool {
		return a.Action != broker.Subscribe || !strings.HasPrefix(a.Topic, "$SYS/")
	}},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Suback) {
		// A code of 5.0 towards a client of 3.1.1, and one that exists in no version.
		bad := map[codec.Version]byte{codec.V4: 0x87, codec.V5: 0x05}[l.Version]
		if last := len(p.Reasons) - 1; p.Reasons[last].Failed() {
			raw.Raw[len(raw.Raw)-1] = bad
		}
	}),
}, {
	Name: "subscribe/qos0-raised", Versions: both, Rule: "MQTT-3.8.4-6", Rule5: "MQTT-3.8.4-8",
	New: func() *Hooks {
		known, own := subscriptions{}, extras{}
		return &Hooks{
			Up: func(l *Link, p *Packet) { known.up(l, p); own.up(l, p) },
			Down: func(l *Link, p *Packet) {
				q, ok := p.Packet.(*codec.Publish)
				if !ok || q.QoS > 0 || q.Retain {
					return
				}
				if s := known[l][q.Topic]; s.QoS > 0 {
					p.Drop()
					q.QoS = s.QoS
					own.send(l, q)
				}
			},
		}
	},
}, {
	Name: "subscribe/wildcards-taken-literally", Versions: mqtt311, Rule: "MQTT-3.8.3-2",
	Falls: []string{"MQTT-3.3.5-1"},
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			q, ok := p.Packet.(*codec.Subscribe)
			if !ok || len(q.Filters) < 2 {
				return
			}
			for i := range q.Filters {
				if !strings.ContainsAny(q.Filters[i].Filter, "+#") {
					return
				}
				q.Filters[i].Filter = strings.NewReplacer("+", "plus", "#", "hash").Replace(q.Filters[i].Filter)
			}
			p.reencode(q, l.Version)
		}}
	},
}, {
	Name: "subscribe/publish-before-suback", Versions: both, Legal: "a PUBLISH may come before the SUBACK",
	New: alterDown(func(l *Link, raw *Packet, _ *codec.Suback) {
		late := raw.Raw
		raw.Drop()
		l.After(shortDelay, func() { l.ToClient(late...) })
	}),
}, {
	Name: "subscribe/answers-out-of-order", Versions: both, Legal: "the answers to several requests need not keep their order",
	New: func() *Hooks {
		held := map[*Link][]byte{}
		return &Hooks{Down: func(l *Link, p *Packet) {
			if _, ok := p.Packet.(*codec.Suback); !ok {
				return
			}
			if held[l] == nil {
				held[l] = p.Raw
				p.Drop()
				l.After(shortDelay, func() {
					l.ToClient(held[l]...)
					held[l] = nil
				})
			}
		}}
	},
}}

// grantMore raises a single filter from QoS 0 to QoS 1, at the broker too.
func grantMore() *Hooks {
	return &Hooks{Up: func(l *Link, p *Packet) {
		if q, ok := p.Packet.(*codec.Subscribe); ok && len(q.Filters) == 1 && q.Filters[0].QoS == 0 && legal(l, p) {
			q.Filters[0].QoS = 1
			p.reencode(q, l.Version)
		}
	}}
}

var replaceMutants = []Mutant{{
	Name: "subscribe/old-qos-kept", Versions: both, Rule: "MQTT-3.8.4-3",
	New: func() *Hooks {
		known, codes := subscriptions{}, map[*Link]codec.QoS{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				again := known.up(l, p)
				if q, ok := p.Packet.(*codec.Subscribe); ok && len(again) == 1 && len(q.Filters) == 1 {
					codes[l] = q.Filters[0].QoS
					q.Filters[0].QoS = again[0].QoS
					p.reencode(q, l.Version)
				}
			},
			Down: func(l *Link, p *Packet) {
				a, ok := p.Packet.(*codec.Suback)
				if qos, again := codes[l]; ok && again && len(a.Reasons) == 1 {
					delete(codes, l)
					a.Reasons[0] = codec.ReasonCode(qos)
					p.Encode(a, l.Version)
				}
			},
		}
	},
}, {
	Name: "subscribe/second-subscription-beside-the-first", Versions: both, Rule: "MQTT-3.8.4-3",
	New: func() *Hooks {
		known, own, twice := subscriptions{}, extras{}, map[*Link]string{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				if again := known.up(l, p); len(again) > 0 {
					twice[l] = again[0].Filter
				}
				own.up(l, p)
			},
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Publish); ok && q.Topic == twice[l] && !q.Retain {
					own.send(l, q)
				}
			},
		}
	},
}, {
	Name: "subscribe/retained-not-repeated", Versions: both, Rule: "MQTT-3.8.4-3", Rule5: "MQTT-3.8.4-4",
	Falls: []string{"MQTT-3.3.1-6"}, Falls5: []string{"MQTT-3.3.1-9"},
	New: func() *Hooks {
		known, twice := subscriptions{}, map[*Link]string{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				if again := known.up(l, p); len(again) > 0 {
					twice[l] = again[0].Filter
				}
				if _, ok := p.Packet.(*codec.Unsubscribe); ok {
					delete(twice, l)
				}
			},
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Publish); ok && q.Retain && q.Topic == twice[l] {
					p.Drop()
				}
			},
		}
	},
}, {
	Name: "subscribe/replacing-loses-messages", Versions: both, Rule: "MQTT-3.8.4-3", Rule5: "MQTT-3.8.4-4",
	Falls5: []string{"MQTT-3.8.4-3"},
	New: func() *Hooks {
		known, lose := subscriptions{}, map[*Link]int{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				if again := known.up(l, p); len(again) > 0 {
					lose[l] = 1
				}
			},
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Publish); ok && q.QoS == 1 && !q.Retain && lose[l] > 0 {
					lose[l]--
					p.Drop()
				}
			},
		}
	},
}, {
	Name: "subscribe/suback-for-each-filter", Versions: both, Rule: "MQTT-3.8.4-4", Rule5: "MQTT-3.8.4-5",
	Falls:  []string{"MQTT-3.8.4-5", "MQTT-3.8.4-2", "MQTT-2.3.1-7"},
	Falls5: []string{"MQTT-3.8.4-6", "MQTT-3.8.4-2", "MQTT-2.2.1-6"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Suback) {
		if len(p.Reasons) < 3 {
			return
		}
		raw.Drop()
		for i := range p.Reasons {
			l.PacketToClient(&codec.Suback{PacketID: p.PacketID, Reasons: p.Reasons[i : i+1]})
		}
	}),
}, {
	Name: "subscribe/earlier-entry-wins", Versions: both, Rule: "MQTT-3.8.4-4", Rule5: "MQTT-3.8.4-5",
	New: func() *Hooks {
		asked := map[*Link]*codec.Subscribe{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				q, ok := p.Packet.(*codec.Subscribe)
				if !ok {
					return
				}
				first := map[string]codec.QoS{}
				for i, f := range q.Filters {
					if qos, again := first[f.Filter]; again {
						whole := *q
						whole.Filters = slices.Clone(q.Filters)
						asked[l] = &whole
						q.Filters[i].QoS = qos
						p.reencode(q, l.Version)
						return
					}
					first[f.Filter] = f.QoS
				}
			},
			Down: func(l *Link, p *Packet) {
				a, ok := p.Packet.(*codec.Suback)
				if q := asked[l]; ok && q != nil && q.PacketID == a.PacketID {
					for i := range a.Reasons {
						a.Reasons[i] = codec.ReasonCode(q.Filters[i].QoS)
					}
					p.Encode(a, l.Version)
				}
			},
		}
	},
}}
