package session

import "github.com/mqlab/mqlab/codec"

// send accepts a message into the window, or gives it back.
func (s *Session[H]) send(e *Event[H], now Time, out []Action[H]) []Action[H] {
	if !s.connected {
		return append(out, Action[H]{Kind: Refused, QoS: e.QoS, H: e.H})
	}
	if e.Expires != 0 && now >= e.Expires { // [MQTT-3.3.2-5]
		return append(out, Action[H]{Kind: Release, QoS: e.QoS, Cause: Expired, H: e.H})
	}
	if s.maxPacket != 0 && e.Size > s.maxPacket { // [MQTT-3.1.2-24, MQTT-3.1.2-25, MQTT-3.2.2-15]
		return append(out, Action[H]{Kind: Release, QoS: e.QoS, Cause: TooLarge, H: e.H})
	}
	switch e.QoS {
	case 0:
		return append(out,
			Action[H]{Kind: SendPublish, H: e.H}, Action[H]{Kind: Release, Cause: Done, H: e.H})
	case 1, 2:
	default:
		return append(out, Action[H]{Kind: Refused, QoS: e.QoS, H: e.H})
	}
	if s.Free() == 0 { // [MQTT-4.9.0-2]
		return append(out, Action[H]{Kind: Refused, QoS: e.QoS, H: e.H})
	}
	p := s.out.alloc() // [MQTT-2.2.1-3, MQTT-2.2.1-4]
	s.seq++
	p.h, p.seq, p.size = e.H, s.seq, e.Size
	p.state = outPuback
	if e.QoS == 2 {
		p.state = outPubrec
	}
	if !s.Config.Durable && (s.q == nil || s.q.publish.len() == 0) {
		p.flags = outSent | outCounted
		s.quota--
		return append(out, Action[H]{Kind: SendPublish, QoS: e.QoS, ID: p.id, H: e.H})
	}
	p.flags = outQueued
	s.wait().publish.push(sendItem{seq: p.seq, id: p.id, expires: e.Expires})
	if s.Config.Durable {
		p.flags |= outUnstored
		out = s.persist(p, Published, gatePublish, out)
	}
	return out
}

// persist asks the owner to store the entry's state and lets its packet wait for that.
func (s *Session[H]) persist(p *outSlot[H], stage Stage, g gateKind, out []Action[H]) []Action[H] {
	s.ticket++
	s.wait().gate.push(gateItem{ticket: s.ticket, ref: p.seq, id: p.id, kind: g})
	return append(out, Action[H]{Kind: Persist, Detail: uint8(stage), QoS: p.qos(), ID: p.id, Ref: s.ticket, H: p.h})
}

// puback takes the PUBACK of a QoS 1 message.
func (s *Session[H]) puback(id uint16, r codec.ReasonCode, now Time, out []Action[H]) []Action[H] {
	p := s.out.find(id)
	if p == nil || p.flags&outSent == 0 {
		return out
	}
	if p.state != outPuback {
		return violation(QoSMismatch, id, out)
	}
	return s.pumpPublish(now, s.finish(p, Done, r, out))
}

// pubrec takes the PUBREC of a QoS 2 message and answers it with PUBREL, in the order of the PUBRECs [MQTT-4.6.0-4].
func (s *Session[H]) pubrec(id uint16, r codec.ReasonCode, now Time, out []Action[H]) []Action[H] {
	p := s.out.find(id)
	switch {
	case p == nil || p.flags&outSent == 0:
		if id == 0 || r >= codec.UnspecifiedError {
			return out
		}
		if s.q != nil && s.q.pubrel.len() > 0 {
			s.q.pubrel.push(sendItem{id: id})
			return out
		}
		return append(out, s.unknownPubrel(id))
	case p.state == outPuback:
		return violation(QoSMismatch, id, out)
	case r >= codec.UnspecifiedError: // [MQTT-4.4.0-2]
		return s.pumpPublish(now, s.finish(p, Done, r, out))
	case p.state == outPubrec:
		s.seq++
		p.state, p.seq = outPubcomp, s.seq
		p.flags &^= outQueued
		if s.Config.Durable {
			p.flags |= outUnstored
			out = s.persist(p, Released, gatePubrel, out)
		}
	case p.flags&outQueued != 0:
		return out // the PUBREL that waits answers this PUBREC too
	}
	if p.flags&outUnstored == 0 && (s.q == nil || s.q.pubrel.len() == 0) {
		return append(out, p.pubrel())
	}
	p.flags |= outQueued
	s.wait().pubrel.push(sendItem{seq: p.seq, id: p.id})
	return out
}

func (s *Session[H]) unknownPubrel(id uint16) Action[H] {
	a := Action[H]{Kind: SendPubrel, ID: id, Dup: true}
	if s.version == codec.V5 {
		a.Reason = codec.PacketIDNotFound
	}
	return a
}

// pubcomp takes the PUBCOMP that ends a QoS 2 handshake. Its reason code does not matter: the peer took the message with
// its PUBREC, and 0x92 is what a repeated PUBREL gets where the first PUBCOMP was lost.
func (s *Session[H]) pubcomp(id uint16, now Time, out []Action[H]) []Action[H] {
	p := s.out.find(id)
	if p == nil || p.state != outPubcomp || p.flags&outPubrelSent == 0 {
		return out
	}
	return s.pumpPublish(now, s.finish(p, Done, codec.Success, out))
}

// skip completes what the owner could not send.
func (s *Session[H]) skip(id uint16, now Time, out []Action[H]) []Action[H] {
	p := s.out.find(id)
	if p == nil || p.state == outPubcomp {
		return out
	}
	return s.pumpPublish(now, s.finish(p, TooLarge, codec.Success, out))
}

