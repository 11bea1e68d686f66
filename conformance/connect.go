package conformance

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var connectChecks = []Check{{
	Name:     "connect/answered-by-connack",
	Rules:    []string{"MQTT-3.1.4-4", "MQTT-3.2.0-1", "MQTT-3.2.2-1"},
	Rules5:   []string{"MQTT-3.1.4-5", "MQTT-3.2.0-1", "MQTT-3.2.0-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c, _ := t.tryAgain(t.Encode(t.ConnectPacket(func(p *codec.Connect) { p.KeepAlive = 60 })))
		e := t.Judge().Answer(c, "a packet", anyPacket)
		ack, ok := e.Packet.(*codec.Connack)
		t.Judge("MQTT-3.2.0-1").That(ok, "CONNACK first", describeEvents([]*peer.Event{e}, t.Version()))
		if !ok {
			return
		}
		if ack.Reason != codec.Success && t.policyRefusal(ack.Reason) {
			t.Inconclusive("the target refused for a reason of its own: %s", codec.Describe(ack, t.Version()))
		}
		t.Judge().That(ack.Reason == codec.Success, "code 0", codec.Describe(ack, t.Version()))
		if !t.V5() {
			t.Judge("MQTT-3.2.2-1").Thatf(len(e.Frame) == 4 && e.Frame[2] == 0, "20 02 00 00 after CleanSession 1", "% X", e.Frame)
			return
		}
		t.Judge("MQTT-3.2.0-2").Silent(c, "second CONNACK", ofType(codec.TypeConnack), c.Ping)
	},
}, {
	Name:     "connect/second-connect-refused",
	Rules:    []string{"MQTT-3.1.0-2"},
	Breaks:   []string{"MQTT-3.1.0-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.Send(t.ConnectPacket(func(p *codec.Connect) { p.ClientID = c.ClientID() }))
		refusal := func(e *peer.Event) bool {
			a, ok := e.Packet.(*codec.Connack)
			return ok && !t.V5() && a.Reason != codec.Success
		}
		t.Judge().Refuses(c, refusal, codec.ProtocolError)
	},
}, {
	Name:     "connect/first-packet-must-be-connect",
	Rules:    []string{"MQTT-3.1.0-1"},
	Rules5:   []string{"P-3.1.0-first-packet"},
	Breaks:   []string{"MQTT-3.1.0-1"},
	Versions: MQTT311 | MQTT5,
	Run:      firstPacket,
}, {
	Name:     "connect/unknown-protocol-name",
	Rules:    []string{"MQTT-3.1.2-1"},
	Breaks:   []string{"MQTT-3.1.2-1"},
	Breaks5:  []string{"MQTT-3.1.2-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		cases := []connectCase{
			{"the protocol name is MQTX", func(b *connectBytes) { b.name = field("MQTX") }},
			{"the protocol name is mqtt", func(b *connectBytes) { b.name = field("mqtt") }},
		}
		if t.V5() {
			refusesEach(t, t.Judge(), cases...)
			return
		}
		for i, c := range sendEach(t, cases) {
			o := c.outcome()
			if !o.ended {
				// Only service as an MQTT 3.1.1 client is ruled out: an open connection that answers nothing is none.
				c.Send(&codec.Pingreq{})
				if c.Take(t.Timeout(), ofType(codec.TypePingresp)) == nil {
					t.Inconclusive("%s: the connection is open, and PINGREQ is not answered: %s", cases[i].what, o.describe(t.Version()))
				}
			}
			t.Judge().Thatf(o.ended, "no service", "%s: served: %s", cases[i].what, o.describe(t.Version()))
		}
	},
}, {
	Name:     "connect/unknown-protocol-level",
	Rules:    []string{"MQTT-3.1.2-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		if t.V5() {
			refusesEach(t, t.Judge(),
				connectCase{"the protocol version is 6", func(b *connectBytes) { b.level = 6 }},
				connectCase{"the protocol version is 2", func(b *connectBytes) { b.level = 2 }})
			return
		}
		cases := []connectCase{
			{"the protocol level is 6", func(b *connectBytes) { b.level = 6 }},
			{"the protocol level is 127", func(b *connectBytes) { b.level = 0x7F }},
		}
		for _, c := range sendEach(t, cases) {
			unknownLevel(t, c)
		}
	},
}, {
	Name:     "connect/malformed-refused",
	Rules:    []string{"MQTT-3.1.4-1"},
	Breaks:   []string{"MQTT-3.1.2-9", "MQTT-3.1.2-14", "MQTT-3.1.2-22", "MQTT-3.1.3-3"},
	Breaks5:  []string{"MQTT-3.1.2-9", "MQTT-3.1.3-3", "MQTT-3.1.2-16", "MQTT-2.1.3-1", "MQTT-2.2.2-1", "P-2.1.4-length-mismatch", "P-2.2.2.1-property-length-overrun", "P-2.2.2.2-unknown-identifier"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		if t.V5() {
			refusesEach(t, t.Judge(), malformedConnects5(t)...)
			return
		}
		cases := malformedConnects(t)
		for i, c := range sendEach(t, cases) {
			o := c.outcome()
			ok := !o.accepted() && o.ended
			t.Judge().Thatf(ok, "the connection ends without CONNACK", "%s: %s", cases[i].what, o.describe(t.Version()))
			if !ok {
				return
			}
			t.Judge().Warn().Thatf(o.ack == nil, "no CONNACK before the end", "%s: %s", cases[i].what, o.describe(t.Version()))
		}
	},
}, {
	Name:     "connect/refused-then-ignored",
	Rules:    []string{"MQTT-3.1.4-5"},
	Rules5:   []string{"MQTT-3.1.4-6"},
	Breaks:   []string{"MQTT-3.1.3-7"},
	Breaks5:  []string{},
	Versions: MQTT311 | MQTT5,
	Run:      refusedThenIgnored,
}, {
	Name:     "connect/payload-order",
	Rules:    []string{"MQTT-3.1.3-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run:      payloadOrder,
}, {
	Name:     "connect/early-packets-served",
	Rules:    []string{"P-3.1.4-early-packets"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		c := t.Open()
		topic := t.Topic("a")
		c.SendRaw(slices.Concat(t.Encode(t.ConnectPacket()),
			t.Encode(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: topic, QoS: 1}}}),
			t.Encode(&codec.Publish{Topic: topic, QoS: 1, PacketID: 2, Payload: []byte("early")}),
			t.Encode(&codec.Pingreq{}))...)
		// A server may limit what it takes before it knows who speaks.
		e := c.Take(t.Timeout(), ofType(codec.TypeConnack))
		if e == nil || e.Packet.(*codec.Connack).Reason != codec.Success {
			t.Inconclusive("a CONNECT with packets behind it was not accepted")
		}
		t.Judge().Answer(c, "SUBACK", ofType(codec.TypeSuback))
		t.Judge().Answer(c, "PUBACK", ofType(codec.TypePuback))
		t.Judge().Answer(c, "PINGRESP", ofType(codec.TypePingresp))
	},
}, {
	Name:     "connect/silence-ends-the-connection",
	Rules:    []string{"P-3.1.4-no-connect"},
	Versions: MQTT5,
	Slow:     5 * time.Second,
	Run: func(t *T) {
		mute, half := t.Open(), t.Open()
		packet := t.Encode(t.ConnectPacket())
		half.SendRaw(packet[:len(packet)/2]...)
		began := time.Now()
		limit := t.Patience(noConnectLimit)
		for _, c := range []*Conn{mute, half} {
			_, ended := c.AwaitClose(limit - time.Since(began))
			// The limit is the server's choice: only far beyond the usual ones is it worth a word.
			if !ended && limit < noConnectVerdict {
				t.Inconclusive("%s: still open after %v without a CONNECT: --patience %d waits longer than brokers usually do",
					c.Name(), limit, noConnectVerdict/noConnectLimit)
			}
			t.Judge().Warn().Thatf(ended, "the connection ends", "ended %v within %v without a CONNECT", ended, limit)
		}
	},
}, {
	Name:     "connect/bad-login-refused",
	Rules:    []string{"MQTT-3.1.4-2"},
	Versions: MQTT5,
	Needs:    CapBadLogin,
	Run: func(t *T) {
		c := t.Open()
		c.Send(t.ConnectPacket(t.badLogin))
		t.Judge().RefusesConnect(c)
	},
}}

