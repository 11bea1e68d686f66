package conformance

import (
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var publishChecks = []Check{{
	Name:     "publish/qos3-refused",
	Rules:    []string{"MQTT-3.3.1-4"},
	Breaks:   []string{"MQTT-3.3.1-4"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		watcher, c := t.Connect(), t.Connect()
		topic := t.Topic("a")
		watcher.Subscribe(0, topic)
		c.SendBroken(&codec.Publish{Topic: topic, QoS: 1, PacketID: 1, Payload: []byte("bad")}, codec.BreakQoS3)
		t.Judge().Refuses(c, nil, codec.MalformedPacket)
		other := t.Connect()
		t.Judge().Silent(watcher, "forwarded message", onTopic(topic), func() { t.Fence(other, watcher, topic, 0) })
	},
}, {
	Name:     "publish/acknowledged-by-qos",
	Rules:    []string{"MQTT-3.3.4-1", "MQTT-2.3.1-6"},
	Rules5:   []string{"MQTT-3.3.4-1", "MQTT-2.2.1-5"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS2,
	Run: func(t *T) {
		c := t.Connect().Manual()
		topic := t.Topic("a")
		echo := t.Judge("MQTT-2.3.1-6", "MQTT-2.2.1-5")

		c.Send(&codec.Publish{Topic: topic, QoS: 1, PacketID: 0x1234})
		e := t.Judge().Answer(c, "PUBACK", ofType(codec.TypePuback))
		_, id, _ := ackOf(e)
		echo.Thatf(id == 0x1234, "PUBACK with Packet Identifier 4660", "%d", id)

		c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: 0x4321})
		e = t.Judge().Answer(c, "PUBREC", ofType(codec.TypePubrec))
		_, id, _ = ackOf(e)
		echo.Thatf(id == 0x4321, "PUBREC with Packet Identifier 17185", "%d", id)
		c.Send(&codec.Pubrel{PacketID: 0x4321})
		e = t.Judge().Answer(c, "PUBCOMP", ofType(codec.TypePubcomp))
		_, id, _ = ackOf(e)
		echo.Thatf(id == 0x4321, "PUBCOMP with Packet Identifier 17185", "%d", id)

		// The PINGRESP is a fence only where answers keep their order; a late ack would be missed, never invented.
		c.Send(&codec.Publish{Topic: topic})
		t.Judge().Silent(c, "acknowledgement of QoS 0", func(e *peer.Event) bool {
			typ, _, _ := ackOf(e)
			return typ != 0
		}, c.Ping)
	},
}, {
	Name:     "publish/retained-for-later-subscribers",
	Rules:    []string{"MQTT-3.3.1-5", "MQTT-3.3.1-8"},
	Rules5:   []string{"MQTT-3.3.1-5"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapRetain | CapQoS1,
	Run: func(t *T) {
		c := t.Connect()
		topic := t.Topic("a")
		c.Publish(topic, 1, "v1", Retained)
		c.Publish(topic, 1, "v2", Retained)
		late := t.Connect()
		late.Subscribe(1, topic)
		p := t.Judge("MQTT-3.3.1-5", "MQTT-3.3.1-5").Arrives(late, topic, "v2")
		if !t.V5() {
			t.Judge("MQTT-3.3.1-5").Thatf(p.QoS == 1, "the QoS it was published with, 1", "%d", p.QoS)
			t.Judge("MQTT-3.3.1-8").Thatf(p.Retain, "RETAIN 1", "RETAIN %v", p.Retain)
		}
	},
}}
