package conformance

import (
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var replaceChecks = []Check{{
	Name:     "subscribe/replaces-existing",
	Rules:    []string{"MQTT-3.8.4-3"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		topic := t.Topic("a")
		ids := t.V5() && t.Target().Capabilities&CapSubscriptionIDs != 0
		sub.Granted(codec.Subscription{Filter: topic, QoS: 0}, t.identified(1))
		if sub.Granted(codec.Subscription{Filter: topic, QoS: 1}, t.identified(2)) != 1 {
			t.Inconclusive("QoS 1 was not granted, so old and new subscription look the same")
		}
		pub.Publish(topic, 1, "after")
		if !sub.Disturbed(t.Timeout(), withPayload(topic, "after")) {
			t.Judge().Crossing(false, "a message after the replacement", "nothing arrived")
			return
		}
		t.Fence(pub, sub, topic, 1)
		ps := sub.copies(topic, "after")
		t.Judge().Crossing(len(ps) == 1 && ps[0].QoS == 1, "one copy at QoS 1", describePublishes(ps, t.Version()))
		if ids && len(ps) == 1 {
			got := slices.Collect(ps[0].Props.SubscriptionIDs())
			t.Judge().Crossing(slices.Equal(got, []uint32{2}), "Subscription Identifier 2 only", fmt.Sprint(got))
		}
	},
}, {
	Name:     "subscribe/replacing-repeats-retained",
	Rules:    []string{"MQTT-3.8.4-3"},
	Rules5:   []string{"MQTT-3.8.4-4"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapRetain,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		topic := t.Topic("a")
		pub.Publish(topic, 1, "kept", Retained)
		sub.Subscribe(1, topic)
		if sub.Take(t.Timeout(), withPayload(topic, "kept")) == nil {
			t.Inconclusive("a first subscription gets no retained message, so a second says nothing")
		}
		sub.Subscribe(1, topic)
		t.Judge().Answer(sub, "the retained message again, with RETAIN 1", func(e *peer.Event) bool {
			p, ok := e.Packet.(*codec.Publish)
			return ok && p.Topic == topic && string(p.Payload) == "kept" && p.Retain && !p.Dup
		})
	},
}, {
	Name:     "subscribe/replacing-loses-nothing",
	Rules:    []string{"MQTT-3.8.4-3"},
	Rules5:   []string{"MQTT-3.8.4-4"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		topic := t.Topic("a")
		sub.Subscribe(1, topic)
		t.Fence(pub, sub, topic, 1)
		const half = 15
		pub.Stream(topic, 1, 0, half)
		// The replacement is under way while messages go on.
		id := sub.NextID()
		sub.Send(&codec.Subscribe{PacketID: id, Filters: []codec.Subscription{{Filter: topic, QoS: 1}}})
		pub.Stream(topic, 1, half, 2*half)
		if e := sub.Take(t.Timeout(), subackFor(id)); e == nil || e.Packet.(*codec.Suback).Reasons[0] != codec.GrantedQoS1 {
			t.Inconclusive("the second SUBSCRIBE was not granted at QoS 1")
		}
		pub.Stream(topic, 1, 2*half, 2*half+1)
		t.Fence(pub, sub, topic, 1)
		var missing []int
		for n := range 2*half + 1 {
			if len(sub.Pending(withPayload(topic, fmt.Sprint(n)))) == 0 {
				missing = append(missing, n)
			}
		}
		t.Judge().Crossing(len(missing) == 0, "every message of the stream", fmt.Sprintf("missing %v", missing))
	},
}, {
	Name:     "subscribe/several-filters-act-alone",
	Rules:    []string{"MQTT-3.8.4-4"},
	Rules5:   []string{"MQTT-3.8.4-5"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		one, two, three := t.Topic("a/1"), t.Topic("a/2"), t.Topic("a/3")
		id := sub.NextID()
		sub.Send(&codec.Subscribe{PacketID: id, Filters: []codec.Subscription{
			{Filter: one, QoS: 0}, {Filter: two, QoS: 1}, {Filter: three, QoS: 2}, {Filter: one, QoS: 2},
		}})
		e := sub.Take(t.Timeout(), subackFor(id))
		if e == nil {
			t.Inconclusive("no SUBACK came")
		}
		ack := e.Packet.(*codec.Suback)
		t.Judge().Thatf(len(ack.Reasons) == 4, "one SUBACK with 4 codes", "%d codes", len(ack.Reasons))
		t.Judge().Silent(sub, "second SUBACK", ofType(codec.TypeSuback), sub.Ping)
		if len(ack.Reasons) != 4 {
			return
		}
		t.settle()
		for i, topic := range []string{one, two, three} {
			r := ack.Reasons[i]
			if topic == one {
				r = ack.Reasons[3]
			}
			if r.Failed() {
				continue
			}
			pub.Publish(topic, 2, "m")
			if r == 0 {
				continue // at QoS 0 a message may get lost
			}
			if !sub.Disturbed(t.Timeout(), withPayload(topic, "m")) {
				t.Judge().Crossing(false, "a message for each granted filter", "none on "+topic)
				return
			}
			t.Fence(pub, sub, topic, 2)
			ps := sub.copies(topic, "m")
			best := slices.ContainsFunc(ps, func(p *codec.Publish) bool { return p.QoS == codec.QoS(r) })
			t.Judge().Crossing(best, fmt.Sprintf("a message at QoS %d on %s", r, topic), describePublishes(ps, t.Version()))
			if topic == one && ack.Reasons[0] == 0 && r == 2 {
				t.Judge().Warn().Crossing(len(ps) == 1, "one copy, as the later entry replaces the earlier one", describePublishes(ps, t.Version()))
			}
		}
	},
}}
