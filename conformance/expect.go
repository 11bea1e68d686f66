package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// Expectation judges one rule. Every method states all outcomes that the standard allows and
// records what was expected and what came, also when it held.
type Expectation struct {
	t     *T
	rule  string
	grade Grade
}

// Judge begins an expectation of the rule: with no id the first rule of the check, with one id
// that rule, with two the first under 3.1.1 and the second under 5.0.
func (t *T) Judge(ids ...string) *Expectation {
	known := t.check.RulesFor(t.version)
	rule := known[0]
	switch len(ids) {
	case 0:
	case 1:
		rule = ids[0]
	default:
		rule = ids[0]
		if t.V5() {
			rule = ids[1]
		}
	}
	if !slices.Contains(known, rule) {
		panic(stop{Errored, fmt.Sprintf("the check judges %s but lists only %s", rule, t.rulesText())})
	}
	return &Expectation{t: t, rule: rule}
}

// Warn returns the expectation with a breach graded as a warning.
func (x *Expectation) Warn() *Expectation { return &Expectation{x.t, x.rule, GradeWarn} }

// Note returns the expectation with a breach graded as a remark.
func (x *Expectation) Note() *Expectation { return &Expectation{x.t, x.rule, GradeNote} }

func (x *Expectation) record(c *Conn, ok, crossing bool, expected, actual string) bool {
	f := Finding{Rule: x.rule, Grade: x.grade, OK: ok, Expected: expected, Actual: actual, crossing: crossing}
	if c != nil {
		f.Conn = c.Name()
	}
	t := x.t
	t.findings = append(t.findings, f)
	t.transcript.Act(peer.Act{Kind: peer.ActJudge, Number: len(t.findings) - 1})
	t.findings[len(t.findings)-1].At = t.elapsed()
	if !ok {
		t.transcript.Note(f.Conn, "%s %s: expected %s; got %s", x.grade, x.rule, expected, actual)
	}
	return ok
}

// That records the outcome of a comparison that the check made itself.
func (x *Expectation) That(ok bool, expected, actual string) bool {
	return x.record(nil, ok, false, expected, actual)
}

// Thatf is That with the actual value formatted.
func (x *Expectation) Thatf(ok bool, expected, actual string, args ...any) bool {
	return x.record(nil, ok, false, expected, fmt.Sprintf(actual, args...))
}

// Crossing is That for an outcome that depends on one connection's act being visible on
// another: a breach is believed only when it happens again with settle pauses.
func (x *Expectation) Crossing(ok bool, expected, actual string) bool {
	return x.record(nil, ok, true, expected, actual)
}

// Answer waits for an event that match accepts on the connection that asked for it. Where none
// comes the breach is recorded and the check ends.
func (x *Expectation) Answer(c *Conn, what string, match func(*peer.Event) bool) *peer.Event {
	return x.await(c, what, match, false)
}

// Arrives waits for a PUBLISH with the topic and payload that another connection has caused.
// Where none comes the breach is recorded and the check ends.
func (x *Expectation) Arrives(c *Conn, topic, payload string) *codec.Publish {
	what := fmt.Sprintf("PUBLISH on %q with payload %q", topic, payload)
	return x.await(c, what, withPayload(topic, payload), true).Packet.(*codec.Publish)
}

// ArrivesMatching is Arrives with any match; the event is a packet caused by another connection.
func (x *Expectation) ArrivesMatching(c *Conn, what string, match func(*peer.Event) bool) *peer.Event {
	return x.await(c, what, match, true)
}

func (x *Expectation) await(c *Conn, what string, match func(*peer.Event) bool, crossing bool) *peer.Event {
	e, err := c.Await(x.t.Timeout(), match)
	if err == nil {
		x.record(c, true, crossing, what, describeEvents([]*peer.Event{e}, x.t.Version()))
		return e
	}
	any := func(*peer.Event) bool { return true }
	actual := fmt.Sprintf("%v; else arrived: %s", err, describeEvents(c.Pending(any), x.t.Version()))
	x.record(c, false, crossing, what, actual)
	panic(stop{verdict: Pass}) // the recorded breach decides
}

// Closed waits for the end of the connection; whatever arrives before it is allowed.
func (x *Expectation) Closed(c *Conn) bool {
	if e, ok := c.AwaitClose(x.t.Timeout()); ok {
		return x.record(c, true, false, "the connection ends", "it ended: "+e.Closed.Error())
	}
	return x.record(c, false, false, "the connection ends", fmt.Sprintf("still open after %v", x.t.Timeout()))
}

// StaysOpen sends PINGREQ and waits for PINGRESP: the end of the connection is the breach. A
// server that only leaves PINGREQ unanswered breaks another rule, and this one stays undecided.
func (x *Expectation) StaysOpen(c *Conn) bool {
	const expected = "the connection stays open"
	c.Send(&codec.Pingreq{})
	_, err := c.Await(x.t.Timeout(), ofType(codec.TypePingresp))
	switch {
	case err == nil:
		return x.record(c, true, false, expected, "PINGREQ was answered")
	case errors.Is(err, peer.ErrClosed):
		return x.record(c, false, false, expected, "it ended")
	}
	x.t.Inconclusive("%s: whether the connection is served cannot be told: PINGREQ was not answered", c.Name())
	return false
}

