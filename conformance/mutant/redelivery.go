package mutant

import (
	"fmt"

	"github.com/mqlab/mqlab/codec"
)

// otherID turns a Packet Identifier into one that is not in use, and back.
const otherID = 0x4000

var redeliveryMutants = []Mutant{{
	Name: "redelivery/publish-missing", Versions: both, Rule: "MQTT-4.4.0-1",
	Falls:  []string{"MQTT-3.10.4-3", "MQTT-4.3.2-1", "MQTT-4.3.3-1"},
	Falls5: []string{"MQTT-3.10.4-3", "MQTT-4.3.2-3", "MQTT-4.3.3-3", "MQTT-4.8.2-4"},
	New: onResumed(func(_ *Link, p *Packet) {
		if q, ok := p.Packet.(*codec.Publish); ok && q.Dup {
			p.Drop()
		}
	}),
}, {
	Name: "redelivery/pubrel-missing", Versions: both, Rule: "MQTT-4.4.0-1",
	Falls:  []string{"MQTT-4.3.3-1"},
	Falls5: []string{"MQTT-4.3.3-5", "MQTT-4.8.2-4"},
	New: onResumed(func(l *Link, p *Packet) {
		switch q := p.Packet.(type) {
		case *codec.Publish:
			l.State[fmt.Sprint("sent", q.PacketID)] = true
		case *codec.Pubrel:
			if l.State[fmt.Sprint("sent", q.PacketID)] == nil {
				p.Drop()
			}
		}
	}),
}, {
	Name: "redelivery/under-another-id", Versions: both, Rule: "MQTT-4.4.0-1",
	Falls:  []string{"MQTT-2.3.1-4", "MQTT-3.10.4-3", "MQTT-4.3.2-1", "MQTT-4.3.3-1"},
	Falls5: []string{"MQTT-3.10.4-3", "MQTT-4.3.2-3", "MQTT-4.3.3-3", "MQTT-4.8.2-4"},
	New: func() *Hooks {
		h := onResumed(func(l *Link, p *Packet) {
			switch q := p.Packet.(type) {
			case *codec.Publish:
				if q.Dup {
					l.State[fmt.Sprint("moved", q.PacketID)] = true
					q.PacketID |= otherID
					reencode(l, p, q)
				}
			case *codec.Pubrel:
				if l.State[fmt.Sprint("moved", q.PacketID)] != nil {
					q.PacketID |= otherID
					reencode(l, p, q)
				}
			}
		})()
		back := func(l *Link, p *Packet, q codec.Packet, id *uint16) {
			if *id&otherID != 0 {
				*id &^= otherID
				reencode(l, p, q)
			}
		}
		h.Up = func(l *Link, p *Packet) {
			switch q := p.Packet.(type) {
			case *codec.Puback:
				back(l, p, q, &q.PacketID)
			case *codec.Pubrec:
				back(l, p, q, &q.PacketID)
			case *codec.Pubcomp:
				back(l, p, q, &q.PacketID)
			}
		}
		return h
	},
}, {
	Name: "redelivery/while-connected", Versions: mqtt5, Rule: "MQTT-4.4.0-1",
	New: func() *Hooks {
		// The second PINGREQ is the sign that a while has passed.
		var open unacknowledged
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				open.up(l, p)
				if _, ok := p.Packet.(*codec.Pingreq); ok {
					n, _ := l.State["pings"].(int)
					l.State["pings"] = n + 1
					if n == 1 {
						open.again(l)
					}
				}
			},
			Down: open.down,
		}
	},
}, {
	Name: "redelivery/refused-message-again", Versions: mqtt5, Rule: "MQTT-4.4.0-2",
	Falls: []string{"P-4.9-quota-replenish"},
	New: swallow(func(_ *Link, p *Packet) bool {
		switch q := p.Packet.(type) {
		case *codec.Puback:
			return q.Reason.Failed()
		case *codec.Pubrec:
			return q.Reason.Failed()
		}
		return false
	}),
}, {
	Name: "redelivery/after-clean-start", Versions: both, Rule: "MQTT-3.1.2-6", Rule5: "P-4.4-resend-after-clean",
	Falls5: []string{"MQTT-3.1.2-4", "MQTT-3.3.1-3", "MQTT-4.3.2-2", "MQTT-4.3.3-2"},
	New: func() *Hooks {
		open := map[string]*unacknowledged{}
		of := func(l *Link) *unacknowledged {
			if l.Connect == nil {
				return &unacknowledged{}
			}
			id := clientID(l)
			if open[id] == nil {
				open[id] = &unacknowledged{}
			}
			return open[id]
		}
		return &Hooks{
			Up: func(l *Link, p *Packet) { of(l).up(l, p) },
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Connack); ok && l.Connect != nil && l.Connect.CleanStart && q.Reason == codec.Success {
					list := of(l)
					l.ToClient(p.Raw...)
					p.Drop()
					list.again(l)
					list.list = nil
					return
				}
				of(l).down(l, p)
			},
		}
	},
}, {
	Name: "redelivery/twice", Versions: mqtt311, Legal: "a QoS 1 message may arrive more than once",
	New: onResumed(func(l *Link, p *Packet) {
		if q, ok := p.Packet.(*codec.Publish); ok && q.Dup && q.QoS == 1 {
			l.ToClient(p.Raw...)
		}
	}),
}, {
	Name: "delivery/absent-receiver-left-out", Versions: both, Rule: "MQTT-4.5.0-1",
	Falls5: []string{"MQTT-4.8.2-4"},
	New: func() *Hooks {
		// What somebody else has received is not sent to the one who was away.
		received := map[string]string{}
		return &Hooks{Down: func(l *Link, p *Packet) {
			if eaten(l, p) {
				eat(l, p)
			}
			switch q := p.Packet.(type) {
			case *codec.Connack:
				l.State["resumed"] = q.SessionPresent
			case *codec.Publish:
				key := q.Topic + " " + string(q.Payload)
				by, known := received[key]
				if known && by != clientID(l) && l.State["resumed"] == true {
					eat(l, p)
				} else if !known {
					received[key] = clientID(l)
				}
			}
		}}
	},
}}

