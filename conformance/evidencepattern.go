package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/scenarios"
)

// first reports whether no packet of the type that came before the event is left in the mailbox.
func (s *scribe) first(conn string, e *peer.Event) bool {
	for _, a := range s.acts {
		if a.Event == e {
			return true
		}
		if a.Kind == peer.ActArrived && a.Conn == conn && !s.taken[a.Event] && a.Event.Packet != nil && a.Event.Packet.Type() == e.Packet.Type() {
			return false
		}
	}
	return true
}

// inPlace returns the packet that arrived on the connection in to in the place that e has in from,
// counted by type, or nil.
func inPlace(conn string, e *peer.Event, from, to []peer.Act) *peer.Event {
	nth := 0
	for _, a := range from {
		if a.Kind == peer.ActArrived && a.Conn == conn {
			if a.Event == e {
				break
			}
			if a.Event.Packet != nil && a.Event.Packet.Type() == e.Packet.Type() {
				nth++
			}
		}
	}
	for _, a := range to {
		if a.Kind != peer.ActArrived || a.Conn != conn || a.Event.Packet == nil || a.Event.Packet.Type() != e.Packet.Type() {
			continue
		}
		if nth--; nth < 0 {
			return a.Event
		}
	}
	return nil
}

// findSubjects marks the packets of the reference that stand where the target's were found fault
// with: what came just before an expectation was judged, and what the passive judge names.
func (s *scribe) findSubjects(target *T) {
	for _, m := range s.breaches {
		if m.Passive {
			for _, a := range s.other {
				if a.Kind == peer.ActArrived && a.Conn == m.Conn && a.Event.Packet != nil && target.transcript.Since(a.Event.At) == m.At {
					if e := inPlace(a.Conn, a.Event, s.other, s.acts); e != nil {
						s.subject[e] = true
					}
				}
			}
			continue
		}
	back:
		for _, a := range slices.Backward(s.acts[:m.at]) {
			switch a.Kind {
			case peer.ActArrived, peer.ActTake:
				if m.Conn == "" || a.Conn == m.Conn {
					s.subject[a.Event] = true
				}
			case peer.ActSend:
				if !a.Auto {
					break back
				}
			case peer.ActOpen, peer.ActClose, peer.ActDrop:
				break back
			}
		}
	}
}

// concerned reports whether a breach is about packets such as this one. A server may choose much
// of what it sends, so that being unlike the baseline broker in a packet that no breach is about
// must not count. What is in a PUBLISH is mostly its publisher's choice.
func (s *scribe) concerned(conn string, e *peer.Event) bool {
	typ := e.Packet.Type()
	switch {
	case typ == codec.TypePublish, s.subject[e]:
		return true
	case typ == codec.TypeConnack, typ == codec.TypeDisconnect, typ == codec.TypeAuth:
		return false
	}
	return slices.ContainsFunc(s.breaches, func(m remark) bool {
		return (m.Conn == "" || m.Conn == conn) && strings.Contains(m.Expected+" "+m.Actual, typ.String())
	})
}

// differs reports whether the target's packet in the same place is missing or another one, where
// that matters. It returns the target's as well.
func (s *scribe) differs(conn string, e *peer.Event) (theirs *peer.Event, yes bool) {
	if s.level == 0 || e.Packet == nil || !s.concerned(conn, e) {
		return nil, false
	}
	theirs = inPlace(conn, e, s.acts, s.other)
	return theirs, theirs == nil || s.describe(conn, theirs, true) != s.describe(conn, e, true)
}

// expected is the pattern of a packet of the reference.
func (s *scribe) expected(conn string, e *peer.Event) *scenarios.Packet {
	theirs, tight := s.differs(conn, e)
	return s.pattern(conn, e, theirs, tight)
}

// bound are the properties, of those whose values are not compared, that a server must send
// where the baseline broker does.
var bound = map[codec.Type]string{codec.TypePublish: "message_expiry_interval", codec.TypeConnack: "assigned_client_identifier"}

