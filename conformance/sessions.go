package conformance

import (
	"fmt"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var sessionChecks = []Check{{
	Name:     "session/subscription-kept",
	Rules:    []string{"MQTT-3.1.2-4"},
	Rules5:   []string{"MQTT-3.1.2-5"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run: func(t *T) {
		id, topic := t.ClientID(), t.Topic("a")
		first, _ := t.keep(id)
		first.Subscribe(1, topic)
		first.Disconnect()
		back := t.resume(id)
		t.Connect().Deliver(topic, 1, "after the return")
		t.Judge().Arrives(back, topic, "after the return")
	},
}, {
	Name:     "session/queues-while-away",
	Rules:    []string{"MQTT-3.1.2-5"},
	Rules5:   []string{"MQTT-3.1.2-23", "MQTT-3.1.2-5"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run: func(t *T) {
		id, topic := t.ClientID(), t.Topic("a")
		first, _ := t.keep(id)
		first.Subscribe(t.atMost(2), topic)
		first.Disconnect()
		pub := t.Connect()
		for _, qos := range t.levels(0) {
			pub.Deliver(topic, qos, fmt.Sprintf("away at QoS %d", qos))
		}
		back := t.resume(id, "MQTT-3.1.2-5")
		for _, qos := range t.levels(1) { // what was sent at QoS 0 may be kept or not
			t.Judge().Arrives(back, topic, fmt.Sprintf("away at QoS %d", qos))
		}
	},
}, {
	Name:     "session/dropped-by-clean-start",
	Rules:    []string{"MQTT-3.1.2-6"},
	Rules5:   []string{"MQTT-3.1.2-4", "MQTT-3.2.2-2"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		id, topic, side := t.ClientID(), t.Topic("a"), t.Topic("side")
		first, _ := t.keep(id)
		first.Subscribe(1, topic)
		first.Disconnect()
		pub := t.Connect()
		pub.Deliver(topic, 1, "while away")

		clean := t.Open()
		ack := t.accepted(clean, t.ConnectPacket(func(p *codec.Connect) { p.ClientID = id }))
		t.Judge("MQTT-3.1.2-6", "MQTT-3.2.2-2").That(!ack.SessionPresent, "Session Present 0", codec.Describe(ack, t.Version()))
		clean.Subscribe(1, side)
		pub.Deliver(topic, 1, "after the return")
		// A subscription of its own to the topic would blur what the old one does, so the fence
		// stands on another topic, where the order is not promised: hence the pause.
		t.Judge("MQTT-3.1.2-6", "MQTT-3.1.2-4").Silent(clean, "message for the dropped session", onTopic(topic), func() {
			t.Quiet()
			t.Fence(pub, clean, side, 1)
		})
		if t.V5() {
			return // how long the new session lasts is a matter of its Session Expiry Interval
		}
		clean.Disconnect()
		pub.Deliver(topic, 1, "away again")
		pub.Deliver(side, 1, "away again")
		last, ack := t.keep(id)
		t.Judge().Crossing(!ack.SessionPresent, "Session Present 0 after a clean session", codec.Describe(ack, t.Version()))
		t.Judge().Silent(last, "message for a clean session that has ended", onTopic(""), func() {
			t.Quiet()
			last.Ping()
		})
	},
}, {
	Name:     "session/present-when-kept",
	Rules:    []string{"MQTT-3.2.2-2"},
	Rules5:   []string{"MQTT-3.2.2-3"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run: func(t *T) {
		const expected = "Session Present 1 for a session that was kept"
		for _, subscribe := range []bool{true, false} {
			id, topic := t.ClientID(), t.Topic("a")
			first, _ := t.keep(id)
			if subscribe {
				first.Subscribe(1, topic)
			}
			first.Disconnect()
			back, ack := t.keep(id)
			actual := codec.Describe(ack, t.Version())
			switch {
			case ack.SessionPresent || t.V5():
				t.Judge().Crossing(ack.SessionPresent, expected, actual)
			case !subscribe:
				// An empty session is one as well, but nobody can tell whether it was kept.
				t.Judge().Warn().Crossing(false, expected, actual)
			default:
				t.Connect().Deliver(topic, 1, "for whom")
				if back.Take(t.Timeout(), withPayload(topic, "for whom")) == nil {
					t.notKept(back)
				}
				t.Judge().Crossing(false, expected, actual+", and yet a message for the old subscription")
			}
		}
	},
}, {
	Name:     "session/absent-for-unknown-id",
	Rules:    []string{"MQTT-3.2.2-3"},
	Rules5:   []string{"MQTT-3.2.2-3", "MQTT-3.1.2-6"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		const expected = "Session Present 0"
		c, ack := t.keep(t.ClientID())
		t.Judge().That(!ack.SessionPresent, expected+" for a Client Identifier never used", codec.Describe(ack, t.Version()))
		if t.V5() {
			t.Judge("MQTT-3.1.2-6").That(!ack.SessionPresent, "a new session", codec.Describe(ack, t.Version()))
			topic := t.Topic("a")
			c.Subscribe(t.atMost(1), topic)
			if t.atMost(1) == 1 {
				c.Deliver(topic, 1, "to myself")
				t.Judge("MQTT-3.1.2-6").Arrives(c, topic, "to myself")
			}
			return
		}
		id := t.ClientID()
		t.Connect(func(p *codec.Connect) { p.ClientID = id }).Disconnect()
		_, ack = t.keep(id)
		t.Judge().Crossing(!ack.SessionPresent, expected+" after a clean session", codec.Describe(ack, t.Version()))
	},
}, {
	Name:     "session/clean-start-in-sequence",
	Rules:    []string{"MQTT-3.1.4-3"},
	Rules5:   []string{"MQTT-3.1.4-4"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Races:    2,
	Run:      func(t *T) { t.cleanSequence((*Conn).Disconnect, true) },
}, {
	Name:     "session/clean-start-in-sequence-on-takeover",
	Rules:    []string{"MQTT-3.1.4-3"},
	Rules5:   []string{"MQTT-3.1.4-4"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Races:    3,
	// Whether a session that ends with its connection has ended when another one takes over is
	// for the order of events to say, so the last step is left out.
	Run: func(t *T) { t.cleanSequence(func(*Conn) {}, false) },
}, {
	Name:     "session/keyed-by-client-id",
	Rules:    []string{"MQTT-3.1.3-2"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run: func(t *T) {
		ids := []string{t.ClientID(), ""}
		ids[1] = strings.ToUpper(ids[0])
		if ids[1] == ids[0] {
			ids[0] = strings.ToLower(ids[0])
		}
		topics := []string{t.Topic("first"), t.Topic("second")}
		for i, id := range ids {
			c, _ := t.keep(id)
			c.Subscribe(1, topics[i])
			c.Disconnect()
		}
		pub := t.Connect()
		for _, topic := range topics {
			pub.Deliver(topic, 1, "while away")
		}
		for i, id := range ids {
			back, ack := t.keep(id)
			if !ack.SessionPresent && !t.V5() {
				t.notKept(back)
			}
			t.Judge().Crossing(ack.SessionPresent, "Session Present 1 under the Client Identifier of the session", codec.Describe(ack, t.Version()))
			t.Judge().Arrives(back, topics[i], "while away")
			t.Judge().Silent(back, "message for the session of another Client Identifier", onTopic(topics[1-i]), func() {
				pub.Deliver(topics[1-i], 1, "again")
				t.Fence(pub, back, topics[i], 1)
			})
		}
		_, ack := t.keep(t.ClientID())
		t.Judge().That(!ack.SessionPresent, "Session Present 0 under a third Client Identifier", codec.Describe(ack, t.Version()))
	},
}, {
	Name:     "session/exchange-kept",
	Rules:    []string{"MQTT-4.1.0-1"},
	Rules5:   []string{"MQTT-3.1.2-23"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2 | CapSessionExpiry,
	Run: func(t *T) {
		watcher, topic := t.Connect(), t.Topic("a")
		watcher.Subscribe(2, topic)
		// One exchange goes on with PUBREL, the other with the PUBLISH again, as of a client that
		// PUBREC has not reached. Each has its session, as the target may take one at a time.
		for _, repeated := range []bool{false, true} {
			id, own := t.ClientID(), t.Topic(fmt.Sprint("own/", repeated))
			p := &codec.Publish{Topic: topic, QoS: 2, PacketID: 0x101, Payload: fmt.Appendf(nil, "repeated: %v", repeated)}
			c, _ := t.keep(id)
			c.Subscribe(1, own)
			c.Manual().Send(p)
			if r := c.awaitAck(codec.TypePubrec, p.PacketID); r.Failed() {
				t.Inconclusive("%s: PUBLISH was refused: 0x%02X", c.Name(), uint8(r))
			}
			c.Drop()

			t.settle()
			back := t.Open().Manual()
			t.resumed(back, t.accepted(back, t.ConnectPacket(t.Persistent(id))))
			if repeated {
				p.Dup = true
				back.dropUnasked(codec.TypePubrec, p.PacketID)
				back.Send(p)
				e := t.Judge().Answer(back, "PUBREC for the repeated PUBLISH", acknowledges(codec.TypePubrec, p.PacketID))
				if _, _, reason := ackOf(e); reason.Failed() {
					// To refuse the identifier is to know it; whether that is right is not a matter of the state.
					continue
				}
			}
			back.Send(&codec.Pubrel{PacketID: p.PacketID})
			t.continues(back, codec.TypePubcomp, p.PacketID)
			t.Judge().Arrives(watcher, topic, string(p.Payload))
			t.Judge().Silent(watcher, "second copy of a message whose exchange was half done", onTopic(topic), func() {
				t.Fence(back, watcher, topic, 2)
			})
			t.Connect().Deliver(own, 1, "after the return")
			t.Judge().Arrives(back, own, "after the return")
		}
	},
}, {
	Name:     "session/lasts-with-connection",
	Rules:    []string{"MQTT-4.1.0-2"},
	Rules5:   []string{"MQTT-4.1.0-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Slow:     lasting,
	Run: func(t *T) {
		// Under 5.0 an interval of a second must not begin before the connection ends.
		expiries := []uint32{0}
		if t.V5() {
			expiries = append(expiries, 1)
		}
		var cs []*Conn
		for i, expiry := range expiries {
			c := t.Connect(func(p *codec.Connect) {
				if expiry > 0 {
					p.Props.SetUint(codec.PropSessionExpiry, expiry)
				}
			})
			c.Subscribe(1, t.Topic(fmt.Sprint(i)))
			if t.atMost(2) == 2 {
				c.SetAutoAck(false)
				c.Send(&codec.Publish{Topic: t.Topic("out"), QoS: 2, PacketID: 0x101})
				if r := c.awaitAck(codec.TypePubrec, 0x101); r.Failed() {
					t.Inconclusive("%s: PUBLISH was refused: 0x%02X", c.Name(), uint8(r))
				}
			}
			cs = append(cs, c)
		}
		for range 3 {
			t.idle(t.Patience(lasting/3), cs...)
		}
		pub := t.Connect()
		for i, c := range cs {
			pub.Deliver(t.Topic(fmt.Sprint(i)), 1, "still there")
			t.Judge().Arrives(c, t.Topic(fmt.Sprint(i)), "still there")
			if t.atMost(2) == 2 {
				c.Send(&codec.Pubrel{PacketID: 0x101})
				t.continues(c, codec.TypePubcomp, 0x101)
			}
		}
	},
}}

// idle waits while the connections stay alive, whatever Keep Alive the target has asked for.
func (t *T) idle(d time.Duration, cs ...*Conn) {
	for end := time.Now().Add(d); ; {
		left := time.Until(end)
		t.Wait(min(left, time.Second))
		for _, c := range cs {
			c.Ping()
		}
		if left <= time.Second {
			return
		}
	}
}

// takeAwake is Take on a connection that stays alive meanwhile. One that ends all the same makes
// the check inconclusive, as nothing can be missed on it.
func (t *T) takeAwake(c *Conn, d time.Duration, match func(*peer.Event) bool) *peer.Event {
	for end := time.Now().Add(d); ; {
		left := time.Until(end)
		if e := c.Take(min(left, time.Second), match); e != nil {
			return e
		}
		if end, ended := c.Closed(); ended {
			t.Inconclusive("%s: the connection that was to receive the message ended: %v", c.Name(), end.Closed)
		}
		if left <= time.Second {
			return nil
		}
		c.Send(&codec.Pingreq{})
	}
}

// keep connects under the id with Clean Start 0 and a session that outlives the connection. A
// target which announces that it keeps none makes the rule not applicable.
func (t *T) keep(id string, edits ...func(*codec.Connect)) (*Conn, *codec.Connack) {
	t.settle()
	p := t.ConnectPacket(append([]func(*codec.Connect){t.Persistent(id)}, edits...)...)
	c := t.Open()
	ack := t.accepted(c, p)
	if asked := p.Props.Uint(codec.PropSessionExpiry, 0); asked > 0 && ack.Props.Uint(codec.PropSessionExpiry, asked) == 0 {
		t.NotApplicable("the target keeps no session after the connection (Session Expiry Interval is 0)")
	}
	return c, ack
}

// accepted sends the CONNECT and returns the CONNACK; one that refuses makes the check inconclusive.
func (t *T) accepted(c *Conn, p *codec.Connect) *codec.Connack {
	ack := c.Connect(p)
	if ack.Reason != codec.Success {
		t.Inconclusive("%s: CONNECT was refused: %s", c.Name(), ack.Reason.Name(codec.TypeConnack, t.Version()))
	}
	return ack
}

// resume connects again to the session of the id. Under 3.1.1 a server may have a policy that
// drops sessions, and says so by Session Present 0; under 5.0 it has agreed to the interval, and
// Session Present 0 is judged as a breach of the given rule, or the check's first.
func (t *T) resume(id string, rule ...string) *Conn {
	c, ack := t.keep(id)
	t.resumed(c, ack, rule...)
	return c
}

// resumed judges the CONNACK to a client that comes back to its session.
func (t *T) resumed(c *Conn, ack *codec.Connack, rule ...string) {
	if ack.SessionPresent {
		return
	}
	if !t.V5() {
		t.notKept(c)
	}
	t.Judge(rule...).Crossing(false, "Session Present 1 before the Session Expiry Interval has passed", codec.Describe(ack, t.Version()))
	panic(stop{verdict: Pass})
}

// continues judges that the exchange with the Packet Identifier goes on with the acknowledgement.
func (t *T) continues(c *Conn, typ codec.Type, id uint16) {
	what := fmt.Sprintf("%s with Packet Identifier %d", typ, id)
	e := t.Judge().Answer(c, what, func(e *peer.Event) bool {
		got, gotID, _ := ackOf(e)
		return got == typ && gotID == id
	})
	_, _, reason := ackOf(e)
	t.Judge().That(!reason.Failed(), what+" that reports success", describeEvents([]*peer.Event{e}, t.Version()))
}

// cleanSequence connects one Client Identifier with Clean Start 0, 0, 1 and, with last, 0 again,
// and looks at Session Present and at what the subscription of the first connection does.
func (t *T) cleanSequence(leave func(*Conn), last bool) {
	id, topic := t.ClientID(), t.Topic("a")
	step := func(ack *codec.Connack, n int, clean byte, want bool) {
		expected := fmt.Sprintf("connection %d, Clean Start %d: Session Present %v", n, clean, want)
		t.Judge().Crossing(ack.SessionPresent == want, expected, codec.Describe(ack, t.Version()))
	}
	pub := t.Connect()
	silent := func(c *Conn) {
		t.Judge().Silent(c, "message for the subscription that Clean Start 1 ended", onTopic(topic), func() {
			t.Quiet()
			c.Ping()
		})
	}

	first, ack := t.keep(id)
	step(ack, 1, 0, false)
	first.Subscribe(1, topic)
	leave(first)

	second, ack := t.keep(id)
	if !ack.SessionPresent && !t.V5() {
		t.notKept(second)
	}
	step(ack, 2, 0, true)
	// A connection that is taken over may end after the CONNACK of the newer one, and take what comes until then.
	if _, ended := first.AwaitClose(t.Timeout()); !ended {
		t.Inconclusive("%s: the older connection did not end", first.Name())
	}
	pub.Deliver(topic, 1, "second")
	t.Judge().Arrives(second, topic, "second")
	leave(second)

	t.settle()
	third := t.Open()
	step(t.accepted(third, t.ConnectPacket(func(p *codec.Connect) { p.ClientID = id })), 3, 1, false)
	pub.Deliver(topic, 1, "third")
	silent(third)
	leave(third)
	if !last {
		return
	}
	if t.V5() {
		t.Quiet() // the end of the session may follow the end of the connection a little later
	}
	fourth, ack := t.keep(id)
	step(ack, 4, 0, false)
	pub.Deliver(topic, 1, "fourth")
	silent(fourth)
}
