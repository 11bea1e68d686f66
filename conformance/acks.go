package conformance

import (
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var ackChecks = []Check{
	{
		Name:     "acks/puback-code",
		Rules:    []string{"MQTT-3.4.2-1"},
		Breaks:   []string{"MQTT-2.2.1-5"},
		Axis:     Behaviour,
		Versions: MQTT5,
		Needs:    CapQoS1,
		Run:      func(t *T) { t.judgeCodes(codec.TypePuback, pubackCodes) },
	},
	{
		Name:     "acks/pubrec-code",
		Rules:    []string{"MQTT-3.5.2-1"},
		Breaks:   []string{"MQTT-2.2.1-5"},
		Axis:     Behaviour,
		Versions: MQTT5,
		Needs:    CapQoS2,
		Run:      func(t *T) { t.judgeCodes(codec.TypePubrec, pubackCodes) },
	},
	{
		Name:     "acks/pubrel-code",
		Rules:    []string{"MQTT-3.6.2-1"},
		Breaks:   []string{"MQTT-2.2.1-5"},
		Axis:     Behaviour,
		Versions: MQTT5,
		Needs:    CapQoS2,
		Run:      func(t *T) { t.judgeCodes(codec.TypePubrel, pubrelCodes) },
	},
	{
		Name:     "acks/pubcomp-code",
		Rules:    []string{"MQTT-3.7.2-1"},
		Breaks:   []string{"MQTT-2.2.1-5"},
		Axis:     Behaviour,
		Versions: MQTT5,
		Needs:    CapQoS2,
		Run:      func(t *T) { t.judgeCodes(codec.TypePubcomp, pubrelCodes) },
	},
	fittingAck("acks/puback-reason-string-fits", "MQTT-3.4.2-2", CapQoS1, codec.TypePuback, codec.PropReasonString),
	fittingAck("acks/puback-user-property-fits", "MQTT-3.4.2-3", CapQoS1, codec.TypePuback, codec.PropUserProperty),
	fittingAck("acks/pubrec-reason-string-fits", "MQTT-3.5.2-2", CapQoS2, codec.TypePubrec, codec.PropReasonString),
	fittingAck("acks/pubrec-user-property-fits", "MQTT-3.5.2-3", CapQoS2, codec.TypePubrec, codec.PropUserProperty),
	fittingAck("acks/pubrel-reason-string-fits", "MQTT-3.6.2-2", CapQoS2, codec.TypePubrel, codec.PropReasonString),
	fittingAck("acks/pubrel-user-property-fits", "MQTT-3.6.2-3", CapQoS2, codec.TypePubrel, codec.PropUserProperty),
	fittingAck("acks/pubcomp-reason-string-fits", "MQTT-3.7.2-2", CapQoS2, codec.TypePubcomp, codec.PropReasonString),
	fittingAck("acks/pubcomp-user-property-fits", "MQTT-3.7.2-3", CapQoS2, codec.TypePubcomp, codec.PropUserProperty),
	{
		Name:     "acks/every-form-accepted",
		Rules:    []string{"P-3.4.2.1-short-ack"},
		Versions: MQTT5,
		Needs:    CapQoS1,
		Run:      everyForm,
	},
	{
		Name:     "acks/second-reason-string-detected",
		Rules:    []string{"P-3.4.2.2-ack-reason-string-duplicate"},
		Breaks:   []string{"P-3.4.2.2-ack-reason-string-duplicate"},
		Versions: MQTT5,
		Needs:    CapQoS1,
		Run:      secondReasonString,
	},
	{
		Name:     "acks/one-reason-string",
		Rules:    []string{"P-3.4.2.2-ack-reason-string-duplicate"},
		Breaks:   []string{"MQTT-2.2.1-5"},
		Axis:     Behaviour,
		Versions: MQTT5,
		Needs:    CapQoS1,
		Run: func(t *T) {
			judged := 0
			for _, e := range t.everyAck() {
				_, props := ackParts(e.Packet)
				n := countProp(props, codec.PropReasonString)
				t.Judge().Thatf(n <= 1, "at most one Reason String", "%d in %s", n, codec.Describe(e.Packet, codec.V5))
				judged++
			}
			if judged == 0 {
				t.Inconclusive("the target sent no acknowledgement")
			}
		},
	},
	{
		Name:     "acks/unknown-id-harms-nobody",
		Rules:    []string{"P-3.4.4-unknown-puback"},
		Breaks:   []string{"P-3.4.4-unknown-puback", "MQTT-2.2.1-5"},
		Versions: MQTT5,
		Needs:    CapQoS1,
		Run: func(t *T) {
			pub, sub, topic := t.Connect(), t.Connect().Manual(), t.Topic("a")
			sub.Subscribe(1, topic)
			pub.Deliver(topic, 1, "before")
			open := sub.first(topic, "before")
			strays := []codec.Packet{&codec.Puback{PacketID: 999}}
			if t.Target().Capabilities&CapQoS2 != 0 {
				strays = append(strays, &codec.Pubrec{PacketID: 998})
			}
			// Whatever becomes of these connections, they are the only ones that may end.
			for _, p := range strays {
				c := t.Connect().Manual()
				c.Send(p)
				c.Send(&codec.Pingreq{})
				c.Disturbed(t.Timeout(), ofType(codec.TypePingresp))
			}
			pub.Send(&codec.Publish{Topic: topic, QoS: 1, PacketID: 500, Payload: []byte("after")})
			t.Judge().Answer(pub, "PUBACK on the connection of another client", acknowledges(codec.TypePuback, 500))
			sub.complete(open)
			t.Judge().Arrives(sub, topic, "after")
		},
	},
}

var (
	pubackCodes = []codec.ReasonCode{0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
	pubrelCodes = []codec.ReasonCode{0, 0x92}
)

// judgeCodes judges the Reason Codes of one kind of acknowledgement.
func (t *T) judgeCodes(typ codec.Type, allowed []codec.ReasonCode) {
	judged := 0
	for _, e := range t.everyAck() {
		got, _, reason := ackOf(e)
		if got != typ {
			continue
		}
		judged++
		t.Judge().That(slices.Contains(allowed, reason), fmt.Sprintf("a Reason Code that %s may have", typ), codec.Describe(e.Packet, codec.V5))
	}
	if judged == 0 {
		t.Inconclusive("the target sent no %s", typ)
	}
}

// everyAck provokes acknowledgements of all kinds and returns those that came: for messages with
// and without subscribers, to topics that the target may refuse, and for identifiers that are
// not open.
func (t *T) everyAck(edits ...func(*codec.Connect)) []*peer.Event {
	var out []*peer.Event
	topic := t.Topic("acks")
	c := t.Connect(edits...).Manual()
	qos := t.atMost(2)
	if c.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{{Filter: topic, QoS: qos}}}).Reasons[0].Failed() {
		t.Inconclusive("%s: the subscription was refused", c.Name())
	}
	stimuli := []*codec.Publish{
		{Topic: topic, QoS: 1, PacketID: 11},
		{Topic: t.Topic("nobody"), QoS: 1, PacketID: 12},
		{Topic: topic, QoS: 2, PacketID: 21},
		{Topic: t.Topic("nobody"), QoS: 2, PacketID: 22},
	}
	if forbidden := t.Config().ForbiddenTopic; forbidden != "" {
		stimuli = append(stimuli, &codec.Publish{Topic: forbidden, QoS: 1, PacketID: 13}, &codec.Publish{Topic: forbidden, QoS: 2, PacketID: 23})
	}
	ack := func(c *Conn, typ codec.Type, id uint16) *peer.Event {
		e := c.Take(t.Timeout(), acknowledges(typ, id))
		if e != nil {
			out = append(out, e)
		}
		return e
	}
	for _, p := range stimuli {
		if p.QoS > qos {
			continue
		}
		c.Send(p)
		e := ack(c, firstAck(p.QoS), p.PacketID)
		if e == nil || p.QoS == 1 {
			continue
		}
		if _, _, reason := ackOf(e); !reason.Failed() {
			c.Send(&codec.Pubrel{PacketID: p.PacketID})
			ack(c, codec.TypePubcomp, p.PacketID)
		}
	}
	if qos < 2 {
		return out
	}
	// The message at QoS 2 is our own as well; its PUBREL is the one that a server sends.
	e := c.Take(t.Timeout(), func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && p.Topic == topic && p.QoS == 2
	})
	if e != nil {
		id := e.Packet.(*codec.Publish).PacketID
		c.Send(&codec.Pubrec{PacketID: id})
		ack(c, codec.TypePubrel, id)
		c.Send(&codec.Pubcomp{PacketID: id})
	}
	c.Send(&codec.Pubrel{PacketID: 0x0777})
	ack(c, codec.TypePubcomp, 0x0777)
	// A PUBREC for an identifier that is not open may bring anything or nothing.
	stray := t.Connect(edits...).Manual()
	stray.Send(&codec.Pubrec{PacketID: 0x0776})
	stray.Send(&codec.Pingreq{})
	stray.Disturbed(t.Timeout(), ofType(codec.TypePingresp))
	if e := stray.Take(t.Grace()/8, ofType(codec.TypePubrel)); e != nil {
		out = append(out, e)
	}
	return out
}

