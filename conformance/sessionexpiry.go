package conformance

import (
	"fmt"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// sessionExpiry is the shortest interval that can be asked for, and the wait until it is over
// for a target that counts whole seconds.
const (
	sessionExpiry     = time.Second
	sessionExpiryWait = 2200 * time.Millisecond
)

var sessionExpiryChecks = []Check{{
	Name:     "session/expires",
	Rules:    []string{"MQTT-4.1.0-2"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Slow:     sessionExpiryWait,
	Run: func(t *T) {
		seconds := uint32(sessionExpiry / time.Second)
		t.sessionEnds(seconds, t.Patience(sessionExpiryWait), t.Patience(sessionExpiryWait)+2*t.Timeout(), (*Conn).Disconnect)
	},
}, {
	Name:     "session/ends-without-expiry",
	Rules:    []string{"P-3.1.2.11.2-session-expiry-absent", "MQTT-4.1.0-2"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		t.sessionEnds(0, t.Grace(), t.Timeout(), func(c *Conn) { _ = c.Close() })
	},
}, {
	Name:     "session/expiry-twice-refused",
	Rules:    []string{"P-3.1.2.11.2-session-expiry-duplicate"},
	Breaks:   []string{"P-3.1.2.11.2-session-expiry-duplicate"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Open()
		c.SendBroken(t.ConnectPacket(func(p *codec.Connect) { p.Props.SetUint(codec.PropSessionExpiry, 60) }), codec.BreakPropertyDuplicate)
		t.Judge().RefusesConnect(c)
	},
}, {
	Name:     "session/expiry-changed-by-disconnect",
	Rules:    []string{"P-3.14.2.2.2-session-expiry-change"},
	Versions: MQTT5,
	Needs:    CapSessionExpiry,
	Run: func(t *T) {
		for _, leg := range []struct {
			how     string
			set     bool
			expiry  uint32
			present bool
		}{
			{"DISCONNECT without Session Expiry Interval", false, 0, true},
			{"DISCONNECT with Session Expiry Interval 60", true, 60, true},
			{"DISCONNECT with Session Expiry Interval 0", true, 0, false},
		} {
			id := t.ClientID()
			leave := func(c *Conn) {
				p := &codec.Disconnect{}
				if leg.set {
					p.Props.SetUint(codec.PropSessionExpiry, leg.expiry)
				}
				c.Send(p)
				c.AwaitClose(t.Grace())
				_ = c.Close()
			}
			first, _ := t.keep(id)
			leave(first)
			back, ack := t.keep(id)
			if !leg.present && ack.SessionPresent { // it may take a moment
				leave(back)
				t.Wait(t.Patience(time.Second))
				_, ack = t.keep(id)
			}
			expected := fmt.Sprintf("after %s Session Present %v", leg.how, leg.present)
			t.Judge().Crossing(ack.SessionPresent == leg.present, expected, codec.Describe(ack, codec.V5))
		}
	},
}, {
	Name:     "session/expiry-raised-by-disconnect",
	Rules:    []string{"P-3.14.2.2.2-session-expiry-change"},
	Versions: MQTT5,
	Needs:    CapSessionExpiry,
	Slow:     sessionExpiryWait,
	Run: func(t *T) {
		id := t.ClientID()
		c, ack := t.keep(t.ClientID())
		if most := ack.Props.Uint(codec.PropSessionExpiry, 3600); most < 60 {
			t.NotApplicable("the target keeps no session for more than %d s", most)
		}
		c.Disconnect()
		c = t.Open()
		ack = t.accepted(c, t.ConnectPacket(t.Persistent(id), func(p *codec.Connect) {
			p.Props.SetUint(codec.PropSessionExpiry, uint32(sessionExpiry/time.Second))
		}))
		if ack.Props.Has(codec.PropSessionExpiry) {
			t.NotApplicable("the target sets the Session Expiry Interval itself: %s", codec.Describe(ack, codec.V5))
		}
		p := &codec.Disconnect{}
		p.Props.SetUint(codec.PropSessionExpiry, 60)
		c.Send(p)
		c.AwaitClose(t.Grace())
		_ = c.Close()
		t.Wait(t.Patience(sessionExpiryWait))
		_, ack = t.keep(id)
		t.Judge().Crossing(ack.SessionPresent, "Session Present 1, as DISCONNECT has set the interval to 60 s", codec.Describe(ack, codec.V5))
	},
}, {
	Name:     "session/expiry-after-zero-refused",
	Rules:    []string{"P-3.14.2.2.2-session-expiry-after-zero"},
	Breaks:   []string{"P-3.14.2.2.2-session-expiry-after-zero"},
	Versions: MQTT5,
	Run: func(t *T) {
		id, topic, watcher, qos := t.ClientID(), t.Topic("w"), t.Connect(), t.mustArrive()
		watcher.Subscribe(qos, topic)
		c := t.Open()
		ack := t.accepted(c, t.ConnectPacket(withWill(topic, lastWords, qos), func(p *codec.Connect) { p.ClientID = id }))
		if ack.Props.Uint(codec.PropSessionExpiry, 0) != 0 {
			t.NotApplicable("the target sets the Session Expiry Interval itself: %s", codec.Describe(ack, codec.V5))
		}
		p := &codec.Disconnect{}
		p.Props.SetUint(codec.PropSessionExpiry, 60)
		c.Send(p)
		c.AwaitClose(t.Timeout())
		_ = c.Close()
		e := t.takeAwake(watcher, t.Timeout(), withPayload(topic, lastWords))
		t.Judge().Warn().Crossing(e != nil, "the Will, as the DISCONNECT is none of the standard's", seen(e, t))
		_, ack = t.keep(id)
		t.Judge().Crossing(!ack.SessionPresent, "Session Present 0, as the session had no expiry to change", codec.Describe(ack, codec.V5))
	},
}, {
	Name:     "session/expiry-twice-in-disconnect-refused",
	Rules:    []string{"P-3.14.2.2.2-session-expiry-duplicate"},
	Breaks:   []string{"P-3.14.2.2.2-session-expiry-duplicate"},
	Versions: MQTT5,
	Run: func(t *T) {
		topic, watcher, qos := t.Topic("w"), t.Connect(), t.mustArrive()
		watcher.Subscribe(qos, topic)
		c := t.Connect(withWill(topic, lastWords, qos), func(p *codec.Connect) { p.Props.SetUint(codec.PropSessionExpiry, 60) })
		p := &codec.Disconnect{}
		p.Props.SetUint(codec.PropSessionExpiry, 60)
		c.SendBroken(p, codec.BreakPropertyDuplicate)
		if !t.Judge().Refuses(c, nil, codec.ProtocolError, codec.MalformedPacket) {
			return
		}
		e := t.takeAwake(watcher, t.Timeout(), withPayload(topic, lastWords))
		t.Judge().Warn().Crossing(e != nil, "the Will, as no valid DISCONNECT came", seen(e, t))
	},
}}

// sessionEnds judges that a session with the given Session Expiry Interval is gone some time
// after its connection has ended. As the removal may lag, a session that is still there is
// left once more, and waited for longer.
func (t *T) sessionEnds(seconds uint32, wait, longer time.Duration, leave func(*Conn)) {
	id, topic := t.ClientID(), t.Topic("a")
	connect := func() (*Conn, *codec.Connack) {
		c := t.Open()
		ack := t.accepted(c, t.ConnectPacket(t.Persistent(id), func(p *codec.Connect) {
			p.Props.Remove(codec.PropSessionExpiry)
			if seconds > 0 {
				p.Props.SetUint(codec.PropSessionExpiry, seconds)
			}
		}))
		if ack.Props.Uint(codec.PropSessionExpiry, seconds) != seconds {
			t.NotApplicable("the target sets the Session Expiry Interval itself: %s", codec.Describe(ack, codec.V5))
		}
		return c, ack
	}
	first, _ := connect()
	first.Subscribe(1, topic)
	leave(first)
	t.Wait(wait)
	back, ack := connect()
	if ack.SessionPresent {
		back.Note("the session is still there: the next attempt waits longer")
		leave(back)
		t.Wait(longer)
		back, ack = connect()
	}
	t.Connect().Deliver(topic, 1, "to nobody")
	for _, rule := range t.check.Rules {
		x := t.Judge(rule)
		x.Crossing(!ack.SessionPresent, fmt.Sprintf("Session Present 0 after a Session Expiry Interval of %d s", seconds), codec.Describe(ack, codec.V5))
		x.Silent(back, "message for the session that has ended", onTopic(topic), func() {
			t.Quiet()
			back.Ping()
		})
	}
}
