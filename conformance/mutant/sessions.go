package mutant

import (
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// ownID is the Packet Identifier of packets that a mutant sends by itself. No check uses it.
const ownID = 0xFFF0

var sessionMutants = []Mutant{{
	Name: "session/subscription-lost", Versions: both, Rule: "MQTT-3.1.2-4", Rule5: "MQTT-3.1.2-5",
	Falls:  []string{"MQTT-3.1.4-3", "MQTT-4.1.0-1"},
	Falls5: []string{"MQTT-3.1.4-4", "MQTT-3.1.2-23", "MQTT-3.3.1-10"},
	New: func() *Hooks {
		f := filtersByID{}
		return &Hooks{
			Up: f.up,
			Down: func(l *Link, p *Packet) {
				switch q := p.Packet.(type) {
				case *codec.Connack:
					if q.SessionPresent && len(f[clientID(l)]) > 0 {
						l.PacketToBroker(&codec.Unsubscribe{PacketID: ownID, Filters: f[clientID(l)]})
						l.State["held"] = []byte{}
					}
				case *codec.Unsuback:
					if q.PacketID == ownID {
						held, _ := l.State["held"].([]byte)
						delete(l.State, "held")
						p.Set(held...)
						return
					}
				}
				// The client hears nothing before the broker has forgotten the subscriptions.
				if held, holding := l.State["held"].([]byte); holding {
					l.State["held"] = append(held, p.Raw...)
					p.Drop()
				}
			},
		}
	},
}, {
	Name: "session/queue-lost", Versions: both, Rule: "MQTT-3.1.2-5", Rule5: "MQTT-3.1.2-23",
	Falls:  []string{"MQTT-3.1.3-2", "MQTT-4.5.0-1"},
	Falls5: []string{"MQTT-3.1.2-5", "MQTT-3.1.3-2", "MQTT-4.5.0-1"},
	New: func() *Hooks {
		f, away, lost := filtersByID{}, map[string]bool{}, map[string]bool{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				f.up(l, p)
				switch q := p.Packet.(type) {
				case *codec.Connect:
					delete(away, q.ClientID)
				case *codec.Publish:
					for id := range away {
						for _, filter := range f[id] {
							if filter == q.Topic {
								lost[id+" "+q.Topic+" "+string(q.Payload)] = true
							}
						}
					}
				case *codec.Disconnect:
					away[clientID(l)] = true
				}
			},
			Down: func(l *Link, p *Packet) {
				q, ok := p.Packet.(*codec.Publish)
				if ok && l.Connect != nil && lost[clientID(l)+" "+q.Topic+" "+string(q.Payload)] || eaten(l, p) {
					eat(l, p)
				}
			},
		}
	},
}, {
	Name: "session/clean-start-ignored", Versions: both, Rule: "MQTT-3.1.2-6", Rule5: "MQTT-3.1.2-4",
	Falls:  []string{"MQTT-3.1.4-3", "MQTT-3.2.2-3"},
	Falls5: []string{"MQTT-3.1.4-4", "P-4.4-resend-after-clean"},
	New: func() *Hooks {
		return &Hooks{
			Up: changeConnect(func(l *Link, c *codec.Connect) bool {
				l.State["clean"] = c.CleanStart && c.ClientID != ""
				c.CleanStart = c.CleanStart && c.ClientID == ""
				return true
			}),
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Connack); ok && q.SessionPresent && l.State["clean"] == true {
					present(l, p, q, false)
				}
			},
		}
	},
}, {
	Name: "session/present-after-clean-start", Versions: mqtt5, Rule: "MQTT-3.2.2-2",
	Falls: []string{"MQTT-3.1.4-4"},
	New: history(func(c *codec.Connect, known []bool) (bool, bool) {
		return true, c.CleanStart && len(known) > 0 && !known[len(known)-1]
	}),
}, {
	Name: "session/present-missing", Versions: both, Rule: "MQTT-3.2.2-2", Rule5: "MQTT-3.2.2-3",
	// Whoever watches takes what is sent again for the first delivery of a new session.
	Falls: []string{"MQTT-3.3.1-3", "MQTT-4.3.2-1", "MQTT-4.3.3-1"},
	Falls5: []string{
		"MQTT-3.1.2-5", "MQTT-3.1.2-23", "MQTT-3.1.3-2", "MQTT-3.1.3-7", "MQTT-3.1.4-4", "P-3.14.2.2.2-session-expiry-change",
		"MQTT-3.3.1-3", "MQTT-4.3.2-1", "MQTT-4.3.3-1",
	},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
		if p.SessionPresent {
			present(l, raw, p, false)
		}
	}),
}, {
	Name: "session/empty-one-not-present", Versions: mqtt311, Rule: "MQTT-3.2.2-2", Warn: true,
	New: func() *Hooks {
		f := filtersByID{}
		return &Hooks{Up: f.up, Down: func(l *Link, p *Packet) {
			if q, ok := p.Packet.(*codec.Connack); ok && q.SessionPresent && len(f[clientID(l)]) == 0 {
				present(l, p, q, false)
			}
		}}
	},
}, {
	Name: "session/present-for-unknown-id", Versions: both, Rule: "MQTT-3.2.2-3", Rule5: "MQTT-3.1.2-6",
	Falls:  []string{"MQTT-3.1.3-2", "MQTT-3.1.4-3"},
	Falls5: []string{"MQTT-3.1.3-2", "MQTT-3.1.4-4", "MQTT-3.2.2-3"},
	New: history(func(c *codec.Connect, known []bool) (bool, bool) {
		return true, !c.CleanStart && len(known) == 0
	}),
}, {
	Name: "session/present-after-clean-session", Versions: both, Rule: "MQTT-3.1.4-3", Rule5: "MQTT-3.1.4-4",
	Falls: []string{"MQTT-3.1.2-6", "MQTT-3.2.2-3"}, Falls5: []string{"P-3.14.2.2.2-session-expiry-after-zero"},
	New: history(func(c *codec.Connect, known []bool) (bool, bool) {
		return true, !c.CleanStart && len(known) > 0 && known[len(known)-1]
	}),
}, {
	Name: "session/client-id-without-case", Versions: both, Rule: "MQTT-3.1.3-2",
	Falls: []string{"MQTT-3.3.2-3"}, Falls5: []string{"MQTT-3.1.3-7", "MQTT-3.3.2-3"},
	New: func() *Hooks {
		return &Hooks{Up: changeConnect(func(_ *Link, c *codec.Connect) bool {
			lower := strings.ToLower(c.ClientID)
			changed := lower != c.ClientID
			c.ClientID = lower
			return changed
		})}
	},
}, {
	Name: "session/exchange-forgotten", Versions: both, Rule: "MQTT-4.1.0-1", Rule5: "MQTT-3.1.2-23",
	Falls: []string{"MQTT-4.3.3-2"}, Falls5: []string{"MQTT-4.3.3-10"},
	New: func() *Hooks {
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				switch q := p.Packet.(type) {
				case *codec.Publish:
					if q.QoS == 2 {
						l.State["open"] = append(openIDs(l), q.PacketID)
					}
				case *codec.Pubrel:
					var rest []uint16
					for _, id := range openIDs(l) {
						if id != q.PacketID {
							rest = append(rest, id)
						}
					}
					l.State["open"] = rest
				}
			},
			Down: func(l *Link, p *Packet) {
				switch q := p.Packet.(type) {
				case *codec.Connack:
					o := predecessor(l)
					if !q.SessionPresent || o == nil {
						return
					}
					// The broker takes the exchanges for finished before the client goes on with them.
					ended := map[uint16]bool{}
					for _, id := range openIDs(o) {
						l.PacketToBroker(&codec.Pubrel{PacketID: id})
						ended[id] = true
					}
					l.State["ended"] = ended
				case *codec.Pubcomp:
					if ended, _ := l.State["ended"].(map[uint16]bool); ended[q.PacketID] {
						delete(ended, q.PacketID)
						p.Drop()
					}
				}
			},
		}
	},
}, {
	Name: "session/forgotten-while-connected", Versions: both, Rule: "MQTT-4.1.0-2", Rule5: "MQTT-4.1.0-1",
	New: func() *Hooks {
		f := filtersByID{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				f.up(l, p)
				if _, ok := p.Packet.(*codec.Pingreq); !ok {
					return
				}
				n, _ := l.State["pings"].(int)
				l.State["pings"] = n + 1
				if n == 2 && l.Connect != nil && len(f[clientID(l)]) > 0 {
					l.PacketToBroker(&codec.Unsubscribe{PacketID: ownID, Filters: f[clientID(l)]})
				}
			},
			Down: func(_ *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Unsuback); ok && q.PacketID == ownID {
					p.Drop()
				}
			},
		}
	},
}}

