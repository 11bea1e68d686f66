package conformance

import (
	"bytes"
	"fmt"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// Faulty properties of PUBLISH. A receiver may check less deeply (5.0, 4.13.1): to accept the
// fault is a warning, to pass it on a breach where the text forbids the sender to send it.
var publishFaultChecks = []Check{
	duplicateCheck("payload-format", "P-3.3.2.3.2-payload-format-duplicate", 0, false, codec.PropPayloadFormat, 0),
	duplicateCheck("message-expiry", "P-3.3.2.3.3-message-expiry-duplicate", 0, false, codec.PropMessageExpiry, 0, 0, 0, 60),
	duplicateCheck("topic-alias", "P-3.3.2.3.4-topic-alias-duplicate", CapTopicAlias, false, codec.PropTopicAlias, 0, 1),
	duplicateCheck("response-topic", "P-3.3.2.3.5-response-topic-duplicate", 0, true, codec.PropResponseTopic, 0, 1, 'r'),
	duplicateCheck("correlation-data", "P-3.3.2.3.6-correlation-duplicate", 0, true, codec.PropCorrelationData, 0, 1, 'c'),
	duplicateCheck("content-type", "P-3.3.2.3.9-content-type-duplicate", 0, true, codec.PropContentType, 0, 1, 't'),
	{
		Name:     "properties/payload-format-2-refused",
		Rules:    []string{"P-3.3.2.3.2-payload-format-value"},
		Breaks:   []string{"P-3.3.2.3.2-payload-format-value"},
		Versions: MQTT5,
		Run: func(t *T) {
			c := t.Connect()
			c.SendRaw(t.publishBytes(byte(t.atMost(1))<<1, t.Topic("a"), 0x7F01, []byte{byte(codec.PropPayloadFormat), 2}, "x")...)
			t.Judge().Detects(c, t.react(c), codec.MalformedPacket, codec.ProtocolError, codec.PayloadFormatInvalid)
		},
	},
	{
		Name:     "properties/response-topic-wildcard-refused",
		Rules:    []string{"MQTT-3.3.2-14"},
		Breaks:   []string{"MQTT-3.3.2-14"},
		Versions: MQTT5,
		Run: func(t *T) {
			for _, wildcard := range []string{"r/#", "r/+"} {
				c := t.Connect()
				c.SendRaw(t.publishBytes(byte(t.atMost(1))<<1, t.Topic("a"), 0x7F01, textProperty(codec.PropResponseTopic, wildcard), "x")...)
				t.Judge().Detects(c, t.react(c), codec.ProtocolError, codec.MalformedPacket)
			}
		},
	},
	{
		Name:     "properties/subscription-identifier-refused",
		Rules:    []string{"MQTT-3.3.4-6"},
		Breaks:   []string{"MQTT-3.3.4-6"},
		Versions: MQTT5,
		Run: func(t *T) {
			t.faultyPublish([]byte{byte(codec.PropSubscriptionID), 1}, "Subscription Identifier of the publisher",
				func(p *codec.Publish) bool { return p.Props.Has(codec.PropSubscriptionID) }, codec.ProtocolError, codec.MalformedPacket)
		},
	},
	textCheck("response-topic", "MQTT-3.3.2-13", codec.PropResponseTopic, "\xC3\x28"),
	textCheck("content-type", "MQTT-3.3.2-19", codec.PropContentType, "\xFF"),
}

// duplicateCheck sends a property twice. forbidden says that passing both on breaks the rule.
func duplicateCheck(name, rule string, needs Capability, forbidden bool, id codec.PropID, value ...byte) Check {
	return Check{
		Name:     "properties/" + name + "-twice-refused",
		Rules:    []string{rule},
		Breaks:   []string{rule},
		Versions: MQTT5,
		Needs:    needs,
		Run: func(t *T) {
			one := append([]byte{byte(id)}, value...)
			twice := func(p *codec.Publish) bool {
				n := 0
				for pr := range p.Props.All() {
					if pr.ID == id {
						n++
					}
				}
				return forbidden && n > 1
			}
			t.faultyPublish(append(one, one...), fmt.Sprintf("%s twice", id), twice, codec.ProtocolError, codec.MalformedPacket)
		},
	}
}

// textCheck sends an ill-formed text in a PUBLISH and in the Will Properties of a CONNECT.
func textCheck(name, rule string, id codec.PropID, bad string) Check {
	return Check{
		Name:     "properties/" + name + "-not-utf8-refused",
		Rules:    []string{rule},
		Breaks:   []string{rule, "MQTT-1.5.4-1"},
		Versions: MQTT5,
		Run: func(t *T) {
			carries := func(p *codec.Publish) bool { return string(p.Props.Bytes(id)) == bad }
			t.faultyPublish(textProperty(id, bad), "ill-formed "+id.String(), carries, codec.MalformedPacket)
			t.faultyWill(id, bad, carries)
		},
	}
}

func textProperty(id codec.PropID, text string) []byte {
	return append([]byte{byte(id), byte(len(text) >> 8), byte(len(text))}, text...)
}

// faultyPublish sends a PUBLISH with the properties and judges that a watcher does not get a
// message that carries them on, and that the fault is detected.
func (t *T) faultyPublish(props []byte, what string, carries func(*codec.Publish) bool, reasons ...codec.ReasonCode) {
	watcher, c, topic, qos := t.Connect(), t.Connect(), t.Topic("a"), t.atMost(1)
	watcher.Subscribe(qos, topic)
	c.SendRaw(t.publishBytes(byte(qos)<<1, topic, 0x7F01, props, "faulty")...)
	r := t.react(c)
	fence := c
	if r.ended {
		fence = t.Connect()
	}
	clean := t.Judge().Silent(watcher, "message with "+what, func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && p.Topic == topic && carries(p)
	}, func() { t.Fence(fence, watcher, topic, qos) })
	if clean {
		t.Judge().Detects(c, r, reasons...)
	}
}

