package mutant

import (
	"bytes"
	"slices"

	"github.com/mqlab/mqlab/codec"
)

// alterProps lets f change the properties of messages to clients.
func alterProps(f func(props *codec.Properties)) func() *Hooks {
	return alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		before := p.Props.Clone()
		f(&p.Props)
		if !bytes.Equal(before.Raw(), p.Props.Raw()) {
			raw.Encode(p, l.Version)
		}
	})
}

// alterUser lets f change the User Properties of messages to clients.
func alterUser(f func(pairs [][2]string) [][2]string) func() *Hooks {
	return alterProps(func(props *codec.Properties) {
		var pairs [][2]string
		for name, value := range props.UserProperties() {
			pairs = append(pairs, [2]string{name, value})
		}
		if len(pairs) == 0 {
			return
		}
		pairs = f(pairs)
		props.Remove(codec.PropUserProperty)
		for _, u := range pairs {
			props.AddUser(u[0], u[1])
		}
	})
}

// passOn hides what is wrong with the properties of a PUBLISH from the broker and puts it back
// into the copies that subscribers get.
func passOn(match func(p *codec.Publish) bool) func() *Hooks {
	return func() *Hooks {
		faulty := map[string][]byte{}
		return &Hooks{Up: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && match(p) {
				faulty[p.Topic+"\x00"+string(p.Payload)] = bytes.Clone(p.Props.Raw())
				raw.Set(publishBytes(p, p.Topic, nil, l.Version)...)
			}
		}, Down: func(l *Link, raw *Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok {
				if props, ok := faulty[p.Topic+"\x00"+string(p.Payload)]; ok {
					raw.Set(publishBytes(p, p.Topic, props, l.Version)...)
				}
			}
		}}
	}
}

// illFormedText matches messages whose text property is not well-formed.
func illFormedText(id codec.PropID) func(p *codec.Publish) bool {
	return func(p *codec.Publish) bool {
		return p.Props.Has(id) && !codec.ValidString(string(p.Props.Bytes(id)))
	}
}

// undetected tolerates messages that match, for a warning.
func undetected(name, rule string, match func(p *codec.Publish) bool) Mutant {
	return Mutant{
		Name: "properties/" + name + "-undetected", Versions: mqtt5, Rule: rule, Warn: true,
		Falls: []string{"MQTT-4.13.1-1", "MQTT-1.5.4-1", "MQTT-1.5.4-2"},
		New:   tolerateMessage(func(_ *Link, p *codec.Publish) bool { return match(p) }),
	}
}

// passedOn passes the fault of messages that match on, which is a breach.
func passedOn(name, rule string, match func(p *codec.Publish) bool) Mutant {
	return Mutant{
		Name: "properties/" + name + "-passed-on", Versions: mqtt5, Rule: rule,
		Falls: []string{"MQTT-4.13.1-1", "MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-3.3.4-3", "MQTT-4.7.3-2", "P-3.3.4-foreign-subscription-identifier"},
		New:   passOn(match),
	}
}

func has(id codec.PropID) func(p *codec.Publish) bool {
	return func(p *codec.Publish) bool { return p.Props.Has(id) }
}

func repeated(id codec.PropID) func(p *codec.Publish) bool {
	return func(p *codec.Publish) bool { return twice(p, id) }
}

