package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var textChecks = []Check{{
	Name:     "strings/ill-formed-utf8",
	Rules:    []string{"MQTT-1.5.3-1"},
	Rules5:   []string{"MQTT-1.5.4-1"},
	Breaks:   []string{"MQTT-1.5.3-1", "MQTT-3.1.3-10", "MQTT-3.1.3-11", "MQTT-3.1.3-4", "MQTT-3.10.3-1", "MQTT-3.3.2-1", "MQTT-3.8.3-1"},
	Breaks5:  []string{"MQTT-1.5.4-1", "MQTT-3.1.3-11", "MQTT-3.1.3-12", "MQTT-3.1.3-4", "MQTT-3.10.3-1", "MQTT-3.3.2-1", "MQTT-3.3.2-13", "MQTT-3.8.3-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		badText(t, "\xF5\x80\x80\x80", "\xED\xA0\x80", "\xC0\x80", "\xC3\x28", "\xC0\xAF", "\x80", "\xE2\x82")
	},
}, {
	Name:     "strings/null-character",
	Rules:    []string{"MQTT-1.5.3-2"},
	Rules5:   []string{"MQTT-1.5.4-2"},
	Breaks:   []string{"MQTT-1.5.3-2", "MQTT-3.1.3-10", "MQTT-3.1.3-11", "MQTT-3.1.3-4", "MQTT-3.10.3-1", "MQTT-3.3.2-1", "MQTT-3.8.3-1", "MQTT-4.7.3-2"},
	Breaks5:  []string{"MQTT-1.5.4-2", "MQTT-3.1.3-11", "MQTT-3.1.3-12", "MQTT-3.1.3-4", "MQTT-3.10.3-1", "MQTT-3.3.2-1", "MQTT-3.3.2-13", "MQTT-3.8.3-1", "MQTT-4.7.3-2"},
	Versions: MQTT311 | MQTT5,
	Run:      func(t *T) { badText(t, "n\x00l") },
}, {
	Name:     "strings/byte-order-mark-kept",
	Rules:    []string{"MQTT-1.5.3-3"},
	Rules5:   []string{"MQTT-1.5.4-3"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		pub, marked, plain := t.Connect(), t.Connect(), t.Connect()
		pairs := []struct{ with, without string }{
			{t.Topic("in\uFEFFside"), t.Topic("inside")},
			// A mark at the very start of a string is where decoders take it for no text at all.
			{"\uFEFF" + t.Topic("start"), t.Topic("start")},
		}
		for i, p := range pairs {
			marked.Subscribe(1, p.with)
			plain.Subscribe(1, p.without)
			payload := fmt.Sprint("marked ", i)
			if r := pub.PublishPacket(&codec.Publish{Topic: p.with, QoS: 1, Payload: []byte(payload), Props: markedProps(t)}); r.Failed() {
				t.Inconclusive("PUBLISH to a topic with U+FEFF was refused")
			}
			arrived := func(e *peer.Event) bool {
				m, ok := e.Packet.(*codec.Publish)
				return ok && string(m.Payload) == payload
			}
			t.Judge().Silent(plain, "message for the topic without U+FEFF", arrived, func() { t.Fence(pub, plain, p.without, 1) })
			e := marked.Take(t.Timeout(), arrived)
			if e == nil {
				t.Inconclusive("the message to a topic with U+FEFF did not arrive, perhaps by a policy")
			}
			m := e.Packet.(*codec.Publish)
			t.Judge().Thatf(m.Topic == p.with, fmt.Sprintf("the topic %q", p.with), "%q", m.Topic)
			if !t.V5() {
				continue
			}
			t.Judge().Thatf(m.Props.Text(codec.PropContentType) == "\uFEFFtext", "Content Type EF BB BF \"text\"", "%q", m.Props.Text(codec.PropContentType))
			t.Judge().Thatf(hasPair(m, "\uFEFFname", "\uFEFFvalue"), "the User Property with EF BB BF before name and value", "%q", pairsOf(m))
		}
	},
}, {
	Name:     "strings/pair-not-utf8",
	Rules:    []string{"MQTT-1.5.7-1"},
	Breaks:   []string{"MQTT-1.5.7-1", "MQTT-1.5.4-1", "MQTT-1.5.4-2"},
	Versions: MQTT5,
	Run:      badPairs,
}, {
	Name:     "strings/unusual-characters-unchanged",
	Rules:    []string{"P-1.5.4-disallowed-unicode"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		for i, char := range []string{"\u0001", "\u0080", "\uFFFF"} {
			topic, payload := t.Topic("odd"+char), fmt.Sprint("odd ", i)
			t.unusual(topic, payload, func(p *codec.Publish) {}, func(m *codec.Publish) {
				t.Judge().Thatf(m.Topic == topic, fmt.Sprintf("the topic %q", topic), "%q", m.Topic)
			})
			topic = t.Topic("plain")
			t.unusual(topic, payload, func(p *codec.Publish) { p.Props.AddUser("odd", "a"+char+"b") }, func(m *codec.Publish) {
				t.Judge().Thatf(hasPair(m, "odd", "a"+char+"b"), fmt.Sprintf("the User Property %q", "a"+char+"b"), "%q", pairsOf(m))
			})
		}
	},
}}

