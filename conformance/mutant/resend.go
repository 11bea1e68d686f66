package mutant

import (
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
)

var resendMutants = []Mutant{{
	Name: "resend/qos1-id-in-use", Versions: both, Rule: "MQTT-4.3.2-1",
	Falls: []string{"MQTT-2.3.1-1", "MQTT-2.3.1-4"}, Falls5: []string{"MQTT-2.2.1-4", "MQTT-4.3.2-3"},
	New: idInUse(1),
}, {
	Name: "resend/qos2-id-in-use", Versions: both, Rule: "MQTT-4.3.3-1",
	Falls: []string{"MQTT-2.3.1-1", "MQTT-2.3.1-4"},
	// Two messages that count as one exceed every window.
	Falls5: []string{"MQTT-2.2.1-4", "MQTT-4.3.3-4", "MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2", "P-4.9-quota-per-connection", "P-4.9-quota-replenish"},
	New:    idInUse(2),
}, {
	Name: "resend/qos1-dup-at-first", Versions: both, Rule: "MQTT-4.3.2-1", Rule5: "MQTT-4.3.2-2",
	// Where copies are counted, one with DUP 1 is none.
	Falls:  []string{"MQTT-3.3.1-3", "MQTT-3.8.4-3", "MQTT-3.8.4-4"},
	Falls5: []string{"MQTT-3.3.1-3", "MQTT-3.8.4-3", "MQTT-3.8.4-4", "MQTT-3.8.4-5", "P-4.8.2-one-member"},
	New:    dupAtFirst(1),
}, {
	Name: "resend/qos2-dup-at-first", Versions: both, Rule: "MQTT-4.3.3-1", Rule5: "MQTT-4.3.3-2",
	Falls:  []string{"MQTT-3.3.1-3", "MQTT-3.3.5-1", "MQTT-3.8.4-4"},
	Falls5: []string{"MQTT-3.3.1-3", "MQTT-3.3.4-2", "MQTT-3.8.4-5"},
	New:    dupAtFirst(2),
}, {
	Name: "resend/qos1-forgotten-in-the-end", Versions: both, Rule: "MQTT-4.3.2-1", Rule5: "MQTT-4.3.2-3",
	New: resumedAgain(func(_ *Link, raw *Packet) {
		if p, ok := raw.Packet.(*codec.Publish); ok && p.QoS == 1 && p.Dup {
			raw.Drop()
		}
	}),
}, {
	Name: "resend/qos2-forgotten-in-the-end", Versions: both, Rule: "MQTT-4.3.3-1", Rule5: "MQTT-4.3.3-3",
	New: resumedAgain(func(_ *Link, raw *Packet) {
		if p, ok := raw.Packet.(*codec.Publish); ok && p.QoS == 2 && p.Dup {
			raw.Drop()
		}
	}),
}, {
	Name: "resend/pubrel-forgotten-in-the-end", Versions: both, Rule: "MQTT-4.3.3-1", Rule5: "MQTT-4.3.3-5",
	New: resumedAgain(func(_ *Link, raw *Packet) {
		if _, ok := raw.Packet.(*codec.Pubrel); ok {
			raw.Drop()
		}
	}),
}, {
	Name: "resend/qos1-again-after-puback", Versions: both, Rule: "MQTT-4.3.2-1", Rule5: "MQTT-4.3.2-3",
	Falls5: []string{"MQTT-4.4.0-2"},
	New: func() *Hooks {
		type acked struct {
			open map[uint16]*codec.Publish
			last *codec.Publish // the first that was acknowledged
		}
		clients := map[string]*acked{}
		of := func(l *Link) *acked {
			a := clients[clientID(l)]
			if a == nil {
				a = &acked{open: map[uint16]*codec.Publish{}}
				clients[clientID(l)] = a
			}
			return a
		}
		return &Hooks{
			Up: func(l *Link, raw *Packet) {
				if p, ok := raw.Packet.(*codec.Puback); ok {
					a := of(l)
					if a.last == nil {
						a.last = a.open[p.PacketID]
					}
				}
			},
			Down: func(l *Link, raw *Packet) {
				switch p := raw.Packet.(type) {
				case *codec.Publish:
					if p.QoS == 1 {
						of(l).open[p.PacketID] = p
					}
				case *codec.Connack:
					if a := of(l); p.SessionPresent && a.last != nil {
						again := *a.last
						again.Dup, again.PacketID = true, again.PacketID|otherID
						raw.Raw = append(raw.Raw, encode(&again, l.Version)...)
					}
				}
			},
		}
	},
}, {
	Name: "resend/pubrel-without-pubrec", Versions: both, Rule: "MQTT-4.3.3-1", Rule5: "MQTT-4.3.3-3",
	New: func() *Hooks {
		open := map[*Link][]uint16{}
		return &Hooks{
			Up: func(l *Link, raw *Packet) {
				switch p := raw.Packet.(type) {
				case *codec.Pubrec:
					open[l] = slices.DeleteFunc(open[l], func(id uint16) bool { return id == p.PacketID })
				case *codec.Pingreq:
					for _, id := range open[l] {
						l.PacketToClient(&codec.Pubrel{PacketID: id})
					}
				}
			},
			Down: func(l *Link, raw *Packet) {
				if p, ok := raw.Packet.(*codec.Publish); ok && p.QoS == 2 {
					open[l] = append(open[l], p.PacketID)
				}
			},
		}
	},
}, {
	Name: "resend/publish-again-after-pubrel", Versions: both, Rule: "MQTT-4.3.3-1", Rule5: "MQTT-4.3.3-6",
	New: func() *Hooks {
		sent := map[string]map[uint16]*codec.Publish{}
		return &Hooks{Down: func(l *Link, raw *Packet) {
			id := clientID(l)
			switch p := raw.Packet.(type) {
			case *codec.Connack:
				l.State["resumed"] = p.SessionPresent
			case *codec.Publish:
				if p.QoS == 2 {
					if sent[id] == nil {
						sent[id] = map[uint16]*codec.Publish{}
					}
					sent[id][p.PacketID] = p
					l.State["sent"] = true
				}
			case *codec.Pubrel:
				if m := sent[id][p.PacketID]; m != nil && l.State["resumed"] == true && l.State["sent"] == nil {
					again := *m
					again.Dup = true
					raw.Raw = append(encode(&again, l.Version), raw.Raw...)
				}
			}
		}}
	},
}, {
	Name: "resend/pubrel-with-another-id", Versions: both, Rule: "MQTT-4.3.3-1", Rule5: "MQTT-4.3.3-4",
	Falls: []string{"MQTT-2.3.1-6", "MQTT-3.10.4-3", "MQTT-4.4.0-1", "MQTT-4.6.0-6"},
	Falls5: []string{
		"MQTT-2.2.1-5", "MQTT-3.1.2-25", "MQTT-3.10.4-3", "MQTT-4.4.0-1", "MQTT-4.8.2-4", "MQTT-4.3.3-5", "MQTT-4.3.3-7",
		"P-3.4.2.1-short-ack",
	},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Pubrel) {
		p.PacketID ^= otherID
		reencode(l, raw, p)
	}),
}, {
	Name: "resend/long-pubrec-unanswered", Versions: mqtt5, Rule: "MQTT-4.3.3-4",
	Falls: []string{"P-3.4.2.1-short-ack"},
	New: swallow(func(_ *Link, raw *Packet) bool {
		p, ok := raw.Packet.(*codec.Pubrec)
		return ok && len(raw.Raw) == 6 && !p.Reason.Failed()
	}),
}, {
	Name: "resend/pubrel-after-refusal", Versions: mqtt5, Rule: "MQTT-4.3.3-4",
	Falls: []string{"MQTT-4.4.0-2"},
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Pubrec); ok && p.Reason.Failed() && legal(l, raw) {
				l.PacketToClient(&codec.Pubrel{PacketID: p.PacketID})
			}
		}}
	},
}, {
	Name: "resend/no-pubrel-after-unsubscribe", Versions: both, Rule: "MQTT-3.10.4-3",
	New: afterUnsubscribe(func(_ *Link, raw *Packet) { raw.Drop() }),
}, {
	Name: "resend/pubrec-after-unsubscribe-ends-the-connection", Versions: both, Rule: "MQTT-3.10.4-3",
	New: afterUnsubscribe(func(l *Link, raw *Packet) {
		raw.Drop()
		l.CloseBroker()
	}),
}, {
	Name: "resend/pubrel-with-error-after-unsubscribe", Versions: mqtt5, Rule: "MQTT-3.10.4-3",
	New: afterUnsubscribe(func(l *Link, raw *Packet) {
		id := raw.Packet.(*codec.Pubrec).PacketID
		raw.Drop()
		l.PacketToClient(&codec.Pubrel{PacketID: id, Reason: codec.PacketIDNotFound})
	}),
}, {
	Name: "resend/not-after-unsubscribe", Versions: both, Rule: "MQTT-3.10.4-3",
	New: func() *Hooks {
		gone := map[string]map[string]bool{}
		return &Hooks{
			Up: func(l *Link, raw *Packet) {
				if p, ok := raw.Packet.(*codec.Unsubscribe); ok && l.Connect != nil {
					if gone[clientID(l)] == nil {
						gone[clientID(l)] = map[string]bool{}
					}
					for _, f := range p.Filters {
						gone[clientID(l)][f] = true
					}
				}
			},
			Down: func(l *Link, raw *Packet) {
				if p, ok := raw.Packet.(*codec.Publish); ok && p.Dup && gone[clientID(l)][p.Topic] {
					raw.Drop()
				}
			},
		}
	},
}, {
	Name: "resend/expired-message-dropped", Versions: mqtt5, Rule: "MQTT-4.3.3-7",
	New: expiredOnTheWay(nil, func(_ *Link, raw *Packet) { raw.Drop() }),
}, {
	Name: "resend/exchange-broken-off-by-expiry", Versions: mqtt5, Rule: "MQTT-4.3.3-7",
	New: expiredOnTheWay(func(l *Link, raw *Packet, p *codec.Pubrec) {
		raw.Drop()
		l.PacketToClient(&codec.Pubrel{PacketID: p.PacketID, Reason: codec.PacketIDNotFound})
	}, nil),
}}

