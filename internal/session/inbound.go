package session

import "github.com/mqlab/mqlab/codec"

// receive takes an inbound PUBLISH.
func (s *Session[H]) receive(e *Event[H], out []Action[H]) []Action[H] {
	deliver := e.Reason < codec.UnspecifiedError
	if s.version != codec.V5 {
		e.Reason = codec.Success // there is no way to refuse but not to deliver
	}
	switch {
	case e.QoS == 0:
		return append(out, handOver(e, deliver, 0))
	case e.QoS > 2:
		return violation(InvalidQoS, e.ID, out)
	case e.ID == 0:
		return violation(PacketIDZero, 0, out)
	case e.QoS == 1:
		return s.receive1(e, deliver, out)
	}
	return s.receive2(e, deliver, out)
}

// ref1 and ref2 number separately; the lowest bit of a Deliver's Ref tells which.
func deliverRef1(n uint64) uint64 { return n << 1 }
func deliverRef2(n uint64) uint64 { return n<<1 | 1 }

// handOver is the Deliver or Discard of an inbound message.
func handOver[H any](e *Event[H], deliver bool, ref uint64) Action[H] {
	a := Action[H]{Kind: Deliver, QoS: e.QoS, ID: e.ID, H: e.H}
	switch {
	case !deliver:
		a.Kind = Discard
	case e.Hold:
		a.Ref = ref
	}
	return a
}

// full tells whether one more PUBLISH exceeds what this side announced. Before 5.0 there is no such limit.
func (s *Session[H]) full() bool {
	return s.version == codec.V5 && s.recvUsed >= s.recvMax // P-3.3.4-receive-maximum-exceeded
}

// count takes a slot of the Receive Maximum. Before 5.0 nothing bounds the count but what it is for.
func (s *Session[H]) count() {
	if s.recvUsed < s.recvMax {
		s.recvUsed++
	}
}

// credit gives a slot back as section 4.9 lets the peer count: for every PUBACK, PUBCOMP and refusing PUBREC.
func (s *Session[H]) credit() {
	if s.recvUsed > 0 {
		s.recvUsed--
	}
}

func (s *Session[H]) receive1(e *Event[H], deliver bool, out []Action[H]) []Action[H] {
	if s.full() {
		return violation(ReceiveMaximumExceeded, e.ID, out)
	}
	hold := e.Hold && deliver
	if !hold && !s.Config.Durable && (s.q == nil || s.q.acks1.len() == 0) {
		return append(out, handOver(e, deliver, 0), Action[H]{Kind: SendPuback, ID: e.ID, Reason: e.Reason})
	}
	s.count()
	s.ref1++
	s.wait().acks1.push(ackItem{id: e.ID, reason: e.Reason})
	out = append(out, handOver(e, deliver, deliverRef1(s.ref1)))
	if hold {
		return out
	}
	return s.accept1(s.ref1, out)
}

// puback1 is the waiting PUBACK of a Deliver at QoS 1, or nil.
func (s *Session[H]) puback1(ref uint64) *ackItem {
	if s.q == nil {
		return nil
	}
	back := s.ref1 - ref // 0 is the last one
	if ref > s.ref1 || back >= uint64(s.q.acks1.len()) {
		return nil
	}
	return s.q.acks1.at(s.q.acks1.len() - 1 - int(back))
}

// accept1 lets a PUBACK go as soon as storage and the PUBACKs before it allow [MQTT-4.3.2-4].
func (s *Session[H]) accept1(ref uint64, out []Action[H]) []Action[H] {
	a := s.puback1(ref)
	if s.Config.Durable && a.reason < codec.UnspecifiedError {
		a.state = ackStoring
		s.ticket++
		s.q.gate.push(gateItem{ticket: s.ticket, ref: ref, id: a.id, kind: gatePuback})
		return append(out, Action[H]{Kind: Persist, Detail: uint8(Accepted), QoS: 1, ID: a.id, Ref: s.ticket})
	}
	a.state = ackReady
	return s.pumpPuback(out)
}

// pumpPuback sends the PUBACKs whose turn it is [MQTT-4.6.0-2].
func (s *Session[H]) pumpPuback(out []Action[H]) []Action[H] {
	if s.q == nil {
		return out
	}
	for q := &s.q.acks1; q.len() > 0 && q.front().state == ackReady; {
		a := q.pop()
		s.credit()
		out = append(out, Action[H]{Kind: SendPuback, ID: a.id, Reason: a.reason})
	}
	return out
}

func (s *Session[H]) receive2(e *Event[H], deliver bool, out []Action[H]) []Action[H] {
	i := s.in.find(e.ID)
	if i >= 0 && s.in.slots[i].state == inStored {
		return violation(PublishAfterPubrel, e.ID, out)
	}
	if i >= 0 && s.in.slots[i].flags&inCounted != 0 {
		return s.answer2(i, append(out, handOver(e, false, 0)))
	}
	if s.full() {
		return violation(ReceiveMaximumExceeded, e.ID, out)
	}
	s.count()
	if i >= 0 { // [MQTT-4.3.3-10]
		s.in.slots[i].flags |= inCounted
		return s.answer2(i, append(out, handOver(e, false, 0)))
	}
	s.ref2++
	out = append(out, handOver(e, deliver, deliverRef2(s.ref2)))
	t := inSlot{ref: s.ref2, id: e.ID, state: inHeld, flags: inCounted, reason: e.Reason}
	hold := e.Hold && deliver
	if !hold && !s.Config.Durable && (s.q == nil || s.q.acks2.len() == 0) {
		if e.Reason >= codec.UnspecifiedError { // [MQTT-4.3.3-9]
			s.credit()
		} else {
			t.state = inPubrel
			s.in.add(t)
		}
		return append(out, Action[H]{Kind: SendPubrec, ID: e.ID, Reason: e.Reason})
	}
	t.flags |= inQueued
	s.in.add(t)
	s.wait().acks2.push(sendItem{seq: t.ref, id: t.id})
	if hold {
		return out
	}
	return s.accept2(s.in.find(e.ID), e.Reason, out)
}

