package mutant

import "github.com/mqlab/mqlab/codec"

var connectFlagMutants = []Mutant{{
	Name: "connect/reserved-flag-tolerated", Versions: both, Rule: "MQTT-3.1.2-3",
	Falls: []string{"MQTT-3.1.4-1"}, Falls5: []string{"MQTT-3.1.4-1", "MQTT-3.1.4-6"},
	New: tolerateConnect("connect-reserved-flag"),
}, {
	Name: "connect/will-fields-missing-tolerated", Versions: both, Rule: "MQTT-3.1.2-9",
	Falls: []string{"MQTT-3.1.4-1"},
	New:   tolerateConnect("will-missing"),
}, {
	Name: "connect/will-qos-without-will-tolerated", Versions: both, Rule: "MQTT-3.1.2-13", Rule5: "MQTT-3.1.2-11",
	Falls: []string{"MQTT-3.1.2-11"}, Falls5: []string{},
	New: tolerateConnect("will-qos-without-will"),
}, {
	Name: "connect/will-retain-without-will-tolerated", Versions: both, Rule: "MQTT-3.1.2-15", Rule5: "MQTT-3.1.2-13",
	Falls: []string{"MQTT-3.1.2-11"}, Falls5: []string{},
	New: tolerateConnect("will-retain-without-will"),
}, {
	Name: "connect/will-options-without-will-tolerated", Versions: mqtt311, Rule: "MQTT-3.1.2-11",
	Falls: []string{"MQTT-3.1.2-13", "MQTT-3.1.2-15"},
	New:   tolerateConnect("will-qos-without-will", "will-retain-without-will"),
}, {
	// The Will's fields behind the Client Identifier have the shape of a User Name.
	Name: "connect/will-fields-without-flag-tolerated", Versions: mqtt311, Rule: "MQTT-3.1.2-11", Warn: true,
	Falls: []string{"MQTT-3.1.2-18"},
	New:   tolerateConnect("username-without-flag"),
}, {
	Name: "connect/will-qos-3-tolerated", Versions: both, Rule: "MQTT-3.1.2-14", Rule5: "MQTT-3.1.2-12",
	Falls: []string{"MQTT-3.1.4-1"}, Falls5: []string{},
	New: tolerateConnect("will-qos-3"),
}, {
	Name: "connect/will-qos-refused", Versions: mqtt5, Rule: "MQTT-3.1.2-12",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			// Every other client whose Will has QoS 2 is none of this mutant's business.
			if c, ok := p.Packet.(*codec.Connect); ok && c.HasWill && c.Will.QoS == 2 && string(c.Will.Payload) == "gone" {
				p.Drop()
				l.ToClient(0x20, 3, 0, 0x9B, 0)
				l.CloseClient()
			}
		}}
	},
}, {
	Name: "connect/user-name-without-flag-tolerated", Versions: mqtt311, Rule: "MQTT-3.1.2-18", Warn: true,
	Falls: []string{"MQTT-3.1.2-11"},
	New:   tolerateConnect("username-without-flag"),
}, {
	Name: "connect/user-name-without-flag-ignored", Versions: mqtt5, Rule: "MQTT-3.1.2-16",
	New: tolerateConnect("username-without-flag"),
}, {
	Name: "connect/user-name-missing-tolerated", Versions: both, Rule: "MQTT-3.1.2-19", Rule5: "MQTT-3.1.2-17",
	New: tolerateConnect("username-missing"),
}, {
	Name: "connect/password-without-flag-tolerated", Versions: mqtt311, Rule: "MQTT-3.1.2-20", Warn: true,
	New: tolerateConnect("password-without-flag"),
}, {
	Name: "connect/password-without-flag-ignored", Versions: mqtt5, Rule: "MQTT-3.1.2-18",
	New: tolerateConnect("password-without-flag"),
}, {
	Name: "connect/password-missing-tolerated", Versions: both, Rule: "MQTT-3.1.2-21", Rule5: "MQTT-3.1.2-19",
	New: tolerateConnect("password-missing"),
}, {
	Name: "connect/password-without-user-name-tolerated", Versions: mqtt311, Rule: "MQTT-3.1.2-22",
	Falls: []string{"MQTT-3.1.4-1"},
	New:   tolerateConnect("password-without-username"),
}, {
	Name: "connect/lone-password-called-malformed", Versions: mqtt5, Rule: "MQTT-3.1.2-19", Warn: true,
	New: lonePassword(0x81),
}, {
	Name: "connect/lone-password-not-authorized", Versions: mqtt5, Legal: "whom a server lets in is its own business",
	New: lonePassword(0x87),
}, {
	Name: "connect/will-topic-not-utf8-tolerated", Versions: both, Rule: "MQTT-3.1.3-10", Rule5: "MQTT-3.1.3-11",
	Falls:  []string{"MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-4.7.3-2"},
	Falls5: []string{"MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-4.7.3-2"},
	New:    tolerateConnect("will-topic-utf8", "will-topic-nul"),
}, {
	Name: "connect/user-name-not-utf8-tolerated", Versions: both, Rule: "MQTT-3.1.3-11", Rule5: "MQTT-3.1.3-12",
	Falls: []string{"MQTT-1.5.3-1", "MQTT-1.5.3-2"}, Falls5: []string{"MQTT-1.5.4-1", "MQTT-1.5.4-2"},
	New: tolerateConnect("username-utf8", "username-nul"),
}}

// lonePassword refuses a CONNECT with a Password and no User Name.
func lonePassword(code byte) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			c, ok := p.Packet.(*codec.Connect)
			if ok && c.HasPassword && !c.HasUsername && !connectHas(p.Raw, malformedConnectFaults...) {
				p.Drop()
				l.ToClient(0x20, 3, 0, code, 0)
				l.CloseClient()
			}
		}}
	}
}

// SurplusFieldUsed returns hooks that announce a field of CONNECT which its flags do not, so
// that the broker uses it as a credential. It needs a target with logins, and is therefore not
// one of [All].
func SurplusFieldUsed() *Hooks {
	return &Hooks{Up: func(_ *Link, p *Packet) {
		at := connectFlags(p.Raw)
		switch {
		case at == 0:
		case connectHas(p.Raw, "username-without-flag"):
			p.Raw[at] |= 0x80
		case connectHas(p.Raw, "password-without-flag"):
			p.Raw[at] |= 0x40
		}
	}}
}

// connectFlags returns the offset of the Connect Flags in a CONNECT of 3.1.1 or 5.0, 0 in
// anything else.
func connectFlags(raw []byte) int {
	if len(raw) < 2 || raw[0]>>4 != byte(codec.TypeConnect) {
		return 0
	}
	_, n := codec.Varint(raw[1:])
	if n < 1 || len(raw) <= 1+n+7 {
		return 0
	}
	return 1 + n + 7
}
