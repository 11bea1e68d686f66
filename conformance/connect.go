package conformance

import (
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var connectChecks = []Check{{
	Name:     "connect/answered-by-connack",
	Rules:    []string{"MQTT-3.2.0-1", "MQTT-3.1.4-4", "MQTT-3.2.2-1"},
	Rules5:   []string{"MQTT-3.2.0-1", "MQTT-3.1.4-5", "MQTT-3.2.0-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Open()
		c.Send(t.ConnectPacket())
		first := t.Judge("MQTT-3.2.0-1").Answer(c, "a packet", func(*peer.Event) bool { return true })
		ack, ok := first.Packet.(*codec.Connack)
		t.Judge("MQTT-3.2.0-1").That(ok, "CONNACK first", describeEvents([]*peer.Event{first}, t.Version()))
		if !ok {
			return
		}
		t.Judge("MQTT-3.1.4-4", "MQTT-3.1.4-5").That(ack.Reason == codec.Success, "code 0", codec.Describe(ack, t.Version()))
		if !t.V5() {
			t.Judge("MQTT-3.2.2-1").That(!ack.SessionPresent, "Session Present 0 after CleanSession 1", codec.Describe(ack, t.Version()))
			return
		}
		t.Judge("MQTT-3.2.0-2").Silent(c, "second CONNACK", ofType(codec.TypeConnack), c.Ping)
	},
}, {
	Name:     "connect/reserved-flag-refused",
	Rules:    []string{"MQTT-3.1.2-3"},
	Breaks:   []string{"MQTT-3.1.2-3"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Open()
		c.SendBroken(t.ConnectPacket(), codec.BreakConnectReservedFlag)
		t.Judge().RefusesConnect(c)
	},
}, {
	Name:     "connect/second-connect-refused",
	Rules:    []string{"MQTT-3.1.0-2"},
	Breaks:   []string{"MQTT-3.1.0-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.Send(t.ConnectPacket(func(p *codec.Connect) { p.ClientID = c.ClientID() }))
		refusal := func(e *peer.Event) bool {
			a, ok := e.Packet.(*codec.Connack)
			return ok && !t.V5() && a.Reason != codec.Success
		}
		t.Judge().Refuses(c, refusal, codec.ProtocolError)
	},
}}