// unusual publishes to a subscriber of the topic and judges what arrives. To refuse such a
// character is as good as to pass it on.
func (t *T) unusual(topic, payload string, edit func(*codec.Publish), judge func(*codec.Publish)) {
	sub, pub := t.Connect(), t.Connect()
	sub.Send(&codec.Subscribe{PacketID: sub.NextID(), Filters: []codec.Subscription{{Filter: topic, QoS: 1}}})
	e := sub.Take(t.Timeout(), ofType(codec.TypeSuback))
	if e == nil || refuses(e.Packet) {
		_, ended := sub.Closed()
		if e == nil && !ended {
			t.Inconclusive("%s: no SUBACK for %q", sub.Name(), topic)
		}
		t.Judge().That(true, "refused or passed on unchanged", "the filter was refused")
		return
	}
	p := &codec.Publish{Topic: topic, QoS: 1, PacketID: pub.NextID(), Payload: []byte(payload)}
	edit(p)
	pub.Send(p)
	e = pub.Take(t.Timeout(), ofType(codec.TypePuback))
	if e == nil || refuses(e.Packet) {
		_, ended := pub.Closed()
		if e == nil && !ended {
			t.Inconclusive("%s: no PUBACK", pub.Name())
		}
		t.Judge().That(true, "refused or passed on unchanged", "the PUBLISH was refused")
		return
	}
	e = sub.Take(t.Timeout(), func(e *peer.Event) bool {
		m, ok := e.Packet.(*codec.Publish)
		return ok && string(m.Payload) == payload
	})
	if e == nil {
		t.Inconclusive("the message did not arrive")
	}
	judge(e.Packet.(*codec.Publish))
}

// blank stands in a legal packet for a bad text of n bytes.
func blank(n int) string { return strings.Repeat("~", n) }

// spoilt returns the packet with the bad text in the place of its blank.
func (t *T) spoilt(p codec.Packet, text string) []byte {
	frame := t.Encode(p)
	out := bytes.ReplaceAll(frame, []byte(blank(len(text))), []byte(text))
	if bytes.Equal(out, frame) {
		panic(stop{Errored, "the packet to be spoilt has no blank"})
	}
	return out
}

// badText sends strings that are not allowed wherever a client may send one, and judges that
// none is passed on and that the connections end. Under 5.0 only passing one on is a breach.
func badText(t *T, texts ...string) {
	prefix := t.Topic("s")
	watcher := t.watchBelow(prefix)
	qos := t.atMost(1)
	x, tolerable := t.Judge(), t.V5()
	var cases []offence
	add := func(what, text string, p codec.Packet) {
		cases = append(cases, offence{what: fmt.Sprintf("%s with % X", what, text), raw: t.spoilt(p, text), tolerable: tolerable})
	}
	for _, text := range texts {
		p := &codec.Publish{Topic: prefix + "/" + blank(len(text)), QoS: qos, Payload: []byte("ill-formed")}
		if qos > 0 {
			p.PacketID = 0x7F01
		}
		add("PUBLISH to a topic", text, p)
	}
	text := texts[0]
	bad := blank(len(text))
	add("SUBSCRIBE to a filter", text, &codec.Subscribe{PacketID: 0x7F02, Filters: []codec.Subscription{{Filter: prefix + "/" + bad}}})
	add("UNSUBSCRIBE from a filter", text, &codec.Unsubscribe{PacketID: 0x7F03, Filters: []string{prefix + "/" + bad}})
	if t.V5() {
		p := &codec.Publish{Topic: prefix + "/a", Payload: []byte("ill-formed")}
		p.Props.SetText(codec.PropResponseTopic, "reply/"+bad)
		add("PUBLISH with a Response Topic", text, p)
	}
	connects := []offence{
		{what: "the Client Identifier", raw: t.spoilt(t.ConnectPacket(func(p *codec.Connect) { p.ClientID += bad }), text)},
		{what: "the Will Topic", raw: t.spoilt(t.ConnectPacket(func(p *codec.Connect) {
			p.HasWill, p.Will = true, codec.Will{Topic: prefix + "/" + bad, Payload: []byte("ill-formed")}
		}), text)},
		{what: "the User Name", raw: t.spoilt(t.ConnectPacket(func(p *codec.Connect) { p.HasUsername, p.Username = true, "user"+bad }), text)},
	}
	refused := t.sendConnects(connects)
	t.offend(x, []codec.ReasonCode{codec.MalformedPacket}, cases...)
	if tolerable {
		x = x.Warn()
	}
	for i, c := range refused {
		c.Note("% X in %s", text, connects[i].what)
		x.RefusesConnect(c)
	}
	relayed := func(e *peer.Event) bool {
		return bytes.HasSuffix(e.Frame, []byte("ill-formed")) && carriesAny(e.Frame, texts)
	}
	t.Judge().Silent(watcher, "PUBLISH with the bad string", relayed, func() { t.Fence(t.Connect(), watcher, prefix+"/a", qos) })
}

