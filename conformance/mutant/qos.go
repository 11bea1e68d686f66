package mutant

import (
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// highID is beyond the identifiers that checks use without a reason.
const highID = 0x7000

var qosMutants = []Mutant{{
	Name: "qos/zero-sent-twice", Versions: both, Rule: "MQTT-4.3.1-1",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		if p.QoS == 0 && !p.Retain {
			l.ToClient(raw.Raw...)
		}
	}),
}, {
	Name: "qos/zero-again-on-the-next-connection", Versions: both, Rule: "MQTT-4.3.1-1",
	New: func() *Hooks {
		first := map[string][]byte{}
		return &Hooks{Down: func(l *Link, raw *Packet) {
			switch p := raw.Packet.(type) {
			case *codec.Connack:
				if b := first[clientID(l)]; p.SessionPresent && b != nil {
					raw.Raw = append(raw.Raw, b...)
				}
			case *codec.Publish:
				if id := clientID(l); p.QoS == 0 && !p.Retain && id != "" && first[id] == nil {
					first[id] = raw.Raw
				}
			}
		}}
	},
}, {
	Name: "qos/zero-sometimes-lost", Versions: both, Legal: "a message at QoS 0 may be lost",
	New: func() *Hooks {
		n := 0
		return &Hooks{Down: func(_ *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && p.QoS == 0 {
				if n++; n%5 == 0 {
					raw.Drop()
				}
			}
		}}
	},
}, {
	Name: "qos/puback-missing-for-high-ids", Versions: both, Rule: "MQTT-4.3.2-2", Rule5: "MQTT-4.3.2-4",
	Falls: []string{"MQTT-3.3.4-1"},
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Puback) {
		if p.PacketID >= highID {
			raw.Drop()
		}
	}),
}, {
	Name: "qos/acknowledged-id-taken-for-a-repeat", Versions: both, Rule: "MQTT-4.3.2-2", Rule5: "MQTT-4.3.2-5",
	New: completedIDs(1, func(l *Link, raw *Packet, p *codec.Publish) {
		raw.Drop()
		acknowledge(l, p)
	}),
}, {
	Name: "qos/dup-taken-for-a-repeat", Versions: both, Rule: "MQTT-4.3.2-2", Rule5: "MQTT-4.3.2-5",
	New: completedIDs(1, func(l *Link, raw *Packet, p *codec.Publish) {
		if p.Dup {
			raw.Drop()
			acknowledge(l, p)
		}
	}),
}, {
	Name: "qos/pubrec-missing-for-high-ids", Versions: both, Rule: "MQTT-4.3.3-2", Rule5: "MQTT-4.3.3-8",
	Falls: []string{"MQTT-3.3.4-1"},
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Pubrec) {
		if p.PacketID >= highID {
			raw.Drop()
		}
	}),
}, {
	Name: "qos/pubcomp-missing-for-high-ids", Versions: both, Rule: "MQTT-4.3.3-2", Rule5: "MQTT-4.3.3-11",
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Pubcomp) {
		if p.PacketID >= highID {
			raw.Drop()
		}
	}),
}, {
	Name: "qos/repeat-without-pubrec", Versions: both, Rule: "MQTT-4.3.3-2", Rule5: "MQTT-4.3.3-10",
	Falls: []string{"MQTT-3.3.4-1", "MQTT-4.1.0-1"}, Falls5: []string{"MQTT-3.3.4-1", "MQTT-3.1.2-23"},
	New: repeatedPublish(func(_ *receiving, _ *Link, raw *Packet, _ *codec.Publish) {
		raw.Drop()
	}),
}, {
	Name: "qos/repeat-delivered-again", Versions: both, Rule: "MQTT-4.3.3-2", Rule5: "MQTT-4.3.3-10",
	Falls: []string{"MQTT-4.1.0-1"}, Falls5: []string{"MQTT-3.1.2-23"},
	New: repeatedPublish((*receiving).asNew),
}, {
	Name: "qos/repeat-refused", Versions: mqtt5, Rule: "MQTT-4.3.3-10", Warn: true,
	New: repeatedPublish(func(_ *receiving, l *Link, raw *Packet, p *codec.Publish) {
		raw.Drop()
		l.PacketToClient(&codec.Pubrec{PacketID: p.PacketID, Reason: codec.PacketIDInUse})
	}),
}, {
	Name: "qos/pubrec-repeated-on-resume", Versions: both,
	Legal: "a receiver may repeat PUBREC for what was not released when the session is resumed",
	New:   pubrecOnResume,
}, {
	Name: "qos/completed-id-taken-for-a-repeat", Versions: both, Rule: "MQTT-4.3.3-2", Rule5: "MQTT-4.3.3-12",
	New: completedIDs(2, func(l *Link, raw *Packet, p *codec.Publish) {
		raw.Drop()
		acknowledge(l, p)
		l.State["answer pubrel"] = true
	}),
}, {
	Name: "qos/unknown-pubrel-unanswered", Versions: mqtt5, Rule: "P-3.6.2.1-unknown-pubrel",
	Falls: []string{"MQTT-4.3.3-11"},
	New:   unknownPubrel(func(_ *Link, raw *Packet, _ uint16) { raw.Drop() }),
}, {
	Name: "qos/unknown-pubrel-ignored", Versions: mqtt311, Rule: "MQTT-4.3.3-2", Warn: true,
	New: unknownPubrel(func(_ *Link, raw *Packet, _ uint16) { raw.Drop() }),
}, {
	Name: "qos/unknown-pubrel-ends-the-connection", Versions: both,
	Legal: "no reaction to a PUBREL with an unknown Packet Identifier is demanded before 5.0, and to end a connection is always possible",
	New: unknownPubrel(func(l *Link, raw *Packet, _ uint16) {
		raw.Drop()
		l.CloseBroker()
	}),
}, {
	Name: "qos/unknown-pubrel-succeeds", Versions: mqtt5,
	Legal: "PUBCOMP may report success for an unknown Packet Identifier",
	New: unknownPubrel(func(l *Link, raw *Packet, id uint16) {
		raw.Drop()
		l.PacketToClient(&codec.Pubcomp{PacketID: id})
	}),
}, {
	Name: "qos/refused-id-stays-in-use", Versions: mqtt5, Rule: "MQTT-4.3.3-9",
	New: func() *Hooks {
		refused := map[*Link]map[uint16]bool{}
		return &Hooks{
			Up: func(l *Link, raw *Packet) {
				if p, ok := raw.Packet.(*codec.Publish); ok && p.QoS == 2 && refused[l][p.PacketID] {
					raw.Drop()
					l.PacketToClient(&codec.Pubrec{PacketID: p.PacketID, Reason: codec.PacketIDInUse})
				}
			},
			Down: func(l *Link, raw *Packet) {
				if p, ok := raw.Packet.(*codec.Pubrec); ok && p.Reason.Failed() {
					if refused[l] == nil {
						refused[l] = map[uint16]bool{}
					}
					refused[l][p.PacketID] = true
				}
			},
		}
	},
}, {
	Name: "qos/handshake-broken-off-by-expiry", Versions: mqtt5, Rule: "MQTT-4.3.3-13",
	New: expiredHandshake(func(l *Link, raw *Packet, id uint16) {
		l.PacketToClient(&codec.Pubcomp{PacketID: id, Reason: codec.PacketIDNotFound})
	}),
}, {
	Name: "qos/handshake-silenced-by-expiry", Versions: mqtt5, Rule: "MQTT-4.3.3-13",
	New: expiredHandshake(func(*Link, *Packet, uint16) {}),
}, {
	Name: "qos/delivered-at-pubrel", Versions: both,
	Legal: "a receiver may pass a QoS 2 message on when it was released",
	New:   deliveredAtPubrel,
}}

