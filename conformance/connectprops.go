package conformance

import (
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var connectPropertyChecks = []Check{
	refusedProps("receive-maximum-twice", "P-3.1.2.11.3-receive-maximum-duplicate",
		doubled(byte(codec.PropReceiveMaximum), 0, 10), []byte{byte(codec.PropReceiveMaximum), 0, 10, byte(codec.PropReceiveMaximum), 0, 20}),
	refusedProps("receive-maximum-zero", "P-3.1.2.11.3-receive-maximum-zero", []byte{byte(codec.PropReceiveMaximum), 0, 0}),
	refusedProps("maximum-packet-size-twice", "P-3.1.2.11.4-maximum-packet-size-duplicate", doubled(byte(codec.PropMaximumPacketSize), 0, 1, 0, 0)),
	refusedProps("maximum-packet-size-zero", "P-3.1.2.11.4-maximum-packet-size-zero", []byte{byte(codec.PropMaximumPacketSize), 0, 0, 0, 0}),
	refusedProps("topic-alias-maximum-twice", "P-3.1.2.11.5-topic-alias-maximum-duplicate", doubled(byte(codec.PropTopicAliasMaximum), 0, 10)),
	refusedProps("request-response-twice", "P-3.1.2.11.6-request-response-duplicate", doubled(byte(codec.PropRequestResponseInfo), 0)),
	refusedProps("request-response-value", "P-3.1.2.11.6-request-response-value",
		[]byte{byte(codec.PropRequestResponseInfo), 2}, []byte{byte(codec.PropRequestResponseInfo), 0xFF}),
	refusedProps("request-problem-twice", "P-3.1.2.11.7-request-problem-duplicate", doubled(byte(codec.PropRequestProblemInfo), 1)),
	refusedProps("request-problem-value", "P-3.1.2.11.7-request-problem-value", []byte{byte(codec.PropRequestProblemInfo), 2}),
	refusedProps("auth-data-without-method", "P-3.1.2.11.10-auth-data-without-method", []byte{byte(codec.PropAuthData), 0, 1, 'x'}),
	refusedWillProps("will-payload-format-twice", "P-3.1.3.2.3-will-payload-format-duplicate", doubled(byte(codec.PropPayloadFormat), 0)),
	refusedWillProps("will-content-type-twice", "P-3.1.3.2.5-will-content-type-duplicate", doubled(byte(codec.PropContentType), 0, 1, 't')),
	refusedWillProps("will-response-topic-twice", "P-3.1.3.2.6-will-response-topic-duplicate", doubled(byte(codec.PropResponseTopic), 0, 1, 'r')),
	refusedWillProps("will-correlation-data-twice", "P-3.1.3.2.7-will-correlation-duplicate", doubled(byte(codec.PropCorrelationData), 0, 1, 'c')),
	{
		Name:     "connectprops/will-payload-format-value",
		Rules:    []string{"P-3.1.3.2.3-will-payload-format-value"},
		Breaks:   []string{"P-3.1.3.2.3-will-payload-format-value"},
		Versions: MQTT5,
		Run: func(t *T) {
			b := t.connectBytes()
			b.withWillProps(t.Topic("will"), "gone", byte(codec.PropPayloadFormat), 2)
			_, o := t.try(b.encode())
			t.Judge().Warn().That(!o.accepted() && o.ended, "the connection ends, without CONNACK or after a CONNACK that refuses", o.describe(t.Version()))
		},
	},
	{
		Name:     "connectprops/will-payload-not-utf8",
		Rules:    []string{"P-3.1.3.2.3-will-payload-not-utf8"},
		Breaks:   []string{"P-3.1.3.2.3-will-payload-not-utf8"},
		Versions: MQTT5,
		Run: func(t *T) {
			b := t.connectBytes()
			b.withWillProps(t.Topic("will"), "\xFF\xFE", byte(codec.PropPayloadFormat), 1)
			c, o := t.try(b.encode())
			if o.ack == nil && !o.ended {
				t.Inconclusive("%s: the CONNECT was neither answered nor refused", c.Name())
			}
			t.Judge().That(o.accepted() || o.ended, "CONNACK with code 0, or the connection ends", o.describe(t.Version()))
			if o.accepted() {
				c.Disconnect() // nobody is to get such a Will
			}
		},
	},
	{
		Name:     "connectprops/user-property-repeated",
		Rules:    []string{"P-3.1.2.11.8-user-property-repeat"},
		Versions: MQTT5,
		Run:      repeatedUserProperties,
	},
}

// doubled returns a property twice.
func doubled(property ...byte) []byte { return slices.Concat(property, property) }

// withProps makes the list, which may be illegal, the properties.
func (b *connectBytes) withProps(list ...byte) {
	b.props = append(codec.AppendVarint(nil, uint32(len(list))), list...)
}

// withWillProps sets a Will of QoS 0 whose properties may be illegal.
func (b *connectBytes) withWillProps(topic, payload string, list ...byte) {
	b.will(topic, payload)
	b.flags |= connectWill
	b.willProps = append(codec.AppendVarint(nil, uint32(len(list))), list...)
}

// refusedProps is a check that sends a CONNECT with each of the property lists.
func refusedProps(name, rule string, lists ...[]byte) Check {
	return Check{
		Name:     "connectprops/" + name,
		Rules:    []string{rule},
		Breaks:   []string{rule},
		Versions: MQTT5,
		Run: func(t *T) {
			var cases []connectCase
			for _, list := range lists {
				cases = append(cases, connectCase{fmt.Sprintf("the properties % X", list), func(b *connectBytes) { b.withProps(list...) }})
			}
			refusesEach(t, t.Judge(), cases...)
		},
	}
}

// refusedWillProps is refusedProps for the Will Properties.
func refusedWillProps(name, rule string, list []byte) Check {
	return Check{
		Name:     "connectprops/" + name,
		Rules:    []string{rule},
		Breaks:   []string{rule},
		Versions: MQTT5,
		Run: func(t *T) {
			refusesEach(t, t.Judge(), connectCase{fmt.Sprintf("the Will Properties % X", list), func(b *connectBytes) {
				b.withWillProps(t.Topic("will"), "gone", list...)
			}})
		},
	}
}

// manyUserProperties is so few that limits of servers on their number lie above it.
const manyUserProperties = 10

// userProperties adds User Properties, all of one name or each of its own.
func userProperties(p *codec.Properties, oneName bool) {
	for i := range manyUserProperties {
		name := "name"
		if !oneName {
			name = fmt.Sprint("name ", i)
		}
		p.AddUser(name, fmt.Sprint(i/2))
	}
}

// repeatedUserProperties sends User Properties of one name in every packet that a client may put
// them on. Where the target takes as many of different names no better, a limit of its own may
// be the cause.
func repeatedUserProperties(t *T) {
	connect := func(oneName bool) connectOutcome {
		_, o := t.tryAgain(t.Encode(t.ConnectPacket(func(p *codec.Connect) { userProperties(&p.Props, oneName) })))
		return o
	}
	o := connect(true)
	if bad := o.refusedWith(codec.MalformedPacket) || o.refusedWith(codec.ProtocolError); !o.accepted() && !bad && !connect(false).accepted() {
		t.Inconclusive("the target refuses a CONNECT with %d User Properties: %s", manyUserProperties, o.describe(t.Version()))
	}
	t.Judge().That(o.accepted(), fmt.Sprintf("a CONNECT with %d User Properties of one name is accepted", manyUserProperties), o.describe(t.Version()))

	topic, qos := t.Topic("a"), t.atMost(1)
	for _, p := range []struct {
		what   string
		packet func(oneName bool) codec.Packet
	}{
		{"SUBSCRIBE", func(oneName bool) codec.Packet {
			p := &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: topic}}}
			userProperties(&p.Props, oneName)
			return p
		}},
		{"PUBLISH", func(oneName bool) codec.Packet {
			p := &codec.Publish{Topic: topic, QoS: qos, Payload: []byte("x")}
			if qos > 0 {
				p.PacketID = 1
			}
			userProperties(&p.Props, oneName)
			return p
		}},
		{"UNSUBSCRIBE", func(oneName bool) codec.Packet {
			p := &codec.Unsubscribe{PacketID: 1, Filters: []string{topic}}
			userProperties(&p.Props, oneName)
			return p
		}},
	} {
		served := func(oneName bool) (ok bool, reason codec.ReasonCode) {
			c := t.Connect()
			c.Send(p.packet(oneName))
			c.Send(&codec.Pingreq{})
			if c.Take(t.Timeout(), ofType(codec.TypePingresp)) != nil {
				return true, 0
			}
			if _, ended := c.Closed(); !ended {
				t.Inconclusive("%s: the connection is open, and PINGREQ is not answered", c.Name())
			}
			for _, e := range c.Pending(ofType(codec.TypeDisconnect)) {
				reason = e.Packet.(*codec.Disconnect).Reason
			}
			return false, reason
		}
		ok, reason := served(true)
		if !ok && reason != codec.MalformedPacket && reason != codec.ProtocolError {
			if control, _ := served(false); !control {
				t.Inconclusive("the target refuses a %s with %d User Properties", p.what, manyUserProperties)
			}
		}
		t.Judge().Thatf(ok, fmt.Sprintf("the connection goes on after a %s with %d User Properties of one name", p.what, manyUserProperties),
			"went on: %v, DISCONNECT 0x%02X", ok, uint8(reason))
	}
	if qos == 0 {
		return
	}
	// A DISCONNECT that is refused shows in the Will, which a valid one takes back.
	will, watcher := t.Topic("will"), t.Connect()
	watcher.Subscribe(qos, will)
	leave := func(oneName bool) *peer.Event {
		payload := fmt.Sprintf("%s of one name %v", lastWords, oneName)
		c := t.Connect(withWill(will, payload, qos))
		d := &codec.Disconnect{}
		userProperties(&d.Props, oneName)
		c.Send(d)
		c.AwaitClose(t.Timeout())
		_ = c.Close()
		t.willFence(watcher, will, qos)
		return watcher.Take(0, withPayload(will, payload))
	}
	e := leave(true)
	if e != nil && leave(false) != nil {
		t.Inconclusive("the target refuses a DISCONNECT with %d User Properties", manyUserProperties)
	}
	t.Judge().That(e == nil, fmt.Sprintf("no Will after a DISCONNECT with %d User Properties of one name", manyUserProperties), seen(e, t))
}