// onResumed lets f see what the broker sends on connections that resume a session.
func onResumed(f func(l *Link, p *Packet)) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Down: func(l *Link, p *Packet) {
			if q, ok := p.Packet.(*codec.Connack); ok {
				l.State["resumed"] = q.SessionPresent
			}
			if l.State["resumed"] == true {
				f(l, p)
			}
		}}
	}
}

// unacknowledged holds the deliveries that clients have not answered, by Packet Identifier.
type unacknowledged struct{ list []unanswered }

type unanswered struct {
	link *Link
	p    *codec.Publish
}

func (u *unacknowledged) down(l *Link, p *Packet) {
	if q, ok := p.Packet.(*codec.Publish); ok && q.QoS > 0 {
		u.list = append(u.list, unanswered{l, q.Clone()})
	}
}

func (u *unacknowledged) up(l *Link, p *Packet) {
	var id uint16
	switch q := p.Packet.(type) {
	case *codec.Puback:
		id = q.PacketID
	case *codec.Pubrec:
		id = q.PacketID
	default:
		return
	}
	var rest []unanswered
	for _, a := range u.list {
		if a.link != l || a.p.PacketID != id {
			rest = append(rest, a)
		}
	}
	u.list = rest
}

// again sends what the client has not answered once more. Deliveries on earlier connections of
// the same client count as well.
func (u *unacknowledged) again(l *Link) {
	for _, a := range u.list {
		if a.link == l || a.link.Connect != nil && a.link.Connect.ClientID == clientID(l) {
			q := a.p.Clone()
			q.Dup = true
			l.PacketToClient(q)
		}
	}
}
