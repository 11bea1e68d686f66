package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/internal/topic"
)

var publishChecks = []Check{{
	Name:     "publish/qos3-refused",
	Rules:    []string{"MQTT-3.3.1-4"},
	Breaks:   []string{"MQTT-3.3.1-4"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		watcher, c := t.Connect(), t.Connect()
		topic := t.Topic("a")
		watcher.Subscribe(0, topic)
		c.SendRaw(t.publishBytes(0x06, topic, 1, nil, "bad")...)
		t.Judge().Refuses(c, nil, codec.MalformedPacket)
		other := t.Connect()
		t.Judge().Silent(watcher, "forwarded message", onTopic(topic), func() { t.Fence(other, watcher, topic, 0) })
	},
}, {
	Name:     "publish/acknowledged-by-qos",
	Rules:    []string{"MQTT-3.3.4-1", "MQTT-2.3.1-6"},
	Rules5:   []string{"MQTT-3.3.4-1", "MQTT-2.2.1-5"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect().Manual()
		topic := t.Topic("a")
		for _, qos := range t.levels(1) {
			id := 0x1234 * uint16(qos)
			c.Send(&codec.Publish{Topic: topic, QoS: qos, PacketID: id})
			if !t.acknowledged(c, firstAck(qos), id) || qos < 2 {
				continue
			}
			c.Send(&codec.Pubrel{PacketID: id})
			e := t.Judge("MQTT-2.3.1-6", "MQTT-2.2.1-5").Answer(c, "PUBCOMP", ofType(codec.TypePubcomp))
			_, got, _ := ackOf(e)
			t.Judge("MQTT-2.3.1-6", "MQTT-2.2.1-5").Thatf(got == id, fmt.Sprintf("PUBCOMP with Packet Identifier %d", id), "%d", got)
		}
		// The PINGRESP is a fence only where answers keep their order; a late ack would be missed, never invented.
		c.Send(&codec.Publish{Topic: topic})
		t.Judge().Silent(c, "acknowledgement of QoS 0", isAck, c.Ping)
	},
}, {
	Name:     "publish/topic-comes-first",
	Rules:    []string{"MQTT-3.3.2-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		sub, pub := t.Connect(), t.Connect()
		name, payload := t.Topic("läyout/ü€"), "sent through"
		sub.Subscribe(1, name)
		pub.Deliver(name, 1, payload)
		has := func(e *peer.Event) bool {
			return len(e.Frame) > 0 && e.Frame[0]>>4 == byte(codec.TypePublish) && bytes.HasSuffix(e.Frame, []byte(payload))
		}
		e := sub.Take(t.Timeout(), has)
		if e == nil {
			t.Inconclusive("%s: the message did not arrive", sub.Name())
		}
		_, n := codec.Varint(e.Frame[1:])
		body := e.Frame[1+n:]
		got := fmt.Sprintf("% x", body[:min(len(body), 40)])
		text, ok := leadingText(body)
		t.Judge().That(ok && codec.ValidString(text) && topic.CheckName(text, t.Version()) == nil,
			"length and Topic Name, well-formed UTF-8, at the start of the variable header", got)
	},
}, {
	Name:     "publish/topic-beyond-packet-refused",
	Rules:    []string{"MQTT-3.3.2-1"},
	Breaks:   []string{"MQTT-3.3.2-1"},
	Breaks5:  []string{"MQTT-3.3.2-1", "P-2.1.4-length-mismatch"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		long, short := t.Connect(), t.Connect()
		// The topic says 32 bytes and the packet ends after 4 of them.
		long.SendRaw(0x30, 6, 0, 32, 'm', 'q', 'l', 'a')
		short.SendRaw(0x30, 1, 0)
		t.Judge().Refuses(long, nil, codec.MalformedPacket)
		t.Judge().Refuses(short, nil, codec.MalformedPacket)
	},
}, {
	Name:     "publish/topic-not-utf8-refused",
	Rules:    []string{"MQTT-3.3.2-1"},
	Breaks:   []string{"MQTT-3.3.2-1", "MQTT-1.5.3-1"},
	Breaks5:  []string{"MQTT-3.3.2-1", "MQTT-1.5.4-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c, prefix := t.Connect(), t.Topic("x")
		watcher := t.watchBelow(prefix)
		qos := t.atMost(1)
		c.SendRaw(t.publishBytes(byte(qos)<<1, prefix+"/\xC3\x28", 0x7F01, nil, "ill-formed")...)
		t.judgeBadTopic(c, watcher, prefix, "ill-formed", codec.MalformedPacket)
	},
}, {
	Name:     "publish/wildcard-in-topic-refused",
	Rules:    []string{"MQTT-3.3.2-2"},
	Breaks:   []string{"MQTT-3.3.2-2", "MQTT-4.7.1-1"},
	Breaks5:  []string{"MQTT-3.3.2-2", "MQTT-4.7.0-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		prefix := t.Topic("w")
		watcher := t.watchBelow(prefix)
		for _, wildcard := range []string{"/+", "/#"} {
			for _, qos := range t.levels(1) {
				c := t.Connect()
				c.SendRaw(t.publishBytes(byte(qos)<<1, prefix+wildcard, 0x7F01, nil, "wild")...)
				t.judgeBadTopic(c, watcher, prefix, "wild", codec.TopicNameInvalid, codec.MalformedPacket, codec.ProtocolError)
			}
		}
	},
}, {
	Name:     "publish/empty-topic-refused",
	Rules:    []string{"P-3.3.2.1-empty-topic-without-alias"},
	Breaks:   []string{"P-3.3.2.1-empty-topic-without-alias", "MQTT-4.7.3-1"},
	Versions: MQTT5,
	Run: func(t *T) {
		for _, qos := range t.levels(0) {
			if qos > 1 {
				break
			}
			c := t.Connect()
			c.SendRaw(t.publishBytes(byte(qos)<<1, "", 0x7F01, nil, "nowhere")...)
			t.Judge().Rejects(c, t.react(c), codec.ProtocolError, codec.MalformedPacket, codec.TopicNameInvalid)
		}
	},
}, {
	Name:     "publish/delivered-topic-matches-filter",
	Rules:    []string{"MQTT-3.3.2-3"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapWildcard,
	Run: func(t *T) {
		sub, pub := t.Connect(), t.Connect()
		base := t.Topic("f")
		filter := base + "/+"
		sub.Subscribe(1, filter)
		for _, name := range []string{base + "/b", base, base + "/b/c", base + "x/b", t.Topic("F") + "/b", base + "/b/"} {
			pub.Deliver(name, 1, "to "+name)
		}
		ours := func(e *peer.Event) bool {
			p, ok := e.Packet.(*codec.Publish)
			return ok && bytes.HasPrefix(p.Payload, []byte("to "))
		}
		t.Fence(pub, sub, base+"/b", 1)
		matched := 0
		for _, e := range sub.Pending(ours) {
			p := e.Packet.(*codec.Publish)
			t.Judge().Thatf(topic.Match(filter, p.Topic), "a topic that matches "+filter, "%q", p.Topic)
			matched++
		}
		if matched == 0 {
			t.Inconclusive("%s: none of the messages arrived", sub.Name())
		}
	},
}, {
	Name:     "publish/forbidden-topic-answered",
	Rules:    []string{"MQTT-3.3.5-2"},
	Versions: MQTT311,
	Needs:    CapForbidden,
	Run: func(t *T) {
		for _, qos := range t.levels(1) {
			c := t.Connect()
			c.Send(&codec.Publish{Topic: t.Config().ForbiddenTopic, QoS: qos, PacketID: 1, Payload: []byte("forbidden")})
			last := codec.TypePuback
			if qos == 2 {
				last = codec.TypePubcomp
			}
			const expected = "the usual acknowledgement, or the end of the connection"
			if e := c.Take(t.Timeout(), ofType(last)); e != nil {
				t.Judge().That(true, expected, codec.Describe(e.Packet, t.Version()))
				continue
			}
			_, ended := c.Closed()
			t.Judge().Thatf(ended, expected, "connection ended: %v", ended)
		}
	},
}}

// levels returns the QoS levels from the lowest to the highest that the target takes and grants.
func (t *T) levels(lowest codec.QoS) []codec.QoS {
	var out []codec.QoS
	for qos := lowest; qos <= t.atMost(2); qos++ {
		out = append(out, qos)
	}
	return out
}

// atMost returns the QoS, or what the target takes and grants where that is less.
func (t *T) atMost(qos codec.QoS) codec.QoS {
	have := t.Target().Capabilities
	switch {
	case have&CapQoS1 == 0:
		return 0
	case have&CapQoS2 == 0:
		return min(qos, 1)
	}
	return qos
}

// Deliver is Publish for messages that a check relies on: one that is refused makes the check
// inconclusive.
func (c *Conn) Deliver(topic string, qos codec.QoS, payload string, edits ...func(*codec.Publish)) {
	p := &codec.Publish{Topic: topic, QoS: qos, Payload: []byte(payload)}
	for _, edit := range edits {
		edit(p)
	}
	if r := c.PublishPacket(p); r.Failed() {
		c.t.Inconclusive("%s: PUBLISH to %q was refused: 0x%02X", c.Name(), p.Topic, uint8(r))
	}
}

// publishBytes returns a PUBLISH with any flags, topic, properties and payload. Nothing of it
// is judged; the Packet Identifier is left out at QoS 0, the properties before 5.0.
func (t *T) publishBytes(flags byte, topic string, id uint16, props []byte, payload string) []byte {
	body := binary.BigEndian.AppendUint16(nil, uint16(len(topic)))
	body = append(body, topic...)
	if flags&6 != 0 {
		body = binary.BigEndian.AppendUint16(body, id)
	}
	if t.V5() {
		body = append(codec.AppendVarint(body, uint32(len(props))), props...)
	}
	body = append(body, payload...)
	return append(codec.AppendVarint([]byte{0x30 | flags}, uint32(len(body))), body...)
}

// firstAck is the packet that answers a PUBLISH of the QoS.
func firstAck(qos codec.QoS) codec.Type {
	if qos == 2 {
		return codec.TypePubrec
	}
	return codec.TypePuback
}

// isAck matches the four acknowledgements.
func isAck(e *peer.Event) bool {
	typ, _, _ := ackOf(e)
	return typ != 0
}

// acknowledged judges the first answer to a PUBLISH and reports whether it accepts the message.
// A server may end the connection where it does not authorise the topic, so an end tells nothing.
func (t *T) acknowledged(c *Conn, want codec.Type, id uint16) bool {
	expected := fmt.Sprintf("%s with Packet Identifier %d", want, id)
	e := c.Take(t.Timeout(), isAck)
	if e == nil {
		if _, ended := c.Closed(); ended {
			t.Inconclusive("%s: the connection ended instead of %s", c.Name(), expected)
		}
		t.Judge().That(false, expected, "nothing on an open connection")
		panic(stop{verdict: Pass})
	}
	typ, got, reason := ackOf(e)
	t.Judge().That(typ == want, want.String(), typ.String())
	t.Judge("MQTT-2.3.1-6", "MQTT-2.2.1-5").Thatf(got == id, expected, "%d", got)
	return typ == want && !reason.Failed()
}

// leadingText returns the length-prefixed text at the start of b.
func leadingText(b []byte) (string, bool) {
	if len(b) < 2 {
		return "", false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return "", false
	}
	return string(b[2 : 2+n]), true
}

// watchBelow returns a client that sees everything below the prefix, as far as the target lets it.
func (t *T) watchBelow(prefix string) *Conn {
	c := t.Connect()
	if t.Target().Capabilities&CapWildcard != 0 {
		c.Subscribe(t.atMost(1), prefix+"/#")
	} else {
		c.Subscribe(t.atMost(1), prefix+"/a")
	}
	return c
}

// judgeBadTopic judges what follows a PUBLISH with an illegal topic: it is never forwarded, and
// the connection ends. Under 5.0 an error code refuses it as well, and nobody is bound to detect it.
func (t *T) judgeBadTopic(c, watcher *Conn, prefix, payload string, reasons ...codec.ReasonCode) {
	forwarded := func(e *peer.Event) bool { return bytes.HasSuffix(e.Frame, []byte(payload)) }
	fence := c
	if t.V5() {
		r := t.react(c)
		if r.ended {
			fence = t.Connect()
		}
		if t.Judge().Silent(watcher, "forwarded message", forwarded, func() { t.Fence(fence, watcher, prefix+"/a", t.atMost(1)) }) {
			t.Judge().Detects(c, r, reasons...)
		}
		return
	}
	if t.Judge().Refuses(c, nil) {
		fence = t.Connect()
	}
	t.Judge().Silent(watcher, "forwarded message", forwarded, func() { t.Fence(fence, watcher, prefix+"/a", t.atMost(1)) })
}
