package mutant

import (
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
)

// overlapping hands each message that matches several of a client's subscriptions to rewrite
// instead of delivering it.
func overlapping(rewrite func(c *courier, l *Link, p *codec.Publish, subs []held)) func() *Hooks {
	return func() *Hooks {
		c, subs := newCourier(), heldSubscriptions{}
		return &Hooks{Up: func(l *Link, raw *Packet) {
			c.up(l, raw)
			subs.up(l, raw)
		}, Down: func(l *Link, raw *Packet) {
			c.down(l, raw)
			p, ok := raw.Packet.(*codec.Publish)
			if !ok || p.Topic == "" {
				return
			}
			var matching []held
			for _, s := range subs[l] {
				if topic.Match(s.Filter, p.Topic) && !slices.ContainsFunc(matching, func(m held) bool { return m.Filter == s.Filter }) {
					matching = append(matching, s)
				}
			}
			if len(matching) > 1 && !p.Retain {
				c.consume(l, raw, p)
				rewrite(c, l, p, matching)
			}
		}}
	}
}

// withIDs returns the message with just these Subscription Identifiers; 0 stands for none.
func withIDs(p *codec.Publish, ids ...uint32) *codec.Publish {
	q := *p
	q.Props = p.Props.Clone()
	q.Props.Remove(codec.PropSubscriptionID)
	for _, id := range ids {
		if id != 0 {
			q.Props.SetUint(codec.PropSubscriptionID, id)
		}
	}
	return &q
}

// exactIDs are the rules that an identifier too many breaks as well.
var exactIDs = []string{"MQTT-3.8.4-3", "P-3.8.2.1.2-subscription-identifier-range", "P-3.8.4-identifier-replaced"}

var overlapMutants = []Mutant{{
	Name: "overlap/lowest-qos", Versions: both, Rule: "MQTT-3.3.5-1", Rule5: "MQTT-3.3.4-2",
	New: overlapping(func(c *courier, l *Link, p *codec.Publish, subs []held) {
		lowest := p.QoS
		for _, s := range subs {
			lowest = min(lowest, s.QoS)
		}
		c.deliver(l, p, lowest)
	}),
}, {
	Name: "overlap/more-copies-than-subscriptions", Versions: both, Rule: "MQTT-3.3.5-1", Rule5: "MQTT-3.3.4-2",
	New: overlapping(func(c *courier, l *Link, p *codec.Publish, subs []held) {
		for range len(subs) + 1 {
			c.deliver(l, p, p.QoS)
		}
	}),
}, {
	Name: "overlap/identifiers-missing", Versions: mqtt5, Rule: "MQTT-3.3.4-3",
	Falls: []string{"MQTT-3.3.4-4"},
	New: overlapping(func(c *courier, l *Link, p *codec.Publish, _ []held) {
		c.deliver(l, withIDs(p), p.QoS)
	}),
}, {
	Name: "overlap/one-copy-one-identifier", Versions: mqtt5, Rule: "MQTT-3.3.4-4",
	Falls: []string{"MQTT-3.3.4-3"},
	New: overlapping(func(c *courier, l *Link, p *codec.Publish, subs []held) {
		c.deliver(l, withIDs(p, subs[0].id), p.QoS)
	}),
}, {
	Name: "overlap/copies-without-identifier", Versions: mqtt5, Rule: "MQTT-3.3.4-5",
	New: overlapping(func(c *courier, l *Link, p *codec.Publish, subs []held) {
		for i := range subs {
			copied := withIDs(p)
			if i == 0 {
				copied = p
			}
			c.deliver(l, copied, p.QoS)
		}
	}),
}, {
	Name: "overlap/copy-with-foreign-identifier", Versions: mqtt5, Rule: "MQTT-3.3.4-5", Falls: []string{"P-3.3.4-foreign-subscription-identifier"},
	New: overlapping(func(c *courier, l *Link, p *codec.Publish, subs []held) {
		for _, s := range subs {
			id := s.id
			if id == 0 {
				id = 77
			}
			c.deliver(l, withIDs(p, id), p.QoS)
		}
	}),
}, {
	Name: "overlap/identifier-zero", Versions: mqtt5, Rule: "P-3.3.2.3.8-subscription-identifier-zero",
	Falls: append([]string{"MQTT-3.3.4-3", "MQTT-3.3.4-5", "P-3.3.4-foreign-subscription-identifier"}, exactIDs...),
	New: alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		if p.Props.Has(codec.PropSubscriptionID) {
			props := append([]byte{byte(codec.PropSubscriptionID), 0}, p.Props.Raw()...)
			raw.Set(publishBytes(p, p.Topic, props, l.Version)...)
		}
	}),
}, {
	Name: "overlap/identifier-of-another-client", Versions: mqtt5, Rule: "P-3.3.4-foreign-subscription-identifier",
	Falls: exactIDs,
	New: func() *Hooks {
		used := []uint32{}
		return &Hooks{Up: func(_ *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Subscribe); ok && p.Props.Has(codec.PropSubscriptionID) {
				used = append(used, p.Props.Uint(codec.PropSubscriptionID, 0))
			}
		}, Down: func(l *Link, raw *Packet) {
			p, ok := raw.Packet.(*codec.Publish)
			if !ok || len(used) == 0 {
				return
			}
			ids := slices.Collect(p.Props.SubscriptionIDs())
			if len(ids) != 1 {
				return
			}
			for _, id := range used {
				if id > 2 && id != ids[0] {
					raw.Encode(withIDs(p, ids[0], id), l.Version)
					return
				}
			}
		}}
	},
}, {
	Name: "overlap/one-copy-each", Versions: both,
	Legal: "overlapping subscriptions may get one copy each, at the QoS and with the identifier of each",
	New: overlapping(func(c *courier, l *Link, p *codec.Publish, subs []held) {
		for _, s := range subs {
			c.deliver(l, withIDs(p, s.id), min(p.QoS, s.QoS))
		}
	}),
}, {
	Name: "overlap/identifiers-in-other-order", Versions: mqtt5,
	Legal: "Subscription Identifiers have no order",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		ids := slices.Collect(p.Props.SubscriptionIDs())
		slices.Reverse(ids)
		if len(ids) > 1 {
			raw.Encode(withIDs(p, ids...), l.Version)
		}
	}),
}}
