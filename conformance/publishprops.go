package conformance

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
)

var publishPropertyChecks = []Check{{
	Name:     "properties/payload-format-unaltered",
	Rules:    []string{"MQTT-3.3.2-4"},
	Versions: MQTT5,
	Run: func(t *T) {
		const absent = 2
		sent := []uint32{1, 0, absent}
		t.relay(func(i int, route string, p *codec.Publish) {
			got := p.Props.Uint(codec.PropPayloadFormat, absent)
			switch {
			case sent[i] == absent:
				t.Judge().Thatf(got == absent, route+": no Payload Format Indicator, as none was sent", "%d", got)
			case sent[i] == 0 && got == absent:
				t.Judge().Note().That(false, route+": Payload Format Indicator 0", "none, which means the same")
			default:
				t.Judge().Thatf(got == sent[i], fmt.Sprintf("%s: Payload Format Indicator %d", route, sent[i]), "%s", codec.Describe(p, codec.V5))
			}
		},
			func(p *codec.Publish) { p.Props.SetUint(codec.PropPayloadFormat, 1) },
			func(p *codec.Publish) { p.Props.SetUint(codec.PropPayloadFormat, 0) },
			func(p *codec.Publish) {})
	},
}, {
	Name:     "properties/response-topic-unaltered",
	Rules:    []string{"MQTT-3.3.2-15"},
	Versions: MQTT5,
	Run: func(t *T) {
		want := t.Topic("r/ä/1")
		var edits []func(*codec.Publish)
		for _, qos := range t.levels(0) {
			edits = append(edits, func(p *codec.Publish) {
				p.QoS = qos
				p.Props.SetText(codec.PropResponseTopic, want)
			})
		}
		t.relay(func(_ int, route string, p *codec.Publish) {
			ok := p.Props.Text(codec.PropResponseTopic) == want
			t.Judge().That(ok, fmt.Sprintf("%s: Response Topic %q", route, want), codec.Describe(p, codec.V5))
		}, edits...)
	},
}, {
	Name:     "properties/correlation-data-unaltered",
	Rules:    []string{"MQTT-3.3.2-16"},
	Versions: MQTT5,
	Run: func(t *T) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		sent := [][]byte{all, {}}
		switch most := t.Target().MaximumPacketSize; {
		case most == 0 || most > 4096:
			sent = append(sent, bytes.Repeat(all, 4))
		case most < 512:
			sent = [][]byte{all[:16], all[240:], {}}
		}
		var edits []func(*codec.Publish)
		for _, data := range sent {
			edits = append(edits, func(p *codec.Publish) { p.Props.SetBytes(codec.PropCorrelationData, data) })
		}
		t.relay(func(i int, route string, p *codec.Publish) {
			got := p.Props.Bytes(codec.PropCorrelationData)
			ok := p.Props.Has(codec.PropCorrelationData) && bytes.Equal(got, sent[i])
			t.Judge().Thatf(ok, fmt.Sprintf("%s: the same %d bytes of Correlation Data", route, len(sent[i])),
				"present: %v, %d bytes", p.Props.Has(codec.PropCorrelationData), len(got))
		}, edits...)
	},
}, {
	Name:     "properties/user-properties-unaltered",
	Rules:    []string{"MQTT-3.3.2-17", "MQTT-3.3.2-18"},
	Versions: MQTT5,
	Run: func(t *T) {
		sent := [][]pair{
			{{"a", "1"}, {"a", "1"}, {"a", "2"}, {"", ""}, {"schlüssel", "wert €"}},
			{{"c", "1"}, {"a", "2"}, {"b", "3"}, {"a", "4"}},
		}
		var edits []func(*codec.Publish)
		for _, pairs := range sent {
			edits = append(edits, func(p *codec.Publish) {
				for _, u := range pairs {
					p.Props.AddUser(u.name, u.value)
				}
			})
		}
		t.relay(func(i int, route string, p *codec.Publish) {
			var ours, added []pair
			left := slices.Clone(sent[i])
			for name, value := range p.Props.UserProperties() {
				u := pair{name, value}
				if at := slices.Index(left, u); at >= 0 {
					left = slices.Delete(left, at, at+1)
					ours = append(ours, u)
				} else {
					added = append(added, u)
				}
			}
			complete := len(left) == 0
			t.Judge("MQTT-3.3.2-17").Thatf(complete, fmt.Sprintf("%s: the User Properties %v", route, sent[i]), "%v, without %v", ours, left)
			if len(added) > 0 {
				t.Judge("MQTT-3.3.2-17").Note().Thatf(false, route+": no further User Properties", "%v", added)
			}
			if complete {
				t.Judge("MQTT-3.3.2-18").Thatf(slices.Equal(ours, sent[i]), fmt.Sprintf("%s: the order %v", route, sent[i]), "%v", ours)
			}
		}, edits...)
	},
}, {
	Name:     "properties/content-type-unaltered",
	Rules:    []string{"MQTT-3.3.2-20"},
	Versions: MQTT5,
	Run: func(t *T) {
		sent := []string{"text/plain;x=1", "☃/übergröße; q=\"0.5\", \\#+"}
		var edits []func(*codec.Publish)
		for _, text := range sent {
			edits = append(edits, func(p *codec.Publish) { p.Props.SetText(codec.PropContentType, text) })
		}
		t.relay(func(i int, route string, p *codec.Publish) {
			got := p.Props.Text(codec.PropContentType)
			t.Judge().Thatf(got == sent[i], fmt.Sprintf("%s: Content Type %q", route, sent[i]), "%q", got)
		}, edits...)
	},
}, {
	Name:     "properties/payload-marked-utf8-unaltered",
	Rules:    []string{"P-3.3.2.3.2-payload-not-utf8"},
	Breaks:   []string{"P-3.3.2.3.2-payload-not-utf8"},
	Versions: MQTT5,
	Run: func(t *T) {
		const expected = "the payload as it was sent, or a refusal"
		watcher := t.Connect()
		for _, qos := range t.levels(0) {
			topic := t.Topic(fmt.Sprint("q", qos))
			watcher.Subscribe(qos, topic)
			c := t.Connect()
			c.SendRaw(t.publishBytes(byte(qos)<<1, topic, 0x7F01, []byte{byte(codec.PropPayloadFormat), 1}, "\xFF\xFE")...)
			accepted := qos == 0
			if qos > 0 {
				r := t.react(c)
				accepted = r.accepted
			}
			if !accepted {
				t.Judge().That(true, expected, "refused")
				continue
			}
			if qos == 0 {
				// Refusing a QoS 0 message shows only as the end of the connection.
				c.Send(&codec.Pingreq{})
				if _, err := c.Await(t.Timeout(), ofType(codec.TypePingresp)); err != nil {
					t.Judge().That(true, expected, "the connection ended")
					continue
				}
			}
			e := watcher.Take(t.Timeout(), onTopic(topic))
			if e == nil {
				continue // to lose it is not to alter it
			}
			got := e.Packet.(*codec.Publish).Payload
			t.Judge().Thatf(string(got) == "\xFF\xFE", expected, "% x", got)
		}
		if len(t.findings) == 0 {
			t.Inconclusive("nothing was refused and nothing arrived")
		}
	},
}}

