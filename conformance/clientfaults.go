package conformance

import (
	"fmt"
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// affront is something that no server may send, and that a client answers by ending the
// connection: under 3.1.1 it must, under 5.0 it should.
type affront struct {
	name          string
	rule, rule5   string // "" where the version says nothing about it
	grade, grade5 Grade
	raw           func(t *T, topic string) []byte // what is sent once the client has its subscriptions
	connack       func(t *T) []byte               // or in place of CONNACK
}

// plainPublish is a PUBLISH at QoS 0 with the bytes as its properties.
func plainPublish(t *T, topic string, props ...byte) []byte {
	return t.publishBytes(0, topic, 0, props, "mqlab")
}

// connackWith is a CONNACK of success with the bytes as its properties.
func connackWith(props ...byte) func(*T) []byte {
	return func(*T) []byte {
		return append([]byte{byte(codec.TypeConnack) << 4, byte(3 + len(props)), 0, 0, byte(len(props))}, props...)
	}
}

// connackBytes is a CONNACK of success. A client without a Client Identifier gets one in front of the properties.
func connackBytes(t *T, props []byte, payload ...byte) []byte {
	if t.conns[0].hello.ClientID == "" {
		props = slices.Concat(textProperty(codec.PropAssignedClientID, t.launched[0].id), props)
	}
	b := []byte{byte(codec.TypeConnack) << 4, byte(3 + len(props) + len(payload)), 0, 0, byte(len(props))}
	return slices.Concat(b, props, payload)
}

func fixedBytes(b ...byte) func(*T, string) []byte {
	return func(*T, string) []byte { return b }
}

func withProps(props ...byte) func(*T, string) []byte {
	return func(t *T, topic string) []byte { return plainPublish(t, topic, props...) }
}

// onTopicBytes is a PUBLISH at QoS 0 whose Topic Name has the bytes at its end.
func onTopicBytes(text string) func(*T, string) []byte {
	return func(t *T, topic string) []byte { return plainPublish(t, topic+text) }
}

var affronts = []affront{
	{name: "qos3-refused", rule: "MQTT-3.3.1-4", rule5: "MQTT-3.3.1-4", grade5: GradeWarn, raw: func(t *T, topic string) []byte {
		return t.Broken(&codec.Publish{Topic: topic, QoS: 1, PacketID: 1, Payload: []byte("x")}, codec.BreakQoS3)
	}},
	{name: "reserved-flags-refused", rule: "MQTT-2.2.2-2", raw: fixedBytes(byte(codec.TypePingresp)<<4|1, 0)},
	{name: "ill-formed-text-refused", rule: "MQTT-1.5.3-1", rule5: "MQTT-1.5.4-1", grade5: GradeWarn, raw: onTopicBytes("\xC3\x28")},
	{name: "surrogate-in-text-refused", rule: "MQTT-1.5.3-1", rule5: "MQTT-1.5.4-1", grade5: GradeWarn, raw: onTopicBytes("\xED\xA0\x80")},
	{name: "nul-in-text-refused", rule: "MQTT-1.5.3-2", rule5: "MQTT-1.5.4-2", grade5: GradeWarn, raw: onTopicBytes("\x00")},
	{name: "reserved-type-0-refused", rule: "MQTT-4.8.0-1", rule5: "P-2.1.2-reserved-type", grade5: GradeWarn, raw: fixedBytes(0, 0)},
	{name: "reserved-type-15-refused", rule: "MQTT-4.8.0-1", raw: fixedBytes(0xF0, 0)},
	{name: "five-byte-length-refused", rule: "MQTT-4.8.0-1", rule5: "P-1.5.5-five-byte-integer", grade5: GradeWarn, raw: fixedBytes(byte(codec.TypePublish)<<4, 0xFF, 0xFF, 0xFF, 0xFF, 0x01)},
	{name: "wrong-direction-refused", rule5: "P-2.1.2-wrong-direction", grade5: GradeWarn, raw: func(t *T, _ string) []byte {
		return t.Encode(&codec.Subscribe{PacketID: 77, Filters: []codec.Subscription{{Filter: "mqlab"}}})
	}},
	{name: "text-past-the-end-refused", rule5: "P-2.1.4-length-mismatch", grade5: GradeWarn, raw: fixedBytes(byte(codec.TypePublish)<<4, 5, 0, 9, 'a', 'b', 'c')},
	{name: "property-length-past-the-end-refused", rule5: "P-2.2.2.1-property-length-overrun", grade5: GradeWarn, raw: func(t *T, topic string) []byte {
		return t.Broken(&codec.Publish{Topic: topic, Payload: []byte("x")}, codec.BreakPropertyLengthLong)
	}},
	{name: "unknown-property-refused", rule5: "P-2.2.2.2-unknown-identifier", grade5: GradeWarn, raw: withProps(0x7F, 1)},
	{name: "foreign-property-refused", rule5: "P-2.2.2.2-identifier-wrong-packet", grade5: GradeWarn, raw: withProps(byte(codec.PropReceiveMaximum), 0, 9)},
	{name: "ill-formed-user-property-refused", rule5: "MQTT-1.5.7-1", grade5: GradeWarn, raw: withProps(byte(codec.PropUserProperty), 0, 1, 'n', 0, 1, 0xFF)},
	{name: "no-topic-and-no-alias-refused", rule5: "P-3.3.2.1-empty-topic-without-alias", grade5: GradeWarn, raw: func(t *T, _ string) []byte { return plainPublish(t, "") }},
	{name: "topic-alias-0-refused", rule5: "P-3.3.4-topic-alias-range", grade5: GradeWarn, raw: withProps(byte(codec.PropTopicAlias), 0, 0)},
	{name: "topic-alias-above-the-maximum-refused", rule5: "P-3.3.4-topic-alias-range", grade5: GradeWarn, raw: func(t *T, topic string) []byte {
		most := t.aliasMaximum()
		if most == 65535 {
			t.NotApplicable("the client takes every Topic Alias")
		}
		return plainPublish(t, topic, byte(codec.PropTopicAlias), byte((most+1)>>8), byte(most+1))
	}},
	{name: "topic-alias-unknown-refused", rule5: "P-3.3.4-topic-alias-unknown", grade5: GradeWarn, raw: func(t *T, _ string) []byte {
		t.needs(t.aliasMaximum() > 0, "take Topic Aliases")
		return plainPublish(t, "", byte(codec.PropTopicAlias), 0, 1)
	}},
	{name: "more-than-receive-maximum-refused", rule5: "P-3.3.4-receive-maximum-exceeded", grade5: GradeWarn, raw: func(t *T, topic string) []byte {
		most := t.seen().hello.Props.Uint(codec.PropReceiveMaximum, 65535)
		if most > 100 {
			t.NotApplicable("the client announces a Receive Maximum of %d: give it 100 or less, so that it can be exceeded", most)
		}
		var all []byte
		for i := range most + 1 { // open until PUBREL, which does not come
			all = append(all, t.Encode(&codec.Publish{Topic: topic, QoS: 2, PacketID: uint16(100 + i), Payload: []byte("x")})...)
		}
		return all
	}},
	{name: "more-than-maximum-packet-size-refused", rule5: "P-3.1.2.11.4-client-gets-oversize", grade5: GradeWarn, raw: func(t *T, topic string) []byte {
		const largest = 1 << 20
		size := t.seen().hello.Props.Uint(codec.PropMaximumPacketSize, 0)
		t.needs(size > 0, "announce a Maximum Packet Size")
		if size > largest {
			t.NotApplicable("the client announces a Maximum Packet Size of %d bytes: give it %d or less, so that it can be exceeded", size, largest)
		}
		return t.Encode(&codec.Publish{Topic: topic, Payload: make([]byte, size)})
	}},
	{name: "subscription-identifier-0-refused", rule5: "P-3.3.2.3.8-subscription-identifier-zero", grade5: GradeWarn, raw: withProps(byte(codec.PropSubscriptionID), 0)},
	{name: "reason-string-unasked-refused", rule5: "P-3.1.2.11.7-client-gets-problem-info", grade5: GradeWarn, raw: func(t *T, _ string) []byte {
		t.needs(t.seen().hello.Props.Uint(codec.PropRequestProblemInfo, 1) == 0, "ask for no Problem Information")
		p := &codec.Pubrel{PacketID: 900, Reason: codec.PacketIDNotFound}
		p.Props.SetText(codec.PropReasonString, "unasked")
		return t.Encode(p)
	}},
	{
		name: "reason-string-twice-in-pubrel-refused", rule5: "P-3.4.2.2-ack-reason-string-duplicate", grade5: GradeWarn,
		raw: fixedBytes(byte(codec.TypePubrel)<<4|2, 12, 3, 132, 0x92, 8, byte(codec.PropReasonString), 0, 1, 'a', byte(codec.PropReasonString), 0, 1, 'b'),
	},
	{
		name: "reason-string-twice-in-suback-refused", rule5: "P-3.9.2.1.2-reason-string-duplicate", grade5: GradeWarn,
		raw: fixedBytes(byte(codec.TypeSuback)<<4, 12, 3, 132, 8, byte(codec.PropReasonString), 0, 1, 'a', byte(codec.PropReasonString), 0, 1, 'b', 0),
	},
	{
		name: "reason-string-twice-in-disconnect-refused", rule5: "P-3.14.2.2.3-reason-string-duplicate", grade5: GradeWarn,
		raw: fixedBytes(byte(codec.TypeDisconnect)<<4, 10, 0x80, 8, byte(codec.PropReasonString), 0, 1, 'a', byte(codec.PropReasonString), 0, 1, 'b'),
	},
	{
		name: "server-reference-twice-in-disconnect-refused", rule5: "P-3.14.2.2.5-server-reference-duplicate", grade5: GradeWarn,
		raw: fixedBytes(byte(codec.TypeDisconnect)<<4, 10, 0x9C, 8, byte(codec.PropServerReference), 0, 1, 'a', byte(codec.PropServerReference), 0, 1, 'b'),
	},
	{name: "pingresp-with-a-body-refused", rule5: "P-3.12-ping-length", grade5: GradeWarn, raw: fixedBytes(byte(codec.TypePingresp)<<4, 1, 0)},
	{name: "auth-without-method-refused", rule5: "P-3.15-auth-without-method", grade5: GradeWarn, raw: func(t *T, _ string) []byte {
		if t.seen().hello.Props.Has(codec.PropAuthMethod) {
			t.NotApplicable("the client names an Authentication Method")
		}
		p := &codec.Auth{Reason: codec.ContinueAuthentication}
		p.Props.SetText(codec.PropAuthMethod, "mqlab")
		return t.Encode(p)
	}},
	{name: "disconnect-obeyed", rule5: "P-3.14.4-receiver-closes", grade5: GradeWarn, raw: fixedBytes(byte(codec.TypeDisconnect)<<4, 1, byte(codec.ServerShuttingDown))},

	{name: "connack-property-twice-refused", rule5: "P-3.2.2.3-connack-duplicates", grade5: GradeWarn, connack: connackWith(byte(codec.PropReceiveMaximum), 0, 9, byte(codec.PropReceiveMaximum), 0, 9)},
	{name: "connack-receive-maximum-0-refused", rule5: "P-3.2.2.3.3-receive-maximum-zero", grade5: GradeWarn, connack: connackWith(byte(codec.PropReceiveMaximum), 0, 0)},
	{name: "connack-maximum-qos-2-refused", rule5: "P-3.2.2.3.4-maximum-qos-value", grade5: GradeWarn, connack: connackWith(byte(codec.PropMaximumQoS), 2)},
	{name: "connack-retain-available-2-refused", rule5: "P-3.2.2.3.5-retain-available-value", grade5: GradeWarn, connack: connackWith(byte(codec.PropRetainAvailable), 2)},
	{name: "connack-maximum-packet-size-0-refused", rule5: "P-3.2.2.3.6-maximum-packet-size-zero", grade5: GradeWarn, connack: connackWith(byte(codec.PropMaximumPacketSize), 0, 0, 0, 0)},
	{name: "connack-wildcard-available-2-refused", rule5: "P-3.2.2.3.11-wildcard-value", grade5: GradeWarn, connack: connackWith(byte(codec.PropWildcardAvailable), 2)},
	{name: "connack-subscription-identifiers-2-refused", rule5: "P-3.2.2.3.12-subscription-identifiers-value", grade5: GradeWarn, connack: connackWith(byte(codec.PropSubscriptionIDsAvail), 2)},
	{name: "connack-shared-available-2-refused", rule5: "P-3.2.2.3.13-shared-value", grade5: GradeWarn, connack: connackWith(byte(codec.PropSharedSubscriptionsAvl), 2)},
	{name: "connack-with-a-payload-refused", rule5: "P-3.2.3-no-payload", grade5: GradeWarn, connack: func(t *T) []byte { return connackBytes(t, nil, 'x') }},
}

// clientFaultChecks are the affronts as checks.
func clientFaultChecks() []Check {
	all := []Check{{
		Name: "client/error-is-the-end", Rules5: []string{"MQTT-4.13.2-1"}, Versions: MQTT5, Axis: Behaviour, Run: errorsEnd,
	}}
	for i := range affronts {
		a := &affronts[i]
		c := Check{Name: "client/" + a.name, Axis: MalformedInput, Run: func(t *T) { t.offendClient(a) }}
		if a.rule != "" {
			c.Rules, c.Versions = []string{a.rule}, MQTT311
		}
		if a.rule5 != "" {
			c.Rules5, c.Versions = []string{a.rule5}, c.Versions|MQTT5
		}
		all = append(all, c)
	}
	return all
}

// errorsEnd judges that a client which reports an error ends the connection then.
func errorsEnd(t *T) {
	t.needs(t.seen().stays, "stay connected")
	c := t.Launch().Accept()
	c.Manual().Accepted()
	c.SendRaw(plainPublish(t, "")...)
	const expected = "the connection ends behind a DISCONNECT that reports an error"
	e := c.Serve(t.Timeout(), ofType(codec.TypeDisconnect))
	if e == nil {
		_, ended := c.Closed()
		if !ended {
			t.NotApplicable("the client reports no error")
		}
		t.Judge().That(true, expected, "it ended without one, which is as good")
		return
	}
	reason := e.Packet.(*codec.Disconnect).Reason
	if !reason.Failed() {
		t.NotApplicable("the client takes its leave with %s", reason.Name(codec.TypeDisconnect, codec.V5))
	}
	_, ended := c.AwaitClose(t.Timeout())
	t.Judge().Thatf(ended, expected, "%s, ended: %v", codec.Describe(e.Packet, codec.V5), ended)
}

// aliasMaximum is the Topic Alias Maximum that the client announces.
func (t *T) aliasMaximum() uint32 { return t.seen().hello.Props.Uint(codec.PropTopicAliasMaximum, 0) }

// offendClient sends the affront and judges that the client ends the connection.
func (t *T) offendClient(a *affront) {
	t.needs(t.seen().stays, "stay connected")
	x := t.Judge()
	if x.grade = a.grade; t.V5() {
		x.grade = a.grade5
	}
	c := t.Launch().Accept()
	if a.connack != nil {
		c.told = time.Now()
		c.SendRaw(a.connack(t)...)
		topic := ""
		if t.seen().subscribes {
			if e := c.Serve(t.Timeout(), ofType(codec.TypeSubscribe)); e != nil {
				topic = matching(e.Packet.(*codec.Subscribe).Filters[0].Filter)
			}
		}
		t.judgeEnd(x, c, topic)
		return
	}
	c.Manual().Accepted()
	topic := "mqlab"
	if t.seen().subscribes {
		topic, _ = c.Subscribed()
	}
	c.SendRaw(a.raw(t, topic)...)
	t.judgeEnd(x, c, topic)
}

// judgeEnd judges that the client ends the connection after what it was sent. One that acknowledges
// a message that was sent behind it has gone on, and is given a moment longer; else the time for
// what must happen is its own.
func (t *T) judgeEnd(x *Expectation, c *Conn, topic string) {
	const expected, later = "the client ends the connection", 0x7E01
	limit := time.Now().Add(t.Timeout())
	wait := t.Timeout()
	if t.seen().subscribes && t.seen().subscribed > 0 && topic != "" {
		c.SendRaw(t.Encode(&codec.Publish{Topic: topic, QoS: 1, PacketID: later, Payload: []byte("later")})...)
	}
	acted := c.Serve(wait, ofType(codec.TypeDisconnect), acknowledges(codec.TypePuback, later))
	actual := fmt.Sprintf("still open after %v", t.Timeout())
	left := time.Until(limit)
	if acted != nil && acted.Packet.Type() == codec.TypePuback {
		actual = "a message that was sent behind it is acknowledged"
		left = min(left, max(t.Grace(), t.Timeout()/4))
		if c.Serve(left, ofType(codec.TypeDisconnect)) == nil {
			left = 0
		}
	}
	if left > 0 {
		c.AwaitClose(left)
	}
	if _, ended := c.Closed(); ended {
		x.That(true, expected, "it ended")
		if acted != nil {
			if d, ok := acted.Packet.(*codec.Disconnect); ok && t.V5() {
				t.Note("the client says %s", d.Reason.Name(codec.TypeDisconnect, codec.V5))
			}
		}
		return
	}
	x.That(false, expected, actual)
}

// refusalCodes are what CONNACK refuses with.
func (t *T) refusalCodes() []codec.ReasonCode {
	if t.V5() {
		return []codec.ReasonCode{
			codec.UnspecifiedError, codec.UnsupportedProtocolVersion, codec.ClientIDNotValid, codec.BadUserNameOrPassword,
			codec.NotAuthorized, codec.ServerUnavailable, codec.Banned, codec.QuotaExceeded, codec.UseAnotherServer, codec.ServerMoved, codec.ConnectionRateExceeded,
		}
	}
	return []codec.ReasonCode{
		codec.ReturnUnacceptableVersion, codec.ReturnIdentifierRejected, codec.ReturnServerUnavailable, codec.ReturnBadCredentials, codec.ReturnNotAuthorized,
	}
}

// refuse answers CONNECT with the code and ends the sending side, as a server that refuses does.
func (c *Conn) refuse(code codec.ReasonCode) {
	c.told = time.Now()
	c.Send(&codec.Connack{Reason: code})
	if half, ok := c.NetConn().(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// brisk is how often within the watch a refused client may come back before it is remarked upon.
const brisk = 5

// clientRefusals refuses the client with every code, and those connections again that it opens then.
func clientRefusals(t *T) {
	const expected = "the client leaves a connection that was refused"
	codes := t.refusalCodes()
	clients := make([]*Client, len(codes))
	for i := range codes {
		clients[i] = t.Launch()
	}
	conns := make([]*Conn, len(codes))
	for i, code := range codes { // each waits for its answer from its beginning
		conns[i] = clients[i].Accept()
		conns[i].Manual().refuse(code)
	}
	for i, code := range codes {
		name, c := code.Name(codec.TypeConnack, t.Version()), conns[i]
		end, ended := c.AwaitClose(max(time.Until(c.told.Add(t.Timeout())), time.Millisecond))
		if ended && end.At.Before(c.told) {
			t.Inconclusive("the client did not wait for CONNACK")
		}
		if sent := c.Pending(func(e *peer.Event) bool { return e.Packet != nil && e.At.After(c.told) }); len(sent) > 0 {
			t.Note("refused with %s the client still sends %s", name, describeEvents(sent, t.Version()))
		}
		if code == codec.UseAnotherServer || code == codec.ServerMoved {
			t.Judge("P-4.11-redirect").Thatf(ended, expected, "refused with %s: ended: %v", name, ended)
		}
		if !ended {
			t.Note("refused with %s the client keeps its end of the connection open for %v", name, t.Timeout())
		}
		came := 0
		for until := time.Now().Add(t.Patience(200 * time.Millisecond)); came < 4*brisk; came++ {
			again := clients[i].Next(time.Until(until)) // judges that CONNECT comes first
			if again == nil {
				break
			}
			again.refuse(code)
		}
		if came > brisk {
			t.Note("refused with %s the client comes back at once, %d times and more", name, came)
		}
		t.Judge("MQTT-3.1.0-1").That(true, "CONNECT as the first packet of each connection", "CONNECT")
	}
}
