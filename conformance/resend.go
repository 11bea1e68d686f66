package conformance

import (
	"fmt"
	"maps"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// resendChecks are about the target as a sender of QoS 1 and 2 messages: what it keeps open, and
// until when.
var resendChecks = []Check{{
	Name:     "resend/qos1-first-sending",
	Rules:    []string{"MQTT-4.3.2-1"},
	Rules5:   []string{"MQTT-4.3.2-1", "MQTT-4.3.2-2"},
	Breaks:   []string{"MQTT-4.6.0-2"},
	Axis:     Behaviour,
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run:      func(t *T) { firstSending(t, 1, t.Judge("MQTT-4.3.2-1"), t.Judge("MQTT-4.3.2-1", "MQTT-4.3.2-2")) },
}, {
	Name:     "resend/qos2-first-sending",
	Rules:    []string{"MQTT-4.3.3-1"},
	Rules5:   []string{"MQTT-4.3.3-1", "MQTT-4.3.3-2"},
	Breaks:   []string{"MQTT-4.6.0-3"},
	Axis:     Behaviour,
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2,
	Run:      func(t *T) { firstSending(t, 2, t.Judge("MQTT-4.3.3-1"), t.Judge("MQTT-4.3.3-1", "MQTT-4.3.3-2")) },
}, {
	Name:     "resend/qos1-open-until-puback",
	Rules:    []string{"MQTT-4.3.2-1"},
	Rules5:   []string{"MQTT-4.3.2-3"},
	Breaks:   []string{"MQTT-4.6.0-2"},
	Axis:     Behaviour,
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run:      openUntilPuback,
}, {
	Name:     "resend/qos2-open-until-pubrec",
	Rules:    []string{"MQTT-4.3.3-1"},
	Rules5:   []string{"MQTT-4.3.3-3"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2 | CapSessionExpiry,
	Run: func(t *T) {
		pub, id, topic := t.Connect(), t.ClientID(), t.Topic("a")
		sub, _ := t.keep(id)
		sub.Manual().Subscribe(2, topic)
		pub.Deliver(topic, 2, "open")
		was := sub.first(topic, "open").PacketID
		for range 2 {
			t.Judge().Silent(sub, "PUBREL without PUBREC", ofType(codec.TypePubrel), sub.Ping)
			sub.Drop()
			sub = t.again(id)
			e := t.Judge().ArrivesMatching(sub, "the message that no PUBREC has answered again", withPayload(topic, "open"))
			got := e.Packet.(*codec.Publish).PacketID
			t.Judge().Thatf(got == was, fmt.Sprintf("Packet Identifier %d again", was), "%d", got)
		}
	},
}, {
	Name:     "resend/pubrel-open-until-pubcomp",
	Rules:    []string{"MQTT-4.3.3-1"},
	Rules5:   []string{"MQTT-4.3.3-5", "MQTT-4.3.3-6"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2 | CapSessionExpiry,
	Run:      openUntilPubcomp,
}, {
	Name:     "resend/pubrel-answers-pubrec",
	Rules:    []string{"MQTT-4.3.3-1"},
	Rules5:   []string{"MQTT-4.3.3-4"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2,
	Run: func(t *T) {
		pub, sub, topic := t.Connect(), t.Connect().Manual(), t.Topic("a")
		sub.Subscribe(2, topic)
		forms := []func(id uint16) []byte{
			func(id uint16) []byte { return []byte{0x50, 2, byte(id >> 8), byte(id)} },
		}
		if t.V5() {
			forms = append(forms,
				func(id uint16) []byte { return []byte{0x50, 3, byte(id >> 8), byte(id), 0} },
				func(id uint16) []byte { return []byte{0x50, 4, byte(id >> 8), byte(id), 0, 0} })
		}
		for i, form := range forms {
			payload := fmt.Sprint("message ", i)
			pub.Deliver(topic, 2, payload)
			id := sub.first(topic, payload).PacketID
			sub.SendRaw(form(id)...)
			e := t.Judge().Answer(sub, "PUBREL", ofType(codec.TypePubrel))
			_, got, reason := ackOf(e)
			t.Judge().Thatf(got == id, fmt.Sprintf("PUBREL with Packet Identifier %d", id), "%d", got)
			t.Judge().Thatf(!reason.Failed(), "a PUBREL that reports success", "0x%02X", uint8(reason))
			sub.Send(&codec.Pubcomp{PacketID: id})
		}
		if !t.V5() {
			return
		}
		pub.Deliver(topic, 2, "refused")
		id := sub.first(topic, "refused").PacketID
		sub.Send(&codec.Pubrec{PacketID: id, Reason: codec.UnspecifiedError})
		t.Judge().Silent(sub, "PUBREL after PUBREC with 0x80", func(e *peer.Event) bool {
			p, ok := e.Packet.(*codec.Pubrel)
			return ok && p.PacketID == id && p.Reason != codec.PacketIDNotFound
		}, func() {
			t.Fence(pub, sub, topic, 2)
			sub.Ping()
		})
	},
}, {
	Name:     "resend/unsubscribe-lets-exchanges-end",
	Rules:    []string{"MQTT-3.10.4-3"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run:      endAfterUnsubscribe,
}, {
	Name:     "resend/expiry-spares-open-exchanges",
	Rules:    []string{"MQTT-4.3.3-7"},
	Versions: MQTT5,
	Needs:    CapQoS2,
	Slow:     messageWait,
	Run: func(t *T) {
		pub, id := t.Connect(), t.ClientID()
		topics := []string{t.Topic("live"), t.Topic("cut")}
		live, cut := t.Connect().Manual(), t.Connect(t.Persistent(id)).Manual()
		var ids [2]uint16
		for i, sub := range []*Conn{live, cut} {
			sub.Subscribe(2, topics[i])
			pub.Deliver(topics[i], 2, "expires", expiry(1))
			ids[i] = sub.first(topics[i], "expires").PacketID
		}
		cut.Drop()
		t.idle(t.Patience(messageWait), live)
		live.Send(&codec.Pubrec{PacketID: ids[0]})
		e := t.Judge().Answer(live, "PUBREL although the message has expired", ofType(codec.TypePubrel))
		p := e.Packet.(*codec.Pubrel)
		t.Judge().That(p.PacketID == ids[0] && p.Reason == codec.Success,
			fmt.Sprintf("PUBREL with Packet Identifier %d and code 0x00", ids[0]), codec.Describe(p, codec.V5))
		live.Send(&codec.Pubcomp{PacketID: ids[0]})
		if t.Target().Capabilities&CapSessionExpiry == 0 {
			return
		}
		t.Judge().ArrivesMatching(t.again(id), "the open message again although it has expired", withPayload(topics[1], "expires"))
	},
}}

// first takes the message that a check relies on.
func (c *Conn) first(topic, payload string) *codec.Publish {
	e := c.Take(c.t.Timeout(), withPayload(topic, payload))
	if e == nil {
		c.t.Inconclusive("%s: the message %q did not arrive", c.Name(), payload)
	}
	return e.Packet.(*codec.Publish)
}

// again resumes the session with automatic answers off; one that was not kept leaves nothing to judge.
func (t *T) again(id string) *Conn {
	t.settle()
	c := t.Open().Manual()
	if ack := t.accepted(c, t.ConnectPacket(t.Persistent(id))); !ack.SessionPresent {
		t.notKept(c)
	}
	return c
}

// complete acknowledges a message as its QoS asks. A PUBREL that does not come is left to the
// checks about it.
func (c *Conn) complete(p *codec.Publish) {
	switch p.QoS {
	case 1:
		c.Send(&codec.Puback{PacketID: p.PacketID})
	case 2:
		c.Send(&codec.Pubrec{PacketID: p.PacketID})
		if c.Take(c.t.Timeout(), acknowledges(codec.TypePubrel, p.PacketID)) == nil {
			c.t.Inconclusive("%s: no PUBREL for Packet Identifier %d", c.Name(), p.PacketID)
		}
		c.Send(&codec.Pubcomp{PacketID: p.PacketID})
	}
}

// drain completes one message after the other on the topic until the one with the payload was
// among them, and returns them.
func (c *Conn) drain(topic, last string) []*codec.Publish {
	var out []*codec.Publish
	for {
		e := c.Take(c.t.Timeout(), onTopic(topic))
		if e == nil {
			c.t.Inconclusive("%s: the message %q did not arrive", c.Name(), last)
		}
		p := e.Packet.(*codec.Publish)
		out = append(out, p)
		c.complete(p)
		if string(p.Payload) != last {
			continue
		}
		// A copy at QoS 1 that crossed the PUBACK is answered as well.
		c.Ping()
		for _, e := range c.Pending(onTopic(topic)) {
			if again := e.Packet.(*codec.Publish); again.QoS == 1 && again.PacketID == p.PacketID {
				c.complete(again)
			}
		}
		return out
	}
}

// acknowledges matches the acknowledgement of the type with the Packet Identifier.
func acknowledges(typ codec.Type, id uint16) func(*peer.Event) bool {
	return func(e *peer.Event) bool {
		got, gotID, _ := ackOf(e)
		return got == typ && gotID == id
	}
}

// firstSending leaves messages open in various states and judges that each new one comes with DUP 0
// and with an identifier that no open message has.
func firstSending(t *T, qos codec.QoS, unique, fresh *Expectation) {
	const round = 8
	pub, sub, topic := t.Connect(), t.Connect().Manual(), t.Topic("a")
	sub.Subscribe(qos, topic)
	open := map[uint16]string{}
	seen := map[string]bool{}
	// judge takes what has come, and reports whether all was right.
	judge := func() bool {
		for {
			wait := t.Grace() / 4 // nothing tells that no more will come
			if len(open) == 0 {
				wait = t.Timeout()
			}
			e := sub.Take(wait, onTopic(topic))
			if e == nil {
				if len(seen) == 0 {
					t.Inconclusive("%s: no message arrived", sub.Name())
				}
				return true
			}
			p, payload := e.Packet.(*codec.Publish), string(e.Packet.(*codec.Publish).Payload)
			if seen[payload] {
				continue // a repetition is no first sending
			}
			seen[payload] = true
			holder, used := open[p.PacketID]
			ok := fresh.That(p.QoS == qos && !p.Dup, fmt.Sprintf("a first PUBLISH at QoS %d with DUP 0", qos), codec.Describe(p, t.Version()))
			actual := fmt.Sprint(p.PacketID)
			if used {
				actual += fmt.Sprintf(", which %q holds", holder)
			}
			if !unique.That(p.PacketID != 0 && !used, fmt.Sprintf("an identifier for %q that is not 0 and not in use", payload), actual) || !ok {
				return false
			}
			open[p.PacketID] = payload
		}
	}
	for i := range 2 {
		for n := range round {
			pub.Deliver(topic, qos, fmt.Sprint("message ", i*round+n))
		}
		if !judge() {
			return
		}
		if i == 1 {
			return
		}
		// The oldest stays open; of the others some are completed, the last ones first.
		ids := slices.Sorted(maps.Keys(open))
		for n := len(ids) - 1; n > 0; n-- {
			switch id := ids[n]; {
			case n%3 == 0:
			case qos == 2 && n%3 == 1:
				sub.Send(&codec.Pubrec{PacketID: id}) // open until PUBCOMP
			default:
				sub.complete(&codec.Publish{QoS: qos, PacketID: id})
				delete(open, id)
			}
		}
	}
}

// openUntilPuback leaves all but one of three messages without PUBACK over two resumptions, and
// none over a third.
func openUntilPuback(t *T) {
	pub, id, topic := t.Connect(), t.ClientID(), t.Topic("a")
	sub, _ := t.keep(id)
	sub.Manual().Subscribe(1, topic)
	for _, payload := range []string{"done", "open", "open too"} {
		pub.Deliver(topic, 1, payload)
	}
	sub.complete(sub.first(topic, "done"))
	open := map[string]uint16{"open": sub.first(topic, "open").PacketID}
	// A server that sends one message at a time does not come to the third.
	if e := sub.Take(t.Grace()/4, withPayload(topic, "open too")); e != nil {
		open["open too"] = e.Packet.(*codec.Publish).PacketID
	}
	// A copy that crossed the PUBACK is answered as well.
	for range sub.Pending(withPayload(topic, "done")) {
		sub.complete(sub.first(topic, "done"))
	}
	acknowledgedAgain := func() bool {
		es := sub.Pending(withPayload(topic, "done"))
		return !t.Judge().Crossing(len(es) == 0, "nothing of the message that PUBACK has answered", describeEvents(es, t.Version()))
	}
	for range 2 {
		sub.leave()
		sub = t.again(id)
		for _, payload := range []string{"open", "open too"} {
			if _, ok := open[payload]; !ok {
				continue
			}
			e := t.Judge().ArrivesMatching(sub, fmt.Sprintf("%q, which no PUBACK has answered, again", payload), withPayload(topic, payload))
			open[payload] = e.Packet.(*codec.Publish).PacketID // that it stays the same is another rule
		}
		sub.Ping()
		if acknowledgedAgain() {
			return
		}
	}
	// What has been taken above is acknowledged here; the rest as it comes.
	for _, packetID := range open {
		sub.Send(&codec.Puback{PacketID: packetID})
	}
	pub.Deliver(topic, 1, "last")
	sub.drain(topic, "last")
	if acknowledgedAgain() {
		return
	}
	sub.leave()
	sub = t.again(id)
	pub.Deliver(topic, 1, "behind")
	var late []*peer.Event
	for _, p := range sub.drain(topic, "behind") {
		if string(p.Payload) != "behind" {
			late = append(late, &peer.Event{Packet: p})
		}
	}
	t.Judge().Crossing(len(late) == 0, "nothing of the messages that PUBACK has answered", describeEvents(late, t.Version()))
}

// leave lets the target read what was sent before the connection ends as a failing network ends it.
func (c *Conn) leave() {
	c.Ping()
	c.t.settle()
	c.Drop()
}

// openUntilPubcomp leaves a PUBREL without PUBCOMP over two resumptions.
func openUntilPubcomp(t *T) {
	pub, id, topic := t.Connect(), t.ClientID(), t.Topic("a")
	sub, _ := t.keep(id)
	sub.Manual().Subscribe(2, topic)
	pub.Deliver(topic, 2, "received")
	was := sub.first(topic, "received").PacketID
	sub.Send(&codec.Pubrec{PacketID: was})
	if sub.Take(t.Timeout(), acknowledges(codec.TypePubrel, was)) == nil {
		t.Inconclusive("%s: no PUBREL for Packet Identifier %d", sub.Name(), was)
	}
	twice := func() bool {
		es := sub.Pending(withPayload(topic, "received"))
		return !t.Judge("MQTT-4.3.3-1", "MQTT-4.3.3-6").That(len(es) == 0, "no PUBLISH again once its PUBREL was sent", describeEvents(es, t.Version()))
	}
	for range 2 {
		sub.Drop()
		sub = t.again(id)
		e := t.Judge().ArrivesMatching(sub, fmt.Sprintf("PUBREL with Packet Identifier %d again", was), ofType(codec.TypePubrel))
		_, got, _ := ackOf(e)
		t.Judge().Thatf(got == was, fmt.Sprintf("PUBREL with Packet Identifier %d", was), "%d", got)
		sub.Ping()
		if twice() {
			return
		}
	}
	// Until PUBCOMP the identifier belongs to the first message.
	pub.Deliver(topic, 2, "next")
	if e := sub.Take(t.Grace(), withPayload(topic, "next")); e != nil {
		p := e.Packet.(*codec.Publish)
		t.Judge().Thatf(p.PacketID != was, fmt.Sprintf("another Packet Identifier than %d, which waits for PUBCOMP", was), "%d", p.PacketID)
		sub.Send(&codec.Pubcomp{PacketID: was})
		sub.complete(p)
	} else {
		sub.Send(&codec.Pubcomp{PacketID: was})
		sub.drain(topic, "next")
	}
	twice()
}

// endAfterUnsubscribe deletes a subscription while a message is half delivered, at QoS 2 on one
// connection and at QoS 1 over a resumption.
func endAfterUnsubscribe(t *T) {
	pub := t.Connect()
	judged := false
	if t.Target().Capabilities&CapQoS2 != 0 {
		judged = true
		sub, topic := t.Connect().Manual(), t.Topic("live")
		sub.Subscribe(2, topic)
		pub.Deliver(topic, 2, "half done")
		id := sub.first(topic, "half done").PacketID
		sub.Unsubscribe(topic)
		sub.Send(&codec.Pubrec{PacketID: id})
		e := t.Judge().Answer(sub, fmt.Sprintf("PUBREL with Packet Identifier %d", id), acknowledges(codec.TypePubrel, id))
		_, _, reason := ackOf(e)
		t.Judge().Thatf(!reason.Failed(), "a PUBREL that reports success", "0x%02X", uint8(reason))
		sub.Send(&codec.Pubcomp{PacketID: id})
	}
	if t.Target().Capabilities&CapSessionExpiry != 0 {
		judged = true
		id, topic := t.ClientID(), t.Topic("cut")
		sub, _ := t.keep(id)
		sub.Manual().Subscribe(1, topic)
		pub.Deliver(topic, 1, "half done")
		was := sub.first(topic, "half done").PacketID
		sub.Unsubscribe(topic)
		sub.Drop()
		back := t.again(id)
		e := t.Judge().ArrivesMatching(back, "the message whose delivery had begun again", withPayload(topic, "half done"))
		t.Judge().Thatf(e.Packet.(*codec.Publish).PacketID == was, fmt.Sprintf("Packet Identifier %d again", was), "%d", e.Packet.(*codec.Publish).PacketID)
		back.complete(e.Packet.(*codec.Publish))
	}
	if !judged {
		t.NotApplicable("the target neither grants QoS 2 nor keeps sessions")
	}
}
