package conformance

import (
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var subscribeChecks = []Check{{
	Name:     "subscribe/one-code-for-each-filter",
	Rules:    []string{"MQTT-3.8.4-1", "MQTT-3.8.4-5", "MQTT-3.9.3-1"},
	Rules5:   []string{"MQTT-3.8.4-1", "MQTT-3.8.4-6", "MQTT-3.9.3-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		for _, qos := range [][]codec.QoS{{1}, {2, 0, 1, 0}, {1, 1, 2, 0, 2}, spread(20)} {
			p := &codec.Subscribe{PacketID: c.NextID()}
			for i, q := range qos {
				p.Filters = append(p.Filters, codec.Subscription{Filter: t.Topic(fmt.Sprintf("n%d", i)), QoS: q})
			}
			if limit := t.Target().MaximumPacketSize; limit > 0 && p.Size(t.Version()) > int(limit) {
				return
			}
			c.Send(p)
			if len(qos) > 10 {
				// A target that limits packets, which 3.1.1 cannot announce, may end the connection.
				if c.Disturbed(t.Timeout(), ofType(codec.TypeSuback)); len(c.Pending(ofType(codec.TypeSuback))) == 0 {
					if _, closed := c.Closed(); closed {
						t.Note("a request with %d filters ends the connection", len(qos))
						return
					}
				}
			}
			ack := t.Judge().Answered(c, "SUBACK", ofType(codec.TypeSuback)).Packet.(*codec.Suback)
			t.Judge("MQTT-3.8.4-5", "MQTT-3.8.4-6").Thatf(len(ack.Reasons) == len(qos),
				fmt.Sprintf("%d codes", len(qos)), "%d codes", len(ack.Reasons))
			if len(ack.Reasons) != len(qos) {
				return
			}
			judgeOrder(t, qos, ack.Reasons)
		}
	},
}, {
	Name:     "subscribe/answered-again",
	Rules:    []string{"MQTT-3.8.4-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		for range 3 {
			p := &codec.Subscribe{PacketID: c.NextID(), Filters: []codec.Subscription{{Filter: t.Topic("a"), QoS: 1}}}
			c.Send(p)
			t.Judge().Answered(c, "SUBACK", ofType(codec.TypeSuback))
		}
	},
}, {
	Name:     "subscribe/suback-repeats-id",
	Rules:    []string{"MQTT-3.8.4-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		ids := []uint16{1, 0xFF, 0x100, 300, 0xFFFF}
		for i, id := range ids {
			c.Send(&codec.Subscribe{PacketID: id, Filters: []codec.Subscription{{Filter: t.Topic(fmt.Sprintf("n%d", i))}}})
		}
		for _, id := range ids {
			t.Judge().Answered(c, fmt.Sprintf("SUBACK with Packet Identifier %d", id), subackFor(id))
		}
		t.Judge().Silent(c, "SUBACK beyond one for each request", ofType(codec.TypeSuback), c.Ping)
	},
}, {
	Name:     "subscribe/grants-at-most-what-was-asked",
	Rules:    []string{"MQTT-3.8.4-5"},
	Rules5:   []string{"MQTT-3.8.4-7"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		for qos := range codec.QoS(3) {
			// One filter in each request: a wrong order of codes cannot be taken for a wrong code.
			p := &codec.Subscribe{PacketID: c.NextID(), Filters: []codec.Subscription{{Filter: t.Topic(fmt.Sprintf("q%d", qos)), QoS: qos}}}
			r := c.SubscribeWith(p).Reasons[0]
			if !t.V5() {
				// A code that 3.1.1 does not have is the business of MQTT-3.9.3-2.
				t.Judge().Warn().Thatf(r > codec.GrantedQoS2 || r <= codec.ReasonCode(qos),
					fmt.Sprintf("a grant of at most QoS %d, or a failure", qos), "code 0x%02X", uint8(r))
				continue
			}
			t.Judge().Thatf(r.Failed() || r <= codec.ReasonCode(qos),
				fmt.Sprintf("a grant of at most QoS %d, or a failure", qos), "code 0x%02X", uint8(r))
		}
	},
}, {
	Name:     "subscribe/codes-are-defined",
	Rules:    []string{"MQTT-3.9.3-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		filters := []string{t.Topic("a"), t.Topic("+/a"), t.Topic("a/#"), "$SYS/#", "$" + t.unique() + "/a"}
		if t.V5() && t.Target().Capabilities&CapWildcard == 0 {
			filters = []string{t.Topic("a"), "$SYS/" + t.unique(), "$" + t.unique() + "/a"}
		}
		for _, f := range filters {
			p := &codec.Subscribe{PacketID: c.NextID(), Filters: []codec.Subscription{{Filter: f, QoS: 2}}}
			c.Send(p)
			e := c.Take(t.Timeout(), subackFor(p.PacketID))
			if e == nil {
				t.Inconclusive("no SUBACK for %q", f)
			}
			for _, r := range e.Packet.(*codec.Suback).Reasons {
				known := r <= codec.GrantedQoS2 || r == codec.SubackFailure || t.V5() && r.AllowedIn(codec.TypeSuback, codec.Server)
				t.Judge().Thatf(known, "a code that SUBACK may carry", "code 0x%02X for %q", uint8(r), f)
			}
		}
	},
}, {
	Name:     "subscribe/delivered-at-the-lower-qos",
	Rules:    []string{"MQTT-3.8.4-6"},
	Rules5:   []string{"MQTT-3.8.4-8"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		var granted [3]codec.QoS
		for asked := range codec.QoS(3) {
			for sent := range codec.QoS(3) {
				granted[asked] = sub.Granted(codec.Subscription{Filter: t.Topic(fmt.Sprintf("p%dg%d", sent, asked)), QoS: asked})
			}
		}
		for asked := range codec.QoS(3) {
			for _, sent := range t.levels(0) {
				judgeMinimum(t, pub, sub, t.Topic(fmt.Sprintf("p%dg%d", sent, asked)), sent, granted[asked])
			}
		}
		if t.Target().Capabilities&CapWildcard == 0 {
			return
		}
		// A server that looks the grant up by the Topic Name does not find that of a wildcard.
		for asked := range codec.QoS(3) {
			grant := sub.Granted(codec.Subscription{Filter: t.Topic(fmt.Sprintf("w%d/+", asked)), QoS: asked})
			judgeMinimum(t, pub, sub, t.Topic(fmt.Sprintf("w%d/x", asked)), t.atMost(2), grant)
		}
	},
}, {
	Name:     "subscribe/wildcards-honoured-or-refused",
	Rules:    []string{"MQTT-3.8.3-2"},
	Versions: MQTT311,
	Needs:    CapQoS1,
	Run: func(t *T) {
		pub, sub := t.Connect(), t.Connect()
		names := []string{t.Topic("a/x"), t.Topic("b/x/y")}
		bystander := t.bystander(names...)
		ack := sub.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{
			{Filter: t.Topic("a/+"), QoS: 1}, {Filter: t.Topic("b/#"), QoS: 1},
		}})
		for i, r := range ack.Reasons {
			if r.Failed() {
				t.Judge().NotDelivered(pub, bystander, sub, names[i], "m", "as the wildcard was refused")
				continue
			}
			pub.Publish(names[i], 1, "m")
			if r > 0 {
				t.Judge().Arrives(sub, names[i], "m")
			} else if e := sub.Take(t.Timeout(), withPayload(names[i], "m")); e != nil {
				t.Judge().That(true, "a delivery on "+names[i], "one at QoS 0")
			}
		}
	},
}}