const (
	noConnectLimit   = 6 * time.Second // at patience 1; longer than the baseline's own limit
	noConnectVerdict = 2 * time.Minute // from here on an open connection is reported; limits of 90 s are in use
)

// badLogin is an edit for a CONNECT: credentials that the target refuses.
func (t *T) badLogin(p *codec.Connect) {
	cfg := t.Config()
	p.HasUsername, p.Username = true, cfg.BadUsername
	if cfg.BadUsername == "" {
		p.Username = cfg.Username
	}
	p.HasPassword, p.Password = cfg.BadPassword != "", []byte(cfg.BadPassword)
}

// firstPacket begins connections with other packets than CONNECT. A connection that stays open
// without any answer proves nothing: the target's own limit for the CONNECT may be longer than ours.
func firstPacket(t *T) {
	topic := t.Topic("a")
	watcher, other := t.Connect(), t.Connect()
	watcher.Subscribe(0, topic)
	first := []codec.Packet{
		&codec.Pingreq{},
		&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: topic}}},
		&codec.Publish{Topic: topic, Payload: []byte("uninvited")},
		&codec.Publish{Topic: topic, QoS: 1, PacketID: 1, Payload: []byte("uninvited")},
		&codec.Disconnect{},
	}
	conns := make([]*Conn, len(first))
	for i, p := range first {
		conns[i] = t.Open()
		conns[i].Send(p)
	}
	if t.V5() {
		c := t.Open()
		c.SendRaw(0xF0, 0)
		conns = append(conns, c)
	}
	answers := func(e *peer.Event) bool {
		a, ok := e.Packet.(*codec.Connack)
		refusal := ok && a.Reason != codec.Success
		return !refusal && e.Packet != nil && e.Packet.Type() != codec.TypeDisconnect
	}
	closed := 0
	deadline := time.Now().Add(t.Timeout())
	for _, c := range conns {
		c.Disturbed(max(time.Until(deadline), 10*time.Millisecond), answers)
		es := c.Pending(answers)
		_, ended := c.Closed()
		if len(es) > 0 || ended {
			t.Judge().That(len(es) == 0, "no answer before a CONNECT", describeEvents(es, t.Version()))
		}
		if ended {
			closed++
		}
		// A refusal where nothing was asked is no service, but the text asks for a bare close.
		if es := c.Pending(anyPacket); len(es) > 0 {
			t.Judge().Note().That(false, "the connection ends without a packet", describeEvents(es, t.Version()))
		}
	}
	forwarded := withPayload(topic, "uninvited")
	t.Judge().Silent(watcher, "message of a client that did not connect", forwarded, func() { t.Fence(other, watcher, topic, 0) })
	if closed == 0 {
		t.Inconclusive("the target answers nothing before a CONNECT, and waits longer than %v for it", t.Timeout())
	}
}

