package judge

import (
	"fmt"

	"github.com/mqlab/mqlab/codec"
)

// firstAck is the packet that answers a PUBLISH at one QoS.
type firstAck struct {
	name  string
	qos   codec.QoS
	typed duty // of a PUBLISH at this QoS: to be answered with this packet
	other duty // of a PUBLISH at the other QoS: not to be answered with it
	due   string
	order duty
}

var (
	ackQoS1 = firstAck{"PUBACK", 1, dAckTypeQoS1, dAckTypeQoS2, "PUBREC for a QoS 2 PUBLISH", dPubackOrder}
	ackQoS2 = firstAck{"PUBREC", 2, dAckTypeQoS2, dAckTypeQoS1, "PUBACK for a QoS 1 PUBLISH", dPubrecOrder}
)

// answer judges a PUBACK or PUBREC of the receiver r and returns the exchange that it goes on with,
// nil where there is none or which one cannot be told.
func (c *Conn) answer(k *firstAck, r side, id uint16, reason codec.ReasonCode) *exchange {
	s := r.other()
	f := &c.flows[s]
	if !c.follows(s) || id == 0 || f.odd.has(id) {
		return nil
	}
	e := f.open[id]
	switch {
	case e == nil || e.stage == declined:
		c.unmatched(r, dAckID, id, k.name)
		return nil
	case e.qos != k.qos:
		if c.can(r) && e.here {
			actual := fmt.Sprintf("%s with id %d", k.name, id)
			c.breach(dAckType, r, Fail, k.due, actual)
			c.breach(k.other, r, Fail, k.due, actual)
		}
		f.blur(id)
		return nil
	case k.qos == 2 && (e.recs > 0 || e.stage == released || !e.here):
		f.blur(id) // a repeated PUBREC, or one whose PUBLISH is not of this connection
		return nil
	}
	if c.can(r) {
		c.keep(dAckID, r)
		c.keep(dAckType, r)
		c.keep(k.typed, r)
		if r == client && e.here {
			c.prove()
			last := &f.lastPuback
			if k.qos == 2 {
				last = &f.lastPubrec
			}
			if !c.holds(k.order, r, e.order > *last) {
				c.breach(k.order, r, Fail, k.name+" in the order in which the messages came",
					fmt.Sprintf("%s with id %d after that of a later message", k.name, id))
			}
			*last = max(*last, e.order)
		}
	}
	if r == server {
		c.ackedAnyway(e, reason)
		c.answered(e.frame)
	}
	return e
}

// puback follows a PUBACK of the receiver r.
func (c *Conn) puback(r side, id uint16, reason codec.ReasonCode) {
	e := c.answer(&ackQoS1, r, id, reason)
	if e == nil {
		return
	}
	s := r.other()
	if c.can(s) {
		c.keep(dLiveResend, s)
	}
	c.flows[s].finish(id, e)
}

// pubrec follows a PUBREC of the receiver r.
func (c *Conn) pubrec(r side, id uint16, reason codec.ReasonCode) {
	e := c.answer(&ackQoS2, r, id, reason)
	if e == nil {
		return
	}
	f := &c.flows[r.other()]
	e.recs++
	f.recs++
	e.recOrder = f.recs
	e.due = false
	if c.v == codec.V5 && reason.Failed() {
		e.stage = declined
		f.acked = true
		f.uncount(e)
		return
	}
	e.stage = received
}

