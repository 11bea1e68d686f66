package conformance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var disconnectChecks = []Check{{
	Name:     "disconnect/reserved-flags-refused",
	Rules:    []string{"MQTT-3.14.1-1"},
	Breaks:   []string{"MQTT-2.2.2-1"},
	Breaks5:  []string{"MQTT-2.1.3-1", "MQTT-3.14.1-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		var cases []offence
		for _, first := range []byte{0xE1, 0xE2, 0xE8} {
			cases = append(cases, offence{what: fmt.Sprintf("DISCONNECT with flags %04b", first&15), raw: []byte{first, 0}})
		}
		t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket}, cases...)
		if !t.V5() {
			return
		}
		// Nothing but a valid DISCONNECT keeps the Will back.
		watcher, topic := t.Connect(), t.Topic("will")
		qos := t.atMost(1)
		watcher.Subscribe(qos, topic)
		c := t.Connect(parting(topic, "gone", qos))
		c.SendRaw(0xE1, 0)
		if !t.Judge().Closed(c) {
			return
		}
		told := len(c.Pending(ofType(codec.TypeDisconnect))) > 0
		published := watcher.Take(t.Timeout(), withPayload(topic, "gone")) != nil
		t.Judge().Warn().Thatf(told || published, "DISCONNECT with 0x81, or the Will", "the connection ended as after a valid DISCONNECT")
	},
}, {
	Name:     "disconnect/discards-will",
	Rules:    []string{"MQTT-3.14.4-3"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		watcher, topic := t.Connect(), t.Topic("will")
		qos := t.atMost(1)
		watcher.Subscribe(qos, topic)
		forms := [][]byte{{0xE0, 0}}
		if t.V5() {
			forms = append(forms, []byte{0xE0, 2, 0, 0})
		}
		for i, form := range forms {
			for _, left := range []bool{true, false} {
				c := t.Connect(parting(topic, fmt.Sprintf("kept back %d %v", i, left), qos))
				c.SendRaw(form...)
				if left {
					_ = c.Close()
				} else {
					c.AwaitClose(t.Grace())
				}
			}
		}
		kept := func(e *peer.Event) bool {
			p, ok := e.Packet.(*codec.Publish)
			return ok && p.Topic == topic && strings.HasPrefix(string(p.Payload), "kept back")
		}
		t.Judge().Silent(watcher, "Will Message", kept, func() { t.partingFence(watcher, topic, qos) })
	},
}, {
	Name:     "disconnect/discards-delayed-will",
	Rules:    []string{"MQTT-3.14.4-3"},
	Versions: MQTT5,
	Needs:    CapSessionExpiry,
	Slow:     2 * time.Second,
	Run: func(t *T) {
		watcher, topic := t.Connect(), t.Topic("will")
		qos := t.atMost(1)
		watcher.Subscribe(qos, topic)
		for _, k := range []struct{ delay, expiry uint32 }{{1, 60}, {60, 1}} {
			c := t.Connect(parting(topic, fmt.Sprintf("kept back: delay %d, expiry %d", k.delay, k.expiry), qos), func(p *codec.Connect) {
				p.Will.Props.SetUint(codec.PropWillDelay, k.delay)
				p.Props.SetUint(codec.PropSessionExpiry, k.expiry)
			})
			c.Disconnect()
		}
		t.Judge().Silent(watcher, "Will Message", onTopic(topic), func() { t.Wait(t.Patience(2 * time.Second)) })
	},
}, {
	Name:     "disconnect/with-will",
	Rules:    []string{"P-3.14.2.1-disconnect-with-will"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		watcher, topic := t.Connect(), t.Topic("will")
		watcher.Subscribe(1, topic)
		for _, code := range []byte{0x04, 0x80} {
			payload := fmt.Sprintf("gone with 0x%02X", code)
			c := t.Connect(parting(topic, payload, 1))
			c.SendRaw(0xE0, 2, code, 0)
			c.AwaitClose(t.Grace())
			_ = c.Close()
			t.Judge().Arrives(watcher, topic, payload)
		}
	},
}, {
	Name:     "disconnect/short-form",
	Rules:    []string{"P-3.14.2.1-short-form"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		watcher, topic := t.Connect(), t.Topic("will")
		watcher.Subscribe(1, topic)
		for _, k := range []struct {
			what string
			raw  []byte
			will bool
		}{
			{"E0 00", []byte{0xE0, 0}, false},
			{"E0 02 00 00", []byte{0xE0, 2, 0, 0}, false},
			{"E0 01 00", []byte{0xE0, 1, 0}, false},
			{"E0 01 04", []byte{0xE0, 1, 4}, true},
		} {
			c := t.Connect(parting(topic, k.what, 1))
			c.SendRaw(k.raw...)
			c.AwaitClose(t.Grace())
			_ = c.Close()
			if k.will {
				t.Judge().Arrives(watcher, topic, k.what)
				continue
			}
			t.Judge().Silent(watcher, "Will Message after "+k.what, withPayload(topic, k.what), func() { t.partingFence(watcher, topic, 1) })
		}
	},
}, {
	Name:     "disconnect/ends-the-connection",
	Rules:    []string{"P-3.14.4-receiver-closes"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.Send(&codec.Disconnect{})
		t.Judge().Warn().Closed(c)
	},
}, {
	Name:     "disconnect/code-of-the-server",
	Rules:    []string{"P-3.14.2.1-sender-only-codes"},
	Breaks:   []string{"MQTT-3.14.2-1", "P-3.14.2.1-sender-only-codes"},
	Versions: MQTT5,
	Run: func(t *T) {
		conns := []*Conn{t.Connect(), t.Connect(), t.Connect()}
		for i, code := range []byte{0x8B, 0x9D, 0x01} {
			conns[i].SendRaw(0xE0, 2, code, 0)
		}
		for _, c := range conns {
			t.Judge().Closed(c)
		}
	},
}, {
	Name:     "disconnect/session-expiry-after-zero",
	Rules:    []string{"P-3.14.2.2.2-session-expiry-after-zero"},
	Breaks:   []string{"P-3.14.2.2.2-session-expiry-after-zero"},
	Versions: MQTT5,
	Run: func(t *T) {
		watcher, topic := t.Connect(), t.Topic("will")
		qos := t.atMost(1)
		watcher.Subscribe(qos, topic)
		c := t.Connect(parting(topic, "gone", qos), func(p *codec.Connect) { p.CleanStart = false })
		c.Subscribe(0, t.Topic("b"))
		c.SendRaw(0xE0, 7, 0, 5, byte(codec.PropSessionExpiry), 0, 0, 0, 60)
		c.AwaitClose(t.Timeout())
		_ = c.Close()
		published := watcher.Take(t.Timeout(), withPayload(topic, "gone")) != nil
		t.Judge().Warn().Thatf(published, "the Will, as no valid DISCONNECT came", "Will published: %v", published)
		t.settle()
		back := t.Open().Connect(t.ConnectPacket(func(p *codec.Connect) { p.ClientID, p.CleanStart = c.ClientID(), false }))
		t.Judge().Crossing(!back.SessionPresent, "Session Present 0", codec.Describe(back, t.Version()))
	},
}, {
	Name:     "disconnect/session-expiry-change",
	Rules:    []string{"P-3.14.2.2.2-session-expiry-change"},
	Versions: MQTT5,
	Needs:    CapSessionExpiry,
	Run: func(t *T) {
		for _, k := range []struct {
			what  string
			props []byte
			kept  bool
		}{
			{"DISCONNECT with Session Expiry Interval 0", []byte{byte(codec.PropSessionExpiry), 0, 0, 0, 0}, false},
			{"DISCONNECT with Session Expiry Interval 60", []byte{byte(codec.PropSessionExpiry), 0, 0, 0, 60}, true},
			{"DISCONNECT without Session Expiry Interval", nil, true},
		} {
			id := t.ClientID()
			persistent := func(p *codec.Connect) {
				t.Persistent(id)(p)
				p.Props.SetUint(codec.PropSessionExpiry, 300)
			}
			c := t.Open()
			if ack := c.Connect(t.ConnectPacket(persistent)); ack.Reason != codec.Success || ack.Props.Uint(codec.PropSessionExpiry, 1) == 0 {
				t.NotApplicable("the target does not keep a session for 300 seconds: %s", codec.Describe(ack, t.Version()))
			}
			c.Subscribe(0, t.Topic("a"))
			c.SendRaw(connectFrame(0xE0, slices.Concat([]byte{0, byte(len(k.props))}, k.props))...)
			c.AwaitClose(t.Grace())
			_ = c.Close()
			t.settle()
			ack := t.Open().Connect(t.ConnectPacket(persistent))
			if ack.Reason != codec.Success {
				t.Inconclusive("the second CONNECT was refused: %s", codec.Describe(ack, t.Version()))
			}
			t.Judge().Crossing(ack.SessionPresent == k.kept, fmt.Sprintf("Session Present %v after %s", k.kept, k.what), codec.Describe(ack, t.Version()))
		}
	},
}, {
	Name:     "disconnect/session-expiry-twice",
	Rules:    []string{"P-3.14.2.2.2-session-expiry-duplicate"},
	Breaks:   []string{"P-3.14.2.2.2-session-expiry-duplicate"},
	Versions: MQTT5,
	Needs:    CapSessionExpiry,
	Run: func(t *T) {
		watcher, topic := t.Connect(), t.Topic("will")
		qos := t.atMost(1)
		watcher.Subscribe(qos, topic)
		// The Will would wait for the end of the session if it had a delay; it has none.
		c := t.Connect(parting(topic, "gone", qos), t.Persistent(t.ClientID()))
		twice := []byte{0xE0, 12, 0, 10, byte(codec.PropSessionExpiry), 0, 0, 0, 60, byte(codec.PropSessionExpiry), 0, 0, 0, 60}
		c.SendRaw(twice...)
		if !t.Judge().Closed(c) {
			return
		}
		published := watcher.Take(t.Timeout(), withPayload(topic, "gone")) != nil
		t.Judge().Warn().Thatf(published, "the Will, as no valid DISCONNECT came", "Will published: %v", published)
	},
}}

// parting is an edit for Connect: a Will without a delay.
func parting(topic, payload string, qos codec.QoS) func(*codec.Connect) {
	return func(p *codec.Connect) {
		p.HasWill, p.Will = true, codec.Will{Topic: topic, Payload: []byte(payload), QoS: qos}
	}
}

// partingFence proves that a Will which was due has been published: one of a client that is cut
// off afterwards arrives. Where Wills do not work at all it is a grace.
func (t *T) partingFence(watcher *Conn, topic string, qos codec.QoS) {
	t.mu.Lock()
	t.seq++
	marker := fmt.Sprintf("will fence %d", t.seq)
	t.mu.Unlock()
	t.Connect(parting(topic, marker, qos)).Drop()
	watcher.Take(t.Grace(), withPayload(topic, marker))
	t.Wait(t.Grace() / 4) // whoever publishes Wills from several threads may let one overtake another
}
