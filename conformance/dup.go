package conformance

import (
	"fmt"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var dupChecks = []Check{{
	Name:     "dup/set-on-redelivery",
	Rules:    []string{"MQTT-3.3.1-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run: func(t *T) {
		pub := t.Connect()
		judged := false
		for _, qos := range t.levels(1) {
			id, topic := t.ClientID(), t.Topic(fmt.Sprintf("q%d", qos))
			sub := t.Connect(t.Persistent(id)).Manual()
			sub.Subscribe(qos, topic)
			pub.Deliver(topic, qos, "again")
			first := sub.Take(t.Timeout(), withPayload(topic, "again"))
			if first == nil {
				t.Inconclusive("%s: the message did not arrive at all", sub.Name())
			}
			packetID := first.Packet.(*codec.Publish).PacketID
			sub.Drop()

			back := t.Open().Manual()
			if ack := back.Connect(t.ConnectPacket(t.Persistent(id))); !ack.SessionPresent {
				t.notKept(back)
			}
			// Only the same Packet Identifier shows that it is the same delivery and not another copy.
			again := back.Take(t.Timeout(), func(e *peer.Event) bool {
				p, ok := e.Packet.(*codec.Publish)
				return ok && p.Topic == topic && p.PacketID == packetID
			})
			if again == nil {
				continue
			}
			judged = true
			t.Judge().That(again.Packet.(*codec.Publish).Dup, "DUP 1 on the second delivery", codec.Describe(again.Packet, t.Version()))
		}
		if !judged {
			t.Inconclusive("no unacknowledged message was delivered again under its Packet Identifier")
		}
	},
}, {
	Name:     "dup/zero-at-qos0",
	Rules:    []string{"MQTT-3.3.1-2"},
	Breaks:   []string{"MQTT-3.3.1-2", "MQTT-4.3.1-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		sub, pub, dup := t.Connect(), t.Connect(), t.Connect()
		topic := t.Topic("a")
		sub.Subscribe(0, topic)
		for _, qos := range t.levels(0) {
			pub.Deliver(topic, qos, "regular")
		}
		// To accept DUP 1 at QoS 0, to ignore it and to end the connection are all allowed.
		dup.SendRaw(t.publishBytes(0x08, topic, 0, nil, "with DUP")...)
		dup.Send(&codec.Pingreq{})
		fence := dup
		if _, err := dup.Await(t.Timeout(), ofType(codec.TypePingresp)); err != nil {
			fence = pub
		}
		t.Judge().Silent(sub, "QoS 0 PUBLISH with DUP 1", func(e *peer.Event) bool {
			p, ok := e.Packet.(*codec.Publish)
			return ok && p.QoS == 0 && p.Dup
		}, func() { t.Fence(fence, sub, topic, 0) })
	},
}, {
	Name:     "dup/not-passed-on",
	Rules:    []string{"MQTT-3.3.1-3"},
	Breaks:   []string{"MQTT-4.3.2-1", "MQTT-4.3.3-1"},
	Breaks5:  []string{"MQTT-4.3.2-2", "MQTT-4.3.3-2"},
	Axis:     Behaviour,
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		sub, pub := t.Connect(), t.Connect()
		topic := t.Topic("a")
		sub.Subscribe(t.atMost(2), topic)
		for _, qos := range t.levels(1) {
			payload := fmt.Sprintf("dup at %d", qos)
			pub.Deliver(topic, qos, payload, func(p *codec.Publish) { p.Dup = true })
			first := sub.Take(t.Timeout(), withPayload(topic, payload))
			if first == nil {
				t.Inconclusive("%s: the message did not arrive", sub.Name())
			}
			t.Judge().That(!first.Packet.(*codec.Publish).Dup, "DUP 0 on a first delivery", codec.Describe(first.Packet, t.Version()))
		}
	},
}}
