package mutant

import (
	"slices"

	"github.com/mqlab/mqlab/codec"
)

var willMutants = []Mutant{{
	Name: "will/never-published", Versions: both, Rule: "MQTT-3.1.2-8", Rule5: "MQTT-3.1.2-7",
	Falls: []string{"MQTT-3.1.2-24"},
	Falls5: []string{
		"MQTT-3.1.2-8", "MQTT-3.1.2-22", "P-3.1.4-takeover-will", "P-3.14.2.1-disconnect-with-will", "P-3.14.2.1-short-form",
		"P-3.14.2.2.2-session-expiry-after-zero", "P-3.14.2.2.2-session-expiry-duplicate",
	},
	New: changeWill(func(l *Link, c *codec.Connect) bool {
		had := c.HasWill
		c.HasWill = false
		return had
	}),
}, {
	Name: "will/payload-changed", Versions: both, Rule: "MQTT-3.1.2-8", Rule5: "MQTT-3.1.2-7",
	Falls: []string{"MQTT-3.1.2-24", "MQTT-3.1.3-1"},
	Falls5: []string{
		"MQTT-3.1.3-1", "MQTT-3.1.2-8", "MQTT-3.1.2-22", "P-3.1.4-takeover-will", "P-3.14.2.1-disconnect-with-will", "P-3.14.2.1-short-form",
		"P-3.14.2.2.2-session-expiry-after-zero", "P-3.14.2.2.2-session-expiry-duplicate",
	},
	New: changeWill(func(_ *Link, c *codec.Connect) bool {
		if len(c.Will.Payload) == 0 {
			return false
		}
		c.Will.Payload = append([]byte(nil), c.Will.Payload...)
		c.Will.Payload[0] ^= 0x20
		return true
	}),
}, {
	Name: "will/delay-ignored", Versions: mqtt5, Rule: "MQTT-3.1.2-8",
	Falls: []string{"MQTT-3.1.3-9", "P-3.1.4-takeover-will"},
	New: changeWill(func(_ *Link, c *codec.Connect) bool {
		c.Will.Props.Remove(codec.PropWillDelay)
		return true
	}),
}, {
	Name: "will/again-after-next-connection", Versions: both, Rule: "MQTT-3.1.2-10",
	New: func() *Hooks { return staleWill(false) },
}, {
	Name: "will/of-disconnected-client-after-next-connection", Versions: mqtt311, Rule: "MQTT-3.1.2-12",
	Falls: []string{"MQTT-3.1.2-10"},
	New:   func() *Hooks { return staleWill(true) },
}, {
	Name: "will/published-after-disconnect", Versions: both, Rule: "MQTT-3.14.4-3",
	Falls5: []string{"P-3.14.2.1-short-form"},
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			q, ok := p.Packet.(*codec.Disconnect)
			if !ok || l.Connect == nil || !l.Connect.HasWill || q.Reason != codec.Success {
				return
			}
			if l.Version == codec.V5 {
				q.Reason = codec.DisconnectWithWillMessage
				reencode(l, p, q)
				return
			}
			p.Drop()
			l.CloseBroker()
		}}
	},
}, {
	Name: "will/suppressed-by-disconnect-with-reason", Versions: mqtt5, Rule: "P-3.14.2.1-disconnect-with-will",
	Falls: []string{"MQTT-3.1.2-8", "P-3.14.2.1-short-form"},
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if q, ok := p.Packet.(*codec.Disconnect); ok && q.Reason != codec.Success && p.Raw[0] == 0xE0 {
				q.Reason = codec.Success
				reencode(l, p, q)
			}
		}}
	},
}, {
	Name: "will/retained-unasked", Versions: both, Rule: "MQTT-3.1.2-16", Rule5: "MQTT-3.1.2-14",
	New: changeWill(func(_ *Link, c *codec.Connect) bool {
		c.Will.Retain = true
		return true
	}),
}, {
	Name: "will/not-retained", Versions: both, Rule: "MQTT-3.1.2-17", Rule5: "MQTT-3.1.2-15",
	New: changeWill(func(_ *Link, c *codec.Connect) bool {
		c.Will.Retain = false
		return true
	}),
}, {
	Name: "will/user-properties-reversed", Versions: mqtt5, Rule: "MQTT-3.1.3-10",
	New: changeWill(func(_ *Link, c *codec.Connect) bool {
		var pairs [][2]string
		for k, v := range c.Will.Props.UserProperties() {
			pairs = append(pairs, [2]string{k, v})
		}
		c.Will.Props.Remove(codec.PropUserProperty)
		for _, pair := range slices.Backward(pairs) {
			c.Will.Props.AddUser(pair[0], pair[1])
		}
		return true
	}),
}, {
	Name: "will/expiry-lost", Versions: mqtt5, Rule: "P-3.1.3.2.4-will-message-expiry-used",
	New: changeWill(func(_ *Link, c *codec.Connect) bool {
		c.Will.Props.Remove(codec.PropMessageExpiry)
		return true
	}),
}, {
	Name: "will/expiry-invented", Versions: mqtt5, Rule: "P-3.1.3.2.4-will-message-expiry-used",
	New: changeWill(func(_ *Link, c *codec.Connect) bool {
		c.Will.Props.SetUint(codec.PropMessageExpiry, 60)
		return true
	}),
}, {
	Name: "will/expiry-not-counted-down", Versions: mqtt5, Rule: "P-3.1.3.2.4-will-message-expiry-used",
	New: func() *Hooks {
		asked := map[string]uint32{}
		return &Hooks{
			Up: func(l *Link, p *Packet) {
				if c, ok := p.Packet.(*codec.Connect); ok && c.HasWill && c.Will.Props.Has(codec.PropMessageExpiry) {
					asked[c.Will.Topic] = c.Will.Props.Uint(codec.PropMessageExpiry, 0)
				}
			},
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Publish); ok && q.Props.Has(codec.PropMessageExpiry) && asked[q.Topic] > 0 {
					q.Props.SetUint(codec.PropMessageExpiry, asked[q.Topic])
					reencode(l, p, q)
				}
			},
		}
	},
}, {
	Name: "will/delay-twice-tolerated", Versions: mqtt5, Rule: "P-3.1.3.2.2-will-delay-duplicate",
	New: repairWill(codec.PropWillDelay),
}, {
	Name: "will/expiry-twice-tolerated", Versions: mqtt5, Rule: "P-3.1.3.2.4-will-message-expiry-duplicate",
	New: repairWill(codec.PropMessageExpiry),
}, {
	Name: "will/late", Versions: both, Legal: "how soon a Will is published is only a SHOULD",
	New: func() *Hooks {
		wills := map[string]bool{}
		return &Hooks{
			Up: func(_ *Link, p *Packet) {
				if c, ok := p.Packet.(*codec.Connect); ok && c.HasWill {
					wills[c.Will.Topic+" "+string(c.Will.Payload)] = true
				}
			},
			Down: func(l *Link, p *Packet) {
				if q, ok := p.Packet.(*codec.Publish); ok && wills[q.Topic+" "+string(q.Payload)] {
					late := p.Raw
					p.Drop()
					l.After(shortDelay, func() { l.ToClient(late...) })
				}
			},
		}
	},
}, {
	Name: "retained/gone-with-session", Versions: both, Rule: "MQTT-3.1.2-7", Rule5: "P-4.1-retained-outlive-session",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			switch q := p.Packet.(type) {
			case *codec.Publish:
				if q.Retain {
					topics, _ := l.State["retained"].([]string)
					l.State["retained"] = append(topics, q.Topic)
				}
			case *codec.Disconnect:
				topics, _ := l.State["retained"].([]string)
				for _, topic := range topics {
					l.PacketToBroker(&codec.Publish{Topic: topic, Retain: true})
				}
			}
		}}
	},
}}

