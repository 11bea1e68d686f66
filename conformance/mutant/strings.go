package mutant

import (
	"bytes"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// mark is U+FEFF, the byte order mark.
const mark = "\uFEFF"

var textMutants = []Mutant{{
	Name: "strings/ill-formed-relayed", Versions: both, Rule: "MQTT-1.5.3-1", Rule5: "MQTT-1.5.4-1",
	Falls: []string{"MQTT-3.3.2-1"}, Falls5: []string{"MQTT-3.3.2-1", "MQTT-3.3.2-13"},
	New: disguise("\xF5\x80\x80\x80", "(F5)"),
}, {
	Name: "strings/ill-formed-tolerated", Versions: mqtt311, Rule: "MQTT-1.5.3-1",
	New: swallowBytes("\xC0\xAF"),
}, {
	Name: "strings/ill-formed-undetected", Versions: mqtt5, Rule: "MQTT-1.5.4-1", Warn: true,
	New: swallowBytes("\xC0\xAF"),
}, {
	Name: "strings/null-relayed", Versions: both, Rule: "MQTT-1.5.3-2", Rule5: "MQTT-1.5.4-2",
	Falls: []string{"MQTT-3.3.2-1", "MQTT-4.7.3-2"}, Falls5: []string{"MQTT-3.3.2-1", "MQTT-3.3.2-13", "MQTT-4.7.3-2"},
	New: disguise("n\x00l", "n%l"),
}, {
	Name: "strings/null-undetected", Versions: mqtt5, Rule: "MQTT-1.5.4-2", Warn: true,
	New: swallow(func(_ *Link, p *Packet) bool {
		return p.Raw[0] == 0xA2 && bytes.Contains(p.Raw, []byte("n\x00l"))
	}),
}, {
	Name: "strings/mark-stripped-from-topic", Versions: both, Rule: "MQTT-1.5.3-3", Rule5: "MQTT-1.5.4-3",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && strings.Contains(p.Topic, mark) {
				p.Topic = strings.ReplaceAll(p.Topic, mark, "")
				raw.Encode(p, l.Version)
			}
		}}
	},
}, {
	Name: "strings/mark-stripped-on-delivery", Versions: both, Rule: "MQTT-1.5.3-3", Rule5: "MQTT-1.5.4-3",
	Falls: []string{"MQTT-3.3.2-3"},
	New: alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		if strings.HasPrefix(p.Topic, mark) {
			p.Topic = strings.TrimPrefix(p.Topic, mark)
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "strings/mark-stripped-from-property", Versions: mqtt5, Rule: "MQTT-1.5.4-3",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		if text := p.Props.Text(codec.PropContentType); strings.HasPrefix(text, mark) {
			p.Props.SetText(codec.PropContentType, strings.TrimPrefix(text, mark))
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "strings/pair-relayed", Versions: mqtt5, Rule: "MQTT-1.5.7-1",
	Falls: []string{"MQTT-1.5.4-1"},
	New:   disguise("\xFF\xFE\xFD", "(!)"),
}, {
	Name: "strings/pair-undetected", Versions: mqtt5, Rule: "MQTT-1.5.7-1", Warn: true,
	New: swallowBytes("p\x00q"),
}, {
	Name: "strings/control-character-replaced", Versions: mqtt5, Rule: "P-1.5.4-disallowed-unicode",
	New: func() *Hooks {
		return &Hooks{Down: func(_ *Link, p *Packet) {
			if _, ok := p.Packet.(*codec.Publish); ok {
				p.Raw = bytes.ReplaceAll(p.Raw, []byte("a\u0080b"), []byte("a??b"))
			}
		}}
	},
}, {
	Name: "strings/control-character-refused", Versions: mqtt5, Legal: "a receiver may treat such characters as malformed",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if _, ok := p.Packet.(*codec.Publish); ok && bytes.Contains(p.Raw, []byte("\uFFFF")) {
				p.Drop()
				l.ToClient(0xE0, 1, 0x81)
				l.CloseClient()
			}
		}}
	},
}, {
	Name: "strings/control-character-denied", Versions: mqtt5, Legal: "a receiver may refuse such a Topic Name by its acknowledgement",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && p.QoS == 1 && strings.Contains(p.Topic, "\uFFFF") {
				raw.Drop()
				l.PacketToClient(&codec.Puback{PacketID: p.PacketID, Reason: codec.TopicNameInvalid})
			}
		}}
	},
}, {
	Name: "strings/ill-formed-refused-late", Versions: both, Legal: "how soon the connection ends is free",
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if l.Connect != nil && bytes.Contains(p.Raw, []byte("\xF5\x80\x80\x80")) {
				p.Drop()
				l.After(shortDelay, func() { l.CloseClient() })
			}
		}}
	},
}}

// disguise shows the broker a legal text in the place of a bad one of the same length, and the
// clients the bad one again.
func disguise(bad, legal string) func() *Hooks {
	swap := func(p *Packet, from, to string) { p.Raw = bytes.ReplaceAll(p.Raw, []byte(from), []byte(to)) }
	return func() *Hooks {
		return &Hooks{
			Up:   func(_ *Link, p *Packet) { swap(p, bad, legal) },
			Down: func(_ *Link, p *Packet) { swap(p, legal, bad) },
		}
	}
}

// swallowBytes keeps packets with the bytes from the broker, a CONNECT excepted.
func swallowBytes(bad string) func() *Hooks {
	return swallow(func(_ *Link, p *Packet) bool {
		return p.Raw[0]>>4 != byte(codec.TypeConnect) && bytes.Contains(p.Raw, []byte(bad))
	})
}

// startsWith matches packets of the client by their first bytes.
func startsWith(first ...byte) func(*Link, *Packet) bool {
	return func(_ *Link, p *Packet) bool { return bytes.HasPrefix(p.Raw, first) }
}
