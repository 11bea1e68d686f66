package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// rawFilter is one entry of a SUBSCRIBE that need not be legal.
type rawFilter struct {
	filter  string
	options byte
}

// rawPacket puts a fixed header in front of a body of less than 2,097,152 bytes.
func rawPacket(first byte, body []byte) []byte {
	return append(codec.AppendVarint([]byte{first}, uint32(len(body))), body...)
}

// rawSubscribe builds a SUBSCRIBE around filters and options that need not be legal.
func (t *T) rawSubscribe(id uint16, entries ...rawFilter) []byte {
	body := t.requestHead(id)
	for _, e := range entries {
		body = append(appendString(body, e.filter), e.options)
	}
	return rawPacket(0x82, body)
}

// rawUnsubscribe builds an UNSUBSCRIBE around filters that need not be legal.
func (t *T) rawUnsubscribe(id uint16, filters ...string) []byte {
	body := t.requestHead(id)
	for _, f := range filters {
		body = appendString(body, f)
	}
	return rawPacket(0xA2, body)
}

// rawPublish builds a PUBLISH of QoS 0, or of QoS 1 where id is not 0, to a topic that need
// not be legal.
func (t *T) rawPublish(id uint16, topic, payload string) []byte {
	body, first := appendString(nil, topic), byte(0x30)
	if id != 0 {
		body, first = append(body, byte(id>>8), byte(id)), 0x32
	}
	if t.V5() {
		body = append(body, 0)
	}
	return rawPacket(first, append(body, payload...))
}

// requestHead returns Packet Identifier and, under 5.0, an empty property set.
func (t *T) requestHead(id uint16) []byte {
	head := []byte{byte(id >> 8), byte(id)}
	if t.V5() {
		head = append(head, 0)
	}
	return head
}

func appendString(b []byte, s string) []byte {
	return append(append(b, byte(len(s)>>8), byte(len(s))), s...)
}

// swapText replaces a text of the packet by one of the same length, which need not be legal there.
func (t *T) swapText(frame []byte, from, to string) []byte {
	if len(from) != len(to) || bytes.Count(frame, []byte(from)) != 1 {
		panic(stop{Errored, fmt.Sprintf("%q cannot be replaced by %q", from, to)})
	}
	return bytes.Replace(frame, []byte(from), []byte(to), 1)
}

// subackFor matches the SUBACK with the Packet Identifier.
func subackFor(id uint16) func(*peer.Event) bool {
	return func(e *peer.Event) bool {
		a, ok := e.Packet.(*codec.Suback)
		return ok && a.PacketID == id
	}
}

// unsubackFor matches the UNSUBACK with the Packet Identifier.
func unsubackFor(id uint16) func(*peer.Event) bool {
	return func(e *peer.Event) bool {
		a, ok := e.Packet.(*codec.Unsuback)
		return ok && a.PacketID == id
	}
}

// Answered waits for the answer to a request that a server may also refuse by closing the
// connection: without it the breach is recorded only where the connection is still served.
// The check ends where no answer comes.
func (x *Expectation) Answered(c *Conn, what string, match func(*peer.Event) bool) *peer.Event {
	e, err := c.Await(x.t.Timeout(), match)
	if err == nil {
		x.record(c, true, false, what, describeEvents([]*peer.Event{e}, x.t.Version()))
		return e
	}
	if _, closed := c.Closed(); closed {
		x.t.Inconclusive("%s: the connection ended instead of %s, perhaps by a policy", c.Name(), what)
	}
	any := func(*peer.Event) bool { return true }
	actual := fmt.Sprintf("%v; else arrived: %s", err, describeEvents(c.Pending(any), x.t.Version()))
	c.Ping()
	x.record(c, false, false, what, actual)
	panic(stop{verdict: Pass}) // the recorded breach decides
}

// denial grades what a server may do with an invalid request instead of closing the connection.
type denial uint8

const (
	denialPasses denial = iota // the answer may refuse the request
	denialNoted
	denialWarns
)

// RefusedRequest judges what follows a SUBSCRIBE or UNSUBSCRIBE that a server has to refuse: by
// the end of the connection, or by an answer that refuses, which counts as how says. An answer
// that grants breaks the rule; no reaction at all is a warning.
func (x *Expectation) RefusedRequest(c *Conn, how denial) bool {
	const expected = "the connection ends or the answer refuses"
	answers := func(e *peer.Event) bool {
		switch e.Packet.(type) {
		case *codec.Suback, *codec.Unsuback:
			return true
		}
		return false
	}
	c.Disturbed(x.t.Timeout(), answers)
	if es := c.Pending(answers); len(es) > 0 {
		actual := describeEvents(es, x.t.Version())
		if slices.ContainsFunc(es, grants) {
			return x.record(c, false, false, expected, actual)
		}
		switch how {
		case denialWarns:
			return x.Warn().record(c, false, false, "the connection ends", actual)
		case denialNoted:
			x.record(c, true, false, expected, actual)
			return x.Note().record(c, false, false, "the connection ends", actual)
		}
		return x.record(c, true, false, expected, actual)
	}
	if end, ok := c.Closed(); ok {
		return x.record(c, true, false, expected, "it ended: "+end.Closed.Error())
	}
	return x.Warn().record(c, false, false, expected, fmt.Sprintf("neither happened within %v", x.t.Timeout()))
}