var publishPropertyMutants = []Mutant{{
	Name: "properties/payload-format-lost", Versions: mqtt5, Rule: "MQTT-3.3.2-4",
	New: alterProps(func(props *codec.Properties) {
		if props.Uint(codec.PropPayloadFormat, 0) == 1 {
			props.Remove(codec.PropPayloadFormat)
		}
	}),
}, {
	Name: "properties/payload-format-added", Versions: mqtt5, Rule: "MQTT-3.3.2-4",
	New: alterProps(func(props *codec.Properties) {
		if !props.Has(codec.PropPayloadFormat) {
			props.SetUint(codec.PropPayloadFormat, 0)
		}
	}),
}, {
	Name: "properties/payload-format-0-left-out", Versions: mqtt5,
	Legal: "Payload Format Indicator 0 means the same as none",
	New: alterProps(func(props *codec.Properties) {
		if props.Uint(codec.PropPayloadFormat, 1) == 0 {
			props.Remove(codec.PropPayloadFormat)
		}
	}),
}, {
	Name: "properties/response-topic-lost", Versions: mqtt5, Rule: "MQTT-3.3.2-15",
	Falls: []string{"MQTT-4.10-1"},
	New:   alterProps(func(props *codec.Properties) { props.Remove(codec.PropResponseTopic) }),
}, {
	Name: "properties/response-topic-altered", Versions: mqtt5, Rule: "MQTT-3.3.2-15",
	New: alterProps(func(props *codec.Properties) {
		if props.Has(codec.PropResponseTopic) {
			props.SetText(codec.PropResponseTopic, props.Text(codec.PropResponseTopic)+"/")
		}
	}),
}, {
	Name: "properties/empty-correlation-data-lost", Versions: mqtt5, Rule: "MQTT-3.3.2-16",
	New: alterProps(func(props *codec.Properties) {
		if len(props.Bytes(codec.PropCorrelationData)) == 0 {
			props.Remove(codec.PropCorrelationData)
		}
	}),
}, {
	Name: "properties/correlation-data-truncated", Versions: mqtt5, Rule: "MQTT-3.3.2-16",
	New: alterProps(func(props *codec.Properties) {
		if data := props.Bytes(codec.PropCorrelationData); len(data) > 512 {
			props.SetBytes(codec.PropCorrelationData, data[:512])
		}
	}),
}, {
	Name: "properties/user-properties-merged", Versions: mqtt5, Rule: "MQTT-3.3.2-17",
	Falls: []string{"MQTT-3.1.3-10"},
	New: alterUser(func(pairs [][2]string) [][2]string {
		var out [][2]string
		for _, u := range pairs {
			if !slices.Contains(out, u) {
				out = append(out, u)
			}
		}
		return out
	}),
}, {
	Name: "properties/user-properties-sorted", Versions: mqtt5, Rule: "MQTT-3.3.2-18",
	Falls: []string{"MQTT-3.1.3-10"},
	New: alterUser(func(pairs [][2]string) [][2]string {
		slices.SortStableFunc(pairs, func(a, b [2]string) int { return bytes.Compare([]byte(a[0]), []byte(b[0])) })
		return pairs
	}),
}, {
	Name: "properties/user-property-added", Versions: mqtt5,
	Legal: "the received User Properties stay as they are; what a server adds is its own",
	New: alterUser(func(pairs [][2]string) [][2]string {
		return append(pairs, [2]string{"server", "mutant"})
	}),
}, {
	Name: "properties/content-type-altered", Versions: mqtt5, Rule: "MQTT-3.3.2-20",
	New: alterProps(func(props *codec.Properties) {
		if text := props.Text(codec.PropContentType); text == "text/plain;x=1" {
			props.SetText(codec.PropContentType, "text/plain; x=1")
		}
	}),
}, {
	Name: "properties/payload-repaired", Versions: mqtt5, Rule: "P-3.3.2.3.2-payload-not-utf8",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Publish) {
		if string(p.Payload) == "\xFF\xFE" {
			p.Payload = []byte("\uFFFD\uFFFD")
			raw.Encode(p, l.Version)
		}
	}),
}, {
	Name: "properties/payload-refused", Versions: mqtt5,
	Legal: "a receiver may check a payload that is marked as UTF-8",
	New: upPublish(func(l *Link, raw *Packet, p *codec.Publish) {
		if string(p.Payload) == "\xFF\xFE" {
			raw.Drop()
			l.PacketToClient(&codec.Disconnect{Reason: codec.PayloadFormatInvalid})
			l.CloseBroker()
		}
	}),
}}

var publishFaultMutants = []Mutant{
	undetected("payload-format-twice", "P-3.3.2.3.2-payload-format-duplicate", repeated(codec.PropPayloadFormat)),
	undetected("message-expiry-twice", "P-3.3.2.3.3-message-expiry-duplicate", repeated(codec.PropMessageExpiry)),
	undetected("response-topic-twice", "P-3.3.2.3.5-response-topic-duplicate", repeated(codec.PropResponseTopic)),
	passedOn("response-topic-twice", "P-3.3.2.3.5-response-topic-duplicate", repeated(codec.PropResponseTopic)),
	undetected("correlation-data-twice", "P-3.3.2.3.6-correlation-duplicate", repeated(codec.PropCorrelationData)),
	passedOn("correlation-data-twice", "P-3.3.2.3.6-correlation-duplicate", repeated(codec.PropCorrelationData)),
	undetected("content-type-twice", "P-3.3.2.3.9-content-type-duplicate", repeated(codec.PropContentType)),
	passedOn("content-type-twice", "P-3.3.2.3.9-content-type-duplicate", repeated(codec.PropContentType)),
	undetected("payload-format-2", "P-3.3.2.3.2-payload-format-value", func(p *codec.Publish) bool {
		return p.Props.Uint(codec.PropPayloadFormat, 0) > 1
	}),
	undetected("response-topic-wildcard", "MQTT-3.3.2-14", func(p *codec.Publish) bool {
		return bytes.ContainsAny(p.Props.Bytes(codec.PropResponseTopic), "+#")
	}),
	undetected("subscription-identifier", "MQTT-3.3.4-6", has(codec.PropSubscriptionID)),
	passedOn("subscription-identifier", "MQTT-3.3.4-6", has(codec.PropSubscriptionID)),
	undetected("response-topic-not-utf8", "MQTT-3.3.2-13", illFormedText(codec.PropResponseTopic)),
	passedOn("response-topic-not-utf8", "MQTT-3.3.2-13", illFormedText(codec.PropResponseTopic)),
	undetected("content-type-not-utf8", "MQTT-3.3.2-19", illFormedText(codec.PropContentType)),
	passedOn("content-type-not-utf8", "MQTT-3.3.2-19", illFormedText(codec.PropContentType)),
}
