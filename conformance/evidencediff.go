package conformance

import (
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/scenarios"
)

// arrivals are the packets that came in the acts, by connection.
func arrivals(acts ...peer.Act) map[string][]*peer.Event {
	out := map[string][]*peer.Event{}
	for _, a := range acts {
		if a.Kind == peer.ActArrived {
			out[a.Conn] = append(out[a.Conn], a.Event)
		}
	}
	return out
}

// allowed are the packets that a sound server may have sent by the place in the reference, by
// connection: those that came, and those that came later though the script did nothing on the
// connection that could have brought them about. Those were on their way.
func (s *scribe) allowed(at int) map[string][]*peer.Event {
	out := arrivals(s.acts[:at]...)
	acted := map[string]bool{}
	for i, a := range slices.Concat(s.acts[at:], s.late) {
		switch {
		case a.Kind == peer.ActSend && !a.Auto && at+i < len(s.acts): // what is sent behind the end is not the script's
			acted[a.Conn] = true
		case a.Kind == peer.ActArrived && !acted[a.Conn]:
			out[a.Conn] = append(out[a.Conn], a.Event)
		}
	}
	return out
}

// describe is the packet in words in which neither what a server chooses freely nor what depends
// on the moment shows.
func (s *scribe) describe(conn string, e *peer.Event, strict bool) string {
	if p, ok := e.Packet.(*codec.Publish); ok && p.Dup && s.openDup[dupKey(conn, p)] {
		q := *p
		q.Dup = false
		e = &peer.Event{At: e.At, Frame: e.Frame, Packet: &q, Faults: e.Faults}
	}
	return describeFrame(e, s.t.Version(), strict)
}

// without returns the events of a that have no equal in b.
func (s *scribe) without(conn string, a, b []*peer.Event, strict bool) []*peer.Event {
	count := map[string]int{}
	for _, e := range b {
		count[s.describe(conn, e, strict)]++
	}
	var out []*peer.Event
	for _, e := range a {
		key := s.describe(conn, e, strict)
		if count[key]--; count[key] < 0 {
			out = append(out, e)
		}
	}
	return out
}

const maxDifferences = 4 // steps that one breach adds for each connection

// differences adds what the target sent too little and too much where it was judged. The moment at
// which a packet comes is not known from one run of the reference: only what never came in it, to
// the end and as long as anything was under way, counts as too much, or strictly also what
// something that the script did later brought about.
func (s *scribe) differences(m remark) {
	strict := s.level > 0
	here := arrivals(s.acts[:m.at]...)
	ours := arrivals(slices.Concat(s.acts, s.late)...)
	if strict {
		ours = s.allowed(m.at)
	}
	theirs, theirAll := arrivals(s.other[:m.other]...), arrivals(slices.Concat(s.other, s.otherLate)...)
	var names []string
	for _, a := range s.acts[:m.at] {
		if a.Kind == peer.ActOpen {
			names = append(names, a.Conn)
		}
	}
	note := fmt.Sprintf("%s: expected %s", m.Rule, m.Expected)
	if n := len(s.steps); n > 0 && s.steps[n-1].Note == "" {
		s.steps[n-1].Note = note
	}
	for _, name := range names {
		surplus := s.without(name, theirs[name], ours[name], strict)
		if strict {
			s.sequences(name, here[name], theirs[name], surplus, note)
		}
		for i, e := range s.without(name, here[name], theirAll[name], strict) {
			if i == maxDifferences || s.taken[e] {
				continue
			}
			s.taken[e] = true
			if p := s.expected(name, e); p.Type != "disconnect" || strict {
				s.add(scenarios.Step{Expect: p, Conn: name, Note: note})
			}
		}
		for i, e := range surplus {
			if i == maxDifferences {
				break
			}
			if isMarker(e) || e.Packet != nil && e.Packet.Type() == codec.TypePingresp && len(e.Faults) == 0 {
				continue // the check asked the target, and not the reference, whether it is alive
			}
			if p := s.unlike(name, e, ours[name], theirs[name]); p != nil {
				s.add(scenarios.Step{ExpectNone: p, Conn: name, Note: note})
			}
		}
	}
}

// unlike describes a packet of the target's so that none that the reference leaves in the mailbox,
// or that is on its way there, is meant. It returns nil where there is no such description, and
// where the packet takes the place of one of the reference's that is as good.
func (s *scribe) unlike(conn string, e *peer.Event, ours, theirs []*peer.Event) *scenarios.Packet {
	p := s.pattern(conn, e, nil, false)
	surplus := 0
	for _, o := range theirs {
		if p.Describes(o.Frame, s.t.Version()) {
			surplus++
		}
	}
	for _, o := range ours {
		if p.Describes(o.Frame, s.t.Version()) {
			surplus--
		}
	}
	if surplus <= 0 && !p.Malformed {
		return nil
	}
	exact := *p
	exact.Hex = fmt.Sprintf("%x", e.Frame)
	for _, p := range []*scenarios.Packet{p, &exact} {
		if !slices.ContainsFunc(ours, func(o *peer.Event) bool { return !s.taken[o] && p.Describes(o.Frame, s.t.Version()) }) {
			return p
		}
	}
	return nil
}

const maxSequence = 300 // packets whose order is written down

// sequences writes down the packets that are left in the mailbox in their order, type by type,
// where the target's come in another one. That one of the two had got further says nothing.
func (s *scribe) sequences(conn string, ours, theirs, surplus []*peer.Event, note string) {
	for typ := codec.TypeConnack; typ <= codec.TypeAuth; typ++ {
		if typ == codec.TypePingresp {
			continue
		}
		words := func(es []*peer.Event) (out []string) {
			for _, e := range es {
				if e.Packet != nil && e.Packet.Type() == typ {
					out = append(out, s.describe(conn, e, true))
				}
			}
			return out
		}
		own, other := words(ours), words(theirs)
		n := min(len(own), len(other))
		if len(own) > maxSequence || slices.Equal(own[:n], other[:n]) && len(words(surplus)) == 0 {
			continue
		}
		for _, e := range ours {
			if e.Packet == nil || e.Packet.Type() != typ || s.taken[e] {
				continue
			}
			s.taken[e] = true
			s.add(scenarios.Step{Expect: s.expected(conn, e), Conn: conn, Next: true, Note: note})
		}
	}
}