// ackParts returns the Reason Code and the properties of an acknowledgement.
func ackParts(p codec.Packet) (codec.ReasonCode, *codec.Properties) {
	switch p := p.(type) {
	case *codec.Puback:
		return p.Reason, &p.Props
	case *codec.Pubrec:
		return p.Reason, &p.Props
	case *codec.Pubrel:
		return p.Reason, &p.Props
	case *codec.Pubcomp:
		return p.Reason, &p.Props
	}
	return 0, new(codec.Properties)
}

// fittingAck is the check that no acknowledgement of the type exceeds a Maximum Packet Size for the
// sake of the property. Only what a target sends where there is room for it can be missed where
// there is none.
func fittingAck(name, rule string, needs Capability, typ codec.Type, id codec.PropID) Check {
	// What everyAck sends provokes each acknowledgement, for unknown identifiers as well.
	return Check{Name: name, Rules: []string{rule}, Breaks: []string{"MQTT-2.2.1-5"}, Axis: Behaviour, Versions: MQTT5, Needs: needs, Run: func(t *T) {
		size := 0
		for _, e := range t.everyAck() {
			if _, props := ackParts(e.Packet); e.Packet.Type() == typ && props.Has(id) && (size == 0 || len(e.Frame) < size) {
				size = len(e.Frame)
			}
		}
		if size == 0 {
			t.NotApplicable("the target puts no %s on %s", id, typ)
		}
		// Messages have to fit, and a client that cannot even be accepted shows nothing.
		least := (&codec.Publish{Topic: t.Topic("acks"), QoS: 2, PacketID: 1}).Size(codec.V5)
		if plain := t.Target().Connack; plain != nil {
			bare := *plain
			bare.Props = plain.Props.Clone()
			bare.Props.Remove(codec.PropReasonString)
			bare.Props.Remove(codec.PropUserProperty)
			least = max(least, bare.Size(codec.V5))
		}
		if least >= size {
			t.Inconclusive("a %s with the property has %d bytes, and other packets need as many", typ, size)
		}
		expected := fmt.Sprintf("no %s in a %s of more than %d bytes", id, typ, size-1)
		judged := 0
		for _, e := range t.everyAck(func(p *codec.Connect) { p.Props.SetUint(codec.PropMaximumPacketSize, uint32(size-1)) }) {
			if e.Packet.Type() != typ {
				continue
			}
			judged++
			_, props := ackParts(e.Packet)
			t.Judge().Thatf(len(e.Frame) < size || !props.Has(id), expected, "%d bytes: %s", len(e.Frame), codec.Describe(e.Packet, codec.V5))
		}
		if judged == 0 {
			t.Judge().That(true, expected, "none at all")
		}
	}}
}