// filtersByID holds the filters that each client has subscribed to.
type filtersByID map[string][]string

func (f filtersByID) up(l *Link, p *Packet) {
	if q, ok := p.Packet.(*codec.Subscribe); ok && l.Connect != nil {
		for _, s := range q.Filters {
			f[clientID(l)] = append(f[clientID(l)], s.Filter)
		}
	}
}

// changeConnect lets f change each legal CONNECT and passes it on where f reports a change.
func changeConnect(f func(l *Link, c *codec.Connect) bool) func(*Link, *Packet) {
	return func(l *Link, p *Packet) {
		strict := codec.Decoder{From: codec.Client}
		if _, err := strict.Decode(p.Raw); err == nil {
			repairConnect(f)(l, p)
		}
	}
}

// repairConnect is changeConnect for any CONNECT that can be read.
func repairConnect(f func(l *Link, c *codec.Connect) bool) func(*Link, *Packet) {
	return func(l *Link, p *Packet) {
		c, ok := p.Packet.(*codec.Connect)
		if !ok || c != l.Connect {
			return
		}
		// The hooks go on seeing the CONNECT of the client.
		changed := *c
		changed.Props, changed.Will.Props = c.Props.Clone(), c.Will.Props.Clone()
		if !f(l, &changed) {
			return
		}
		reencode(l, p, &changed)
	}
}