// pattern is what a packet of the kind must look like: what the standard settles or, tightly,
// what the target has otherwise and a server does not choose freely.
func (s *scribe) pattern(conn string, e, theirs *peer.Event, tight bool) *scenarios.Packet {
	v := s.t.Version()
	if e.Packet == nil || len(e.Faults) > 0 {
		p := &scenarios.Packet{Malformed: true}
		if e.Packet != nil {
			p.Type = strings.ToLower(e.Packet.Type().String())
		}
		return p
	}
	p := scenarios.PacketOf(e.Packet)
	all := p.Properties.Names()
	exact := tight && s.subject[e]
	// Of codes that say the same, a server may choose; that the target's is another one may be the breach.
	named := exact && theirs != nil && !slices.Equal(reasonsIn(e), reasonsIn(theirs))
	word := func(r *scenarios.Reason, failed bool) {
		if named {
			return
		}
		*r = "success"
		if failed {
			*r = "refused"
		}
	}
	switch q := e.Packet.(type) {
	case *codec.Connack:
		word(p.Reason, q.Reason != 0)
		p.Properties = nil // limits and offers are the server's own
	case *codec.Publish:
		p.ID = nil
		if s.openDup[dupKey(conn, q)] {
			p.Dup = nil
		}
		p.Properties.Remove("message_expiry_interval")
		if !exact {
			p.Properties.Remove("topic_alias")
		}
	case *codec.Pubrel:
		p.ID = nil
		if r := s.reference(conn, fmt.Sprint(q.PacketID)); r != "" {
			p.ID = &r
		}
		if tight {
			word(p.Reason, q.Reason.Failed())
		} else {
			p.Reason = nil
		}
	case *codec.Puback, *codec.Pubrec, *codec.Pubcomp:
		_, _, reason := ackOf(e)
		word(p.Reason, reason.Failed())
	case *codec.Unsuback:
		for i, r := range q.Reasons {
			word(&p.Reasons[i], r.Failed())
		}
	case *codec.Disconnect:
		if !tight {
			p.Reason, p.Properties = nil, nil
		} else {
			word(p.Reason, q.Reason.Failed())
		}
	case *codec.Auth:
		if !tight {
			p.Reason, p.Properties = nil, nil
		}
	}
	if p.Properties != nil {
		p.Properties.Remove("reason_string")
		if e.Packet.Type() != codec.TypePublish {
			p.Properties.Remove("user_property")
		}
	}
	if names := p.Properties.Names(); len(names) == 0 {
		p.Properties = nil
	}
	if tight && v == codec.V5 {
		if n := bound[e.Packet.Type()]; slices.Contains(all, n) {
			p.With = []string{n}
		}
		if theirs != nil {
			for _, n := range scenarios.PacketOf(theirs.Packet).Properties.Names() {
				if !slices.Contains(all, n) && (exact || n != "topic_alias") {
					p.Without = append(p.Without, n)
				}
			}
		}
	}
	probe := *p
	probe.ID = nil
	if !probe.Describes(e.Frame, v) {
		return &scenarios.Packet{Type: p.Type} // its text does not survive in a file
	}
	return p
}

// reasonsIn returns the reason or return codes of a packet.
func reasonsIn(e *peer.Event) []codec.ReasonCode {
	switch p := e.Packet.(type) {
	case *codec.Connack:
		return []codec.ReasonCode{p.Reason}
	case *codec.Unsuback:
		return p.Reasons
	case *codec.Disconnect:
		return []codec.ReasonCode{p.Reason}
	}
	_, _, reason := ackOf(e)
	return []codec.ReasonCode{reason}
}

// dupKey names a message on a connection, whatever its DUP flag.
func dupKey(conn string, p *codec.Publish) string {
	return fmt.Sprintf("%s %d %q %q", conn, p.QoS, p.Topic, p.Payload)
}

// findOpenDup finds the messages that a server may send with DUP 1 or 0. Whether it has sent them
// before is known where they arrived before, or where no connection was cut off behind its back:
// until it notices that, it may try to send on it.
func (s *scribe) findOpenDup(acts []peer.Act) {
	over, cut := map[string]bool{}, false
	came := map[string]string{} // message: the first connection on which it arrived
	for _, a := range acts {
		switch a.Kind {
		case peer.ActOver:
			over[a.Conn] = over[a.Conn] || a.Auto
		case peer.ActClose, peer.ActDrop:
			if a.Conn == "" {
				return
			}
			cut = cut || !over[a.Conn]
		case peer.ActArrived:
			p, ok := a.Event.Packet.(*codec.Publish)
			if !ok {
				continue
			}
			message := dupKey("", p)
			if on, before := came[message]; cut && (!before || on == a.Conn) {
				s.openDup[dupKey(a.Conn, p)] = true
			} else if !before {
				came[message] = a.Conn
			}
		}
	}
}
