package conformance

import (
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// qosChecks are about the target as a receiver of QoS 1 and 2 messages, and as a sender at QoS 0.
var qosChecks = []Check{{
	Name:     "qos/zero-sent-once",
	Rules:    []string{"MQTT-4.3.1-1"},
	Versions: MQTT311 | MQTT5,
	Run:      zeroSentOnce,
}, {
	Name:     "qos/puback-for-every-id",
	Rules:    []string{"MQTT-4.3.2-2"},
	Rules5:   []string{"MQTT-4.3.2-4"},
	Breaks:   []string{"MQTT-4.3.2-1"},
	Breaks5:  []string{"MQTT-4.3.2-2"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		c, topic := t.Connect().Manual(), t.Topic("a")
		for _, id := range []uint16{1, 0x7FFF, 0xFFFF} {
			c.Send(&codec.Publish{Topic: topic, QoS: 1, PacketID: id, Payload: []byte("x")})
			t.Judge().acknowledges(c, codec.TypePuback, id)
		}
		c.Send(&codec.Publish{Topic: topic, QoS: 1, PacketID: 3, Dup: true, Payload: []byte("x")})
		t.Judge().acknowledges(c, codec.TypePuback, 3)
	},
}, {
	Name:     "qos/puback-frees-the-id",
	Rules:    []string{"MQTT-4.3.2-2"},
	Rules5:   []string{"MQTT-4.3.2-5"},
	Breaks:   []string{"MQTT-4.3.2-1"},
	Breaks5:  []string{"MQTT-4.3.2-2"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		watcher, c, topic := t.Connect(), t.Connect().Manual(), t.Topic("a")
		watcher.Subscribe(1, topic)
		for i, payload := range []string{"A", "B", "C with DUP"} {
			c.Send(&codec.Publish{Topic: topic, QoS: 1, PacketID: 7, Dup: i == 2, Payload: []byte(payload)})
			if i == 0 && c.Take(t.Timeout(), acknowledges(codec.TypePuback, 7)) == nil {
				t.Inconclusive("%s: no PUBACK for a first message", c.Name())
			}
			if i > 0 {
				t.Judge().Answer(c, "another PUBACK with Packet Identifier 7", acknowledges(codec.TypePuback, 7))
			}
			t.settle()
		}
		for _, payload := range []string{"A", "B", "C with DUP"} {
			t.Judge().Arrives(watcher, topic, payload)
		}
	},
}, {
	Name:     "qos/pubrec-and-pubcomp-for-every-id",
	Rules:    []string{"MQTT-4.3.3-2"},
	Rules5:   []string{"MQTT-4.3.3-8", "MQTT-4.3.3-11"},
	Breaks:   []string{"MQTT-4.6.0-4"},
	Axis:     Behaviour,
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2,
	Run: func(t *T) {
		c, topic := t.Connect().Manual(), t.Topic("a")
		ids := []uint16{1, 0x7FFF, 0xFFFF}
		if t.V5() {
			ids = ids[:min(len(ids), int(t.Target().ReceiveMaximum))]
		}
		for _, id := range ids {
			c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: id, Payload: []byte("x")})
			if t.Judge().acknowledges(c, codec.TypePubrec, id).Failed() {
				t.Inconclusive("%s: the message was refused", c.Name())
			}
		}
		for _, id := range slices.Backward(ids) {
			c.Send(&codec.Pubrel{PacketID: id})
			t.released(c, id)
		}
	},
}, {
	Name:     "qos/repeated-on-one-connection-delivered-once",
	Rules:    []string{"MQTT-4.3.3-2"},
	Versions: MQTT311,
	Needs:    CapQoS2,
	Run: func(t *T) {
		watcher, c, topic := t.Connect(), t.Connect().Manual(), t.Topic("a")
		watcher.Subscribe(2, topic)
		for _, dup := range []bool{false, true} {
			c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: 9, Dup: dup, Payload: []byte("A")})
			t.Judge().acknowledges(c, codec.TypePubrec, 9)
		}
		c.Send(&codec.Pubrel{PacketID: 9})
		t.released(c, 9)
		t.deliveredOnce(c, watcher, topic, "A")
	},
}, {
	Name:     "qos/repeated-after-reconnect-delivered-once",
	Rules:    []string{"MQTT-4.3.3-2"},
	Rules5:   []string{"MQTT-4.3.3-10", "MQTT-4.3.3-11"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2 | CapSessionExpiry,
	Run:      repeatedAfterReconnect,
}, {
	Name:     "qos/pubcomp-frees-the-id",
	Rules:    []string{"MQTT-4.3.3-2"},
	Rules5:   []string{"MQTT-4.3.3-12"},
	Breaks:   []string{"MQTT-4.3.3-1"},
	Breaks5:  []string{"MQTT-4.3.3-2"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2,
	Run: func(t *T) {
		watcher, c, topic := t.Connect(), t.Connect().Manual(), t.Topic("a")
		watcher.Subscribe(2, topic)
		payloads := []string{"A", "B", "C with DUP"}
		for i, payload := range payloads {
			c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: 9, Dup: i == 2, Payload: []byte(payload)})
			if i == 0 {
				t.handshake(c, 9)
				continue
			}
			if t.Judge().acknowledges(c, codec.TypePubrec, 9).Failed() {
				t.Judge().Thatf(false, "PUBREC that accepts a new message with a free identifier", "%q was refused", payload)
				return
			}
			c.Send(&codec.Pubrel{PacketID: 9})
			t.Judge().acknowledges(c, codec.TypePubcomp, 9)
			t.settle()
		}
		for _, payload := range payloads {
			t.deliveredOnce(c, watcher, topic, payload)
		}
	},
}, {
	Name:     "qos/pubrel-of-unknown-id-answered",
	Rules:    []string{"MQTT-4.3.3-2"},
	Rules5:   []string{"MQTT-4.3.3-11", "P-3.6.2.1-unknown-pubrel"},
	Breaks:   []string{"MQTT-2.3.1-6"},
	Breaks5:  []string{"MQTT-2.2.1-5"},
	Axis:     Behaviour,
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2,
	Run: func(t *T) {
		c := t.Connect().Manual()
		c.Send(&codec.Pubrel{PacketID: 0x0777})
		const what = "PUBCOMP with Packet Identifier 1911"
		if !t.V5() {
			e := c.Take(t.Timeout(), acknowledges(codec.TypePubcomp, 0x0777))
			_, ended := c.Closed()
			t.Judge().Warn().Thatf(e != nil || ended, what+", or the end of the connection", "neither within %v", t.Timeout())
			return
		}
		e := t.Judge("P-3.6.2.1-unknown-pubrel").Answered(c, what, acknowledges(codec.TypePubcomp, 0x0777))
		_, _, reason := ackOf(e)
		t.Judge().That(true, what, codec.Describe(e.Packet, codec.V5))
		t.Judge("P-3.6.2.1-unknown-pubrel").Note().Thatf(reason == codec.PacketIDNotFound, "code 0x92", "0x%02X", uint8(reason))
	},
}, {
	Name:     "qos/refused-id-is-free",
	Rules:    []string{"MQTT-4.3.3-9"},
	Breaks:   []string{"P-3.3.2.3.2-payload-not-utf8"},
	Versions: MQTT5,
	Needs:    CapQoS2,
	Run: func(t *T) {
		watcher, topic := t.Connect(), t.Topic("a")
		watcher.Subscribe(2, topic)
		c := t.provokeRefusal(2, 9)
		c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: 9, Payload: []byte("second")})
		e := t.Judge().Answer(c, "PUBREC with Packet Identifier 9", acknowledges(codec.TypePubrec, 9))
		_, _, reason := ackOf(e)
		t.Judge().Thatf(!reason.Failed(), "a PUBREC that accepts the second message", "0x%02X", uint8(reason))
		if reason.Failed() {
			return
		}
		c.Send(&codec.Pubrel{PacketID: 9})
		t.Judge().Answer(c, "PUBCOMP with Packet Identifier 9", acknowledges(codec.TypePubcomp, 9))
		t.settle()
		t.deliveredOnce(c, watcher, topic, "second")
	},
}, {
	Name:     "qos/handshake-outlives-expiry",
	Rules:    []string{"MQTT-4.3.3-13"},
	Versions: MQTT5,
	Needs:    CapQoS2,
	Slow:     messageWait,
	Run: func(t *T) {
		c := t.Connect().Manual()
		p := &codec.Publish{Topic: t.Topic("a"), QoS: 2, PacketID: 5, Payload: []byte("expires")}
		expiry(1)(p)
		c.Send(p)
		t.accepts(c, 5)
		t.idle(t.Patience(messageWait), c)
		c.Send(&codec.Pubrel{PacketID: 5})
		e := t.Judge().Answer(c, "PUBCOMP with Packet Identifier 5", acknowledges(codec.TypePubcomp, 5))
		_, _, reason := ackOf(e)
		t.Judge().Thatf(reason == codec.Success, "PUBCOMP with code 0x00", "0x%02X", uint8(reason))
	},
}}

