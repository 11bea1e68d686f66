package mutant

import "github.com/mqlab/mqlab/codec"

var flowMutants = []Mutant{{
	Name: "flow/two-at-a-time", Versions: mqtt5, Rule: "MQTT-4.9.0-1",
	Falls: []string{"MQTT-3.3.4-9", "MQTT-4.9.0-2", "P-4.9-quota-replenish", "P-4.9-quota-per-connection"},
	New: func() *Hooks {
		return &Hooks{Up: changeConnect(func(_ *Link, c *codec.Connect) bool {
			if c.Props.Uint(codec.PropReceiveMaximum, 0) != 1 {
				return false
			}
			c.Props.SetUint(codec.PropReceiveMaximum, 2)
			return true
		})}
	},
}, {
	Name: "flow/none-at-a-time", Versions: mqtt5, Rule: "MQTT-4.9.0-1",
	Falls: []string{"MQTT-3.1.2-25"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		if window(l) == 1 && p.QoS > 0 {
			raw.Drop()
		}
	}),
}, {
	Name: "flow/slot-freed-by-pubrec", Versions: mqtt5, Rule: "MQTT-4.9.0-2",
	Falls: []string{"MQTT-3.3.4-9", "MQTT-4.9.0-1", "P-4.9-quota-replenish"},
	New: credited(func(p codec.Packet) int {
		switch p.(type) {
		case *codec.Puback, *codec.Pubrec:
			return 1
		}
		return 0
	}),
}, {
	Name: "flow/others-wait-at-quota-zero", Versions: mqtt5, Rule: "MQTT-4.9.0-3",
	Falls: []string{"MQTT-3.3.4-10"},
	New: func() *Hooks {
		open, waiting := map[*Link]map[uint16]bool{}, map[*Link][][]byte{}
		return &Hooks{Up: func(l *Link, raw *Packet) {
			defer func() {
				if len(open[l]) == 0 {
					for _, b := range waiting[l] {
						l.ToClient(b...)
					}
					delete(waiting, l)
				}
			}()
			switch p := raw.Packet.(type) {
			case *codec.Puback:
				delete(open[l], p.PacketID)
			case *codec.Pubcomp:
				delete(open[l], p.PacketID)
			case *codec.Pubrec:
				if p.Reason.Failed() {
					delete(open[l], p.PacketID)
				}
			}
		}, Down: func(l *Link, raw *Packet) {
			switch p := raw.Packet.(type) {
			case *codec.Publish:
				if p.QoS > 0 {
					if open[l] == nil {
						open[l] = map[uint16]bool{}
					}
					open[l][p.PacketID] = true
				}
			case *codec.Puback, *codec.Pubrec:
				if w := window(l); w > 0 && len(open[l]) >= w {
					waiting[l] = append(waiting[l], raw.Raw)
					raw.Drop()
				}
			}
		}}
	},
}, {
	Name: "flow/slot-lost-by-puback-with-error", Versions: mqtt5, Rule: "P-4.9-quota-replenish",
	Falls: []string{"MQTT-4.4.0-2"},
	New: swallow(func(_ *Link, p *Packet) bool {
		a, ok := p.Packet.(*codec.Puback)
		return ok && a.Reason.Failed()
	}),
}, {
	Name: "flow/slot-lost-by-pubrec-with-error", Versions: mqtt5, Rule: "P-4.9-quota-replenish",
	Falls: []string{"MQTT-4.4.0-2"},
	New: swallow(func(_ *Link, p *Packet) bool {
		a, ok := p.Packet.(*codec.Pubrec)
		return ok && a.Reason.Failed()
	}),
}, {
	Name: "flow/slot-lost-by-pubcomp-with-error", Versions: mqtt5, Rule: "P-4.9-quota-replenish",
	New: swallow(func(_ *Link, p *Packet) bool {
		a, ok := p.Packet.(*codec.Pubcomp)
		return ok && a.Reason.Failed()
	}),
}, {
	Name: "flow/quota-grows", Versions: mqtt5, Rule: "P-4.9-quota-replenish",
	Falls: []string{"MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2"},
	New: credited(func(p codec.Packet) int {
		switch p := p.(type) {
		case *codec.Puback, *codec.Pubcomp:
			return 1
		case *codec.Pubrec:
			if p.Reason.Failed() {
				return 1
			}
		}
		return 0
	}),
}, {
	Name: "flow/quota-carried-over", Versions: mqtt5, Rule: "P-4.9-quota-per-connection",
	Falls: []string{"MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2"},
	New: func() *Hooks {
		before := map[string]uint32{}
		return &Hooks{Up: changeConnect(func(_ *Link, c *codec.Connect) bool {
			most, known := before[c.ClientID]
			if !c.CleanStart && known {
				c.Props.SetUint(codec.PropReceiveMaximum, most)
				return true
			}
			before[c.ClientID] = c.Props.Uint(codec.PropReceiveMaximum, 65535)
			return false
		})}
	},
}}

// window returns the Receive Maximum that the client announced, 0 where it did not.
func window(l *Link) int {
	if l.Connect == nil {
		return 0
	}
	return int(l.Connect.Props.Uint(codec.PropReceiveMaximum, 0))
}

// credited holds messages to clients with a Receive Maximum back in the broker's place. Every
// acknowledgement gives the client as much credit as credit says.
func credited(credit func(codec.Packet) int) func() *Hooks {
	return func() *Hooks {
		left, waiting := map[*Link]int{}, map[*Link][][]byte{}
		return &Hooks{Up: func(l *Link, p *Packet) {
			if c, ok := p.Packet.(*codec.Connect); ok && c == l.Connect && window(l) > 0 {
				left[l] = window(l)
				changeConnect(func(_ *Link, c *codec.Connect) bool {
					c.Props.SetUint(codec.PropReceiveMaximum, 1000)
					return true
				})(l, p)
				return
			}
			if window(l) == 0 {
				return
			}
			left[l] += credit(p.Packet)
			for left[l] > 0 && len(waiting[l]) > 0 {
				left[l]--
				l.ToClient(waiting[l][0]...)
				waiting[l] = waiting[l][1:]
			}
		}, Down: func(l *Link, p *Packet) {
			m, ok := p.Packet.(*codec.Publish)
			if !ok || m.QoS == 0 || window(l) == 0 {
				return
			}
			if left[l] > 0 {
				left[l]--
				return
			}
			waiting[l] = append(waiting[l], p.Raw)
			p.Drop()
		}}
	}
}