// grants reports whether a SUBACK or UNSUBACK grants or acknowledges any of the request.
// UNSUBACK says nothing of the kind before 5.0.
func grants(e *peer.Event) bool {
	switch p := e.Packet.(type) {
	case *codec.Suback:
		return len(p.Reasons) == 0 || slices.ContainsFunc(p.Reasons, func(r codec.ReasonCode) bool { return !r.Failed() })
	case *codec.Unsuback:
		return slices.Contains(p.Reasons, codec.Success)
	}
	return false
}

// Refuse sends each packet on a connection of its own and judges each by Refuses. All are sent
// before the first is judged, so that their waits run at the same time; the first breach ends
// the check.
func (t *T) Refuse(x *Expectation, frames [][]byte, reasons ...codec.ReasonCode) {
	t.each(frames, func(c *Conn) bool { return x.Refuses(c, nil, reasons...) })
}

// each sends each packet on a connection of its own, then judges them in turn until one is broken.
func (t *T) each(frames [][]byte, judge func(c *Conn) bool) {
	conns := make([]*Conn, len(frames))
	for i, f := range frames {
		conns[i] = t.Connect()
		conns[i].SendRaw(f...)
	}
	for _, c := range conns {
		if !judge(c) {
			return
		}
	}
}

// Granted subscribes to one filter and returns the QoS that was granted, which may be lower. A
// refusal makes the check inconclusive.
func (c *Conn) Granted(s codec.Subscription, edits ...func(*codec.Subscribe)) codec.QoS {
	p := &codec.Subscribe{Filters: []codec.Subscription{s}}
	for _, edit := range edits {
		edit(p)
	}
	r := c.SubscribeWith(p).Reasons[0]
	if r > codec.GrantedQoS2 {
		c.t.Inconclusive("%s: subscription to %q was answered with %s", c.Name(), s.Filter, r.Name(codec.TypeSuback, c.t.Version()))
	}
	return codec.QoS(r)
}

// identified is an edit for Granted: the Subscription Identifier, where the target has them.
func (t *T) identified(id uint32) func(*codec.Subscribe) {
	return func(p *codec.Subscribe) {
		if t.V5() && t.Target().Capabilities&CapSubscriptionIDs != 0 {
			p.Props.SetUint(codec.PropSubscriptionID, id)
		}
	}
}

// bystander opens a connection that subscribes to the topic at QoS 1, so that NotDelivered can
// see that a message has passed.
func (t *T) bystander(topics ...string) *Conn {
	c := t.Connect()
	c.Subscribe(1, topics...)
	return c
}

// NotDelivered publishes at QoS 1 to a topic that no subscription of c matches and judges that
// c does not get the message. Once the bystander has it, c subscribes to the topic itself: a
// marker that is published then comes behind whatever was under way. c is left subscribed.
func (x *Expectation) NotDelivered(pub, bystander, c *Conn, topic, payload, why string) bool {
	t := x.t
	pub.Publish(topic, 1, payload)
	if bystander.Take(t.Timeout(), withPayload(topic, payload)) == nil {
		t.Inconclusive("%s: the message did not even reach the bystander", bystander.Name())
	}
	t.settle()
	c.Subscribe(1, topic)
	t.Fence(pub, c, topic, 1)
	es := c.Pending(withPayload(topic, payload))
	actual := "none"
	if len(es) > 0 {
		actual = describeEvents(es, t.Version())
	}
	return x.record(c, len(es) == 0, true, "no message on "+topic+", "+why, actual)
}

// Stream publishes messages with the payloads "0" to "n-1" at QoS 1 or 2 and waits for the end of
// each exchange. Unlike Publish it does not settle after each.
func (c *Conn) Stream(topic string, qos codec.QoS, from, to int) {
	for n := from; n < to; n++ {
		id := c.NextID()
		c.Send(&codec.Publish{Topic: topic, QoS: qos, PacketID: id, Payload: []byte(strconv.Itoa(n))})
		last := codec.TypePuback
		if qos == 2 {
			last = codec.TypePubcomp // PUBREL goes out by itself
		}
		c.awaitAck(last, id)
	}
}

// copies returns the deliveries on the topic with the payload that are no repeats.
func (c *Conn) copies(topic, payload string) []*codec.Publish {
	var out []*codec.Publish
	for _, e := range c.Pending(withPayload(topic, payload)) {
		if p := e.Packet.(*codec.Publish); !p.Dup {
			out = append(out, p)
		}
	}
	return out
}

// describePublishes lists deliveries for a finding.
func describePublishes(ps []*codec.Publish, v codec.Version) string {
	es := make([]*peer.Event, len(ps))
	for i, p := range ps {
		es[i] = &peer.Event{Packet: p}
	}
	return describeEvents(es, v)
}
