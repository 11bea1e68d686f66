package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var limitChecks = []Check{{
	Name:     "limits/maximum-packet-size-of-client",
	Rules:    []string{"MQTT-3.1.2-24"},
	Versions: MQTT5,
	Run: func(t *T) {
		limit := t.smallPacketSize()
		pub, topic := t.Connect(), t.Topic("a")
		tooLong := func(e *peer.Event) bool { return len(e.Frame) > limit }
		what := fmt.Sprintf("packet of more than %d bytes", limit)
		levels := t.levels(1)
		if len(levels) == 0 {
			levels = t.levels(0)
		}
		big := func(retain bool) {
			for _, qos := range levels {
				for _, edit := range []func(*codec.Publish){bigPayload, bigProperties} {
					pub.Deliver(topic, qos, "big", edit, func(p *codec.Publish) { p.Retain = retain })
				}
			}
		}
		fence := func(c *Conn) func() {
			return func() {
				for _, qos := range levels {
					t.Fence(pub, c, topic, qos)
				}
			}
		}
		live := t.Connect(maximumPacketSize(limit))
		live.Subscribe(levels[len(levels)-1], topic)
		big(false)
		t.Judge().Silent(live, what, tooLong, fence(live))
		if t.Target().Capabilities&CapRetain == 0 {
			return
		}
		big(true)
		late := t.Connect(maximumPacketSize(limit))
		late.Subscribe(levels[len(levels)-1], topic)
		t.Judge().Silent(late, what, tooLong, fence(late))
	},
}, {
	Name:     "limits/too-large-counts-as-delivered",
	Rules:    []string{"MQTT-3.1.2-25"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		limit := t.smallPacketSize()
		for _, qos := range t.levels(1) {
			topic, pub := t.Topic(fmt.Sprint("q", qos)), t.Connect()
			sub := t.Connect(maximumPacketSize(limit), receiveMaximum(1))
			sub.Subscribe(qos, topic)
			pub.Deliver(topic, qos, "big 1", bigPayload)
			pub.Deliver(topic, qos, "small 1")
			pub.Deliver(topic, qos, "big 2", bigProperties)
			pub.Deliver(topic, qos, "small 2")
			t.Judge().Arrives(sub, topic, "small 1")
			t.Judge().Arrives(sub, topic, "small 2")
			other := func(e *peer.Event) bool {
				p, ok := e.Packet.(*codec.Publish)
				return ok && len(e.Frame) <= limit && !strings.HasPrefix(string(p.Payload), "small ")
			}
			t.Judge().Silent(sub, "part of a message that is too large", other, func() { t.Fence(pub, sub, topic, qos) })
			t.Judge().StaysOpen(sub)
		}
	},
}, {
	Name:     "limits/topic-alias-maximum-of-client",
	Rules:    []string{"MQTT-3.1.2-26"},
	Versions: MQTT5,
	Run: func(t *T) {
		const most = 2
		t.repeatTopics(func(p *codec.Publish) {
			alias := p.Props.Uint(codec.PropTopicAlias, 1)
			t.Judge().That(alias >= 1 && alias <= most, "Topic Alias 1 or 2, or none", codec.Describe(p, codec.V5))
		}, func(p *codec.Connect) { p.Props.SetUint(codec.PropTopicAliasMaximum, most) })
	},
}, {
	Name:     "limits/no-topic-alias-unasked",
	Rules:    []string{"MQTT-3.1.2-27"},
	Versions: MQTT5,
	Run: func(t *T) {
		for _, edit := range []func(*codec.Connect){
			func(*codec.Connect) {},
			func(p *codec.Connect) { p.Props.SetUint(codec.PropTopicAliasMaximum, 0) },
		} {
			t.repeatTopics(func(p *codec.Publish) {
				ok := !p.Props.Has(codec.PropTopicAlias) && p.Topic != ""
				t.Judge().That(ok, "a Topic Name and no Topic Alias", codec.Describe(p, codec.V5))
			}, edit)
		}
	},
}, {
	Name:     "limits/no-problem-information",
	Rules:    []string{"MQTT-3.1.2-29"},
	Breaks:   []string{"MQTT-2.2.1-5"},
	Axis:     Behaviour,
	Versions: MQTT5,
	Run:      noProblemInformation,
}, {
	Name:     "limits/highest-qos-announced",
	Rules:    []string{"MQTT-3.2.2-9"},
	Versions: MQTT5,
	Run:      highestQoS,
}, {
	Name:     "limits/every-qos-subscribed",
	Rules:    []string{"MQTT-3.2.2-10"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.limitedQoS()
		for qos := codec.QoS(0); qos <= 2; qos++ {
			c := t.Connect()
			p := &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: t.Topic(fmt.Sprint("q", qos)), QoS: qos}}}
			c.Send(p)
			e := c.Take(t.Timeout(), subackFor(1))
			granted := e != nil && grants(e)
			if !granted && qos == 0 {
				t.Inconclusive("%s: a subscription at QoS 0 is refused as well: %s", c.Name(), seen(e, t))
			}
			if _, ended := c.Closed(); e == nil && !ended {
				t.Inconclusive("%s: SUBSCRIBE is not answered", c.Name())
			}
			t.Judge().That(granted, fmt.Sprintf("a subscription at QoS %d granted, if at a lower one", qos), seen(e, t))
		}
	},
}, {
	Name:     "limits/qos-above-maximum-refused",
	Rules:    []string{"P-3.2.2.3.4-publish-above-maximum-qos", "MQTT-3.2.2-11"},
	Breaks:   []string{"MQTT-3.2.2-11"},
	Versions: MQTT5,
	Run: func(t *T) {
		above := t.limitedQoS() + 1
		c := t.Connect()
		c.Send(&codec.Publish{Topic: t.Topic("a"), QoS: above, PacketID: 1, Payload: []byte("above")})
		t.detectsEach(c, codec.QoSNotSupported)
	},
}, {
	Name:     "limits/will-qos-above-maximum-refused",
	Rules:    []string{"MQTT-3.2.2-12"},
	Versions: MQTT5,
	Run: func(t *T) {
		above := t.limitedQoS() + 1
		c := t.Open()
		c.Send(t.ConnectPacket(withWill(t.Topic("will"), lastWords, above)))
		t.Judge().RefusesConnect(c)
	},
}, {
	Name:     "limits/will-retain-refused",
	Rules:    []string{"MQTT-3.2.2-13"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.without(CapRetain, "retained messages are available")
		c := t.Open()
		c.Send(t.ConnectPacket(withWill(t.Topic("will"), lastWords, 0, func(w *codec.Will) { w.Retain = true })))
		t.Judge().RefusesConnect(c)
	},
}, {
	Name:     "limits/retain-refused",
	Rules:    []string{"P-3.2.2.3.5-retain-not-supported", "MQTT-3.2.2-14"},
	Breaks:   []string{"MQTT-3.2.2-14"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.without(CapRetain, "retained messages are available")
		c := t.Connect()
		p := &codec.Publish{Topic: t.Topic("a"), QoS: t.atMost(1), Retain: true, Payload: []byte("kept")}
		if p.QoS > 0 {
			p.PacketID = 1
		}
		c.Send(p)
		t.detectsEach(c, codec.RetainNotSupported)
	},
}, {
	Name:     "limits/packet-above-maximum-refused",
	Rules:    []string{"P-3.2.2.3.6-packet-too-large", "MQTT-3.2.2-15"},
	Breaks:   []string{"MQTT-3.2.2-15"},
	Versions: MQTT5,
	Run:      packetTooLarge,
}, {
	Name:     "limits/wildcard-refused",
	Rules:    []string{"P-3.2.2.3.11-wildcard-not-supported"},
	Breaks:   []string{"P-3.2.2.3.11-wildcard-not-supported"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.without(CapWildcard, "wildcard subscriptions are available")
		t.refusesUnavailable(t.Topic("a")+"/#", 0, codec.WildcardSubscriptionsNotSupported)
	},
}, {
	Name:     "limits/shared-subscription-refused",
	Rules:    []string{"P-3.2.2.3.13-shared-not-supported"},
	Breaks:   []string{"P-3.2.2.3.13-shared-not-supported"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.without(CapShared, "Shared Subscriptions are available")
		t.refusesUnavailable("$share/mqlab/"+t.Topic("a"), 0, codec.SharedSubscriptionsNotSupported)
	},
}, {
	Name:     "limits/subscription-identifier-as-announced",
	Rules:    []string{"P-3.2.2.3.12-subscription-identifiers-not-supported"},
	Breaks:   []string{"P-3.2.2.3.12-subscription-identifiers-not-supported"},
	Versions: MQTT5,
	Run: func(t *T) {
		if t.Target().Capabilities&CapSubscriptionIDs == 0 {
			t.refusesUnavailable(t.Topic("a"), 1, codec.SubscriptionIdentifiersNotSupported)
			return
		}
		c := t.Connect()
		p := &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: t.Topic("a")}}}
		p.Props.SetUint(codec.PropSubscriptionID, 1)
		c.Send(p)
		e := c.Take(t.Timeout(), func(e *peer.Event) bool {
			return e.Packet != nil && (e.Packet.Type() == codec.TypeSuback || e.Packet.Type() == codec.TypeDisconnect)
		})
		if e == nil {
			t.Inconclusive("%s: SUBSCRIBE is not answered", c.Name())
		}
		const code = codec.SubscriptionIdentifiersNotSupported
		var refused bool
		switch p := e.Packet.(type) {
		case *codec.Suback:
			refused = slices.Contains(p.Reasons, code)
		case *codec.Disconnect:
			refused = p.Reason == code
		}
		t.Judge().That(!refused, "no refusal with 0xA1, as Subscription Identifiers are announced", describeEvents([]*peer.Event{e}, t.Version()))
	},
}}

