package mutant

import (
	"fmt"
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
)

var connectMutants = []Mutant{{
	Name: "connect/second-connect-tolerated", Versions: both, Rule: "MQTT-3.1.0-2",
	Falls5: []string{"MQTT-4.13.1-1"},
	New: swallow(func(l *Link, p *Packet) bool {
		c, ok := p.Packet.(*codec.Connect)
		return ok && c != l.Connect
	}),
}, {
	Name: "connect/ping-answered-before-connect", Versions: both, Rule: "MQTT-3.1.0-1", Rule5: "P-3.1.0-first-packet",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if _, ok := p.Packet.(*codec.Pingreq); ok && l.Connect == nil {
				p.Drop()
				l.PacketToClient(&codec.Pingresp{})
			}
		}}
	},
}, {
	Name: "connect/stranger-published", Versions: both, Rule: "MQTT-3.1.0-1", Rule5: "P-3.1.0-first-packet",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if l.Connect != nil || p.Raw[0]>>4 != byte(codec.TypePublish) {
				return
			}
			// Any client that is connected lends its connection.
			for _, other := range l.Proxy.Links() {
				if other.Connect == nil {
					continue
				}
				d := codec.Decoder{Version: other.Version, From: codec.Client}
				q, _ := d.Decode(p.Raw)
				if m, ok := q.(*codec.Publish); ok && m.QoS == 0 {
					other.PacketToBroker(m)
				}
			}
		}}
	},
}, {
	Name: "connect/late-close-of-a-stranger", Versions: both, Legal: "how soon a connection without CONNECT is closed is free",
	New: func() *Hooks {
		return &Hooks{Gone: func(l *Link) bool {
			if l.Connect != nil {
				return false
			}
			l.After(shortDelay, l.CloseClient)
			return true
		}}
	},
}, {
	Name: "connect/unknown-name-served", Versions: both, Rule: "MQTT-3.1.2-1",
	New: tolerateConnect("protocol-name"),
}, {
	Name: "connect/unknown-name-refused-by-connack", Versions: both, Legal: "a CONNACK that refuses may come before the end",
	New: refuseConnect(3, []byte{0x20, 2, 0, 1}, "protocol-name"),
}, {
	Name: "connect/unknown-level-served", Versions: both, Rule: "MQTT-3.1.2-2",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			// What else is wrong depends on the version that such a packet is read as.
			if connectHas(p.Raw, "protocol-level") {
				p.Encode(replacement(l), l.Version)
			}
		}}
	},
}, {
	Name: "connect/unknown-level-closed-silently", Versions: both, Legal: "a server of 5.0 may close without CONNACK",
	New: refuseConnect(0, nil, "protocol-level"),
}, {
	Name: "connect/unknown-level-refused-by-0x84", Versions: both, Legal: "a server of 5.0 answers with its own code",
	New: refuseConnect(0, []byte{0x20, 3, 0, 0x84, 0}, "protocol-level"),
}, {
	// The overrun of a string is what connect/malformed-refused alone sends.
	Name: "connect/truncation-tolerated", Versions: both, Rule: "MQTT-3.1.4-1",
	Falls: []string{"MQTT-4.8.0-1", "MQTT-1.5.3-1"}, Falls5: []string{"MQTT-4.13.1-1", "MQTT-1.5.4-1"},
	New: tolerateConnect("connect-truncated"),
}, {
	Name: "connect/surplus-tolerated", Versions: mqtt5, Rule: "MQTT-3.1.4-1", Falls: []string{"MQTT-4.13.1-1"},
	New: tolerateConnect("connect-surplus"),
}, {
	Name: "connect/malformed-answered", Versions: mqtt311, Rule: "MQTT-3.1.4-1", Warn: true,
	New: refuseConnect(0, []byte{0x20, 2, 0, 5}, "connect-truncated"),
}, {
	Name: "connect/malformed-closed-silently", Versions: mqtt5, Legal: "a CONNACK before the end is optional",
	New: refuseConnect(0, nil, malformedConnectFaults...),
}, {
	Name: "connect/malformed-closed-late", Versions: both, Legal: "how soon a malformed CONNECT ends the connection is free",
	New: func() *Hooks {
		return &Hooks{Gone: func(l *Link) bool {
			if l.State["faulty"] == nil {
				return false
			}
			l.After(shortDelay, l.CloseClient)
			return true
		}, Up: func(l *Link, p *Packet) {
			if connectHas(p.Raw, malformedConnectFaults...) {
				l.State["faulty"] = true
			}
		}}
	},
}, {
	Name: "connect/refused-and-executed", Versions: both, Rule: "MQTT-3.1.4-5", Rule5: "MQTT-3.1.4-6",
	New: func() *Hooks {
		// The broker sees a CONNECT that it accepts; the client is told that it was refused.
		return &Hooks{Up: func(l *Link, p *Packet) {
			fault := "client-id-empty"
			if l.Version == codec.V5 {
				fault = "connect-reserved-flag"
			}
			if connectHas(p.Raw, fault) {
				l.State["refused"] = true
				p.Encode(replacement(l), l.Version)
			}
		}, Down: func(l *Link, p *Packet) {
			if l.State["refused"] == nil {
				return
			}
			_, first := p.Packet.(*codec.Connack)
			p.Drop()
			if first {
				if l.Version == codec.V5 {
					l.ToClient(0x20, 3, 0, 0x81, 0)
				} else {
					l.ToClient(0x20, 2, 0, 2)
				}
				l.CloseClient()
			}
		}}
	},
}, {
	Name: "connect/payload-fields-swapped", Versions: both, Rule: "MQTT-3.1.3-1",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			c, ok := p.Packet.(*codec.Connect)
			// Only where the payload could be a Topic Name and there is more than a Will to mix up.
			if ok && c.HasWill && c.HasUsername && codec.ValidTopicName(string(c.Will.Payload)) && !connectHas(p.Raw, malformedConnectFaults...) {
				c.Will.Topic, c.Will.Payload = string(c.Will.Payload), []byte(c.Will.Topic)
				p.Encode(c, l.Version)
			}
		}}
	},
}, {
	Name: "connect/user-name-unknown", Versions: both, Legal: "a server that knows its users refuses others",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			c, ok := p.Packet.(*codec.Connect)
			if !ok || !c.HasUsername || connectHas(p.Raw, malformedConnectFaults...) {
				return
			}
			p.Drop()
			if l.Version == codec.V5 {
				l.ToClient(0x20, 3, 0, 0x86, 0)
			} else {
				l.ToClient(0x20, 2, 0, 4)
			}
			l.CloseClient()
		}}
	},
}, {
	Name: "connect/early-packets-lost", Versions: mqtt5, Rule: "P-3.1.4-early-packets",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if l.Connect == nil || l.State["answered"] != nil {
				return
			}
			raw := slices.Clone(p.Raw)
			p.Drop()
			if l.State["connect"] == nil {
				l.State["connect"] = true
				l.After(50*time.Millisecond, func() { l.ToBroker(raw...) })
			}
		}, Down: func(l *Link, p *Packet) {
			if _, ok := p.Packet.(*codec.Connack); ok {
				l.State["answered"] = true
			}
		}}
	},
}}

