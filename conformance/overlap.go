package conformance

import (
	"fmt"
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var overlapChecks = []Check{{
	Name:     "overlap/highest-qos",
	Rules:    []string{"MQTT-3.3.5-1"},
	Rules5:   []string{"MQTT-3.3.4-2"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapWildcard | CapQoS1,
	Run: func(t *T) {
		t.judgeOverlap(t.Connect(), t.Topic("o"), t.atMost(2), 0)
		t.judgeOverlap(t.Connect(), t.Topic("p"), t.atMost(2), 1)
		t.judgeOverlap(t.Connect(), t.Topic("q"), 0, t.atMost(2))
	},
}, {
	Name:     "overlap/identifiers-present",
	Rules:    []string{"MQTT-3.3.4-3", "P-3.3.2.3.8-subscription-identifier-zero"},
	Versions: MQTT5,
	Needs:    CapWildcard | CapQoS1 | CapSubscriptionIDs,
	Run: func(t *T) {
		copies := t.overlapCopies()
		seen := idsOf(copies)
		ok := slices.Contains(seen, 1) && slices.Contains(seen, 2)
		t.Judge().Crossing(ok, "the Subscription Identifiers 1 and 2", describeCopies(copies))
		t.Judge("P-3.3.2.3.8-subscription-identifier-zero").That(!slices.Contains(seen, 0), "no Subscription Identifier 0", describeCopies(copies))
	},
}, {
	Name:     "overlap/identifiers-of-one-copy",
	Rules:    []string{"MQTT-3.3.4-4"},
	Versions: MQTT5,
	Needs:    CapWildcard | CapQoS1 | CapSubscriptionIDs,
	Run: func(t *T) {
		copies := t.overlapCopies()
		if len(copies) != 1 {
			t.NotApplicable("the target sends one copy for each matching subscription")
		}
		seen := idsOf(copies)
		ok := slices.Contains(seen, 1) && slices.Contains(seen, 2)
		t.Judge().Crossing(ok, "one copy with the Subscription Identifiers 1 and 2", describeCopies(copies))
	},
}, {
	Name:     "overlap/identifiers-of-each-copy",
	Rules:    []string{"MQTT-3.3.4-5"},
	Versions: MQTT5,
	Needs:    CapWildcard | CapQoS1 | CapSubscriptionIDs,
	Run: func(t *T) {
		copies := t.overlapCopies()
		if len(copies) < 2 {
			t.NotApplicable("the target sends one copy for all matching subscriptions")
		}
		bare, foreign := 0, false
		for _, p := range copies {
			ids := slices.Collect(p.Props.SubscriptionIDs())
			if len(ids) == 0 {
				bare++
			}
			foreign = foreign || slices.ContainsFunc(ids, func(id uint32) bool { return id != 1 && id != 2 })
		}
		t.Judge().That(bare <= 1 && !foreign, "each copy with the Subscription Identifier of its subscription, at most one without", describeCopies(copies))
	},
}, {
	Name:     "overlap/identifiers-of-others-absent",
	Rules:    []string{"P-3.3.4-foreign-subscription-identifier"},
	Versions: MQTT5,
	Needs:    CapQoS1 | CapSubscriptionIDs,
	Run: func(t *T) {
		one, two, pub := t.Connect(), t.Connect(), t.Connect()
		topic, other := t.Topic("t"), t.Topic("u")
		one.SubscribeID(7, topic)
		one.SubscribeID(8, other)
		two.SubscribeID(9, topic)
		pub.Deliver(topic, 1, "whose")
		t.judgeOwnIDs(one, topic, "whose", 7)
		t.judgeOwnIDs(two, topic, "whose", 9)
		if t.Target().Capabilities&CapShared == 0 {
			return
		}
		topic = t.Topic("s")
		members := map[uint32]*Conn{1: t.Connect(), 2: t.Connect()}
		for id, c := range members {
			c.SubscribeID(id, "$share/mqlab/"+topic)
		}
		const messages = 8
		for i := range messages {
			pub.Deliver(topic, 1, fmt.Sprint("shared ", i))
		}
		// Each message goes to one member; who gets it is free, and so is when.
		deadline := time.Now().Add(t.Timeout())
		got := 0
		for got < messages && time.Now().Before(deadline) {
			for id, c := range members {
				e := c.Take(20*time.Millisecond, onTopic(topic))
				if e == nil {
					continue
				}
				got++
				t.judgeIDs(c, e.Packet.(*codec.Publish), id)
			}
		}
	},
}}

// judgeOverlap lets one client hold two overlapping subscriptions, and under 5.0 a third, and
// judges the copies of one message.
func (t *T) judgeOverlap(sub *Conn, base string, first, second codec.QoS) {
	topic, pub := base+"/x", t.Connect()
	asked := []codec.Subscription{{Filter: base + "/#", QoS: first}, {Filter: base + "/+", QoS: second}}
	if t.V5() {
		asked = append(asked, codec.Subscription{Filter: topic, QoS: 0})
	}
	var highest codec.QoS
	for _, s := range asked {
		r := sub.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{s}}).Reasons[0]
		if r > 2 {
			t.Inconclusive("%s: subscription to %q was refused", sub.Name(), s.Filter)
		}
		highest = max(highest, codec.QoS(r))
	}
	highest = min(highest, t.atMost(2))
	pub.Deliver(topic, t.atMost(2), "overlap")
	firstDelivery := func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && p.Topic == topic && string(p.Payload) == "overlap" && !p.Dup
	}
	t.Judge().ArrivesMatching(sub, fmt.Sprintf("a copy at the highest granted QoS, %d", highest), func(e *peer.Event) bool {
		return firstDelivery(e) && e.Packet.(*codec.Publish).QoS == highest
	})
	t.Fence(pub, sub, topic, highest)
	n := 1 + len(sub.Pending(firstDelivery))
	t.Judge().Thatf(n <= len(asked), fmt.Sprintf("at most %d copies, one for each matching subscription", len(asked)), "%d copies", n)
}

