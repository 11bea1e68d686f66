package broker_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

func TestSharedGroupGetsOneCopy(t *testing.T) {
	srv := newMem(t, broker.Config{})
	var members []*client
	for i := range 3 {
		c, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: fmt.Sprint("m", i)})
		c.subscribeWith(codec.Subscription{Filter: "$share/g/t/#", QoS: codec.QoS(i)}, uint32(i+1))
		members = append(members, c)
	}
	other, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "other"})
	other.subscribe("$share/h/t/#", 0)
	plain, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "plain"})
	plain.subscribe("t/1", 0)
	pub, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "pub"})
	const n = 30
	for i := range uint16(n) {
		pub.send(text("t/1", fmt.Sprint(i), 2, i+1))
		pub.expect(&codec.Pubrec{PacketID: i + 1})
		plain.expect(text("t/1", fmt.Sprint(i), 0, 0))
		other.expect(text("t/1", fmt.Sprint(i), 0, 0))
	}
	got := map[string]int{}
	for i, c := range members {
		c.send(&codec.Pingreq{})
		for {
			p, ok := c.recv().(*codec.Publish)
			if !ok {
				break
			}
			got[string(p.Payload)]++
			if p.QoS != codec.QoS(i) { // [MQTT-4.8.2-3]
				t.Errorf("QoS %d to the member with %d", p.QoS, i)
			}
			if id := p.Props.Uint(codec.PropSubscriptionID, 0); id != uint32(i+1) {
				t.Errorf("Subscription Identifier %d to member %d", id, i)
			}
		}
	}
	want := map[string]int{}
	for i := range n {
		want[fmt.Sprint(i)] = 1 // P-4.8.2-one-member
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSharedNoRetained(t *testing.T) {
	srv := newMem(t, broker.Config{})
	pub, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "pub"})
	m := text("t", "x", 0, 0)
	m.Retain = true
	pub.send(m)
	pub.subscribe("$share/g/t", 0)
	pub.fence()
	// Before version 5 the prefix means nothing.
	four, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "four", CleanStart: true})
	four.subscribe("$share/g/t", 0)
	pub.send(text("$share/g/t", "literal", 0, 0))
	four.expect(text("$share/g/t", "literal", 0, 0))
	pub.fence()
}

func TestSharedRedelivery(t *testing.T) {
	for qos := codec.QoS(1); qos <= 2; qos++ {
		t.Run(fmt.Sprint(qos), func(t *testing.T) {
			srv := newMem(t, broker.Config{})
			one, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "one"})
			one.subscribe("$share/g/t", 2)
			pub, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "pub"})
			pub.send(text("t", "x", qos, 1))
			one.expect(text("t", "x", qos, 1))
			two, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "two"})
			two.subscribe("$share/g/t", 2)
			one.cut(srv)
			if qos == 1 { // P-4.8.2-qos1-redelivery
				two.expect(text("t", "x", 1, 1))
			}
			two.fence() // [MQTT-4.8.2-5]
		})
	}
}

func TestSharedRefusedIsDiscarded(t *testing.T) {
	srv := newMem(t, broker.Config{})
	one, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "one"})
	one.subscribe("$share/g/t", 2)
	pub, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "pub"})
	pub.send(text("t", "x", 1, 1), text("t", "y", 2, 2))
	one.expect(text("t", "x", 1, 1), text("t", "y", 2, 2))
	two, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "two"})
	two.subscribe("$share/g/t", 2)
	one.send(&codec.Puback{PacketID: 1, Reason: codec.UnspecifiedError}, &codec.Pubrec{PacketID: 2, Reason: codec.UnspecifiedError})
	one.fence()
	one.cut(srv)
	two.fence() // [MQTT-4.8.2-6]
}

func TestSharedWaitsForAbsentMembers(t *testing.T) {
	srv := newMem(t, broker.Config{})
	one, _ := connect(t, srv, codec.V5, expiring("one", 100))
	one.subscribe("$share/g/t", 1)
	one.subscribe("$share/g/t", 1) // counts once
	one.cut(srv)
	pub, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "pub"})
	pub.send(text("t", "x", 1, 1))
	pub.expect(&codec.Puback{PacketID: 1})
	one, _ = connect(t, srv, codec.V5, expiring("one", 100))
	one.expect(text("t", "x", 1, 1))
	one.send(&codec.Unsubscribe{PacketID: 9, Filters: []string{"$share/g/t"}})
	one.expect(&codec.Unsuback{PacketID: 9, Reasons: []codec.ReasonCode{0}})
	pub.send(text("t", "y", 1, 2))
	pub.expect(&codec.Puback{PacketID: 2, Reason: codec.NoMatchingSubscribers})
	one.fence()
}
