package mutant

import (
	"slices"

	"github.com/mqlab/mqlab/codec"
)

// storeAs lets f decide, by changing the RETAIN flag, what the broker keeps. kept says whether
// the topic has had a retained message before.
func storeAs(f func(p *codec.Publish, kept bool) (retain bool)) func() *Hooks {
	return func() *Hooks {
		kept := map[string]bool{}
		return &Hooks{Up: func(_ *Link, raw *Packet) {
			p, ok := raw.Packet.(*codec.Publish)
			if !ok {
				return
			}
			retain := f(p, kept[p.Topic])
			if p.Retain {
				kept[p.Topic] = len(p.Payload) > 0
			}
			raw.Raw[0] &^= 1
			if retain {
				raw.Raw[0] |= 1
			}
		}}
	}
}

// rewriteHandling changes the Retain Handling of Subscriptions; again says that the connection
// has asked for the same Topic Filter before.
func rewriteHandling(f func(s *codec.Subscription, again bool)) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, raw *Packet) {
			p, ok := raw.Packet.(*codec.Subscribe)
			if !ok || p.PacketID == 0 || len(p.Filters) == 0 {
				return
			}
			before := slices.Clone(p.Filters)
			for i := range p.Filters {
				s := &p.Filters[i]
				f(s, l.State[s.Filter] != nil)
				l.State[s.Filter] = true
			}
			if !slices.Equal(before, p.Filters) {
				raw.Encode(p, l.Version)
			}
		}}
	}
}

// keptCopies hands each retained copy to rewrite instead of delivering it.
func keptCopies(match func(p *codec.Publish) bool, rewrite func(c *courier, l *Link, p *codec.Publish)) func() *Hooks {
	return func() *Hooks {
		c := newCourier()
		return &Hooks{Up: c.up, Down: func(l *Link, raw *Packet) {
			c.down(l, raw)
			if p, ok := raw.Packet.(*codec.Publish); ok && match(p) {
				c.consume(l, raw, p)
				rewrite(c, l, p)
			}
		}}
	}
}

func isRetained(p *codec.Publish) bool { return p.Retain && p.Topic != "" }

