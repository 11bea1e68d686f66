package conformance

import (
	"fmt"
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// sharedPrefix is the beginning of a Shared Subscription of one group.
const sharedPrefix = "$share/g/"

var sharedChecks = []Check{{
	Name:     "shared/one-copy-for-each-group",
	Rules5:   []string{"P-4.8.2-one-member"},
	Versions: MQTT5,
	Needs:    CapShared | CapQoS1,
	Run: func(t *T) {
		topic := t.Topic("a")
		pub, plain := t.Connect(), t.bystander(topic)
		groups := map[string][]*Conn{}
		for _, g := range []string{"g", "g", "g", "h", "h"} {
			c := t.Connect()
			c.Subscribe(1, "$share/"+g+"/"+topic)
			groups[g] = append(groups[g], c)
		}
		const n = 100
		pub.Stream(topic, 1, 0, n)
		t.Fence(pub, plain, topic, 1)
		for i := range n {
			payload := fmt.Sprint(i)
			ps := plain.copies(topic, payload)
			if !t.once(len(ps), "for the subscription that is not shared", i) {
				return
			}
		}
		for _, g := range []string{"g", "h"} {
			members := groups[g]
			t.until(func() bool {
				got := 0
				for i := range n {
					got += min(1, t.delivered(members, topic, fmt.Sprint(i)))
				}
				return got == n
			})
		}
		t.Quiet()
		for _, g := range []string{"g", "h"} {
			for i := range n {
				if !t.once(t.delivered(groups[g], topic, fmt.Sprint(i)), "in the group "+g, i) {
					return
				}
			}
		}
	},
}, {
	Name:     "shared/no-retained-at-subscribe",
	Rules5:   []string{"P-3.8.4-no-retained-for-shared"},
	Versions: MQTT5,
	Needs:    CapShared | CapRetain | CapQoS1,
	Run: func(t *T) {
		topic := t.Topic("a")
		pub, plain, first, second := t.Connect(), t.Connect(), t.Connect(), t.Connect()
		pub.Publish(topic, 1, "kept", Retained)
		plain.Subscribe(1, topic)
		if plain.Take(t.Timeout(), withPayload(topic, "kept")) == nil {
			t.Inconclusive("the message is not retained")
		}
		kept := withPayload(topic, "kept")
		first.Subscribe(1, sharedPrefix+topic)
		t.Judge().Silent(first, "retained message for the first member", kept, func() { t.Fence(pub, first, topic, 1) })
		second.Subscribe(1, sharedPrefix+topic)
		t.Judge().Silent(second, "retained message for the second member", kept, func() { second.Ping(); t.Quiet() })
	},
}, {
	Name:     "shared/subscribed-twice-counts-once",
	Rules5:   []string{"P-4.8.2-resubscribe-once"},
	Versions: MQTT5,
	Needs:    CapShared | CapQoS1,
	Run: func(t *T) {
		topic := t.Topic("a")
		pub, sub, bystander := t.Connect(), t.Connect(), t.bystander(topic)
		sub.Subscribe(1, sharedPrefix+topic)
		sub.Subscribe(1, sharedPrefix+topic)
		ack := sub.Unsubscribe(sharedPrefix + topic)
		t.Judge().Note().Thatf(slices.Equal(ack.Reasons, []codec.ReasonCode{codec.Success}), "UNSUBACK with code 0", "%v", codesText(ack.Reasons))
		t.Judge().NotDelivered(pub, bystander, sub, topic, "gone", "as the shared subscription was left")
	},
}, {
	Name:     "shared/literal-filter-removed",
	Rules5:   []string{"MQTT-3.10.4-1"},
	Versions: MQTT5,
	Needs:    CapShared | CapQoS1,
	Run: func(t *T) {
		topic := t.Topic("a")
		pub, sub, bystander := t.Connect(), t.Connect(), t.bystander(topic)
		sub.Subscribe(1, sharedPrefix+topic)
		sub.Unsubscribe("$share/other/"+topic, topic)
		pub.Publish(topic, 1, "still")
		t.Judge().Arrives(sub, topic, "still")
		sub.Unsubscribe(sharedPrefix + topic)
		t.Judge().NotDelivered(pub, bystander, sub, topic, "gone", "as the shared subscription was left")
	},
}, {
	Name:     "shared/empty-level-behind-name",
	Rules5:   []string{"MQTT-4.8.2-2"},
	Versions: MQTT5,
	Needs:    CapShared | CapQoS1,
	Run: func(t *T) {
		name := "/" + t.Topic("finance")
		pub, sub, plain := t.Connect(), t.Connect(), t.bystander(name)
		sub.Subscribe(1, sharedPrefix+name)
		pub.Publish(name, 1, "m")
		if plain.Take(t.Timeout(), withPayload(name, "m")) == nil {
			t.Inconclusive("nobody gets messages on %q", name)
		}
		t.Judge().Arrives(sub, name, "m")
	},
}, {
	Name:     "shared/qos-of-the-chosen-member",
	Rules5:   []string{"MQTT-4.8.2-3"},
	Versions: MQTT5,
	Needs:    CapShared | CapQoS2,
	Run: func(t *T) {
		topic := t.Topic("a")
		pub, low, high := t.Connect(), t.Connect(), t.Connect()
		low.Subscribe(0, sharedPrefix+topic)
		high.Subscribe(2, sharedPrefix+topic)
		const n = 50
		pub.Stream(topic, 2, 0, n)
		t.within(2*t.Grace(), func() bool { return len(low.Messages(topic))+len(high.Messages(topic)) >= n })
		if len(low.Messages(topic))+len(high.Messages(topic)) == 0 {
			t.Inconclusive("no member got any of %d messages", n)
		}
		for qos, c := range map[codec.QoS]*Conn{0: low, 2: high} {
			ps := c.Messages(topic)
			wrong := slices.DeleteFunc(slices.Clone(ps), func(p *codec.Publish) bool { return p.QoS == qos })
			t.Judge().Thatf(len(wrong) == 0, fmt.Sprintf("QoS %d at the member that was granted it", qos), "%d of %d messages at another: %s",
				len(wrong), len(ps), describePublishes(wrong, t.Version()))
		}
	},
}, {
	Name:     "shared/qos2-completed-with-the-same-member",
	Rules5:   []string{"MQTT-4.8.2-4"},
	Versions: MQTT5,
	Needs:    CapShared | CapQoS2 | CapSessionExpiry,
	Run: func(t *T) {
		for _, recorded := range []bool{false, true} {
			name := "before"
			if recorded {
				name = "after"
			}
			topic, id := t.Topic(name), t.ClientID()
			pub := t.Connect()
			c := t.Connect(t.Persistent(id)).Manual()
			c.Subscribe(2, sharedPrefix+topic)
			got := t.shareOne(pub, c, topic, 2)
			if recorded {
				c.Send(&codec.Pubrec{PacketID: got.PacketID})
				if c.Take(t.Timeout(), ofType(codec.TypePubrel)) == nil {
					t.Inconclusive("no PUBREL came")
				}
			}
			other := t.Connect()
			other.Subscribe(2, sharedPrefix+topic)
			c.Drop()
			t.settle()
			c = t.Open().Manual()
			ack := c.Connect(t.ConnectPacket(t.Persistent(id)))
			if !ack.SessionPresent {
				t.lacks(CapSessionExpiry)
				t.Inconclusive("the session was not kept")
			}
			if recorded {
				t.Judge().Answer(c, "PUBREL for the exchange under way", func(e *peer.Event) bool {
					p, ok := e.Packet.(*codec.Pubrel)
					return ok && p.PacketID == got.PacketID
				})
			} else {
				t.Judge().Answer(c, "PUBLISH for the exchange under way", func(e *peer.Event) bool {
					p, ok := e.Packet.(*codec.Publish)
					return ok && p.PacketID == got.PacketID && string(p.Payload) == string(got.Payload)
				})
				c.Send(&codec.Pubrec{PacketID: got.PacketID})
				t.Judge().Answer(c, "PUBREL", ofType(codec.TypePubrel))
			}
			c.Send(&codec.Pubcomp{PacketID: got.PacketID})
		}
	},
}, {
	Name:     "shared/qos2-ends-with-the-session",
	Rules5:   []string{"MQTT-4.8.2-5"},
	Versions: MQTT5,
	Needs:    CapShared | CapQoS2 | CapSessionExpiry,
	Slow:     2500 * time.Millisecond,
	Run: func(t *T) {
		topic := t.Topic("a")
		pub, other := t.Connect(), t.Connect()
		c := t.Connect(func(p *codec.Connect) { p.Props.SetUint(codec.PropSessionExpiry, 1) }).Manual()
		c.Subscribe(2, sharedPrefix+topic)
		got := t.shareOne(pub, c, topic, 2)
		other.Subscribe(2, sharedPrefix+topic)
		c.Drop()
		t.Wait(t.Patience(2 * time.Second))
		t.Judge().Silent(other, "message that was begun with another member", withPayload(topic, string(got.Payload)), func() {
			// The marker finds its way once the other member's session is gone for the target too.
			pub.Publish(topic, 2, "marker")
			other.Take(t.Grace(), withPayload(topic, "marker"))
			t.Quiet()
		})
	},
}, {
	Name:     "shared/refused-message-discarded",
	Rules5:   []string{"MQTT-4.8.2-6"},
	Versions: MQTT5,
	Needs:    CapShared | CapQoS1,
	Run: func(t *T) {
		for _, qos := range []codec.QoS{1, 2} {
			if uint8(qos) > t.Target().MaximumQoS {
				continue
			}
			topic := t.Topic(fmt.Sprintf("q%d", qos))
			pub, c, other := t.Connect(), t.Connect().Manual(), t.Connect()
			if c.Granted(codec.Subscription{Filter: sharedPrefix + topic, QoS: qos}) < qos {
				continue
			}
			got := t.shareOne(pub, c, topic, qos)
			if other.Granted(codec.Subscription{Filter: sharedPrefix + topic, QoS: qos}) < qos {
				continue
			}
			if qos == 1 {
				c.Send(&codec.Puback{PacketID: got.PacketID, Reason: codec.ImplementationSpecificError})
			} else {
				c.Send(&codec.Pubrec{PacketID: got.PacketID, Reason: codec.ImplementationSpecificError})
			}
			again := withPayload(topic, string(got.Payload))
			t.Judge().Silent(other, "copy for another member", again, func() { c.Ping(); other.Ping(); t.Quiet() })
			t.Judge().Silent(c, "copy for the member that refused it", again, c.Ping)
		}
	},
}, {
	Name:     "shared/qos1-handed-over",
	Rules5:   []string{"P-4.8.2-qos1-redelivery"},
	Versions: MQTT5,
	Needs:    CapShared | CapQoS1,
	Run: func(t *T) {
		topic := t.Topic("a")
		pub, c, other := t.Connect(), t.Connect().Manual(), t.Connect()
		c.Subscribe(1, sharedPrefix+topic)
		got := t.shareOne(pub, c, topic, 1)
		other.Subscribe(1, sharedPrefix+topic)
		// The session ends with the connection.
		c.Drop()
		t.Judge().Warn().Arrives(other, topic, string(got.Payload))
	},
}}

// shareOne publishes to a topic of which c is the only shared subscriber, and takes the message.
func (t *T) shareOne(pub, c *Conn, topic string, qos codec.QoS) *codec.Publish {
	pub.Publish(topic, qos, "m")
	e := c.Take(t.Timeout(), withPayload(topic, "m"))
	if e == nil {
		t.Inconclusive("the only member of the group gets nothing")
	}
	p := e.Packet.(*codec.Publish)
	if p.QoS != qos {
		t.Inconclusive("the message came at QoS %d", p.QoS)
	}
	return p
}

// delivered counts the deliveries to the members together, repeats left out.
func (t *T) delivered(members []*Conn, topic, payload string) int {
	n := 0
	for _, c := range members {
		n += len(c.copies(topic, payload))
	}
	return n
}

// once judges that message i came exactly once; only breaches and the last are worth a finding.
func (t *T) once(got int, where string, i int) bool {
	if got == 1 && i > 0 {
		return true
	}
	return t.Judge().Crossing(got == 1, "each message once "+where, fmt.Sprintf("message %d came %d times", i, got))
}

// until waits until the condition holds, at most as long as something that must happen is waited for.
func (t *T) until(done func() bool) { t.within(t.Timeout(), done) }

// within waits until the condition holds, at most for d.
func (t *T) within(d time.Duration, done func() bool) {
	for end := time.Now().Add(d); !done() && time.Now().Before(end); {
		t.Wait(20 * time.Millisecond)
	}
}
