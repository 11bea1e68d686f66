package mutant

import (
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

var overrideMutants = []Mutant{{
	Name: "overrides/keep-alive-of-client-ignored", Versions: mqtt5, Rule: "MQTT-3.2.2-22",
	Falls: []string{"MQTT-3.1.2-22"},
	New: func() *Hooks {
		return &Hooks{Up: changeConnect(func(_ *Link, c *codec.Connect) bool {
			changed := c.KeepAlive == 2
			c.KeepAlive = 0
			return changed
		})}
	},
}, {
	Name: "overrides/busy-client-cut-off", Versions: mqtt5, Rule: "MQTT-3.2.2-22", Warn: true,
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if _, ok := p.Packet.(*codec.Pingreq); ok && l.Connect != nil && l.Connect.KeepAlive == 2 {
				l.After(time.Second, func() {
					l.CloseBroker()
					l.CloseClient()
				})
			}
		}}
	},
}, {
	Name: "overrides/keep-alive-of-server-ignored", Versions: mqtt5, Rule: "P-3.2.2.3.14-keepalive-override",
	Falls:  []string{"MQTT-3.1.2-22"},
	Broker: broker.Config{ServerKeepAlive: time.Second},
	New: func() *Hooks {
		return &Hooks{Down: func(l *Link, p *Packet) {
			if d, ok := p.Packet.(*codec.Disconnect); ok && d.Reason == codec.KeepAliveTimeout {
				l.State["hold"] = true
				p.Drop()
			}
		}, Gone: func(l *Link) bool { return l.State["hold"] != nil }}
	},
}, {
	Name: "overrides/session-expires-early", Versions: mqtt5, Rule: "P-3.2.2.3.2-session-expiry-override",
	New: func() *Hooks {
		return &Hooks{Up: changeConnect(func(_ *Link, c *codec.Connect) bool {
			if c.Props.Uint(codec.PropSessionExpiry, 0) != 30 {
				return false
			}
			c.Props.SetUint(codec.PropSessionExpiry, 1)
			return true
		})}
	},
}, {
	Name: "overrides/session-expiry-of-server", Versions: mqtt5, Legal: "a server may shorten the Session Expiry Interval, and says so",
	Broker: broker.Config{SessionExpiryMaximum: 2 * time.Second}, New: plainly,
}}