// idInUse gives a message at the QoS the identifier of one that the client has not acknowledged,
// and keeps the broker, which knows nothing of it, satisfied.
func idInUse(qos codec.QoS) func() *Hooks {
	return func() *Hooks {
		c := newCourier()
		open := map[*Link][]uint16{}
		return &Hooks{
			Up: func(l *Link, raw *Packet) {
				switch typ, id := ackID(raw.Packet); typ {
				case codec.TypePuback, codec.TypePubcomp:
					open[l] = slices.DeleteFunc(open[l], func(o uint16) bool { return o == id })
				}
			},
			Down: func(l *Link, raw *Packet) {
				c.down(l, raw)
				p, ok := raw.Packet.(*codec.Publish)
				if !ok || p.QoS != qos || p.Dup {
					return
				}
				if len(open[l]) == 0 {
					open[l] = append(open[l], p.PacketID)
					return
				}
				c.consume(l, raw, p)
				copied := *p
				copied.PacketID = open[l][0]
				l.PacketToClient(&copied)
			},
		}
	}
}

// dupAtFirst sets DUP on every message at the QoS.
func dupAtFirst(qos codec.QoS) func() *Hooks {
	return alterDown(func(_ *Link, raw *Packet, p *codec.Publish) {
		if p.QoS == qos {
			raw.Raw[0] |= 8
		}
	})
}

