package conformance

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
	"github.com/mqlab/mqlab/internal/peer"
)

// watched is a connection of a check under the eyes of the passive judge.
type watched struct {
	name string
	conn *judge.Conn
}

// watch sets the passive judge on a connection and returns what tells it of every packet.
//
// A check whose filters escape its topics goes without: it sees what other checks provoke, and which breaches it
// meets would change from run to run. They are judged where they are provoked.
func (t *T) watch(name string) func(peer.Direction, time.Time, []byte) {
	if t.check.Global {
		return nil
	}
	if t.book == nil {
		t.book = new(judge.Book)
	}
	c := judge.New(t.book)
	t.watched = append(t.watched, watched{name, c})
	ours, theirs := t.sides()
	late := t.lateness()
	return func(dir peer.Direction, at time.Time, b []byte) {
		at = late.clock(at)
		switch {
		case t.over.Load():
		case dir == peer.Sent:
			c.Bytes(ours, at, b)
		case dir == peer.Received && b == nil:
			c.End(at, theirs)
		case dir == peer.Received:
			c.Bytes(theirs, at, b)
		default:
			c.End(at, codec.Either)
		}
	}
}

// sides returns which side the suite plays and which one is under test.
func (t *T) sides() (ours, theirs codec.Side) {
	if t.run.client != nil {
		return codec.Server, codec.Client
	}
	return codec.Client, codec.Server
}

// passive adds what the judge saw: the target's breaches as findings, how often each rule was
// seen kept, and the rules of the suite's side that the check itself broke.
func (t *T) passive(res *CheckResult) {
	res.seen = map[string]int{}
	ours, theirs := t.sides()
	for _, w := range t.watched {
		w.conn.AddJudged(t.version, theirs, res.seen)
		for _, f := range w.conn.Findings() {
			if !f.Version.Has(t.version) {
				continue
			}
			if f.By == ours {
				if !slices.Contains(res.ClientBreaches, f.Rule) {
					res.ClientBreaches = append(res.ClientBreaches, f.Rule)
				}
				continue
			}
			at := t.lateness().real(f.At)
			if slices.Contains(timed[t.version], f.Rule) && t.lateness().worst(t.began, at) > tooLate {
				continue // the client on the same machine may have been as late
			}
			grade := GradeFail
			if f.Grade == judge.Warn {
				grade = GradeWarn
			}
			res.Findings = append(res.Findings, Finding{
				Rule: f.Rule, Grade: grade, Expected: f.Expected, Actual: f.Actual, Conn: w.name,
				At: t.transcript.Since(at), Passive: true, crossing: slices.Contains(timed[t.version], f.Rule),
			})
		}
	}
	slices.Sort(res.ClientBreaches)
}

// timed are the rules about a client's pauses. A busy machine makes them longer, the client's or the
// suite's own, so that a breach is believed only when it happens again.
var timed = map[Versions][]string{
	MQTT311: {"MQTT-3.1.2-23"},
	MQTT5:   {"MQTT-3.1.2-20", "MQTT-3.1.2-21", "MQTT-3.2.2-21"},
}

// tooLate is how late the suite may be to judge pauses still: the judge allows for a second.
const tooLate = 500 * time.Millisecond

// watchedDial opens a connection for a script that is not written against T, under the eyes of the
// passive judge as well.
func (t *T) watchedDial(ctx context.Context) (net.Conn, error) {
	nc, err := t.run.dial(ctx)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.book == nil {
		t.book = new(judge.Book)
	}
	c := judge.New(t.book)
	t.watched = append(t.watched, watched{"c" + strconv.Itoa(len(t.watched)+1), c})
	return &watchedConn{nc, c}, nil
}

// watchedConn tells a judge of all that goes over a connection. What is sent is told before it is,
// so that no answer comes first.
type watchedConn struct {
	net.Conn
	judge *judge.Conn
}

func (c *watchedConn) Write(b []byte) (int, error) {
	c.judge.Bytes(codec.Client, time.Now(), b)
	return c.Conn.Write(b)
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.judge.Bytes(codec.Server, time.Now(), b[:n])
	}
	switch {
	case errors.Is(err, io.EOF):
		c.judge.End(time.Now(), codec.Server)
	case err != nil:
		c.judge.End(time.Now(), codec.Either)
	}
	return n, err
}
