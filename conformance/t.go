package conformance

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
	"github.com/mqlab/mqlab/internal/peer"
)

// T is what a check acts through: connections that speak at packet level, names that no other
// check uses, and expectations. A check fails through an expectation only; a check that judges
// nothing is an error of the suite.
//
// Helpers that set the stage (Connect, Subscribe, Publish ...) end the check as inconclusive
// when the target does not play along: what they rely on is the business of other checks.
type T struct {
	run     *run
	check   *Check
	version Versions
	attempt int // even, and odd when the attempt before is repeated with settle pauses

	ctx        context.Context
	began      time.Time
	transcript *peer.Transcript
	findings   []Finding
	conns      []*Conn
	past       bool // something was written past a scripted connection
	seq        int
	hurried    bool // undecided, and more time may settle it

	launched []*Client // where a client is checked

	book    *judge.Book // what the passive judge knows of this check's sessions
	watched []watched
	over    atomic.Bool // nothing that happens any more is judged

	mu       sync.Mutex // guards the fields below: connections are used from several goroutines
	retained map[string]bool
	sessions map[string]bool
}

// Finding is one expectation and how it came out.
type Finding struct {
	Rule     string        `json:"rule"`
	Grade    Grade         `json:"grade"`
	OK       bool          `json:"ok"`
	Expected string        `json:"expected"`
	Actual   string        `json:"actual"`
	Conn     string        `json:"conn,omitempty"`
	At       time.Duration `json:"at_ns"`
	Passive  bool          `json:"passive,omitempty"` // seen by the judge that watches every connection

	crossing bool // depends on one connection's act being visible on another
}

// stop ends a check early. It never leaves this package.
type stop struct {
	verdict Verdict
	reason  string
}

// Version returns the protocol version that the check runs under.
func (t *T) Version() codec.Version { return wire(t.version) }

// V5 reports whether the check runs under MQTT 5.0.
func (t *T) V5() bool { return t.version == MQTT5 }

// Timeout is how long something that must happen is waited for.
func (t *T) Timeout() time.Duration { return t.run.cfg.Timeout }

// Grace is how long silence is listened to where no fence can prove it.
func (t *T) Grace() time.Duration { return t.Patience(400 * time.Millisecond) }

// Patience scales a wait that the rule itself asks for.
func (t *T) Patience(d time.Duration) time.Duration {
	return time.Duration(float64(d) * t.run.cfg.Patience)
}

// Target returns what is known of the target under this version.
func (t *T) Target() *Features { return t.run.features[t.version] }

// Config returns the run's configuration, for checks that need the user's knowledge of the target.
func (t *T) Config() *Config { return &t.run.cfg }

// Topic returns a Topic Name that nothing else uses: the same name gives the same topic
// throughout one check.
func (t *T) Topic(name string) string {
	return fmt.Sprintf("%s%s/%s", t.run.cfg.TopicPrefix, t.unique(), name)
}

// unique is short, so that Topic Names stay far below any limit.
func (t *T) unique() string {
	return t.run.id + strconv.FormatInt(int64(t.run.checkNumber(t.check, t.version, t.attempt)), 36)
}

// ClientID returns a fresh Client Identifier of at most 23 letters and digits, as every server
// must accept [MQTT-3.1.3-5]; a --client-id-prefix may make it longer.
func (t *T) ClientID() string {
	t.mu.Lock()
	t.seq++
	n := t.seq
	t.mu.Unlock()
	return t.run.cfg.ClientIDPrefix + t.unique() + "c" + strconv.FormatInt(int64(n), 36)
}

// Wait pauses for d, which the rule itself must ask for.
func (t *T) Wait(d time.Duration) {
	t.transcript.Act(peer.Act{Kind: peer.ActWait, For: d})
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
		panic(stop{Inconclusive, "the run was interrupted"})
	}
}

// settle pauses when the check is being repeated, so that a target that needs a moment to make
// one connection's act visible on another gets it.
func (t *T) settle() {
	if t.attempt%2 == 1 {
		t.Wait(t.Patience(500 * time.Millisecond))
	}
}

// unhurried is a time within which the suite itself has to act, longer where the attempt before did
// not make it.
func (t *T) unhurried(d time.Duration) time.Duration {
	if t.attempt%2 == 1 {
		d *= 4
	}
	return max(d, t.Patience(d).Round(time.Second))
}

// onceMore ends the check, as Inconclusive does, where the suite was too late to tell. The check is
// repeated once, with more time.
func (t *T) onceMore(format string, args ...any) {
	t.hurried = true
	t.Inconclusive(format, args...)
}