// completedIDs lets f see each PUBLISH at the QoS whose identifier an earlier, completed exchange
// of the same connection had. Where f sets "answer pubrel", PUBREL is answered in the broker's
// place from then on.
func completedIDs(qos codec.QoS, f func(l *Link, raw *Packet, p *codec.Publish)) func() *Hooks {
	return func() *Hooks {
		done := map[*Link]map[uint16]bool{}
		return &Hooks{
			Up: func(l *Link, raw *Packet) {
				switch p := raw.Packet.(type) {
				case *codec.Publish:
					delete(l.State, "answer pubrel")
					if p.QoS == qos && done[l][p.PacketID] {
						f(l, raw, p)
					}
				case *codec.Pubrel:
					if l.State["answer pubrel"] == true {
						raw.Drop()
						l.PacketToClient(&codec.Pubcomp{PacketID: p.PacketID})
					}
				}
			},
			Down: func(l *Link, raw *Packet) {
				typ, id := ackID(raw.Packet)
				if qos == 1 && typ == codec.TypePuback || qos == 2 && typ == codec.TypePubcomp {
					if done[l] == nil {
						done[l] = map[uint16]bool{}
					}
					done[l][id] = true
				}
			},
		}
	}
}

// receiving is what a mutant knows of the QoS 2 messages that clients have begun to send, over
// all connections of a session.
type receiving struct {
	open  map[string]map[uint16]bool // received and not released
	moved map[*Link]map[uint16]bool  // sent to the broker under another identifier
}

