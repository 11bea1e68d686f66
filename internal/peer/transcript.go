package peer

import (
	"bytes"
	"fmt"
	"sync"
	"time"
)

// Direction says which way bytes went, seen from this end.
type Direction string

// The directions, and what is said about a connection without bytes going over it.
const (
	Sent     Direction = "sent"
	Received Direction = "received"
	Noted    Direction = "note"
)

// Entry is one line of a transcript.
type Entry struct {
	At    time.Duration `json:"at_ns"` // since the transcript began
	Conn  string        `json:"conn"`
	Dir   Direction     `json:"dir"`
	Text  string        `json:"text"`            // the decoded packet, or what happened
	Bytes []byte        `json:"bytes,omitempty"` // as they stood on the wire, at most maxBytes
	Size  int           `json:"size,omitempty"`  // the number of bytes that went over the wire
	Auto  bool          `json:"auto,omitempty"`  // an answer that AutoAck sent
}

const (
	maxEntries = 4000
	maxBytes   = 4096
)

// Transcript records what several connections sent and received, in order. It may be used from
// any goroutine. Memory is bounded: past 4,000 entries only their number is kept.
type Transcript struct {
	start time.Time

	mu      sync.Mutex // guards the fields below
	entries []Entry
	lost    int
	acts    []Act
	kept    int // bytes of the frames in acts
	secrets [][]byte
}

// NewTranscript begins a transcript. Every occurrence of a secret in what is recorded is
// replaced by asterisks of the same length.
func NewTranscript(secrets ...string) *Transcript {
	t := &Transcript{start: time.Now()}
	for _, s := range secrets {
		if s != "" {
			t.secrets = append(t.secrets, []byte(s))
		}
	}
	return t
}

// Note records a remark about a connection.
func (t *Transcript) Note(conn, format string, args ...any) {
	t.add(conn, Noted, time.Now(), nil, fmt.Sprintf(format, args...), Act{})
}

// Elapsed returns the time since the transcript began.
func (t *Transcript) Elapsed() time.Duration { return time.Since(t.start) }

// Since returns the time from the transcript's begin to at.
func (t *Transcript) Since(at time.Time) time.Duration { return at.Sub(t.start) }

// Entries returns a copy of what was recorded so far.
func (t *Transcript) Entries() []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := append([]Entry(nil), t.entries...)
	if t.lost > 0 {
		out = append(out, Entry{At: time.Since(t.start), Dir: Noted, Text: fmt.Sprintf("%d further entries not kept", t.lost)})
	}
	return out
}

// add records an entry and, in one with it, the act that it is about, if any.
func (t *Transcript) add(conn string, dir Direction, at time.Time, b []byte, text string, act Act) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if act.Kind != 0 {
		act.Conn = conn
		t.keep(act)
	}
	if len(t.entries) >= maxEntries {
		t.lost++
		return
	}
	e := Entry{At: at.Sub(t.start), Conn: conn, Dir: dir, Size: len(b), Bytes: bytes.Clone(b[:min(len(b), maxBytes)]), Text: text, Auto: act.Kind == ActSend && act.Auto}
	for _, s := range t.secrets {
		stars := bytes.Repeat([]byte{'*'}, len(s))
		e.Bytes = bytes.ReplaceAll(e.Bytes, s, stars)
		e.Text = string(bytes.ReplaceAll([]byte(e.Text), s, stars))
	}
	t.entries = append(t.entries, e)
}