// malformedConnectFaults are the faults of a CONNECT that a server answers by closing.
var malformedConnectFaults = []string{
	"connect-reserved-flag", "will-qos-3", "will-qos-without-will", "will-retain-without-will", "password-without-username",
	"connect-truncated", "client-id-missing", "will-missing", "username-missing", "password-missing", "connect-surplus",
	"username-without-flag", "password-without-flag", "client-id-utf8", "client-id-nul", "will-topic-utf8", "will-topic-nul",
	"username-utf8", "username-nul",
}

// protocolFaults have answers of their own.
var protocolFaults = []string{"protocol-name", "protocol-level"}

// connectHas reports whether the bytes are a CONNECT with one of the faults, by the names that
// the codec gives them.
func connectHas(raw []byte, names ...string) bool {
	if len(raw) == 0 || raw[0]>>4 != byte(codec.TypeConnect) {
		return false
	}
	d := codec.Decoder{From: codec.Client, Mode: codec.Lenient}
	_, err := d.Decode(raw)
	faults, ok := err.(codec.Errors)
	return ok && slices.ContainsFunc(faults, func(f *codec.Error) bool { return slices.Contains(names, f.Fault) })
}

// connectOnly reports whether the bytes are a CONNECT with one of the faults and no other.
func connectOnly(raw []byte, names ...string) bool {
	others := slices.DeleteFunc(slices.Concat(malformedConnectFaults, protocolFaults), func(n string) bool { return slices.Contains(names, n) })
	return connectHas(raw, names...) && !connectHas(raw, others...)
}

// replacement returns a legal CONNECT for a link whose own one the broker would refuse.
func replacement(l *Link) *codec.Connect {
	return &codec.Connect{Version: l.Version, ClientID: fmt.Sprintf("replacement%d", l.Number), CleanStart: true}
}

// tolerateConnect lets the broker see a legal CONNECT in place of one with no other fault than
// those named.
func tolerateConnect(faults ...string) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if connectOnly(p.Raw, faults...) {
				p.Encode(replacement(l), l.Version)
			}
		}}
	}
}

// refuseConnect answers a CONNECT with a named fault in the broker's place and closes. after is how
// many times shortDelay passes in between.
func refuseConnect(after int, answer []byte, faults ...string) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if !connectHas(p.Raw, faults...) {
				return
			}
			p.Drop()
			if len(answer) > 0 {
				l.ToClient(answer...)
			}
			if after == 0 {
				l.CloseClient()
				return
			}
			l.After(time.Duration(after)*shortDelay, l.CloseClient)
		}}
	}
}
