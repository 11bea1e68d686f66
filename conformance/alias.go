package conformance

import (
	"fmt"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var aliasChecks = []Check{{
	Name:     "alias/server-within-maximum",
	Rules:    []string{"MQTT-3.3.2-11", "MQTT-3.3.2-8"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		const most = 1
		pub := t.Connect()
		sub := t.Connect(func(p *codec.Connect) { p.Props.SetUint(codec.PropTopicAliasMaximum, most) })
		topics := make([]string, 5)
		for i := range topics {
			topics[i] = t.Topic(fmt.Sprint("a/", i))
		}
		sub.Subscribe(1, topics...)
		for round := range 3 {
			for i, topic := range topics {
				pub.Deliver(topic, 1, fmt.Sprintf("message %d of round %d", i, round))
			}
		}
		for round := range 3 {
			for i := range topics {
				e := sub.Take(t.Timeout(), withBody(fmt.Sprintf("message %d of round %d", i, round)))
				if e == nil {
					t.Inconclusive("%s: message %d of round %d did not arrive", sub.Name(), i, round)
				}
				p := e.Packet.(*codec.Publish)
				alias := p.Props.Uint(codec.PropTopicAlias, most)
				got := codec.Describe(p, codec.V5)
				t.Judge("MQTT-3.3.2-11").That(alias <= most, "Topic Alias 1 or none", got)
				t.Judge("MQTT-3.3.2-8").That(alias != 0, "no Topic Alias 0", got)
			}
		}
	},
}, {
	Name:     "alias/every-value-accepted",
	Rules:    []string{"MQTT-3.3.2-12"},
	Versions: MQTT5,
	Needs:    CapTopicAlias | CapQoS1,
	Run: func(t *T) {
		most := t.Target().TopicAliasMaximum
		aliases := []uint16{1, most/2 + 1, most}
		if most <= 10 {
			aliases = aliases[:0]
			for a := uint16(1); a <= most; a++ {
				aliases = append(aliases, a)
			}
		}
		watcher, c := t.Connect(), t.Connect()
		for _, a := range aliases {
			watcher.Subscribe(1, t.Topic(fmt.Sprint("a/", a)))
		}
		// The first message that sets an alias also shows that the target lets the client publish.
		for round, named := range []bool{true, false} {
			for _, a := range aliases {
				topic, payload := t.Topic(fmt.Sprint("a/", a)), fmt.Sprintf("alias %d in round %d", a, round)
				name := topic
				if !named {
					name = ""
				}
				c.judgeAliased(name, a, payload)
				t.Judge().Arrives(watcher, topic, payload)
			}
		}
	},
}, {
	Name:     "alias/remapped",
	Rules:    []string{"P-3.3.4-topic-alias-remap"},
	Versions: MQTT5,
	Needs:    CapTopicAlias | CapQoS1,
	Run: func(t *T) {
		watcher, c := t.Connect(), t.Connect()
		a, b := t.Topic("a"), t.Topic("b")
		watcher.Subscribe(1, a, b)
		c.judgeAliased(a, 1, "first")
		c.judgeAliased(b, 1, "second")
		c.judgeAliased("", 1, "third")
		e := t.Judge().ArrivesMatching(watcher, `the message with payload "third"`, withBody("third"))
		got := e.Packet.(*codec.Publish).Topic
		t.Judge().Thatf(got == b, fmt.Sprintf("the topic that replaced the first, %q", b), "%q", got)
	},
}, {
	Name:     "alias/not-carried-over",
	Rules:    []string{"MQTT-3.3.2-7"},
	Breaks:   []string{"MQTT-3.3.2-7", "P-3.3.4-topic-alias-unknown"},
	Versions: MQTT5,
	Needs:    CapTopicAlias | CapQoS1,
	Run: func(t *T) {
		watcher, id, topic := t.Connect(), t.ClientID(), t.Topic("a")
		watcher.Subscribe(1, topic)
		c := t.Connect(t.Persistent(id))
		c.Deliver(topic, 1, "mapped", alias(1))
		c.Disconnect()
		back := t.Connect(t.Persistent(id))
		back.SendRaw(t.publishBytes(2, "", 0x7F01, aliasProperty(1), "carried over")...)
		r := t.react(back)
		fence := back
		if r.ended {
			fence = t.Connect()
		}
		t.Judge().Silent(watcher, "message under the topic of an earlier connection", withPayload(topic, "carried over"),
			func() { t.Fence(fence, watcher, topic, 1) })
	},
}, {
	Name:     "alias/unknown-refused",
	Rules:    []string{"P-3.3.4-topic-alias-unknown"},
	Breaks:   []string{"P-3.3.4-topic-alias-unknown"},
	Versions: MQTT5,
	Needs:    CapTopicAlias,
	Run: func(t *T) {
		c := t.Connect()
		c.SendRaw(t.publishBytes(byte(t.atMost(1))<<1, "", 0x7F01, aliasProperty(1), "nowhere")...)
		t.Judge().Rejects(c, t.react(c), codec.ProtocolError, codec.TopicAliasInvalid)
	},
}, {
	Name:     "alias/zero-refused",
	Rules:    []string{"MQTT-3.3.2-8", "P-3.3.4-topic-alias-range"},
	Breaks:   []string{"MQTT-3.3.2-8", "P-3.3.4-topic-alias-range"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.SendRaw(t.publishBytes(byte(t.atMost(1))<<1, t.Topic("a"), 0x7F01, aliasProperty(0), "zero")...)
		r := t.react(c)
		t.Judge("MQTT-3.3.2-8").Detects(c, r, codec.TopicAliasInvalid, codec.ProtocolError, codec.MalformedPacket)
		t.Judge("P-3.3.4-topic-alias-range").Detects(c, r)
	},
}, {
	Name:     "alias/above-maximum-refused",
	Rules:    []string{"P-3.3.4-topic-alias-range"},
	Breaks:   []string{"P-3.3.4-topic-alias-range", "MQTT-3.3.2-9"},
	Versions: MQTT5,
	Run: func(t *T) {
		most := t.Target().TopicAliasMaximum
		if most == 65535 {
			t.NotApplicable("the target takes every Topic Alias")
		}
		c := t.Connect()
		c.SendRaw(t.publishBytes(byte(t.atMost(1))<<1, t.Topic("a"), 0x7F01, aliasProperty(most+1), "above")...)
		t.Judge().Detects(c, t.react(c), codec.TopicAliasInvalid, codec.ProtocolError)
	},
}}

// alias is an edit for Publish: the Topic Alias.
func alias(a uint16) func(*codec.Publish) {
	return func(p *codec.Publish) { p.Props.SetUint(codec.PropTopicAlias, uint32(a)) }
}

// aliasProperty is the wire form of a Topic Alias, legal or not.
func aliasProperty(a uint16) []byte {
	return []byte{byte(codec.PropTopicAlias), byte(a >> 8), byte(a)}
}

// withBody matches PUBLISH with the payload, under any topic.
func withBody(payload string) func(*peer.Event) bool {
	return func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && string(p.Payload) == payload
	}
}

