package conformance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// clientMessage is what {message} stands for.
const clientMessage = "mqlab message"

var clientSenderChecks = []Check{{
	Name:     "client/no-identifier-at-qos-0",
	Rules:    []string{"MQTT-2.3.1-5"},
	Rules5:   []string{"MQTT-2.2.1-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		t.needs(t.seen().messages > t.seen().publishes, "publish at QoS 0")
		if !strings.Contains(strings.Join(t.run.client.command, " "), "{message}") {
			t.NotApplicable("nobody knows what the client publishes: write {message} in the command")
		}
		c := t.Launch().Accept()
		c.Accepted()
		e := c.Serve(t.Timeout(), func(e *peer.Event) bool {
			p, ok := e.Packet.(*codec.Publish)
			return ok && p.QoS == 0
		})
		if e == nil {
			t.Inconclusive("the client published nothing at QoS 0 this time")
		}
		// Two bytes too many are read as part of the payload, or as a Property Length that does not fit.
		p := e.Packet.(*codec.Publish)
		extra := len(p.Payload) == len(clientMessage)+2 && strings.HasSuffix(string(p.Payload), clientMessage) || t.V5() && len(e.Faults) > 0
		if !extra && string(p.Payload) != clientMessage {
			t.Inconclusive("the client publishes something else than {message}")
		}
		t.Judge().Thatf(!extra, "the payload right behind the topic and its properties", "%s", describeEvents([]*peer.Event{e}, t.Version()))
	},
}, {
	Name:     "client/maximum-qos-honoured",
	Rules5:   []string{"MQTT-3.2.2-11"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.needs(t.seen().published > 0, "publish above QoS 0")
		highest := t.seen().published - 1
		t.publishes(func(p *codec.Connack) { p.Props.SetUint(codec.PropMaximumQoS, uint32(highest)) }, func(e *peer.Event, p *codec.Publish) {
			t.Judge().Thatf(p.QoS <= highest, fmt.Sprintf("PUBLISH with QoS %d at most", highest), "QoS %d", p.QoS)
		}, fmt.Sprintf("PUBLISH with QoS %d at most", highest))
	},
}, {
	Name:     "client/retain-available-honoured",
	Rules5:   []string{"MQTT-3.2.2-14"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.needs(t.seen().retains, "publish with RETAIN 1")
		t.publishes(func(p *codec.Connack) { p.Props.SetUint(codec.PropRetainAvailable, 0) }, func(_ *peer.Event, p *codec.Publish) {
			t.Judge().Thatf(!p.Retain, "no PUBLISH with RETAIN 1", "RETAIN %v", p.Retain)
		}, "no PUBLISH with RETAIN 1")
	},
}, {
	Name:     "client/maximum-packet-size-honoured",
	Rules5:   []string{"MQTT-3.2.2-15"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.needs(t.seen().messages > 0, "publish")
		limit := t.seen().largest - 1
		expected := fmt.Sprintf("no packet of more than %d bytes", limit)
		t.publishes(func(p *codec.Connack) { p.Props.SetUint(codec.PropMaximumPacketSize, uint32(limit)) }, func(e *peer.Event, _ *codec.Publish) {
			t.Judge().Thatf(len(e.Frame) <= limit, expected, "%d bytes", len(e.Frame))
		}, expected)
	},
}, {
	Name:     "client/no-topic-alias-unasked",
	Rules5:   []string{"MQTT-3.2.2-18"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.needs(t.seen().messages > 0, "publish")
		t.publishes(func(*codec.Connack) {}, func(_ *peer.Event, p *codec.Publish) {
			t.Judge().Thatf(!p.Props.Has(codec.PropTopicAlias), "no Topic Alias", "%s", codec.Describe(p, codec.V5))
		}, "no Topic Alias")
	},
}, {
	Name:     "client/receive-maximum-honoured",
	Rules5:   []string{"MQTT-3.3.4-7", "MQTT-4.9.0-2"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.needs(t.seen().publishes > 1, "publish several messages above QoS 0")
		c := t.Launch().Accept()
		c.Manual().Accepted(func(p *codec.Connack) { p.Props.SetUint(codec.PropReceiveMaximum, 1) })
		first := c.message(t.Timeout())
		if first == nil {
			t.Inconclusive("the client published nothing above QoS 0 this time")
		}
		if first.At.Before(c.told) {
			t.NotApplicable("the client publishes before it knows the Receive Maximum")
		}
		second := c.message(t.Patience(time.Second))
		actual := "none"
		if second != nil {
			actual = describeEvents([]*peer.Event{first, second}, codec.V5)
		}
		for _, id := range t.check.Rules5 {
			t.Judge(id).That(second == nil, "no second message before the first is acknowledged, with Receive Maximum 1", actual)
		}
	},
}, {
	Name:     "client/pubrel-in-order",
	Rules:    []string{"MQTT-4.6.0-4"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		t.needs(t.seen().published == 2 && t.seen().publishes > 1, "publish several messages at QoS 2")
		c := t.Launch().Accept()
		c.Manual().Accepted()
		var ids []uint16
		for len(ids) < 4 {
			e := c.message(t.Patience(time.Second))
			if e == nil {
				break
			}
			if p := e.Packet.(*codec.Publish); p.QoS == 2 && !slices.Contains(ids, p.PacketID) {
				ids = append(ids, p.PacketID)
			}
		}
		if len(ids) < 2 {
			t.NotApplicable("the client waits for PUBREC before its next message")
		}
		slices.Reverse(ids)
		for _, id := range ids {
			c.Send(&codec.Pubrec{PacketID: id})
		}
		var got []uint16
		for len(got) < len(ids) {
			e := c.Serve(t.Timeout(), ofType(codec.TypePubrel))
			if e == nil {
				t.Inconclusive("%d of %d PUBRELs came", len(got), len(ids))
			}
			_, id, _ := ackOf(e)
			got = append(got, id)
		}
		t.Judge().Thatf(slices.Equal(got, ids), fmt.Sprintf("PUBREL with the identifiers %v", ids), "%v", got)
	},
}, {
	Name:     "client/open-messages-sent-again",
	Rules:    []string{"MQTT-4.4.0-1", "MQTT-3.3.1-1", "MQTT-3.1.2-4", "MQTT-3.1.3-2", "MQTT-4.1.0-1"},
	Rules5:   []string{"MQTT-4.4.0-1", "MQTT-3.3.1-1", "MQTT-3.1.2-23", "MQTT-4.3.2-3"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		t.needs(t.seen().publishes > 0, "publish above QoS 0")
		t.needs(t.keepsSession(t.seen().hello), "ask for a session that outlives the connection")
		client := t.Launch()
		c := client.Accept()
		c.Manual().Accepted()
		e := c.message(t.Timeout())
		if e == nil {
			t.Inconclusive("the client published nothing above QoS 0 this time")
		}
		was := e.Packet.(*codec.Publish)
		c.Drop()
		again := t.comesBack(client)
		again.Manual()
		same := func(e *peer.Event) bool {
			p, ok := e.Packet.(*codec.Publish)
			return ok && p.PacketID == was.PacketID
		}
		e = again.Serve(t.Timeout(), same)
		if _, ended := again.Closed(); e == nil && ended {
			t.Inconclusive("the client ended the second connection")
		}
		if moved := again.hello.ClientID != c.hello.ClientID; moved {
			if !t.V5() {
				t.Judge("MQTT-3.1.3-2").That(e == nil, "nothing of the session of another Client Identifier", "the message again, under another one")
			}
			t.NotApplicable("the client comes back under another Client Identifier")
		}
		for _, rule := range t.check.RulesFor(t.version) {
			switch {
			case rule == "MQTT-3.3.1-1", rule == "MQTT-4.3.2-3" && was.QoS != 1:
			case rule == "MQTT-3.1.3-2":
				t.Judge(rule).That(true, "the session under the same Client Identifier", again.hello.ClientID)
			default:
				t.Judge(rule).Thatf(e != nil, fmt.Sprintf("PUBLISH with id %d again", was.PacketID), "%v", e != nil)
			}
		}
		if e == nil {
			return
		}
		if p := e.Packet.(*codec.Publish); string(p.Payload) == string(was.Payload) && p.Topic == was.Topic {
			t.Judge("MQTT-3.3.1-1").Thatf(p.Dup, "DUP 1", "%s", codec.Describe(p, t.Version()))
		}
	},
}}

// message serves until the client publishes above QoS 0, and returns nil where it does not.
func (c *Conn) message(d time.Duration) *peer.Event {
	return c.Serve(d, func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && p.QoS > 0 && len(e.Faults) == 0
	})
}

// publishes accepts the client with the announcement and judges each of its messages. A client that
// keeps them all back, or leaves, breaks nothing. What it sent before it could know of the
// announcement is not judged.
func (t *T) publishes(announce func(*codec.Connack), judge func(*peer.Event, *codec.Publish), expected string) {
	c := t.Launch().Accept()
	c.Accepted(announce)
	for limit, n := time.Now().Add(t.Timeout()), 0; ; {
		wait := min(time.Until(limit), t.Timeout())
		if n > 0 {
			wait = t.Grace()
		}
		e := c.Serve(wait, ofType(codec.TypePublish))
		if e == nil {
			if n == 0 {
				t.Judge().That(true, expected, "no message at all")
			}
			return
		}
		n++
		if e.At.Before(c.told) {
			t.NotApplicable("the client publishes before it has the CONNACK")
		}
		judge(e, e.Packet.(*codec.Publish))
		if n == t.seen().messages {
			return
		}
	}
}
