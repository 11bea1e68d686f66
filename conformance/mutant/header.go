package mutant

import (
	"slices"

	"github.com/mqlab/mqlab/codec"
)

var headerMutants = []Mutant{{
	Name: "header/puback-flags-set", Versions: both, Rule: "MQTT-2.2.2-1", Rule5: "MQTT-2.1.3-1",
	New: alterDown(func(_ *Link, raw *Packet, _ *codec.Puback) { raw.Raw[0] |= 1 }),
}, {
	Name: "header/unsuback-flags-set", Versions: both, Rule: "MQTT-2.2.2-1", Rule5: "MQTT-2.1.3-1",
	New: alterDown(func(_ *Link, raw *Packet, _ *codec.Unsuback) { raw.Raw[0] |= 2 }),
}, {
	Name: "header/pubrel-flags-missing", Versions: both, Rule: "MQTT-3.6.1-1",
	Falls: []string{"MQTT-2.2.2-1"}, Falls5: []string{"MQTT-2.1.3-1"},
	New: alterDown(func(_ *Link, raw *Packet, _ *codec.Pubrel) { raw.Raw[0] = 0x60 }),
}, {
	Name: "header/pingreq-flags-tolerated", Versions: mqtt311, Rule: "MQTT-2.2.2-2",
	New: swallow(startsWith(0xC1)),
}, {
	Name: "header/pingreq-flags-undetected", Versions: mqtt5, Rule: "MQTT-2.1.3-1", Warn: true,
	New: swallow(startsWith(0xC1)),
}, {
	Name: "header/pubrel-flags-tolerated", Versions: both, Rule: "MQTT-3.6.1-1",
	New: func() *Hooks {
		return &Hooks{Up: func(_ *Link, p *Packet) {
			if p.Raw[0] == 0x63 {
				p.Raw[0] = 0x62
			}
		}}
	},
}, {
	Name: "header/remaining-length-padded", Versions: mqtt5, Rule: "MQTT-1.5.5-1",
	New: alterDown(func(_ *Link, raw *Packet, _ *codec.Publish) {
		if raw.Raw[1] < 0x80 {
			raw.Raw = slices.Concat([]byte{raw.Raw[0], raw.Raw[1] | 0x80, 0}, raw.Raw[2:])
		}
	}),
}, {
	Name: "header/property-length-padded", Versions: mqtt5, Rule: "MQTT-1.5.5-1",
	New: alterDown(func(_ *Link, raw *Packet, _ *codec.Suback) {
		if b := raw.Raw; b[1] < 0x7F && b[4] == 0 {
			raw.Raw = slices.Concat([]byte{b[0], b[1] + 1, b[2], b[3], 0x80, 0}, b[5:])
		}
	}),
}, {
	Name: "header/property-length-missing", Versions: mqtt5, Rule: "MQTT-2.2.2-1",
	Falls: []string{"MQTT-3.11.3-2", "P-2.2.2.1-property-length-overrun"},
	New: alterDown(func(_ *Link, raw *Packet, _ *codec.Unsuback) {
		if b := raw.Raw; len(b) == 6 && b[4] == 0 {
			raw.Raw = []byte{b[0], 3, b[2], b[3], b[5]}
		}
	}),
}, {
	Name: "header/packet-id-at-qos0", Versions: both, Rule: "MQTT-2.3.1-5", Rule5: "MQTT-2.2.1-2",
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Publish) {
		if p.QoS == 0 && string(p.Payload) == "bare xyz" && raw.Raw[1] < 0x7E {
			at := 4 + len(p.Topic)
			raw.Raw = slices.Concat([]byte{raw.Raw[0], raw.Raw[1] + 2}, raw.Raw[2:at], []byte{0, 1}, raw.Raw[at:])
		}
	}),
}, {
	Name: "header/qos0-lost-once", Versions: both, Legal: "any message of QoS 0 may be lost",
	New: func() *Hooks {
		return &Hooks{Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && string(p.Payload) == "bare xyz" && l.State["lost"] == nil {
				l.State["lost"] = true
				raw.Drop()
			}
		}}
	},
}}