// maximumPacketSize is an edit for Connect.
func maximumPacketSize(n int) func(*codec.Connect) {
	return func(p *codec.Connect) { p.Props.SetUint(codec.PropMaximumPacketSize, uint32(n)) }
}

// bigFiller is by how much bigPayload and bigProperties exceed every limit of smallPacketSize.
const bigFiller = 500

func bigPayload(p *codec.Publish) { p.Payload = append(p.Payload, make([]byte, bigFiller)...) }

func bigProperties(p *codec.Publish) {
	for range 5 {
		p.Props.AddUser("filler", strings.Repeat("~", bigFiller/5))
	}
}

// smallPacketSize returns a Maximum Packet Size that leaves room for the target's CONNACK and for
// small messages of the check, and none for big ones. A target that takes no big ones itself
// makes the rule not applicable.
func (t *T) smallPacketSize() int {
	limit := max(128, len(t.Topic("abcd"))+64)
	if ack := t.Target().Connack; ack != nil {
		limit = max(limit, ack.Size(codec.V5)+16)
	}
	if limit >= bigFiller {
		t.Inconclusive("the target's CONNACK or the topic prefix is too long: no limit lies above them and below %d bytes", bigFiller)
	}
	if most := int(t.Target().MaximumPacketSize); most > 0 && most < limit+2*bigFiller {
		t.NotApplicable("the target itself takes no packet of more than %d bytes", most)
	}
	return limit
}

