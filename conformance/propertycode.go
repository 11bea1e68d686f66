package conformance

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// How properties are laid out: their length, their identifiers, their order.
var propertyCodeChecks = []Check{{
	Name:     "propertycode/length-overrun",
	Rules:    []string{"P-2.2.2.1-property-length-overrun"},
	Breaks:   []string{"P-2.2.2.1-property-length-overrun", "P-2.2.2.2-unknown-identifier"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket},
			offence{what: "PUBLISH whose Property Length is larger than the rest", raw: t.propertyPublish(20, byte(codec.PropPayloadFormat), 0)},
			offence{what: "PUBLISH whose Property Length ends inside a value", raw: t.propertyPublish(3, byte(codec.PropMessageExpiry), 0, 0, 0, 60)},
			offence{what: "SUBSCRIBE whose Property Length is larger than the rest", raw: t.propertySubscribe(120)},
			offence{what: "SUBSCRIBE whose Property Length ends inside a value", raw: t.propertySubscribe(3, byte(codec.PropUserProperty), 0, 9)})
		refusesEach(t, t.Judge(),
			connectCase{"a Property Length that is larger than the rest", func(b *connectBytes) { b.props = []byte{0x7F} }},
			connectCase{"a Property Length that ends inside a value", func(b *connectBytes) { b.withProps(byte(codec.PropReceiveMaximum), 0) }})
	},
}, {
	Name:     "propertycode/unknown-identifier",
	Rules:    []string{"P-2.2.2.2-unknown-identifier"},
	Breaks:   []string{"P-2.2.2.2-unknown-identifier"},
	Versions: MQTT5,
	Run: func(t *T) {
		var offences []offence
		var connects []connectCase
		for _, id := range [][]byte{{0}, {4}, {0x7F}, {0xFF, 1}} {
			list := append(slices.Clone(id), 0)
			offences = append(offences,
				offence{what: fmt.Sprintf("PUBLISH with property % X", id), raw: t.propertyPublish(len(list), list...)},
				offence{what: fmt.Sprintf("SUBSCRIBE with property % X", id), raw: t.propertySubscribe(len(list), list...)})
			connects = append(connects, connectCase{fmt.Sprintf("property % X", id), func(b *connectBytes) { b.withProps(list...) }})
		}
		t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket, codec.ProtocolError}, offences...)
		refusesEach(t, t.Judge(), connects...)
		if t.atMost(1) == 0 {
			return
		}
		// A DISCONNECT that is found malformed shows in the Will, which a valid one takes back.
		topic, watcher := t.Topic("will"), t.Connect()
		watcher.Subscribe(1, topic)
		t.willFence(watcher, topic, 1) // the target publishes Wills at all
		c := t.Connect(withWill(topic, lastWords, 1))
		c.SendRaw(0xE0, 4, 0, 2, 0x7F, 0)
		c.AwaitClose(t.Timeout())
		_ = c.Close()
		e := watcher.Take(t.Timeout(), withPayload(topic, lastWords))
		t.Judge().Crossing(e != nil, "the Will, as no valid DISCONNECT came", seen(e, t))
	},
}, {
	Name:     "propertycode/identifier-of-another-packet",
	Rules:    []string{"P-2.2.2.2-identifier-wrong-packet"},
	Breaks:   []string{"P-2.2.2.2-identifier-wrong-packet"},
	Versions: MQTT5,
	Run: func(t *T) {
		topic := t.Topic("a")
		unsubscribe := slices.Concat([]byte{0, 1, 2, byte(codec.PropSubscriptionID), 1}, field(topic))
		cases := []offence{
			{what: "PUBLISH with Receive Maximum", raw: t.propertyPublish(3, byte(codec.PropReceiveMaximum), 0, 10)},
			{what: "SUBSCRIBE with Topic Alias", raw: t.propertySubscribe(3, byte(codec.PropTopicAlias), 0, 1)},
			{what: "UNSUBSCRIBE with Subscription Identifier", raw: connectFrame(0xA2, unsubscribe)},
		}
		t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket, codec.ProtocolError}, cases...)
		refusesEach(t, t.Judge(),
			connectCase{"Maximum QoS in CONNECT", func(b *connectBytes) { b.withProps(byte(codec.PropMaximumQoS), 1) }},
			connectCase{"Payload Format Indicator in CONNECT", func(b *connectBytes) { b.withProps(byte(codec.PropPayloadFormat), 0) }},
			connectCase{"Topic Alias among the Will Properties", func(b *connectBytes) {
				b.withWillProps(t.Topic("will"), "gone", byte(codec.PropTopicAlias), 0, 1)
			}})
		if t.atMost(1) == 0 {
			return
		}
		c := t.Connect().Manual()
		c.Subscribe(1, topic)
		t.Connect().Deliver(topic, 1, "to be acknowledged")
		e := c.Take(t.Timeout(), onTopic(topic))
		if e == nil || e.Packet.(*codec.Publish).QoS == 0 {
			t.Inconclusive("%s: no message to acknowledge arrived", c.Name())
		}
		id := e.Packet.(*codec.Publish).PacketID
		c.SendRaw(0x40, 9, byte(id>>8), byte(id), 0, 5, byte(codec.PropSessionExpiry), 0, 0, 0, 1)
		t.Judge().Refuses(c, nil, codec.MalformedPacket, codec.ProtocolError)
	},
}, {
	Name:     "propertycode/order-free",
	Rules:    []string{"P-2.2.2.2-order-free"},
	Versions: MQTT5,
	Run:      orderFree,
}}

