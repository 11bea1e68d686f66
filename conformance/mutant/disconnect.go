package mutant

import (
	"bytes"

	"github.com/mqlab/mqlab/codec"
)

var disconnectMutants = []Mutant{{
	Name: "disconnect/flags-tolerated", Versions: both, Rule: "MQTT-3.14.1-1",
	New: swallow(startsWith(0xE2, 0)),
}, {
	Name: "disconnect/flags-taken-for-valid", Versions: mqtt5, Rule: "MQTT-3.14.1-1", Warn: true,
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if p.Raw[0] == 0xE1 && l.Connect != nil && l.Connect.HasWill {
				p.Set(0xE0, 0)
			}
		}}
	},
}, {
	Name: "disconnect/flags-end-with-will", Versions: mqtt311, Legal: "what becomes of the Will after a malformed DISCONNECT is free",
	New: func() *Hooks {
		return &Hooks{Up: func(_ *Link, p *Packet) {
			if p.Raw[0] == 0xE8 {
				p.Set(0xE0, 0)
			}
		}}
	},
}, {
	Name: "disconnect/will-published", Versions: both, Rule: "MQTT-3.14.4-3",
	New: onFarewell(func(l *Link, p *Packet) {
		if string(l.Connect.Will.Payload) == "kept back 0 true" {
			p.Drop()
			l.CloseBroker()
		}
	}),
}, {
	Name: "disconnect/delayed-will-published", Versions: mqtt5, Rule: "MQTT-3.14.4-3",
	New: onFarewell(func(l *Link, p *Packet) {
		if l.Connect.Will.Props.Has(codec.PropWillDelay) && bytes.HasPrefix(l.Connect.Will.Payload, []byte("kept back")) {
			p.Drop()
			l.CloseBroker()
		}
	}),
}, {
	Name: "disconnect/socket-left-to-the-client", Versions: mqtt311, Legal: "to close the connection after DISCONNECT is the client's duty",
	New: func() *Hooks {
		return &Hooks{Gone: func(l *Link) bool { return l.State["left"] != nil }, Up: noteFarewell}
	},
}, {
	Name: "disconnect/socket-stays-open", Versions: mqtt5, Rule: "P-3.14.4-receiver-closes", Warn: true,
	New: func() *Hooks {
		return &Hooks{Gone: func(l *Link) bool { return l.State["left"] != nil }, Up: noteFarewell}
	},
}, {
	Name: "disconnect/code-4-discards-will", Versions: mqtt5, Rule: "P-3.14.2.1-disconnect-with-will",
	New: func() *Hooks {
		return &Hooks{Up: func(_ *Link, p *Packet) {
			if bytes.Equal(p.Raw, []byte{0xE0, 2, 4, 0}) {
				p.Set(0xE0, 0)
			}
		}}
	},
}, {
	Name: "disconnect/error-discards-will", Versions: mqtt5, Rule: "P-3.14.2.1-disconnect-with-will",
	New: func() *Hooks {
		return &Hooks{Up: func(_ *Link, p *Packet) {
			if bytes.Equal(p.Raw, []byte{0xE0, 2, 0x80, 0}) {
				p.Set(0xE0, 0)
			}
		}}
	},
}, {
	Name: "disconnect/short-form-misread", Versions: mqtt5, Rule: "P-3.14.2.1-short-form",
	New: onFarewell(func(l *Link, p *Packet) {
		if string(l.Connect.Will.Payload) == "E0 01 00" {
			p.Drop()
			l.CloseBroker()
		}
	}),
}, {
	Name: "disconnect/code-of-the-server-ignored", Versions: mqtt5, Rule: "P-3.14.2.1-sender-only-codes",
	New: swallow(startsWith(0xE0, 2, 0x8B)),
}, {
	Name: "disconnect/code-of-the-server-answered", Versions: mqtt5, Legal: "a DISCONNECT may answer a Reason Code that is the server's",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if bytes.HasPrefix(p.Raw, []byte{0xE0, 2, 0x9D}) {
				p.Drop()
				l.ToClient(0xE0, 1, 0x82)
				l.After(shortDelay, l.CloseClient)
			}
		}}
	},
}, {
	Name: "disconnect/expiry-after-zero-taken", Versions: mqtt5, Rule: "P-3.14.2.2.2-session-expiry-after-zero",
	New: func() *Hooks {
		kept := map[string]bool{}
		return &Hooks{Up: func(l *Link, p *Packet) {
			if expiryAfterZero(l, p) {
				kept[l.Connect.ClientID] = true
			}
		}, Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Connack); ok && l.Connect != nil && kept[l.Connect.ClientID] && p.Reason == codec.Success {
				p.SessionPresent = true
				raw.Encode(p, l.Version)
			}
		}}
	},
}, {
	Name: "disconnect/expiry-after-zero-ignored", Versions: mqtt5, Rule: "P-3.14.2.2.2-session-expiry-after-zero", Warn: true,
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if expiryAfterZero(l, p) {
				p.Set(0xE0, 0)
			}
		}}
	},
}, {
	Name: "disconnect/new-expiry-ignored", Versions: mqtt5, Rule: "P-3.14.2.2.2-session-expiry-change",
	New: func() *Hooks {
		return &Hooks{Up: func(_ *Link, p *Packet) {
			if bytes.Equal(p.Raw, []byte{0xE0, 7, 0, 5, byte(codec.PropSessionExpiry), 0, 0, 0, 0}) {
				p.Set(0xE0, 0)
			}
		}}
	},
}, {
	Name: "disconnect/expiry-twice-tolerated", Versions: mqtt5, Rule: "P-3.14.2.2.2-session-expiry-duplicate",
	New: swallow(startsWith(0xE0, 12)),
}, {
	Name: "disconnect/expiry-twice-taken-for-valid", Versions: mqtt5, Rule: "P-3.14.2.2.2-session-expiry-duplicate", Warn: true,
	New: func() *Hooks {
		return &Hooks{Up: func(_ *Link, p *Packet) {
			if bytes.HasPrefix(p.Raw, []byte{0xE0, 12}) {
				p.Set(0xE0, 0)
			}
		}}
	},
}}

// onFarewell lets f change the DISCONNECT of a client that has a Will.
func onFarewell(f func(l *Link, p *Packet)) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if _, ok := p.Packet.(*codec.Disconnect); ok && l.Connect != nil && l.Connect.HasWill {
				f(l, p)
			}
		}}
	}
}

// noteFarewell marks a link whose client has sent the plain DISCONNECT.
func noteFarewell(l *Link, p *Packet) {
	if bytes.Equal(p.Raw, []byte{0xE0, 0}) {
		l.State["left"] = true
	}
}

// expiryAfterZero matches a DISCONNECT that sets a Session Expiry Interval where CONNECT had none.
func expiryAfterZero(l *Link, p *Packet) bool {
	d, ok := p.Packet.(*codec.Disconnect)
	return ok && l.Connect != nil && l.Connect.Props.Uint(codec.PropSessionExpiry, 0) == 0 && d.Props.Uint(codec.PropSessionExpiry, 0) > 0
}