// repeatedPublish lets f see each PUBLISH that repeats one which was not released.
func repeatedPublish(f func(r *receiving, l *Link, raw *Packet, p *codec.Publish)) func() *Hooks {
	return func() *Hooks {
		r := &receiving{open: map[string]map[uint16]bool{}, moved: map[*Link]map[uint16]bool{}}
		return &Hooks{
			Up: func(l *Link, raw *Packet) {
				if l.Connect == nil {
					return
				}
				id := clientID(l)
				if r.open[id] == nil || l.Connect == raw.Packet && l.Connect.CleanStart {
					r.open[id] = map[uint16]bool{}
				}
				switch p := raw.Packet.(type) {
				case *codec.Publish:
					if p.QoS != 2 || !legalPublish(l, raw) {
						return
					}
					if p.Dup && r.open[id][p.PacketID] {
						f(r, l, raw, p)
					}
					r.open[id][p.PacketID] = true
				case *codec.Pubrel:
					delete(r.open[id], p.PacketID)
					if r.moved[l][p.PacketID] {
						l.PacketToBroker(&codec.Pubrel{PacketID: p.PacketID | otherID})
					}
				}
			},
			Down: func(l *Link, raw *Packet) {
				switch p := raw.Packet.(type) {
				case *codec.Pubrec:
					if r.moved[l][p.PacketID&^otherID] && p.PacketID&otherID != 0 {
						p.PacketID &^= otherID
						reencode(l, raw, p)
					}
				case *codec.Pubcomp:
					if r.moved[l][p.PacketID&^otherID] && p.PacketID&otherID != 0 {
						raw.Drop()
					}
				}
			},
		}
	}
}

// pubrecOnResume sends the PUBRECs that no PUBREL has answered behind a CONNACK with Session Present 1.
func pubrecOnResume() *Hooks {
	open := map[string][]uint16{}
	return &Hooks{
		Up: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Pubrel); ok {
				open[clientID(l)] = slices.DeleteFunc(open[clientID(l)], func(id uint16) bool { return id == p.PacketID })
			}
		},
		Down: func(l *Link, raw *Packet) {
			switch p := raw.Packet.(type) {
			case *codec.Pubrec:
				if !p.Reason.Failed() {
					open[clientID(l)] = append(open[clientID(l)], p.PacketID)
				}
			case *codec.Connack:
				if !p.SessionPresent {
					delete(open, clientID(l))
				}
				for _, id := range open[clientID(l)] {
					raw.Raw = append(raw.Raw, encode(&codec.Pubrec{PacketID: id}, l.Version)...)
				}
			}
		},
	}
}