// acknowledges judges that the next acknowledgement has the type and the identifier, and returns
// its Reason Code. A connection that ends may have a policy, and leaves the check undecided; no
// acknowledgement on one that is served ends it. Where PUBCOMP is due, a PUBREC may be repeated
// before it.
func (x *Expectation) acknowledges(c *Conn, want codec.Type, id uint16) codec.ReasonCode {
	what := fmt.Sprintf("%s with Packet Identifier %d", want, id)
	repeated := acknowledges(codec.TypePubrec, id)
	e := x.Answered(c, what, func(e *peer.Event) bool {
		return isAck(e) && (want != codec.TypePubcomp || !repeated(e))
	})
	typ, got, reason := ackOf(e)
	if typ != want || got != id {
		x.That(false, what, codec.Describe(e.Packet, x.t.Version()))
		panic(stop{verdict: Pass}) // the recorded breach decides
	}
	return reason
}

// dropUnasked forgets acknowledgements that a target repeats on its own account when a session is
// resumed, so that they are not taken for answers.
func (c *Conn) dropUnasked(typ codec.Type, id uint16) {
	c.Ping()
	for range c.Pending(acknowledges(typ, id)) {
		c.Take(c.t.Timeout(), acknowledges(typ, id))
	}
}

// released judges the PUBCOMP that answers a PUBREL.
func (t *T) released(c *Conn, id uint16) {
	reason := t.Judge("MQTT-4.3.3-2", "MQTT-4.3.3-11").acknowledges(c, codec.TypePubcomp, id)
	t.Judge("MQTT-4.3.3-2", "MQTT-4.3.3-11").Thatf(!reason.Failed(), "PUBCOMP with code 0x00", "0x%02X", uint8(reason))
	t.settle()
}