// ackForms are what may follow the Packet Identifier to say success.
var ackForms = [][]byte{nil, {0}, {0, 0}}

func ackForm(first byte, id uint16, tail []byte) []byte {
	return append([]byte{first, byte(2 + len(tail)), byte(id >> 8), byte(id)}, tail...)
}

// everyForm acknowledges messages in all three forms.
func everyForm(t *T) {
	for _, qos := range t.levels(1) {
		// With a Receive Maximum of 1 the next message comes only when the acknowledgement of the one
		// before was accepted: provided that the target goes on at all.
		if t.acknowledgeIn(qos, [][]byte{nil, nil, nil}, nil) {
			t.acknowledgeIn(qos, ackForms, t.Judge())
		} else {
			t.Note("the target does not fill a window of 1 again: at QoS %d PUBACK and PUBCOMP are not judged", qos)
		}
	}
	if t.atMost(2) < 2 {
		return
	}
	c := t.Connect().Manual()
	for i, tail := range ackForms {
		id := uint16(i + 1)
		c.Send(&codec.Publish{Topic: t.Topic("up"), QoS: 2, PacketID: id})
		t.accepts(c, id)
		c.SendRaw(ackForm(0x62, id, tail)...)
		t.Judge().Answer(c, fmt.Sprintf("PUBCOMP after PUBREL with Remaining Length %d", 2+len(tail)), acknowledges(codec.TypePubcomp, id))
	}
}

