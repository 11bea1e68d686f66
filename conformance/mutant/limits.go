package mutant

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

// fewBytes is the Maximum Packet Size of the broker in the mutants about exceeding it.
const fewBytes = 4096

var limitMutants = []Mutant{{
	Name: "limits/message-too-large-sent", Versions: mqtt5, Rule: "MQTT-3.1.2-24",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		if limit := smallLimit(l); limit > 0 {
			p.Props.AddUser("filler", strings.Repeat("~", limit))
			raw.reencode(p, l.Version)
		}
	}),
}, {
	Name: "limits/too-large-stalls-delivery", Versions: mqtt5, Rule: "MQTT-3.1.2-25",
	New: afterTooLarge(func(l *Link) { l.State["stalled"] = true }),
}, {
	Name: "limits/too-large-ends-the-connection", Versions: mqtt5, Rule: "MQTT-3.1.2-25",
	New: afterTooLarge(func(l *Link) {
		l.CloseClient()
		l.CloseBroker()
	}),
}, {
	Name: "limits/too-large-cut-off", Versions: mqtt5, Rule: "MQTT-3.1.2-25",
	New: func() *Hooks {
		var h *Hooks
		own := extras{}
		h = afterTooLarge(func(l *Link) {
			for filter, s := range l.State["subscriptions"].(subscriptions)[l] {
				own.send(l, &codec.Publish{Topic: filter, QoS: s.QoS, Payload: []byte("big")})
			}
		})()
		up := h.Up
		h.Up = func(l *Link, p *Packet) {
			own.up(l, p)
			if len(p.Raw) > 0 {
				up(l, p)
			}
		}
		return h
	},
}, {
	Name: "limits/topic-alias-above-maximum", Versions: mqtt5, Rule: "MQTT-3.1.2-26",
	Falls: []string{"MQTT-3.3.2-11"},
	New:   outboundAlias(func(most uint32) uint32 { return most + 5 }),
}, {
	Name: "limits/topic-alias-unasked", Versions: mqtt5, Rule: "MQTT-3.1.2-27",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		if aliasMax(l) == 0 && p.Topic != "" {
			p.Props.SetUint(codec.PropTopicAlias, 1)
			raw.reencode(p, l.Version)
		}
	}),
}, {
	Name: "limits/problem-information-unwanted", Versions: mqtt5, Rule: "MQTT-3.1.2-29",
	Broker: broker.Config{AckProperties: true},
	New: func() *Hooks {
		return &Hooks{Up: changeConnect(func(_ *Link, c *codec.Connect) bool {
			c.Props.Remove(codec.PropRequestProblemInfo)
			return true
		})}
	},
}, {
	Name: "limits/reason-string-unwanted", Versions: mqtt5, Rule: "MQTT-3.1.2-29",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Unsuback) {
		if l.Connect != nil && l.Connect.Props.Uint(codec.PropRequestProblemInfo, 1) == 0 {
			p.Props.SetText(codec.PropReasonString, "nevertheless")
			raw.reencode(p, l.Version)
		}
	}),
}, {
	Name: "limits/maximum-qos-not-announced", Versions: mqtt5, Rule: "MQTT-3.2.2-9",
	Falls:  []string{"MQTT-3.1.2-12"},
	Broker: broker.Config{MaximumQoS: broker.UpToQoS1},
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Connack) {
		p.Props.Remove(codec.PropMaximumQoS)
		raw.reencode(p, codec.V5)
	}),
}, {
	Name: "limits/subscription-refused-for-its-qos", Versions: mqtt5, Rule: "MQTT-3.2.2-10",
	Broker: broker.Config{MaximumQoS: broker.UpToQoS1},
	New: tolerate(func(r *request) bool {
		return r.subscribe && slices.Contains(r.options, 2) && len(r.filters) == 1
	}, answerWith(codec.ImplementationSpecificError)),
}, {
	Name: "limits/qos-above-maximum-taken", Versions: mqtt5, Rule: "P-3.2.2.3.4-publish-above-maximum-qos", Warn: true,
	Falls:  []string{"MQTT-3.2.2-11"},
	Broker: broker.Config{MaximumQoS: broker.UpToQoS1},
	New:    tolerateMessage(func(l *Link, p *codec.Publish) bool { return p.QoS == 2 && l.Connect != nil }),
}, {
	Name: "limits/qos-1-taken", Versions: mqtt5, Rule: "MQTT-3.2.2-11", Warn: true,
	Falls:  []string{"P-3.2.2.3.4-publish-above-maximum-qos"},
	Broker: broker.Config{MaximumQoS: broker.UpToQoS0},
	New:    tolerateMessage(func(l *Link, p *codec.Publish) bool { return p.QoS == 1 && l.Connect != nil }),
}, {
	Name: "limits/will-qos-lowered", Versions: mqtt5, Rule: "MQTT-3.2.2-12",
	Broker: broker.Config{MaximumQoS: broker.UpToQoS1},
	New: changeWill(func(_ *Link, c *codec.Connect) bool {
		c.Will.QoS = min(c.Will.QoS, 1)
		return true
	}),
}, {
	Name: "limits/will-retain-ignored", Versions: mqtt5, Rule: "MQTT-3.2.2-13",
	Broker: broker.Config{RetainUnavailable: true},
	New: changeWill(func(_ *Link, c *codec.Connect) bool {
		c.Will.Retain = false
		return true
	}),
}, {
	Name: "limits/retain-taken", Versions: mqtt5, Rule: "P-3.2.2.3.5-retain-not-supported", Warn: true,
	Falls:  []string{"MQTT-3.2.2-14"},
	Broker: broker.Config{RetainUnavailable: true},
	New:    tolerateMessage(func(l *Link, p *codec.Publish) bool { return p.Retain && l.Connect != nil }),
}, {
	Name: "limits/retain-taken-at-qos-0", Versions: mqtt5, Rule: "MQTT-3.2.2-14", Warn: true,
	Falls:  []string{"P-3.2.2.3.5-retain-not-supported"},
	Broker: broker.Config{RetainUnavailable: true, MaximumQoS: broker.UpToQoS0},
	New:    tolerateMessage(func(l *Link, p *codec.Publish) bool { return p.Retain && l.Connect != nil }),
}, {
	Name: "limits/packet-above-maximum-taken", Versions: mqtt5, Rule: "P-3.2.2.3.6-packet-too-large", Warn: true,
	Falls:  []string{"MQTT-3.2.2-15"},
	Broker: broker.Config{MaximumPacketSize: fewBytes},
	New:    tooLargeTaken,
}, {
	Name: "limits/packet-above-maximum-read", Versions: mqtt5, Rule: "MQTT-3.2.2-15", Warn: true,
	Falls:  []string{"P-3.2.2.3.6-packet-too-large"},
	Broker: broker.Config{MaximumPacketSize: fewBytes},
	New:    tooLargeTaken,
}, {
	Name: "limits/packet-of-maximum-size-refused", Versions: mqtt5, Rule: "P-3.2.2.3.6-packet-too-large", Warn: true,
	Broker: broker.Config{MaximumPacketSize: fewBytes},
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if len(p.Raw) == fewBytes {
				p.Drop()
				l.PacketToClient(&codec.Disconnect{Reason: codec.PacketTooLarge})
				l.CloseClient()
				l.CloseBroker()
			}
		}}
	},
}, {
	Name: "limits/wildcard-granted", Versions: mqtt5, Rule: "P-3.2.2.3.11-wildcard-not-supported", Warn: true,
	Broker: broker.Config{WildcardUnavailable: true},
	New:    tolerate(wildOnly, answerWith(codec.GrantedQoS0)),
}, {
	Name: "limits/wildcard-refused-by-code", Versions: mqtt5, Legal: "a SUBACK may refuse what is not available",
	Broker: broker.Config{WildcardUnavailable: true},
	New:    tolerate(wildOnly, answerWith(codec.WildcardSubscriptionsNotSupported)),
}, {
	Name: "limits/shared-subscription-granted", Versions: mqtt5, Rule: "P-3.2.2.3.13-shared-not-supported", Warn: true,
	Broker: broker.Config{SharedUnavailable: true},
	New:    tolerate(sharedOnly, answerWith(codec.GrantedQoS0)),
}, {
	Name: "limits/subscription-identifier-granted", Versions: mqtt5, Rule: "P-3.2.2.3.12-subscription-identifiers-not-supported", Warn: true,
	Broker: broker.Config{SubscriptionIDsUnavailable: true},
	New:    tolerate(identified, answerWith(codec.GrantedQoS0)),
}, {
	Name: "limits/subscription-identifier-refused", Versions: mqtt5, Rule: "P-3.2.2.3.12-subscription-identifiers-not-supported",
	New: tolerate(identified, answerWith(codec.SubscriptionIdentifiersNotSupported)),
}, {
	Name: "capabilities/small-packets", Versions: mqtt5, Legal: "a server may bound the size of packets",
	Broker: broker.Config{MaximumPacketSize: fewBytes}, New: plainly,
}, {
	Name: "capabilities/small-window", Versions: mqtt5, Legal: "a server may bound what a client leaves unacknowledged",
	Broker: broker.Config{ReceiveMaximum: 20}, New: plainly,
}, {
	Name: "capabilities/no-topic-aliases", Versions: mqtt5, Legal: "a server need not know Topic Aliases",
	Broker: broker.Config{TopicAliasMaximum: -1, NoOutboundAliases: true}, New: plainly,
}, {
	Name: "capabilities/short-sessions", Versions: mqtt5, Legal: "a server may shorten the Session Expiry Interval",
	Broker: broker.Config{SessionExpiryMaximum: 30 * time.Second}, New: plainly,
}, {
	Name: "capabilities/no-sessions", Versions: mqtt5, Legal: "a server may keep no session",
	Broker: broker.Config{SessionExpiryMaximum: -1}, New: plainly,
}}

