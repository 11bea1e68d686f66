package conformance

import (
	"fmt"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// clientReceiveChecks are about messages to the client beyond the plain ones. Where the client
// writes what it gets, they look at that as well: what an application was given is not on the wire.
var clientReceiveChecks = []Check{{
	Name:     "client/qos1-identifier-used-again",
	Rules:    []string{"MQTT-4.3.2-2"},
	Rules5:   []string{"MQTT-4.3.2-5"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		const id = 7
		c, topic := t.subscriber(1)
		c.Manual()
		for i, dup := range []bool{false, false, true} {
			text := t.token(i)
			c.Send(&codec.Publish{Topic: topic, QoS: 1, PacketID: id, Dup: dup, Payload: []byte(text)})
			t.answers(t.Judge(), c, codec.TypePuback, []uint16{id})
			t.written(t.Judge(), c, text, 1)
		}
	},
}, {
	Name:     "client/qos2-identifier-used-again",
	Rules:    []string{"MQTT-4.3.3-2"},
	Rules5:   []string{"MQTT-4.3.3-12"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		const id = 9
		c, topic := t.subscriber(2)
		c.Manual()
		for i, dup := range []bool{false, false, true} {
			text := t.token(i)
			c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: id, Dup: dup, Payload: []byte(text)})
			t.answers(t.Judge(), c, codec.TypePubrec, []uint16{id})
			c.Send(&codec.Pubrel{PacketID: id})
			t.answers(t.Judge(), c, codec.TypePubcomp, []uint16{id})
			t.written(t.Judge(), c, text, 1)
		}
	},
}, {
	// Under 5.0 nothing may be sent again on the same connection [MQTT-4.4.0-1], so that no server can ask for this.
	Name:     "client/qos2-repeated-on-the-connection",
	Rules:    []string{"MQTT-4.3.3-2"},
	Versions: MQTT311,
	Run: func(t *T) {
		const id = 11
		c, topic := t.subscriber(2)
		c.Manual()
		text := t.token(0)
		for _, dup := range []bool{false, true, true} {
			c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: id, Dup: dup, Payload: []byte(text)})
			t.answers(t.Judge(), c, codec.TypePubrec, []uint16{id})
		}
		for range 2 { // PUBCOMP may have been lost
			c.Send(&codec.Pubrel{PacketID: id})
			t.answers(t.Judge(), c, codec.TypePubcomp, []uint16{id})
		}
		t.written(t.Judge(), c, text, 1)
	},
}, {
	Name:     "client/unknown-pubrel-answered",
	Rules5:   []string{"MQTT-4.3.3-11", "P-3.6.2.1-unknown-pubrel"},
	Versions: MQTT5,
	Run: func(t *T) {
		const id = 901
		t.needs(t.seen().stays, "stay connected")
		c := t.Launch().Accept()
		c.Manual().Accepted()
		if t.seen().subscribes {
			c.Subscribed()
		}
		c.Send(&codec.Pubrel{PacketID: id})
		var got codec.ReasonCode
		e := c.Serve(t.Timeout(), func(e *peer.Event) bool {
			typ, n, r := ackOf(e)
			if typ == codec.TypePubcomp && n == id {
				got = r
				return true
			}
			return false
		})
		if _, ended := c.Closed(); e == nil && ended {
			t.Inconclusive("the client ended the connection")
		}
		for _, rule := range t.check.Rules5 {
			t.Judge(rule).Thatf(e != nil, "PUBCOMP for a PUBREL with an unknown identifier", "%v", e != nil)
		}
		if e != nil && got != codec.PacketIDNotFound {
			t.Note("PUBCOMP for an unknown identifier has %s", got.Name(codec.TypePubcomp, codec.V5))
		}
	},
}, {
	Name:     "client/unknown-acknowledgements-survived",
	Rules5:   []string{"P-3.4.4-unknown-puback"},
	Versions: MQTT5,
	Run: func(t *T) {
		const id = 13
		c, topic := t.subscriber(1)
		c.Manual()
		c.Send(&codec.Puback{PacketID: 999})
		c.Send(&codec.Pubrec{PacketID: 998})
		c.Send(&codec.Pubcomp{PacketID: 997})
		c.Send(&codec.Publish{Topic: topic, QoS: 1, PacketID: id, Payload: []byte("after")})
		e := c.Serve(t.Timeout(), acknowledges(codec.TypePuback, id))
		_, ended := c.Closed()
		t.Judge().Thatf(e != nil || ended, "a message behind unknown acknowledgements is acknowledged, or the connection ends", "nothing within %v", t.Timeout())
	},
}, {
	Name:     "client/expired-on-its-way",
	Rules5:   []string{"MQTT-4.3.3-13"},
	Versions: MQTT5,
	Slow:     2 * time.Second,
	Run: func(t *T) {
		const id = 15
		c, topic := t.subscriber(2)
		c.Manual()
		p := &codec.Publish{Topic: topic, QoS: 2, PacketID: id, Payload: []byte("expires")}
		p.Props.SetUint(codec.PropMessageExpiry, 1)
		c.Send(p)
		t.answers(t.Judge(), c, codec.TypePubrec, []uint16{id})
		c.Serve(max(t.Patience(2*time.Second), 1200*time.Millisecond)) // it expires meanwhile
		c.Send(&codec.Pubrel{PacketID: id})
		e := c.Serve(t.Timeout(), acknowledges(codec.TypePubcomp, id))
		if _, ended := c.Closed(); e == nil && ended {
			t.Inconclusive("the client ended the connection")
		}
		actual := "none"
		if e != nil {
			actual = codec.Describe(e.Packet, codec.V5)
		}
		t.Judge().That(e != nil && e.Packet.(*codec.Pubcomp).Reason == codec.Success, "PUBCOMP with Reason Code 0x00", actual)
	},
}, {
	Name:     "client/properties-in-any-order",
	Rules5:   []string{"P-2.2.2.2-order-free"},
	Versions: MQTT5,
	Run: func(t *T) {
		c, topic := t.subscriber(1)
		c.Manual()
		parts := [][]byte{
			{byte(codec.PropMessageExpiry), 0, 0, 0, 60},
			{byte(codec.PropUserProperty), 0, 1, 'a', 0, 1, 'b'},
			textProperty(codec.PropContentType, "text"),
			{byte(codec.PropPayloadFormat), 1},
			textProperty(codec.PropResponseTopic, "mqlab/answer"),
		}
		for i := range parts {
			var props []byte
			for k := range parts {
				props = append(props, parts[(i+k)%len(parts)]...)
			}
			text := t.token(i)
			c.SendRaw(t.publishBytes(1<<1, topic, uint16(21+i), props, text)...)
			t.takes(t.Judge(), c, uint16(21+i), fmt.Sprintf("a message with its properties in order %d", i+1))
			t.written(t.Judge(), c, text, 1)
		}
	},
}, {
	Name:     "client/topic-aliases-taken",
	Rules5:   []string{"MQTT-3.3.2-10", "P-3.3.4-topic-alias-remap"},
	Versions: MQTT5,
	Run: func(t *T) {
		most := t.aliasMaximum()
		t.needs(most > 0, "take Topic Aliases")
		c, topic := t.subscriber(1)
		c.Manual()
		id, n := uint16(30), 0
		send := func(x *Expectation, name string, alias uint32, belongs string) {
			id++
			n++
			text := t.token(n)
			c.SendRaw(t.publishBytes(1<<1, name, id, []byte{byte(codec.PropTopicAlias), byte(alias >> 8), byte(alias)}, text)...)
			t.takes(x, c, id, fmt.Sprintf("a message on %q with Topic Alias %d of %d", name, alias, most))
			t.written(x, c, text, 1)
			if line := c.client.line(text); t.seen().writesTopic && line != "" {
				x.Thatf(strings.Contains(line, belongs), "the message comes on "+belongs, "%q", line)
			}
		}
		used := map[uint32]bool{}
		for _, alias := range []uint32{1, (most + 1) / 2, most} {
			if used[alias] {
				continue
			}
			used[alias] = true
			send(t.Judge(), topic, alias, topic)
			send(t.Judge(), "", alias, topic)
		}
		other, ok := strings.CutSuffix(t.seen().filter, "#")
		if !ok {
			t.Note("the client subscribes to one topic: whether an alias can be given another one is not tried")
			return
		}
		remap := t.Judge("P-3.3.4-topic-alias-remap")
		send(remap, other+"other", 1, other+"other")
		send(remap, "", 1, other+"other")
	},
}, {
	Name:     "client/topic-alias-ends-with-the-connection",
	Rules5:   []string{"MQTT-3.3.2-7"},
	Versions: MQTT5,
	Axis:     MalformedInput,
	Run: func(t *T) {
		t.needs(t.aliasMaximum() > 0, "take Topic Aliases")
		t.needs(t.seen().stays && t.seen().subscribed > 0, "subscribe at QoS 1 and stay")
		client := t.Launch()
		c := client.Accept()
		c.Manual().Accepted()
		topic, _ := c.Subscribed()
		alias := []byte{byte(codec.PropTopicAlias), 0, 1}
		c.SendRaw(t.publishBytes(1<<1, topic, 41, alias, t.token(0))...)
		if c.Serve(t.Timeout(), acknowledges(codec.TypePuback, 41)) == nil {
			t.Inconclusive("a message with a Topic Alias was not acknowledged, which another check judges")
		}
		c.Drop()
		again := client.Next(t.Timeout())
		if again == nil {
			t.NotApplicable("the client does not connect again within %v", t.Timeout())
		}
		again.Manual().Accepted()
		if again.Serve(min(t.Timeout(), t.Patience(time.Second)), ofType(codec.TypeSubscribe)) == nil && again.hello.CleanStart {
			t.Inconclusive("the client did not subscribe again")
		}
		text := t.token(1)
		again.SendRaw(t.publishBytes(1<<1, "", 42, alias, text)...)
		t.judgeEnd(t.Judge().Warn(), again, topic)
		if t.seen().writes {
			n := client.wrote(text)
			t.Judge().Thatf(n == 0, "no message under a Topic Alias of an earlier connection", "%d", n)
		}
	},
}, {
	Name:     "client/unasked-messages-acknowledged",
	Rules:    []string{"MQTT-4.5.0-2"},
	Rules5:   []string{"MQTT-4.5.0-2", "P-3.3.4-unsolicited-qos"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		t.needs(t.seen().stays, "stay connected")
		c := t.Launch().Accept()
		c.Manual().Accepted()
		if t.seen().subscribes {
			c.Subscribed()
		}
		topic := t.Topic("unasked")
		c.Send(&codec.Publish{Topic: topic, QoS: 1, PacketID: 51, Payload: []byte("unasked")})
		c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: 52, Payload: []byte("unasked")})
		t.answers(t.Judge("MQTT-4.5.0-2", "P-3.3.4-unsolicited-qos"), c, codec.TypePubrec, []uint16{52})
		t.answers(t.Judge("MQTT-4.5.0-2"), c, codec.TypePuback, []uint16{51})
		c.Send(&codec.Pubrel{PacketID: 52})
		t.answers(t.Judge("MQTT-4.5.0-2"), c, codec.TypePubcomp, []uint16{52})
	},
}}

