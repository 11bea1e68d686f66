package conformance

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/mqlab/mqlab/codec"
)

const (
	// poured is how many messages follow one another without a pause.
	poured = 150
	// pouredBriefly is the same where the order is not left to the target's speed.
	pouredBriefly = 40
	// window bounds what is open at a time, so that no server has to hold back.
	window = 20
)

var orderingChecks = []Check{{
	Name:     "ordering/one-topic",
	Rules:    []string{"MQTT-4.6.0-6"},
	Rules5:   []string{"MQTT-4.6.0-5"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		judged := false
		for _, qos := range t.levels(0) {
			pub, sub, topic := t.Connect(), t.Connect(), t.Topic(fmt.Sprintf("q%d", qos))
			sub.Subscribe(qos, topic)
			pub.pour(qos, poured, topic)
			sub.Disturbed(t.Timeout(), withPayload(topic, strconv.Itoa(poured-1)))
			judged = t.judgeOrder(t.Judge(), sub.Messages(topic)) || judged
		}
		if !judged {
			t.Inconclusive("not even two messages arrived")
		}
	},
}, {
	Name:     "ordering/every-topic",
	Rules:    []string{"MQTT-4.6.0-5"},
	Rules5:   []string{"MQTT-4.6.0-6"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		pub, sub, base := t.Connect(), t.Connect(), t.Topic("many")
		qos := t.atMost(2)
		topics := []string{base + "/a", base + "/b", base + "/c", base + "/d"}
		if t.Target().Capabilities&CapWildcard != 0 {
			sub.Subscribe(qos, base+"/+")
		} else {
			sub.Subscribe(qos, topics...)
		}
		pub.pour(qos, poured, topics...)
		judged := false
		for i, topic := range topics {
			last := poured - 1
			for last%len(topics) != i {
				last--
			}
			sub.Disturbed(t.Timeout(), withPayload(topic, strconv.Itoa(last)))
			judged = t.judgeOrder(t.Judge(), sub.Messages(topic)) || judged
		}
		if !judged {
			t.Inconclusive("not even two messages arrived")
		}
	},
}, {
	Name:     "ordering/queued-messages",
	Rules:    []string{"MQTT-4.6.0-6"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run: func(t *T) {
		judged := false
		for _, qos := range t.levels(1) {
			pub, id, topic := t.Connect(), t.ClientID(), t.Topic(fmt.Sprintf("q%d", qos))
			sub, _ := t.keep(id)
			sub.Subscribe(qos, topic)
			sub.Disconnect()
			t.settle()
			pub.pour(qos, pouredBriefly, topic)
			t.settle()
			back := t.Open()
			if !t.accepted(back, t.ConnectPacket(t.Persistent(id))).SessionPresent {
				t.notKept(back)
			}
			// What a full queue drops is the target's choice: the marker stands for the last message.
			t.Fence(pub, back, topic, qos)
			judged = t.judgeOrder(t.Judge(), back.Messages(topic)) || judged
		}
		if !judged {
			t.Inconclusive("not even two messages were kept")
		}
	},
}, {
	Name:     "ordering/over-a-resumption",
	Rules:    []string{"MQTT-4.6.0-6"},
	Rules5:   []string{"MQTT-4.6.0-5"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run: func(t *T) {
		for _, qos := range t.levels(1) {
			orderOverResumption(t, qos)
		}
	},
}, {
	Name:     "ordering/pubrel-follows-pubrec",
	Rules:    []string{"MQTT-4.6.0-6"},
	Breaks:   []string{"MQTT-4.6.0-3"},
	Axis:     Behaviour,
	Versions: MQTT311,
	Needs:    CapQoS2,
	Run: func(t *T) {
		pub, sub, topic := t.Connect(), t.Connect().Manual(), t.Topic("a")
		sub.Subscribe(2, topic)
		pub.pour(2, 5, topic)
		var ids []uint16
		for e := sub.Take(t.Timeout(), onTopic(topic)); e != nil && len(ids) < 5; e = sub.Take(t.Grace()/4, onTopic(topic)) {
			if p := e.Packet.(*codec.Publish); !p.Dup {
				ids = append(ids, p.PacketID)
			}
		}
		if len(ids) < 2 {
			t.Inconclusive("%s: the target sends one message at a time", sub.Name())
		}
		slices.Reverse(ids)
		ids[0], ids[1] = ids[1], ids[0]
		var burst []byte
		for _, id := range ids {
			burst = append(burst, t.Encode(&codec.Pubrec{PacketID: id})...)
		}
		sub.SendRaw(burst...)
		var got []uint16
		for range ids {
			e := sub.Take(t.Timeout(), ofType(codec.TypePubrel))
			if e == nil {
				t.Inconclusive("%s: %d PUBREL for %d PUBREC", sub.Name(), len(got), len(ids))
			}
			got = append(got, e.Packet.(*codec.Pubrel).PacketID)
		}
		t.Judge().Thatf(slices.Equal(got, ids), fmt.Sprintf("PUBREL in the order of the PUBRECs, %d", ids), "%d", got)
	},
}}

// pour publishes messages with the payloads "0" to "n-1" to the topics in turn, without waiting
// for the end of each exchange.
func (c *Conn) pour(qos codec.QoS, n int, topics ...string) {
	most := window
	if c.t.V5() {
		most = min(most, int(c.t.Target().ReceiveMaximum))
	}
	last := codec.TypePuback
	if qos == 2 {
		last = codec.TypePubcomp // PUBREL goes out by itself
	}
	var open []uint16
	finish := func() {
		c.awaitAck(last, open[0])
		open = open[1:]
	}
	for i := range n {
		p := &codec.Publish{Topic: topics[i%len(topics)], QoS: qos, Payload: []byte(strconv.Itoa(i))}
		if qos > 0 {
			if len(open) == most {
				finish()
			}
			p.PacketID = c.NextID()
			open = append(open, p.PacketID)
		}
		c.Send(p)
	}
	for len(open) > 0 {
		finish()
	}
}

// ordinal reads what pour put into a message; -1 is none of it.
func ordinal(p *codec.Publish) int {
	n, err := strconv.Atoi(string(p.Payload))
	if err != nil {
		return -1
	}
	return n
}

// judgeOrder judges that the first delivery of each message comes behind those of the messages
// sent before it. What is missing is not judged, and repeats are free. It reports whether there
// was anything to compare.
func (t *T) judgeOrder(x *Expectation, ms []*codec.Publish) bool {
	const expected = "first deliveries in the order of publication"
	seen := map[int]bool{}
	last := -1
	for _, m := range ms {
		n := ordinal(m)
		if n < 0 || seen[n] {
			continue
		}
		seen[n] = true
		if n < last {
			x.Thatf(false, expected, "message %d after message %d on %s at QoS %d", n, last, m.Topic, m.QoS)
			return true
		}
		last = n
	}
	if len(seen) > 1 {
		x.Thatf(true, expected, "%d messages in order", len(seen))
	}
	return len(seen) > 1
}

// orderOverResumption cuts the connection after a few messages have come, some of them
// unacknowledged, and looks at the order of everything that came before and comes after.
func orderOverResumption(t *T, qos codec.QoS) {
	const taken, acknowledged = 8, 3
	pub, id, topic := t.Connect(), t.ClientID(), t.Topic(fmt.Sprintf("q%d", qos))
	sub, _ := t.keep(id)
	sub.Manual().Subscribe(qos, topic)
	pub.pour(qos, pouredBriefly/2, topic)
	var all []*codec.Publish
	for len(all) < taken {
		e := sub.Take(t.Timeout(), onTopic(topic))
		if e == nil {
			t.Inconclusive("%s: %d messages of %d arrived", sub.Name(), len(all), taken)
		}
		p := e.Packet.(*codec.Publish)
		all = append(all, p)
		// A server that keeps few messages open goes on only when one is answered.
		if len(all) <= acknowledged || !sub.Disturbed(t.Grace()/4, onTopic(topic)) {
			sub.complete(p)
		}
	}
	sub.Ping()
	all = append(all, sub.Messages(topic)...)
	sub.Drop()
	t.settle()
	back := t.Open()
	if !t.accepted(back, t.ConnectPacket(t.Persistent(id))).SessionPresent {
		t.notKept(back)
	}
	t.Fence(pub, back, topic, qos)
	after := back.Messages(topic)
	if !t.judgeOrder(t.Judge(), append(all, after...)) {
		t.Inconclusive("%s: not even two messages arrived", back.Name())
	}
	if t.V5() {
		return
	}
	// What was open comes again in the order in which it was sent first.
	again := map[int]bool{}
	last := -1
	for _, p := range after {
		n := ordinal(p)
		if !p.Dup || n < 0 || again[n] {
			continue
		}
		again[n] = true
		if !t.Judge().Thatf(n > last, "messages with DUP 1 in their original order", "message %d after message %d", n, last) {
			return
		}
		last = n
	}
}