// request takes an identifier for a SUBSCRIBE or UNSUBSCRIBE; the window does not bound these [MQTT-3.3.4-8].
func (s *Session[H]) request(h H, out []Action[H]) []Action[H] {
	if s.out.n == maxID {
		return append(out, Action[H]{Kind: Refused, H: h})
	}
	p := s.out.alloc()
	s.seq++
	p.h, p.seq, p.state = h, s.seq, outRequest
	s.requests++
	return append(out, Action[H]{Kind: SendRequest, ID: p.id, H: h})
}

func (s *Session[H]) response(id uint16, out []Action[H]) []Action[H] {
	p := s.out.find(id)
	if p == nil || p.state != outRequest {
		return out
	}
	return s.finish(p, Done, codec.Success, out)
}

// finish ends an entry: its slot of the window, its record, its handle.
func (s *Session[H]) finish(p *outSlot[H], c Cause, r codec.ReasonCode, out []Action[H]) []Action[H] {
	if p.flags&outCounted != 0 {
		s.quota++ // once per PUBLISH of this connection: an old PUBREL's PUBCOMP must not open the window wider
	}
	if s.Config.Durable && p.state != outRequest {
		stage := Published
		if p.state == outPubcomp {
			stage = Released
		}
		s.ticket++
		out = append(out, Action[H]{Kind: Forget, Detail: uint8(stage), ID: p.id, Ref: s.ticket})
	}
	out = append(out, Action[H]{Kind: Release, QoS: p.qos(), Reason: r, ID: p.id, Cause: c, H: p.h})
	s.remove(p)
	return out
}

func (s *Session[H]) remove(p *outSlot[H]) {
	if p.state == outRequest {
		s.requests--
	}
	s.out.remove(p)
}

// requeue puts all messages in flight into the queues, in their order: PUBLISH packets as they were first sent
// [MQTT-4.6.0-1], PUBRELs as their PUBRECs came, each with its old identifier [MQTT-4.4.0-1].
func (s *Session[H]) requeue() {
	q := s.wait()
	old := q.publish
	q.publish, q.pubrel = fifo[sendItem]{}, fifo[sendItem]{}
	for _, it := range s.out.sorted() {
		p := s.out.find(it.id)
		p.flags = p.flags&^outCounted | outQueued
		if p.state == outPubcomp { // [MQTT-4.3.3-6]
			q.pubrel.push(it)
			continue
		}
		it.expires = expiry(&old, it.seq)
		q.publish.push(it)
	}
}

// pumpPublish sends what waits for the window or for storage, and stops at the first that has to go on waiting.
func (s *Session[H]) pumpPublish(now Time, out []Action[H]) []Action[H] {
	if s.q == nil || !s.connected {
		return out
	}
	for q := &s.q.publish; q.len() > 0; {
		it := q.front()
		p := s.out.find(it.id)
		if p == nil || p.seq != it.seq {
			q.pop()
			continue
		}
		if p.flags&outUnstored != 0 {
			break
		}
		switch {
		case p.expired(it, now): // [MQTT-3.3.2-5]
			q.pop()
			out = s.finish(p, Expired, codec.Success, out)
			continue
		case s.maxPacket != 0 && p.size > s.maxPacket: // [MQTT-3.1.2-25]
			q.pop()
			out = s.finish(p, TooLarge, codec.Success, out)
			continue
		}
		if s.quota == 0 { // [MQTT-4.9.0-2]; resent PUBLISH packets count (P-4.9-quota-per-connection)
			break
		}
		q.pop()
		s.quota--
		out = append(out, Action[H]{
			Kind: SendPublish, QoS: p.qos(), ID: p.id, H: p.h,
			Dup: p.flags&outSent != 0, // [MQTT-3.3.1-1]
		})
		p.flags = p.flags&^outQueued | outSent | outCounted
	}
	return out
}

// pumpPubrel sends the PUBRELs that wait; the window does not bound them [MQTT-4.9.0-3].
func (s *Session[H]) pumpPubrel(out []Action[H]) []Action[H] {
	if s.q == nil || !s.connected {
		return out
	}
	for q := &s.q.pubrel; q.len() > 0; {
		it := q.front()
		if it.seq == 0 {
			q.pop()
			out = append(out, s.unknownPubrel(it.id))
			continue
		}
		p := s.out.find(it.id)
		if p == nil || p.seq != it.seq {
			q.pop()
			continue
		}
		if p.flags&outUnstored != 0 {
			break
		}
		q.pop()
		out = append(out, p.pubrel())
	}
	return out
}

// stored lets go what waited for tickets up to and including upTo.
func (s *Session[H]) stored(upTo uint64, now Time, out []Action[H]) []Action[H] {
	if s.q == nil {
		return out
	}
	for q := &s.q.gate; q.len() > 0 && q.front().ticket <= upTo; {
		it := q.pop()
		switch it.kind {
		case gatePublish, gatePubrel:
			if p := s.out.find(it.id); p != nil && p.seq == it.ref {
				p.flags &^= outUnstored
			}
		case gatePuback:
			if a := s.puback1(it.ref); a != nil {
				a.state = ackReady
			}
		case gatePubrec:
			if i := s.in.find(it.id); i >= 0 && s.in.slots[i].ref == it.ref && s.in.slots[i].state == inStoring {
				s.in.slots[i].state = inReady
			}
		case gatePubcomp:
			out = s.forgotten(it, out)
		}
	}
	out = s.pumpPuback(out)
	out = s.pumpPubrec(out)
	out = s.pumpPubrel(out)
	return s.pumpPublish(now, out)
}