// acknowledgeIn has messages delivered one at a time, acknowledges each in the next of the forms, and
// reports whether all came. Without an expectation nothing is judged.
func (t *T) acknowledgeIn(qos codec.QoS, forms [][]byte, x *Expectation) bool {
	pub, sub := t.Connect(), t.Connect(receiveMaximum(1)).Manual()
	topic := t.Topic(sub.Name())
	sub.Subscribe(qos, topic)
	for i := range len(forms) + 1 {
		pub.Deliver(topic, qos, fmt.Sprint("message ", i))
	}
	wait := func(what string, match func(*peer.Event) bool) *peer.Event {
		if x == nil {
			return sub.Take(t.Timeout(), match)
		}
		return x.Answer(sub, what, match)
	}
	id := sub.first(topic, "message 0").PacketID
	for _, tail := range forms {
		behind := fmt.Sprintf("after an acknowledgement with Remaining Length %d", 2+len(tail))
		if qos == 1 {
			sub.SendRaw(ackForm(0x40, id, tail)...)
		} else {
			sub.SendRaw(ackForm(0x50, id, tail)...)
			if wait("PUBREL "+behind, acknowledges(codec.TypePubrel, id)) == nil {
				return false
			}
			sub.SendRaw(ackForm(0x70, id, tail)...)
		}
		e := wait("the next message "+behind, onTopic(topic))
		if e == nil {
			return false
		}
		id = e.Packet.(*codec.Publish).PacketID
	}
	return true
}

// secondReasonString repeats the Reason String in each kind of acknowledgement that the target
// waits for. Nobody is bound to look that closely.
func secondReasonString(t *T) {
	one := []byte{byte(codec.PropReasonString), 0, 2, 'o', 'k'}
	tail := append(append([]byte{0, 10}, one...), one...)
	topic, pub := t.Topic("a"), t.Connect()
	// delivered leaves a message of the target open on a new connection.
	delivered := func(qos codec.QoS) (*Conn, uint16) {
		c := t.Connect().Manual()
		name := fmt.Sprintf("%s/%s", topic, c.Name())
		c.Subscribe(qos, name)
		pub.Deliver(name, qos, "x")
		return c, c.first(name, "x").PacketID
	}
	var conns []*Conn
	var what []string
	send := func(c *Conn, first byte, id uint16) {
		conns, what = append(conns, c), append(what, codec.Type(first>>4).String())
		c.SendRaw(ackForm(first, id, tail)...)
	}
	c, id := delivered(1)
	send(c, 0x40, id)
	if t.atMost(2) == 2 {
		c, id = delivered(2)
		send(c, 0x50, id)
		c, id = delivered(2)
		c.Send(&codec.Pubrec{PacketID: id})
		if c.Take(t.Timeout(), acknowledges(codec.TypePubrel, id)) == nil {
			t.Inconclusive("%s: no PUBREL", c.Name())
		}
		send(c, 0x70, id)
		c = t.Connect().Manual()
		c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: 1})
		t.accepts(c, 1)
		send(c, 0x62, 1)
	}
	for i, r := range t.reactions(conns...) {
		t.Judge().Warn().That(r.ended, "the connection ends after "+what[i]+" with two Reason Strings", r.actual)
		if r.ended {
			t.Judge().disconnectReason(conns[i], []codec.ReasonCode{codec.ProtocolError, codec.MalformedPacket})
		}
	}
}