// afterTooLarge calls f for each subscriber with a small Maximum Packet Size when a message for it
// has passed that is larger. A stalled link gets no messages any more.
func afterTooLarge(f func(l *Link)) func() *Hooks {
	return func() *Hooks {
		asked := subscriptions{}
		return &Hooks{Up: func(l *Link, p *Packet) {
			asked.up(l, p)
			m, ok := p.Packet.(*codec.Publish)
			if !ok {
				return
			}
			for _, other := range l.Proxy.Links() {
				limit := smallLimit(other)
				if _, subscribed := asked[other][m.Topic]; !subscribed || limit == 0 || len(p.Raw) <= limit || other.State["met"] != nil {
					continue
				}
				other.State["met"], other.State["subscriptions"] = true, asked
				f(other)
			}
		}, Down: func(l *Link, p *Packet) {
			if _, ok := p.Packet.(*codec.Publish); ok && l.State["stalled"] != nil {
				p.Drop()
			}
		}}
	}
}

// tooLargeTaken acknowledges messages beyond the broker's Maximum Packet Size.
func tooLargeTaken() *Hooks {
	return upPublish(func(l *Link, raw *Packet, p *codec.Publish) {
		if len(raw.Raw) > fewBytes {
			raw.Drop()
			acknowledge(l, p)
		}
	})()
}

// wildOnly matches a SUBSCRIBE with one legal filter that ends in #.
func wildOnly(r *request) bool {
	return r.subscribe && len(r.filters) == 1 && strings.HasSuffix(r.filters[0], "/#") && !strings.HasPrefix(r.filters[0], "$share/")
}

// sharedOnly matches a SUBSCRIBE with one legal shared filter.
func sharedOnly(r *request) bool {
	return r.subscribe && len(r.filters) == 1 && strings.HasPrefix(r.filters[0], "$share/mqlab/")
}

// identified matches a SUBSCRIBE with a Subscription Identifier and nothing else among its properties.
func identified(r *request) bool {
	return r.subscribe && len(r.props) == 2 && bytes.HasPrefix(r.props, []byte{byte(codec.PropSubscriptionID)}) && r.props[1] != 0
}