// repeatTopics publishes several times to ten long topics, so that aliases pay, and has every
// copy that a subscriber gets judged.
func (t *T) repeatTopics(judge func(*codec.Publish), connect func(*codec.Connect)) {
	const topics, rounds = 10, 3
	qos, pub, sub := t.atMost(1), t.Connect(), t.Connect(connect)
	t.mu.Lock()
	t.seq++
	base := t.Topic(fmt.Sprintf("aliases/%d/with-a-name-that-is-worth-to-be-left-out", t.seq))
	t.mu.Unlock()
	names := make([]string, topics)
	for i := range names {
		names[i] = fmt.Sprintf("%s/%d", base, i)
	}
	// A policy may deny wildcards, so plain filters are the next attempt.
	wild := t.Target().Capabilities&CapWildcard != 0 &&
		sub.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{{Filter: base + "/#", QoS: qos}}}).Reasons[0] == codec.ReasonCode(qos)
	if !wild {
		sub.Subscribe(qos, names...)
	}
	body := func(i, round int) string { return fmt.Sprintf("message %d of round %d", i, round) }
	for round := range rounds {
		for i, name := range names {
			pub.Deliver(name, qos, body(i, round))
		}
	}
	judged := 0
	for round := range rounds {
		for i := range names {
			e := sub.Take(t.Timeout(), withBody(body(i, round)))
			if e == nil {
				continue
			}
			judged++
			judge(e.Packet.(*codec.Publish))
		}
	}
	if judged == 0 {
		t.Inconclusive("%s: no message arrived", sub.Name())
	}
}