// present sets Session Present in a CONNACK.
func present(l *Link, p *Packet, q *codec.Connack, on bool) {
	q.SessionPresent = on
	reencode(l, p, q)
}

// history makes Session Present what f says, given the CONNECT and the Clean Start flags of the
// earlier ones with the same Client Identifier. f says nothing where its second result is false.
func history(f func(c *codec.Connect, known []bool) (value, applies bool)) func() *Hooks {
	return func() *Hooks {
		seen := map[string][]bool{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				if c, ok := p.Packet.(*codec.Connect); ok && c == l.Connect && c.ClientID != "" {
					l.State["value"], l.State["applies"] = f(c, seen[c.ClientID])
					seen[c.ClientID] = append(seen[c.ClientID], c.CleanStart)
				}
			},
			Down: func(l *Link, p *Packet) {
				q, ok := p.Packet.(*codec.Connack)
				if ok && q.Reason == codec.Success && l.State["applies"] == true {
					present(l, p, q, l.State["value"] == true)
				}
			},
		}
	}
}

func openIDs(l *Link) []uint16 {
	ids, _ := l.State["open"].([]uint16)
	return ids
}

// eat keeps a PUBLISH from the client and plays its part in the exchange with the broker. The
// PUBREL that follows at QoS 2 is told by [eaten].
func eat(l *Link, p *Packet) {
	switch q := p.Packet.(type) {
	case *codec.Publish:
		switch q.QoS {
		case 1:
			l.PacketToBroker(&codec.Puback{PacketID: q.PacketID})
		case 2:
			ids, _ := l.State["eaten"].(map[uint16]bool)
			if ids == nil {
				ids = map[uint16]bool{}
				l.State["eaten"] = ids
			}
			ids[q.PacketID] = true
			l.PacketToBroker(&codec.Pubrec{PacketID: q.PacketID})
		}
	case *codec.Pubrel:
		l.PacketToBroker(&codec.Pubcomp{PacketID: q.PacketID})
	}
	p.Drop()
}

// eaten reports whether the packet is the PUBREL of an exchange that the client knows nothing of.
func eaten(l *Link, p *Packet) bool {
	q, ok := p.Packet.(*codec.Pubrel)
	if !ok {
		return false
	}
	ids, _ := l.State["eaten"].(map[uint16]bool)
	found := ids[q.PacketID]
	delete(ids, q.PacketID)
	return found
}

// clientID returns the Client Identifier of a connection, "" where it has sent no CONNECT.
func clientID(l *Link) string {
	if l.Connect == nil {
		return ""
	}
	return l.Connect.ClientID
}

// reencode passes the packet on as it was changed. One that is illegal in another way stays as it was.
func reencode(l *Link, p *Packet, q codec.Packet) {
	if b, err := q.AppendTo(nil, l.Version); err == nil {
		p.Set(b...)
	}
}