type pair struct{ name, value string }

// relay publishes one message for each edit, each to a topic of its own, and hands every copy
// to judge: the live one, that of a shared subscription, the retained one, and the one that
// waited for an offline session, as far as the target has these. A copy above QoS 0 that does
// not come makes the check inconclusive: what is judged is what the copies carry.
func (t *T) relay(judge func(i int, route string, p *codec.Publish), edits ...func(*codec.Publish)) {
	have := t.Target().Capabilities
	qos := t.atMost(1)
	messages := make([]*codec.Publish, len(edits))
	topics := make([]string, len(edits))
	for i, edit := range edits {
		topics[i] = t.Topic(fmt.Sprint("m", i))
		messages[i] = &codec.Publish{Topic: topics[i], QoS: qos, Retain: have&CapRetain != 0, Payload: fmt.Append(nil, "message ", i)}
		edit(messages[i])
	}
	highest := t.atMost(2)

	live, pub := t.Connect(), t.Connect()
	live.Subscribe(highest, topics...)
	var shared *Conn
	if have&CapShared != 0 {
		shared = t.Connect()
		for _, topic := range topics {
			s := codec.Subscription{Filter: "$share/mqlab/" + topic, QoS: highest}
			if shared.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{s}}).Reasons[0] > 2 {
				shared = nil // a matter of policy
				break
			}
		}
	}
	id := ""
	if have&CapSessionExpiry != 0 {
		id = t.ClientID()
		offline := t.Connect(t.Persistent(id))
		offline.Subscribe(highest, topics...)
		offline.Disconnect()
	}
	for _, m := range messages {
		if r := pub.PublishPacket(m); r.Failed() {
			t.Inconclusive("%s: PUBLISH was refused: 0x%02X", pub.Name(), uint8(r))
		}
	}

	missing := ""
	collect := func(route string, c *Conn) {
		for i, topic := range topics {
			if messages[i].QoS == 0 && route != "live" {
				continue // may be dropped at any time
			}
			e := c.Take(t.Timeout(), onTopic(topic))
			switch {
			case e != nil:
				judge(i, route, e.Packet.(*codec.Publish))
			case messages[i].QoS > 0:
				missing = fmt.Sprintf("%s: the %s copy of message %d did not arrive", c.Name(), route, i)
			}
		}
	}
	collect("live", live)
	if shared != nil {
		collect("shared", shared)
	}
	if have&CapRetain != 0 {
		late := t.Connect()
		late.Subscribe(highest, topics...)
		collect("retained", late)
	}
	if id != "" {
		back := t.Open()
		if back.Connect(t.ConnectPacket(t.Persistent(id))).SessionPresent {
			collect("queued", back)
		}
	}
	if missing != "" {
		t.Inconclusive("%s", missing)
	}
}
