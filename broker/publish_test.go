package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/codec"
)

// pair connects a subscriber and a publisher of the version.
func pair(t *testing.T, srv *brokertest.Server, v codec.Version) (sub, pub *client) {
	t.Helper()
	sub, _ = connect(t, srv, v, &codec.Connect{ClientID: "sub", CleanStart: true})
	pub, _ = connect(t, srv, v, &codec.Connect{ClientID: "pub", CleanStart: true})
	return sub, pub
}

func text(topic, payload string, qos codec.QoS, id uint16) *codec.Publish {
	return &codec.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, PacketID: id}
}

func TestQoS2ExactlyOnce(t *testing.T) {
	each(t, func(t *testing.T, v codec.Version) {
		srv := newMem(t, broker.Config{})
		sub, _ := connect(t, srv, v, &codec.Connect{ClientID: "sub", CleanStart: true})
		sub.subscribe("t", 2)
		p := &codec.Connect{ClientID: "pub"}
		if v == codec.V5 {
			p.Props.SetUint(codec.PropSessionExpiry, 100)
		}
		pub, _ := connect(t, srv, v, p)
		pub.send(text("t", "A", 2, 9))
		pub.expect(&codec.Pubrec{PacketID: 9})
		_ = pub.nc.Close()
		pub, k := connect(t, srv, v, p)
		if !k.SessionPresent && v != codec.V31 {
			t.Fatal("the session is gone")
		}
		again := text("t", "A", 2, 9)
		again.Dup = true
		pub.send(again, &codec.Pubrel{PacketID: 9}) // [MQTT-4.3.3-2] [MQTT-4.3.3-10]
		pub.expect(&codec.Pubrec{PacketID: 9}, &codec.Pubcomp{PacketID: 9})
		pub.send(text("t", "B", 2, 9), &codec.Pubrel{PacketID: 9})
		pub.expect(&codec.Pubrec{PacketID: 9}, &codec.Pubcomp{PacketID: 9})
		sub.expect(text("t", "A", 2, 1), text("t", "B", 2, 2))
		sub.send(&codec.Pubrec{PacketID: 1}, &codec.Pubrec{PacketID: 2})
		sub.expect(&codec.Pubrel{PacketID: 1}, &codec.Pubrel{PacketID: 2})
		sub.fence()
		unknown := &codec.Pubcomp{PacketID: 77}
		if v == codec.V5 {
			unknown.Reason = codec.PacketIDNotFound
		}
		pub.send(&codec.Pubrel{PacketID: 77})
		pub.expect(unknown)
	})
}

func TestResendsOnResume(t *testing.T) {
	for _, v := range []codec.Version{codec.V4, codec.V5} {
		t.Run(v.String(), func(t *testing.T) {
			srv := newMem(t, broker.Config{})
			p := &codec.Connect{ClientID: "sub"}
			if v == codec.V5 {
				p.Props.SetUint(codec.PropSessionExpiry, 0xFFFFFFFF)
			}
			sub, _ := connect(t, srv, v, p)
			sub.subscribe("t", 2)
			pub, _ := connect(t, srv, v, &codec.Connect{ClientID: "pub", CleanStart: true})
			pub.send(text("t", "1", 1, 1), text("t", "2", 2, 2), text("t", "3", 2, 3), text("t", "4", 1, 4))
			sub.expect(text("t", "1", 1, 1), text("t", "2", 2, 2), text("t", "3", 2, 3), text("t", "4", 1, 4))
			sub.send(&codec.Pubrec{PacketID: 2}, &codec.Puback{PacketID: 4})
			sub.expect(&codec.Pubrel{PacketID: 2})
			sub.fence()
			sub.cut(srv)
			pub.expect(&codec.Puback{PacketID: 1}, &codec.Pubrec{PacketID: 2}, &codec.Pubrec{PacketID: 3}, &codec.Puback{PacketID: 4})
			pub.send(text("t", "5", 0, 0), text("t", "6", 1, 6)) // while away
			pub.expect(&codec.Puback{PacketID: 6})
			sub, k := connect(t, srv, v, p)
			if !k.SessionPresent {
				t.Fatal("the session is gone")
			}
			one, three := text("t", "1", 1, 1), text("t", "3", 2, 3)
			one.Dup, three.Dup = true, true
			// [MQTT-4.4.0-1]: acknowledged ones are not sent again, and 5 was QoS 0.
			sub.expect(&codec.Pubrel{PacketID: 2}, one, three)
			last := sub.recv().(*codec.Publish)
			if string(last.Payload) != "6" || last.Dup {
				t.Errorf("after the resends came %q, dup %v", last.Payload, last.Dup)
			}
			sub.fence()
		})
	}
}