// resumedAgain lets f see what the broker sends when a session is resumed for the second time or later.
func resumedAgain(f func(l *Link, raw *Packet)) func() *Hooks {
	return func() *Hooks {
		times := map[string]int{}
		return &Hooks{Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Connack); ok && p.SessionPresent {
				times[clientID(l)]++
				l.State["resumed"] = times[clientID(l)]
			}
			if n, _ := l.State["resumed"].(int); n > 1 {
				f(l, raw)
			}
		}}
	}
}

// afterUnsubscribe lets f deal with the PUBREC for a message whose subscription has been deleted.
func afterUnsubscribe(f func(l *Link, raw *Packet)) func() *Hooks {
	return func() *Hooks {
		type key struct {
			link *Link
			id   uint16
		}
		topics, gone := map[key]string{}, map[key]bool{}
		return &Hooks{
			Up: func(l *Link, raw *Packet) {
				switch p := raw.Packet.(type) {
				case *codec.Unsubscribe:
					for k, topic := range topics {
						if k.link == l && slices.Contains(p.Filters, topic) {
							gone[k] = true
						}
					}
				case *codec.Pubrec:
					k := key{l, p.PacketID}
					delete(topics, k)
					if gone[k] {
						delete(gone, k)
						f(l, raw)
					}
				}
			},
			Down: func(l *Link, raw *Packet) {
				if p, ok := raw.Packet.(*codec.Publish); ok && p.QoS == 2 {
					topics[key{l, p.PacketID}] = p.Topic
				}
			},
		}
	}
}

// expiredOnTheWay lets the hooks see the PUBREC for a message, and the repeated PUBLISH of one,
// whose Message Expiry Interval has passed since it was sent first. Either may be nil.
func expiredOnTheWay(pubrec func(l *Link, raw *Packet, p *codec.Pubrec), again func(l *Link, raw *Packet)) func() *Hooks {
	return func() *Hooks {
		type key struct {
			client string
			id     uint16
		}
		ends := map[key]time.Time{}
		expired := func(l *Link, id uint16) bool {
			at, ok := ends[key{clientID(l), id}]
			return ok && time.Now().After(at)
		}
		return &Hooks{
			Up: func(l *Link, raw *Packet) {
				if p, ok := raw.Packet.(*codec.Pubrec); ok && pubrec != nil && expired(l, p.PacketID) {
					pubrec(l, raw, p)
				}
			},
			Down: func(l *Link, raw *Packet) {
				p, ok := raw.Packet.(*codec.Publish)
				if !ok || p.QoS != 2 {
					return
				}
				if p.Dup && again != nil && expired(l, p.PacketID) {
					again(l, raw)
					return
				}
				if s := p.Props.Uint(codec.PropMessageExpiry, 0); s > 0 && !p.Dup {
					ends[key{clientID(l), p.PacketID}] = time.Now().Add(time.Duration(s) * time.Second)
				}
			},
		}
	}
}