// accepts waits for the PUBREC that a check relies on.
func (t *T) accepts(c *Conn, id uint16) {
	e := c.Take(t.Timeout(), acknowledges(codec.TypePubrec, id))
	if e == nil || e.Packet.(*codec.Pubrec).Reason.Failed() {
		t.Inconclusive("%s: PUBLISH with QoS 2 got no PUBREC that accepts it", c.Name())
	}
}

// handshake completes an exchange that a check relies on.
func (t *T) handshake(c *Conn, id uint16) {
	t.accepts(c, id)
	c.Send(&codec.Pubrel{PacketID: id})
	if c.Take(t.Timeout(), acknowledges(codec.TypePubcomp, id)) == nil {
		t.Inconclusive("%s: no PUBCOMP for Packet Identifier %d", c.Name(), id)
	}
	t.settle()
}

// deliveredOnce judges that the watcher gets exactly one copy of a message. A PUBLISH with DUP 1
// is the same copy again.
func (t *T) deliveredOnce(from, watcher *Conn, topic, payload string) {
	x := t.Judge()
	t.Fence(from.publisher(), watcher, topic, 2)
	copies := watcher.copies(topic, payload)
	if len(copies) == 0 {
		// The marker may overtake what goes out at PUBREL.
		x.Arrives(watcher, topic, payload)
		return
	}
	x.Thatf(len(copies) == 1, fmt.Sprintf("one copy of %q", payload), "%d: %s", len(copies), describePublishes(copies, t.Version()))
}

// publisher returns the connection with automatic answers on, as markers need it.
func (c *Conn) publisher() *Conn {
	c.SetAutoAck(true)
	return c
}