func carriesAny(frame []byte, texts []string) bool {
	return slices.ContainsFunc(texts, func(s string) bool { return bytes.Contains(frame, []byte(s)) })
}

// sendConnects sends each CONNECT on a connection of its own.
func (t *T) sendConnects(cases []offence) []*Conn {
	conns := make([]*Conn, len(cases))
	for i, k := range cases {
		conns[i] = t.Open()
		conns[i].SendRaw(k.raw...)
	}
	return conns
}

// badPairs sends User Properties whose name or value is not allowed.
func badPairs(t *T) {
	topic := t.Topic("a")
	watcher := t.Connect()
	qos := t.atMost(1)
	watcher.Subscribe(qos, topic)
	texts := []string{"\xFF\xFE\xFD", "\xED\xA0\x80", "p\x00q"}
	var cases []offence
	for _, text := range texts {
		for _, inName := range []bool{true, false} {
			name, value := "name", blank(len(text))
			if inName {
				name, value = value, name
			}
			p := &codec.Publish{Topic: topic, QoS: qos, Payload: []byte("ill-formed")}
			if qos > 0 {
				p.PacketID = 0x7F01
			}
			p.Props.AddUser(name, value)
			cases = append(cases, offence{what: fmt.Sprintf("PUBLISH with % X in a User Property", text), raw: t.spoilt(p, text), tolerable: true})
		}
	}
	text := texts[0]
	sub := &codec.Subscribe{PacketID: 0x7F02, Filters: []codec.Subscription{{Filter: t.Topic("b")}}}
	sub.Props.AddUser("name", blank(len(text)))
	cases = append(cases, offence{what: "SUBSCRIBE with a bad User Property", raw: t.spoilt(sub, text), tolerable: true})
	refused := t.sendConnects([]offence{
		{raw: t.spoilt(t.ConnectPacket(func(p *codec.Connect) { p.Props.AddUser("name", blank(len(text))) }), text)},
		{raw: t.spoilt(t.ConnectPacket(func(p *codec.Connect) {
			p.HasWill, p.Will = true, codec.Will{Topic: topic, Payload: []byte("ill-formed")}
			p.Will.Props.AddUser(blank(len(text)), "value")
		}), text)},
	})
	t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket}, cases...)
	for _, c := range refused {
		t.Judge().Warn().RefusesConnect(c)
	}
	relayed := func(e *peer.Event) bool {
		return carriesAny(e.Frame, texts) && bytes.HasSuffix(e.Frame, []byte("ill-formed"))
	}
	t.Judge().Silent(watcher, "PUBLISH with the bad User Property", relayed, func() { t.Fence(t.Connect(), watcher, topic, qos) })
}

// markedProps are properties whose strings begin with a byte order mark.
func markedProps(t *T) codec.Properties {
	var p codec.Properties
	if t.V5() {
		p.SetText(codec.PropContentType, "\uFEFFtext")
		p.AddUser("\uFEFFname", "\uFEFFvalue")
	}
	return p
}

// pairsOf lists the User Properties as name=value.
func pairsOf(m *codec.Publish) []string {
	var out []string
	for k, v := range m.Props.UserProperties() {
		out = append(out, k+"="+v)
	}
	return out
}

func hasPair(m *codec.Publish, name, value string) bool {
	return slices.Contains(pairsOf(m), name+"="+value)
}