// answer2 sends PUBREC for a PUBLISH whose identifier is known, after the PUBRECs before it.
func (s *Session[H]) answer2(i int, out []Action[H]) []Action[H] {
	t := &s.in.slots[i]
	if t.flags&inQueued != 0 {
		return out
	}
	t.flags |= inQueued
	s.wait().acks2.push(sendItem{seq: t.ref, id: t.id})
	return s.pumpPubrec(out)
}

// accept2 lets a PUBREC go as soon as storage and the PUBRECs before it allow [MQTT-4.3.3-8].
func (s *Session[H]) accept2(i int, r codec.ReasonCode, out []Action[H]) []Action[H] {
	t := &s.in.slots[i]
	t.reason = r
	if s.Config.Durable && r < codec.UnspecifiedError {
		t.state = inStoring
		s.ticket++
		s.wait().gate.push(gateItem{ticket: s.ticket, ref: t.ref, id: t.id, kind: gatePubrec})
		return append(out, Action[H]{Kind: Persist, Detail: uint8(Received), QoS: 2, ID: t.id, Ref: s.ticket})
	}
	t.state = inReady
	return s.pumpPubrec(out)
}

// pumpPubrec sends the PUBRECs whose turn it is [MQTT-4.6.0-3].
func (s *Session[H]) pumpPubrec(out []Action[H]) []Action[H] {
	if s.q == nil || !s.connected {
		return out
	}
	for q := &s.q.acks2; q.len() > 0; {
		it := q.front()
		i := s.in.find(it.id)
		if i < 0 || s.in.slots[i].ref != it.seq || s.in.slots[i].state == inStored {
			q.pop()
			continue
		}
		t := &s.in.slots[i]
		a := Action[H]{Kind: SendPubrec, ID: t.id}
		switch t.state {
		case inHeld, inStoring:
			return out
		case inReady:
			t.state = inPubrel
			if s.version == codec.V5 {
				a.Reason = t.reason
			}
		}
		t.flags &^= inQueued
		if a.Reason >= codec.UnspecifiedError { // [MQTT-4.3.3-9]
			s.in.remove(i)
			s.credit()
		}
		q.pop()
		out = append(out, a)
	}
	return out
}

// ack takes the application's acknowledgement of a message delivered with Hold.
func (s *Session[H]) ack(id uint16, ref uint64, r codec.ReasonCode, out []Action[H]) []Action[H] {
	if s.version != codec.V5 {
		r = codec.Success
	}
	n := ref >> 1
	if ref == deliverRef2(n) {
		if i := s.in.find(id); i >= 0 && s.in.slots[i].ref == n && s.in.slots[i].state == inHeld {
			return s.accept2(i, r, out)
		}
		return out
	}
	if a := s.puback1(n); a != nil && a.id == id && a.state == ackHeld {
		a.reason = r
		return s.accept1(n, out)
	}
	return out
}

// pubrel takes an inbound PUBREL [MQTT-4.3.3-11].
func (s *Session[H]) pubrel(id uint16, out []Action[H]) []Action[H] {
	if id == 0 {
		return out
	}
	i := s.in.find(id)
	if i < 0 {
		a := Action[H]{Kind: SendPubcomp, ID: id}
		if s.version == codec.V5 {
			a.Reason = codec.PacketIDNotFound
		}
		s.credit()
		return append(out, a)
	}
	t := &s.in.slots[i]
	switch {
	case t.state == inStored:
		t.flags |= inAnswer
		return out
	case s.Config.Durable:
		t.state = inStored
		t.flags = t.flags&^inQueued | inAnswer
		s.ticket++
		s.wait().gate.push(gateItem{ticket: s.ticket, ref: t.ref, id: id, kind: gatePubcomp})
		out = append(out, Action[H]{Kind: Forget, Detail: uint8(Received), ID: id, Ref: s.ticket})
	default:
		s.in.remove(i)
		s.credit()
		out = append(out, Action[H]{Kind: SendPubcomp, ID: id})
	}
	return s.pumpPubrec(out)
}

// forgotten answers a PUBREL whose identifier is durably forgotten: sent any earlier, a crash could bring the identifier
// back and the next message with it would be taken for a duplicate.
func (s *Session[H]) forgotten(it gateItem, out []Action[H]) []Action[H] {
	i := s.in.find(it.id)
	if i < 0 || s.in.slots[i].ref != it.ref {
		return out
	}
	answer := s.in.slots[i].flags&inAnswer != 0
	s.in.remove(i)
	if !answer || !s.connected {
		return out
	}
	s.credit()
	return append(out, Action[H]{Kind: SendPubcomp, ID: it.id})
}
