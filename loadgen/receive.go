package loadgen

import (
	"encoding/binary"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

// receive takes bytes from the network; through the client's link where it has one.
func (w *worker) receive(c *client, b []byte) {
	w.count(c).BytesIn += uint64(len(b))
	if c.link != nil {
		c.link.arrive(w, c, b)
		return
	}
	w.consume(c, b)
}

// consume handles all packets that are whole, answers them with one write, and publishes what they have made room for.
func (w *worker) consume(c *client, b []byte) {
	if len(c.partial) > 0 {
		c.partial = append(c.partial, b...)
		b = c.partial
	}
	gen := c.gen
	for len(b) > 1 {
		n, head := frameLen(b)
		if n < 0 {
			w.violated(c, "a Remaining Length of more than four bytes")
			return
		}
		if n == 0 || n > len(b) {
			break
		}
		w.packet(c, b[:n], head)
		if c.gen != gen || !c.attached() {
			return
		}
		b = b[n:]
	}
	switch {
	case len(b) > 0:
		c.partial = append(c.partial[:0], b...)
	case cap(c.partial) > 4096:
		c.partial = nil
	default:
		c.partial = c.partial[:0]
	}
	if c.replies != nil {
		w.reply(c)
	}
	w.tick() // what was read is done with its own instant
	if c.state == stateReady && len(c.emitters) > 0 {
		w.pump(c)
		return
	}
	w.flush(c)
}

// frameLen is the length of the packet at the start of b and of its fixed header: 0 where more is needed to know, -1 where
// the length is malformed.
func frameLen(b []byte) (n, head int) {
	if b[1] < 0x80 {
		return int(b[1]) + 2, 2
	}
	v, size := codec.Varint(b[1:])
	switch {
	case size < 0:
		return -1, 0
	case size == 0:
		return 0, 0
	}
	return int(v) + 1 + size, 1 + size
}

// packet handles one packet. Those of the hot path are read by their fixed bytes, all others by the codec.
func (w *worker) packet(c *client, f []byte, head int) {
	body := f[head:]
	switch f[0] {
	case 0x40, 0x50, 0x62, 0x70:
		if len(body) >= 2 && (len(body) == 2 || c.g.version == codec.V5) && c.state > stateConnecting {
			ev := session.Event[message]{ID: binary.BigEndian.Uint16(body)}
			if len(body) > 2 {
				ev.Reason = codec.ReasonCode(body[2])
			}
			switch f[0] {
			case 0x40:
				ev.Kind = session.Puback
			case 0x50:
				ev.Kind = session.Pubrec
			case 0x62:
				ev.Kind = session.Pubrel
			default:
				ev.Kind = session.Pubcomp
			}
			w.step(c, ev)
			return
		}
	case 0xD0:
		if len(body) == 0 && c.pinging {
			c.pinging = false
			w.st.record(metricPing, anyQoS, c.g.index, w.phase, w.now-c.pingAt)
			return
		}
	}
	if f[0]>>4 == byte(codec.TypePublish) && c.state > stateConnecting {
		if w.publish(c, f[0], body) {
			return
		}
	}
	p, err := w.dec[c.g.version].Decode(f)
	if p == nil {
		w.violated(c, err.Error())
		return
	}
	switch p := p.(type) {
	case *codec.Connack:
		w.connack(c, p)
	case *codec.Suback:
		w.suback(c, p)
	case *codec.Pingresp, *codec.Puback, *codec.Pubrec, *codec.Pubrel, *codec.Pubcomp, *codec.Publish, *codec.Unsuback:
		if c.state <= stateConnecting {
			w.violated(c, p.Type().String()+" came before CONNACK")
		}
	case *codec.Disconnect:
		if !c.wanted {
			w.fault(c, "disconnect", p.Reason.Name(codec.TypeDisconnect, c.g.version), int(p.Reason))
		}
		w.drop(c, false)
	default:
		w.violated(c, p.Type().String()+" is not for clients")
	}
}

// publish handles an inbound PUBLISH. It is false where the bytes do not add up, for the codec to say how.
func (w *worker) publish(c *client, first byte, b []byte) bool {
	if len(b) < 2 {
		return false
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < n {
		return false
	}
	topic := b[2:n]
	b = b[n:]
	qos := first >> 1 & 3
	var id uint16
	if qos == 3 {
		return false
	}
	if qos > 0 {
		if len(b) < 2 {
			return false
		}
		id = binary.BigEndian.Uint16(b)
		b = b[2:]
	}
	var props []byte
	if c.g.version == codec.V5 {
		v, size := codec.Varint(b)
		if size <= 0 || len(b) < size+int(v) {
			return false
		}
		props = b[size : size+int(v)]
		b = b[size+int(v):]
	}
	if qos == 0 {
		w.arrived(c, viewString(topic), props, b, qos, first&1 != 0)
		return true
	}
	if id == 0 {
		return false
	}
	w.acts = c.sess.Step(session.Event[message]{Kind: session.Publish, QoS: codec.QoS(qos), ID: id}, session.Time(w.now), w.acts[:0])
	for i := range w.acts {
		switch a := &w.acts[i]; a.Kind {
		case session.Deliver:
			w.arrived(c, viewString(topic), props, b, qos, first&1 != 0)
		case session.Discard:
			w.count(c).Received++
		}
	}
	w.act(c, w.acts)
	return true
}

// step gives the session an event and does what it asks for. Packets are appended to the output.
func (w *worker) step(c *client, ev session.Event[message]) {
	before := c.sess.InFlight()
	w.acts = c.sess.Step(ev, session.Time(w.now), w.acts[:0])
	w.inflight += c.sess.InFlight() - before
	w.act(c, w.acts)
}

func (w *worker) act(c *client, acts []session.Action[message]) {
	violated := session.Fault(0)
	for i := range acts {
		switch a := &acts[i]; a.Kind {
		case session.SendPublish:
			w.resend(c, a)
		case session.SendPuback:
			w.out = append(w.out, 0x40, 2, byte(a.ID>>8), byte(a.ID))
		case session.SendPubrec:
			w.out = append(w.out, 0x50, 2, byte(a.ID>>8), byte(a.ID))
		case session.SendPubrel:
			w.appendReason(c, 0x62, a)
		case session.SendPubcomp:
			w.appendReason(c, 0x70, a)
		case session.SendRequest:
			w.appendSubscribe(c, a.ID)
		case session.Release:
			w.released(c, a)
		case session.Violation:
			violated = a.Fault()
		}
	}
	if violated != 0 && c.attached() {
		w.violated(c, violated.Reason().String())
	}
}

func (w *worker) appendReason(c *client, first byte, a *session.Action[message]) {
	if a.Reason == 0 || c.g.version != codec.V5 {
		w.out = append(w.out, first, 2, byte(a.ID>>8), byte(a.ID))
		return
	}
	w.out = append(w.out, first, 3, byte(a.ID>>8), byte(a.ID), byte(a.Reason))
}

// resend sends a message of the session's once more, or one that had waited.
func (w *worker) resend(c *client, a *session.Action[message]) {
	m := &a.H
	if m.emitter == replyEmitter {
		w.appendReply(c, m, a.ID, a.Dup)
		return
	}
	e := &c.emitters[m.emitter]
	w.appendPublish(c, e, m, e.pub.topicIndexOf(m.k), a.ID, a.Dup)
	if a.Dup {
		w.st.at(w.p.table.at(m.due-w.t0), c.g.index).Resent++
	}
}

// flush hands the output to the client's network.
func (w *worker) flush(c *client) {
	if len(w.out) == 0 {
		return
	}
	b := w.out
	w.out = b[:0]
	if cap(b) > 4*writeBatch {
		w.out = make([]byte, 0, writeBatch+4096)
	}
	if !c.attached() {
		return
	}
	c.lastOut = w.now
	if c.link != nil {
		c.link.send(w, c, b)
		return
	}
	w.transmit(c, b)
}

// transmit writes to the connection. What the socket does not take waits until it does.
func (w *worker) transmit(c *client, b []byte) {
	w.count(c).BytesOut += uint64(len(b))
	if c.io != nil {
		c.io.write(b)
		return
	}
	if len(c.pending) > 0 {
		c.pending = append(c.pending, b...)
		return
	}
	n, err := writeSocket(c.fd, b)
	if err != nil && err != errAgain {
		w.writeFailed(c, err)
		return
	}
	if n < len(b) {
		c.pending = append(c.pending, b[n:]...)
	}
}

// writeFailed leaves it to reading to find out that the connection ended: what the server said last is still there.
func (w *worker) writeFailed(c *client, err error) {
	if c.state == stateConnecting || c.state == stateDialing {
		w.broken(c, err)
		return
	}
	c.pending = append(c.pending[:0], 0) // nothing more goes out
	c.unread = true
	w.queueReady(c)
}

// flushPending goes on writing when the socket takes more.
func (w *worker) flushPending(c *client) {
	n, err := writeSocket(c.fd, c.pending)
	if err != nil && err != errAgain {
		w.broken(c, err)
		return
	}
	if n < len(c.pending) {
		c.pending = c.pending[:copy(c.pending, c.pending[n:])]
		return
	}
	if c.pending = c.pending[:0]; cap(c.pending) > 4096 {
		c.pending = nil
	}
	if c.unread {
		w.queueReady(c)
	}
	w.pump(c)
}
