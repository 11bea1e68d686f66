package conformance

import (
	"fmt"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var flowChecks = []Check{{
	Name:     "flow/one-at-a-time",
	Rules:    []string{"MQTT-4.9.0-1"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		for _, qos := range t.levels(1) {
			w := t.throttled(1, fmt.Sprint("q", qos))
			w.due(qos, 3)
			t.Judge().Arrives(w.sub, w.topic, "message 0")
			w.nothingMore(t.Judge())
		}
	},
}, {
	Name:     "flow/quota-zero",
	Rules:    []string{"MQTT-4.9.0-2"},
	Versions: MQTT5,
	Needs:    CapQoS2,
	Run: func(t *T) {
		// A PUBREC that accepts frees nothing; what ends the exchange does.
		w := t.throttled(1, "a")
		w.due(2, 3)
		first := w.take()
		w.nothingMore(t.Judge())
		w.sub.Send(&codec.Pubrec{PacketID: first.PacketID})
		if w.sub.Take(t.Timeout(), ofType(codec.TypePubrel)) == nil {
			t.Inconclusive("%s: no PUBREL", w.sub.Name())
		}
		w.nothingMore(t.Judge())
		w.sub.Send(&codec.Pubcomp{PacketID: first.PacketID})
		w.take()
		w.nothingMore(t.Judge())

		sub, topic := t.Connect(receiveMaximum(2)).Manual(), t.Topic("b")
		sub.Subscribe(2, topic)
		t.fillWindow(topic)
		t.drainWindow(sub, topic, 2)
	},
}, {
	Name:     "flow/others-answered-at-quota-zero",
	Rules:    []string{"MQTT-4.9.0-3"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		w := t.throttled(1, "a")
		qos := t.atMost(2)
		w.due(qos, 2)
		first := w.take()
		if qos == 2 { // the slot is taken until PUBCOMP
			w.sub.Send(&codec.Pubrec{PacketID: first.PacketID})
			if w.sub.Take(t.Timeout(), ofType(codec.TypePubrel)) == nil {
				t.Inconclusive("%s: no PUBREL", w.sub.Name())
			}
		}
		// What does not come at all breaks another rule: here it counts that it waits for the quota.
		answered := func(what string, match func(*peer.Event) bool) {
			expected := what + " while the quota is used up"
			if e := w.sub.Take(t.Timeout(), match); e != nil {
				t.Judge().That(true, expected, describeEvents([]*peer.Event{e}, codec.V5))
				return
			}
			w.sub.SetAutoAck(true)
			if qos == 2 {
				w.sub.Send(&codec.Pubcomp{PacketID: first.PacketID})
			} else {
				w.sub.Send(&codec.Puback{PacketID: first.PacketID})
			}
			if w.sub.Take(t.Timeout(), match) == nil {
				t.Inconclusive("%s: no %s, with a quota or without", w.sub.Name(), what)
			}
			t.Judge().That(false, expected, "it came once the quota was back")
			panic(stop{verdict: Pass})
		}
		own := t.Topic("own")
		for _, q := range t.levels(1) {
			w.sub.Send(&codec.Publish{Topic: own, QoS: q, PacketID: 200 + uint16(q), Payload: []byte("own")})
			answered(firstAck(q).String(), ofType(firstAck(q)))
			if q == 2 {
				w.sub.Send(&codec.Pubrel{PacketID: 202})
				answered("PUBCOMP", ofType(codec.TypePubcomp))
			}
		}
		w.sub.Send(&codec.Subscribe{PacketID: 210, Filters: []codec.Subscription{{Filter: own}}})
		answered("SUBACK", subackFor(210))
		w.sub.Send(&codec.Unsubscribe{PacketID: 211, Filters: []string{own}})
		answered("UNSUBACK", unsubackFor(211))
		w.sub.Send(&codec.Pingreq{})
		answered("PINGRESP", ofType(codec.TypePingresp))
	},
}, {
	Name:     "flow/quota-comes-back",
	Rules:    []string{"P-4.9-quota-replenish"},
	Breaks:   []string{"MQTT-2.2.1-5"},
	Axis:     Behaviour,
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		const failure = codec.ImplementationSpecificError
		legs := []quotaLeg{
			{"PUBACK", 1, func(w *throttled, p *codec.Publish) { w.sub.Send(&codec.Puback{PacketID: p.PacketID}) }},
			{"PUBACK with an error", 1, func(w *throttled, p *codec.Publish) { w.sub.Send(&codec.Puback{PacketID: p.PacketID, Reason: failure}) }},
		}
		if t.atMost(2) == 2 {
			complete := func(reason codec.ReasonCode) func(w *throttled, p *codec.Publish) {
				return func(w *throttled, p *codec.Publish) {
					w.sub.Send(&codec.Pubrec{PacketID: p.PacketID})
					if w.sub.Take(t.Timeout(), ofType(codec.TypePubrel)) == nil {
						t.Inconclusive("%s: no PUBREL", w.sub.Name())
					}
					w.sub.Send(&codec.Pubcomp{PacketID: p.PacketID, Reason: reason})
				}
			}
			legs = append(legs,
				quotaLeg{"PUBREC with an error", 2, func(w *throttled, p *codec.Publish) {
					w.sub.Send(&codec.Pubrec{PacketID: p.PacketID, Reason: failure})
				}},
				quotaLeg{"PUBCOMP", 2, complete(codec.Success)},
				quotaLeg{"PUBCOMP with an error", 2, complete(codec.PacketIDNotFound)})
		}
		// A target may end the connection for the second one, so this comes last.
		legs = append(legs, quotaLeg{"PUBACK twice", 1, func(w *throttled, p *codec.Publish) {
			w.sub.Send(&codec.Puback{PacketID: p.PacketID})
			w.sub.Send(&codec.Puback{PacketID: p.PacketID})
		}})
		for i, leg := range legs { // one at a time, as a Keep Alive that the target asks for holds here as well
			w := t.throttled(1, fmt.Sprint("leg", i))
			w.due(leg.qos, 4)
			w.replenish(t.Judge(), leg)
		}
	},
}, {
	Name:     "flow/quota-per-connection",
	Rules:    []string{"P-4.9-quota-per-connection"},
	Versions: MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run: func(t *T) {
		id, topic := t.ClientID(), t.Topic("a")
		c, _ := t.keep(id, receiveMaximum(5))
		c.Manual().Subscribe(1, topic)
		pub := t.Connect()
		for i := range 4 {
			pub.Deliver(topic, 1, fmt.Sprint("message ", i))
		}
		if c.Take(t.Timeout(), withPayload(topic, "message 0")) == nil {
			t.Inconclusive("%s: no message arrived", c.Name())
		}
		c.Disturbed(t.Grace(), withPayload(topic, "message 3")) // fewer at a time are allowed
		c.Drop()
		// Nothing may be acknowledged by itself from the first packet on.
		back := t.Open().Manual()
		if !t.accepted(back, t.ConnectPacket(t.Persistent(id), receiveMaximum(1))).SessionPresent {
			t.notKept(back)
		}
		w := &throttled{t: t, sub: back, topic: topic}
		back.Disturbed(t.Timeout(), onTopic(topic))
		t.Wait(t.Grace() / 2)
		open := w.open()
		t.Judge().Thatf(open <= 1, "at most 1 unacknowledged message, as the new connection has Receive Maximum 1", "%d", open)
	},
}}

