package mutant

import (
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
)

const (
	mqtt311 = rules.MQTT311
	mqtt5   = rules.MQTT5
	both    = rules.AnyVersion
)

// swallow keeps packets that match from the broker, which therefore sees nothing wrong.
func swallow(match func(l *Link, p *Packet) bool) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if match(l, p) {
				p.Drop()
			}
		}}
	}
}

// alterDown lets f change what the broker sends, one packet type at a time.
func alterDown[P codec.Packet](f func(l *Link, raw *Packet, p P)) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(P); ok {
				f(l, raw, p)
			}
		}}
	}
}

var publishMutants = []Mutant{{
	Name: "publish/qos3-tolerated", Versions: both, Rule: "MQTT-3.3.1-4",
	New: swallow(func(_ *Link, p *Packet) bool { return p.Raw[0]&0xF6 == 0x36 }),
}, {
	Name: "publish/puback-missing", Versions: both, Rule: "MQTT-3.3.4-1",
	New: alterDown(func(_ *Link, raw *Packet, _ *codec.Puback) { raw.Drop() }),
}, {
	Name: "publish/puback-foreign-id", Versions: both, Rule: "MQTT-2.3.1-6", Rule5: "MQTT-2.2.1-5",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Puback) {
		p.PacketID ^= 0x5555
		raw.Encode(p, l.Version)
	}),
}}
