package mutant

import (
	"slices"

	"github.com/mqlab/mqlab/codec"
)

// manyOpen is how many unacknowledged messages make a mutant of identifiers act. Few checks
// leave so many open.
const manyOpen = 8

var packetIDMutants = []Mutant{{
	Name: "packetid/zero-from-the-server", Versions: both, Rule: "MQTT-2.3.1-1", Rule5: "MQTT-2.2.1-4",
	Falls: []string{"MQTT-4.3.2-1", "MQTT-4.3.3-1"},
	New: withManyOpen(func(raw *Packet, p *codec.Publish, _ []uint16) {
		if raw.Raw[1] < 0x80 {
			at := 4 + len(p.Topic)
			raw.Raw[at], raw.Raw[at+1] = 0, 0
		}
	}),
}, {
	Name: "packetid/used-twice", Versions: mqtt5, Rule: "MQTT-2.2.1-4",
	Falls: []string{"MQTT-4.3.2-1", "MQTT-4.3.3-1"},
	New: withManyOpen(func(raw *Packet, p *codec.Publish, open []uint16) {
		p.PacketID = open[0]
		raw.Encode(p, codec.V5)
	}),
}, {
	Name: "packetid/zero-answered", Versions: mqtt311, Rule: "MQTT-2.3.1-1",
	New: answerZero(0x90, 3, 0, 0, 0),
}, {
	Name: "packetid/zero-answered-5", Versions: mqtt5, Rule: "P-2.2.1-packet-id-zero", Warn: true,
	New: answerZero(0x90, 4, 0, 0, 0, 0),
}, {
	Name: "packetid/zero-tolerated", Versions: mqtt311, Rule: "MQTT-4.8.0-1",
	New: swallow(func(_ *Link, p *Packet) bool { return len(p.Raw) > 4 && p.Raw[0] == 0xA2 && p.Raw[2]|p.Raw[3] == 0 }),
}, {
	Name: "packetid/resent-with-another", Versions: mqtt311, Rule: "MQTT-2.3.1-4",
	Falls: []string{"MQTT-4.4.0-1", "MQTT-3.10.4-3", "MQTT-4.3.3-1"},
	New: func() *Hooks {
		const other = 0x4000
		return &Hooks{Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && p.Dup {
				p.PacketID ^= other
				raw.Encode(p, l.Version)
			}
		}, Up: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Puback); ok && p.PacketID&other != 0 {
				p.PacketID ^= other
				raw.Encode(p, l.Version)
			}
		}}
	},
}, {
	Name: "packetid/pubrel-with-another", Versions: both, Rule: "MQTT-2.3.1-6", Rule5: "MQTT-2.2.1-5",
	Falls:  []string{"MQTT-3.10.4-3", "MQTT-4.3.3-1", "MQTT-4.6.0-6"},
	Falls5: []string{"MQTT-3.10.4-3", "MQTT-4.3.3-4", "MQTT-4.6.0-6", "MQTT-4.8.2-4", "P-3.4.2.1-short-ack", "MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2"},
	New: func() *Hooks {
		const other = 0x4000
		return &Hooks{Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Pubrel); ok {
				p.PacketID ^= other
				raw.Encode(p, l.Version)
			}
		}, Up: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Pubcomp); ok && p.PacketID&other != 0 {
				p.PacketID ^= other
				raw.Encode(p, l.Version)
			}
		}}
	},
}, {
	Name: "packetid/unsuback-loses-the-top-bit", Versions: both, Rule: "MQTT-2.3.1-7", Rule5: "MQTT-2.2.1-6",
	Falls: []string{"MQTT-3.10.4-4", "MQTT-3.10.4-5"},
	New:   alterDown(func(_ *Link, raw *Packet, _ *codec.Unsuback) { raw.Raw[2] &= 0x7F }),
}, {
	Name: "packetid/suback-loses-the-top-bit", Versions: both, Rule: "MQTT-2.3.1-7", Rule5: "MQTT-2.2.1-6",
	Falls: []string{"MQTT-3.8.4-2"},
	New:   alterDown(func(_ *Link, raw *Packet, _ *codec.Suback) { raw.Raw[2] &= 0x7F }),
}, {
	Name: "packetid/subacks-in-another-order", Versions: both, Legal: "requests in flight together may be answered in any order",
	New: func() *Hooks {
		return &Hooks{Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Suback); ok && p.PacketID == 0x8000 {
				late := slices.Clone(raw.Raw)
				raw.Drop()
				l.After(shortDelay, func() { l.ToClient(late...) })
			}
		}}
	},
}, {
	Name: "packetid/second-use-ends-the-first", Versions: mqtt5, Rule: "P-2.2.1-packet-id-in-use",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, raw *Packet) {
			switch p := raw.Packet.(type) {
			case *codec.Publish:
				if p.QoS == 2 {
					l.State["open"] = p.PacketID
				}
			case *codec.Pubrel:
				if l.State["twice"] == nil {
					delete(l.State, "open")
				}
			case *codec.Subscribe:
				if l.State["open"] == p.PacketID {
					l.State["twice"] = true
				}
			}
		}, Down: func(l *Link, raw *Packet) {
			if _, ok := raw.Packet.(*codec.Pubcomp); ok && l.State["twice"] != nil {
				raw.Drop()
			}
		}}
	},
}, {
	Name: "packetid/second-use-refused", Versions: mqtt5, Legal: "a second use may be answered with 0x91",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, raw *Packet) {
			switch p := raw.Packet.(type) {
			case *codec.Publish:
				if p.QoS == 2 {
					l.State["open"] = p.PacketID
				}
			case *codec.Pubrel:
				delete(l.State, "open")
			case *codec.Subscribe:
				if l.State["open"] == p.PacketID {
					raw.Drop()
					l.PacketToClient(&codec.Suback{PacketID: p.PacketID, Reasons: []codec.ReasonCode{codec.PacketIDInUse}})
				}
			}
		}}
	},
}}

// withManyOpen lets f change a message that is on its way while many others are unacknowledged.
// open are their identifiers.
func withManyOpen(f func(raw *Packet, p *codec.Publish, open []uint16)) func() *Hooks {
	return func() *Hooks {
		open := map[*Link][]uint16{}
		done := func(l *Link, id uint16) {
			open[l] = slices.DeleteFunc(open[l], func(o uint16) bool { return o == id })
		}
		return &Hooks{Down: func(l *Link, raw *Packet) {
			p, ok := raw.Packet.(*codec.Publish)
			if !ok || p.QoS == 0 {
				return
			}
			before := open[l]
			open[l] = append(open[l], p.PacketID)
			if len(before) >= manyOpen {
				f(raw, p, before)
			}
		}, Up: func(l *Link, raw *Packet) {
			switch p := raw.Packet.(type) {
			case *codec.Puback:
				done(l, p.PacketID)
			case *codec.Pubcomp:
				done(l, p.PacketID)
			}
		}}
	}
}

// answerZero answers SUBSCRIBE with Packet Identifier 0 in the broker's place.
func answerZero(answer ...byte) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if len(p.Raw) > 4 && p.Raw[0] == 0x82 && p.Raw[2]|p.Raw[3] == 0 {
				p.Drop()
				l.ToClient(answer...)
			}
		}}
	}
}
