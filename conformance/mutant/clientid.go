package mutant

import (
	"strings"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

var clientIDMutants = []Mutant{{
	Name: "clientid/missing-tolerated", Versions: both, Rule: "MQTT-3.1.3-3",
	Falls: []string{"MQTT-3.1.4-1"},
	New:   tolerateConnect("client-id-missing"),
}, {
	Name: "clientid/not-utf8-tolerated", Versions: both, Rule: "MQTT-3.1.3-4",
	Falls: []string{"MQTT-1.5.3-1", "MQTT-1.5.3-2"}, Falls5: []string{"MQTT-1.5.4-1", "MQTT-1.5.4-2"},
	New: tolerateConnect("client-id-utf8", "client-id-nul"),
}, {
	Name: "clientid/not-utf8-identifier-rejected", Versions: mqtt311, Legal: "code 2 fits a Client Identifier that cannot be read",
	New: refuseConnect(0, []byte{0x20, 2, 0, 2}, "client-id-utf8", "client-id-nul"),
}, {
	Name: "clientid/one-letter-rejected", Versions: both, Rule: "MQTT-3.1.3-5",
	New: rejectIDs(func(id string) bool { return len(id) == 1 }, true, false),
}, {
	Name: "clientid/23-letters-closed", Versions: both, Rule: "MQTT-3.1.3-5",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if c, ok := p.Packet.(*codec.Connect); ok && len(c.ClientID) == 23 {
				p.Drop()
				l.CloseClient()
			}
		}}
	},
}, {
	Name: "clientid/empty-ones-share-an-id", Versions: mqtt311, Rule: "MQTT-3.1.3-6",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if c, ok := p.Packet.(*codec.Connect); ok && c.ClientID == "" && c.CleanStart && !connectHas(p.Raw, malformedConnectFaults...) {
				c.ClientID = "everybody"
				p.Encode(c, l.Version)
			}
		}}
	},
}, {
	Name: "clientid/empty-ones-get-the-same-id", Versions: mqtt5, Rule: "MQTT-3.1.3-6",
	Falls: []string{"MQTT-3.1.3-7", "MQTT-3.2.2-16"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
		if p.Props.Has(codec.PropAssignedClientID) {
			p.Props.SetText(codec.PropAssignedClientID, "everybody")
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "clientid/assigned-id-not-told", Versions: mqtt5, Rule: "MQTT-3.1.3-7",
	Falls: []string{"MQTT-3.1.3-6", "MQTT-3.2.2-16"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
		if p.Props.Has(codec.PropAssignedClientID) {
			p.Props.Remove(codec.PropAssignedClientID)
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "clientid/empty-ones-refused", Versions: both, Legal: "a server need not assign Client Identifiers",
	Broker: broker.Config{EmptyClientIDRefused: true},
	New:    func() *Hooks { return &Hooks{} },
}, {
	Name: "clientid/empty-ones-closed", Versions: mqtt5, Legal: "a refusal needs no CONNACK",
	New: rejectIDs(func(id string) bool { return id == "" }, false, false),
}, {
	Name: "clientid/empty-without-clean-session-accepted", Versions: mqtt311, Rule: "MQTT-3.1.3-8",
	New: tolerateConnect("client-id-empty"),
}, {
	Name: "clientid/empty-without-clean-session-other-code", Versions: mqtt311, Rule: "MQTT-3.1.3-8",
	New: refuseConnect(0, []byte{0x20, 2, 0, 5}, "client-id-empty"),
}, {
	Name: "clientid/empty-without-clean-session-no-code", Versions: mqtt311, Rule: "MQTT-3.1.3-8", Warn: true,
	New: refuseConnect(0, nil, "client-id-empty"),
}, {
	Name: "clientid/other-ids-refused-and-kept-open", Versions: both, Rule: "MQTT-3.1.3-9", Rule5: "MQTT-3.1.3-8",
	Falls5: []string{"P-3.1.3.1-other-client-ids"},
	New:    rejectIDs(isOtherID, true, true),
}, {
	Name: "clientid/other-ids-closed-silently", Versions: mqtt311, Rule: "MQTT-3.1.3-9", Warn: true,
	New: rejectIDs(isOtherID, false, false),
}, {
	Name: "clientid/other-ids-refused", Versions: both, Legal: "only 1 to 23 letters and digits must be accepted",
	New: rejectIDs(isOtherID, true, false),
}, {
	Name: "clientid/other-ids-closed", Versions: mqtt5, Legal: "a CONNACK before the end is optional",
	New: rejectIDs(isOtherID, false, false),
}, {
	Name: "clientid/shortened", Versions: mqtt5, Rule: "P-3.1.3.1-other-client-ids",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if c, ok := p.Packet.(*codec.Connect); ok && len(c.ClientID) > 40 {
				c.ClientID = c.ClientID[:40]
				p.Encode(c, l.Version)
			}
		}}
	},
}}

// isOtherID reports whether a server may refuse the Client Identifier.
func isOtherID(id string) bool {
	other := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}
	return len(id) > 23 || strings.ContainsFunc(id, other)
}

// rejectIDs refuses a legal CONNECT whose Client Identifier match accepts: with a CONNACK where
// answer is set, and without the end of the connection where hold is.
func rejectIDs(match func(id string) bool, answer, hold bool) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			c, ok := p.Packet.(*codec.Connect)
			if !ok || !match(c.ClientID) || connectHas(p.Raw, malformedConnectFaults...) {
				return
			}
			p.Drop()
			l.State["rejected"] = true
			if answer {
				if l.Version == codec.V5 {
					l.ToClient(0x20, 3, 0, 0x85, 0)
				} else {
					l.ToClient(0x20, 2, 0, 2)
				}
			}
			if !hold {
				l.CloseClient()
			}
		}, Gone: func(l *Link) bool { return hold && l.State["rejected"] != nil }}
	}
}