func TestRetained(t *testing.T) {
	each(t, func(t *testing.T, v codec.Version) {
		srv := newMem(t, broker.Config{})
		sub, pub := pair(t, srv, v)
		sub.subscribe("r/#", 2)
		for i, qos := range []codec.QoS{1, 2, 0} {
			m := text(fmt.Sprintf("r/%d", i), "kept", qos, 0)
			m.Retain = true
			if qos > 0 {
				m.PacketID = uint16(i + 1)
			}
			pub.send(m)
			got := sub.recv().(*codec.Publish)
			if got.Retain { // [MQTT-3.3.1-9], in 5.0 [MQTT-3.3.1-12]
				t.Error("RETAIN 1 for an existing subscription")
			}
		}
		late, _ := connect(t, srv, v, &codec.Connect{ClientID: "late", CleanStart: true})
		late.subscribe("r/#", 1)
		seen := map[string]codec.QoS{}
		for range 3 {
			got := late.recv().(*codec.Publish)
			if !got.Retain {
				t.Error("RETAIN 0 for a new subscription")
			}
			seen[got.Topic] = got.QoS
		}
		if diff := cmp.Diff(map[string]codec.QoS{"r/0": 1, "r/1": 1, "r/2": 0}, seen); diff != "" {
			t.Error(diff)
		}
		// [MQTT-3.3.1-10] [MQTT-3.3.1-11]: an empty one removes, and is delivered itself.
		empty := text("r/0", "", 0, 0)
		empty.Retain = true
		pub.send(empty)
		if got := sub.recv().(*codec.Publish); len(got.Payload) != 0 || got.Retain {
			t.Errorf("received %+v", got)
		}
		pub.send(text("r/1", "not kept", 0, 0)) // [MQTT-3.3.1-12]
		sub.recv()
		third, _ := connect(t, srv, v, &codec.Connect{ClientID: "third", CleanStart: true})
		third.subscribe("r/0", 0)
		third.fence()
		third.subscribe("r/1", 0)
		if got := third.recv().(*codec.Publish); string(got.Payload) != "kept" {
			t.Errorf("retained %q", got.Payload)
		}
		if n := srv.Stats().Retained; n != 2 {
			t.Errorf("%d retained, want 2", n)
		}
	})
}

func TestSubscriptionOptions(t *testing.T) {
	srv := newMem(t, broker.Config{})
	c, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "c"})
	pub, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "pub"})
	kept := text("o/a", "kept", 0, 0)
	kept.Retain = true
	pub.send(kept)
	pub.fence()

	// Retain Handling [MQTT-3.3.1-9] to [MQTT-3.3.1-11].
	c.subscribeWith(codec.Subscription{Filter: "o/a", RetainHandling: 2}, 0)
	c.fence()
	c.subscribeWith(codec.Subscription{Filter: "o/a", RetainHandling: 1}, 0)
	c.fence()
	c.subscribeWith(codec.Subscription{Filter: "o/a", RetainAsPublished: true}, 0)
	c.expect(kept)
	c.subscribeWith(codec.Subscription{Filter: "o/+", RetainHandling: 1}, 0)
	c.expect(kept)

	// Retain As Published, of one of two overlapping subscriptions [MQTT-3.3.1-13].
	pub.send(kept)
	c.expect(kept)
	c.fence()

	// No Local [MQTT-3.8.3-3].
	c.subscribeWith(codec.Subscription{Filter: "n/a", NoLocal: true}, 0)
	c.send(text("n/a", "mine", 0, 0))
	c.fence()
	pub.send(text("n/a", "yours", 0, 0))
	c.expect(text("n/a", "yours", 0, 0))
	c.subscribeWith(codec.Subscription{Filter: "n/#", QoS: 1}, 5)
	c.send(text("n/a", "mine", 2, 1))
	want := text("n/a", "mine", 1, 1)
	want.Props.SetUint(codec.PropSubscriptionID, 5)
	c.expect(want, &codec.Pubrec{PacketID: 1})
}

