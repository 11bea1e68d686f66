package mutant

import (
	"bytes"
	"strings"
	"sync"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

// The account of the broker in the mutants about enhanced authentication.
const (
	ScramUser     = "mutant"
	ScramPassword = "an account of the mutants"
)

// withScram is a broker that offers SCRAM-SHA-256, and withProblems one that says why as well.
var (
	withScram    = broker.Config{AuthMethods: []broker.AuthMethod{broker.ScramSHA256(scramAccount)}}
	withProblems = broker.Config{AuthMethods: withScram.AuthMethods, AckProperties: true}
)

var scramCredentials = sync.OnceValue(func() broker.ScramCredentials {
	c, err := broker.NewScramCredentials(ScramPassword, 0)
	if err != nil {
		panic("mutant: " + err.Error())
	}
	return c
})

func scramAccount(user string) (broker.ScramCredentials, bool) {
	return scramCredentials(), user == ScramUser
}

var authMutants = []Mutant{{
	Name: "auth/unknown-method-ignored", Versions: mqtt5, Rule: "MQTT-4.12.0-1",
	New: func() *Hooks {
		return &Hooks{Up: changeConnect(func(_ *Link, c *codec.Connect) bool {
			if !strings.HasPrefix(c.Props.Text(codec.PropAuthMethod), "no-such") {
				return false
			}
			c.Props.Remove(codec.PropAuthMethod)
			return true
		})}
	},
}, {
	Name: "auth/unknown-method-begun", Versions: mqtt5, Rule: "MQTT-4.12.0-1",
	Falls: []string{"P-3.1.2.11.9-auth-method-duplicate", "P-3.1.2.11.10-auth-data-duplicate"},
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if c, ok := p.Packet.(*codec.Connect); ok && strings.HasPrefix(c.Props.Text(codec.PropAuthMethod), "no-such") {
				p.Drop()
				a := &codec.Auth{Reason: codec.ContinueAuthentication}
				a.Props.SetText(codec.PropAuthMethod, c.Props.Text(codec.PropAuthMethod))
				l.PacketToClient(a)
			}
		}}
	},
}, {
	Name: "auth/asked-with-another-code", Versions: mqtt5, Rule: "MQTT-4.12.0-2",
	Broker: withScram,
	New: beforeConnack(func(_ *Link, raw *Packet, p *codec.Auth) {
		p.Reason = codec.Success
		raw.reencode(p, codec.V5)
	}),
}, {
	Name: "auth/wrong-proof-kept-open", Versions: mqtt5, Rule: "MQTT-4.12.0-4",
	Falls:  []string{"MQTT-3.2.2-7", "P-3.1.4-reject-codes"},
	Broker: withScram,
	New: func() *Hooks {
		return &Hooks{
			Down: func(l *Link, p *Packet) {
				if a, ok := p.Packet.(*codec.Connack); ok && a.Reason == codec.BadUserNameOrPassword {
					l.State["hold"] = true
				}
			},
			Gone: func(l *Link) bool { return l.State["hold"] != nil },
		}
	},
}, {
	Name: "auth/wrong-proof-accepted", Versions: mqtt5, Rule: "MQTT-4.12.0-4",
	Broker: withScram,
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Connack) {
		if p.Reason == codec.BadUserNameOrPassword {
			ack := &codec.Connack{}
			ack.Props.SetText(codec.PropAuthMethod, broker.ScramName)
			raw.reencode(ack, codec.V5)
		}
	}),
}, {
	Name: "auth/wrong-proof-answered-by-disconnect", Versions: mqtt5, Rule: "MQTT-4.12.0-4",
	Falls:  []string{"MQTT-3.14.0-1", "MQTT-3.2.0-1"},
	Broker: withScram,
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Connack) {
		if p.Reason == codec.BadUserNameOrPassword {
			raw.reencode(&codec.Disconnect{Reason: codec.NotAuthorized}, codec.V5)
		}
	}),
}, {
	Name: "auth/wrong-proof-closed-silently", Versions: mqtt5, Legal: "a CONNACK before the end is optional",
	Broker: withScram,
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Connack) {
		if p.Reason == codec.BadUserNameOrPassword {
			raw.Drop()
		}
	}),
}, {
	Name: "auth/method-left-out-of-connack", Versions: mqtt5, Rule: "MQTT-4.12.0-5",
	Broker: withScram,
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Connack) {
		p.Props.Remove(codec.PropAuthMethod)
		raw.reencode(p, codec.V5)
	}),
}, {
	Name: "auth/another-method-in-auth", Versions: mqtt5, Rule: "MQTT-4.12.0-5",
	Broker: withScram,
	New: beforeConnack(func(_ *Link, raw *Packet, p *codec.Auth) {
		p.Props.SetText(codec.PropAuthMethod, "SCRAM-SHA-512")
		raw.reencode(p, codec.V5)
	}),
}, {
	Name: "auth/method-unasked", Versions: mqtt5, Rule: "MQTT-4.12.0-6",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Connack) {
		if p.Reason == codec.Success && !hasMethod(l) {
			p.Props.SetText(codec.PropAuthMethod, broker.ScramName)
			raw.reencode(p, codec.V5)
		}
	}),
}, {
	Name: "auth/auth-unasked", Versions: mqtt5, Rule: "MQTT-4.12.0-6",
	New: alterDown(func(l *Link, raw *Packet, p *codec.Pingresp) {
		if !hasMethod(l) {
			raw.Set(append(encode(method(codec.ContinueAuthentication), codec.V5), raw.Raw...)...)
		}
	}),
}, {
	Name: "auth/without-method-ignored", Versions: mqtt5, Rule: "MQTT-4.12.0-7",
	Falls: []string{"P-3.15-auth-without-method"},
	New:   swallow(func(l *Link, p *Packet) bool { return p.Raw[0] == 0xF0 && l.Connect != nil && !hasMethod(l) }),
}, {
	Name: "auth/without-method-answered", Versions: mqtt5, Rule: "P-3.15-auth-without-method",
	Falls: []string{"MQTT-4.12.0-7", "MQTT-4.12.0-6"},
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if p.Raw[0] == 0xF0 && l.Connect != nil && !hasMethod(l) {
				p.Drop()
				l.PacketToClient(method(codec.Success))
			}
		}}
	},
}, {
	Name: "auth/reserved-flag-ignored", Versions: mqtt5, Rule: "MQTT-3.15.1-1",
	Falls: []string{"MQTT-2.1.3-1"},
	New:   swallow(startsWith(0xF1)),
}, {
	Name: "auth/reserved-flag-ignored-in-reauthentication", Versions: mqtt5, Rule: "MQTT-3.15.1-1",
	Broker: withScram,
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if p.Raw[0] == 0xF8 && hasMethod(l) {
				p.Set(append([]byte{0xF0}, p.Raw[1:]...)...)
			}
		}}
	},
}, {
	Name: "auth/code-of-the-client-sent", Versions: mqtt5, Rule: "MQTT-3.15.2-1",
	Falls:  []string{"P-4.12-reauth-flow"},
	Broker: withScram,
	New: alterDown(func(_ *Link, raw *Packet, p *codec.Auth) {
		if p.Reason == codec.Success {
			raw.Raw[bytes.IndexByte(raw.Raw[1:], 0)+1] = byte(codec.ReAuthenticate)
		}
	}),
}, {
	Name: "auth/code-2-ignored", Versions: mqtt5, Rule: "MQTT-3.15.2-1",
	Broker: withScram,
	New:    swallow(func(l *Link, p *Packet) bool { return authCode(p.Raw) == 2 }),
}, {
	Name: "auth/code-0-of-the-client-ignored", Versions: mqtt5, Rule: "MQTT-3.15.2-1",
	Broker: withScram,
	New:    swallow(func(l *Link, p *Packet) bool { return hasMethod(l) && authCode(p.Raw) == 0 && len(p.Raw) > 2 }),
}, {
	Name: "auth/method-changed", Versions: mqtt5, Rule: "MQTT-4.12.1-1",
	Falls:  []string{"MQTT-4.12.0-5"},
	Broker: withScram,
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if a, ok := p.Packet.(*codec.Auth); ok && hasMethod(l) && strings.HasSuffix(a.Props.Text(codec.PropAuthMethod), "-PLUS") {
				a.Props.SetText(codec.PropAuthMethod, broker.ScramName)
				p.Encode(a, codec.V5)
			}
		}}
	},
}, {
	Name: "auth/failed-reauthentication-survived", Versions: mqtt5, Rule: "MQTT-4.12.1-2",
	Broker: withScram,
	New: onReauthentication(func(l *Link, p *Packet) {
		if _, ok := p.Packet.(*codec.Disconnect); ok {
			p.Drop()
			l.State["hold"] = true
		}
	}),
}, {
	Name: "auth/failed-reauthentication-closed-silently", Versions: mqtt5, Legal: "a DISCONNECT before the end is only recommended",
	Broker: withScram,
	New: onReauthentication(func(_ *Link, p *Packet) {
		if _, ok := p.Packet.(*codec.Disconnect); ok {
			p.Drop()
		}
	}),
}, {
	Name: "auth/reauthentication-unanswered", Versions: mqtt5, Rule: "P-4.12-reauth-flow",
	Broker: withScram,
	New: onReauthentication(func(_ *Link, p *Packet) {
		if _, ok := p.Packet.(*codec.Auth); ok {
			p.Drop()
		}
	}),
}, {
	Name: "auth/reauthentication-stops-traffic", Versions: mqtt5, Rule: "P-4.12-reauth-flow",
	Broker: withScram,
	New: onReauthentication(func(_ *Link, p *Packet) {
		if _, ok := p.Packet.(*codec.Puback); ok {
			p.Drop()
		}
	}),
}, {
	Name: "auth/method-missing-tolerated", Versions: mqtt5, Rule: "P-3.15.2.2.2-method-missing",
	Broker: withScram,
	New: repairAuth("P-3.15.2.2.2-method-missing", func(a *codec.Auth) {
		a.Props.Remove(codec.PropAuthMethod)
		a.Props.SetText(codec.PropAuthMethod, broker.ScramName)
	}),
}, {
	Name: "auth/data-twice-tolerated", Versions: mqtt5, Rule: "P-3.15.2.2.3-data-duplicate", Warn: true,
	Broker: withScram,
	New: repairAuth("P-3.15.2.2.3-data-duplicate", func(a *codec.Auth) {
		data := bytes.Clone(a.Props.Bytes(codec.PropAuthData))
		a.Props.Remove(codec.PropAuthData)
		a.Props.Remove(codec.PropReasonString)
		a.Props.SetBytes(codec.PropAuthData, data)
	}),
}, {
	Name: "auth/method-twice-in-connect-tolerated", Versions: mqtt5, Rule: "P-3.1.2.11.9-auth-method-duplicate",
	Broker: withScram,
	New: repairLogin(func(c *codec.Connect) bool {
		twice := countOf(&c.Props, codec.PropAuthMethod) > 1
		c.Props.SetText(codec.PropAuthMethod, c.Props.Text(codec.PropAuthMethod))
		return twice
	}),
}, {
	Name: "auth/data-twice-in-connect-tolerated", Versions: mqtt5, Rule: "P-3.1.2.11.10-auth-data-duplicate",
	Broker: withScram,
	New: repairLogin(func(c *codec.Connect) bool {
		twice := countOf(&c.Props, codec.PropAuthData) > 1
		c.Props.SetBytes(codec.PropAuthData, bytes.Clone(c.Props.Bytes(codec.PropAuthData)))
		return twice
	}),
}, {
	Name: "auth/reason-string-too-long", Versions: mqtt5, Rule: "MQTT-3.15.2-2",
	Falls:  []string{"MQTT-3.1.2-24"},
	Broker: withProblems,
	New: alterDown(func(l *Link, raw *Packet, p *codec.Auth) {
		if limit := smallLimit(l); limit > 0 {
			p.Props.Remove(codec.PropUserProperty)
			p.Props.SetText(codec.PropReasonString, strings.Repeat("~", limit))
			raw.reencode(p, codec.V5)
		}
	}),
}, {
	Name: "auth/user-property-too-long", Versions: mqtt5, Rule: "MQTT-3.15.2-3",
	Falls:  []string{"MQTT-3.1.2-24"},
	Broker: withProblems,
	New: alterDown(func(l *Link, raw *Packet, p *codec.Auth) {
		if limit := smallLimit(l); limit > 0 {
			p.Props.Remove(codec.PropReasonString)
			p.Props.AddUser("filler", strings.Repeat("~", limit))
			raw.reencode(p, codec.V5)
		}
	}),
}, {
	Name: "auth/with-reasons", Versions: mqtt5, Legal: "AUTH may carry a Reason String and User Properties",
	Broker: withProblems, New: plainly,
}, {
	Name: "auth/another-step", Versions: mqtt5, Legal: "how many steps an exchange takes is the method's affair",
	Broker: withScram,
	// The proof is answered by one more question before it reaches the broker.
	New: func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			a, ok := p.Packet.(*codec.Auth)
			if !ok || a.Reason != codec.ContinueAuthentication || !hasMethod(l) || clientFaults(l, p.Raw) != nil {
				return
			}
			if proof, ok := l.State["proof"].([]byte); ok {
				p.Raw = proof
				delete(l.State, "proof")
				return
			}
			l.State["proof"] = p.Raw
			p.Drop()
			l.PacketToClient(method(codec.ContinueAuthentication))
		}}
	},
}}

