package conformance

import (
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
)

var unsubscribeChecks = []Check{{
	Name:     "unsubscribe/answered",
	Rules:    []string{"MQTT-3.10.4-4"},
	Rules5:   []string{"MQTT-3.10.4-4", "MQTT-3.10.4-5"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		ids := []uint16{1, 0x100, 0xFFFF}
		for i := range ids {
			c.Granted(codec.Subscription{Filter: t.Topic(fmt.Sprintf("n%d", i)), QoS: 1})
		}
		for i, id := range ids {
			c.Send(&codec.Unsubscribe{PacketID: id, Filters: []string{t.Topic(fmt.Sprintf("n%d", i))}})
			e := t.Judge().Answered(c, "UNSUBACK", ofType(codec.TypeUnsuback))
			ack := e.Packet.(*codec.Unsuback)
			t.Judge("MQTT-3.10.4-4", "MQTT-3.10.4-5").Thatf(ack.PacketID == id,
				fmt.Sprintf("Packet Identifier %d", id), "%d", ack.PacketID)
			if !t.V5() {
				t.Judge().Thatf(len(e.Frame) == 4, "Remaining Length 2", "a packet of %d bytes", len(e.Frame))
			}
		}
		t.Judge().Silent(c, "UNSUBACK beyond one for each request", ofType(codec.TypeUnsuback), c.Ping)
	},
}, {
	Name:     "unsubscribe/answered-when-nothing-is-removed",
	Rules:    []string{"MQTT-3.10.4-5"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		for i, id := range []uint16{1, 0xFFFF} {
			c.Send(&codec.Unsubscribe{PacketID: id, Filters: []string{t.Topic(fmt.Sprintf("never%d", i))}})
			const what = "UNSUBACK for a filter that was never subscribed"
			var ack *codec.Unsuback
			if t.V5() {
				ack = t.Judge().Answered(c, what, ofType(codec.TypeUnsuback)).Packet.(*codec.Unsuback)
			} else {
				ack = t.Judge().Answer(c, what, ofType(codec.TypeUnsuback)).Packet.(*codec.Unsuback)
			}
			t.Judge().Thatf(ack.PacketID == id, fmt.Sprintf("Packet Identifier %d", id), "%d", ack.PacketID)
			if t.V5() && len(ack.Reasons) == 1 {
				t.Judge().Note().Thatf(ack.Reasons[0] == codec.NoSubscriptionExisted, "code 0x11", "0x%02X", uint8(ack.Reasons[0]))
			}
		}
	},
}, {
	Name:     "unsubscribe/removes-the-identical-filter-only",
	Rules:    []string{"MQTT-3.10.4-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapWildcard,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		ab, upper := t.Topic("a/b"), t.Topic("A/b")
		bystander := t.bystander(ab)
		sub.Subscribe(1, t.Topic("a/+"), upper)
		for i, f := range []string{ab, t.Topic("a/#"), t.Topic("a/b/"), t.Topic("+/b"), t.Topic("A/+")} {
			sub.Unsubscribe(f)
			for _, topic := range []string{ab, upper} {
				payload := fmt.Sprintf("m%d", i)
				pub.Publish(topic, 1, payload)
				t.Judge().Arrives(sub, topic, payload)
			}
		}
		sub.Unsubscribe(t.Topic("a/+"))
		pub.Publish(upper, 1, "last")
		t.Judge().Arrives(sub, upper, "last")
		t.Judge().NotDelivered(pub, bystander, sub, ab, "gone", "as its filter was removed")
	},
}, {
	Name:     "unsubscribe/removes-plain-filters",
	Rules:    []string{"MQTT-3.10.4-1", "MQTT-3.10.4-2"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		topic, other := t.Topic("a"), t.Topic("a/b")
		bystander := t.bystander(topic)
		sub.Subscribe(1, topic, other)
		pub.Publish(topic, 1, "before")
		if sub.Take(t.Timeout(), withPayload(topic, "before")) == nil {
			t.Inconclusive("nothing arrives while the subscription exists")
		}
		sub.Unsubscribe(topic)
		pub.Publish(other, 1, "still")
		t.Judge("MQTT-3.10.4-1").Arrives(sub, other, "still")
		t.Judge("MQTT-3.10.4-2").NotDelivered(pub, bystander, sub, topic, "after", "as it was published after UNSUBACK")
	},
}, {
	Name:     "unsubscribe/buffered-messages-only",
	Rules5:   []string{"P-3.10.4-buffered-messages", "MQTT-3.10.4-2"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		topic := t.Topic("a")
		bystander := t.bystander(topic)
		sub.Subscribe(1, topic)
		pub.Stream(topic, 1, 0, 12)
		id := sub.NextID()
		sub.Send(&codec.Unsubscribe{PacketID: id, Filters: []string{topic}})
		pub.Stream(topic, 1, 12, 16)
		if sub.Take(t.Timeout(), unsubackFor(id)) == nil {
			t.Inconclusive("no UNSUBACK came")
		}
		t.settle()
		// Whatever was published so far may still come.
		t.Judge().NotDelivered(pub, bystander, sub, topic, "after", "as it was published after UNSUBACK")
	},
}, {
	Name:     "unsubscribe/several-filters-act-alone",
	Rules:    []string{"MQTT-3.10.4-6"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		a, b, c := t.Topic("a"), t.Topic("b"), t.Topic("c")
		bystander := t.bystander(a, c)
		sub.Subscribe(1, a, b, c)
		filters := []string{a, t.Topic("x"), c}
		if t.V5() {
			filters = append(filters, a)
		}
		id := sub.NextID()
		sub.Send(&codec.Unsubscribe{PacketID: id, Filters: filters})
		e := sub.Take(t.Timeout(), unsubackFor(id))
		if e == nil {
			t.Inconclusive("no UNSUBACK came")
		}
		t.Judge().Silent(sub, "second UNSUBACK", ofType(codec.TypeUnsuback), sub.Ping)
		if ack := e.Packet.(*codec.Unsuback); t.V5() {
			t.Judge().Thatf(len(ack.Reasons) == 4, "4 codes", "%d codes", len(ack.Reasons))
			want := []codec.ReasonCode{codec.Success, codec.NoSubscriptionExisted, codec.Success, codec.NoSubscriptionExisted}
			t.Judge().Note().Thatf(slices.Equal(ack.Reasons, want), "codes [0 17 0 17]", "%v", codesText(ack.Reasons))
		}
		t.settle()
		pub.Publish(b, 1, "kept")
		t.Judge().Arrives(sub, b, "kept")
		t.Judge().NotDelivered(pub, bystander, sub, a, "gone", "as its filter was removed")
		t.Judge().NotDelivered(pub, bystander, sub, c, "gone", "as its filter was removed")
	},
}, {
	Name:     "unsubscribe/codes-in-order",
	Rules5:   []string{"MQTT-3.11.3-1", "MQTT-3.11.3-2"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.Granted(codec.Subscription{Filter: t.Topic("b"), QoS: 1})
		id := c.NextID()
		c.Send(&codec.Unsubscribe{PacketID: id, Filters: []string{t.Topic("a"), t.Topic("b"), t.Topic("c")}})
		e := c.Take(t.Timeout(), unsubackFor(id))
		if e == nil {
			t.Inconclusive("no UNSUBACK came")
		}
		codes := e.Packet.(*codec.Unsuback).Reasons
		listed := t.Judge("MQTT-3.11.3-2")
		listed.Thatf(len(codes) == 3, "3 codes", "%d codes", len(codes))
		for _, r := range codes {
			listed.Thatf(r.AllowedIn(codec.TypeUnsuback, codec.Server), "a code that UNSUBACK may carry", "0x%02X", uint8(r))
		}
		if len(codes) != 3 {
			return
		}
		const none = codec.NoSubscriptionExisted
		removed := slices.Index(codes, codec.Success)
		if slices.Contains(codes, none) && removed >= 0 {
			t.Judge("MQTT-3.11.3-1").Thatf(codes[1] == codec.Success && codes[0] != codec.Success && codes[2] != codec.Success,
				"success for the second filter alone", "%v", codesText(codes))
		} else {
			t.Inconclusive("the codes are %v, in which no order shows", codesText(codes))
		}
	},
}}

// codesText writes Reason Codes as numbers.
func codesText(codes []codec.ReasonCode) []uint8 {
	out := make([]uint8, len(codes))
	for i, c := range codes {
		out[i] = uint8(c)
	}
	return out
}
