package session

import "github.com/mqlab/mqlab/codec"

// Time is a point on the owner's clock, in nanoseconds from an origin of the owner's choice. As an expiry, 0 means never.
type Time int64

// Config is fixed for the life of a session. The zero value is a server's session in memory.
type Config struct {
	// Side is who owns this session; codec.Either counts as codec.Server. It chooses the rule a Violation names.
	Side codec.Side
	// Durable makes changes wait for storage.
	Durable bool
	// MaxInflight bounds outbound QoS 1 and 2 messages in flight, in 5.0 together with the peer's Receive Maximum, before
	// 5.0 alone. 0 is 65,535.
	MaxInflight uint16
}

// Link is what one network connection agreed on.
type Link struct {
	Version codec.Version
	// Present says that the session goes on: CONNACK's Session Present, sent or received. Without it whatever is in flight
	// is released as lost and all identifiers are forgotten.
	Present bool
	// SendMaximum is the Receive Maximum the peer announced; 0 (absent) is 65,535. Only read in 5.0.
	SendMaximum uint16
	// ReceiveMaximum is what this side announced; 0 (absent) is 65,535. Only read in 5.0.
	ReceiveMaximum uint16
	// MaxPacket is the Maximum Packet Size the peer announced; 0 is no limit.
	MaxPacket uint32
}

// Session is the delivery state of one session. The zero value with its Config set is ready to use, and not connected.
// It must not be copied once used. With nothing in flight it costs its own size, less than 150 bytes, after a Tick or
// Disconnected.
type Session[H any] struct {
	Config Config

	connected bool
	version   codec.Version

	out outTable[H]
	in  inTable
	q   *queues // nil until something has to wait

	maxPacket uint32
	quota     int32 // PUBLISH packets that may be sent before one is acknowledged
	recvMax   uint16
	recvUsed  uint16
	requests  uint16 // entries of out that are no messages

	seq    uint64 // order of sending: PUBLISH by Send, PUBREL by PUBREC
	ticket uint64
	ref1   uint64 // the last number of a waiting PUBACK
	ref2   uint64 // the last number of an inbound QoS 2 identifier
}

// Step takes one event at the instant now and appends to out what has to be done, in order. An allocation happens only
// when more is in flight than before, and on resuming.
func (s *Session[H]) Step(e Event[H], now Time, out []Action[H]) []Action[H] {
	switch e.Kind {
	case Send:
		return s.send(&e, now, out)
	case Ack:
		return s.ack(e.ID, e.Ref, e.Reason, out)
	case Stored:
		return s.stored(e.Ref, now, out)
	case Connected:
		if e.Link == nil {
			return s.connect(Link{Version: codec.V4}, now, out)
		}
		return s.connect(*e.Link, now, out)
	case Disconnected:
		return s.disconnect(out)
	case Skip:
		return s.skip(e.ID, now, out)
	case Tick:
		return s.tick(now, out)
	case End:
		s.connected = false
		return s.lose(out)
	}
	if !s.connected {
		if e.Kind == Request {
			return append(out, Action[H]{Kind: Refused, H: e.H})
		}
		return out
	}
	if s.version != codec.V5 && e.Kind != Publish {
		e.Reason = codec.Success
	}
	switch e.Kind {
	case Publish:
		return s.receive(&e, out)
	case Puback:
		return s.puback(e.ID, e.Reason, now, out)
	case Pubrec:
		return s.pubrec(e.ID, e.Reason, now, out)
	case Pubrel:
		return s.pubrel(e.ID, out)
	case Pubcomp:
		return s.pubcomp(e.ID, now, out)
	case Request:
		return s.request(e.H, out)
	case Response:
		return s.response(e.ID, out)
	}
	return out
}

// Free is how many QoS 1 and 2 messages Send accepts now: 0 while disconnected or when the window is full.
func (s *Session[H]) Free() int {
	if !s.connected {
		return 0
	}
	n := int(s.quota)
	if s.q != nil {
		n -= s.q.publish.len() // waiting messages have a claim on the window
	}
	return max(0, min(n, maxID-int(s.out.n)))
}

