package conformance

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var optionChecks = []Check{{
	Name:     "options/no-local",
	Rules5:   []string{"MQTT-3.8.3-3"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		topic, id := t.Topic("a"), t.ClientID()
		keeps := t.Target().Capabilities&CapSessionExpiry != 0
		a, b, c := t.Connect(t.Persistent(id)), t.Connect(), t.Connect()
		qos := codec.QoS(t.Target().MaximumQoS)
		qos = min(qos, a.Granted(codec.Subscription{Filter: topic, QoS: qos, NoLocal: true}))
		qos = min(qos, b.Granted(codec.Subscription{Filter: topic, QoS: qos, NoLocal: true}))
		if qos == 0 {
			t.Inconclusive("only QoS 0 is granted, at which messages may get lost")
		}
		publish := func(round string) {
			for q := range qos + 1 {
				payload := fmt.Sprintf("%s at QoS %d", round, q)
				a.Publish(topic, q, payload)
				if q > 0 {
					t.Judge().Arrives(b, topic, payload)
				}
			}
			if t.Target().Capabilities&CapRetain != 0 {
				a.Publish(topic, 1, round+" retained", Retained)
				t.Judge().Arrives(b, topic, round+" retained")
			}
			own := func(e *peer.Event) bool {
				p, ok := e.Packet.(*codec.Publish)
				return ok && p.Topic == topic && !p.Retain && bytes.HasPrefix(p.Payload, []byte(round))
			}
			t.Judge().Silent(a, "message of its own", own, func() { t.Fence(c, a, topic, qos); a.Ping() })
		}
		publish("first")
		if !keeps {
			return
		}
		a.Disconnect()
		a = t.Open()
		if ack := a.Connect(t.ConnectPacket(t.Persistent(id))); !ack.SessionPresent {
			return
		}
		publish("second")
	},
}, {
	Name:     "options/identifier-comes-back",
	Rules5:   []string{"P-3.8.2.1.2-subscription-identifier-range"},
	Versions: MQTT5,
	Needs:    CapSubscriptionIDs | CapQoS1,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		for i, id := range []uint32{1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455} {
			topic := t.Topic(fmt.Sprintf("n%d", id))
			p := &codec.Subscribe{PacketID: sub.NextID(), Filters: []codec.Subscription{{Filter: topic, QoS: 1}}}
			p.Props.SetUint(codec.PropSubscriptionID, id)
			if i == 0 {
				if r := sub.SubscribeWith(p).Reasons[0]; r != codec.GrantedQoS1 {
					t.Inconclusive("a subscription with identifier 1 is answered with %s", r.Name(codec.TypeSuback, codec.V5))
				}
			} else {
				sub.Send(p)
				e := t.Judge().Answer(sub, fmt.Sprintf("SUBACK for identifier %d", id), subackFor(p.PacketID))
				r := e.Packet.(*codec.Suback).Reasons
				t.Judge().Thatf(len(r) == 1 && !r[0].Failed(), fmt.Sprintf("a grant for identifier %d, as for 1", id), "%v", codesText(r))
				if len(r) != 1 || r[0] != codec.GrantedQoS1 {
					return
				}
				t.settle()
			}
			pub.Publish(topic, 1, "m")
			e := sub.Take(t.Timeout(), withPayload(topic, "m"))
			if e == nil {
				t.Inconclusive("nothing arrives under identifier %d", id)
			}
			got := slices.Collect(e.Packet.(*codec.Publish).Props.SubscriptionIDs())
			t.Judge().Thatf(slices.Equal(got, []uint32{id}), fmt.Sprintf("Subscription Identifier %d", id), "%v", got)
		}
	},
}, {
	Name:     "options/identifier-replaced",
	Rules5:   []string{"P-3.8.4-identifier-replaced"},
	Versions: MQTT5,
	Needs:    CapSubscriptionIDs | CapQoS1,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		topic := t.Topic("a")
		s := codec.Subscription{Filter: topic, QoS: 1}
		arrived := func(payload string) []uint32 {
			pub.Publish(topic, 1, payload)
			e := sub.Take(t.Timeout(), withPayload(topic, payload))
			if e == nil {
				t.Inconclusive("nothing arrives")
			}
			return slices.Collect(e.Packet.(*codec.Publish).Props.SubscriptionIDs())
		}
		sub.Granted(s, t.identified(5))
		sub.Granted(s)
		got := arrived("without")
		t.Judge().Crossing(len(got) == 0, "no Subscription Identifier, as the replacement has none", fmt.Sprint(got))
		sub.Granted(s, t.identified(6))
		got = arrived("with")
		t.Judge().Crossing(slices.Equal(got, []uint32{6}), "Subscription Identifier 6 alone", fmt.Sprint(got))
	},
}, {
	Name:     "options/suback-within-packet-size",
	Rules5:   []string{"MQTT-3.9.2-1", "MQTT-3.9.2-2"},
	Versions: MQTT5,
	Run: func(t *T) {
		judgeAckSize(t, "MQTT-3.9.2-1", "MQTT-3.9.2-2", func(c *Conn) (*peer.Event, int) {
			p := &codec.Subscribe{PacketID: c.NextID()}
			for i := range requestFilters {
				p.Filters = append(p.Filters, codec.Subscription{Filter: t.Topic(fmt.Sprintf("n%d", i))})
			}
			t.affords(p)
			c.Send(p)
			e := c.Take(t.Timeout(), subackFor(p.PacketID))
			if e == nil {
				return nil, 0
			}
			return e, (&codec.Suback{PacketID: 1, Reasons: e.Packet.(*codec.Suback).Reasons}).Size(codec.V5)
		})
	},
}, {
	Name:     "options/unsuback-within-packet-size",
	Rules5:   []string{"MQTT-3.11.2-1", "MQTT-3.11.2-2"},
	Versions: MQTT5,
	Run: func(t *T) {
		judgeAckSize(t, "MQTT-3.11.2-1", "MQTT-3.11.2-2", func(c *Conn) (*peer.Event, int) {
			p := &codec.Unsubscribe{PacketID: c.NextID()}
			for i := range requestFilters {
				p.Filters = append(p.Filters, t.Topic(fmt.Sprintf("n%d", i)))
			}
			t.affords(p)
			c.Send(p)
			e := c.Take(t.Timeout(), unsubackFor(p.PacketID))
			if e == nil {
				return nil, 0
			}
			return e, (&codec.Unsuback{PacketID: 1, Reasons: e.Packet.(*codec.Unsuback).Reasons}).Size(codec.V5)
		})
	},
}, {
	Name:     "options/one-reason-string",
	Rules5:   []string{"P-3.9.2.1.2-reason-string-duplicate"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		suback := c.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{{Filter: t.Topic("a")}}})
		t.Judge().Thatf(countProp(&suback.Props, codec.PropReasonString) <= 1, "at most one Reason String in SUBACK",
			"%d", countProp(&suback.Props, codec.PropReasonString))
		unsuback := c.Unsubscribe(t.Topic("b"))
		t.Judge().Thatf(countProp(&unsuback.Props, codec.PropReasonString) <= 1, "at most one Reason String in UNSUBACK",
			"%d", countProp(&unsuback.Props, codec.PropReasonString))
	},
}}

