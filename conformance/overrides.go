package conformance

import (
	"fmt"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// What CONNACK says of Keep Alive and session expiry replaces what the client asked for, and what
// it does not say leaves the client's values in force.
var overrideChecks = []Check{{
	Name:     "overrides/keep-alive-of-client",
	Rules:    []string{"MQTT-3.2.2-22"},
	Versions: MQTT5,
	Slow:     3500 * time.Millisecond,
	Run:      keepAliveOfClient,
}, {
	Name:     "overrides/keep-alive-of-server",
	Rules:    []string{"P-3.2.2.3.14-keepalive-override"},
	Versions: MQTT5,
	Slow:     1500 * time.Millisecond,
	Run: func(t *T) {
		var idle []*idleConn
		for _, asked := range []uint16{0, 2} {
			// Server Keep Alive 0 turns the timer off.
			if i := t.mute(asked); i.overridden && i.inForce > 0 {
				idle = append(idle, i)
			}
		}
		if len(idle) == 0 {
			t.NotApplicable("the target leaves Keep Alive to the client")
		}
		for _, i := range idle {
			i.judge(t.Judge())
		}
	},
}, {
	Name:     "overrides/session-expiry",
	Rules:    []string{"P-3.2.2.3.2-session-expiry-override"},
	Versions: MQTT5,
	Needs:    CapSessionExpiry,
	Slow:     expiryWait,
	Run: func(t *T) {
		id := t.ClientID()
		asked := uint32(expiryAsked / time.Second)
		ask := func(p *codec.Connect) { p.Props.SetUint(codec.PropSessionExpiry, asked) }
		c, ack := t.keep(id, ask)
		inForce := ack.Props.Uint(codec.PropSessionExpiry, asked)
		c.Subscribe(0, t.Topic("a"))
		left := time.Now()
		c.Disconnect()
		// A target that counts whole seconds may be one of them early.
		due := time.Duration(inForce)*time.Second - time.Second
		t.Wait(max(0, min(t.Patience(expiryWait), due-time.Second)))
		_, ack = t.keep(id, ask)
		after := time.Since(left)
		if !ack.SessionPresent && after > due {
			t.onceMore("the connection was accepted only %v after the end of the one before, with Session Expiry Interval %d s", after.Round(time.Millisecond), inForce)
		}
		t.Judge().Crossing(ack.SessionPresent, fmt.Sprintf("Session Present 1 within %v of the end of a connection with Session Expiry Interval %d s", due, inForce),
			fmt.Sprintf("%s after %v", codec.Describe(ack, codec.V5), after.Round(time.Millisecond)))
	},
}}

const (
	expiryAsked = 30 * time.Second
	expiryWait  = 2 * time.Second
)

// idleConn is a connection on which the client has sent nothing since CONNECT.
type idleConn struct {
	*Conn
	began      time.Time
	inForce    uint32 // Keep Alive in seconds
	overridden bool   // by CONNACK
}

// mute connects with a Keep Alive and stays silent.
func (t *T) mute(keepAlive uint16) *idleConn {
	c := t.Open()
	i := &idleConn{Conn: c, began: time.Now()}
	ack := t.accepted(c, t.ConnectPacket(func(p *codec.Connect) { p.KeepAlive = keepAlive }))
	i.overridden = ack.Props.Has(codec.PropServerKeepAlive)
	i.inForce = ack.Props.Uint(codec.PropServerKeepAlive, uint32(keepAlive))
	return i
}

const (
	longestIdle = 10 * time.Second // the longest Keep Alive that is waited for at patience 1
	longestEver = 10 * time.Minute // and at any
)

// judge waits for the end of the connection. No upper bound is given, so the timer may be a
// coarse one, and only a connection that is still served long after is a breach.
func (i *idleConn) judge(x *Expectation) {
	t := x.t
	period := time.Duration(i.inForce) * time.Second
	switch {
	case period > longestEver:
		t.Inconclusive("the Keep Alive in force, %v, is too long to wait for", period)
	case period > t.Patience(longestIdle):
		t.Inconclusive("the Keep Alive in force, %v, is too long to wait for: --patience %d waits long enough", period, int(period/longestIdle)+1)
	}
	expected := fmt.Sprintf("the connection ends after %v of silence", period*3/2)
	limit := period*3/2 + max(period, t.Patience(2*t.Timeout()))
	end, ended := i.AwaitClose(limit - time.Since(i.began))
	if !ended {
		i.Send(&codec.Pingreq{})
		if i.Take(t.Timeout(), ofType(codec.TypePingresp)) == nil {
			if _, ended := i.Closed(); ended {
				x.record(i.Conn, true, false, expected, fmt.Sprintf("it ended %v later", limit))
				return
			}
			t.Inconclusive("%s: open after %v of silence, and PINGREQ is not answered", i.Name(), limit)
		}
		x.record(i.Conn, false, false, expected, fmt.Sprintf("PINGREQ after %v was answered", limit))
		return
	}
	after := end.At.Sub(i.began).Round(time.Millisecond)
	x.record(i.Conn, true, false, expected, fmt.Sprintf("it ended after %v", after))
	x.Warn().record(i.Conn, after >= period, false, fmt.Sprintf("no end before %v of silence", period), after.String())
}

// keepAliveOfClient holds two silent connections with different Keep Alives, and one that is
// never silent for so long.
func keepAliveOfClient(t *T) {
	const alive = 2
	idle := []*idleConn{t.mute(1), t.mute(2)}
	busy := t.mute(alive)
	for _, i := range append(idle, busy) {
		if i.overridden {
			t.NotApplicable("the target asks for a Keep Alive of its own, %d s", i.inForce)
		}
	}
	// What the target answered it has had: from the sending of that on it owes the client its Keep Alive.
	var answered time.Time
	for time.Since(busy.began) < alive*time.Second*7/4 {
		sent := time.Now()
		busy.Send(&codec.Pingreq{})
		if busy.Take(t.Timeout(), ofType(codec.TypePingresp)) == nil {
			break
		}
		answered = sent
		t.Wait(alive * time.Second / 4)
	}
	const expected = "a client that sends PINGREQ often enough stays connected"
	end, ended := busy.Closed()
	switch {
	case !ended:
		t.Judge().record(busy.Conn, true, false, expected, "it is open")
	case end.At.Sub(answered) < alive*time.Second:
		t.Judge().Warn().record(busy.Conn, false, false, expected, fmt.Sprintf("it ended %v after a PINGREQ that was answered", end.At.Sub(answered).Round(time.Millisecond)))
	}
	for _, i := range idle {
		i.judge(t.Judge())
	}
}
