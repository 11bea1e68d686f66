package mutant

import (
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

var keepAliveMutants = []Mutant{{
	Name: "keepalive/silence-tolerated", Versions: both, Rule: "MQTT-3.1.2-24", Rule5: "MQTT-3.1.2-22",
	New: func() *Hooks {
		return &Hooks{Up: changeConnect(func(_ *Link, c *codec.Connect) bool {
			c.KeepAlive = 0
			return true
		})}
	},
}, {
	Name: "keepalive/no-will", Versions: both, Rule: "MQTT-3.1.2-24", Rule5: "MQTT-3.1.2-22",
	Falls: []string{"MQTT-3.1.2-8"},
	New:   changeWill(func(_ *Link, c *codec.Connect) bool { c.HasWill = c.KeepAlive == 0; return true }),
}, {
	Name: "keepalive/too-early", Versions: both, Rule: "MQTT-3.1.2-24", Rule5: "MQTT-3.1.2-22", Warn: true,
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if c, ok := p.Packet.(*codec.Connect); ok && c.KeepAlive == 1 {
				l.After(shortDelay, func() {
					l.CloseBroker()
					l.CloseClient()
				})
			}
		}}
	},
}, {
	Name: "keepalive/late", Versions: both, Legal: "no upper bound is given for the end after silence",
	New: func() *Hooks {
		return &Hooks{Up: changeConnect(func(_ *Link, c *codec.Connect) bool {
			c.KeepAlive *= 2
			return true
		})}
	},
}, {
	Name: "keepalive/of-the-server", Versions: mqtt5, Legal: "a server may ask for another Keep Alive",
	Broker: broker.Config{ServerKeepAlive: 2 * time.Second},
	New:    func() *Hooks { return &Hooks{} },
}}