// faultyWill sends a CONNECT whose Will has an ill-formed text property. Where the target takes
// it, the Will is let loose to see whether it passes the fault on.
func (t *T) faultyWill(id codec.PropID, bad string, carries func(*codec.Publish) bool) {
	const placeholder = "stand-in"
	watcher, topic := t.Connect(), t.Topic("will")
	watcher.Subscribe(t.atMost(1), topic)
	c := t.Open()
	raw := t.Encode(t.ConnectPacket(func(p *codec.Connect) {
		p.HasWill = true
		p.Will = codec.Will{Topic: topic, QoS: t.atMost(1), Payload: []byte("will")}
		p.Will.Props.SetText(id, placeholder)
	}))
	// The bad bytes take the place of the first of the placeholder; the rest is legal text.
	c.SendRaw(bytes.Replace(raw, []byte(placeholder), []byte(bad+placeholder[len(bad):]), 1)...)
	bad += placeholder[len(bad):]
	const expected = "the connection ends, without CONNACK or after a CONNACK that refuses"
	e := c.Take(t.Timeout(), ofType(codec.TypeConnack))
	if e == nil {
		_, ended := c.Closed()
		t.Judge().Warn().Thatf(ended, expected, "connection ended: %v", ended)
		return
	}
	if ack := e.Packet.(*codec.Connack); ack.Reason != codec.Success {
		t.Judge().That(true, expected, codec.Describe(ack, codec.V5))
		return
	}
	t.Judge().Warn().That(false, expected, codec.Describe(e.Packet, codec.V5))
	c.Drop()
	if e := watcher.Take(t.Timeout(), onTopic(topic)); e != nil {
		p := e.Packet.(*codec.Publish)
		t.Judge().Thatf(string(p.Props.Bytes(id)) != bad, "no Will that carries the ill-formed text on", "%s", codec.Describe(p, codec.V5))
	}
}
