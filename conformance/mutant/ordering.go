package mutant

import (
	"strconv"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// swapped lets each message that match accepts wait for the next one like it on the same
// connection. The wait has an end, so that nothing is lost where none comes.
func swapped(match func(l *Link, p *codec.Publish) bool, alike func(a, b *codec.Publish) bool) func() *Hooks {
	return func() *Hooks {
		type kept struct {
			raw []byte
			p   *codec.Publish
		}
		waiting := map[*Link]*kept{}
		return &Hooks{Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Connack); ok {
				l.State["resumed"] = p.SessionPresent
			}
			p, ok := raw.Packet.(*codec.Publish)
			if !ok {
				return
			}
			if k := waiting[l]; k != nil {
				switch {
				case alike(k.p, p):
					raw.Raw = append(raw.Raw, k.raw...)
					delete(waiting, l)
				case sameFlow(k.p, p):
					raw.Raw = append(k.raw, raw.Raw...)
					delete(waiting, l)
				}
				return
			}
			if !match(l, p) {
				return
			}
			k := &kept{raw.Raw, p}
			waiting[l] = k
			raw.Drop()
			l.After(shortDelay, func() {
				if waiting[l] == k {
					delete(waiting, l)
					l.ToClient(k.raw...)
				}
			})
		}}
	}
}

func sameFlow(a, b *codec.Publish) bool {
	return a.Topic == b.Topic && a.QoS == b.QoS && a.Dup == b.Dup
}

func otherFlow(a, b *codec.Publish) bool { return a.Topic != b.Topic }

// counted reports a message with a number from 4 to 19 that is a multiple of 4 as its payload.
func counted(p *codec.Publish) bool {
	n, err := strconv.Atoi(string(p.Payload))
	return err == nil && n%4 == 0 && n >= 4 && n < 20
}

// wildcards remembers, in State, whether the connection has a subscription with a wildcard.
func wildcards(h *Hooks) *Hooks {
	up := h.Up
	h.Up = func(l *Link, raw *Packet) {
		if p, ok := raw.Packet.(*codec.Subscribe); ok {
			for _, f := range p.Filters {
				if strings.HasSuffix(f.Filter, "+") {
					l.State["wildcard"] = true
				}
			}
		}
		if up != nil {
			up(l, raw)
		}
	}
	return h
}

var orderingMutants = []Mutant{{
	Name: "ordering/neighbours-swapped", Versions: both, Rule: "MQTT-4.6.0-6", Rule5: "MQTT-4.6.0-5",
	New: func() *Hooks {
		return wildcards(swapped(func(l *Link, p *codec.Publish) bool {
			return counted(p) && !p.Dup && l.State["wildcard"] == nil && l.State["resumed"] != true
		}, sameFlow)())
	},
}, {
	Name: "ordering/swapped-at-qos1", Versions: both, Rule: "MQTT-4.6.0-6", Rule5: "MQTT-4.6.0-5",
	New: func() *Hooks {
		return wildcards(swapped(func(l *Link, p *codec.Publish) bool {
			return counted(p) && p.QoS == 1 && !p.Dup && l.State["wildcard"] == nil && l.State["resumed"] != true
		}, sameFlow)())
	},
}, {
	Name: "ordering/swapped-for-wildcards", Versions: both, Rule: "MQTT-4.6.0-5", Rule5: "MQTT-4.6.0-6",
	New: func() *Hooks {
		return wildcards(swapped(func(l *Link, p *codec.Publish) bool {
			return counted(p) && l.State["wildcard"] != nil
		}, sameFlow)())
	},
}, {
	Name: "ordering/queue-swapped", Versions: both, Rule: "MQTT-4.6.0-6",
	Falls5: []string{"MQTT-4.6.0-5"}, // the messages that wait while a connection is cut are such a queue too
	New: swapped(func(l *Link, p *codec.Publish) bool {
		return counted(p) && !p.Dup && l.State["resumed"] == true
	}, sameFlow),
}, {
	Name: "ordering/resent-in-reverse", Versions: mqtt311, Rule: "MQTT-4.6.0-6",
	New: swapped(func(l *Link, p *codec.Publish) bool {
		return p.Dup && l.State["resumed"] == true
	}, sameFlow),
}, {
	Name: "ordering/pubrel-in-another-order", Versions: mqtt311, Rule: "MQTT-4.6.0-6",
	New: func() *Hooks {
		// The PUBRELs of a burst of PUBRECs are turned round.
		due := map[*Link]int{}
		held := map[*Link][]byte{}
		return &Hooks{
			Up: func(l *Link, raw *Packet) {
				if _, ok := raw.Packet.(*codec.Pubrec); ok {
					due[l]++
				}
			},
			Down: func(l *Link, raw *Packet) {
				if _, ok := raw.Packet.(*codec.Pubrel); !ok {
					return
				}
				due[l]--
				switch {
				case held[l] != nil:
					raw.Raw = append(raw.Raw, held[l]...)
					delete(held, l)
				case due[l] > 0:
					held[l] = raw.Raw
					raw.Drop()
				}
			},
		}
	},
}, {
	Name: "ordering/topics-overtake", Versions: both, Legal: "no order is promised across topics",
	New: swapped(func(_ *Link, p *codec.Publish) bool { return counted(p) }, otherFlow),
}}