// Refuses judges what follows an illegal packet on an established connection: the connection
// ends, and until then nothing answers. A server that closes late passes: PINGREQ is sent only
// when most of the time is over. Under 5.0 a DISCONNECT may come first; a reason outside the
// given ones is remarked upon, never failed. allowed names packets that may come before the end.
func (x *Expectation) Refuses(c *Conn, allowed func(*peer.Event) bool, reasons ...codec.ReasonCode) bool {
	const expected = "the connection ends and nothing answers the illegal packet"
	answers := func(e *peer.Event) bool {
		return e.Packet != nil && isAnswer(e.Packet.Type()) && (allowed == nil || !allowed(e))
	}
	quiet := x.t.Timeout() * 6 / 10
	if !c.Disturbed(quiet, answers) {
		c.Note("still open after %v: PINGREQ tells whether it is served", quiet)
		c.Send(&codec.Pingreq{})
		c.Disturbed(x.t.Timeout()-quiet, answers)
	}
	if es := c.Pending(answers); len(es) > 0 {
		return x.record(c, false, false, expected, describeEvents(es, x.t.Version()))
	}
	end, ok := c.Closed()
	if !ok {
		return x.record(c, false, false, expected, fmt.Sprintf("still open after %v", x.t.Timeout()))
	}
	x.record(c, true, false, expected, "it ended: "+end.Closed.Error())
	x.disconnectReason(c, reasons)
	return true
}

// disconnectReason remarks on a DISCONNECT whose Reason Code is not the one that the text
// of the rule names. Sending one at all is only a SHOULD, and other codes may fit as well.
func (x *Expectation) disconnectReason(c *Conn, reasons []codec.ReasonCode) {
	if !x.t.V5() || len(reasons) == 0 {
		return
	}
	for _, e := range c.Pending(ofType(codec.TypeDisconnect)) {
		got := e.Packet.(*codec.Disconnect).Reason
		x.Note().record(c, slices.Contains(reasons, got), false, "DISCONNECT with "+reasonList(reasons), got.Name(codec.TypeDisconnect, codec.V5))
	}
}

func reasonList(rs []codec.ReasonCode) string {
	var s string
	for i, r := range rs {
		if i > 0 {
			s += " or "
		}
		s += fmt.Sprintf("0x%02X %s", uint8(r), r.Name(codec.TypeDisconnect, codec.V5))
	}
	return s
}

// isAnswer reports whether a packet of the type shows that a server goes on serving.
func isAnswer(t codec.Type) bool {
	switch t {
	case codec.TypeConnack, codec.TypePuback, codec.TypePubrec, codec.TypePubcomp, codec.TypePubrel,
		codec.TypeSuback, codec.TypeUnsuback, codec.TypePingresp, codec.TypeAuth:
		return true
	}
	return false
}

// RefusesConnect judges what follows an illegal CONNECT: the connection ends, without a CONNACK
// or after one that refuses. It returns the CONNACK, or nil.
func (x *Expectation) RefusesConnect(c *Conn) *codec.Connack {
	const expected = "the connection ends, without CONNACK or after a CONNACK that refuses"
	accepted := func(e *peer.Event) bool {
		a, ok := e.Packet.(*codec.Connack)
		return ok && a.Reason == codec.Success || e.Packet != nil && !ok && isAnswer(e.Packet.Type())
	}
	c.Disturbed(x.t.Timeout(), accepted)
	if es := c.Pending(accepted); len(es) > 0 {
		x.record(c, false, false, expected, describeEvents(es, x.t.Version()))
		return nil
	}
	var ack *codec.Connack
	for _, e := range c.Pending(ofType(codec.TypeConnack)) {
		ack = e.Packet.(*codec.Connack)
	}
	end, ok := c.Closed()
	if !ok {
		x.record(c, false, false, expected, fmt.Sprintf("still open after %v", x.t.Timeout()))
		return ack
	}
	actual := "it ended: " + end.Closed.Error()
	if ack != nil {
		actual = codec.Describe(ack, x.t.Version()) + ", then " + actual
	}
	x.record(c, true, false, expected, actual)
	return ack
}

// Silent judges that nothing which match accepts has arrived on c. prove must return only after
// everything that could still come has come: a [T.Fence], or a grace where no fence can be built.
func (x *Expectation) Silent(c *Conn, what string, match func(*peer.Event) bool, prove func()) bool {
	prove()
	if es := c.Pending(func(e *peer.Event) bool { return !isMarker(e) && match(e) }); len(es) > 0 {
		return x.record(c, false, false, "no "+what, describeEvents(es, x.t.Version()))
	}
	return x.record(c, true, false, "no "+what, "none")
}

// isMarker matches what a fence published. Further copies of it, for overlapping subscriptions or
// with DUP 1, are as legal as those of any message.
func isMarker(e *peer.Event) bool {
	p, ok := e.Packet.(*codec.Publish)
	return ok && bytes.Contains(p.Payload, []byte("fence "))
}

// Fence proves that what the publisher sent before on the topic at the QoS has reached the
// subscriber, or never will: it publishes a marker behind it and waits for the marker. The
// subscriber must hold a subscription to the topic at that QoS. A marker that does not arrive
// makes the check inconclusive: a fence may only acquit.
func (t *T) Fence(from, to *Conn, topic string, qos codec.QoS) {
	t.mu.Lock()
	t.seq++
	marker := fmt.Sprintf("fence %d", t.seq)
	t.mu.Unlock()
	from.Publish(topic, qos, marker)
	if _, err := to.Await(t.Timeout(), withPayload(topic, marker)); err != nil {
		t.Inconclusive("%s: the marker published behind the stimulus did not arrive: %v", to.Name(), err)
	}
}

// Quiet listens for a grace, where no fence can be built.
func (t *T) Quiet() { t.Wait(t.Grace()) }
