package conformance

import (
	"fmt"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// A retained message may become visible to other connections a moment after its
// acknowledgement, and a late copy of the live message may look like a retained one without
// the flag: what these checks see on a late subscriber is believed only when it happens twice.
var retainedChecks = []Check{{
	Name:     "retained/kept-with-qos",
	Rules:    []string{"MQTT-3.3.1-5"},
	Versions: MQTT311,
	Needs:    CapRetain | CapQoS1,
	Run: func(t *T) {
		pub, late := t.Connect(), t.Connect()
		for _, qos := range t.levels(1) {
			topic := t.Topic(fmt.Sprintf("q%d", qos))
			pub.Deliver(topic, qos, "kept", Retained)
			late.Subscribe(t.atMost(2), topic)
			p := t.Judge().Arrives(late, topic, "kept")
			t.Judge().Crossing(p.QoS == qos, fmt.Sprintf("the QoS it was published with, %d", qos), codec.Describe(p, t.Version()))
		}
	},
}, {
	Name:     "retained/replaced",
	Rules:    []string{"MQTT-3.3.1-5"},
	Versions: MQTT5,
	Needs:    CapRetain | CapQoS1,
	Run: func(t *T) {
		pub, late := t.Connect(), t.Connect()
		topic := t.Topic("a")
		pub.Deliver(topic, 1, "v1", Retained)
		pub.Deliver(topic, 1, "v2", Retained)
		late.Subscribe(1, topic)
		e := t.Judge().ArrivesMatching(late, "the retained message", onTopic(topic))
		got := codec.Describe(e.Packet, t.Version())
		if t.Judge().Crossing(string(e.Packet.(*codec.Publish).Payload) == "v2", `the second message, payload "v2"`, got) {
			t.Judge().Silent(late, "message that was replaced", withPayload(topic, "v1"), func() { t.Fence(pub, late, topic, 1) })
		}
	},
}, {
	Name:     "retained/every-matching-topic",
	Rules:    []string{"MQTT-3.3.1-6"},
	Versions: MQTT311,
	Needs:    CapRetain | CapQoS1 | CapWildcard,
	Run: func(t *T) {
		pub, late := t.Connect(), t.Connect()
		topics := []string{t.Topic("r/1"), t.Topic("r/2")}
		for _, topic := range topics {
			pub.Deliver(topic, 1, "older", Retained)
			pub.Deliver(topic, 1, "newest", Retained)
		}
		late.Subscribe(1, t.Topic("r")+"/#")
		for _, topic := range topics {
			e := t.Judge().ArrivesMatching(late, fmt.Sprintf("the retained message of %q", topic), onTopic(topic))
			p := e.Packet.(*codec.Publish)
			t.Judge().Crossing(string(p.Payload) == "newest", `payload "newest"`, codec.Describe(p, t.Version()))
			t.Judge().Silent(late, "older message", withPayload(topic, "older"), func() { t.Fence(pub, late, topic, 1) })
		}
	},
}, {
	Name:     "retained/qos0-replaces",
	Rules:    []string{"MQTT-3.3.1-7"},
	Rules5:   []string{"P-3.3.1.3-retained-qos0"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapRetain | CapQoS1,
	Run: func(t *T) {
		pub, topic := t.Connect(), t.Topic("a")
		pub.Deliver(topic, 1, "old", Retained)
		// Order between levels of QoS is free, and PUBACK does not say that a message is in store.
		for began := time.Now(); t.retainedCopy(pub, topic, "old") == ""; t.Wait(t.Timeout() / 20) {
			if time.Since(began) > t.Timeout() {
				t.Inconclusive("the message that was to be replaced is not retained")
			}
		}
		pub.Deliver(topic, 0, "new", Retained)
		// A first subscriber may come before the unacknowledged message has been processed.
		began := time.Now()
		const expected = `payload "new" or nothing retained`
		for {
			stale := t.retainedCopy(pub, topic, "old")
			if stale == "" {
				t.Judge().That(true, expected, "no old message")
				return
			}
			if time.Since(began) > t.Timeout() {
				t.Judge().Crossing(false, expected, fmt.Sprintf("%s, %v later", stale, t.Timeout()))
				return
			}
			t.Wait(t.Timeout() / 20)
		}
	},
}, {
	Name:     "retained/flag-at-subscription",
	Rules:    []string{"MQTT-3.3.1-8"},
	Rules5:   []string{"P-3.3.1.3-retained-flag-at-subscribe"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapRetain | CapQoS1,
	Run: func(t *T) {
		pub, topic := t.Connect(), t.Topic("a")
		pub.Deliver(topic, 1, "kept", Retained)
		t.settle()
		for _, asPublished := range t.options() {
			late := t.Connect()
			late.SubscribeOptions(codec.Subscription{Filter: topic, QoS: 1, RetainAsPublished: asPublished})
			e := late.Take(t.Timeout(), withPayload(topic, "kept"))
			if e == nil {
				t.Inconclusive("%s: the retained message did not arrive", late.Name())
			}
			t.Judge().Crossing(e.Packet.(*codec.Publish).Retain, "RETAIN 1 on what is sent because of the subscription", codec.Describe(e.Packet, t.Version()))
		}
	},
}, {
	Name:     "retained/flag-clear-on-live-delivery",
	Rules:    []string{"MQTT-3.3.1-9"},
	Rules5:   []string{"MQTT-3.3.1-12"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		t.liveFlags(false, func(sent, got bool) bool { return !got }, "RETAIN 0 on a live delivery")
	},
}, {
	Name:     "retained/flag-as-published",
	Rules:    []string{"MQTT-3.3.1-13"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		t.liveFlags(true, func(sent, got bool) bool { return sent == got }, "RETAIN as it was published")
	},
}, {
	Name:     "retained/empty-deletes",
	Rules:    []string{"MQTT-3.3.1-10"},
	Rules5:   []string{"MQTT-3.3.1-6"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapRetain | CapQoS1,
	Run: func(t *T) {
		watcher, pub, topic := t.Connect(), t.Connect(), t.Topic("a")
		watcher.Subscribe(1, topic)
		pub.Deliver(topic, 1, "kept", Retained)
		t.needRetained(topic, "kept")
		pub.Deliver(topic, 1, "", Retained)
		t.Judge().Arrives(watcher, topic, "")
		stale := t.retainedCopy(pub, topic, "kept")
		t.Judge().Crossing(stale == "", "no retained message for a new subscriber", stale)
	},
}, {
	Name:     "retained/empty-not-kept",
	Rules:    []string{"MQTT-3.3.1-11"},
	Rules5:   []string{"MQTT-3.3.1-7"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapRetain | CapQoS1,
	Run: func(t *T) {
		late, pub, topic := t.Connect(), t.Connect(), t.Topic("a")
		pub.Deliver(topic, 1, "", Retained)
		t.settle()
		late.Subscribe(1, topic)
		// Without the flag it is the live message, which may be on its way behind its acknowledgement.
		t.Judge().Silent(late, "empty retained message", retainedOn(topic), func() { t.Fence(pub, late, topic, 1) })
	},
}, {
	Name:     "retained/unflagged-changes-nothing",
	Rules:    []string{"MQTT-3.3.1-12"},
	Rules5:   []string{"MQTT-3.3.1-8"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapRetain | CapQoS1,
	Run: func(t *T) {
		pub, topic, bare := t.Connect(), t.Topic("a"), t.Topic("b")
		pub.Deliver(topic, 1, "kept", Retained)
		t.needRetained(topic, "kept")
		pub.Deliver(topic, 1, "passing")
		pub.Deliver(topic, 1, "")
		late := t.Connect()
		late.Subscribe(1, topic)
		t.Judge().Arrives(late, topic, "kept")
		t.Judge().Silent(late, "retained message but the one that was kept", retainedOn(topic), func() { t.Fence(pub, late, topic, 1) })

		pub.Deliver(bare, 1, "passing")
		pub.Deliver(bare, 1, "")
		late.Subscribe(1, bare)
		t.Judge().Silent(late, "retained message", retainedOn(bare), func() { t.Fence(pub, late, bare, 1) })
	},
}}

// retainedOn matches first deliveries on the topic that say they are retained messages.
func retainedOn(topic string) func(*peer.Event) bool {
	return func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && p.Topic == topic && p.Retain && !p.Dup
	}
}

// needRetained ends the check as inconclusive where a new subscriber does not get the retained
// message: what follows could not be told from a message that was never kept.
func (t *T) needRetained(topic, payload string) {
	c := t.Connect()
	c.Subscribe(1, topic)
	if c.Take(t.Timeout(), withPayload(topic, payload)) == nil {
		t.Inconclusive("%s: the retained message did not arrive", c.Name())
	}
	_ = c.Close()
}

// retainedCopy subscribes a new client and describes the retained message with the payload
// that it gets, or returns "".
func (t *T) retainedCopy(pub *Conn, topic, payload string) string {
	c := t.Connect()
	defer c.Close()
	c.Subscribe(1, topic)
	t.Fence(pub, c, topic, 1)
	for _, e := range c.Pending(retainedOn(topic)) {
		if p := e.Packet.(*codec.Publish); string(p.Payload) == payload {
			return codec.Describe(p, t.Version())
		}
	}
	return ""
}

// options returns the values of an option of SUBSCRIBE, which exists since 5.0.
func (t *T) options() []bool {
	if t.V5() {
		return []bool{false, true}
	}
	return []bool{false}
}

// SubscribeOptions is Subscribe for one filter with options.
func (c *Conn) SubscribeOptions(s codec.Subscription) {
	ack := c.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{s}})
	if r := ack.Reasons[0]; r != codec.ReasonCode(s.QoS) {
		c.t.Inconclusive("%s: subscription to %q at QoS %d was answered with %s", c.Name(), s.Filter, s.QoS, r.Name(codec.TypeSuback, c.t.Version()))
	}
}

// liveFlags judges the RETAIN flag of deliveries to a subscriber that was there before.
func (t *T) liveFlags(asPublished bool, right func(sent, got bool) bool, expected string) {
	sub, pub, topic := t.Connect(), t.Connect(), t.Topic("a")
	sub.SubscribeOptions(codec.Subscription{Filter: topic, QoS: 1, RetainAsPublished: asPublished})
	// The subscription is alive, and its search for retained messages is over, before there is one.
	t.Fence(pub, sub, topic, 1)
	for _, retain := range []bool{true, false} {
		if retain && t.Target().Capabilities&CapRetain == 0 {
			continue
		}
		payload := fmt.Sprintf("retain %v", retain)
		pub.Deliver(topic, 1, payload, func(p *codec.Publish) { p.Retain = retain })
		e := sub.Take(t.Timeout(), withPayload(topic, payload))
		if e == nil {
			t.Inconclusive("%s: the message did not arrive", sub.Name())
		}
		t.Judge().Crossing(right(retain, e.Packet.(*codec.Publish).Retain), expected, codec.Describe(e.Packet, t.Version()))
	}
}