// changeWill lets f change each CONNECT that has a Will.
func changeWill(f func(l *Link, c *codec.Connect) bool) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: changeConnect(func(l *Link, c *codec.Connect) bool { return c.HasWill && f(l, c) })}
	}
}

// repairWill takes a repeated Will Property out of each CONNECT.
func repairWill(id codec.PropID) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: repairConnect(func(_ *Link, c *codec.Connect) bool { return c.HasWill && once(&c.Will.Props, id) })}
	}
}

// once leaves one value of a property, and reports whether there were more.
func once(props *codec.Properties, id codec.PropID) bool {
	n := 0
	for p, ok := range props.All() {
		if ok && p.ID == id {
			n++
		}
	}
	value := props.Uint(id, 0)
	props.Remove(id)
	if n > 0 {
		props.SetUint(id, value)
	}
	return n > 1
}

// staleWill publishes the Will of a client once more when a later connection of it, which has
// none, breaks off. disconnected says whether the first one had ended with DISCONNECT.
func staleWill(disconnected bool) *Hooks {
	return &Hooks{
		Up: func(l *Link, p *Packet) {
			if _, ok := p.Packet.(*codec.Disconnect); ok {
				l.State["disconnected"] = true
			}
		},
		Left: func(l *Link) bool {
			if l.Connect == nil || l.Connect.HasWill || l.State["disconnected"] == true {
				return false
			}
			if o := predecessor(l); o != nil && o.Connect.HasWill && (o.State["disconnected"] == true) == disconnected {
				l.PacketToBroker(&codec.Publish{Topic: o.Connect.Will.Topic, Payload: o.Connect.Will.Payload})
			}
			return false
		},
	}
}
