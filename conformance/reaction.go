package conformance

import (
	"fmt"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// reaction is what a target did about a faulty PUBLISH on an established connection.
type reaction struct {
	ended    bool   // the connection ended and nothing accepted the packet before
	refused  bool   // an acknowledgement said so, and the connection stayed
	accepted bool   // an acknowledgement reported success
	actual   string // in words
}

// react waits for the reaction to what was just sent on c. Like [Expectation.Refuses] it leaves
// a target that closes late most of the time before PINGREQ asks whether it still serves.
func (t *T) react(c *Conn) reaction { return t.reactions(c)[0] }

// reactions is react for stimuli that were sent on several connections, which share the wait.
func (t *T) reactions(cs ...*Conn) []reaction {
	answers := func(e *peer.Event) bool { return e.Packet != nil && isAnswer(e.Packet.Type()) }
	began := time.Now()
	quiet := t.Timeout() * 6 / 10
	var silent []*Conn
	for _, c := range cs {
		if !c.Disturbed(time.Until(began.Add(quiet)), answers) {
			silent = append(silent, c)
			c.Note("still open after %v: PINGREQ tells whether it is served", quiet)
			c.Send(&codec.Pingreq{})
		}
	}
	for _, c := range silent {
		c.Disturbed(time.Until(began.Add(t.Timeout())), answers)
	}
	out := make([]reaction, len(cs))
	for i, c := range cs {
		out[i] = t.reactionOf(c, c.Pending(answers))
	}
	return out
}

func (t *T) reactionOf(c *Conn, answers []*peer.Event) reaction {
	var r reaction
	for _, e := range answers {
		if typ, _, reason := ackOf(e); typ != 0 {
			r.accepted = r.accepted || !reason.Failed()
			r.refused = r.refused || reason.Failed()
		}
	}
	end, ended := c.Closed()
	switch {
	case len(answers) > 0:
		r.actual = describeEvents(answers, t.Version())
	case ended:
		r.ended, r.actual = true, "it ended: "+end.Closed.Error()
	default:
		r.actual = fmt.Sprintf("still open after %v", t.Timeout())
	}
	return r
}

// Detects judges the reaction to an input error that no duty binds a receiver to look for
// (5.0, 4.13.1): the connection ends, or an error code refuses the message; going on is a warning.
func (x *Expectation) Detects(c *Conn, r reaction, reasons ...codec.ReasonCode) bool {
	ok := r.ended || r.refused && !r.accepted
	x.Warn().record(c, ok, false, "the faulty PUBLISH is detected: the connection ends", r.actual)
	if r.ended {
		x.disconnectReason(c, reasons)
	}
	return ok
}

// Rejects judges the reaction to a PUBLISH that cannot be served: reporting success is a breach,
// going on without it a warning, the end of the connection is right.
func (x *Expectation) Rejects(c *Conn, r reaction, reasons ...codec.ReasonCode) bool {
	const expected = "the connection ends and the PUBLISH is not acknowledged as a success"
	if !r.accepted && !r.ended {
		return x.Warn().record(c, false, false, expected, r.actual)
	}
	x.record(c, r.ended, false, expected, r.actual)
	if r.ended {
		x.disconnectReason(c, reasons)
	}
	return r.ended
}
