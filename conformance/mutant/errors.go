package mutant

import (
	"bytes"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

var errorMutants = []Mutant{{
	Name: "errors/type-15-tolerated", Versions: mqtt311, Rule: "MQTT-4.8.0-1",
	New: swallow(startsWith(0xF0, 0)),
}, {
	Name: "errors/type-15-closed-late", Versions: mqtt311, Legal: "how soon a violation ends the connection is free",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if bytes.Equal(p.Raw, []byte{0xF0, 0}) && l.Connect != nil {
				p.Drop()
				l.After(shortDelay, l.CloseClient)
			}
		}}
	},
}, {
	Name: "errors/signalled-and-held", Versions: mqtt5, Rule: "MQTT-4.13.1-1",
	Falls: []string{"P-2.1.2-wrong-direction"},
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			_, bad := p.Packet.(*codec.Suback)
			if bad {
				l.State["said"] = true
				l.ToClient(0xE0, 1, 0x82)
			}
			if l.State["said"] != nil {
				p.Drop()
			}
		}}
	},
}, {
	Name: "errors/subscribe-flags-tolerated", Versions: mqtt5, Rule: "MQTT-4.13.1-1",
	Falls: []string{"MQTT-2.1.3-1", "MQTT-3.8.1-1"},
	New:   swallow(startsWith(0x80)),
}, {
	Name: "errors/reserved-type-ignored", Versions: mqtt5, Rule: "P-2.1.2-reserved-type", Warn: true,
	Falls: []string{"MQTT-4.13.1-1"},
	New:   swallow(startsWith(0, 0)),
}, {
	Name: "errors/wrong-direction-ignored", Versions: mqtt5, Rule: "P-2.1.2-wrong-direction", Warn: true,
	New: swallow(startsWith(0xD0, 0)),
}, {
	Name: "errors/half-an-id-ignored", Versions: mqtt5, Rule: "P-2.1.4-length-mismatch", Warn: true,
	New: swallow(startsWith(0x40, 1)),
}, {
	Name: "errors/five-byte-length-ignored", Versions: mqtt5, Rule: "P-1.5.5-five-byte-integer",
	New: swallow(startsWith(0x30, 0xFF, 0xFF, 0xFF, 0xFF)),
}, {
	Name: "errors/others-disconnected", Versions: mqtt5, Rule: "P-4.13.1-other-sessions",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if !bytes.HasPrefix(p.Raw, []byte{0, 0}) || l.Connect == nil {
				return
			}
			for _, other := range l.Proxy.Links() {
				if other != l && sameCheck(l, other) {
					other.CloseClient()
				}
			}
		}}
	},
}, {
	Name: "errors/refused-pubrel-ends-the-connection", Versions: mqtt5, Rule: "P-4.13.2-ack-errors",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Pubcomp) {
		if p.Reason.Failed() {
			l.ToClient(raw.Raw...)
			raw.Drop()
			l.CloseClient()
		}
	}),
}, {
	Name: "errors/unknown-pubrel-answered-plainly", Versions: mqtt5, Legal: "PUBCOMP for an unknown identifier may say 0x00",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Pubcomp) {
		raw.Encode(&codec.Pubcomp{PacketID: p.PacketID}, l.Version)
	}),
}}

// sameCheck reports whether two connections are one check's: its Client Identifiers differ
// behind the last c only.
func sameCheck(a, b *Link) bool {
	if a.Connect == nil || b.Connect == nil {
		return false
	}
	x, y := a.Connect.ClientID, b.Connect.ClientID
	i, j := strings.LastIndexByte(x, 'c'), strings.LastIndexByte(y, 'c')
	return i > 0 && j > 0 && x[:i] == y[:j]
}