// pubrel follows a PUBREL of the sender s.
func (c *Conn) pubrel(s side, id uint16, reason codec.ReasonCode) {
	f := &c.flows[s]
	if !c.follows(s) || id == 0 || f.odd.has(id) {
		return
	}
	e := f.open[id]
	switch {
	case e == nil:
		if old := f.stale[id]; old != nil && old.qos == 2 && old.stage != published && c.can(s) && !f.used.has(id) {
			c.staleRelease(s, id)
		} else if reason != codec.PacketIDNotFound && !f.used.has(id) {
			c.unmatched(s, dAckID, id, "PUBREL")
		}
		f.blur(id)
		return
	case e.qos == 1:
		c.unmatched(s, dAckID, id, "PUBREL")
		f.blur(id)
		return
	case e.stage == declined:
		if c.can(s) && reason != codec.PacketIDNotFound {
			c.breach(dPubrelAfterRefusal, s, Fail, "no PUBREL after PUBREC with 0x80 or above", fmt.Sprintf("PUBREL with id %d", id))
		}
		f.blur(id)
		return
	case e.stage == published:
		if c.can(s) && e.here && reason != codec.PacketIDNotFound && c.announce.fresh {
			c.breach(dPubrelWithoutPubrec, s, Fail, "PUBREL only after PUBREC", fmt.Sprintf("PUBREL with id %d", id))
		}
		f.blur(id)
		return
	case e.stage == released && e.relHere:
		if c.can(s) && c.v == codec.V5 && e.recs <= 1 {
			c.breach(dLiveResend, s, Fail, "no PUBREL sent again on the same connection", fmt.Sprintf("PUBREL with id %d again", id))
		}
		f.blur(id)
		return
	}
	if c.can(s) && e.recs == 1 {
		c.keep(dAckID, s)
		c.keep(dPubrelWithoutPubrec, s)
		c.keep(dPubrelAfterRefusal, s)
		if s == client {
			c.prove()
			if !c.holds(dPubrelOrder, s, e.recOrder > f.lastPubrel) {
				c.breach(dPubrelOrder, s, Fail, "PUBREL in the order in which the PUBRECs came",
					fmt.Sprintf("PUBREL with id %d after that of a later PUBREC", id))
			}
			f.lastPubrel = max(f.lastPubrel, e.recOrder)
		}
	}
	e.stage, e.relHere = released, true
	e.frame, e.at, e.due = c.frame, c.at, true
}

func (c *Conn) staleRelease(s side, id uint16) {
	actual := fmt.Sprintf("its PUBREL with id %d again", id)
	c.flows[s].revived = true
	switch {
	case c.hello.clean:
		c.breach(dStaleAfterClean, s, Fail, "nothing of the former session", actual)
	case s == client && c.knows():
		c.breach(dStaleAfterLoss, s, Fail, "nothing of a session that the server no longer has", actual)
	}
}

// pubcomp follows a PUBCOMP of the receiver r.
func (c *Conn) pubcomp(r side, id uint16) {
	s := r.other()
	f := &c.flows[s]
	if !c.follows(s) || id == 0 || f.odd.has(id) {
		return
	}
	e := f.open[id]
	switch {
	case e == nil:
		if !f.used.has(id) {
			c.unmatched(r, dCompID, id, "PUBCOMP")
		}
		f.blur(id)
		return
	case e.stage != released:
		f.blur(id)
		return
	}
	if c.can(r) {
		c.keep(dCompID, r)
		if r == client {
			c.prove()
		}
	}
	if r == server {
		c.answered(e.frame)
		c.keep(dPubrelAnswered, server)
	}
	if c.can(s) {
		c.keep(dPublishAfterPubrel, s)
		c.keep(dLiveResend, s)
	}
	f.finish(id, e)
}

// unmatched judges a packet whose id belongs to no exchange. It is a breach only where the session
// is known from its begin.
func (c *Conn) unmatched(s side, d duty, id uint16, what string) {
	if c.can(s) && c.announce.fresh {
		c.breach(d, s, Fail, "the id of an open PUBLISH", fmt.Sprintf("%s with id %d", what, id))
	}
	sender := s.other()
	if what == "PUBREL" {
		sender = s
	}
	c.flows[sender].odd.add(id)
}

// ackedAnyway judges whether a server acknowledges what it announced not to take.
func (c *Conn) ackedAnyway(e *exchange, reason codec.ReasonCode) {
	if e.over == 0 || !c.whole {
		return
	}
	for _, x := range excessDuties {
		switch {
		case e.over&x.bit == 0:
		case reason.Failed():
			c.keep(x.duty, server)
		default:
			c.breach(x.duty, server, Warn, "no acknowledgement of success for a packet beyond what CONNACK announced", "success")
		}
	}
	c.requests.over &^= e.over
}

// excessDuties are the duties not to acknowledge what is beyond an announced limit.
var excessDuties = [...]struct {
	bit  excess
	duty duty
}{
	{overQoS, dAckedAboveMaximumQoS}, {overRetain, dAckedRetain}, {overSize, dAckedTooLarge},
}
