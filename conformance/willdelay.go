package conformance

import (
	"bytes"
	"fmt"
	"time"

	"github.com/mqlab/mqlab/codec"
)

const (
	// willDelay is the Will Delay Interval that is waited for. Timers that count whole seconds
	// may end it almost a second early.
	willDelay = 2 * time.Second
	// willWait is how long a Will waits for an absent watcher while its expiry counts down.
	willWait = 2 * time.Second
)

var willDelayChecks = []Check{{
	Name:     "will/published-after-delay",
	Rules:    []string{"MQTT-3.1.2-8"},
	Versions: MQTT5,
	Slow:     willDelay,
	Run: func(t *T) {
		watcher, qos := t.Connect(), t.mustArrive()
		// The Will is due when its delay is over, or the session if that is earlier.
		legs := []*struct {
			delay, expiry, due time.Duration
			topic              string
			began              time.Time
		}{
			{delay: time.Minute},
			{delay: willDelay, expiry: time.Minute},
			{delay: time.Minute, expiry: 2 * time.Second},
		}
		for i, leg := range legs {
			leg.topic = t.Topic(fmt.Sprint(i))
			watcher.Subscribe(qos, leg.topic)
			c := t.Open()
			ack := t.accepted(c, t.ConnectPacket(withWill(leg.topic, lastWords, qos, delayed(leg.delay)), func(p *codec.Connect) {
				if leg.expiry > 0 {
					p.Props.SetUint(codec.PropSessionExpiry, uint32(leg.expiry/time.Second))
				}
			}))
			inForce := ack.Props.Uint(codec.PropSessionExpiry, uint32(leg.expiry/time.Second))
			leg.due = min(leg.delay, time.Duration(inForce)*time.Second)
			leg.began = time.Now()
			c.Drop()
		}
		for _, leg := range legs {
			if leg.due > 2*t.Timeout() {
				continue // the target has set another Session Expiry Interval
			}
			expected := fmt.Sprintf("the Will %v after the end (Will Delay %v, Session Expiry %v)", leg.due, leg.delay, leg.expiry)
			slack := t.Timeout()
			if leg.due > 0 { // timers may be coarse, and a session may be removed some time after it expired
				slack = t.Patience(2 * slack)
			}
			e := t.takeAwake(watcher, time.Until(leg.began.Add(leg.due+slack)), withPayload(leg.topic, lastWords))
			if e == nil {
				t.Judge().Crossing(false, expected, "nothing")
				continue
			}
			after := e.At.Sub(leg.began)
			t.Judge().Thatf(after > leg.due-time.Second, expected, "%v", after.Round(time.Millisecond))
		}
	},
}, {
	Name:     "will/delayed-removed-by-disconnect",
	Rules:    []string{"MQTT-3.14.4-3"},
	Versions: MQTT5,
	Slow:     willDelay,
	Run: func(t *T) {
		topic, watcher, qos := t.Topic("w"), t.Connect(), t.mustArrive()
		watcher.Subscribe(qos, topic)
		// One Will would be due when its delay is over, the other with the end of the session.
		for _, expiry := range []uint32{60, 1} {
			c := t.Connect(withWill(topic, lastWords, qos, delayed(willDelay)), func(p *codec.Connect) {
				p.Props.SetUint(codec.PropSessionExpiry, expiry)
			})
			c.Disconnect()
		}
		t.idle(willDelay, watcher)
		t.Judge().Silent(watcher, "Will of a connection that ended with DISCONNECT", onTopic(topic), func() {
			t.idle(t.Patience(time.Second), watcher) // timers may be coarse
			t.willFence(watcher, topic, qos)
		})
	},
}, {
	Name:     "will/kept-by-disconnect-with-reason",
	Rules:    []string{"P-3.14.2.1-disconnect-with-will", "MQTT-3.1.2-8"},
	Versions: MQTT5,
	Run: func(t *T) {
		watcher, qos := t.Connect(), t.mustArrive()
		for _, reason := range []codec.ReasonCode{codec.DisconnectWithWillMessage, codec.UnspecifiedError} {
			topic := t.Topic(fmt.Sprintf("%02x", uint8(reason)))
			watcher.Subscribe(qos, topic)
			c := t.Connect(withWill(topic, lastWords, qos))
			c.Send(&codec.Disconnect{Reason: reason})
			c.AwaitClose(t.Grace())
			_ = c.Close()
			e := t.takeAwake(watcher, t.Timeout(), withPayload(topic, lastWords))
			expected := "the Will, after DISCONNECT with " + reason.Name(codec.TypeDisconnect, codec.V5)
			t.Judge().Crossing(e != nil, expected, seen(e, t))
			t.Judge("MQTT-3.1.2-8").Crossing(e != nil, expected, seen(e, t))
		}
	},
}, {
	Name:     "will/expiry-passed-on",
	Rules:    []string{"P-3.1.3.2.4-will-message-expiry-used"},
	Versions: MQTT5,
	Run: func(t *T) {
		watcher, qos := t.Connect(), t.mustArrive()
		for _, expiry := range []uint32{0, 60} {
			topic := t.Topic(fmt.Sprint(expiry))
			watcher.Subscribe(qos, topic)
			began := time.Now()
			t.Connect(withWill(topic, lastWords, qos, expires(expiry))).Drop()
			e := watcher.Take(t.Timeout(), withPayload(topic, lastWords))
			if e == nil {
				t.Inconclusive("%s: the Will was not published", watcher.Name())
			}
			t.judgeWillExpiry(e.Packet.(*codec.Publish), expiry, 0, time.Since(began))
		}
	},
}, {
	Name:     "will/expiry-counted-down",
	Rules:    []string{"P-3.1.3.2.4-will-message-expiry-used"},
	Versions: MQTT5,
	Needs:    CapSessionExpiry,
	Slow:     willWait,
	Run: func(t *T) {
		id, topic, watcher, qos := t.ClientID(), t.Topic("w"), t.Connect(), t.mustArrive()
		watcher.Subscribe(qos, topic)
		absent, _ := t.keep(id)
		absent.Subscribe(qos, topic)
		absent.Disconnect()
		began := time.Now()
		t.Connect(withWill(topic, lastWords, qos, expires(60))).Drop()
		if watcher.Take(t.Timeout(), withPayload(topic, lastWords)) == nil {
			t.Inconclusive("%s: the Will was not published", watcher.Name())
		}
		t.Wait(t.Patience(willWait))
		back, _ := t.keep(id)
		e := back.Take(t.Timeout(), withPayload(topic, lastWords))
		if e == nil {
			t.Inconclusive("%s: the Will was not kept for the absent client", back.Name())
		}
		// A clock that counts whole seconds has seen at least one of the two.
		t.judgeWillExpiry(e.Packet.(*codec.Publish), 60, t.Patience(willWait)-time.Second, time.Since(began))
	},
}, {
	Name:     "will/property-twice-refused",
	Rules:    []string{"P-3.1.3.2.2-will-delay-duplicate", "P-3.1.3.2.4-will-message-expiry-duplicate"},
	Breaks:   []string{"P-3.1.3.2.2-will-delay-duplicate", "P-3.1.3.2.4-will-message-expiry-duplicate"},
	Versions: MQTT5,
	Run: func(t *T) {
		for i, prop := range []codec.PropID{codec.PropWillDelay, codec.PropMessageExpiry} {
			value := []byte{byte(prop), 0, 0, 0, 60}
			// An empty User Property holds the place: it takes as many bytes on the wire.
			room := []byte{byte(codec.PropUserProperty), 0, 0, 0, 0}
			frame := t.Encode(t.ConnectPacket(withWill(t.Topic("w"), lastWords, 0, func(w *codec.Will) {
				w.Props.SetUint(prop, 60)
				w.Props.AddUser("", "")
			})))
			c := t.Open()
			c.SendRaw(bytes.Replace(frame, append(value[:5:5], room...), append(value[:5:5], value...), 1)...)
			t.Judge(t.check.Rules[i]).RefusesConnect(c)
		}
	},
}}

// expires is an edit for withWill: a Message Expiry Interval, unless it is 0.
func expires(seconds uint32) func(*codec.Will) {
	return func(w *codec.Will) {
		if seconds > 0 {
			w.Props.SetUint(codec.PropMessageExpiry, seconds)
		}
	}
}

// judgeWillExpiry judges the Message Expiry Interval of a Will that was published with the given
// one, or none, and has waited at least and at most so long.
func (t *T) judgeWillExpiry(p *codec.Publish, seconds uint32, least, most time.Duration) {
	actual := codec.Describe(p, t.Version())
	if seconds == 0 {
		t.Judge().That(!p.Props.Has(codec.PropMessageExpiry), "no Message Expiry Interval", actual)
		return
	}
	low, high := float64(seconds)-most.Seconds()-1, float64(seconds)-least.Seconds()
	got := float64(p.Props.Uint(codec.PropMessageExpiry, 0))
	t.Judge().That(got >= low && got <= high, fmt.Sprintf("a Message Expiry Interval from %.0f to %.0f", max(low, 0), high), actual)
}
