package conformance

import (
	"fmt"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var takeoverChecks = []Check{{
	Name:     "takeover/older-connection-ends",
	Rules:    []string{"MQTT-3.1.4-2"},
	Rules5:   []string{"MQTT-3.1.4-3", "MQTT-3.14.2-2"},
	Versions: MQTT311 | MQTT5,
	Races:    3,
	Run: func(t *T) {
		id := t.ClientID()
		same := func(p *codec.Connect) { p.ClientID = id }
		older, newer := t.Connect(same), t.Open()
		ack := newer.Connect(t.ConnectPacket(same))
		actual := codec.Describe(ack, t.Version())
		if ack.Reason != codec.Success {
			t.Connect() // a target that refuses everybody refuses for another reason
		}
		if !t.Judge().That(ack.Reason == codec.Success, "CONNACK with code 0 on the newer connection", actual) {
			return
		}
		if !t.Judge().Closed(older) || !t.V5() {
			return
		}
		last := older.Pending(ofType(codec.TypeDisconnect))
		warn := t.Judge().Warn()
		if len(last) == 0 {
			warn.That(false, "DISCONNECT before the end of the older connection", "none")
			return
		}
		p := last[0].Packet.(*codec.Disconnect)
		t.Judge().Note().That(p.Reason == codec.SessionTakenOver, "DISCONNECT with 0x8E Session taken over", codec.Describe(p, codec.V5))
		t.Judge("MQTT-3.14.2-2").That(!p.Props.Has(codec.PropSessionExpiry), "no Session Expiry Interval in the DISCONNECT of a server", codec.Describe(p, codec.V5))
	},
}, {
	Name:     "takeover/will-published",
	Rules:    []string{"MQTT-3.1.2-8"},
	Rules5:   []string{"P-3.1.4-takeover-will"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		id, topic, watcher, qos := t.ClientID(), t.Topic("w"), t.Connect(), t.mustArrive()
		same := func(p *codec.Connect) { p.ClientID = id }
		watcher.Subscribe(qos, topic)
		older := t.Connect(same, withWill(topic, lastWords, qos))
		t.Connect(same)
		if _, ended := older.AwaitClose(t.Timeout()); !ended {
			t.Inconclusive("%s: the older connection did not end", older.Name())
		}
		x := t.Judge()
		if !t.V5() {
			x = x.Warn() // the text covers it, and yet brokers differ
		}
		e := t.takeAwake(watcher, t.Timeout(), withPayload(topic, lastWords))
		x.Crossing(e != nil, "the Will of the connection that was taken over", seen(e, t))
	},
}, {
	Name:     "takeover/delayed-will-withheld",
	Rules:    []string{"P-3.1.4-takeover-will"},
	Versions: MQTT5,
	Needs:    CapSessionExpiry,
	Slow:     willDelay,
	Run: func(t *T) {
		t.delayedWillWithheld(func(*Conn) {})
	},
}, {
	Name:     "will/withheld-when-session-resumes",
	Rules:    []string{"MQTT-3.1.3-9"},
	Versions: MQTT5,
	Needs:    CapSessionExpiry,
	Slow:     willDelay,
	Run:      func(t *T) { t.delayedWillWithheld((*Conn).Drop) },
}}

// delayedWillWithheld lets a client with a delayed Will come back within the delay. Timers that count
// whole seconds may end it almost a second early.
func (t *T) delayedWillWithheld(leave func(*Conn)) {
	id, topic, watcher, qos := t.ClientID(), t.Topic("w"), t.Connect(), t.mustArrive()
	watcher.Subscribe(qos, topic)
	delay := t.unhurried(willDelay)
	older, _ := t.keep(id, withWill(topic, lastWords, qos, delayed(delay)))
	began := time.Now()
	leave(older)
	newer, ack := t.keep(id)
	if time.Since(began) > delay-time.Second {
		t.onceMore("%s: the connection was accepted only when the Will Delay of %v was nearly over", newer.Name(), delay)
	}
	if !ack.SessionPresent {
		t.notKept(newer)
	}
	t.idle(delay-time.Since(began), watcher)
	t.Judge().Silent(watcher, "Will of a client that came back within the Will Delay", onTopic(topic), func() {
		t.idle(t.Patience(time.Second), watcher) // timers may be coarse
		t.willFence(watcher, topic, qos)
	})
}

// delayed is an edit for withWill: a Will Delay Interval in whole seconds.
func delayed(d time.Duration) func(*codec.Will) {
	return func(w *codec.Will) { w.Props.SetUint(codec.PropWillDelay, uint32(d/time.Second)) }
}

// seen describes an event that may not have come.
func seen(e *peer.Event, t *T) string {
	if e == nil {
		return fmt.Sprintf("nothing within %v", t.Timeout())
	}
	return describeEvents([]*peer.Event{e}, t.Version())
}