// throttled is a subscriber that acknowledges nothing by itself.
type throttled struct {
	t     *T
	sub   *Conn
	topic string
}

// throttled connects and subscribes with a Receive Maximum.
func (t *T) throttled(most uint16, name string) *throttled {
	w := &throttled{t: t, sub: t.Connect(receiveMaximum(most)).Manual(), topic: t.Topic(name)}
	w.sub.Subscribe(t.atMost(2), w.topic)
	return w
}

// due publishes messages for the subscriber.
func (w *throttled) due(qos codec.QoS, n int) {
	pub := w.t.Connect()
	for i := range n {
		pub.Deliver(w.topic, qos, fmt.Sprint("message ", i))
	}
}

// delivery matches a message above QoS 0 that is not a repetition.
func (w *throttled) delivery(e *peer.Event) bool {
	p, ok := e.Packet.(*codec.Publish)
	return ok && p.QoS > 0 && !p.Dup
}

// take returns the next message.
func (w *throttled) take() *codec.Publish {
	e := w.sub.Take(w.t.Timeout(), w.delivery)
	if e == nil {
		w.t.Inconclusive("%s: no message arrived", w.sub.Name())
	}
	return e.Packet.(*codec.Publish)
}

// open counts the messages above QoS 0 that arrived and were not taken, repetitions once.
func (w *throttled) open() int {
	ids := map[uint16]bool{}
	for _, e := range w.sub.Pending(onTopic(w.topic)) {
		if p := e.Packet.(*codec.Publish); p.QoS > 0 {
			ids[p.PacketID] = true
		}
	}
	return len(ids)
}

// nothingMore judges that no further message comes while the quota is used up. Nothing can mark
// the end of what may come: a marker above QoS 0 is held back, one at QoS 0 may overtake.
func (w *throttled) nothingMore(x *Expectation) bool {
	return x.Silent(w.sub, "message beyond the Receive Maximum", w.delivery, func() { w.t.Wait(w.t.Grace() / 2) })
}

// quotaLeg is one way to end an exchange.
type quotaLeg struct {
	what string
	qos  codec.QoS
	end  func(*throttled, *codec.Publish)
}

// replenish ends one exchange after the other, and judges that each lets exactly one more
// message come. A target may end the connection for an answer that it has no use for.
func (w *throttled) replenish(x *Expectation, leg quotaLeg) {
	w.sub.Note("%s", leg.what)
	p := w.take()
	for range 3 {
		leg.end(w, p)
		e := w.sub.Take(w.t.Timeout(), w.delivery)
		if e == nil {
			if _, ended := w.sub.Closed(); ended {
				w.t.Inconclusive("%s: the connection ended after %s", w.sub.Name(), leg.what)
			}
			x.record(w.sub, false, false, "another message after "+leg.what, fmt.Sprintf("none within %v", w.t.Timeout()))
			return
		}
		p = e.Packet.(*codec.Publish)
		x.record(w.sub, true, false, "another message after "+leg.what, describeEvents([]*peer.Event{e}, codec.V5))
		if !x.Silent(w.sub, "second message after "+leg.what, w.delivery, func() { w.t.Wait(w.t.Grace() / 8) }) {
			return
		}
	}
}