// hasMethod reports whether the client's CONNECT had an Authentication Method.
func hasMethod(l *Link) bool { return l.Connect != nil && l.Connect.Props.Has(codec.PropAuthMethod) }

// method returns an AUTH with the method of the broker.
func method(code codec.ReasonCode) *codec.Auth {
	a := &codec.Auth{Reason: code}
	a.Props.SetText(codec.PropAuthMethod, broker.ScramName)
	return a
}

// authCode returns the Reason Code of an AUTH, 0 where it is left out and -1 for other packets.
func authCode(raw []byte) int {
	if raw[0] != 0xF0 {
		return -1
	}
	if _, n := codec.Varint(raw[1:]); n > 0 && len(raw) > 1+n {
		return int(raw[1+n])
	}
	return 0
}

// beforeConnack lets f change each AUTH that the broker sends before CONNACK.
func beforeConnack(f func(l *Link, raw *Packet, p *codec.Auth)) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Down: func(l *Link, p *Packet) {
			switch q := p.Packet.(type) {
			case *codec.Connack:
				l.State["answered"] = true
			case *codec.Auth:
				if l.State["answered"] == nil {
					f(l, p, q)
				}
			}
		}}
	}
}

// onReauthentication lets f see what the broker sends once the client has asked for a
// re-authentication. Where f sets "hold", the client's connection outlives the broker's end.
func onReauthentication(f func(l *Link, p *Packet)) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if hasMethod(l) && authCode(p.Raw) == int(codec.ReAuthenticate) && clientFaults(l, p.Raw) == nil &&
				!strings.HasSuffix(p.Packet.(*codec.Auth).Props.Text(codec.PropAuthMethod), "-PLUS") {
				l.State["again"] = true
			}
		}, Down: func(l *Link, p *Packet) {
			if l.State["again"] != nil {
				f(l, p)
			}
		}, Gone: func(l *Link) bool { return l.State["hold"] != nil }}
	}
}

// repairAuth mends each AUTH of a client with a method that breaks the rule.
func repairAuth(rule string, mend func(*codec.Auth)) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			a, ok := p.Packet.(*codec.Auth)
			if !ok || !hasMethod(l) || a.Reason != codec.ContinueAuthentication || !breaksRule(l, p.Raw, rule) {
				return
			}
			mend(a)
			p.Encode(a, codec.V5)
		}}
	}
}

// repairLogin lets f mend each CONNECT that begins an exchange.
func repairLogin(f func(*codec.Connect) bool) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: repairConnect(func(_ *Link, c *codec.Connect) bool {
			return c.Props.Text(codec.PropAuthMethod) == broker.ScramName && f(c)
		})}
	}
}

// countOf counts how often a property stands.
func countOf(props *codec.Properties, id codec.PropID) int {
	n := 0
	for pr, ok := range props.All() {
		if ok && pr.ID == id {
			n++
		}
	}
	return n
}
