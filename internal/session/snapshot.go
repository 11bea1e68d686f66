package session

import (
	"fmt"
	"iter"

	"github.com/mqlab/mqlab/codec"
)

// Record is the state of one message in flight: what All yields and Restore takes.
type Record[H any] struct {
	Stage Stage // Published, Released or Received
	QoS   codec.QoS
	ID    uint16
	// Sent says that the PUBLISH may have been sent: the next one carries DUP, and expiry no longer applies [MQTT-4.3.3-7].
	// A store that does not record sending sets it.
	Sent    bool
	Size    uint32
	Expires Time
	H       H // zero for Received
}

// All yields the records of the session: outbound messages in the order in which they are sent again, then inbound QoS 2
// identifiers in no order, those left out that the application has not acknowledged or that are being forgotten.
// The session may not be used while the iteration runs.
func (s *Session[H]) All() iter.Seq[Record[H]] {
	return func(yield func(Record[H]) bool) {
		for _, it := range s.out.sorted() {
			p := s.out.find(it.id)
			if p.state == outRequest {
				continue
			}
			r := Record[H]{Stage: Published, QoS: p.qos(), ID: p.id, Sent: p.flags&outSent != 0, Size: p.size, H: p.h}
			switch {
			case p.state == outPubcomp:
				r.Stage = Released
			case !r.Sent && s.q != nil:
				r.Expires = expiry(&s.q.publish, p.seq)
			}
			if !yield(r) {
				return
			}
		}
		for i := range s.in.slots {
			t := &s.in.slots[i]
			if t.id == 0 || t.state == inHeld || t.state == inStored || t.reason >= codec.UnspecifiedError {
				continue
			}
			if !yield(Record[H]{Stage: Received, QoS: 2, ID: t.id}) {
				return
			}
		}
	}
}

// Restore puts a record back, outbound records in the order in which All yielded them. It is for a session that is not
// connected yet. A record that was restored counts as stored.
func (s *Session[H]) Restore(r Record[H]) error {
	used := s.out.find(r.ID) != nil
	if r.Stage == Received {
		used = s.in.find(r.ID) >= 0
	}
	switch {
	case s.connected:
		return fmt.Errorf("restore packet identifier %d: the session is connected, restore before connecting", r.ID)
	case r.ID == 0:
		return fmt.Errorf("restore a record of stage %d: packet identifier 0 is not valid", r.Stage)
	case used:
		return fmt.Errorf("restore packet identifier %d: it is in use already, each identifier has one record", r.ID)
	case r.Stage == Published && (r.QoS == 1 || r.QoS == 2), r.Stage == Released && r.QoS == 2, r.Stage == Received && r.QoS == 2:
	default:
		return fmt.Errorf("restore packet identifier %d: stage %d does not go with QoS %d", r.ID, r.Stage, r.QoS)
	}
	if r.Stage == Received {
		s.ref2++
		s.in.add(inSlot{ref: s.ref2, id: r.ID, state: inPubrel})
		return nil
	}
	p := s.out.place(r.ID)
	s.seq++
	p.h, p.seq, p.size = r.H, s.seq, r.Size
	switch {
	case r.Stage == Released:
		p.state, p.flags = outPubcomp, outSent|outPubrelSent
	case r.QoS == 2:
		p.state = outPubrec
	default:
		p.state = outPuback
	}
	switch {
	case r.Sent:
		p.flags |= outSent
	case r.Stage == Published && r.Expires != 0:
		p.flags |= outQueued
		s.wait().publish.push(sendItem{seq: p.seq, id: p.id, expires: r.Expires})
	}
	return nil
}