var retainedMutants = []Mutant{{
	Name: "retained/first-version-stays", Versions: mqtt5, Rule: "MQTT-3.3.1-5",
	New: storeAs(func(p *codec.Publish, kept bool) bool {
		return p.Retain && (!kept || len(p.Payload) == 0 || p.QoS == 0)
	}),
}, {
	Name: "retained/first-version-stays-before-5.0", Versions: mqtt311, Rule: "MQTT-3.3.1-6",
	New: storeAs(func(p *codec.Publish, kept bool) bool {
		return p.Retain && (!kept || len(p.Payload) == 0 || p.QoS == 0)
	}),
}, {
	Name: "retained/not-kept", Versions: both, Rule: "MQTT-3.3.1-5",
	Falls:  []string{"MQTT-3.3.1-6", "MQTT-3.1.2-7", "MQTT-3.8.4-3"},
	Falls5: []string{"MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-13", "MQTT-3.1.2-15", "MQTT-3.8.4-4", "P-4.1-retained-outlive-session"},
	New:    storeAs(func(p *codec.Publish, _ bool) bool { return false }),
}, {
	Name: "retained/kept-at-qos0", Versions: mqtt311, Rule: "MQTT-3.3.1-5",
	Falls: []string{"MQTT-3.8.4-6"},
	New:   keptCopies(isRetained, func(c *courier, l *Link, p *codec.Publish) { c.deliver(l, p, 0) }),
}, {
	Name: "retained/one-topic-of-a-wildcard", Versions: mqtt311, Rule: "MQTT-3.3.1-6",
	New: func() *Hooks {
		c, subs := newCourier(), heldSubscriptions{}
		return &Hooks{Up: func(l *Link, raw *Packet) {
			c.up(l, raw)
			subs.up(l, raw)
		}, Down: func(l *Link, raw *Packet) {
			c.down(l, raw)
			p, ok := raw.Packet.(*codec.Publish)
			wide := slices.ContainsFunc(subs[l], func(s held) bool { return s.Filter != "" && s.Filter[len(s.Filter)-1] == '#' })
			if !ok || !p.Retain || !wide {
				return
			}
			if l.State["retained"] != nil {
				c.consume(l, raw, p)
			}
			l.State["retained"] = true
		}}
	},
}, {
	Name: "retained/qos0-does-not-replace", Versions: both, Rule: "MQTT-3.3.1-7", Rule5: "P-3.3.1.3-retained-qos0",
	New: storeAs(func(p *codec.Publish, kept bool) bool { return p.Retain && (p.QoS > 0 || !kept || len(p.Payload) == 0) }),
}, {
	Name: "retained/qos0-dropped", Versions: both,
	Legal: "a server may drop a QoS 0 retained message at any time",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, raw *Packet) {
			p, ok := raw.Packet.(*codec.Publish)
			if !ok || !p.Retain || p.QoS > 0 || p.Topic == "" {
				return
			}
			raw.Raw[0] &^= 1
			raw.Raw = append(raw.Raw, encode(&codec.Publish{Topic: p.Topic, Retain: true}, l.Version)...)
		}}
	},
}, {
	Name: "retained/flag-clear-at-subscription", Versions: both, Rule: "MQTT-3.3.1-8", Rule5: "P-3.3.1.3-retained-flag-at-subscribe",
	Falls: []string{"MQTT-3.8.4-3", "MQTT-3.1.2-17"}, Falls5: []string{"MQTT-3.3.1-13", "MQTT-3.8.4-4", "MQTT-3.1.2-15"},
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Publish) {
		if p.Retain {
			raw.Raw[0] &^= 1
		}
	}),
}, {
	Name: "retained/flag-set-on-live-delivery", Versions: both, Rule: "MQTT-3.3.1-9", Rule5: "MQTT-3.3.1-12",
	New: func() *Hooks {
		flagged := map[string]bool{}
		return &Hooks{Up: func(_ *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && p.Retain {
				flagged[p.Topic+"\x00"+string(p.Payload)] = true
			}
		}, Down: func(_ *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && flagged[p.Topic+"\x00"+string(p.Payload)] {
				raw.Raw[0] |= 1
			}
		}}
	},
}, {
	Name: "retained/flag-not-as-published", Versions: mqtt5, Rule: "MQTT-3.3.1-13",
	New: func() *Hooks {
		subs := heldSubscriptions{}
		return &Hooks{Up: func(l *Link, raw *Packet) {
			subs.up(l, raw)
			p, ok := raw.Packet.(*codec.Publish)
			if !ok || !p.Retain {
				return
			}
			for _, other := range l.Proxy.Links() {
				if slices.ContainsFunc(subs[other], func(s held) bool { return s.RetainAsPublished && s.Filter == p.Topic }) {
					other.State["live "+p.Topic] = true
				}
			}
		}, Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && p.Retain && l.State["live "+p.Topic] != nil {
				delete(l.State, "live "+p.Topic)
				raw.Raw[0] &^= 1
			}
		}}
	},
}, {
	Name: "retained/empty-does-not-delete", Versions: both, Rule: "MQTT-3.3.1-10", Rule5: "MQTT-3.3.1-6",
	New: storeAs(func(p *codec.Publish, _ bool) bool { return p.Retain && len(p.Payload) > 0 }),
}, {
	Name: "retained/empty-not-delivered", Versions: both, Rule: "MQTT-3.3.1-10", Rule5: "MQTT-3.3.1-6",
	New: keptCopies(func(p *codec.Publish) bool { return p.Topic != "" && len(p.Payload) == 0 }, func(*courier, *Link, *codec.Publish) {}),
}, {
	Name: "retained/empty-kept", Versions: both, Rule: "MQTT-3.3.1-11", Rule5: "MQTT-3.3.1-7",
	New: func() *Hooks {
		empty, asked := map[string]bool{}, map[*Link]map[uint16][]string{}
		return &Hooks{Up: func(l *Link, raw *Packet) {
			switch p := raw.Packet.(type) {
			case *codec.Publish:
				if p.Retain {
					empty[p.Topic] = len(p.Payload) == 0
				}
			case *codec.Subscribe:
				if asked[l] == nil {
					asked[l] = map[uint16][]string{}
				}
				for _, s := range p.Filters {
					asked[l][p.PacketID] = append(asked[l][p.PacketID], s.Filter)
				}
			}
		}, Down: func(l *Link, raw *Packet) {
			p, ok := raw.Packet.(*codec.Suback)
			if !ok {
				return
			}
			for _, filter := range asked[l][p.PacketID] {
				if empty[filter] {
					raw.Raw = append(raw.Raw, encode(&codec.Publish{Topic: filter, Retain: true}, l.Version)...)
				}
			}
			delete(asked[l], p.PacketID)
		}}
	},
}, {
	Name: "retained/unflagged-empty-deletes", Versions: both, Rule: "MQTT-3.3.1-12", Rule5: "MQTT-3.3.1-8",
	New: storeAs(func(p *codec.Publish, _ bool) bool { return p.Retain || len(p.Payload) == 0 && p.QoS > 0 }),
}, {
	Name: "retained/unflagged-kept", Versions: both, Rule: "MQTT-3.3.1-12", Rule5: "MQTT-3.3.1-8",
	Falls: []string{"MQTT-3.3.1-10", "MQTT-3.3.1-6", "MQTT-3.3.1-5"}, Falls5: []string{"MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11"},
	New: storeAs(func(p *codec.Publish, kept bool) bool { return p.Retain || kept && string(p.Payload) == "passing" }),
}, {
	Name: "retained/handling-0-not-sent-again", Versions: mqtt5, Rule: "MQTT-3.3.1-9",
	Falls: []string{"MQTT-3.8.4-4", "MQTT-3.8.4-3"},
	New: rewriteHandling(func(s *codec.Subscription, again bool) {
		if again && s.RetainHandling == 0 {
			s.RetainHandling = 2
		}
	}),
}, {
	Name: "retained/handling-1-sent-again", Versions: mqtt5, Rule: "MQTT-3.3.1-10",
	New: rewriteHandling(func(s *codec.Subscription, _ bool) {
		if s.RetainHandling == 1 {
			s.RetainHandling = 0
		}
	}),
}, {
	Name: "retained/handling-1-never-sent", Versions: mqtt5, Rule: "MQTT-3.3.1-10",
	New: rewriteHandling(func(s *codec.Subscription, _ bool) {
		if s.RetainHandling == 1 {
			s.RetainHandling = 2
		}
	}),
}, {
	Name: "retained/handling-2-sent", Versions: mqtt5, Rule: "MQTT-3.3.1-11",
	New: rewriteHandling(func(s *codec.Subscription, _ bool) {
		if s.RetainHandling == 2 {
			s.RetainHandling = 0
		}
	}),
}, {
	Name: "retained/copies-before-suback", Versions: both,
	Legal: "retained copies may come before SUBACK",
	New: alterDown(func(l *Link, raw *Packet, _ *codec.Suback) {
		late := raw.Raw
		raw.Drop()
		l.After(shortDelay/5, func() { l.ToClient(late...) })
	}),
}}