// unknownLevel judges the answer to a protocol level that 3.1.1 does not know. A target that
// serves 5.0 as well may answer by the rules of 5.0.
func unknownLevel(t *T, c *Conn) {
	o := c.outcome()
	const expected = "20 02 00 01, then the connection ends"
	switch {
	case o.accepted(), !o.ended, o.refusedWith(codec.ReturnUnacceptableVersion), t.only311():
		ok := o.refusedWith(codec.ReturnUnacceptableVersion) && o.ended
		t.Judge().That(ok, expected, o.describe(t.Version()))
	default:
		t.Inconclusive("the answer may follow another version of MQTT: %s", o.describe(t.Version()))
	}
}

// only311 reports whether the target is known not to serve 5.0.
func (t *T) only311() bool {
	newer := t.run.features[MQTT5]
	return newer != nil && !newer.Served
}

// malformedConnects are the departures that a server of 3.1.1 has to find and to answer with a
// bare close. Those with an answer of their own are not among them.
func malformedConnects(t *T) []connectCase {
	return []connectCase{
		{"the reserved flag is set", func(b *connectBytes) { b.flags |= connectReserved }},
		{"Will Flag without the fields of a Will", func(b *connectBytes) {
			b.anonymous()
			b.flags |= connectWill
		}},
		{"Will QoS 3", func(b *connectBytes) {
			b.will(t.Topic("will"), "gone")
			b.flags |= connectWill | connectWillQoS1 | connectWillQoS2
		}},
		{"Password Flag without User Name Flag", func(b *connectBytes) {
			b.anonymous()
			b.flags |= connectPassword
			b.password = field("secret")
		}},
		{"a string that runs past the end of the packet", func(b *connectBytes) { overrun(b) }},
		{"no payload", func(b *connectBytes) { b.emptyPayload() }},
	}
}

