package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var headerChecks = []Check{{
	Name:     "header/reserved-flags-of-the-server",
	Rules:    []string{"MQTT-2.2.2-1", "MQTT-3.6.1-1"},
	Rules5:   []string{"MQTT-2.1.3-1", "MQTT-3.6.1-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		seen := map[codec.Type]bool{}
		for _, e := range everyPacket(t) {
			typ := codec.Type(e.Frame[0] >> 4)
			seen[typ] = true
			want := flagsOf(typ)
			if typ == codec.TypePublish {
				continue
			}
			got := e.Frame[0] & 15
			t.Judge().Thatf(got == want, fmt.Sprintf("%s with header flags %04b", typ, want), "%04b", got)
			if typ == codec.TypePubrel {
				t.Judge("MQTT-3.6.1-1").Thatf(got == want, "PUBREL with header flags 0010", "%04b", got)
			}
		}
		if !seen[codec.TypeConnack] || !seen[codec.TypeSuback] || !seen[codec.TypePingresp] {
			t.Inconclusive("the target did not answer CONNECT, SUBSCRIBE and PINGREQ")
		}
	},
}, {
	Name:     "header/reserved-flags-refused",
	Rules:    []string{"MQTT-2.2.2-2"},
	Rules5:   []string{"MQTT-2.1.3-1"},
	Breaks:   []string{"MQTT-2.2.2-1", "MQTT-2.3.1-6", "MQTT-3.10.1-1", "MQTT-3.6.1-1", "MQTT-3.8.1-1"},
	Breaks5:  []string{"MQTT-2.1.3-1", "MQTT-2.2.1-5", "MQTT-3.10.1-1", "MQTT-3.14.1-1", "MQTT-3.15.1-1", "MQTT-3.15.2-1", "MQTT-3.6.1-1", "MQTT-3.8.1-1", "MQTT-4.12.0-7"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		topic := t.Topic("a")
		sub := t.Encode(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: topic}}})
		unsub := t.Encode(&codec.Unsubscribe{PacketID: 1, Filters: []string{topic}})
		free := t.V5() // types for which no text demands the look
		cases := []offence{
			{what: "PINGREQ with flags 0001", raw: []byte{0xC1, 0}, tolerable: free},
			{what: "PUBACK with flags 0001", raw: []byte{0x41, 2, 0, 1}, tolerable: free},
			{what: "PUBREC with flags 0001", raw: []byte{0x51, 2, 0, 1}, tolerable: free},
			{what: "PUBREL with flags 0000", raw: []byte{0x60, 2, 0, 1}},
			{what: "SUBSCRIBE with flags 0000", raw: append([]byte{0x80}, sub[1:]...)},
			{what: "UNSUBSCRIBE with flags 0000", raw: append([]byte{0xA0}, unsub[1:]...)},
		}
		if t.V5() {
			cases = append(cases,
				offence{what: "PUBCOMP with flags 0001", raw: []byte{0x71, 2, 0, 1}, tolerable: true},
				offence{what: "DISCONNECT with flags 0001", raw: []byte{0xE1, 0}},
				offence{what: "AUTH with flags 0001", raw: []byte{0xF1, 0}})
		}
		b := t.connectBytes()
		b.first = 0x11
		connect := t.Open()
		connect.SendRaw(b.encode()...)
		t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket}, cases...)
		connect.Note("CONNECT with flags 0001")
		t.Judge().RefusesConnect(connect)
	},
}, {
	Name:     "header/pubrel-flags-refused",
	Rules:    []string{"MQTT-3.6.1-1"},
	Breaks:   []string{"MQTT-3.6.1-1", "MQTT-2.2.2-1"},
	Breaks5:  []string{"MQTT-3.6.1-1", "MQTT-2.1.3-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2,
	Run: func(t *T) {
		topic := t.Topic("a")
		open := func(c *Conn) {
			c.Manual()
			c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: 1, Payload: []byte("open")})
			e := c.Take(t.Timeout(), ofType(codec.TypePubrec))
			if e == nil || e.Packet.(*codec.Pubrec).Reason.Failed() {
				t.Inconclusive("%s: PUBLISH with QoS 2 got no PUBREC that accepts it", c.Name())
			}
		}
		var cases []offence
		for _, first := range []byte{0x60, 0x63, 0x6A} {
			cases = append(cases, offence{what: fmt.Sprintf("PUBREL with flags %04b", first&15), raw: []byte{first, 2, 0, 1}, prepare: open})
		}
		t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket}, cases...)
	},
}, {
	Name:     "header/shortest-integers-of-the-server",
	Rules:    []string{"MQTT-1.5.5-1"},
	Versions: MQTT5,
	Run: func(t *T) {
		es := everyPacket(t)
		pub, sub, topic := t.Connect(), t.Connect(), t.Topic("sizes")
		qos := t.atMost(1)
		p := &codec.Subscribe{Filters: []codec.Subscription{{Filter: topic, QoS: qos}}}
		if t.Target().Capabilities&CapSubscriptionIDs != 0 {
			p.Props.SetUint(codec.PropSubscriptionID, 127)
		}
		if sub.SubscribeWith(p).Reasons[0].Failed() {
			t.Inconclusive("%s: the subscription was refused", sub.Name())
		}
		for _, size := range []int{0, 100, 127, 128, 16383, 16384} {
			if most := t.Target().MaximumPacketSize; most != 0 && size+len(topic)+64 > int(most) {
				continue
			}
			pub.Publish(topic, qos, strings.Repeat("x", size))
		}
		t.Fence(pub, sub, topic, qos)
		for _, e := range append(es, sub.Pending(anyPacket)...) {
			i := slices.IndexFunc(e.Faults, func(f *codec.Error) bool { return slices.Contains(f.Rules(), "MQTT-1.5.5-1") })
			actual := "so it is"
			if i >= 0 {
				actual = e.Faults[i].Error()
			}
			t.Judge().That(i < 0, "every Variable Byte Integer of "+codec.Type(e.Frame[0]>>4).String()+" in its shortest form", actual)
		}
	},
}, {
	Name:     "header/property-length-present",
	Rules:    []string{"MQTT-2.2.2-1"},
	Versions: MQTT5,
	Run: func(t *T) {
		for _, e := range everyPacket(t) {
			_, n := codec.Varint(e.Frame[1:])
			body := e.Frame[1+n:]
			before, behind := 2, 1 // bytes in front of the Property Length, and behind the properties
			typ := codec.Type(e.Frame[0] >> 4)
			switch typ {
			case codec.TypeConnack:
				behind = 0
			case codec.TypeSuback, codec.TypeUnsuback:
			case codec.TypePublish:
				name, _ := leadingText(body)
				before, behind = 2+len(name), len(allPayload)
				if e.Frame[0]&6 != 0 {
					before += 2
				}
			default:
				continue
			}
			right := false
			if len(body) > before {
				length, m := codec.Varint(body[before:])
				right = m > 0 && before+m+int(length)+behind == len(body)
			}
			t.Judge().Thatf(right, fmt.Sprintf("%s with a Property Length after %d bytes", typ, before), "% X", body[:min(len(body), 48)])
		}
	},
}, {
	Name:     "header/no-packet-id-at-qos0",
	Rules:    []string{"MQTT-2.3.1-5"},
	Rules5:   []string{"MQTT-2.2.1-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		pub, sub, topic := t.Connect(), t.Connect(), t.Topic("a")
		sub.Subscribe(0, topic)
		ends := func(e *peer.Event) bool {
			return len(e.Frame) > 0 && e.Frame[0]&0xF6 == 0x30 && bytes.HasSuffix(e.Frame, []byte("bare xyz"))
		}
		// Any message of QoS 0 may be lost.
		for range 3 {
			pub.Publish(topic, 0, "bare xyz")
			e := sub.Take(t.Timeout()/3, ends)
			if e == nil {
				continue
			}
			_, n := codec.Varint(e.Frame[1:])
			body := e.Frame[1+n:]
			name, ok := leadingText(body)
			rest := body
			if ok {
				rest = body[2+len(name):]
			}
			expected := "the payload directly behind the topic"
			if t.V5() {
				expected = "the Property Length directly behind the topic, then the properties and the payload"
				if length, m := codec.Varint(rest); m > 0 && int(length)+m <= len(rest) {
					rest = rest[m+int(length):]
				}
			}
			t.Judge().Thatf(ok && string(rest) == "bare xyz", expected, "% X", body)
			return
		}
		t.Inconclusive("no message of QoS 0 arrived")
	},
}}

