package conformance

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var packetIDChecks = []Check{{
	Name:     "packetid/server-uses-free-ids",
	Rules:    []string{"MQTT-2.3.1-1"},
	Rules5:   []string{"MQTT-2.2.1-4"},
	Breaks:   []string{"MQTT-4.6.0-2"},
	Axis:     Behaviour,
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		pub, sub, topic := t.Connect(), t.Connect().Manual(), t.Topic("a")
		sub.Subscribe(t.atMost(2), topic)
		levels := t.levels(1)
		open := map[uint16]*codec.Publish{} // by the identifier in use
		sent := 0
		for range 2 {
			for range 12 {
				pub.Deliver(topic, levels[sent%len(levels)], fmt.Sprint("message ", sent))
				sent++
			}
			if !t.collectIDs(sub, topic, open) {
				return
			}
			t.answerSome(sub, open)
		}
		t.collectIDs(sub, topic, open)
	},
}, {
	Name:     "packetid/zero-refused",
	Rules:    []string{"MQTT-2.3.1-1", "MQTT-4.8.0-1"},
	Rules5:   []string{"P-2.2.1-packet-id-zero"},
	Breaks:   []string{"MQTT-2.3.1-1"},
	Breaks5:  []string{"MQTT-2.2.1-3", "P-2.2.1-packet-id-zero"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		topic := t.Topic("a")
		cases := []offence{
			{what: "SUBSCRIBE with Packet Identifier 0", raw: t.Broken(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: topic}}}, codec.BreakPacketIDZero), tolerable: true},
			{what: "UNSUBSCRIBE with Packet Identifier 0", raw: t.Broken(&codec.Unsubscribe{PacketID: 1, Filters: []string{topic}}, codec.BreakPacketIDZero), tolerable: true},
		}
		if t.atMost(1) > 0 {
			raw := t.Broken(&codec.Publish{Topic: topic, QoS: 1, PacketID: 1, Payload: []byte("x")}, codec.BreakPacketIDZero)
			cases = append(cases, offence{what: "PUBLISH with QoS 1 and Packet Identifier 0", raw: raw, tolerable: true})
		}
		if t.V5() {
			t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket, codec.ProtocolError}, cases...)
			return
		}
		conns := make([]*Conn, len(cases))
		for i, k := range cases {
			conns[i] = t.Connect()
			conns[i].Note("%s", k.what)
			conns[i].SendRaw(k.raw...)
		}
		for i, r := range t.reactions(conns...) {
			acks := conns[i].Pending(func(e *peer.Event) bool {
				return e.Packet != nil && isAnswer(e.Packet.Type()) && e.Packet.Type() != codec.TypePingresp
			})
			// To answer with identifier 0 is to use it; to go on in silence only leaves the violation unpunished.
			t.Judge().That(len(acks) == 0, cases[i].what+": no acknowledgement", describeEvents(acks, t.Version()))
			if len(acks) == 0 {
				t.Judge("MQTT-4.8.0-1").That(r.ended, cases[i].what+": the connection ends", r.actual)
			}
		}
	},
}, {
	Name:     "packetid/resent-with-its-id",
	Rules:    []string{"MQTT-2.3.1-4"},
	Versions: MQTT311,
	Needs:    CapQoS1,
	Run: func(t *T) {
		id, topic := t.ClientID(), t.Topic("a")
		sub, pub := t.Connect(t.Persistent(id)).Manual(), t.Connect()
		sub.Subscribe(1, topic)
		pub.Deliver(topic, 1, "first")
		e := sub.Take(t.Timeout(), withPayload(topic, "first"))
		if e == nil {
			t.Inconclusive("%s: the message did not arrive", sub.Name())
		}
		was := e.Packet.(*codec.Publish).PacketID
		sub.Drop()
		for i := range 3 {
			pub.Deliver(topic, 1, fmt.Sprint("later ", i))
		}
		back := t.Open().Manual()
		if !back.Connect(t.ConnectPacket(t.Persistent(id))).SessionPresent {
			t.notKept(back)
		}
		// Until the first message is acknowledged its identifier belongs to it alone.
		again := back.Take(t.Timeout(), withPayload(topic, "first"))
		if again == nil {
			t.Inconclusive("%s: the unacknowledged message did not come again", back.Name())
		}
		got := again.Packet.(*codec.Publish).PacketID
		t.Judge().Thatf(got == was, fmt.Sprintf("the message again with Packet Identifier %d", was), "%d", got)
		for e := back.Take(t.Grace()/4, onTopic(topic)); e != nil; e = back.Take(t.Grace()/4, onTopic(topic)) {
			other := e.Packet.(*codec.Publish)
			if string(other.Payload) != "first" {
				t.Judge().Thatf(other.PacketID != was, fmt.Sprintf("another Packet Identifier than %d for %q", was, other.Payload), "%d", other.PacketID)
			}
		}
	},
}, {
	Name:     "packetid/pubrel-repeats-the-id",
	Rules:    []string{"MQTT-2.3.1-6"},
	Rules5:   []string{"MQTT-2.2.1-5"},
	Breaks:   []string{"MQTT-4.6.0-3"},
	Axis:     Behaviour,
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2,
	Run: func(t *T) {
		pub, sub, topic := t.Connect(), t.Connect().Manual(), t.Topic("a")
		sub.Subscribe(2, topic)
		for i := range 2 {
			pub.Deliver(topic, 2, fmt.Sprint("message ", i))
		}
		var ids []uint16
		for e := sub.Take(t.Timeout(), onTopic(topic)); e != nil && len(ids) < 2; e = sub.Take(t.Grace()/4, onTopic(topic)) {
			ids = append(ids, e.Packet.(*codec.Publish).PacketID)
		}
		if len(ids) == 0 {
			t.Inconclusive("%s: no message arrived", sub.Name())
		}
		for _, id := range slices.Backward(ids) {
			sub.Send(&codec.Pubrec{PacketID: id})
			e := t.Judge().Answer(sub, "PUBREL", ofType(codec.TypePubrel))
			got := e.Packet.(*codec.Pubrel).PacketID
			t.Judge().Thatf(got == id, fmt.Sprintf("PUBREL with Packet Identifier %d", id), "%d", got)
			sub.Send(&codec.Pubcomp{PacketID: got})
		}
	},
}, {
	Name:     "packetid/suback-unsuback-repeat-the-id",
	Rules:    []string{"MQTT-2.3.1-7"},
	Rules5:   []string{"MQTT-2.2.1-6"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c, topic := t.Connect(), t.Topic("a")
		// Requests in flight together may be answered in any order.
		subs, unsubs := []uint16{0x1234, 1, 0x8000, 0xFFFF}, []uint16{0x4321, 2, 0x8001, 0xFFFE}
		for _, id := range subs {
			c.Send(&codec.Subscribe{PacketID: id, Filters: []codec.Subscription{{Filter: topic}}})
		}
		t.judgeRequestIDs(c, codec.TypeSuback, subs)
		for _, id := range unsubs {
			c.Send(&codec.Unsubscribe{PacketID: id, Filters: []string{topic}})
		}
		t.judgeRequestIDs(c, codec.TypeUnsuback, unsubs)
	},
}, {
	Name:     "packetid/id-in-use-spares-the-first-exchange",
	Rules:    []string{"P-2.2.1-packet-id-in-use"},
	Breaks:   []string{"MQTT-2.2.1-3", "P-2.2.1-packet-id-in-use", "MQTT-4.3.2-1"},
	Versions: MQTT5,
	Needs:    CapQoS2,
	Run: func(t *T) {
		topic := t.Topic("a")
		for _, second := range []codec.Packet{
			&codec.Subscribe{PacketID: 3, Filters: []codec.Subscription{{Filter: t.Topic("b")}}},
			&codec.Publish{Topic: topic, QoS: 1, PacketID: 3, Payload: []byte("second")},
		} {
			c := t.Connect().Manual()
			c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: 3, Payload: []byte("first")})
			e := c.Take(t.Timeout(), ofType(codec.TypePubrec))
			if e == nil || e.Packet.(*codec.Pubrec).Reason.Failed() {
				t.Inconclusive("%s: PUBLISH with QoS 2 got no PUBREC that accepts it", c.Name())
			}
			c.Send(second)
			c.Send(&codec.Pubrel{PacketID: 3})
			done := c.Take(t.Timeout(), ofType(codec.TypePubcomp)) != nil
			_, ended := c.Closed()
			t.Judge().Thatf(done || ended, "PUBCOMP for the first exchange, or the end of the connection", "neither after a second use by %s", second.Type())
		}
	},
}}

