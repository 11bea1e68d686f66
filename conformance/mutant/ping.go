package mutant

import "github.com/mqlab/mqlab/codec"

var pingMutants = []Mutant{{
	Name: "ping/unanswered", Versions: both, Rule: "MQTT-3.12.4-1",
	Falls5: []string{"MQTT-3.3.4-10", "P-3.1.4-early-packets"},
	New:    alterDown(func(_ *Link, raw *Packet, _ *codec.Pingresp) { raw.Drop() }),
}, {
	Name: "ping/late", Versions: both, Legal: "no deadline is set for PINGRESP",
	New: alterDown(func(l *Link, raw *Packet, _ *codec.Pingresp) {
		late := raw.Raw
		raw.Drop()
		l.After(shortDelay, func() { l.ToClient(late...) })
	}),
}, {
	Name: "ping/surplus-byte-ignored", Versions: mqtt5, Rule: "P-3.12-ping-length", Warn: true,
	New: swallow(startsWith(0xC0, 1)),
}, {
	Name: "ping/answered-with-a-byte-too-many", Versions: mqtt5, Rule: "P-3.12-ping-length", Warn: true,
	Falls: []string{"P-2.1.4-length-mismatch"},
	New:   alterDown(func(_ *Link, raw *Packet, _ *codec.Pingresp) { raw.Set(0xD0, 1, 0) }),
}}