// InFlight is the number of outbound QoS 1 and 2 messages accepted and not released, requests not counted.
func (s *Session[H]) InFlight() int { return int(s.out.n) - int(s.requests) }

// Waiting is the number of inbound QoS 2 messages whose handshake is not over.
func (s *Session[H]) Waiting() int { return int(s.in.n) }

// Connected tells whether a connection is open.
func (s *Session[H]) Connected() bool { return s.connected }

// connect opens a connection and resumes, or forgets, what was in flight.
func (s *Session[H]) connect(l Link, now Time, out []Action[H]) []Action[H] {
	out = s.disconnect(out)
	if !l.Present {
		out = s.lose(out)
	}
	s.connected, s.version, s.maxPacket = true, l.Version, l.MaxPacket
	window := uint16(maxID)
	s.recvMax, s.recvUsed = maxID, 0
	if l.Version == codec.V5 {
		if l.SendMaximum != 0 {
			window = l.SendMaximum // [MQTT-4.9.0-1]
		}
		if l.ReceiveMaximum != 0 {
			s.recvMax = l.ReceiveMaximum
		}
	}
	if s.Config.MaxInflight != 0 {
		window = min(window, s.Config.MaxInflight)
	}
	s.quota = int32(window)
	for i := range s.in.slots {
		s.in.slots[i].flags &^= inCounted | inQueued | inAnswer
	}
	if s.InFlight() == 0 {
		if s.q != nil {
			s.q.publish.reset() // what is left there has been acknowledged
		}
		return out
	}
	s.requeue()
	out = s.pumpPubrel(out)
	return s.pumpPublish(now, out)
}

// disconnect forgets what belongs to one connection: requests, and acknowledgements not sent. A QoS 2 message that the
// application has not acknowledged keeps its identifier, so that it is not delivered twice; one of QoS 1 is forgotten,
// because a PUBLISH with its identifier on the next connection may be another message.
func (s *Session[H]) disconnect(out []Action[H]) []Action[H] {
	if !s.connected {
		return out
	}
	s.connected = false
	if s.requests > 0 {
		for _, it := range s.out.sorted() {
			if p := s.out.find(it.id); p.state == outRequest {
				out = append(out, Action[H]{Kind: Release, ID: it.id, Cause: Lost, H: p.h})
				s.remove(p)
			}
		}
	}
	if s.q != nil {
		s.q.pubrel.reset()
		s.q.acks1.reset()
		s.q.acks2.reset()
	}
	s.trim()
	return out
}

// lose releases everything in flight and forgets all identifiers.
func (s *Session[H]) lose(out []Action[H]) []Action[H] {
	empty := s.out.n == 0 && s.in.n == 0
	for _, it := range s.out.sorted() {
		p := s.out.find(it.id)
		a := Action[H]{Kind: Release, ID: it.id, QoS: p.qos(), Cause: Lost, H: p.h}
		if p.state == outPubcomp {
			a.Cause = Settled
		}
		out = append(out, a)
	}
	s.out.clear()
	s.in.clear()
	s.q, s.requests = nil, 0
	if s.Config.Durable && !empty {
		s.ticket++
		out = append(out, Action[H]{Kind: Clear, Ref: s.ticket})
	}
	return out
}

// tick drops what expired in the queue and gives back memory.
func (s *Session[H]) tick(now Time, out []Action[H]) []Action[H] {
	if s.q != nil {
		for range s.q.publish.len() {
			it := s.q.publish.pop()
			p := s.out.find(it.id)
			if p == nil || p.seq != it.seq {
				continue
			}
			if p.expired(it, now) {
				out = s.finish(p, Expired, codec.Success, out)
				continue
			}
			s.q.publish.push(it)
		}
	}
	s.trim()
	return out
}

func (s *Session[H]) trim() {
	s.out.trim()
	s.in.trim()
	if s.q != nil && s.q.empty() {
		s.q = nil
	}
}

// violation reports a fault of the peer; the packet has no effect.
func violation[H any](f Fault, id uint16, out []Action[H]) []Action[H] {
	return append(out, Action[H]{Kind: Violation, Reason: f.Reason(), ID: id, Detail: uint8(f)})
}