// token is a text that nothing else holds, by which a message is found in what the client writes.
func (t *T) token(i int) string { return fmt.Sprintf("mqlab%sx%d", t.unique(), i) }

// written judges how often the client has written the text, where it writes what it gets.
func (t *T) written(x *Expectation, c *Conn, text string, want int) {
	if !t.seen().writes {
		return
	}
	got := c.client.writes(text, want, t.Timeout())
	x.Thatf(got == want, fmt.Sprintf("the message is handed over %d time(s)", want), "%d times", got)
}

// takes judges that a legal message is acknowledged. A client that ends the connection for it has
// refused it.
func (t *T) takes(x *Expectation, c *Conn, id uint16, what string) {
	e := c.Serve(t.Timeout(), acknowledges(codec.TypePuback, id), ofType(codec.TypeDisconnect))
	actual := "PUBACK"
	if e == nil || e.Packet.Type() != codec.TypePuback {
		actual = fmt.Sprintf("nothing within %v", t.Timeout())
		if _, ended := c.Closed(); ended || e != nil {
			actual = "the client ends the connection"
		}
	}
	if !x.That(actual == "PUBACK", "PUBACK for "+what, actual) {
		panic(stop{verdict: Pass}) // the recorded breach decides
	}
}

// writes waits until the client has written the text so often, and a moment for what is too much,
// and returns how often it has.
func (c *Client) writes(text string, want int, limit time.Duration) int {
	c.until(limit, func() bool { return c.wrote(text) >= want })
	c.until(min(limit, c.t.Patience(30*time.Millisecond)), func() bool { return c.wrote(text) > want })
	return c.wrote(text)
}

// until waits for the condition, for as long as the client runs.
func (c *Client) until(limit time.Duration, ok func() bool) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(limit)
	defer end.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end.C:
			return
		case <-c.t.ctx.Done():
			return
		}
	}
}

// outputShown bounds how much of what a client writes is looked through for messages.
const outputShown = 16 << 10

// wrote is how often the text stands in what the client has written.
func (c *Client) wrote(text string) int { return strings.Count(c.out.Tail(outputShown), text) }

// line is the line with the text in what the client has written, or "".
func (c *Client) line(text string) string {
	for line := range strings.Lines(c.out.Tail(outputShown)) {
		if strings.Contains(line, text) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