// judgeAliased publishes at QoS 1 with a Topic Alias and judges that this is not held against
// the client. A refusal of a message that names its topic may be a matter of policy, and an
// acknowledgement that does not come is the business of other rules.
func (c *Conn) judgeAliased(topic string, a uint16, payload string) {
	const expected = "the PUBLISH with a legal Topic Alias is accepted"
	t := c.t
	p := &codec.Publish{Topic: topic, QoS: 1, PacketID: c.NextID(), Payload: []byte(payload)}
	p.Props.SetUint(codec.PropTopicAlias, uint32(a))
	c.Send(p)
	e := c.Take(t.Timeout(), isAck)
	if e == nil {
		if end, ended := c.Closed(); ended {
			t.Judge().Thatf(false, expected, "%s, the end: %v", describeEvents(c.Pending(ofType(codec.TypeDisconnect)), codec.V5), end.Closed)
			panic(stop{verdict: Pass})
		}
		return
	}
	_, _, reason := ackOf(e)
	if reason.Failed() && topic != "" && reason != codec.TopicAliasInvalid {
		t.Inconclusive("%s: PUBLISH to %q was refused: 0x%02X", c.Name(), topic, uint8(reason))
	}
	t.Judge().That(!reason.Failed(), expected, codec.Describe(e.Packet, codec.V5))
}
