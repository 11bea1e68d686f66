package mutant

import "github.com/mqlab/mqlab/codec"

// neverExpires hides a short Message Expiry Interval from the broker.
func neverExpires(retained bool) func() *Hooks {
	return upPublish(func(l *Link, raw *Packet, p *codec.Publish) {
		if s := p.Props.Uint(codec.PropMessageExpiry, 0); s > 0 && s < 10 && p.Retain == retained {
			p.Props.Remove(codec.PropMessageExpiry)
			raw.Encode(p, l.Version)
		}
	})
}

var expiryMutants = []Mutant{{
	Name: "expiry/queued-message-stays", Versions: mqtt5, Rule: "MQTT-3.3.2-5",
	Falls: []string{"P-3.1.3.2.4-will-message-expiry-used"},
	New:   neverExpires(false),
}, {
	Name: "expiry/retained-message-stays", Versions: mqtt5, Rule: "P-3.3.1.3-retained-expiry",
	New: neverExpires(true),
}, {
	Name: "expiry/not-counted-down", Versions: mqtt5, Rule: "MQTT-3.3.2-6",
	New: alterProps(func(props *codec.Properties) {
		if s := props.Uint(codec.PropMessageExpiry, 0); s > 50 && s < 60 {
			props.SetUint(codec.PropMessageExpiry, 60)
		}
	}),
}, {
	Name: "expiry/left-out", Versions: mqtt5, Rule: "MQTT-3.3.2-6",
	Falls: []string{"P-3.1.3.2.4-will-message-expiry-used"},
	New:   alterProps(func(props *codec.Properties) { props.Remove(codec.PropMessageExpiry) }),
}, {
	Name: "expiry/rounded-down", Versions: mqtt5,
	Legal: "a server may count the time that a message waited in whole seconds",
	New: alterProps(func(props *codec.Properties) {
		if s := props.Uint(codec.PropMessageExpiry, 0); s > 1 {
			props.SetUint(codec.PropMessageExpiry, s-1)
		}
	}),
}}