// noProblemInformation provokes every acknowledgement, with errors where a target may have some,
// on a connection that does not want to know why.
func noProblemInformation(t *T) {
	c, topic := t.Connect(func(p *codec.Connect) { p.Props.SetUint(codec.PropRequestProblemInfo, 0) }), t.Topic("a")
	judge := func(typ codec.Type) {
		e := c.Take(t.Timeout(), ofType(typ))
		if e == nil {
			return // a policy may be against it
		}
		props := problemProps(e.Packet)
		ok := !props.Has(codec.PropReasonString) && !props.Has(codec.PropUserProperty)
		t.Judge().That(ok, "neither Reason String nor User Property in "+typ.String(), codec.Describe(e.Packet, codec.V5))
	}
	subscribe := func(filter string) {
		c.Send(&codec.Subscribe{PacketID: c.NextID(), Filters: []codec.Subscription{{Filter: filter, QoS: 2}}})
		judge(codec.TypeSuback)
	}
	publish := func(topic string) {
		for _, qos := range t.levels(1) {
			c.Send(&codec.Publish{Topic: topic, QoS: qos, PacketID: c.NextID(), Payload: []byte("x")})
			judge(firstAck(qos))
			if qos == 2 {
				judge(codec.TypePubcomp)
			}
		}
	}
	subscribe(topic)
	publish(topic)
	if t.atMost(2) == 2 {
		judge(codec.TypePubrel) // for the client's own message
	}
	c.Send(&codec.Unsubscribe{PacketID: c.NextID(), Filters: []string{t.Topic("never subscribed")}})
	judge(codec.TypeUnsuback)
	if forbidden := t.Config().ForbiddenTopic; forbidden != "" {
		subscribe(forbidden)
		publish(forbidden)
	}
	// Last, as a target may close for it.
	c.Send(&codec.Pubrel{PacketID: 0x5A5A})
	c.Disturbed(t.Grace(), ofType(codec.TypePubcomp))
	if len(c.Pending(ofType(codec.TypePubcomp))) > 0 {
		judge(codec.TypePubcomp)
	}
}

// problemProps returns the properties of an acknowledgement.
func problemProps(p codec.Packet) *codec.Properties {
	switch p := p.(type) {
	case *codec.Puback:
		return &p.Props
	case *codec.Pubrec:
		return &p.Props
	case *codec.Pubrel:
		return &p.Props
	case *codec.Pubcomp:
		return &p.Props
	}
	return ackProps(p)
}

