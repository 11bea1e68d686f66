package mutant

import (
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

var sessionExpiryMutants = []Mutant{{
	Name: "session/never-expires", Versions: mqtt5, Rule: "MQTT-4.1.0-2",
	New: func() *Hooks {
		return &Hooks{Up: changeConnect(func(_ *Link, c *codec.Connect) bool {
			if c.Props.Uint(codec.PropSessionExpiry, 0) != 1 {
				return false
			}
			c.Props.SetUint(codec.PropSessionExpiry, 3600)
			return true
		})}
	},
}, {
	Name: "session/kept-without-expiry", Versions: mqtt5, Rule: "P-3.1.2.11.2-session-expiry-absent",
	Falls: []string{"MQTT-3.2.2-3", "MQTT-4.1.0-2", "P-3.14.2.2.2-session-expiry-after-zero"},
	New: func() *Hooks {
		return &Hooks{Up: changeConnect(func(_ *Link, c *codec.Connect) bool {
			if c.CleanStart || c.Props.Has(codec.PropSessionExpiry) {
				return false
			}
			c.Props.SetUint(codec.PropSessionExpiry, 60)
			return true
		})}
	},
}, {
	Name: "session/expiry-twice-tolerated", Versions: mqtt5, Rule: "P-3.1.2.11.2-session-expiry-duplicate",
	New: func() *Hooks {
		return &Hooks{Up: repairConnect(func(_ *Link, c *codec.Connect) bool { return once(&c.Props, codec.PropSessionExpiry) })}
	},
}, {
	Name: "session/expiry-of-disconnect-ignored", Versions: mqtt5, Rule: "P-3.14.2.2.2-session-expiry-change",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if q, ok := p.Packet.(*codec.Disconnect); ok && !afterZero(l, p) && !once(&q.Props, codec.PropSessionExpiry) {
				withoutExpiry(l, p)
			}
		}}
	},
}, {
	Name: "session/expiry-after-zero-obeyed", Versions: mqtt5, Rule: "P-3.14.2.2.2-session-expiry-after-zero",
	New: func() *Hooks {
		obeyed := map[string]bool{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				if afterZero(l, p) {
					obeyed[clientID(l)] = true
					withoutExpiry(l, p)
				}
			},
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Connack); ok && obeyed[clientID(l)] && q.Reason == codec.Success {
					present(l, p, q, true)
				}
			},
		}
	},
}, {
	Name: "session/expiry-after-zero-overlooked", Versions: mqtt5, Rule: "P-3.14.2.2.2-session-expiry-after-zero", Warn: true,
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if afterZero(l, p) {
				withoutExpiry(l, p)
			}
		}}
	},
}, {
	Name: "session/expiry-twice-in-disconnect-ignored", Versions: mqtt5, Rule: "P-3.14.2.2.2-session-expiry-duplicate",
	New: swallow(func(_ *Link, p *Packet) bool {
		q, ok := p.Packet.(*codec.Disconnect)
		return ok && once(&q.Props, codec.PropSessionExpiry)
	}),
}, {
	Name: "session/expiry-twice-in-disconnect-overlooked", Versions: mqtt5, Rule: "P-3.14.2.2.2-session-expiry-duplicate", Warn: true,
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if q, ok := p.Packet.(*codec.Disconnect); ok && once(&q.Props, codec.PropSessionExpiry) {
				reencode(l, p, q)
			}
		}}
	},
}, {
	Name: "session/none-kept", Versions: both, Legal: "a server may keep no sessions",
	Broker: broker.Config{SessionExpiryMaximum: -time.Second},
	New:    func() *Hooks { return &Hooks{} },
}, {
	Name: "session/kept-briefly", Versions: mqtt5, Legal: "a server may set the Session Expiry Interval itself",
	Broker: broker.Config{SessionExpiryMaximum: 30 * time.Second},
	New:    func() *Hooks { return &Hooks{} },
}}

// afterZero reports whether the packet is a DISCONNECT that sets an interval where CONNECT had none.
func afterZero(l *Link, p *Packet) bool {
	q, ok := p.Packet.(*codec.Disconnect)
	return ok && l.Connect != nil && q.Props.Uint(codec.PropSessionExpiry, 0) > 0 && l.Connect.Props.Uint(codec.PropSessionExpiry, 0) == 0
}

// withoutExpiry takes the Session Expiry Interval out of a DISCONNECT.
func withoutExpiry(l *Link, p *Packet) {
	if q, ok := p.Packet.(*codec.Disconnect); ok && q.Props.Has(codec.PropSessionExpiry) {
		q.Props.Remove(codec.PropSessionExpiry)
		reencode(l, p, q)
	}
}
