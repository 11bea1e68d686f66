package pcap

import (
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
)

// Finding is one breach of a rule in a capture.
type Finding struct {
	Rule     string `json:"rule"`
	Version  string `json:"mqtt"` // 3.1.1, 5.0, or both where it is not known
	By       string `json:"by"`   // client or server
	Grade    string `json:"grade"`
	Frame    int    `json:"frame,omitempty"` // 0 where the packet is too long ago
	File     int    `json:"file,omitempty"`
	TimeNS   int64  `json:"time_ns"`
	Stream   int    `json:"stream"`
	ClientID string `json:"client_id"`
	Client   string `json:"client"`
	Server   string `json:"server"`
	Expected string `json:"expected"`
	Actual   string `json:"actual"`
}

// Lint judges the packets of every stream by the rules of the registry that can be judged from
// outside. What the capture does not prove is not found: after missing bytes, and where a capture
// begins late, only what single packets show is judged.
type Lint struct {
	// Found is called for each finding, in the order of discovery.
	Found func(*Finding) error

	fails, warns int
	judged       map[judge.Key]int
	limits       map[string]int
}

// Counts returns the number of findings of the grades fail and warn.
func (l *Lint) Counts() (fails, warns int) { return l.fails, l.warns }

// Judged returns how many duties, each a rule as it binds one side, were judged at least once, and
// how many judgements there were.
func (l *Lint) Judged() (duties, judgements int) {
	for _, n := range l.judged {
		if n > 0 {
			duties++
			judgements += n
		}
	}
	return duties, judgements
}

// Limits says which bounds on memory kept rules from being judged, and on how many streams.
func (l *Lint) Limits() map[string]int { return l.limits }

// placeRing is how many packets back the frame of a finding is known.
const placeRing = 64

// pollAlways is the number of findings on a stream up to which it is looked at after every packet.
const pollAlways = 16

type lintStream struct {
	conn   *judge.Conn
	frames [placeRing]uint32
	fed    int // packets shown to the judge
	seen   int // findings reported
	at     time.Time
	ws     wsJudged
}

// state returns what is kept of a stream, or nil while nothing can be said of it: the rules depend
// on the version.
func (l *Lint) state(st *Stream, p *Packet) *lintStream {
	if s, ok := st.Value.(*lintStream); ok {
		return s
	}
	connect := p != nil && p.Type == codec.TypeConnect
	if st.Midstream && st.Version == 0 && !connect {
		return nil
	}
	s := &lintStream{conn: judge.New(nil)}
	st.Value = s
	if st.Midstream || p != nil && p.Index > 0 {
		s.conn.Gap(codec.Client, time.Time{})
		s.conn.Gap(codec.Server, time.Time{})
		if st.Version != 0 {
			s.conn.Assume(st.Version)
		}
	}
	return s
}

// Packet judges a packet.
func (l *Lint) Packet(p *Packet) error {
	s := l.state(p.Stream, p)
	if s == nil || p.From == codec.Either {
		return nil
	}
	if p.Stream.ws != nil {
		if err := l.websocket(p.Stream, s, p); err != nil {
			return err
		}
	}
	if at := p.Time(); at.After(s.at) { // packets behind a gap come late
		s.at = at
	}
	if p.Unseen {
		s.conn.Gap(codec.Client+codec.Server-p.From, s.at)
	}
	if p.Missing > 0 {
		s.conn.Gap(p.From, s.at)
		return nil
	}
	s.frames[s.fed%placeRing] = uint32(p.Frame)
	s.fed++
	s.conn.Packet(p.From, s.at, p.Raw)
	if s.seen > pollAlways && s.fed%placeRing != 0 {
		return nil
	}
	return l.collect(p.Stream, s, p.File)
}

// Gap tells of missing bytes.
func (l *Lint) Gap(g *Gap) error {
	if s := l.state(g.Stream, nil); s != nil && g.From != codec.Either {
		s.conn.Gap(g.From, s.at)
	}
	return nil
}

// End judges what the end of a stream shows, where it was seen.
func (l *Lint) End(e *StreamEnd) error {
	s, ok := e.Stream.Value.(*lintStream)
	if !ok {
		return nil
	}
	e.Stream.Value = nil
	if err := l.websocket(e.Stream, s, nil); err != nil {
		return err
	}
	if e.Closed {
		at := time.Unix(0, e.Nanos).UTC()
		if s.at.After(at) {
			at = s.at
		}
		s.conn.End(at, e.By)
	}
	if err := l.collect(e.Stream, s, 0); err != nil {
		return err
	}
	if l.judged == nil {
		l.judged, l.limits = make(map[judge.Key]int), make(map[string]int)
	}
	for k, n := range s.conn.Judged() {
		l.judged[k] += n
	}
	for _, text := range s.conn.Limits() {
		l.limits[text]++
	}
	return nil
}

// collect reports the findings that are new.
func (l *Lint) collect(st *Stream, s *lintStream, file int) error {
	list := s.conn.Findings()
	for ; s.seen < len(list); s.seen++ {
		f := &list[s.seen]
		out := Finding{
			Rule: f.Rule, Version: f.Version.String(), By: sideName(f.By), Grade: f.Grade.String(),
			File: file, TimeNS: f.At.UnixNano(), Expected: f.Expected, Actual: f.Actual,
		}
		if f.Frame >= 0 && f.Frame < s.fed && s.fed-f.Frame <= placeRing {
			out.Frame = int(s.frames[f.Frame%placeRing])
		}
		if err := l.report(st, &out); err != nil {
			return err
		}
	}
	return nil
}

// report passes a finding on with what is known of its stream.
func (l *Lint) report(st *Stream, f *Finding) error {
	f.Stream, f.ClientID, f.Client, f.Server = st.ID, st.ClientID, st.Client.String(), st.Server.String()
	return l.count(f)
}

// count counts a finding and passes it on.
func (l *Lint) count(f *Finding) error {
	if f.Grade == judge.Fail.String() {
		l.fails++
	} else {
		l.warns++
	}
	if l.Found == nil {
		return nil
	}
	return l.Found(f)
}
