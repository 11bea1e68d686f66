package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/scenarios"
)

// scribe writes the acts of a check as steps of an exchange.
type scribe struct {
	t     *T
	level int
	acts  []peer.Act // of the reference, to the end of the script
	other []peer.Act // of the target
	// What happened behind the end of the script. What a server sends may come after the last
	// judgement, and on a slow machine it does.
	late, otherLate []peer.Act
	cfg             scenarios.RunConfig

	breaches []remark
	subject  map[*peer.Event]bool // of the reference: in the place of what was found fault with
	openDup  map[string]bool      // messages whose DUP flag depends on when a server notices an end

	steps []scenarios.Step
	pause time.Duration
	taken map[*peer.Event]bool // in the steps so far
	ids   map[string][]uint16  // Packet Identifiers of PUBLISH that arrived, by connection
	named map[string]string    // Assigned Client Identifiers that arrived, with their references
	acks  map[string]int       // CONNACKs with one, by connection
}

// remark is a breach with its place among the acts of the reference and of the target.
type remark struct {
	Finding
	at, other int
}

const shortestPause = 100 * time.Millisecond // shorter ones come from looking at several connections in turn

// script writes the check as an exchange of the given strictness.
func (r *run) script(c *CheckResult, ref *T, level int) (*scenarios.Exchange, error) {
	acts, whole := ref.transcript.Acts()
	other, wholeOther := c.script.transcript.Acts()
	if !whole || !wholeOther {
		return nil, errors.New("the check sends too much to be written as an exchange")
	}
	end, otherEnd := done(acts), done(other)
	s := &scribe{
		t: ref, level: level, acts: acts[:end], late: acts[end:], other: other[:otherEnd], otherLate: other[otherEnd:], cfg: r.replay(nil),
		subject: map[*peer.Event]bool{}, openDup: map[string]bool{},
		taken: map[*peer.Event]bool{}, ids: map[string][]uint16{}, named: map[string]string{}, acks: map[string]int{},
	}
	remarks := s.remarks(c)
	s.breaches = remarks
	s.findSubjects(c.script)
	s.findOpenDup(acts)
	s.findOpenDup(other)
	end = len(s.acts)
	if c.Verdict == BrokerDied {
		end = s.lastSent()
	} else if len(remarks) > 0 {
		end = 0
		for _, m := range remarks {
			end = max(end, m.at)
		}
	}
	for i := range end {
		s.act(i)
		for _, m := range remarks {
			if m.at == i+1 {
				s.differences(m)
			}
		}
	}
	s.rest()
	if c.Verdict == BrokerDied {
		s.alive()
	}
	x := &scenarios.Exchange{
		Kind: scenarios.KindExchange, Title: c.Name, About: c.about(r.describeTarget()), MQTT: map[Versions]string{MQTT311: "3.1.1", MQTT5: "5.0"}[c.Version],
		Unique: ref.unique(), Steps: s.steps,
	}
	if len(remarks) > 0 {
		x.Rule = remarks[0].Rule
	} else {
		x.Rule = c.Rules[0]
	}
	if rule, ok := rules.Lookup(c.Version, x.Rule); ok {
		x.Title = rule.Text
	}
	return x, x.Validate()
}

// remarks finds for every breach of the target the same judgement in the reference.
func (s *scribe) remarks(c *CheckResult) []remark {
	position := func(acts []peer.Act, finding int) int {
		for i, a := range acts {
			if a.Kind == peer.ActJudge && a.Number == finding {
				return i + 1
			}
		}
		return len(acts)
	}
	same := func(a, b Finding, loosely bool) bool {
		return a.Rule == b.Rule && (loosely || a.Expected == b.Expected && a.Conn == b.Conn)
	}
	var out []remark
	for i, f := range c.script.findings {
		if f.OK || f.Grade == GradeNote {
			continue
		}
		m := remark{Finding: f, at: len(s.acts), other: position(s.other, i)}
		for _, loosely := range []bool{true, false} {
			nth := 0
			for _, g := range c.script.findings[:i] {
				if same(f, g, loosely) {
					nth++
				}
			}
			for j, g := range s.t.findings {
				if !same(f, g, loosely) {
					continue
				}
				if nth--; nth < 0 {
					m.at = position(s.acts, j)
					break
				}
			}
		}
		out = append(out, m)
	}
	for _, f := range c.Findings {
		if f.Passive && !f.OK && f.Grade != GradeNote {
			out = append(out, remark{Finding: f, at: len(s.acts), other: len(s.other)})
		}
	}
	return out
}

// lastSent is the place behind as many sent packets as the target got before it died.
func (s *scribe) lastSent() int {
	n := 0
	for _, a := range s.other {
		if a.Kind == peer.ActSend && !a.Auto {
			n++
		}
	}
	for i, a := range s.acts {
		if a.Kind == peer.ActSend && !a.Auto {
			if n--; n <= 0 {
				return i + 1
			}
		}
	}
	return len(s.acts)
}

func (s *scribe) add(step scenarios.Step) {
	s.rest()
	s.steps = append(s.steps, step)
}

// rest writes the pause that has gathered.
func (s *scribe) rest() {
	if s.pause >= shortestPause {
		s.steps = append(s.steps, scenarios.Step{Wait: s.pause.Round(time.Millisecond)})
	}
	s.pause = 0
}