// flagsOf returns the header flags that a packet type has by table 2.2 (5.0: 2-2).
func flagsOf(typ codec.Type) byte {
	switch typ {
	case codec.TypePubrel, codec.TypeSubscribe, codec.TypeUnsubscribe:
		return 2
	}
	return 0
}

// allPayload is the payload of the messages that everyPacket publishes.
const allPayload = "one of each"

// everyPacket makes the target send each of its packet types, as far as it grants the QoS levels,
// and returns all that arrived.
func everyPacket(t *T) []*peer.Event {
	c, topic := t.Open(), t.Topic("each")
	c.Send(t.ConnectPacket())
	var out []*peer.Event
	// A packet with wrong flags still has its type in the upper bits.
	take := func(typ codec.Type) *peer.Event {
		e := c.Take(t.Timeout(), func(e *peer.Event) bool { return len(e.Frame) > 0 && e.Frame[0]>>4 == byte(typ) })
		if e == nil {
			t.Inconclusive("%s: no %s", c.Name(), typ)
		}
		out = append(out, e)
		return e
	}
	if a, ok := take(codec.TypeConnack).Packet.(*codec.Connack); ok && a.Reason != codec.Success {
		t.Inconclusive("%s: CONNECT was refused", c.Name())
	}
	most := t.atMost(2)
	c.Send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: topic, QoS: most}}})
	take(codec.TypeSuback)
	for qos := codec.QoS(0); qos <= most; qos++ {
		p := &codec.Publish{Topic: topic, QoS: qos, Payload: []byte(allPayload)}
		if qos > 0 {
			p.PacketID = uint16(qos) + 1
		}
		c.Send(p)
		switch qos {
		case 1:
			take(codec.TypePuback)
			take(codec.TypePublish)
		case 2:
			take(codec.TypePubrec)
			take(codec.TypePubcomp)
			take(codec.TypePubrel)
		}
	}
	c.Send(&codec.Unsubscribe{PacketID: 9, Filters: []string{topic}})
	take(codec.TypeUnsuback)
	c.Send(&codec.Pingreq{})
	take(codec.TypePingresp)
	return append(out, c.Pending(anyPacket)...)
}