// zeroSentOnce judges what a subscription at QoS 0 brings, on the first connection and on the
// next of the same session.
func zeroSentOnce(t *T) {
	pub, id, topic := t.Connect(), t.ClientID(), t.Topic("a")
	sub := t.Connect(t.Persistent(id))
	sub.Subscribe(0, topic)
	var payloads []string
	for _, qos := range t.levels(0) {
		for n := range 3 {
			payload := fmt.Sprintf("message %d at QoS %d", n, qos)
			pub.Deliver(topic, qos, payload)
			payloads = append(payloads, payload)
		}
	}
	t.Fence(pub, sub, topic, 0)
	sub.Ping()
	for _, m := range sub.Messages(topic) {
		t.Judge().That(m.QoS == 0 && !m.Dup, "QoS 0 and DUP 0", codec.Describe(m, t.Version()))
	}
	var arrived []string
	for _, payload := range payloads {
		es := sub.Pending(withPayload(topic, payload))
		if len(es) > 0 {
			arrived = append(arrived, payload)
		}
		t.Judge().That(len(es) <= 1, fmt.Sprintf("%q at most once", payload), describeEvents(es, t.Version()))
	}
	sub.leave()
	back := t.Open()
	if !t.accepted(back, t.ConnectPacket(t.Persistent(id))).SessionPresent || len(arrived) == 0 {
		return
	}
	t.Judge().Silent(back, "message at QoS 0 that came on the connection before", func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && p.Topic == topic && slices.Contains(arrived, string(p.Payload))
	}, func() { t.Fence(pub, back, topic, 0) })
}

// repeatedAfterReconnect breaks an exchange off after PUBREC and another after PUBCOMP, and
// repeats the last packet of each on the next connection of the session.
func repeatedAfterReconnect(t *T) {
	watcher, id, topic := t.Connect(), t.ClientID(), t.Topic("a")
	watcher.Subscribe(2, topic)
	c, _ := t.keep(id)
	c.Manual()
	again := &codec.Publish{Topic: topic, QoS: 2, PacketID: 5, Payload: []byte("repeated")}
	c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: 6, Payload: []byte("complete")})
	t.handshake(c, 6)
	c.Send(again)
	t.accepts(c, 5)
	c.Drop()

	c = t.again(id)
	c.dropUnasked(codec.TypePubrec, 5)
	again.Dup = true
	c.Send(again)
	if reason := t.Judge().acknowledges(c, codec.TypePubrec, 5); reason.Failed() {
		// It is a PUBREC, though one that leaves the sender in the dark.
		t.Judge().Warn().Thatf(false, "PUBREC with code 0x00 or 0x10", "0x%02X", uint8(reason))
		return
	}
	c.Send(&codec.Pubrel{PacketID: 5})
	t.released(c, 5)
	if t.V5() {
		// A client that has not seen the PUBCOMP repeats PUBREL: 0x92 is right as well.
		c.Send(&codec.Pubrel{PacketID: 6})
		t.Judge("MQTT-4.3.3-11").acknowledges(c, codec.TypePubcomp, 6)
	}
	t.deliveredOnce(c, watcher, topic, "repeated")
	t.deliveredOnce(c, watcher, topic, "complete")
}

// provokeRefusal returns a connection on which a PUBLISH with the identifier was refused by an
// acknowledgement. Where the target refuses nothing that way, the rule is not applicable.
func (t *T) provokeRefusal(qos codec.QoS, id uint16) *Conn {
	stimuli := []*codec.Publish{
		{Topic: "$SYS/" + t.Topic("refused"), Payload: []byte("x")},
		{Topic: t.Topic("text"), Payload: []byte{0xC3, 0x28}},
	}
	stimuli[1].Props.SetUint(codec.PropPayloadFormat, 1)
	if forbidden := t.Config().ForbiddenTopic; forbidden != "" {
		stimuli = append([]*codec.Publish{{Topic: forbidden, Payload: []byte("x")}}, stimuli...)
	}
	for _, p := range stimuli {
		c := t.Connect().Manual()
		p.QoS, p.PacketID = qos, id
		c.Send(p)
		e := c.Take(t.Timeout(), acknowledges(firstAck(qos), id))
		if e == nil {
			continue
		}
		if _, _, reason := ackOf(e); reason.Failed() {
			return c
		}
	}
	t.NotApplicable("the target refuses no message by an acknowledgement: name a topic that it forbids with --forbidden-topic")
	return nil
}