// asNew hands a repeat to the broker under an identifier that makes it another message.
func (r *receiving) asNew(l *Link, raw *Packet, p *codec.Publish) {
	if r.moved[l] == nil {
		r.moved[l] = map[uint16]bool{}
	}
	r.moved[l][p.PacketID] = true
	q := *p
	q.PacketID, q.Dup = p.PacketID|otherID, false
	reencode(l, raw, &q)
}

// unknownPubrel lets f answer a PUBREL whose identifier no PUBLISH of the session had.
func unknownPubrel(f func(l *Link, raw *Packet, id uint16)) func() *Hooks {
	return func() *Hooks {
		type key struct {
			client string
			id     uint16
		}
		used := map[key]bool{}
		return &Hooks{Up: func(l *Link, raw *Packet) {
			switch p := raw.Packet.(type) {
			case *codec.Publish:
				used[key{clientID(l), p.PacketID}] = true
			case *codec.Pubrel:
				if l.Connect != nil && raw.Raw[0] == 0x62 && p.PacketID != 0 && !used[key{clientID(l), p.PacketID}] && legal(l, raw) {
					f(l, raw, p.PacketID)
				}
			}
		}}
	}
}

// expiredHandshake lets f answer a PUBREL that comes when the message has expired.
func expiredHandshake(f func(l *Link, raw *Packet, id uint16)) func() *Hooks {
	return func() *Hooks {
		ends := map[*Link]map[uint16]time.Time{}
		return &Hooks{Up: func(l *Link, raw *Packet) {
			switch p := raw.Packet.(type) {
			case *codec.Publish:
				if s := p.Props.Uint(codec.PropMessageExpiry, 0); p.QoS == 2 && s > 0 {
					if ends[l] == nil {
						ends[l] = map[uint16]time.Time{}
					}
					ends[l][p.PacketID] = time.Now().Add(time.Duration(s) * time.Second)
				}
			case *codec.Pubrel:
				if at, ok := ends[l][p.PacketID]; ok && time.Now().After(at) {
					raw.Drop()
					f(l, raw, p.PacketID)
				}
			}
		}}
	}
}

// deliveredAtPubrel keeps each QoS 2 message from the broker until the client releases it.
func deliveredAtPubrel() *Hooks {
	type key struct {
		link *Link
		id   uint16
	}
	held, passed := map[key][]byte{}, map[key]bool{}
	return &Hooks{
		Up: func(l *Link, raw *Packet) {
			// Sessions that outlive their connection would need the held messages to do so too.
			if l.Connect == nil || !l.Connect.CleanStart || l.Connect.Props.Has(codec.PropSessionExpiry) || l.Connect.Props.Has(codec.PropMaximumPacketSize) {
				return
			}
			switch p := raw.Packet.(type) {
			case *codec.Publish:
				k := key{l, p.PacketID}
				if p.QoS != 2 || !legalPublish(l, raw) || p.Props.Has(codec.PropTopicAlias) || p.Props.Has(codec.PropPayloadFormat) || strings.HasPrefix(p.Topic, "$") {
					return
				}
				if held[k] == nil {
					held[k] = raw.Raw
				}
				raw.Drop()
				l.PacketToClient(&codec.Pubrec{PacketID: p.PacketID})
			case *codec.Pubrel:
				if k := (key{l, p.PacketID}); held[k] != nil && legal(l, raw) {
					raw.Drop()
					l.ToBroker(held[k]...)
					delete(held, k)
					passed[k] = true
				}
			}
		},
		Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Pubrec); ok && passed[key{l, p.PacketID}] {
				delete(passed, key{l, p.PacketID})
				raw.Drop()
				l.PacketToBroker(&codec.Pubrel{PacketID: p.PacketID})
			}
		},
	}
}
