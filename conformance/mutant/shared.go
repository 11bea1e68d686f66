package mutant

import (
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// shareOf returns a Shared Subscription of the connection whose filter is the topic itself.
func (s subscriptions) shareOf(l *Link, name string) (codec.Subscription, bool) {
	for f, sub := range s[l] {
		if rest, ok := strings.CutPrefix(f, "$share/"); ok {
			if _, inner, _ := strings.Cut(rest, "/"); inner == name {
				return sub, true
			}
		}
	}
	return codec.Subscription{}, false
}

// otherMember returns another open connection of the same group, or nil.
func (s subscriptions) otherMember(l *Link, filter string) *Link {
	for _, to := range l.Proxy.Links() {
		if _, member := s[to][filter]; member && to != l && !to.Held {
			return to
		}
	}
	return nil
}

var sharedMutants = []Mutant{{
	Name: "shared/copy-for-two-members", Versions: mqtt5, Rule: "P-4.8.2-one-member",
	Falls5: []string{"P-3.3.4-foreign-subscription-identifier"},
	New: func() *Hooks {
		known, own := subscriptions{}, extras{}
		return &Hooks{
			Up: func(l *Link, p *Packet) { known.up(l, p); own.up(l, p) },
			Down: func(l *Link, p *Packet) {
				q, ok := p.Packet.(*codec.Publish)
				if !ok || q.QoS != 1 {
					return
				}
				if s, shared := known.shareOf(l, q.Topic); shared {
					if to := known.otherMember(l, s.Filter); to != nil {
						own.send(to, q)
					}
				}
			},
		}
	},
}, {
	Name: "shared/message-lost", Versions: mqtt5, Rule: "P-4.8.2-one-member",
	New: func() *Hooks {
		known, seen := subscriptions{}, map[*Link]int{}
		return &Hooks{
			Up: func(l *Link, p *Packet) { known.up(l, p) },
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Publish); ok {
					if _, shared := known.shareOf(l, q.Topic); shared {
						if seen[l]++; seen[l] == 10 {
							p.Drop()
						}
					}
				}
			},
		}
	},
}, {
	Name: "shared/retained-at-subscribe", Versions: mqtt5, Rule: "P-3.8.4-no-retained-for-shared",
	New: func() *Hooks {
		own, kept := extras{}, map[string]*codec.Publish{}
		return &Hooks{Up: func(l *Link, p *Packet) {
			own.up(l, p)
			switch q := p.Packet.(type) {
			case *codec.Publish:
				if q.Retain && len(q.Payload) > 0 {
					kept[q.Topic] = q
				}
			case *codec.Subscribe:
				for _, f := range q.Filters {
					rest, shared := strings.CutPrefix(f.Filter, "$share/")
					_, inner, _ := strings.Cut(rest, "/")
					if m := kept[inner]; shared && m != nil {
						cp := *m
						cp.QoS = min(m.QoS, f.QoS)
						own.send(l, &cp)
					}
				}
			}
		}}
	},
}, {
	Name: "shared/counted-twice", Versions: mqtt5, Rule: "P-4.8.2-resubscribe-once",
	New: func() *Hooks {
		known, twice := subscriptions{}, map[*Link]string{}
		return &Hooks{Up: func(l *Link, p *Packet) {
			if again := known.up(l, p); len(again) > 0 && strings.HasPrefix(again[0].Filter, "$share/") {
				twice[l] = again[0].Filter
			}
			if q, ok := p.Packet.(*codec.Unsubscribe); ok && len(q.Filters) == 1 && twice[l] != "" && q.Filters[0] == twice[l] {
				delete(twice, l)
				p.Drop()
				l.PacketToClient(&codec.Unsuback{PacketID: q.PacketID, Reasons: []codec.ReasonCode{codec.Success}})
			}
		}}
	},
}, {
	Name: "shared/best-qos-of-the-group", Versions: mqtt5, Rule: "MQTT-4.8.2-3",
	Falls5: []string{"MQTT-3.8.4-8"},
	New: func() *Hooks {
		known, own := subscriptions{}, extras{}
		return &Hooks{
			Up: func(l *Link, p *Packet) { known.up(l, p); own.up(l, p) },
			Down: func(l *Link, p *Packet) {
				q, ok := p.Packet.(*codec.Publish)
				if !ok || q.QoS > 0 {
					return
				}
				s, shared := known.shareOf(l, q.Topic)
				if !shared {
					return
				}
				if to := known.otherMember(l, s.Filter); to != nil && known[to][s.Filter].QoS > 0 {
					p.Drop()
					q.QoS = 1
					own.send(l, q)
				}
			},
		}
	},
}, {
	Name: "shared/publish-not-resent", Versions: mqtt5, Rule: "MQTT-4.8.2-4",
	New: func() *Hooks {
		known, members := subscriptions{}, map[string]bool{}
		return &Hooks{
			Up: func(l *Link, p *Packet) { known.memberUp(members, l, p) },
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Publish); ok && q.Dup && q.QoS == 2 && l.Connect != nil && members[l.Connect.ClientID] {
					p.Drop()
				}
			},
		}
	},
}, {
	Name: "shared/pubrel-not-resent", Versions: mqtt5, Rule: "MQTT-4.8.2-4",
	New: func() *Hooks {
		known, members, recorded := subscriptions{}, map[string]bool{}, map[*Link]bool{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				known.memberUp(members, l, p)
				if _, ok := p.Packet.(*codec.Pubrec); ok {
					recorded[l] = true
				}
			},
			Down: func(l *Link, p *Packet) {
				if _, ok := p.Packet.(*codec.Pubrel); ok && !recorded[l] && l.Connect != nil && members[l.Connect.ClientID] {
					p.Drop()
				}
			},
		}
	},
}, {
	Name: "shared/begun-message-handed-over", Versions: mqtt5, Rule: "MQTT-4.8.2-5",
	New: func() *Hooks {
		known, own, open := subscriptions{}, extras{}, map[*Link]*codec.Publish{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				known.up(l, p)
				own.up(l, p)
				if _, ok := p.Packet.(*codec.Pubrec); ok {
					delete(open, l)
				}
			},
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Publish); ok && q.QoS == 2 {
					if _, shared := known.shareOf(l, q.Topic); shared {
						open[l] = q
					}
				}
			},
			Left: func(l *Link) bool {
				if q := open[l]; q != nil {
					s, _ := known.shareOf(l, q.Topic)
					if to := known.otherMember(l, s.Filter); to != nil {
						own.send(to, q)
					}
				}
				return false
			},
		}
	},
}, {
	Name: "shared/refused-message-for-another-member", Versions: mqtt5, Rule: "MQTT-4.8.2-6",
	New: func() *Hooks {
		known, own, sent := subscriptions{}, extras{}, map[*Link]*codec.Publish{}
		refused := func(l *Link, id uint16, reason codec.ReasonCode) {
			if q := sent[l]; q != nil && reason.Failed() && q.PacketID == id {
				s, _ := known.shareOf(l, q.Topic)
				if to := known.otherMember(l, s.Filter); to != nil {
					own.send(to, q)
				}
			}
		}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				known.up(l, p)
				own.up(l, p)
				switch q := p.Packet.(type) {
				case *codec.Puback:
					refused(l, q.PacketID, q.Reason)
				case *codec.Pubrec:
					refused(l, q.PacketID, q.Reason)
				}
			},
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Publish); ok && q.QoS > 0 {
					if _, shared := known.shareOf(l, q.Topic); shared {
						sent[l] = q
					}
				}
			},
		}
	},
}, {
	Name: "shared/lost-with-the-session", Versions: mqtt5, Rule: "P-4.8.2-qos1-redelivery", Warn: true,
	New: func() *Hooks {
		known, seen := subscriptions{}, map[string]*Link{}
		return &Hooks{
			Up: func(l *Link, p *Packet) { known.up(l, p) },
			Down: func(l *Link, p *Packet) {
				q, ok := p.Packet.(*codec.Publish)
				if !ok || q.QoS != 1 {
					return
				}
				s, shared := known.shareOf(l, q.Topic)
				if !shared {
					return
				}
				key := s.Filter + " " + string(q.Payload)
				if first := seen[key]; first != nil && first != l {
					p.Drop()
					return
				}
				seen[key] = l
			},
		}
	},
}, {
	Name: "shared/all-to-one-member", Versions: mqtt5, Legal: "any distribution over the members is allowed, even all to one",
	New: func() *Hooks {
		// The second member of a group is unsubscribed in secret.
		known := subscriptions{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				q, ok := p.Packet.(*codec.Subscribe)
				if ok && len(q.Filters) == 1 && strings.HasPrefix(q.Filters[0].Filter, "$share/h/") && legal(l, p) &&
					known.otherMember(l, q.Filters[0].Filter) != nil {
					p.Drop()
					l.PacketToClient(&codec.Suback{PacketID: q.PacketID, Reasons: []codec.ReasonCode{codec.ReasonCode(q.Filters[0].QoS)}})
					return
				}
				known.up(l, p)
			},
		}
	},
}}

// memberUp remembers the Client Identifiers of those who hold a Shared Subscription.
func (s subscriptions) memberUp(members map[string]bool, l *Link, p *Packet) {
	s.up(l, p)
	for f := range s[l] {
		if l.Connect != nil && strings.HasPrefix(f, "$share/") {
			members[l.Connect.ClientID] = true
		}
	}
}
