package conformance

import (
	"fmt"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// mostToExceed is the largest Receive Maximum of a target that a check fills: beyond it the
// messages themselves could run into other limits.
const mostToExceed = 300

var windowChecks = []Check{{
	Name:     "window/server-keeps-receive-maximum",
	Rules:    []string{"MQTT-3.3.4-9"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		sub, topic := t.Connect(receiveMaximum(2)).Manual(), t.Topic("a")
		sub.Subscribe(t.atMost(2), topic)
		t.fillWindow(topic)
		t.drainWindow(sub, topic, 2)
		if t.Target().Capabilities&CapSessionExpiry == 0 {
			return
		}
		id, topic := t.ClientID(), t.Topic("b")
		offline := t.Connect(t.Persistent(id))
		offline.Subscribe(t.atMost(2), topic)
		offline.Disconnect()
		t.fillWindow(topic)
		back := t.Open().Manual()
		if back.Connect(t.ConnectPacket(t.Persistent(id), receiveMaximum(2))).SessionPresent {
			t.drainWindow(back, topic, 2)
		}
	},
}, {
	Name:     "window/full-does-not-delay-others",
	Rules:    []string{"MQTT-3.3.4-10"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		sub, topic := t.Connect(receiveMaximum(1)).Manual(), t.Topic("a")
		sub.Subscribe(1, topic)
		pub := t.Connect()
		pub.Deliver(topic, 1, "open")
		pub.Deliver(topic, 1, "waiting")
		if sub.Take(t.Timeout(), withPayload(topic, "open")) == nil {
			t.Inconclusive("%s: the message did not arrive", sub.Name())
		}
		sub.Send(&codec.Pingreq{})
		t.Judge().Answer(sub, "PINGRESP", ofType(codec.TypePingresp))
		sub.Send(&codec.Subscribe{PacketID: 101, Filters: []codec.Subscription{{Filter: t.Topic("b"), QoS: 1}}})
		t.Judge().Answer(sub, "SUBACK", ofType(codec.TypeSuback))
		sub.Send(&codec.Unsubscribe{PacketID: 102, Filters: []string{t.Topic("b")}})
		t.Judge().Answer(sub, "UNSUBACK", ofType(codec.TypeUnsuback))
		for _, qos := range t.levels(1) {
			sub.Send(&codec.Publish{Topic: t.Topic("c"), QoS: qos, PacketID: 102 + uint16(qos)})
			t.Judge().Answer(sub, firstAck(qos).String(), ofType(firstAck(qos)))
		}
	},
}, {
	Name:     "window/receive-maximum-of-server-exceeded",
	Rules:    []string{"MQTT-3.3.4-7", "P-3.3.4-receive-maximum-exceeded"},
	Breaks:   []string{"MQTT-3.3.4-7", "P-3.3.4-receive-maximum-exceeded"},
	Versions: MQTT5,
	Needs:    CapQoS2,
	Run: func(t *T) {
		most := t.Target().ReceiveMaximum
		if most > mostToExceed {
			t.NotApplicable("the Receive Maximum of the target, %d, is too large to exceed", most)
		}
		c, topic := t.Connect().Manual(), t.Topic("a")
		for i := range most + 1 {
			c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: i + 1, Payload: []byte("open")})
		}
		// Each PUBREC must be there before the last PUBLISH counts as one too many.
		deadline := time.Now().Add(t.Timeout())
		for range most {
			e := c.Take(time.Until(deadline), ofType(codec.TypePubrec))
			if e == nil {
				break
			}
			if r := e.Packet.(*codec.Pubrec).Reason; r.Failed() && r != codec.QuotaExceeded && r != codec.ReceiveMaximumExceeded {
				t.Inconclusive("%s: PUBLISH was refused: 0x%02X", c.Name(), uint8(r))
			}
		}
		r := t.react(c)
		for _, rule := range t.check.Rules {
			t.Judge(rule).Warn().That(r.ended, fmt.Sprintf("the connection ends after %d open QoS 2 messages", most+1), r.actual)
		}
		if r.ended {
			t.Judge().disconnectReason(c, []codec.ReasonCode{codec.ReceiveMaximumExceeded})
		}
	},
}}

// receiveMaximum is an edit for Connect.
func receiveMaximum(n uint16) func(*codec.Connect) {
	return func(p *codec.Connect) { p.Props.SetUint(codec.PropReceiveMaximum, uint32(n)) }
}

// windowMessages is how many messages meet a small window.
const windowMessages = 5

// fillWindow publishes more messages to the topic than a small window holds, QoS 1 and 2 mixed.
func (t *T) fillWindow(topic string) {
	pub := t.Connect()
	levels := t.levels(1)
	for i := range windowMessages {
		pub.Deliver(topic, levels[(i+1)%len(levels)], fmt.Sprint("message ", i))
	}
}

// drainWindow takes the messages one by one and acknowledges only where the window is full or
// nothing more comes, judging that never more than most are unacknowledged.
func (t *T) drainWindow(c *Conn, topic string, most int) {
	var open []*codec.Publish
	got, refused := 0, false
	// arrives takes one more message and reports whether the window still holds.
	arrives := func(wait time.Duration) (came, held bool) {
		e := c.Take(wait, func(e *peer.Event) bool {
			p, ok := e.Packet.(*codec.Publish)
			return ok && p.Topic == topic && p.QoS > 0 && !p.Dup
		})
		if e == nil {
			return false, true
		}
		got++
		open = append(open, e.Packet.(*codec.Publish))
		ids := make([]uint16, len(open))
		for i, p := range open {
			ids[i] = p.PacketID
		}
		held = t.Judge().Thatf(len(open) <= most, fmt.Sprintf("at most %d unacknowledged messages", most), "%d, with the Packet Identifiers %v", len(open), ids)
		return true, held
	}
	for got < windowMessages {
		wait := t.Timeout()
		if len(open) > 0 {
			wait = t.Grace() / 4 // nothing tells that no more will come
		}
		came, held := arrives(wait)
		switch {
		case !held:
			return
		case came:
			continue
		case len(open) == 0:
			t.Inconclusive("%s: only %d of %d messages arrived", c.Name(), got, windowMessages)
		}
		first := open[0]
		switch {
		case first.QoS == 1:
			open = open[1:]
			c.Send(&codec.Puback{PacketID: first.PacketID})
		case !refused:
			refused = true
			open = open[1:]
			c.Send(&codec.Pubrec{PacketID: first.PacketID, Reason: codec.ImplementationSpecificError})
		default:
			c.Send(&codec.Pubrec{PacketID: first.PacketID})
			if c.Take(t.Timeout(), ofType(codec.TypePubrel)) == nil {
				t.Inconclusive("%s: no PUBREL", c.Name())
			}
			// The message counts as unacknowledged until PUBCOMP.
			if _, held := arrives(t.Grace() / 4); !held {
				return
			}
			open = open[1:]
			c.Send(&codec.Pubcomp{PacketID: first.PacketID})
		}
	}
}