// lateness is that of the suite, where pauses are measured.
func (t *T) lateness() *lateness {
	if t.run.client == nil {
		return nil
	}
	return t.run.client.late
}

// Inconclusive ends the check: right and wrong could not be told apart.
func (t *T) Inconclusive(format string, args ...any) {
	panic(stop{Inconclusive, fmt.Sprintf(format, args...)})
}

// NotApplicable ends the check: the target does not have what the rule is about.
func (t *T) NotApplicable(format string, args ...any) {
	panic(stop{NotApplicable, fmt.Sprintf(format, args...)})
}

// Note adds a remark to the transcript.
func (t *T) Note(format string, args ...any) { t.transcript.Note("", format, args...) }

// Broken returns the packet's bytes broken in one named way.
func (t *T) Broken(p codec.Packet, how codec.Breakage) []byte {
	b, err := p.AppendTo(nil, t.Version())
	if err != nil {
		panic(stop{Errored, "the packet to be broken is not legal: " + err.Error()})
	}
	out, err := codec.Break(b, t.Version(), how)
	if err != nil {
		panic(stop{Errored, "the packet cannot be broken this way: " + err.Error()})
	}
	return out
}

// Encode returns the wire form of a legal packet.
func (t *T) Encode(p codec.Packet) []byte {
	b, err := p.AppendTo(nil, t.Version())
	if err != nil {
		panic(stop{Errored, "the packet is not legal: " + err.Error()})
	}
	return b
}

// Open opens a network connection without sending anything.
func (t *T) Open() *Conn {
	nc, err := t.run.dial(t.ctx)
	if err != nil {
		if s := t.run.server; s != nil && s.dead() {
			panic(stop{Inconclusive, "the target died while the check ran"})
		}
		if t.run.gone(t.ctx) {
			if s := t.run.server; s != nil {
				s.stuck(err)
			} else {
				during := "it accepts no connection since " + t.check.Name
				t.run.died.CompareAndSwap(nil, &during)
			}
			panic(stop{BrokerDied, "the target accepts no connection any more: " + err.Error()})
		}
		panic(stop{Inconclusive, "cannot connect: " + err.Error()})
	}
	return t.Adopt(nc, false)
}

// Adopt makes a scripted connection of a network connection that the check opened itself. Where
// the check writes past it, as to WebSocket frames, it has to say so: the passive judge must see
// all or nothing.
func (t *T) Adopt(nc net.Conn, writesPast bool) *Conn {
	name := "c" + strconv.Itoa(len(t.conns)+1)
	t.past = t.past || writesPast
	cfg := peer.Config{Name: name, Version: t.Version(), Transcript: t.transcript, AutoAck: true}
	if !writesPast {
		cfg.Observe = t.watch(name)
	}
	c := &Conn{t: t, Conn: peer.New(nc, cfg)}
	t.conns = append(t.conns, c)
	return c
}

// Connect opens a connection and completes CONNECT with a fresh Client Identifier, a clean
// session and the user's credentials. The edits change the CONNECT before it is sent.
func (t *T) Connect(edits ...func(*codec.Connect)) *Conn {
	c := t.Open()
	ack := c.Connect(t.ConnectPacket(edits...))
	if ack.Reason != codec.Success {
		t.Inconclusive("%s: CONNECT was refused: %s", c.Name(), ack.Reason.Name(codec.TypeConnack, t.Version()))
	}
	return c
}

// ConnectPacket returns the CONNECT that Connect sends.
func (t *T) ConnectPacket(edits ...func(*codec.Connect)) *codec.Connect {
	p := &codec.Connect{Version: t.Version(), ClientID: t.ClientID(), CleanStart: true, KeepAlive: 0}
	if u := t.run.cfg.Username; u != "" {
		p.HasUsername, p.Username = true, u
	}
	if pw := t.run.cfg.Password; pw != "" {
		p.HasPassword, p.Password = true, []byte(pw)
	}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

// Persistent is an edit for Connect: a session under the given Client Identifier that outlives
// the connection. It is removed from the target after the check.
func (t *T) Persistent(id string) func(*codec.Connect) {
	return func(p *codec.Connect) {
		p.ClientID, p.CleanStart = id, false
		if t.V5() {
			p.Props.SetUint(codec.PropSessionExpiry, 3600)
		}
	}
}

// findingsText is used in reasons.
func (t *T) rulesText() string { return strings.Join(t.check.RulesFor(t.version), ", ") }