func TestOverlapGivesOneCopy(t *testing.T) {
	srv := newMem(t, broker.Config{})
	c, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "c"})
	c.subscribeWith(codec.Subscription{Filter: "a/b", QoS: 0}, 1)
	c.subscribeWith(codec.Subscription{Filter: "a/#", QoS: 2}, 2)
	c.subscribeWith(codec.Subscription{Filter: "a/+", QoS: 1}, 0)
	pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true})
	pub.send(text("a/b", "x", 2, 1))
	got := c.recv().(*codec.Publish)
	ids := map[uint32]int{}
	for id := range got.Props.SubscriptionIDs() {
		ids[id]++
	}
	if diff := cmp.Diff(map[uint32]int{1: 1, 2: 1}, ids); diff != "" || got.QoS != 2 { // [MQTT-3.3.4-2] [MQTT-3.3.4-4]
		t.Errorf("QoS %d, ids %s", got.QoS, diff)
	}
	c.fence()
	// Replacing drops the identifier [MQTT-3.8.4-3].
	c.subscribeWith(codec.Subscription{Filter: "a/#", QoS: 1}, 0)
	pub.send(text("a/x", "y", 1, 2))
	c.expect(text("a/x", "y", 1, 2))
	c.send(&codec.Unsubscribe{PacketID: 50, Filters: []string{"a/#", "a/none", "a/+"}})
	c.expect(&codec.Unsuback{PacketID: 50, Reasons: []codec.ReasonCode{0, codec.NoSubscriptionExisted, 0}})
	pub.send(text("a/x", "z", 0, 0))
	pub.expect(&codec.Pubrec{PacketID: 1}, &codec.Puback{PacketID: 2})
	pub.fence()
	c.fence()
}

func TestDollarTopics(t *testing.T) {
	each(t, func(t *testing.T, v codec.Version) {
		srv := newMem(t, broker.Config{})
		sub, pub := pair(t, srv, v)
		sub.subscribe("#", 0)
		sub.subscribe("+/x", 0)
		sub.subscribe("$t/#", 0)
		sub.subscribe("$SYS/#", 0)
		pub.send(text("$t/x", "1", 0, 0), text("$SYS/x", "2", 0, 0), text("a", "3", 0, 0))
		sub.expect(text("$t/x", "1", 0, 0), text("a", "3", 0, 0))
		sub.fence()
	})
}

func TestNoSubscribers(t *testing.T) {
	srv := newMem(t, broker.Config{})
	c, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "c"})
	c.send(text("a", "", 1, 1), text("a", "", 2, 2))
	c.expect(&codec.Puback{PacketID: 1, Reason: codec.NoMatchingSubscribers}, &codec.Pubrec{PacketID: 2, Reason: codec.NoMatchingSubscribers})
	c.subscribe("a", 0)
	c.send(text("a", "", 1, 3))
	c.expect(text("a", "", 0, 0), &codec.Puback{PacketID: 3})
}

