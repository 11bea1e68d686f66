package client

import (
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

// receive takes a packet from the Server. An error ends the connection.
func (l *link) receive(frame []byte) error {
	p, err := l.decode(frame)
	if err != nil {
		return err
	}
	c := l.c
	var e session.Event[*entry]
	switch p := p.(type) {
	case *codec.Publish:
		return l.receivePublish(p)
	case *codec.Puback:
		e = session.Event[*entry]{Kind: session.Puback, ID: p.PacketID, Reason: p.Reason}
	case *codec.Pubrec:
		e = session.Event[*entry]{Kind: session.Pubrec, ID: p.PacketID, Reason: p.Reason}
	case *codec.Pubrel:
		e = session.Event[*entry]{Kind: session.Pubrel, ID: p.PacketID}
	case *codec.Pubcomp:
		e = session.Event[*entry]{Kind: session.Pubcomp, ID: p.PacketID}
	case *codec.Suback:
		return l.answered(codec.TypeSuback, p.PacketID, p.Reasons, &p.Props)
	case *codec.Unsuback:
		return l.answered(codec.TypeUnsuback, p.PacketID, p.Reasons, &p.Props)
	case *codec.Pingresp:
		l.pinged.Store(0)
		return nil
	case *codec.Auth:
		return l.reauthenticated(p)
	case *codec.Disconnect:
		return refused(codec.TypeDisconnect, l.version, p.Reason, &p.Props)
	case *codec.Connack:
		return protocolError(codec.ProtocolError, "a second CONNACK came")
	default:
		return protocolError(codec.ProtocolError, "%s is no packet of a server", p.Type())
	}
	c.mu.Lock()
	err = c.event(l, e)
	c.mu.Unlock()
	poke(l.wake)
	return err
}

// event steps the session by a packet, and says what the Server did wrong, if it did. The lock is held.
func (c *Client) event(l *link, e session.Event[*entry]) error {
	if l.closing {
		return nil
	}
	c.step(e)
	c.settle()
	if v := c.inbox.violation; v != 0 {
		c.inbox.violation = 0
		return protocolError(v.Reason(), "%s", faultText[v])
	}
	return nil
}

var faultText = map[session.Fault]string{
	session.QoSMismatch:            "a message was acknowledged by the packet of another QoS",
	session.ReceiveMaximumExceeded: "more messages came than the Receive Maximum allows",
	session.PacketIDZero:           "a message came with packet identifier 0",
	session.InvalidQoS:             "a message came with QoS 3",
	session.PublishAfterPubrel:     "a message came again after its PUBREL",
}

// receivePublish resolves the alias and hands the message to the session.
func (l *link) receivePublish(p *codec.Publish) error {
	if l.version == codec.V5 && p.Props.Has(codec.PropTopicAlias) {
		n := int(p.Props.Uint(codec.PropTopicAlias, 0))
		switch {
		case n == 0 || n >= len(l.aliasIn): // [MQTT-3.1.2-26, MQTT-3.1.2-27]
			return protocolError(codec.TopicAliasInvalid, "Topic Alias %d was never allowed", n)
		case p.Topic != "":
			l.aliasIn[n] = string([]byte(p.Topic))
		case l.aliasIn[n] == "":
			return protocolError(codec.TopicAliasInvalid, "Topic Alias %d was used before it was given a Topic Name", n)
		default:
			p.Topic = l.aliasIn[n]
		}
	}
	c := l.c
	c.mu.Lock()
	defer poke(l.wake)
	defer c.mu.Unlock()
	c.inbox.arriving = p
	return c.event(l, session.Event[*entry]{Kind: session.Publish, QoS: p.QoS, ID: p.PacketID, Hold: p.QoS > 0})
}

// step moves the session by one event and carries out what it says. The lock is held; settle follows.
func (c *Client) step(e session.Event[*entry]) {
	acts := c.acts
	c.acts = nil // apply can lead to further steps
	acts = c.ses.Step(e, c.now(), acts[:0])
	c.apply(acts)
	clear(acts)
	c.acts = acts[:0]
}

// apply carries out the session's actions. The lock is held.
func (c *Client) apply(acts []session.Action[*entry]) {
	l := c.link
	for i := range acts {
		a := &acts[i]
		switch a.Kind {
		case session.SendPublish, session.SendPuback, session.SendPubrec, session.SendPubrel, session.SendPubcomp, session.SendRequest:
			if l == nil {
				continue
			}
			if a.Kind == session.SendRequest {
				l.asked[a.ID] = a.H
			}
			if a.Kind == session.SendPubrel && a.H != nil {
				a.H.msg = Message{Topic: a.H.msg.Topic} // the Server has it
			}
			l.fifo.push(item{kind: a.Kind, id: a.ID, qos: a.QoS, dup: a.Dup, reason: a.Reason, e: a.H})
		case session.Deliver:
			if !c.inbox.push(&c.cfg, arrived(c.inbox.arriving), a.Ref) {
				c.stats.Dropped++
			}
		case session.Persist, session.Forget, session.Clear:
			c.record(a)
		case session.Release:
			c.release(a)
		case session.Refused:
			if a.H.req != nil {
				c.requests.push(a.H)
			} else {
				c.queue.unshift([]*entry{a.H})
			}
		case session.Violation:
			c.inbox.violation = a.Fault()
		}
	}
}

// arrived detaches a message from the frame it stands in.
func arrived(p *codec.Publish) *Message {
	buf := make([]byte, len(p.Topic)+len(p.Payload))
	n := copy(buf, p.Topic)
	copy(buf[n:], p.Payload)
	m := &Message{Payload: buf[n:], QoS: p.QoS, Retain: p.Retain, Dup: p.Dup, Props: p.Props.Clone()}
	m.Topic = string(buf[:n])
	return m
}

// release ends a message or request.
func (c *Client) release(a *session.Action[*entry]) {
	e := a.H
	if e.req != nil {
		switch {
		case a.Cause == session.Done:
			e.req.finish(e.req.reasons, nil)
		case !e.req.over():
			c.requests.push(e)
		}
		return
	}
	switch a.Cause {
	case session.Lost:
		c.lost = append(c.lost, e)
		c.unrecord(e, false)
		return
	case session.Expired:
		e.tok.finish(0, ErrExpired)
	case session.TooLarge:
		e.tok.finish(0, ErrTooLarge)
	case session.Done, session.Settled:
		var err error
		if a.Reason.Failed() {
			t := codec.TypePuback
			if a.QoS == 2 {
				t = codec.TypePubrec
			}
			r := refused(t, c.cfg.Version, a.Reason, nil)
			r.About = e.msg.Topic
			err = r
		} else {
			c.stats.Published++
		}
		e.tok.finish(a.Reason, err)
	}
	c.drop(e)
}

// drop takes a message off the books.
func (c *Client) drop(e *entry) {
	c.unrecord(e, true)
	c.pending--
	c.bytes -= e.cost
}

// settle does what steps make possible: it moves queued messages into the session and passes changes to the
// Store. The lock is held.
func (c *Client) settle() {
	defer c.checkQuiet()
	for {
		c.pump()
		f := &c.files
		switch {
		case f.ticket <= f.stored || f.busy:
			if len(f.ops) > 0 {
				poke(f.wake)
			}
			return
		case len(f.ops) > 0 || len(f.toks) > 0:
			poke(f.wake)
			return
		}
		f.stored = f.ticket
		c.step(session.Event[*entry]{Kind: session.Stored, Ref: f.ticket})
	}
}

// pump offers queued messages to the session as long as it takes them.
func (c *Client) pump() {
	l := c.link
	if l == nil || l.closing {
		return
	}
	for c.queue.len() > 0 && c.ses.Free() > 0 {
		e := c.queue.pop()
		if err := l.supports(&e.msg); err != nil {
			e.tok.finish(0, err)
			c.drop(e)
			continue
		}
		c.step(session.Event[*entry]{Kind: session.Send, H: e, QoS: e.msg.QoS, Size: e.size, Expires: e.expires})
	}
}
