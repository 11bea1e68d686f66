package mutant

import "github.com/mqlab/mqlab/codec"

var connectMutants = []Mutant{{
	Name: "connect/reserved-flag-tolerated", Versions: both, Rule: "MQTT-3.1.2-3",
	New: func() *Hooks {
		return &Hooks{Up: func(_ *Link, p *Packet) {
			// The Connect Flags follow the six bytes of the Protocol Name and the level.
			if at := connectFlags(p.Raw); at > 0 {
				p.Raw[at] &^= 1
			}
		}}
	},
}, {
	Name: "connect/second-connect-tolerated", Versions: both, Rule: "MQTT-3.1.0-2",
	New: swallow(func(l *Link, p *Packet) bool {
		c, ok := p.Packet.(*codec.Connect)
		return ok && c != l.Connect
	}),
}}

// connectFlags returns the offset of the Connect Flags in a CONNECT of 3.1.1 or 5.0, 0 in
// anything else.
func connectFlags(raw []byte) int {
	if len(raw) < 2 || raw[0]>>4 != byte(codec.TypeConnect) {
		return 0
	}
	_, n := codec.Varint(raw[1:])
	if n < 1 || len(raw) <= 1+n+7 {
		return 0
	}
	return 1 + n + 7
}
