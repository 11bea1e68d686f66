package mutant

import (
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
)

var connackMutants = []Mutant{{
	Name: "connack/missing", Versions: both, Rule: "MQTT-3.1.4-4", Rule5: "MQTT-3.1.4-5",
	// Only where it is asked with Keep Alive 60: without any CONNACK nothing at all could be judged.
	New: alterDown(func(l *Link, raw *Packet, _ *codec.Connack) {
		if l.Connect != nil && l.Connect.KeepAlive == 60 {
			raw.Drop()
		}
	}),
}, {
	Name: "connack/after-other-answers", Versions: both, Rule: "MQTT-3.2.0-1",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
		if p.Reason != codec.Success {
			return
		}
		late := slices.Clone(raw.Raw)
		raw.Drop()
		l.After(50*time.Millisecond, func() { l.ToClient(late...) })
	}),
}, {
	Name: "connack/late", Versions: both, Legal: "no deadline is set for CONNACK",
	New: func() *Hooks {
		return &Hooks{Down: func(l *Link, p *Packet) {
			held, _ := l.State["held"].([]byte)
			ack, first := p.Packet.(*codec.Connack)
			first = first && ack.Reason == codec.Success
			if !first && held == nil {
				return
			}
			l.State["held"] = append(held, p.Raw...)
			p.Drop()
			if first {
				l.After(shortDelay/3, func() {
					l.ToClient(l.State["held"].([]byte)...)
					delete(l.State, "held")
				})
			}
		}}
	},
}, {
	Name: "connack/twice", Versions: mqtt5, Rule: "MQTT-3.2.0-2", Falls: []string{"MQTT-3.1.0-2", "MQTT-4.13.1-1"},
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if c, ok := p.Packet.(*codec.Connect); ok && c != l.Connect {
				l.PacketToClient(&codec.Connack{})
			}
		}}
	},
}, {
	Name: "connack/session-present-after-clean-session", Versions: both, Rule: "MQTT-3.2.2-1", Rule5: "MQTT-3.2.2-2",
	Falls: []string{"MQTT-3.1.2-6", "MQTT-3.1.4-3", "MQTT-3.2.2-3"}, Falls5: []string{"MQTT-3.1.2-4", "MQTT-3.1.4-4", "MQTT-3.2.2-3"},
	New: func() *Hooks {
		stored := map[string]bool{}
		return &Hooks{Down: func(l *Link, p *Packet) {
			ack, ok := p.Packet.(*codec.Connack)
			if !ok || ack.Reason != codec.Success || l.Connect == nil {
				return
			}
			if !l.Connect.CleanStart {
				stored[l.Connect.ClientID] = true
			} else if stored[l.Connect.ClientID] {
				ack.SessionPresent = true
				p.Encode(ack, l.Version)
			}
		}}
	},
}, {
	Name: "connack/refusal-keeps-open", Versions: mqtt311, Rule: "MQTT-3.2.2-5",
	Falls: []string{"MQTT-3.1.2-2"},
	New:   holdRefused("protocol-level"),
}, {
	Name: "connack/refusal-keeps-open-5", Versions: mqtt5, Rule: "MQTT-3.2.2-7",
	Falls: []string{"P-3.1.4-reject-codes"},
	New:   holdRefused("will-qos-3", "connect-reserved-flag"),
}, {
	Name: "connack/refusal-without-end", Versions: mqtt5, Rule: "P-3.1.4-reject-codes",
	Falls: []string{"MQTT-3.2.2-7"},
	New:   holdRefused("will-qos-3", "connect-reserved-flag"),
}, {
	Name: "connack/refusal-closes-late", Versions: both, Legal: "how soon a refusal is followed by the end is free",
	New: func() *Hooks {
		return &Hooks{Down: func(l *Link, p *Packet) {
			if ack, ok := p.Packet.(*codec.Connack); ok && ack.Reason != codec.Success {
				l.State["refused"] = true
			}
		}, Gone: func(l *Link) bool {
			if l.State["refused"] == nil {
				return false
			}
			l.After(shortDelay, l.CloseClient)
			return true
		}}
	},
}, {
	Name: "connack/session-present-in-refusal", Versions: both, Rule: "MQTT-3.2.2-4", Rule5: "MQTT-3.2.2-6",
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Connack) {
		if p.Reason != codec.Success {
			raw.Raw[2] |= 1
		}
	}),
}, {
	Name: "connack/code-6", Versions: mqtt311, Rule: "MQTT-3.2.2-6", Falls: []string{"MQTT-3.1.3-8"},
	New: refuseConnect(0, []byte{0x20, 2, 0, 6}, "client-id-empty"),
}, {
	Name: "connack/code-of-disconnect", Versions: mqtt5, Rule: "MQTT-3.2.2-8",
	New: refuseConnect(0, []byte{0x20, 3, 0, 0x8E, 0}, "will-qos-3"),
}, {
	Name: "connack/reserved-flags", Versions: mqtt5, Rule: "MQTT-3.2.2-1",
	New: alterDown(func(_ *Link, raw *Packet, _ *codec.Connack) { raw.Raw[2] |= 2 }),
}, {
	Name: "connack/bytes-behind-properties", Versions: mqtt5, Rule: "P-3.2.3-no-payload",
	Falls: []string{"MQTT-2.2.2-1", "P-2.1.4-length-mismatch", "MQTT-3.1.2-24", "MQTT-3.2.2-19"},
	New: alterDown(func(_ *Link, raw *Packet, _ *codec.Connack) {
		if raw.Raw[1] < 0x7F {
			raw.Raw[1]++
			raw.Raw = append(raw.Raw, 0)
		}
	}),
}, {
	Name: "connack/bytes-behind-puback", Versions: mqtt5, Rule: "P-3.2.3-no-payload",
	Falls: []string{"P-2.1.4-length-mismatch"},
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Puback) {
		id := p.PacketID
		raw.Set(0x40, 5, byte(id>>8), byte(id), 0, 0, 0)
	}),
}}

// holdRefused keeps the connection open, and answers PINGREQ on it, after the broker refused a
// CONNECT with all of the named faults.
func holdRefused(faults ...string) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			match := true
			for _, f := range faults {
				match = match && connectHas(p.Raw, f)
			}
			if match {
				l.State["hold"] = true
			}
		}, Gone: func(l *Link) bool { return l.State["hold"] != nil }}
	}
}