// requestFilters makes an answer so long that a CONNACK fits below its size.
const requestFilters = 80

// affords ends the check where the packet is larger than the target takes.
func (t *T) affords(p codec.Packet) {
	if limit := t.Target().MaximumPacketSize; limit > 0 && p.Size(codec.V5) > int(limit) {
		t.NotApplicable("a request with %d filters is larger than the %d bytes that the target takes", requestFilters, limit)
	}
}

// judgeAckSize asks once without a limit, to see which properties the target adds to the answer
// and what it takes without them, and then within limits that leave no room for all of them.
func judgeAckSize(t *T, reasonString, userProperty string, ask func(*Conn) (*peer.Event, int)) {
	free, bare := ask(t.Connect())
	if free == nil {
		t.Inconclusive("a request with %d filters is not answered", requestFilters)
	}
	props := ackProps(free.Packet)
	hasString, hasUser := props.Has(codec.PropReasonString), props.Has(codec.PropUserProperty)
	if !hasString && !hasUser {
		t.NotApplicable("the target adds neither Reason String nor User Property to the answer")
	}
	for _, limit := range []int{bare, len(free.Frame) - 1} {
		c := t.Connect(func(p *codec.Connect) { p.Props.SetUint(codec.PropMaximumPacketSize, uint32(limit)) })
		e, _ := ask(c)
		if e == nil {
			t.Inconclusive("with Maximum Packet Size %d the request is not answered", limit)
		}
		got, fits := ackProps(e.Packet), len(e.Frame) <= limit
		expected := fmt.Sprintf("a packet of at most %d bytes, by leaving the property out", limit)
		if hasString {
			t.Judge(reasonString).Thatf(fits || !got.Has(codec.PropReasonString), expected, "%d bytes with a Reason String", len(e.Frame))
		}
		if hasUser {
			t.Judge(userProperty).Thatf(fits || !got.Has(codec.PropUserProperty), expected, "%d bytes with a User Property", len(e.Frame))
		}
	}
}

// ackProps returns the properties of SUBACK or UNSUBACK.
func ackProps(p codec.Packet) *codec.Properties {
	if a, ok := p.(*codec.Suback); ok {
		return &a.Props
	}
	return &p.(*codec.Unsuback).Props
}

// countProp counts the properties with the identifier.
func countProp(props *codec.Properties, id codec.PropID) int {
	n := 0
	for p, ok := range props.All() {
		if ok && p.ID == id {
			n++
		}
	}
	return n
}