// highestQoS publishes at the levels that a target claims to take by not announcing a maximum.
// A connection that ends tells nothing where QoS 0 to the same topic ends it as well.
func highestQoS(t *T) {
	const expected = "Maximum QoS in CONNACK, or both QoS 1 and 2 answered"
	if most := t.Target().MaximumQoS; most < 2 {
		t.Judge().Thatf(true, expected, "Maximum QoS %d", most)
		return
	}
	attempt := func(qos codec.QoS) (c *Conn, answered bool) {
		c = t.Connect()
		c.Send(&codec.Publish{Topic: t.Topic("a"), QoS: qos, PacketID: 1, Payload: []byte("x")})
		return c, c.Take(t.Timeout(), ofType(firstAck(qos))) != nil
	}
	for _, qos := range []codec.QoS{1, 2} {
		c, answered := attempt(qos)
		named := func() bool {
			return slices.ContainsFunc(c.Pending(ofType(codec.TypeDisconnect)), func(e *peer.Event) bool {
				return e.Packet.(*codec.Disconnect).Reason == codec.QoSNotSupported
			})
		}
		_, ended := c.Closed()
		if !answered && ended && !named() {
			plain := t.Connect()
			plain.Publish(t.Topic("a"), 0, "x")
			plain.Ping()
			c, answered = attempt(qos)
			_, ended = c.Closed()
		}
		if !answered && !ended {
			c.Ping()
		}
		t.Judge().Thatf(answered, expected, "no Maximum QoS; QoS %d: answered %v, connection ended %v", qos, answered, ended)
	}
}

// limitedQoS returns the Maximum QoS of the target, where it is lower than 2.
func (t *T) limitedQoS() codec.QoS {
	most := t.Target().MaximumQoS
	if most >= 2 {
		t.NotApplicable("the target announces no Maximum QoS")
	}
	return codec.QoS(most)
}

// without ends the check where the target has the capability.
func (t *T) without(c Capability, why string) {
	if t.Target().Capabilities&c != 0 {
		t.NotApplicable("%s", why)
	}
}

// detectsEach judges the reaction to what was just sent on c under every rule of the check.
func (t *T) detectsEach(c *Conn, reasons ...codec.ReasonCode) {
	r := t.react(c)
	for _, rule := range t.check.RulesFor(t.version) {
		t.Judge(rule).Detects(c, r, reasons...)
	}
}

// refusesUnavailable subscribes in a way that the target announced not to support. To grant it
// is a warning.
func (t *T) refusesUnavailable(filter string, id uint32, code codec.ReasonCode) {
	c := t.Connect()
	p := &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: filter}}}
	if id > 0 {
		p.Props.SetUint(codec.PropSubscriptionID, id)
	}
	c.Send(p)
	if t.Judge().Warn().RefusedRequest(c, denialPasses) {
		t.Judge().disconnectReason(c, []codec.ReasonCode{code})
	}
}

// largestToTest is the largest Maximum Packet Size of a target that a check fills.
const largestToTest = 1 << 20

// packetTooLarge publishes a packet that just fits and one that is a byte longer.
func packetTooLarge(t *T) {
	limit := int(t.Target().MaximumPacketSize)
	switch {
	case limit == 0:
		t.NotApplicable("the target announces no Maximum Packet Size")
	case limit > largestToTest:
		t.NotApplicable("the Maximum Packet Size of the target, %d bytes, is too large to test", limit)
	}
	topic, qos := t.Topic("a"), t.atMost(1)
	sized := func(size int) *codec.Publish {
		p := &codec.Publish{Topic: topic, QoS: qos}
		if qos > 0 {
			p.PacketID = 1
		}
		for range 4 { // the length of the Remaining Length changes with it
			p.Payload = bytes.Repeat([]byte{'~'}, max(0, len(p.Payload)+size-p.Size(codec.V5)))
		}
		return p
	}
	fits := sized(limit)
	for fits.Size(codec.V5) > limit { // no packet has exactly this size
		fits.Payload = fits.Payload[1:]
	}
	c := t.Connect()
	c.Send(fits)
	r := t.react(c)
	if r.refused {
		t.Inconclusive("%s: a PUBLISH of %d bytes was refused: %s", c.Name(), fits.Size(codec.V5), r.actual)
	}
	t.Judge().Warn().That(!r.ended, fmt.Sprintf("a PUBLISH of %d bytes, the Maximum Packet Size, accepted", fits.Size(codec.V5)), r.actual)
	above := sized(limit + 1)
	if above.Size(codec.V5) <= limit {
		above = sized(limit + 2)
	}
	c = t.Connect()
	c.SendRaw(t.Encode(above)...)
	t.detectsEach(c, codec.PacketTooLarge)
}