// act writes one act of the reference.
func (s *scribe) act(i int) {
	a := s.acts[i]
	switch a.Kind {
	case peer.ActOpen:
		s.add(scenarios.Step{Open: a.Conn, Ack: answers(a.Auto)})
	case peer.ActAnswers:
		// A change before anything was sent belongs to the opening.
		if n := len(s.steps); n > 0 && s.steps[n-1].Open == a.Conn && s.pause == 0 {
			s.steps[n-1].Ack = answers(a.Auto)
			return
		}
		s.add(scenarios.Step{Ack: answers(a.Auto), Conn: a.Conn})
	case peer.ActSend:
		if !a.Auto {
			s.send(a)
		}
	case peer.ActArrived:
		s.arrived(a)
	case peer.ActTake:
		s.pause = 0 // what was waited for came
		s.take(a)
	case peer.ActWait:
		s.pause += a.For
	case peer.ActEnd:
		s.pause = 0
		step := scenarios.Step{ExpectClose: &scenarios.Ending{}, Conn: a.Conn, Optional: s.level == 0 && !s.judged(i)}
		if a.Auto {
			step.ExpectClose.Without = s.noAnswers(i)
		}
		s.add(step)
	case peer.ActClose:
		s.add(scenarios.Step{Close: a.Conn})
	case peer.ActDrop:
		s.add(scenarios.Step{Close: a.Conn, How: "drop"})
	}
}

func answers(auto bool) string {
	if auto {
		return "auto"
	}
	return "manual"
}

// judged reports whether a judgement follows the act before the script does anything else.
func (s *scribe) judged(i int) bool {
	for _, a := range s.acts[i+1:] {
		switch a.Kind {
		case peer.ActJudge:
			return true
		case peer.ActOpen, peer.ActSend, peer.ActClose, peer.ActDrop, peer.ActTake:
			return false
		}
	}
	return false
}

func (s *scribe) send(a peer.Act) {
	step := scenarios.SendStep(a.Frame, s.t.Version(), s.cfg)
	step.Conn = a.Conn
	if p := step.Send; p != nil {
		switch p.Type {
		case "puback", "pubrec", "pubcomp":
			if r := s.reference(a.Conn, string(*p.ID)); r != "" {
				p.ID = &r
			}
		case "connect":
			if r, ok := s.named[*p.ClientID]; ok {
				p.ClientID = &r
			}
		}
	}
	s.add(step)
}

// reference names the PUBLISH of the server's that had the Packet Identifier last.
func (s *scribe) reference(conn, id string) scenarios.ID {
	for i, got := range slices.Backward(s.ids[conn]) {
		if fmt.Sprint(got) == id {
			return scenarios.ID(fmt.Sprintf("$%s.publish.%d", conn, i+1))
		}
	}
	return ""
}

func (s *scribe) arrived(a peer.Act) {
	switch p := a.Event.Packet.(type) {
	case *codec.Publish:
		if p.QoS > 0 {
			s.ids[a.Conn] = append(s.ids[a.Conn], p.PacketID)
		}
	case *codec.Connack:
		if id := p.Props.Text(codec.PropAssignedClientID); id != "" {
			s.acks[a.Conn]++
			s.named[id] = fmt.Sprintf("$%s.connack.%d", a.Conn, s.acks[a.Conn])
		}
	}
}

func (s *scribe) take(a peer.Act) {
	if s.taken[a.Event] {
		return // it stands in a sequence already
	}
	s.taken[a.Event] = true
	p := s.expected(a.Conn, a.Event)
	s.add(scenarios.Step{Expect: p, Conn: a.Conn, Next: s.level > 0 && p.Type == "publish" && s.first(a.Conn, a.Event)})
}

// noAnswers lists the packets that show that a server goes on serving, but for those that the
// reference sent as well.
func (s *scribe) noAnswers(i int) []*scenarios.Packet {
	conn := s.acts[i].Conn
	var out []*scenarios.Packet
	for t := codec.TypeConnack; t <= codec.TypePingresp; t++ {
		if !isAnswer(t) {
			continue
		}
		p := &scenarios.Packet{Type: strings.ToLower(t.String())}
		came, success := false, false
		for _, a := range s.acts[:i] {
			if a.Kind != peer.ActArrived || a.Conn != conn || s.taken[a.Event] || a.Event.Packet == nil || a.Event.Packet.Type() != t {
				continue
			}
			came = true
			_, _, reason := ackOf(a.Event)
			if ack, ok := a.Event.Packet.(*codec.Connack); ok {
				reason = ack.Reason
				success = success || reason == 0
			} else {
				success = success || !reason.Failed()
			}
		}
		if success {
			continue
		}
		switch {
		case t == codec.TypeConnack, came, t == codec.TypePuback, t == codec.TypePubrec, t == codec.TypePubcomp:
			word := scenarios.Reason("success")
			p.Reason = &word
		}
		out = append(out, p)
	}
	return out
}

// alive asks at the end whether the server still serves.
func (s *scribe) alive() {
	id, clean := s.t.unique()+"live", true
	success := scenarios.Reason("success")
	p := &scenarios.Packet{Type: "connect", ClientID: &id, CleanStart: &clean}
	if s.cfg.Username != "" {
		place := "$username"
		p.Username = &place
	}
	if s.cfg.Password != "" {
		place := scenarios.Bytes("$password")
		p.Password = &place
	}
	s.add(scenarios.Step{Open: "alive", Note: "the server still serves"})
	s.add(scenarios.Step{Send: p, Conn: "alive"})
	s.add(scenarios.Step{Expect: &scenarios.Packet{Type: "connack", Reason: &success}, Conn: "alive"})
}