// collectIDs takes what arrives and judges that no Packet Identifier is 0 or in use. It reports
// whether all was right.
func (t *T) collectIDs(c *Conn, topic string, open map[uint16]*codec.Publish) bool {
	for {
		wait := t.Grace() / 4 // nothing tells that no more will come
		if len(open) == 0 {
			wait = t.Timeout()
		}
		e := c.Take(wait, onTopic(topic))
		if e == nil {
			if len(open) == 0 {
				t.Inconclusive("%s: no message arrived", c.Name())
			}
			return true
		}
		p := e.Packet.(*codec.Publish)
		if p.QoS == 0 {
			continue
		}
		holder := open[p.PacketID]
		// A repeat of the same message is no second use.
		used := holder != nil && !bytes.Equal(holder.Payload, p.Payload)
		actual := fmt.Sprintf("%d", p.PacketID)
		if used {
			actual += fmt.Sprintf(", which %q holds", holder.Payload)
		}
		if !t.Judge().That(p.PacketID != 0 && !used, fmt.Sprintf("a free Packet Identifier for %q", p.Payload), actual) {
			return false
		}
		open[p.PacketID] = p
	}
}

// answerSome completes the exchange of every second open identifier and takes it off the list.
func (t *T) answerSome(c *Conn, open map[uint16]*codec.Publish) {
	for i, id := range slices.Sorted(maps.Keys(open)) {
		if i%2 == 1 {
			continue
		}
		if open[id].QoS == 1 {
			c.Send(&codec.Puback{PacketID: id})
		} else {
			c.Send(&codec.Pubrec{PacketID: id})
			if c.Take(t.Timeout(), ofType(codec.TypePubrel)) == nil {
				t.Inconclusive("%s: no PUBREL", c.Name())
			}
			c.Send(&codec.Pubcomp{PacketID: id})
		}
		delete(open, id)
	}
}

// judgeRequestIDs judges that the answers carry each of the identifiers once.
func (t *T) judgeRequestIDs(c *Conn, typ codec.Type, ids []uint16) {
	var got []uint16
	for range ids {
		e := c.Take(t.Timeout(), ofType(typ))
		if e == nil {
			break
		}
		switch p := e.Packet.(type) {
		case *codec.Suback:
			got = append(got, p.PacketID)
		case *codec.Unsuback:
			got = append(got, p.PacketID)
		}
	}
	foreign := slices.ContainsFunc(got, func(id uint16) bool { return !slices.Contains(ids, id) })
	if len(got) < len(ids) && !foreign {
		t.Inconclusive("%s: %d answers for %d requests", c.Name(), len(got), len(ids))
	}
	want := slices.Sorted(slices.Values(ids))
	slices.Sort(got)
	t.Judge().Thatf(slices.Equal(got, want), fmt.Sprintf("%s with the Packet Identifiers %d", typ, want), "%d", got)
}
