package peer

import (
	"bytes"
	"time"
)

// ActKind says what an Act is.
type ActKind uint8

// The acts of a script and what happened to it.
const (
	ActOpen    ActKind = iota + 1 // a connection was opened; Auto: with automatic answers
	ActAnswers                    // automatic answers were turned on or off: Auto
	ActSend                       // Frame was sent; Auto: as an automatic answer
	ActArrived                    // Event has arrived
	ActTake                       // the script took Event out of the mailbox
	ActWait                       // the script waited For in vain, or on purpose
	ActEnd                        // the script saw the end of the connection; Auto: while it looked out for packets too
	ActOver                       // the connection ended; Auto: closed by the other end in order
	ActClose                      // the script closed the connection
	ActDrop                       // the script dropped the connection
	ActJudge                      // the script judged: Number
)

// Act is one thing that a script did, or that happened to it, in more detail and order than an
// Entry: from acts an exchange can be put together again. Frames are not redacted.
type Act struct {
	Kind   ActKind
	At     time.Duration // since the transcript began
	Conn   string
	Frame  []byte
	Event  *Event
	Auto   bool
	For    time.Duration
	Number int
}

// maxKept bounds the bytes of the frames that acts keep. Past it, and past as many acts as a
// transcript has entries, nothing is kept: Acts reports it.
const (
	maxKept = 8 << 20
	maxActs = 4 * maxEntries
)

func (c *Conn) act(a Act) {
	a.Conn = c.cfg.Name
	c.cfg.Transcript.Act(a)
}

// Act records an act at the present time.
func (t *Transcript) Act(a Act) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keep(a)
}

// keep adds an act. The caller holds t.mu.
func (t *Transcript) keep(a Act) {
	a.At = time.Since(t.start)
	if a.Kind == ActSend {
		a.Frame = bytes.Clone(a.Frame)
	}
	t.kept += len(a.Frame)
	if len(t.acts) >= maxActs || t.kept > maxKept {
		t.kept = maxKept + 1
		return
	}
	t.acts = append(t.acts, a)
}

// Acts returns a copy of the acts so far. whole is false where there were too many to keep.
func (t *Transcript) Acts() (acts []Act, whole bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]Act(nil), t.acts...), t.kept <= maxKept
}

// Begin returns when the transcript began.
func (t *Transcript) Begin() time.Time { return t.start }

// Redact replaces the transcript's secrets in a copy of b by asterisks.
func (t *Transcript) Redact(b []byte) []byte {
	b = bytes.Clone(b)
	for _, s := range t.secrets {
		b = bytes.ReplaceAll(b, s, bytes.Repeat([]byte{'*'}, len(s)))
	}
	return b
}
