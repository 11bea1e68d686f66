package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var errorChecks = []Check{{
	Name:     "errors/violation-ends-the-connection",
	Rules:    []string{"MQTT-4.8.0-1"},
	Rules5:   []string{"MQTT-4.13.1-1"},
	Breaks:   []string{"MQTT-4.8.0-1", "MQTT-1.5.3-2", "MQTT-3.3.2-1", "MQTT-3.8.3-1", "MQTT-4.7.3-2"},
	Breaks5:  []string{"MQTT-2.1.3-1", "MQTT-1.5.5-1", "MQTT-3.1.0-2", "MQTT-3.3.1-4", "MQTT-1.5.4-2", "MQTT-3.8.1-1", "MQTT-3.8.3-1", "MQTT-4.7.3-2", "P-1.5.5-five-byte-integer", "P-2.1.2-reserved-type", "P-2.1.2-wrong-direction", "P-2.1.4-length-mismatch", "P-2.2.2.2-unknown-identifier", "P-3.3.2.3.2-payload-format-duplicate"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		conns := t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket, codec.ProtocolError}, violations(t)...)
		for _, c := range conns {
			if len(c.Pending(ofType(codec.TypeDisconnect))) > 0 {
				// Whoever says that it has found the error is bound to close, whatever the depth of its checks.
				t.Judge().Closed(c)
			}
		}
	},
}, {
	Name:     "errors/reserved-packet-type",
	Rules:    []string{"P-2.1.2-reserved-type"},
	Breaks:   []string{"P-2.1.2-reserved-type"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket, codec.ProtocolError},
			offence{what: "packet type 0", raw: []byte{0, 0}, tolerable: true})
	},
}, {
	Name:     "errors/packet-of-the-wrong-direction",
	Rules:    []string{"P-2.1.2-wrong-direction"},
	Breaks:   []string{"P-2.1.2-wrong-direction"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.offend(t.Judge(), []codec.ReasonCode{codec.ProtocolError, codec.MalformedPacket},
			offence{what: "CONNACK", raw: []byte{0x20, 3, 0, 0, 0}, tolerable: true},
			offence{what: "SUBACK", raw: []byte{0x90, 4, 0, 1, 0, 0}, tolerable: true},
			offence{what: "UNSUBACK", raw: []byte{0xB0, 4, 0, 1, 0, 0}, tolerable: true},
			offence{what: "PINGRESP", raw: []byte{0xD0, 0}, tolerable: true})
	},
}, {
	Name:     "errors/fields-beyond-the-packet",
	Rules:    []string{"P-2.1.4-length-mismatch"},
	Breaks:   []string{"P-2.1.4-length-mismatch", "MQTT-1.5.4-2", "MQTT-3.8.3-1", "MQTT-4.7.3-2"},
	Versions: MQTT5,
	Run: func(t *T) {
		topic := t.Topic("a")
		sub := &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: topic}}}
		unsub := &codec.Unsubscribe{PacketID: 1, Filters: []string{topic}}
		t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket},
			offence{what: "PUBACK with half a Packet Identifier", raw: []byte{0x40, 1, 0}, tolerable: true},
			offence{what: "SUBSCRIBE whose filter is longer than the packet", raw: longText(t.Encode(sub), topic), tolerable: true},
			offence{what: "UNSUBSCRIBE with a byte behind its last filter", raw: t.Broken(unsub, codec.BreakTrailingByte), tolerable: true})
	},
}, {
	Name:     "errors/five-byte-integer",
	Rules:    []string{"P-1.5.5-five-byte-integer"},
	Breaks:   []string{"P-1.5.5-five-byte-integer", "P-2.1.4-length-mismatch"},
	Versions: MQTT5,
	Run: func(t *T) {
		cases := []offence{
			{what: "Remaining Length FF FF FF FF 01", raw: []byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1}},
			{what: "Remaining Length 80 80 80 80 00", raw: []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0}},
			{what: "Property Length 82 80 80 80 00 in PUBLISH", raw: connectFrame(0x30, slices.Concat(field(t.Topic("a")),
				[]byte{0x82, 0x80, 0x80, 0x80, 0, byte(codec.PropPayloadFormat), 0, 'x'}))},
		}
		if t.Target().Capabilities&CapSubscriptionIDs != 0 {
			body := append([]byte{0, 1, 6, byte(codec.PropSubscriptionID), 0x81, 0x80, 0x80, 0x80, 0}, field(t.Topic("a"))...)
			cases = append(cases, offence{what: "Subscription Identifier 81 80 80 80 00", raw: connectFrame(0x82, append(body, 0))})
		}
		t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket}, cases...)
	},
}, {
	Name:     "errors/other-sessions-unaffected",
	Rules:    []string{"P-4.13.1-other-sessions"},
	Breaks:   []string{"MQTT-1.5.4-2", "MQTT-2.1.3-1", "MQTT-3.3.1-4", "MQTT-3.8.1-1", "MQTT-3.8.3-1", "MQTT-4.7.3-2", "P-1.5.5-five-byte-integer", "P-2.1.2-reserved-type", "P-2.1.2-wrong-direction", "P-2.1.4-length-mismatch", "P-2.2.2.2-unknown-identifier", "P-3.3.2.3.2-payload-format-duplicate"},
	Axis:     Behaviour,
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		topic := t.Topic("a")
		sub.Subscribe(1, topic)
		for i, k := range violations(t) {
			bad := t.Connect()
			bad.Note("%s", k.what)
			bad.SendRaw(k.raw...)
			payload := fmt.Sprint("message ", i)
			pub.Send(&codec.Publish{Topic: topic, QoS: 1, PacketID: uint16(i + 1), Payload: []byte(payload)})
			t.Judge().Answer(pub, "PUBACK on the connection of another client", ofType(codec.TypePuback))
			t.Judge().Arrives(sub, topic, payload)
		}
		t.Judge().StaysOpen(pub)
		t.Judge().StaysOpen(sub)
	},
}, {
	Name:     "errors/refused-acknowledgement-keeps-the-connection",
	Rules:    []string{"P-4.13.2-ack-errors"},
	Breaks:   []string{"MQTT-2.2.1-5"},
	Axis:     Behaviour,
	Versions: MQTT5,
	Run: func(t *T) {
		refused := false
		for _, p := range refusable(t) {
			c := t.Connect()
			c.Send(p)
			e := c.Take(t.Timeout(), func(e *peer.Event) bool { return e.Packet != nil && isAnswer(e.Packet.Type()) })
			if e == nil || !refuses(e.Packet) {
				continue
			}
			refused = true
			c.Send(&codec.Pingreq{})
			answered := c.Take(t.Timeout(), ofType(codec.TypePingresp)) != nil
			_, ended := c.Closed()
			if !answered && !ended || len(c.Pending(ofType(codec.TypeDisconnect))) > 0 {
				t.Inconclusive("%s: PINGREQ was not answered, or a policy ended the connection with a DISCONNECT", c.Name())
			}
			t.Judge().Thatf(answered, "the connection goes on after "+codec.Describe(e.Packet, t.Version()), "connection ended: %v", ended)
		}
		if !refused {
			t.NotApplicable("the target refuses nothing by an acknowledgement that the suite knows to provoke: --forbidden-topic names a topic")
		}
	},
}}

