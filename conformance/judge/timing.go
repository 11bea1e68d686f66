package judge

import (
	"fmt"
	"time"
)

// jitter is what a packet may be late on its way without its sender being late.
const jitter = time.Second

// timing follows the Keep Alive of a connection.
type timing struct {
	connack   time.Time
	keepAlive uint16    // in force; seconds
	last      time.Time // of the client's latest packet
	lastFrame int

	quiet   time.Time // when the server answered the client's latest packet: it had it by then
	overdue int       // index of a packet that came after the server should have closed; 0 for none
}

// begin starts the clock at CONNACK.
func (t *timing) begin(c *Conn) {
	t.connack, t.keepAlive, t.last = c.at, c.hello.keepAlive, c.at
	if t.lastFrame == 0 {
		t.quiet = c.at
	}
}

// clock judges the time since the client's latest packet when another comes.
func (c *Conn) clock(from side) {
	t := &c.timing
	if from != client {
		return
	}
	if k := time.Duration(t.keepAlive) * time.Second; k > 0 && c.phase == up && !c.gapped && !t.last.IsZero() && !c.left[client] && !c.left[server] {
		c.keepAlive(k, c.at.Sub(t.last))
		if !t.quiet.IsZero() && c.at.Sub(t.quiet) > k*3/2+max(k, 10*time.Second)+jitter {
			t.overdue = c.frame
		}
	}
	t.last, t.lastFrame, t.quiet = c.at, c.frame, time.Time{}
}

// keepAlive judges the client's pause.
func (c *Conn) keepAlive(k, pause time.Duration) {
	if c.excused[client] {
		return
	}
	late := func(d duty, g Grade) {
		c.breach(d, client, g, fmt.Sprintf("a packet within %v", k), fmt.Sprintf("none for %v", pause))
	}
	judge := func(d duty) {
		switch {
		case pause > k*3/2+jitter:
			late(d, Fail)
		case pause > k+max(jitter, k/10):
			late(d, Warn)
		default:
			c.keep(d, client)
		}
	}
	judge(dKeepAlive)
	if c.announce.override {
		judge(dKeepAliveOverride)
	}
}

// answer notes that the server answered the client's packet with the index.
func (t *timing) answer(c *Conn, frame int) {
	if t.overdue > 0 && frame >= t.overdue {
		t.overdue = 0
		if c.can(server) {
			c.timeout(func(d duty) {
				c.breach(d, server, Fail, "the end of the connection after 1.5 times the Keep Alive without a packet",
					fmt.Sprintf("an answer to the first packet after a far longer silence, Keep Alive %d s", t.keepAlive))
			})
		}
	}
	if frame == t.lastFrame {
		t.quiet = c.at
	}
}

// timeout names the duties to end an idle connection that apply.
func (c *Conn) timeout(f func(duty)) {
	f(dServerTimeout)
	if c.announce.override {
		f(dServerTimeoutOverride)
	} else {
		f(dServerTimeoutOwn)
	}
}

// timedOut counts the server's closing of an idle connection.
func (c *Conn) timedOut() {
	t := &c.timing
	k := time.Duration(t.keepAlive) * time.Second
	if k > 0 && c.phase == up && !c.gapped && !t.last.IsZero() && !c.left[client] && c.can(server) && c.at.Sub(t.last) >= k*3/2 {
		c.timeout(func(d duty) { c.keep(d, server) })
	}
}
