package mutant

import (
	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

// replaceReceiveMaximum tells the broker another Receive Maximum than the client announced.
func replaceReceiveMaximum(n uint32) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: changeConnect(func(_ *Link, c *codec.Connect) bool {
			if !c.Props.Has(codec.PropReceiveMaximum) {
				return false
			}
			c.Props.SetUint(codec.PropReceiveMaximum, n)
			return true
		})}
	}
}

// excess keeps the QoS 2 messages beyond a Receive Maximum of most from the broker, and hands
// them to answer.
func excess(most int, answer func(l *Link, p *codec.Publish)) func() *Hooks {
	return func() *Hooks {
		open, extra := map[*Link]map[uint16]bool{}, map[*Link]map[uint16]bool{}
		return &Hooks{Up: func(l *Link, raw *Packet) {
			if open[l] == nil {
				open[l], extra[l] = map[uint16]bool{}, map[uint16]bool{}
			}
			switch p := raw.Packet.(type) {
			case *codec.Publish:
				if p.QoS < 2 {
					return
				}
				if len(open[l]) >= most && !open[l][p.PacketID] {
					extra[l][p.PacketID] = true
					raw.Drop()
					answer(l, p)
					return
				}
				open[l][p.PacketID] = true
			case *codec.Pubrel:
				if extra[l][p.PacketID] {
					delete(extra[l], p.PacketID)
					raw.Drop()
					l.PacketToClient(&codec.Pubcomp{PacketID: p.PacketID})
				}
				delete(open[l], p.PacketID)
			}
		}}
	}
}

// smallWindow is what the broker takes in the mutants about exceeding its Receive Maximum.
const smallWindow = 3

var windowMutants = []Mutant{{
	Name: "window/receive-maximum-of-client-ignored", Versions: mqtt5, Rule: "MQTT-3.3.4-9",
	Falls: []string{"MQTT-4.9.0-1", "MQTT-4.9.0-2", "P-4.9-quota-replenish", "P-4.9-quota-per-connection"},
	New:   replaceReceiveMaximum(100),
}, {
	Name: "window/full-delays-others", Versions: mqtt5, Rule: "MQTT-3.3.4-10",
	Falls: []string{"MQTT-4.9.0-3"},
	New: func() *Hooks {
		open := map[*Link]map[uint16]bool{}
		return &Hooks{Up: func(l *Link, raw *Packet) {
			if typ, id := ackID(raw.Packet); typ == codec.TypePuback || typ == codec.TypePubcomp || typ == codec.TypePubrec {
				delete(open[l], id)
			}
		}, Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && p.QoS > 0 {
				if open[l] == nil {
					open[l] = map[uint16]bool{}
				}
				open[l][p.PacketID] = true
				return
			}
			if l.Connect == nil {
				return
			}
			if most := l.Connect.Props.Uint(codec.PropReceiveMaximum, 0); most > 0 && len(open[l]) >= int(most) {
				raw.Drop()
			}
		}}
	},
}, {
	Name: "window/excess-tolerated", Versions: mqtt5, Rule: "MQTT-3.3.4-7", Warn: true,
	Falls:  []string{"P-3.3.4-receive-maximum-exceeded"},
	Broker: broker.Config{ReceiveMaximum: smallWindow},
	New:    excess(smallWindow, acknowledge),
}, {
	Name: "window/excess-refused-by-code", Versions: mqtt5, Rule: "P-3.3.4-receive-maximum-exceeded", Warn: true,
	Falls:  []string{"MQTT-3.3.4-7"},
	Broker: broker.Config{ReceiveMaximum: smallWindow},
	New: excess(smallWindow, func(l *Link, p *codec.Publish) {
		l.PacketToClient(&codec.Pubrec{PacketID: p.PacketID, Reason: codec.QuotaExceeded})
	}),
}, {
	Name: "window/one-at-a-time", Versions: mqtt5,
	Legal: "a server may keep fewer messages unacknowledged than the client allows",
	New:   replaceReceiveMaximum(1),
}}

// ackID returns type and Packet Identifier of an acknowledgement that a receiver sends.
func ackID(p codec.Packet) (codec.Type, uint16) {
	switch p := p.(type) {
	case *codec.Puback:
		return codec.TypePuback, p.PacketID
	case *codec.Pubrec:
		return codec.TypePubrec, p.PacketID
	case *codec.Pubcomp:
		return codec.TypePubcomp, p.PacketID
	}
	return 0, 0
}
