package conformance

import (
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// lastWords is a Will payload that nothing but a byte-wise copy preserves.
const lastWords = "last words\x00\xFF\xC3("

var willChecks = []Check{{
	Name:     "will/published-when-connection-ends",
	Rules:    []string{"MQTT-3.1.2-8"},
	Rules5:   []string{"MQTT-3.1.2-7", "MQTT-3.1.2-8"},
	Breaks:   []string{"MQTT-3.3.1-4"},
	Axis:     Behaviour,
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		watcher, qos := t.Connect(), t.mustArrive()
		for i, end := range []struct {
			rule5 string
			how   string
			act   func(*Conn)
		}{
			{"MQTT-3.1.2-7", "closed without DISCONNECT", func(c *Conn) { _ = c.Close() }},
			{"MQTT-3.1.2-8", "reset", (*Conn).Drop},
			{"MQTT-3.1.2-8", "ended over an illegal packet", func(c *Conn) {
				c.SendRaw(t.publishBytes(0x06, t.Topic("bad"), 1, nil, "")...)
				c.AwaitClose(t.Timeout() / 2)
				_ = c.Close() // where the target goes on, the network ends all the same
			}},
		} {
			topic := t.Topic(fmt.Sprint(i))
			watcher.Subscribe(qos, topic)
			c := t.Connect(withWill(topic, lastWords, qos))
			c.Note("this connection is going to be %s", end.how)
			end.act(c)
			x := t.Judge("MQTT-3.1.2-8", end.rule5)
			x.Arrives(watcher, topic, lastWords)
			x.Silent(watcher, "second copy of the Will", firstDelivery(onTopic(topic)), func() { t.willFence(watcher, topic, qos) })
		}
	},
}, {
	Name:     "will/published-once",
	Rules:    []string{"MQTT-3.1.2-10"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapSessionExpiry,
	Run: func(t *T) {
		id, topic, watcher, qos := t.ClientID(), t.Topic("w"), t.Connect(), t.mustArrive()
		watcher.Subscribe(qos, topic)
		first, _ := t.keep(id, withWill(topic, lastWords, qos))
		first.Drop()
		if watcher.Take(t.Timeout(), withPayload(topic, lastWords)) == nil {
			t.Inconclusive("%s: the Will was not published at all", watcher.Name())
		}
		second, _ := t.keep(id)
		second.Drop()
		t.Judge().Silent(watcher, "further copy of the Will", firstDelivery(onTopic(topic)), func() {
			t.Quiet()
			t.willFence(watcher, topic, qos)
		})
	},
}, {
	Name:     "will/forgotten-after-disconnect",
	Rules:    []string{"MQTT-3.1.2-10", "MQTT-3.1.2-12"},
	Rules5:   []string{"MQTT-3.1.2-10"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapSessionExpiry,
	Run: func(t *T) {
		id, topic, watcher, qos := t.ClientID(), t.Topic("w"), t.Connect(), t.mustArrive()
		watcher.Subscribe(qos, topic)
		first, _ := t.keep(id, withWill(topic, lastWords, qos))
		first.Disconnect()
		t.willFence(watcher, topic, qos)
		if len(watcher.Messages(topic)) > 0 {
			t.Inconclusive("%s: the Will was published after DISCONNECT already", watcher.Name())
		}
		second, _ := t.keep(id)
		second.Drop()
		of := func(rule string) {
			t.Judge(rule).Silent(watcher, "Will of an earlier connection", onTopic(topic), func() {
				t.Quiet()
				t.willFence(watcher, topic, qos)
			})
		}
		of("MQTT-3.1.2-10")
		if !t.V5() {
			of("MQTT-3.1.2-12")
		}
	},
}, {
	Name:     "will/removed-by-disconnect",
	Rules:    []string{"MQTT-3.14.4-3"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		topic, watcher, qos := t.Topic("w"), t.Connect(), t.mustArrive()
		watcher.Subscribe(qos, topic)
		forms := [][]byte{{0xE0, 0}, {0xE0, 0}}
		if t.V5() {
			forms = append(forms, []byte{0xE0, 1, 0}, []byte{0xE0, 2, 0, 0})
		}
		for i, form := range forms {
			c := t.Connect(withWill(topic, fmt.Sprintf("after DISCONNECT % X", form), qos))
			c.SendRaw(form...)
			c.AwaitClose(t.Grace())
			if i != 1 { // one connection is left for the target to close, or not
				_ = c.Close()
			}
		}
		t.Judge().Silent(watcher, "Will of a connection that ended with DISCONNECT", onTopic(topic), func() {
			t.Quiet()
			t.willFence(watcher, topic, qos)
		})
	},
}, {
	Name:     "will/not-retained-by-default",
	Rules:    []string{"MQTT-3.1.2-16"},
	Rules5:   []string{"MQTT-3.1.2-14"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		topic, watcher, qos := t.Topic("w"), t.Connect(), t.mustArrive()
		watcher.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{{Filter: topic, QoS: qos, RetainAsPublished: t.V5()}}})
		t.Connect(withWill(topic, lastWords, qos)).Drop()
		e := watcher.Take(t.Timeout(), withPayload(topic, lastWords))
		if e == nil {
			t.Inconclusive("%s: the Will was not published", watcher.Name())
		}
		if t.V5() {
			t.Judge().That(!e.Packet.(*codec.Publish).Retain, "RETAIN 0 under Retain As Published", codec.Describe(e.Packet, t.Version()))
		}
		late := t.Connect()
		late.Subscribe(qos, topic)
		t.Judge().Silent(late, "retained Will", onTopic(topic), func() {
			t.Quiet()
			t.Fence(t.Connect(), late, topic, qos)
		})
	},
}, {
	Name:     "will/retained-on-request",
	Rules:    []string{"MQTT-3.1.2-17"},
	Rules5:   []string{"MQTT-3.1.2-15"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapRetain, // at QoS 0 a retained message may be dropped at any time
	Run: func(t *T) {
		topic, watcher := t.Topic("w"), t.Connect()
		watcher.Subscribe(1, topic)
		t.Connect(withWill(topic, lastWords, 1, func(w *codec.Will) { w.Retain = true })).Drop()
		if watcher.Take(t.Timeout(), withPayload(topic, lastWords)) == nil {
			t.Inconclusive("%s: the Will was not published", watcher.Name())
		}
		t.settle()
		late := t.Connect()
		late.Subscribe(1, topic)
		p := t.Judge().Arrives(late, topic, lastWords)
		t.Judge().That(p.Retain, "RETAIN 1 for a new subscriber", codec.Describe(p, t.Version()))
	},
}, {
	Name:     "retained/outlives-its-session",
	Rules:    []string{"MQTT-3.1.2-7"},
	Rules5:   []string{"P-4.1-retained-outlive-session"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapRetain,
	Run: func(t *T) {
		topic, pub := t.Topic("r"), t.Connect()
		pub.Deliver(topic, 1, "kept", Retained)
		pub.Disconnect()
		late := t.Connect()
		late.Subscribe(1, topic)
		t.Judge().Arrives(late, topic, "kept")
	},
}, {
	Name:     "will/user-properties-in-order",
	Rules:    []string{"MQTT-3.1.3-10"},
	Versions: MQTT5,
	Run: func(t *T) {
		topic, watcher, qos := t.Topic("w"), t.Connect(), t.mustArrive()
		watcher.Subscribe(qos, topic)
		want := []string{"b=1", "a=2", "b=1", "c=3"}
		t.Connect(withWill(topic, lastWords, qos, func(w *codec.Will) {
			for _, pair := range want {
				w.Props.AddUser(pair[:1], pair[2:])
			}
		})).Drop()
		e := watcher.Take(t.Timeout(), withPayload(topic, lastWords))
		if e == nil {
			t.Inconclusive("%s: the Will was not published", watcher.Name())
		}
		var got []string
		for k, v := range e.Packet.(*codec.Publish).Props.UserProperties() {
			got = append(got, k+"="+v)
		}
		// A server may add properties of its own, so the pairs are looked for among all.
		mine := slices.DeleteFunc(slices.Clone(got), func(pair string) bool { return !slices.Contains(want, pair) })
		t.Judge().Thatf(slices.Equal(mine, want), fmt.Sprintf("the User Properties %v", want), "%v", got)
	},
}}

// withWill is an edit for Connect: a Will on the topic.
func withWill(topic, payload string, qos codec.QoS, edits ...func(*codec.Will)) func(*codec.Connect) {
	return func(p *codec.Connect) {
		p.HasWill = true
		p.Will = codec.Will{Topic: topic, Payload: []byte(payload), QoS: qos}
		for _, edit := range edits {
			edit(&p.Will)
		}
	}
}

// mustArrive returns the QoS for messages whose absence is judged. At QoS 0 absence tells nothing.
func (t *T) mustArrive() codec.QoS {
	if t.atMost(1) == 0 {
		t.NotApplicable("the target does not grant QoS 1")
	}
	return 1
}

// firstDelivery leaves out what a server sends again because it missed the acknowledgement.
func firstDelivery(match func(*peer.Event) bool) func(*peer.Event) bool {
	return func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return match(e) && !(ok && p.Dup)
	}
}

// willFence shows that Wills are published: it lets a client with a Will of its own on the topic
// fail, and waits for that Will. What had to be published before has had the time that this one took.
func (t *T) willFence(to *Conn, topic string, qos codec.QoS) {
	t.mu.Lock()
	t.seq++
	marker := fmt.Sprintf("will fence %d", t.seq)
	t.mu.Unlock()
	t.Connect(withWill(topic, marker, qos)).Drop()
	if _, err := to.Await(t.Timeout(), withPayload(topic, marker)); err != nil {
		t.Inconclusive("%s: the Will that was to mark the end did not arrive: %v", to.Name(), err)
	}
}
