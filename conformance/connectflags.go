package conformance

import (
	"github.com/mqlab/mqlab/codec"
)

var connectFlagChecks = []Check{{
	Name:     "connect/reserved-flag-refused",
	Rules:    []string{"MQTT-3.1.2-3"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		refusesEach(t, t.Judge(), connectCase{"the reserved bit is set", func(b *connectBytes) { b.flags |= connectReserved }})
	},
}, {
	Name:     "connect/will-fields-missing-refused",
	Rules:    []string{"MQTT-3.1.2-9"},
	Breaks:   []string{"MQTT-3.1.2-9"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		cases := []connectCase{{"the payload ends after the Client Identifier", func(b *connectBytes) {
			b.anonymous()
			b.flags |= connectWill
		}}, {"the payload ends after the Will Topic", func(b *connectBytes) {
			b.anonymous()
			b.flags |= connectWill
			b.will(t.Topic("will"), "")
			b.willPayload = nil
		}}}
		if t.V5() {
			cases = append(cases, connectCase{"the payload ends after the Will Properties", func(b *connectBytes) {
				b.anonymous()
				b.flags |= connectWill
				b.willProps = []byte{0}
			}})
		}
		refusesEach(t, t.Judge(), cases...)
	},
}, {
	Name:     "connect/will-qos-without-will-refused",
	Rules:    []string{"MQTT-3.1.2-13", "MQTT-3.1.2-11"},
	Rules5:   []string{"MQTT-3.1.2-11"},
	Breaks:   []string{"MQTT-3.1.2-13", "MQTT-3.1.2-11"},
	Breaks5:  []string{"MQTT-3.1.2-11"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		cases := []connectCase{
			{"Will QoS 1 without Will Flag", func(b *connectBytes) { b.flags |= connectWillQoS1 }},
			{"Will QoS 2 without Will Flag", func(b *connectBytes) { b.flags |= connectWillQoS2 }},
		}
		if !t.V5() {
			cases = append(cases, connectCase{"Will QoS 3 without Will Flag", func(b *connectBytes) { b.flags |= connectWillQoS1 | connectWillQoS2 }})
			refusesEach(t, t.Judge("MQTT-3.1.2-11"), cases[0])
		}
		refusesEach(t, t.Judge(), cases...)
	},
}, {
	Name:     "connect/will-retain-without-will-refused",
	Rules:    []string{"MQTT-3.1.2-15", "MQTT-3.1.2-11"},
	Rules5:   []string{"MQTT-3.1.2-13"},
	Breaks:   []string{"MQTT-3.1.2-15", "MQTT-3.1.2-11"},
	Breaks5:  []string{"MQTT-3.1.2-13"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		retain := connectCase{"Will Retain without Will Flag", func(b *connectBytes) { b.flags |= connectWillRetain }}
		refusesEach(t, t.Judge(), retain)
		if !t.V5() {
			refusesEach(t, t.Judge("MQTT-3.1.2-11"), retain)
		}
	},
}, {
	// Brokers that skip what the flags do not announce are common, hence only a warning. Under
	// 5.0 surplus bytes make the packet malformed: connect/malformed-refused sends them too.
	Name:     "connect/will-fields-without-flag",
	Rules:    []string{"MQTT-3.1.2-11"},
	Breaks:   []string{"MQTT-3.1.2-11", "MQTT-3.1.2-18"},
	Breaks5:  []string{"MQTT-3.1.2-11"},
	Versions: MQTT311,
	Run: func(t *T) {
		b := t.connectBytes()
		b.will(t.Topic("will"), "gone")
		_, o := t.try(b.encode())
		t.Judge().Warn().That(!o.accepted(), "the connection ends", o.describe(t.Version()))
	},
}, {
	Name:     "connect/will-qos-3-refused",
	Rules:    []string{"MQTT-3.1.2-14"},
	Rules5:   []string{"MQTT-3.1.2-12"},
	Breaks:   []string{"MQTT-3.1.2-14"},
	Breaks5:  []string{"MQTT-3.1.2-12"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		refusesEach(t, t.Judge(), connectCase{"Will QoS 3", func(b *connectBytes) {
			b.will(t.Topic("will"), "gone")
			b.flags |= connectWill | connectWillQoS1 | connectWillQoS2
		}})
	},
}, {
	Name:     "connect/will-qos-accepted",
	Rules:    []string{"MQTT-3.1.2-12"},
	Versions: MQTT5,
	Run: func(t *T) {
		for qos := range min(t.Target().MaximumQoS, 2) + 1 {
			c := t.Open()
			c.Send(t.ConnectPacket(func(p *codec.Connect) {
				p.HasWill, p.Will = true, codec.Will{Topic: t.Topic("will"), Payload: []byte("gone"), QoS: codec.QoS(qos)}
			}))
			o := c.outcome()
			// Only a refusal that names the Will's QoS or calls the packet wrong can be about the QoS.
			switch {
			case o.accepted(), o.refusedWith(codec.QoSNotSupported), o.refusedWith(codec.MalformedPacket), o.refusedWith(codec.ProtocolError):
				t.Judge().Thatf(o.accepted(), "CONNACK 0x00", "Will QoS %d: %s", qos, o.describe(t.Version()))
			default:
				t.Inconclusive("a CONNECT with a Will at QoS %d was refused: %s", qos, o.describe(t.Version()))
			}
			if o.accepted() {
				c.Disconnect()
			}
		}
	},
}, {
	Name:     "connect/user-name-without-flag",
	Rules:    []string{"MQTT-3.1.2-18"},
	Rules5:   []string{"MQTT-3.1.2-16"},
	Breaks:   []string{"MQTT-3.1.2-18"},
	Breaks5:  []string{"MQTT-3.1.2-16"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		plain := t.connectBytes()
		username := plain.username
		if username == nil {
			username = field("mqlab")
		}
		plain.anonymous()
		spoilt := t.connectBytes()
		spoilt.anonymous()
		spoilt.surplus = username
		surplusField(t, plain, spoilt)
	},
}, {
	Name:     "connect/user-name-missing-refused",
	Rules:    []string{"MQTT-3.1.2-19"},
	Rules5:   []string{"MQTT-3.1.2-17"},
	Breaks:   []string{"MQTT-3.1.2-19"},
	Breaks5:  []string{"MQTT-3.1.2-17"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		refusesEach(t, t.Judge(), connectCase{"the payload ends before the User Name", func(b *connectBytes) {
			b.anonymous()
			b.flags |= connectUsername
		}})
	},
}, {
	Name:     "connect/password-without-flag",
	Rules:    []string{"MQTT-3.1.2-20"},
	Rules5:   []string{"MQTT-3.1.2-18"},
	Breaks:   []string{"MQTT-3.1.2-20"},
	Breaks5:  []string{"MQTT-3.1.2-18"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		layout := func() *connectBytes {
			b := t.connectBytes()
			if b.username == nil {
				b.username = field("mqlab")
			}
			b.flags |= connectUsername
			b.flags &^= connectPassword
			return b
		}
		plain, spoilt := layout(), layout()
		spoilt.surplus = spoilt.password
		if spoilt.surplus == nil {
			spoilt.surplus = field("secret")
		}
		plain.password, spoilt.password = nil, nil
		surplusField(t, plain, spoilt)
	},
}, {
	Name:     "connect/password-missing-refused",
	Rules:    []string{"MQTT-3.1.2-21"},
	Rules5:   []string{"MQTT-3.1.2-19"},
	Breaks:   []string{"MQTT-3.1.2-21"},
	Breaks5:  []string{"MQTT-3.1.2-19"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		cases := []connectCase{{"the payload ends after the User Name", func(b *connectBytes) {
			if b.username == nil {
				b.username = field("mqlab")
			}
			b.flags |= connectUsername | connectPassword
			b.password = nil
		}}}
		if t.V5() {
			cases = append(cases, connectCase{"a Password without User Name, and the payload ends after the Client Identifier", func(b *connectBytes) {
				b.anonymous()
				b.flags |= connectPassword
			}})
		}
		refusesEach(t, t.Judge(), cases...)
	},
}, {
	Name:     "connect/password-without-user-name-refused",
	Rules:    []string{"MQTT-3.1.2-22"},
	Breaks:   []string{"MQTT-3.1.2-22"},
	Versions: MQTT311,
	Run: func(t *T) {
		b := t.connectBytes()
		b.anonymous()
		b.flags |= connectPassword
		b.password = field("secret")
		_, o := t.try(b.encode())
		if !o.accepted() && !o.ended {
			t.Inconclusive("the target neither served nor closed: %s", o.describe(t.Version()))
		}
		t.Judge().That(!o.accepted(), "the connection ends, without CONNACK or after a CONNACK that refuses", o.describe(t.Version()))
	},
}, {
	Name:     "connect/password-without-user-name-legal",
	Rules:    []string{"MQTT-3.1.2-19"},
	Versions: MQTT5,
	Run: func(t *T) {
		b := t.connectBytes()
		b.anonymous()
		b.flags |= connectPassword
		b.password = field("secret")
		c, o := t.try(b.encode())
		format := o.refusedWith(codec.MalformedPacket) || o.refusedWith(codec.ProtocolError)
		t.Judge().Warn().That(!format, "CONNACK 0x00, or a refusal of the credentials", o.describe(t.Version()))
		if o.accepted() {
			c.Disconnect()
		}
	},
}, {
	Name:     "connect/will-topic-not-utf8-refused",
	Rules:    []string{"MQTT-3.1.3-10"},
	Rules5:   []string{"MQTT-3.1.3-11"},
	Breaks:   []string{"MQTT-3.1.3-10", "MQTT-1.5.3-1"},
	Breaks5:  []string{"MQTT-3.1.3-11", "MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-4.7.3-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		will := func(topic string) func(*connectBytes) {
			return func(b *connectBytes) {
				b.will(topic, "gone")
				b.flags |= connectWill
			}
		}
		if t.V5() {
			refusesEach(t, t.Judge(),
				connectCase{"bytes that UTF-8 never has in the Will Topic", will("w\xFF")},
				connectCase{"U+0000 in the Will Topic", will("w\x00")})
			return
		}
		refusesEach(t, t.Judge(), connectCase{"a broken sequence in the Will Topic", will("\xC3\x28")})
	},
}, {
	Name:     "connect/user-name-not-utf8-refused",
	Rules:    []string{"MQTT-3.1.3-11"},
	Rules5:   []string{"MQTT-3.1.3-12"},
	Breaks:   []string{"MQTT-3.1.3-11", "MQTT-1.5.3-1"},
	Breaks5:  []string{"MQTT-3.1.3-12", "MQTT-1.5.4-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		refusesEach(t, t.Judge(), connectCase{"a broken sequence in the User Name", func(b *connectBytes) {
			b.flags |= connectUsername
			b.username = field("\xC3\x28")
		}})
	},
}}

// surplusField judges a CONNECT with a field at its end that the flags do not announce, beside
// the same CONNECT without the field. Under 3.1.1 brokers may skip the bytes, which is worth a
// warning; one that lets in only whoever sends them has used them.
func surplusField(t *T, plain, spoilt *connectBytes) {
	c, without := t.try(plain.encode())
	if without.accepted() {
		c.Disconnect()
	}
	_, with := t.try(spoilt.encode())
	const expected = "the connection ends"
	switch {
	case with.accepted() && !without.accepted():
		t.Judge().That(false, expected, "the field that no flag announces was used: "+with.describe(t.Version()))
	case with.accepted() && !t.V5():
		t.Judge().Warn().That(false, expected, "the field that no flag announces was skipped: "+with.describe(t.Version()))
	case !with.accepted() && !without.accepted():
		t.Inconclusive("the same CONNECT without the surplus field is refused as well: %s", without.describe(t.Version()))
	case !with.ended && !t.V5():
		t.Judge().Warn().That(false, expected, with.describe(t.Version()))
	default:
		t.Judge().That(with.ended, expected, with.describe(t.Version()))
	}
}