// propertyPublish returns a PUBLISH above QoS 0, where the target takes it, with the Property
// Length and the properties as they are given.
func (t *T) propertyPublish(length int, list ...byte) []byte {
	qos := t.atMost(1)
	body := field(t.Topic("a"))
	if qos > 0 {
		body = binary.BigEndian.AppendUint16(body, 0x7F01)
	}
	body = codec.AppendVarint(body, uint32(length))
	return connectFrame(0x30|byte(qos)<<1, append(body, list...))
}

// propertySubscribe is propertyPublish for a SUBSCRIBE.
func (t *T) propertySubscribe(length int, list ...byte) []byte {
	body := codec.AppendVarint([]byte{0, 1}, uint32(length))
	return connectFrame(0x82, slices.Concat(body, list, field(t.Topic("a")), []byte{0}))
}

// orderFree sends the same properties in several orders, with User Properties in between whose
// own order stays.
func orderFree(t *T) {
	orders := [][]int{{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 4, 0, 3, 1}}
	arrange := func(order []int, lists ...[]byte) []byte {
		var out []byte
		users := 0
		for _, i := range order {
			out = append(out, lists[i]...)
			users++
			out = append(out, byte(codec.PropUserProperty))
			out = append(out, field("name")...)
			out = append(out, field(fmt.Sprint("user ", users))...)
		}
		return out
	}
	var first connectOutcome
	for i, order := range orders {
		b := t.connectBytes()
		b.withProps(arrange(order,
			[]byte{byte(codec.PropSessionExpiry), 0, 0, 0, 0}, []byte{byte(codec.PropReceiveMaximum), 0, 10}, []byte{byte(codec.PropMaximumPacketSize), 0, 1, 0, 0},
			[]byte{byte(codec.PropTopicAliasMaximum), 0, 5}, []byte{byte(codec.PropRequestProblemInfo), 1})...)
		_, o := t.tryAgain(b.encode())
		if i == 0 {
			if first = o; !o.accepted() {
				t.Inconclusive("a CONNECT with ten properties was not accepted: %s", o.describe(t.Version()))
			}
			continue
		}
		t.Judge().That(o.accepted(), "CONNACK as for another order of the same properties: "+first.describe(t.Version()), o.describe(t.Version()))
	}

	watcher, c, topic, qos := t.Connect(), t.Connect(), t.Topic("a"), t.atMost(1)
	watcher.Subscribe(qos, topic)
	var want []string
	for i, order := range orders {
		payload := fmt.Sprint("order ", i)
		p := t.publishBytes(byte(qos)<<1, topic, uint16(i+1), arrange(order,
			[]byte{byte(codec.PropPayloadFormat), 1}, []byte{byte(codec.PropMessageExpiry), 0, 0, 14, 16}, append([]byte{byte(codec.PropContentType)}, field("text/plain")...),
			append([]byte{byte(codec.PropResponseTopic)}, field("answers")...), append([]byte{byte(codec.PropCorrelationData)}, field("tag")...)), payload)
		t.fitting(len(p))
		c.SendRaw(p...)
		e := watcher.Take(t.Timeout(), withPayload(topic, payload))
		if e == nil && (i == 0 || qos == 0) {
			t.Inconclusive("%s: no message arrived", watcher.Name())
		}
		if i == 0 {
			want = meanings(e)
		} else {
			t.Judge().Crossing(e != nil && slices.Equal(meanings(e), want), fmt.Sprintf("a message with %v, as for another order", want), seen(e, t))
		}
		// The target may take one message at a time.
		if qos > 0 && c.Take(t.Timeout(), acknowledges(codec.TypePuback, uint16(i+1))) == nil {
			t.Inconclusive("%s: no PUBACK came, which another check judges", c.Name())
		}
	}
}

// meanings lists the properties of a message in one order of their own, User Properties in theirs.
func meanings(e *peer.Event) []string {
	if e == nil {
		return nil
	}
	props := &e.Packet.(*codec.Publish).Props
	out := []string{
		fmt.Sprint(codec.PropPayloadFormat, props.Uint(codec.PropPayloadFormat, 0)),
		fmt.Sprint(codec.PropContentType, props.Text(codec.PropContentType)),
		fmt.Sprint(codec.PropResponseTopic, props.Text(codec.PropResponseTopic)),
		fmt.Sprint(codec.PropCorrelationData, props.Bytes(codec.PropCorrelationData)),
		fmt.Sprint(codec.PropMessageExpiry, props.Has(codec.PropMessageExpiry)), // the value counts down
	}
	for name, value := range props.UserProperties() {
		out = append(out, name+"="+value)
	}
	return out
}