// spread returns n QoS values of mixed size.
func spread(n int) []codec.QoS {
	out := make([]codec.QoS, n)
	for i := range out {
		out[i] = codec.QoS(2 - i%3)
	}
	return out
}

// judgeOrder judges that the codes stand in the order of the filters. A server may grant less
// than was asked for, so only a code above the request tells, and only where another order
// would explain it: a server that grants too much breaks another rule.
func judgeOrder(t *T, asked []codec.QoS, codes []codec.ReasonCode) {
	var grants []codec.ReasonCode
	above := -1
	for i, r := range codes {
		if r.Failed() {
			continue
		}
		grants = append(grants, r)
		if r > codec.ReasonCode(asked[i]) {
			above = i
		}
	}
	if len(grants) == 0 || slices.Min(grants) == slices.Max(grants) && above < 0 {
		return // every order looks the same
	}
	if above < 0 {
		t.Judge("MQTT-3.9.3-1").Thatf(true, "codes in the order of the filters", "codes %v for QoS %v", codes, asked)
		return
	}
	wishes := slices.Clone(asked)
	slices.Sort(wishes)
	slices.Sort(grants)
	wishes = wishes[len(wishes)-len(grants):]
	for i, g := range grants {
		if g > codec.ReasonCode(wishes[i]) {
			return // no order fits
		}
	}
	t.Judge("MQTT-3.9.3-1").Thatf(false, "at most what the filter asked for", "code %d for a filter that asked for QoS %d: %v for %v",
		codes[above], asked[above], codes, asked)
}

// judgeMinimum publishes one message and judges the QoS and the number of its copies. Where the
// lower QoS is 0 the message may get lost.
func judgeMinimum(t *T, pub, sub *Conn, topic string, sent, granted codec.QoS) {
	want := min(sent, granted)
	pub.Publish(topic, sent, "m")
	any := func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && p.Topic == topic && string(p.Payload) == "m"
	}
	if want > 0 {
		if !sub.Disturbed(t.Timeout(), any) || len(sub.Pending(any)) == 0 {
			t.Judge().Crossing(false, fmt.Sprintf("a message of QoS %d under a grant of QoS %d", sent, granted), "nothing arrived")
			return
		}
		t.Fence(pub, sub, topic, sent)
	} else if !sub.Disturbed(t.Grace(), any) {
		return
	}
	ps := sub.copies(topic, "m")
	for _, p := range ps {
		t.Judge().Thatf(p.QoS == want, fmt.Sprintf("QoS %d, the lower of %d published and %d granted", want, sent, granted), "QoS %d", p.QoS)
	}
	if want == 2 {
		t.Judge().Thatf(len(ps) <= 1, "one copy at QoS 2", "%d", len(ps))
	}
}