// malformedConnects5 are departures from the format of a CONNECT of 5.0.
func malformedConnects5(t *T) []connectCase {
	// cut leaves out everything from the nth part of the variable header on.
	cut := func(n int) func(*connectBytes) {
		return func(b *connectBytes) {
			b.emptyPayload()
			b.props = nil
			if n < 3 {
				b.keepAlive = b.keepAlive[:max(0, n-1)]
			}
		}
	}
	return []connectCase{
		{"the packet ends after the Connect Flags", cut(1)},
		{"the packet ends inside the Keep Alive", cut(2)},
		{"the packet ends before the Property Length", cut(3)},
		{"the packet ends inside the Client Identifier", func(b *connectBytes) { overrun(b) }},
		{"no payload", func(b *connectBytes) { b.emptyPayload() }},
		{"Will Flag without the fields of a Will", func(b *connectBytes) {
			b.anonymous()
			b.flags |= connectWill
		}},
		{"bytes after the last field", func(b *connectBytes) { b.surplus = []byte{0xFF} }},
		{"the reserved flag is set", func(b *connectBytes) { b.flags |= connectReserved }},
		{"an identifier that is no property", func(b *connectBytes) { b.props = []byte{2, 0x7F, 0} }},
		{"a Property Length that runs past the end of the packet", func(b *connectBytes) { b.props = []byte{0x7F} }},
		{"flags in the fixed header", func(b *connectBytes) { b.first = 0x11 }},
	}
}

// overrun makes the Client Identifier the last field, and longer by its length than it is.
func overrun(b *connectBytes) {
	id := b.clientID
	b.emptyPayload()
	b.anonymous()
	b.clientID = bytes.Clone(id)
	b.clientID[1] += 5
}

// refusedThenIgnored sends packets behind a CONNECT that is refused, in one write.
func refusedThenIgnored(t *T) {
	spoilt := t.connectBytes()
	if t.V5() {
		spoilt.flags |= connectReserved
	} else {
		spoilt.flags &^= connectClean
		spoilt.clientID = field("")
	}
	connects := [][]byte{spoilt.encode()}
	if !t.V5() {
		// Some targets put up with an empty Client Identifier.
		level := t.connectBytes()
		level.level = 9
		connects = append(connects, level.encode())
	}
	if t.only311() {
		newer := t.connectBytes()
		newer.level, newer.props = byte(codec.V5), []byte{0}
		connects = append(connects, newer.encode())
	}
	if t.Target().Capabilities&CapBadLogin != 0 {
		connects = append(connects, t.Encode(t.ConnectPacket(t.badLogin)))
	}
	refused := false
	for i, b := range connects {
		refused = ignored(t, t.Topic(strconv.Itoa(i)), b) || refused
	}
	if !refused {
		t.Inconclusive("the CONNECT was not refused")
	}
}