// SubscribeID is Subscribe at QoS 1 with a Subscription Identifier.
func (c *Conn) SubscribeID(id uint32, filter string) {
	p := &codec.Subscribe{Filters: []codec.Subscription{{Filter: filter, QoS: 1}}}
	p.Props.SetUint(codec.PropSubscriptionID, id)
	if r := c.SubscribeWith(p).Reasons[0]; r != codec.GrantedQoS1 {
		c.t.Inconclusive("%s: subscription to %q was answered with %s", c.Name(), filter, r.Name(codec.TypeSuback, codec.V5))
	}
}

// overlapCopies returns the copies of one message that matches three subscriptions of one
// client: two with the Subscription Identifiers 1 and 2, one without. It waits to the deadline
// where an identifier is still missing, as copies need not arrive in any order.
func (t *T) overlapCopies() []*codec.Publish {
	sub, pub, base := t.Connect(), t.Connect(), t.Topic("o")
	topic := base + "/x"
	sub.SubscribeID(1, base+"/#")
	sub.SubscribeID(2, base+"/+")
	sub.Subscribe(1, topic)
	pub.Deliver(topic, 1, "overlap")
	copyOf := func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && p.Topic == topic && string(p.Payload) == "overlap" && !p.Dup
	}
	var copies []*codec.Publish
	deadline := time.Now().Add(t.Timeout())
	for {
		seen := idsOf(copies)
		if slices.Contains(seen, 1) && slices.Contains(seen, 2) {
			break
		}
		e := sub.Take(time.Until(deadline), copyOf)
		if e == nil {
			break
		}
		copies = append(copies, e.Packet.(*codec.Publish))
	}
	if len(copies) == 0 {
		t.Inconclusive("%s: the message did not arrive", sub.Name())
	}
	t.Fence(pub, sub, topic, 1)
	for _, e := range sub.Pending(copyOf) {
		copies = append(copies, e.Packet.(*codec.Publish))
	}
	return copies
}

func idsOf(copies []*codec.Publish) []uint32 {
	var out []uint32
	for _, p := range copies {
		out = slices.AppendSeq(out, p.Props.SubscriptionIDs())
	}
	return out
}

func describeCopies(copies []*codec.Publish) string {
	s := fmt.Sprintf("%d copies with the identifiers", len(copies))
	for _, p := range copies {
		s += fmt.Sprintf(" %v", slices.Collect(p.Props.SubscriptionIDs()))
	}
	return s
}

// judgeOwnIDs judges that the message lists no Subscription Identifier but the given one.
func (t *T) judgeOwnIDs(c *Conn, topic, payload string, own uint32) {
	e := c.Take(t.Timeout(), withPayload(topic, payload))
	if e == nil {
		t.Inconclusive("%s: the message did not arrive", c.Name())
	}
	t.judgeIDs(c, e.Packet.(*codec.Publish), own)
}

func (t *T) judgeIDs(c *Conn, p *codec.Publish, own uint32) {
	foreign := false
	for id := range p.Props.SubscriptionIDs() {
		foreign = foreign || id != own
	}
	t.Judge().Thatf(!foreign, fmt.Sprintf("no Subscription Identifier but %d", own), "%s on %s", describeCopies([]*codec.Publish{p}), c.Name())
}
