package mutant

import "github.com/mqlab/mqlab/codec"

var dupMutants = []Mutant{{
	Name: "dup/clear-on-redelivery", Versions: both, Rule: "MQTT-3.3.1-1",
	Falls: []string{"MQTT-4.4.0-1", "MQTT-4.3.2-1", "MQTT-4.3.3-1"},
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Publish) {
		if p.Dup {
			raw.Raw[0] &^= 8
		}
	}),
}, {
	Name: "dup/set-at-qos0", Versions: both, Rule: "MQTT-3.3.1-2",
	Falls: []string{"MQTT-3.3.1-3", "MQTT-4.3.1-1"},
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Publish) {
		if p.QoS == 0 {
			raw.Raw[0] |= 8
		}
	}),
}, {
	Name: "dup/passed-on", Versions: both, Rule: "MQTT-3.3.1-3",
	Falls:  []string{"MQTT-4.3.2-1", "MQTT-4.3.3-1"},
	Falls5: []string{"MQTT-4.3.2-2", "MQTT-4.3.3-2"},
	New: func() *Hooks {
		marked := map[string]bool{}
		return &Hooks{Up: func(_ *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && p.Dup && p.QoS > 0 {
				marked[p.Topic+"\x00"+string(p.Payload)] = true
			}
		}, Down: func(_ *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && p.QoS > 0 && marked[p.Topic+"\x00"+string(p.Payload)] {
				raw.Raw[0] |= 8
			}
		}}
	},
}, {
	Name: "dup/at-qos0-ends-connection", Versions: both,
	Legal: "the standard leaves open what follows DUP 1 at QoS 0",
	New: upPublish(func(l *Link, raw *Packet, p *codec.Publish) {
		if p.Dup && p.QoS == 0 {
			raw.Drop()
			l.CloseBroker()
		}
	}),
}, {
	Name: "dup/repeated-on-live-connection", Versions: mqtt311,
	Legal: "a server may send an unacknowledged message again, with DUP 1, while the connection lives",
	New: func() *Hooks {
		return &Hooks{Down: func(l *Link, raw *Packet) {
			p, ok := raw.Packet.(*codec.Publish)
			if !ok || p.QoS != 1 || p.Dup {
				return
			}
			again := append([]byte(nil), raw.Raw...)
			again[0] |= 8
			raw.Raw = append(raw.Raw, again...)
			repeats(l)[p.PacketID] = true
		}, Up: func(l *Link, raw *Packet) {
			// Each copy is acknowledged; the broker knows of one.
			if p, ok := raw.Packet.(*codec.Puback); ok && repeats(l)[p.PacketID] {
				delete(repeats(l), p.PacketID)
				raw.Drop()
			}
		}}
	},
}}

// repeats returns the Packet Identifiers of which one acknowledgement too many is expected.
func repeats(l *Link) map[uint16]bool {
	m, ok := l.State["repeats"].(map[uint16]bool)
	if !ok {
		m = map[uint16]bool{}
		l.State["repeats"] = m
	}
	return m
}