// ignored sends the CONNECT with a retained PUBLISH and a SUBSCRIBE behind it, and judges that
// nothing comes of them. It reports whether the CONNECT was refused.
func ignored(t *T, topic string, connect []byte) bool {
	qos := codec.QoS(0)
	if t.Target().Capabilities&CapQoS1 != 0 {
		qos = 1
	}
	watcher, other := t.Connect(), t.Connect()
	watcher.Subscribe(qos, topic)
	p := &codec.Publish{Topic: topic, QoS: qos, Retain: t.Target().Capabilities&CapRetain != 0, Payload: []byte("uninvited")}
	if qos > 0 {
		p.PacketID = 1
	}
	c := t.Open()
	c.track(p)
	c.SendRaw(slices.Concat(connect, t.Encode(p),
		t.Encode(&codec.Subscribe{PacketID: 2, Filters: []codec.Subscription{{Filter: topic}}}))...)
	if c.outcome().accepted() {
		return false
	}
	answers := func(e *peer.Event) bool {
		return e.Packet != nil && e.Packet.Type() != codec.TypeConnack && isAnswer(e.Packet.Type())
	}
	t.Judge().Silent(c, "acknowledgement after the refusal", answers, func() {})
	uninvited := withPayload(topic, "uninvited")
	t.Judge().Silent(watcher, "message of the refused client", uninvited, func() { t.Fence(other, watcher, topic, qos) })
	late := t.Connect()
	late.Subscribe(qos, topic)
	t.Judge().Silent(late, "retained message of the refused client", uninvited, func() { t.Fence(other, late, topic, qos) })
	return true
}

// payloadOrder sends every field of the payload with a value of its own and lets the Will show
// how they were read. Each value could be a Topic Name, so that fields mixed up show as well.
func payloadOrder(t *T) {
	will, payload, user := t.Topic("topic"), t.Topic("payload"), t.Topic("user")
	watcher := t.Connect()
	watcher.Subscribe(1, will, payload, user)
	invented := false
	edit := func(p *codec.Connect) {
		p.HasWill, p.Will = true, codec.Will{Topic: will, Payload: []byte(payload), QoS: 1}
		if t.V5() {
			p.Will.Props.SetText(codec.PropContentType, "mqlab/"+p.ClientID)
		}
		if invented {
			p.HasUsername, p.Username, p.HasPassword, p.Password = true, user, true, []byte("secret")
		}
	}
	invented = t.Config().Username == ""
	p := t.ConnectPacket(edit)
	c := t.Open()
	c.Send(p)
	if !c.outcome().accepted() && invented {
		// Whoever knows its users refuses ours; without them the other fields still show their order.
		invented = false
		p = t.ConnectPacket(edit)
		c = t.Open()
		c.Send(p)
	}
	if o := c.outcome(); !o.accepted() {
		t.Inconclusive("a CONNECT with a Will was refused: %s", o.describe(t.Version()))
	}
	c.Drop()
	e := watcher.Take(t.Timeout(), onTopic(""))
	if e == nil {
		t.Inconclusive("no Will arrived")
	}
	m := e.Packet.(*codec.Publish)
	ok := m.Topic == will && string(m.Payload) == payload
	t.Judge().That(ok, "the Will Message with the topic and payload of the CONNECT", codec.Describe(m, t.Version()))
	if t.V5() {
		want := p.Will.Props.Text(codec.PropContentType)
		got := m.Props.Text(codec.PropContentType)
		// A server that does not pass the property on has still read the fields in their order.
		t.Judge().Thatf(got == want || !m.Props.Has(codec.PropContentType), "Content Type "+want+", or none", "%q", got)
	}
}