// offence is an illegal packet, which is sent on a connection of its own.
type offence struct {
	what      string
	raw       []byte
	tolerable bool          // nobody is bound to detect it: going on is a warning
	prepare   func(c *Conn) // what has to come before it
}

// offend sends each packet on a connection of its own, and judges that each connection ends and
// that nothing answers the packet. The waits run at the same time.
func (t *T) offend(x *Expectation, reasons []codec.ReasonCode, cases ...offence) []*Conn {
	conns := make([]*Conn, len(cases))
	for i, k := range cases {
		c := t.Connect()
		if k.prepare != nil {
			k.prepare(c)
		}
		conns[i] = c
	}
	for i, k := range cases {
		conns[i].Note("%s", k.what)
		conns[i].SendRaw(k.raw...)
	}
	for i, r := range t.reactions(conns...) {
		graded := x
		if cases[i].tolerable {
			graded = x.Warn()
		}
		graded.record(conns[i], r.ended, false, cases[i].what+": the connection ends and nothing answers", r.actual)
		if r.ended {
			x.disconnectReason(conns[i], reasons)
		}
	}
	return conns
}

// violations are packets about which the versions leave no doubt. Under 5.0 those that a
// receiver is bound to detect come first.
func violations(t *T) []offence {
	topic := t.Topic("v")
	sub := &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: topic}}}
	if !t.V5() {
		return []offence{
			{what: "packet type 0", raw: []byte{0, 0}},
			{what: "packet type 15", raw: []byte{0xF0, 0}},
			{what: "a Remaining Length of five bytes", raw: []byte{0xC0, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}},
			{what: "SUBSCRIBE whose filter is longer than the packet", raw: longText(t.Encode(sub), topic)},
			{what: "PUBLISH whose topic is longer than the packet", raw: []byte{0x30, 5, 0, 32, 'm', 'q', 'l'}},
		}
	}
	pub := &codec.Publish{Topic: topic, Payload: []byte("x")}
	pub.Props.SetUint(codec.PropPayloadFormat, 0)
	return []offence{
		{what: "PUBLISH with QoS 3", raw: t.publishBytes(6, topic, 1, nil, "x")},
		{what: "SUBSCRIBE with header flags 0000", raw: append([]byte{0x80}, t.Encode(sub)[1:]...)},
		{what: "a second CONNECT", raw: t.Encode(t.ConnectPacket())},
		{what: "a Remaining Length of five bytes", raw: []byte{0xC0, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}},
		{what: "packet type 0", raw: []byte{0, 0}, tolerable: true},
		{what: "SUBSCRIBE whose filter is longer than the packet", raw: longText(t.Encode(sub), topic), tolerable: true},
		{what: "PUBLISH with a property that does not exist", raw: t.Broken(pub, codec.BreakPropertyUnknown), tolerable: true},
		{what: "PUBLISH with a property twice", raw: t.Broken(pub, codec.BreakPropertyDuplicate), tolerable: true},
		{what: "SUBACK, which is the server's", raw: []byte{0x90, 4, 0, 1, 0, 0}, tolerable: true},
	}
}

// longText makes the length in front of the text reach two bytes beyond the packet.
func longText(frame []byte, text string) []byte {
	at := strings.LastIndex(string(frame), text)
	frame[at-1] = byte(len(frame) - at + 2)
	return frame
}

// refusable are legal packets that a target may refuse by an acknowledgement.
func refusable(t *T) []codec.Packet {
	ps := []codec.Packet{&codec.Pubrel{PacketID: 0x5A5A}}
	if forbidden := t.Config().ForbiddenTopic; forbidden != "" {
		ps = append(ps, &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: forbidden}}})
		if t.Target().Capabilities&CapQoS1 != 0 {
			ps = append(ps, &codec.Publish{Topic: forbidden, QoS: 1, PacketID: 1})
		}
	}
	return ps
}

// refuses reports whether an acknowledgement says that the operation failed.
func refuses(p codec.Packet) bool {
	switch p := p.(type) {
	case *codec.Puback:
		return p.Reason.Failed()
	case *codec.Pubrec:
		return p.Reason.Failed()
	case *codec.Pubcomp:
		return p.Reason.Failed()
	case *codec.Suback:
		return len(p.Reasons) > 0 && p.Reasons[0].Failed()
	}
	return false
}