func TestInboundAliases(t *testing.T) {
	srv := newMem(t, broker.Config{TopicAliasMaximum: 2})
	sub, pub := pair(t, srv, codec.V5)
	sub.subscribe("#", 0)
	alias := func(topic string, n uint32) *codec.Publish {
		p := &codec.Publish{Topic: topic}
		p.Props.SetUint(codec.PropTopicAlias, n)
		p.Props.AddUser("k", "v")
		return p
	}
	pub.send(alias("a", 1), alias("b", 2), alias("", 1), alias("", 2), alias("c", 1), alias("", 1))
	for _, want := range []string{"a", "b", "a", "b", "c", "c"} { // P-3.3.4-topic-alias-remap
		got := sub.recv().(*codec.Publish)
		if got.Topic != want || got.Props.Has(codec.PropTopicAlias) || !got.Props.Has(codec.PropUserProperty) {
			t.Errorf("got %q with properties %x, want %q", got.Topic, got.Props.Raw(), want)
		}
	}
}

func TestOutboundAliases(t *testing.T) {
	srv := newMem(t, broker.Config{})
	p := &codec.Connect{ClientID: "sub"}
	p.Props.SetUint(codec.PropTopicAliasMaximum, 2)
	sub, _ := connect(t, srv, codec.V5, p)
	sub.subscribe("#", 1)
	pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true})
	names := map[uint32]string{}
	for i, topic := range []string{"a", "b", "c", "a", "b", "c"} {
		pub.send(text(topic, "", codec.QoS(i%2), uint16(i)*uint16(i%2)))
		got := sub.recv().(*codec.Publish)
		n := got.Props.Uint(codec.PropTopicAlias, 0)
		if n > 2 { // [MQTT-3.1.2-26]
			t.Fatalf("alias %d", n)
		}
		if got.Topic == "" {
			got.Topic = names[n]
		} else if n != 0 {
			names[n] = got.Topic
		}
		if got.Topic != topic {
			t.Errorf("message %d is on %q, want %q", i, got.Topic, topic)
		}
	}
	if diff := cmp.Diff(map[uint32]string{1: "a", 2: "b"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestMaximumPacketSizeOfClient(t *testing.T) {
	srv := newMem(t, broker.Config{AckProperties: true})
	p := &codec.Connect{ClientID: "sub"}
	p.Props.SetUint(codec.PropMaximumPacketSize, 40)
	sub, _ := connect(t, srv, codec.V5, p)
	sub.next++
	sub.send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "t", QoS: 2}}})
	if k := sub.recv(); k.Size(codec.V5) > 40 {
		t.Errorf("SUBACK of %d bytes", k.Size(codec.V5))
	}
	pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true})
	big := strings.Repeat("x", 40)
	pub.send(text("t", "1", 1, 1), text("t", big, 1, 2), text("t", big, 0, 0), text("t", big, 2, 3), text("t", "2", 2, 4))
	one, two := sub.recv().(*codec.Publish), sub.recv().(*codec.Publish)
	if string(one.Payload) != "1" || string(two.Payload) != "2" || one.PacketID == two.PacketID {
		t.Errorf("received %q and %q", one.Payload, two.Payload)
	}
	if n := srv.Stats().TooLarge; n != 3 {
		t.Errorf("%d counted as too large, want 3", n)
	}
}

func TestWindow(t *testing.T) {
	for _, v := range []codec.Version{codec.V4, codec.V5} {
		t.Run(v.String(), func(t *testing.T) {
			cfg := broker.Config{}
			p := &codec.Connect{ClientID: "sub", CleanStart: true}
			if v == codec.V5 {
				p.Props.SetUint(codec.PropReceiveMaximum, 2)
			} else {
				cfg.MaxInflight = 2
			}
			srv := newMem(t, cfg)
			sub, _ := connect(t, srv, v, p)
			sub.subscribe("t", 2)
			pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true})
			for i := range uint16(6) {
				pub.send(text("t", fmt.Sprint(i), codec.QoS(1+i%2), i+1))
			}
			for i := range uint16(3) {
				pub.expect(&codec.Puback{PacketID: 2*i + 1}, &codec.Pubrec{PacketID: 2*i + 2})
			}
			sub.expect(text("t", "0", 1, 1), text("t", "1", 2, 2))
			sub.fence() // [MQTT-3.3.4-9] [MQTT-4.9.0-2] [MQTT-4.9.0-3]
			sub.send(&codec.Pubrec{PacketID: 2})
			sub.expect(&codec.Pubrel{PacketID: 2})
			sub.fence()
			pub.send(text("t", "q0", 0, 0))
			sub.expect(text("t", "q0", 0, 0))
			sub.send(&codec.Pubcomp{PacketID: 2})
			got := sub.recv().(*codec.Publish)
			if string(got.Payload) != "2" || got.QoS != 1 || got.Dup {
				t.Errorf("got %+v", got)
			}
			sub.fence()
		})
	}
}

func TestMessageExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{})
		p := &codec.Connect{ClientID: "sub"}
		p.Props.SetUint(codec.PropSessionExpiry, 1000)
		sub, _ := connect(t, srv, codec.V5, p)
		sub.subscribe("t", 1)
		pub, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "pub"})
		expiring := func(payload string, id uint16, seconds uint32) *codec.Publish {
			m := text("t", payload, 1, id)
			m.Retain = true
			m.Props.AddUser("before", "1")
			m.Props.SetUint(codec.PropMessageExpiry, seconds)
			m.Props.AddUser("after", "2")
			return m
		}
		live := expiring("live", 1, 60)
		pub.send(live)
		pub.expect(&codec.Puback{PacketID: 1})
		live.Retain = false
		sub.expect(live)
		sub.send(&codec.Puback{PacketID: 1}, &codec.Disconnect{})
		sub.closed()
		pub.send(expiring("short", 2, 5), expiring("long", 3, 60))
		pub.expect(&codec.Puback{PacketID: 2}, &codec.Puback{PacketID: 3})
		advance(10 * time.Second)
		sub, _ = connect(t, srv, codec.V5, p)
		want := expiring("long", 2, 50) // [MQTT-3.3.2-5] [MQTT-3.3.2-6]
		want.Retain = false
		sub.expect(want)
		sub.fence()
		late, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "late"})
		late.subscribe("t", 1)
		late.expect(expiring("long", 1, 50))
		advance(50 * time.Second)
		later, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "later"})
		later.subscribe("t", 1)
		later.fence() // P-3.3.1.3-retained-expiry
		if st := srv.Stats(); st.Expired != 1 || st.Retained != 0 {
			t.Errorf("expired %d, retained %d", st.Expired, st.Retained)
		}
	})
}

func TestOrder(t *testing.T) {
	const n = 3000
	for qos := codec.QoS(0); qos <= 2; qos++ {
		t.Run(fmt.Sprint(qos), func(t *testing.T) {
			srv := newServer(t, broker.Config{})
			sub := dial(t, srv.URL, codec.V4)
			sub.send(&codec.Connect{ClientID: "sub", CleanStart: true})
			sub.connack()
			sub.subscribe("t/+", qos)
			pub := dial(t, srv.URL, codec.V4)
			pub.send(&codec.Connect{ClientID: "pub", CleanStart: true})
			pub.connack()
			var b []byte
			for i := range n {
				m := text("t/x", fmt.Sprint(i), qos, 0)
				if qos > 0 {
					m.PacketID = uint16(i + 1)
				}
				b, _ = m.AppendTo(b, codec.V4)
			}
			go func() { _, _ = pub.nc.Write(b) }()
			for i := 0; i < n; {
				p, ok := sub.recv().(*codec.Publish)
				if !ok {
					continue
				}
				if string(p.Payload) != fmt.Sprint(i) { // [MQTT-4.6.0-6]
					t.Fatalf("message %d is %q", i, p.Payload)
				}
				i++
				switch qos {
				case 1:
					sub.send(&codec.Puback{PacketID: p.PacketID})
				case 2:
					sub.send(&codec.Pubrec{PacketID: p.PacketID}, &codec.Pubcomp{PacketID: p.PacketID})
				}
			}
		})
	}
}
