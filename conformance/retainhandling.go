package conformance

import (
	"github.com/mqlab/mqlab/codec"
)

var retainHandlingChecks = []Check{{
	Name:     "retained/handling-0-sends-always",
	Rules:    []string{"MQTT-3.3.1-9"},
	Versions: MQTT5,
	Needs:    CapRetain | CapQoS1,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		topics := []string{t.Topic("a/1"), t.Topic("a/2")}
		for _, topic := range topics {
			pub.Deliver(topic, 1, "kept", Retained)
		}
		for range 2 {
			for _, topic := range topics {
				sub.SubscribeOptions(codec.Subscription{Filter: topic, QoS: 1})
				t.Judge().Arrives(sub, topic, "kept")
			}
		}
	},
}, {
	Name:     "retained/handling-1-sends-to-new",
	Rules:    []string{"MQTT-3.3.1-10"},
	Versions: MQTT5,
	Needs:    CapRetain | CapQoS1,
	Run: func(t *T) {
		pub, id, topic := t.Connect(), t.ClientID(), t.Topic("a")
		pub.Deliver(topic, 1, "kept", Retained)
		sub := t.Connect(t.Persistent(id))
		ifNew := codec.Subscription{Filter: topic, QoS: 1, RetainHandling: 1}
		quiet := func(c *Conn) {
			c.SubscribeOptions(ifNew)
			t.Judge().Silent(c, "retained message for a subscription that exists", retainedOn(topic), func() { t.Fence(pub, c, topic, 1) })
		}
		sub.SubscribeOptions(ifNew)
		t.Judge().Arrives(sub, topic, "kept")
		quiet(sub)
		sub.Unsubscribe(topic)
		sub.SubscribeOptions(ifNew)
		t.Judge().Arrives(sub, topic, "kept")
		if t.Target().Capabilities&CapSessionExpiry == 0 {
			return
		}
		sub.Disconnect()
		back := t.Open()
		if back.Connect(t.ConnectPacket(t.Persistent(id))).SessionPresent {
			quiet(back)
		}
	},
}, {
	Name:     "retained/handling-2-sends-never",
	Rules:    []string{"MQTT-3.3.1-11"},
	Versions: MQTT5,
	Needs:    CapRetain | CapQoS1,
	Run: func(t *T) {
		pub, sub, topic := t.Connect(), t.Connect(), t.Topic("a")
		pub.Deliver(topic, 1, "kept", Retained)
		t.needRetained(topic, "kept")
		for range 2 {
			sub.SubscribeOptions(codec.Subscription{Filter: topic, QoS: 1, RetainHandling: 2})
			t.Judge().Silent(sub, "retained message", retainedOn(topic), func() { t.Fence(pub, sub, topic, 1) })
		}
	},
}}
