package conformance

import (
	"fmt"
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// clientSendChecks are about messages of the client beyond the plain ones, and about its session.
var clientSendChecks = []Check{{
	Name:     "client/full-window-holds-up-nothing-else",
	Rules5:   []string{"MQTT-3.3.4-8", "MQTT-4.9.0-3"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.needs(t.seen().publishes > 1, "publish several messages above QoS 0")
		t.needs(t.seen().subscribed > 0, "subscribe at QoS 1")
		c := t.Launch().Accept()
		c.Manual().Accepted(func(p *codec.Connack) { p.Props.SetUint(codec.PropReceiveMaximum, 1) })
		var topic string
		var first bool
		for topic == "" || !first {
			e := c.Serve(t.Timeout(), ofType(codec.TypeSubscribe), ofType(codec.TypePublish))
			if e == nil {
				t.Inconclusive("the client did not both subscribe and publish while its window was full")
			}
			switch p := e.Packet.(type) {
			case *codec.Subscribe:
				topic = matching(p.Filters[0].Filter)
			case *codec.Publish:
				first = first || p.QoS > 0
			}
		}
		const id = 61
		c.Send(&codec.Publish{Topic: topic, QoS: 1, PacketID: id, Payload: []byte("meanwhile")})
		e := c.Serve(t.Timeout(), acknowledges(codec.TypePuback, id))
		if _, ended := c.Closed(); e == nil && ended {
			t.Inconclusive("the client ended the connection")
		}
		for _, rule := range t.check.Rules5 {
			t.Judge(rule).Thatf(e != nil, "PUBACK while the client's own message waits for its acknowledgement", "%v", e != nil)
		}
	},
}, {
	Name:     "client/late-pubrec-answered",
	Rules:    []string{"MQTT-4.1.0-2"},
	Rules5:   []string{"MQTT-4.1.0-1"},
	Versions: MQTT311 | MQTT5,
	Slow:     3 * time.Second,
	Run: func(t *T) {
		c, id := t.openMessage(2)
		c.Serve(t.Patience(3 * time.Second)) // its session must not run out meanwhile
		if _, ended := c.Closed(); ended {
			t.Inconclusive("the client ended the connection before PUBREC came")
		}
		c.Send(&codec.Pubrec{PacketID: id})
		t.answers(t.Judge(), c, codec.TypePubrel, []uint16{id})
	},
}, {
	Name:     "client/expired-on-its-way-out",
	Rules5:   []string{"MQTT-4.3.3-7"},
	Versions: MQTT5,
	Slow:     3 * time.Second,
	Run: func(t *T) {
		const longest = 5
		c, id := t.openMessage(2)
		life := c.openLife
		t.needs(life > 0, "publish with a Message Expiry Interval")
		if life > longest {
			t.NotApplicable("the client gives its message %d s: give it %d s or less, so that it can expire", life, longest)
		}
		c.Serve(time.Duration(life)*time.Second + t.Grace())
		if _, ended := c.Closed(); ended {
			t.Inconclusive("the client ended the connection before PUBREC came")
		}
		c.Send(&codec.Pubrec{PacketID: id})
		t.answers(t.Judge(), c, codec.TypePubrel, []uint16{id})
	},
}, {
	Name:     "client/acknowledgements-of-every-length",
	Rules5:   []string{"P-3.4.2.1-short-ack"},
	Versions: MQTT5,
	Run: func(t *T) {
		for _, tail := range [][]byte{nil, {0}, {0, 0}} {
			c, id := t.openMessage(2)
			form := append([]byte{byte(codec.TypePubrec) << 4, byte(2 + len(tail)), byte(id >> 8), byte(id)}, tail...)
			c.SendRaw(form...)
			e := c.Serve(t.Timeout(), acknowledges(codec.TypePubrel, id), ofType(codec.TypeDisconnect))
			ok := e != nil && e.Packet.Type() == codec.TypePubrel
			t.Judge().Thatf(ok, fmt.Sprintf("PUBREL for a PUBREC of Remaining Length %d", 2+len(tail)), "%v", ok)
			c.Send(&codec.Pubcomp{PacketID: id})
		}
	},
}, {
	Name:     "client/refused-message-leaves-the-connection",
	Rules5:   []string{"P-4.13.2-ack-errors"},
	Versions: MQTT5,
	Run: func(t *T) {
		c, id := t.openMessage(0)
		var ack codec.Packet = &codec.Puback{PacketID: id, Reason: codec.NotAuthorized}
		if c.openQoS == 2 {
			ack = &codec.Pubrec{PacketID: id, Reason: codec.NotAuthorized}
		}
		c.Send(ack)
		t.judgeStay(c, "a refused message")
	},
}, {
	Name:     "client/refused-subscription-leaves-the-connection",
	Rules5:   []string{"P-4.13.2-ack-errors"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.needs(t.seen().subscribes && t.seen().stays, "subscribe and stay")
		c := t.Launch().Accept()
		c.Accepted()
		e := c.Take(t.Timeout(), ofType(codec.TypeSubscribe))
		if e == nil {
			t.Inconclusive("the client did not subscribe this time")
		}
		p := e.Packet.(*codec.Subscribe)
		ack := &codec.Suback{PacketID: p.PacketID}
		for range p.Filters {
			ack.Reasons = append(ack.Reasons, codec.NotAuthorized)
		}
		c.Send(ack)
		t.judgeStay(c, "a refused subscription")
	},
}, {
	Name:     "client/quota-given-back",
	Rules5:   []string{"P-4.9-quota-replenish"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.needs(t.seen().publishes > 1, "publish several messages above QoS 0")
		c := t.Launch().Accept()
		c.Manual().Accepted(func(p *codec.Connack) { p.Props.SetUint(codec.PropReceiveMaximum, 1) })
		for i := range 2 {
			e := c.message(t.Timeout())
			if _, ended := c.Closed(); e == nil && (ended || i == 0) {
				t.Inconclusive("the client left before its second message")
			}
			if i == 1 {
				t.Judge().Thatf(e != nil, "the next message once the first is complete, with Receive Maximum 1", "%v", e != nil)
				return
			}
			p := e.Packet.(*codec.Publish)
			if p.QoS == 1 {
				c.Send(&codec.Puback{PacketID: p.PacketID, Reason: codec.NoMatchingSubscribers})
				continue
			}
			c.Send(&codec.Pubrec{PacketID: p.PacketID, Reason: codec.NoMatchingSubscribers})
			if c.Serve(t.Timeout(), acknowledges(codec.TypePubrel, p.PacketID)) == nil {
				t.Inconclusive("no PUBREL came, which another check judges")
			}
			c.Send(&codec.Pubcomp{PacketID: p.PacketID})
		}
	},
}, {
	Name:     "client/pubrel-sent-again",
	Rules:    []string{"MQTT-4.4.0-1"},
	Rules5:   []string{"MQTT-4.3.3-5", "MQTT-4.4.0-1", "MQTT-3.1.2-23"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		t.needs(t.keepsSession(t.seen().hello), "ask for a session that outlives the connection")
		c, id := t.openMessage(2)
		c.Send(&codec.Pubrec{PacketID: id})
		if c.Serve(t.Timeout(), acknowledges(codec.TypePubrel, id)) == nil {
			t.Inconclusive("no PUBREL came, which another check judges")
		}
		c.Drop()
		again := t.comesBack(c.client)
		e := again.Serve(t.Timeout(), acknowledges(codec.TypePubrel, id))
		if _, ended := again.Closed(); e == nil && ended {
			t.Inconclusive("the client ended the second connection")
		}
		for _, rule := range t.check.RulesFor(t.version) {
			t.Judge(rule).Thatf(e != nil, fmt.Sprintf("PUBREL with id %d again", id), "%v", e != nil)
		}
	},
}, {
	Name:     "client/nothing-of-a-session-that-is-gone",
	Rules:    []string{"MQTT-3.1.2-6"},
	Rules5:   []string{"MQTT-3.2.2-5", "MQTT-3.1.2-4", "P-4.4-resend-after-clean"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c, id := t.openMessage(0)
		c.Drop()
		again := c.client.Next(t.Timeout())
		if again == nil {
			t.NotApplicable("the client does not connect again within %v", t.Timeout())
		}
		if !t.V5() && !again.hello.CleanStart {
			t.NotApplicable("the client wants its session back: what it does without it is left open")
		}
		again.Manual().Accepted()
		old := func(e *peer.Event) bool {
			p, isMessage := e.Packet.(*codec.Publish)
			return isMessage && p.Dup && p.PacketID == id || acknowledges(codec.TypePubrel, id)(e)
		}
		e := again.Serve(min(t.Timeout(), t.Patience(time.Second)), old)
		actual := "none"
		if e != nil {
			actual = describeEvents([]*peer.Event{e}, t.Version())
		}
		for _, rule := range t.check.RulesFor(t.version) {
			if rule == "MQTT-3.2.2-5" && again.hello.CleanStart || rule == "MQTT-3.1.2-4" && !again.hello.CleanStart {
				continue
			}
			t.Judge(rule).That(e == nil, "no PUBLISH with DUP 1 and no PUBREL of the session that is gone", actual)
		}
	},
}}

// openMessage starts a client and returns its connection with the identifier of a message that is
// not acknowledged, at the QoS, or at any above 0 where it is 0.
func (t *T) openMessage(qos codec.QoS) (*Conn, uint16) {
	if qos == 0 {
		t.needs(t.seen().publishes > 0, "publish above QoS 0")
	} else {
		t.needs(t.seen().published >= qos, fmt.Sprintf("publish at QoS %d", qos))
	}
	c := t.Launch().Accept()
	c.Manual().Accepted()
	e := c.Serve(t.Timeout(), func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && len(e.Faults) == 0 && p.QoS > 0 && (qos == 0 || p.QoS == qos)
	})
	if e == nil {
		t.Inconclusive("the client published no such message this time")
	}
	p := e.Packet.(*codec.Publish)
	c.openQoS, c.openLife = p.QoS, p.Props.Uint(codec.PropMessageExpiry, 0)
	return c, p.PacketID
}

// judgeStay judges that the client does not cut the connection for what was refused. One that takes
// its leave, or whose program ends, has decided so for itself.
func (t *T) judgeStay(c *Conn, what string) {
	bye := c.Serve(min(t.Timeout(), t.Patience(500*time.Millisecond)), ofType(codec.TypeDisconnect))
	if _, ended := c.Closed(); !ended && bye == nil {
		t.Judge().That(true, "the connection goes on after "+what, "still open")
		return
	}
	if bye != nil {
		if reason := bye.Packet.(*codec.Disconnect).Reason; slices.Contains([]codec.ReasonCode{codec.MalformedPacket, codec.ProtocolError}, reason) {
			t.Judge().Thatf(false, "the connection goes on after "+what, "DISCONNECT with %s", reason.Name(codec.TypeDisconnect, codec.V5))
			return
		}
		t.Inconclusive("the client took its leave")
	}
	select {
	case <-c.client.ended:
		t.Inconclusive("the client's program ended")
	case <-time.After(t.Timeout()):
	}
	t.Judge().That(false, "the connection goes on after "+what, "the client ended it, and runs on")
}
