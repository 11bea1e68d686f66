package mutant

import "github.com/mqlab/mqlab/codec"

var takeoverMutants = []Mutant{{
	Name: "takeover/older-connection-stays", Versions: both, Rule: "MQTT-3.1.4-2", Rule5: "MQTT-3.1.4-3",
	New: func() *Hooks {
		return &Hooks{Down: dropDisconnect, Gone: replaced}
	},
}, {
	Name: "takeover/newer-connection-refused", Versions: both, Rule: "MQTT-3.1.4-2", Rule5: "MQTT-3.1.4-3",
	New: func() *Hooks {
		online := map[string]*Link{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				if c, ok := p.Packet.(*codec.Connect); ok && c == l.Connect && c.ClientID != "" {
					l.State["second"] = online[c.ClientID] != nil
					online[c.ClientID] = l
				}
				if _, ok := p.Packet.(*codec.Disconnect); ok {
					delete(online, clientID(l))
				}
			},
			Down: func(l *Link, p *Packet) {
				if _, ok := p.Packet.(*codec.Connack); ok && l.State["second"] == true {
					refusal := &codec.Connack{Reason: codec.ReturnIdentifierRejected}
					if l.Version == codec.V5 {
						refusal.Reason = codec.ClientIDNotValid
					}
					l.PacketToClient(refusal)
					p.Drop()
					l.CloseClient()
				}
			},
			Left: func(l *Link) bool {
				if l.Connect != nil {
					delete(online, clientID(l))
				}
				return false
			},
		}
	},
}, {
	Name: "takeover/without-disconnect", Versions: mqtt5, Rule: "MQTT-3.1.4-3", Warn: true,
	New: func() *Hooks { return &Hooks{Down: dropDisconnect} },
}, {
	Name: "takeover/disconnect-with-session-expiry", Versions: mqtt5, Rule: "MQTT-3.14.2-2",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Disconnect) {
		if p.Reason != codec.SessionTakenOver {
			return
		}
		if b, err := codec.Break(raw.Raw, l.Version, codec.BreakServerSessionExpiry); err == nil {
			raw.Set(b...)
		}
	}),
}, {
	Name: "takeover/will-lost", Versions: mqtt311, Rule: "MQTT-3.1.2-8", Warn: true,
	New: takenOverWillLost,
}, {
	Name: "takeover/will-lost-v5", Versions: mqtt5, Rule: "P-3.1.4-takeover-will",
	New: takenOverWillLost,
}, {
	Name: "takeover/delayed-will-published", Versions: mqtt5, Rule: "P-3.1.4-takeover-will",
	New: delayedWillPublished(false),
}, {
	Name: "will/delayed-published-on-resume", Versions: mqtt5, Rule: "MQTT-3.1.3-9",
	New: delayedWillPublished(true),
}, {
	Name: "takeover/late-close", Versions: both, Legal: "no deadline is set for the end of the older connection",
	New: func() *Hooks {
		return &Hooks{Gone: func(l *Link) bool {
			if !replaced(l) {
				return false
			}
			l.After(shortDelay, l.CloseClient)
			return true
		}}
	},
}, {
	Name: "takeover/close-before-connack", Versions: both, Legal: "the older connection may end before the newer one is accepted",
	New: func() *Hooks {
		return &Hooks{Down: func(l *Link, p *Packet) {
			if q, ok := p.Packet.(*codec.Connack); ok && q.Reason == codec.Success {
				l.State["held"] = []byte{}
				l.After(shortDelay/5, func() {
					l.ToClient(l.State["held"].([]byte)...)
					delete(l.State, "held")
				})
			}
			// What follows the CONNACK must not overtake it.
			if held, holding := l.State["held"].([]byte); holding {
				l.State["held"] = append(held, p.Raw...)
				p.Drop()
			}
		}}
	},
}}

// replaced reports whether a later connection uses the Client Identifier of l.
func replaced(l *Link) bool {
	return l.Connect != nil && clientID(l) != "" && l.Proxy.ByClientID(clientID(l)) != l
}

func dropDisconnect(_ *Link, p *Packet) {
	if q, ok := p.Packet.(*codec.Disconnect); ok && q.Reason == codec.SessionTakenOver {
		p.Drop()
	}
}

// predecessor returns the latest earlier connection with the Client Identifier of l.
func predecessor(l *Link) *Link {
	links := l.Proxy.Links()
	for i := len(links) - 1; i >= 0; i-- {
		if o := links[i]; o.Number < l.Number && o.Connect != nil && o.Connect.ClientID == clientID(l) {
			return o
		}
	}
	return nil
}

// takenOverWillLost keeps back the Wills of connections that another one has taken over.
func takenOverWillLost() *Hooks {
	lost := map[string]bool{}
	return &Hooks{
		Up: func(l *Link, p *Packet) {
			switch p.Packet.(type) {
			case *codec.Connect:
				if o := predecessor(l); o != nil && o.Connect.HasWill && o.State["left"] == nil {
					lost[o.Connect.Will.Topic+" "+string(o.Connect.Will.Payload)] = true
				}
			case *codec.Disconnect:
				l.State["left"] = true
			}
		},
		Down: func(l *Link, p *Packet) {
			if eaten(l, p) {
				eat(l, p)
			}
			if q, ok := p.Packet.(*codec.Publish); ok && lost[q.Topic+" "+string(q.Payload)] {
				eat(l, p)
			}
		},
		Left: func(l *Link) bool {
			l.State["left"] = true
			return false
		},
	}
}

// delayedWillPublished publishes the delayed Will of an earlier connection when its client comes
// back: after that connection has ended, or while it is there.
func delayedWillPublished(ended bool) func() *Hooks {
	return func() *Hooks {
		return &Hooks{
			Down: func(l *Link, p *Packet) {
				q, ok := p.Packet.(*codec.Connack)
				if !ok || !q.SessionPresent {
					return
				}
				o := predecessor(l)
				if o == nil || !o.Connect.HasWill || !o.Connect.Will.Props.Has(codec.PropWillDelay) || (o.State["left"] != nil) != ended {
					return
				}
				w := &o.Connect.Will
				l.PacketToBroker(&codec.Publish{Topic: w.Topic, Payload: w.Payload})
			},
			Left: func(l *Link) bool {
				l.State["left"] = true
				return false
			},
		}
	}
}
