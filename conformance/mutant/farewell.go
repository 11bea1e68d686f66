package mutant

import (
	"slices"
	"strings"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

var farewellMutants = []Mutant{{
	Name: "farewell/before-connack", Versions: mqtt5, Rule: "MQTT-3.14.0-1",
	New: func() *Hooks {
		return &Hooks{Down: func(l *Link, p *Packet) {
			if _, ok := p.Packet.(*codec.Connack); ok {
				l.State["answered"] = true
			}
		}, Gone: func(l *Link) bool {
			if l.State["answered"] == nil {
				l.ToClient(0xE0, 1, 0x82)
			}
			return false
		}}
	},
}, {
	Name: "farewell/with-a-code-of-the-client", Versions: mqtt5, Rule: "MQTT-3.14.2-1",
	Falls: []string{"P-3.14.2.1-sender-only-codes"},
	New:   alterDown(func(_ *Link, raw *Packet, _ *codec.Disconnect) { raw.Set(0xE0, 2, 4, 0) }),
}, {
	Name: "farewell/with-bad-method", Versions: mqtt5, Legal: "0x8C stands for DISCONNECT in the table of all Reason Codes",
	New: alterDown(func(_ *Link, raw *Packet, _ *codec.Disconnect) { raw.Set(0xE0, 2, 0x8C, 0) }),
}, {
	Name: "farewell/with-session-expiry", Versions: mqtt5, Rule: "MQTT-3.14.2-2",
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Disconnect) {
		raw.Set(0xE0, 7, byte(p.Reason), 5, byte(codec.PropSessionExpiry), 0, 0, 0, 60)
	}),
}, {
	Name: "farewell/reason-string-too-long", Versions: mqtt5, Rule: "MQTT-3.14.2-3",
	Falls: []string{"MQTT-3.1.2-24"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Disconnect) {
		if l.Connect.Props.Has(codec.PropMaximumPacketSize) {
			p.Props.SetText(codec.PropReasonString, strings.Repeat("long ", 20))
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "farewell/user-property-too-long", Versions: mqtt5, Rule: "MQTT-3.14.2-4",
	Falls:  []string{"MQTT-3.1.2-24"},
	Broker: broker.Config{AckProperties: true},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Disconnect) {
		if l.Connect.Props.Has(codec.PropMaximumPacketSize) {
			p.Props.Remove(codec.PropReasonString)
			p.Props.AddUser("long", strings.Repeat("long ", 20))
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "farewell/with-properties-that-fit", Versions: mqtt5, Legal: "properties are left out only where the packet would be too long",
	Broker: broker.Config{AckProperties: true},
	New:    func() *Hooks { return &Hooks{} },
}, {
	Name: "farewell/two-reason-strings", Versions: mqtt5, Rule: "P-3.14.2.2.3-reason-string-duplicate",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Disconnect) {
		if !l.Connect.Props.Has(codec.PropMaximumPacketSize) {
			raw.Set(0xE0, 10, byte(p.Reason), 8, byte(codec.PropReasonString), 0, 1, 'a', byte(codec.PropReasonString), 0, 1, 'b')
		}
	}),
}, {
	Name: "farewell/two-server-references", Versions: mqtt5, Rule: "P-3.14.2.2.5-server-reference-duplicate",
	New: alterDown(func(_ *Link, raw *Packet, _ *codec.Disconnect) {
		raw.Set(0xE0, 10, byte(codec.UseAnotherServer), 8, byte(codec.PropServerReference), 0, 1, 'a', byte(codec.PropServerReference), 0, 1, 'b')
	}),
}, {
	Name: "farewell/to-another-server", Versions: mqtt5, Legal: "a server may name another one with 0x9C",
	New: alterDown(func(_ *Link, raw *Packet, _ *codec.Disconnect) {
		raw.Set(0xE0, 6, byte(codec.UseAnotherServer), 4, byte(codec.PropServerReference), 0, 1, 'a')
	}),
}, {
	Name: "farewell/more-follows", Versions: mqtt5, Rule: "MQTT-3.14.4-1",
	New: alterDown(func(l *Link, raw *Packet, _ *codec.Disconnect) {
		late := encode(&codec.Publish{Topic: "late", Payload: []byte("late")}, l.Version)
		raw.Raw = slices.Concat(raw.Raw, late)
	}),
}, {
	Name: "farewell/taken-over-and-held", Versions: mqtt5, Rule: "MQTT-3.14.4-2",
	Falls: []string{"MQTT-4.13.2-1", "MQTT-3.1.4-3"},
	New:   holdAfter(codec.SessionTakenOver),
}, {
	Name: "farewell/refused-and-held", Versions: mqtt5, Rule: "MQTT-4.13.2-1",
	Falls: []string{"MQTT-3.1.2-3", "MQTT-3.1.4-1", "MQTT-3.2.2-7", "P-3.1.4-reject-codes"},
	New:   holdRefused("connect-reserved-flag"),
}, {
	Name: "farewell/left-out", Versions: mqtt5, Legal: "a DISCONNECT before the end is only recommended",
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Disconnect) {
		if p.Reason != codec.SessionTakenOver { // where it is more than recommended
			raw.Drop()
		}
	}),
}, {
	Name: "farewell/then-closed-late", Versions: mqtt5, Legal: "how soon the connection ends after DISCONNECT is free",
	New: func() *Hooks {
		return &Hooks{Down: func(l *Link, raw *Packet) {
			if _, ok := raw.Packet.(*codec.Disconnect); ok {
				l.State["late"] = true
			}
		}, Up: func(l *Link, raw *Packet) {
			if l.Held {
				raw.Drop()
			}
		}, Gone: func(l *Link) bool {
			if l.State["late"] == nil {
				return false
			}
			l.After(shortDelay, l.CloseClient)
			return true
		}}
	},
}}

// holdAfter keeps a connection open on which a DISCONNECT with the Reason Code was sent.
func holdAfter(code codec.ReasonCode) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Disconnect); ok && p.Reason == code {
				l.State["said"] = true
			}
		}, Gone: func(l *Link) bool { return l.State["said"] != nil }}
	}
}
