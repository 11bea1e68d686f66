package conformance

import (
	"github.com/mqlab/mqlab/codec"
)

var subscribeChecks = []Check{{
	Name:     "subscribe/one-code-for-each-filter",
	Rules:    []string{"MQTT-3.8.4-1", "MQTT-3.8.4-5", "MQTT-3.9.3-1"},
	Rules5:   []string{"MQTT-3.8.4-1", "MQTT-3.8.4-6", "MQTT-3.9.3-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.Send(&codec.Subscribe{PacketID: 7, Filters: []codec.Subscription{
			{Filter: t.Topic("a"), QoS: 0}, {Filter: t.Topic("b"), QoS: 1}, {Filter: t.Topic("c"), QoS: 2}, {Filter: t.Topic("d"), QoS: 0},
		}})
		ack := t.Judge().Answer(c, "SUBACK", ofType(codec.TypeSuback)).Packet.(*codec.Suback)
		t.Judge("MQTT-3.8.4-5", "MQTT-3.8.4-6").Thatf(len(ack.Reasons) == 4, "4 codes", "%d codes", len(ack.Reasons))
		if len(ack.Reasons) != 4 {
			return
		}
		order := t.Judge("MQTT-3.9.3-1")
		for i, asked := range []codec.ReasonCode{0, 1, 2, 0} {
			got := ack.Reasons[i]
			// Granting less than was asked for, or nothing, is allowed; more shows another order.
			order.Thatf(got <= asked || got.Failed(), "at most what the filter asked for", "code %d for a filter that asked for QoS %d", got, asked)
		}
	},
}, {
	Name:     "subscribe/no-filter-refused",
	Rules:    []string{"MQTT-3.8.3-3"},
	Rules5:   []string{"MQTT-3.8.3-2"},
	Breaks:   []string{"MQTT-3.8.3-3"},
	Breaks5:  []string{"MQTT-3.8.3-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		if t.V5() {
			c.SendRaw(0x82, 3, 0, 7, 0)
		} else {
			c.SendRaw(0x82, 2, 0, 7)
		}
		t.Judge().Refuses(c, nil, codec.ProtocolError, codec.MalformedPacket)
	},
}}
