package conformance

import (
	"encoding/binary"
	"fmt"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var authChecks = []Check{{
	Name:     "auth/unknown-method-refused",
	Rules:    []string{"MQTT-4.12.0-1"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Open()
		c.Send(t.ConnectPacket(withMethod(unknownMethod)))
		t.Judge().RefusesConnect(c)
	},
}, {
	Name:     "auth/none-unasked",
	Rules:    []string{"MQTT-4.12.0-6"},
	Versions: MQTT5,
	Run: func(t *T) {
		for _, edit := range []func(*codec.Connect){
			func(*codec.Connect) {},
			func(p *codec.Connect) {
				if !p.HasUsername {
					p.HasUsername, p.Username = true, "mqlab"
				}
			},
		} {
			c := t.Open()
			c.Send(t.ConnectPacket(edit))
			o := c.outcome()
			if o.ack != nil {
				t.Judge().That(!o.ack.Props.Has(codec.PropAuthMethod), "no Authentication Method in CONNACK, as CONNECT had none", o.describe(t.Version()))
			}
			if !o.accepted() {
				continue // whoever knows its users refuses ours
			}
			c.Subscribe(0, t.Topic("a"))
			c.Publish(t.Topic("a"), t.atMost(1), "x")
			t.Judge().Silent(c, "AUTH", ofType(codec.TypeAuth), c.Ping)
		}
		if len(t.findings) == 0 {
			t.Inconclusive("no CONNACK came")
		}
	},
}, {
	Name:     "auth/without-method-refused",
	Rules:    []string{"MQTT-4.12.0-7", "P-3.15-auth-without-method"},
	Breaks:   []string{"MQTT-4.12.0-7", "P-3.15-auth-without-method"},
	Versions: MQTT5,
	Run: func(t *T) {
		for _, rule := range t.check.Rules {
			var frames [][]byte
			for _, code := range []codec.ReasonCode{codec.ReAuthenticate, codec.ContinueAuthentication} {
				frames = append(frames, t.Encode(authPacket(code, "method-x", []byte("data"))))
			}
			t.Refuse(t.Judge(rule), frames, codec.ProtocolError, codec.BadAuthenticationMethod)
		}
	},
}, {
	Name:     "auth/reserved-flags-refused",
	Rules:    []string{"MQTT-3.15.1-1"},
	Breaks:   []string{"MQTT-3.15.1-1", "MQTT-4.12.0-7", "P-3.15-auth-without-method", "MQTT-2.1.3-1", "MQTT-3.15.2-1"},
	Versions: MQTT5,
	Run: func(t *T) {
		spoil := func(first byte, p *codec.Auth) []byte { return append([]byte{first}, t.Encode(p)[1:]...) }
		t.Refuse(t.Judge(), [][]byte{
			{0xF1, 0}, spoil(0xF8, authPacket(codec.ReAuthenticate, "method-x", []byte("data"))),
		}, codec.MalformedPacket, codec.ProtocolError)
		if t.speaksMethod() {
			l := t.authenticated()
			l.c.SendRaw(spoil(0xF8, authPacket(codec.ReAuthenticate, l.method, l.scram.first()))...)
			t.Judge().Refuses(l.c, nil, codec.MalformedPacket, codec.ProtocolError)
		}
	},
}, {
	Name:     "auth/exchange",
	Rules:    []string{"MQTT-4.12.0-5", "MQTT-4.12.0-2", "MQTT-3.15.2-1"},
	Versions: MQTT5,
	Needs:    CapAuthMethod,
	Run: func(t *T) {
		l := t.login()
		l.connect()
		connack := l.proceed()
		l.judgeSeen(true)
		if connack == nil || connack.Reason != codec.Success {
			t.Inconclusive("%s: the login was not accepted", l.c.Name())
		}
		l.seen = nil
		l.again()
		l.proceed()
		l.judgeSeen(false)
	},
}, {
	Name:     "auth/wrong-proof-refused",
	Rules:    []string{"MQTT-4.12.0-4"},
	Versions: MQTT5,
	Needs:    CapAuthMethod,
	Run: func(t *T) {
		l := t.login()
		l.scram.password += " is wrong"
		l.connect()
		if l.next() == nil {
			t.Inconclusive("%s: the exchange did not begin", l.c.Name())
		}
		l.reply()
		l.answerMore(nil)
		o := l.outcome()
		t.Judge().That(!o.accepted() && o.ended, "the connection ends, without CONNACK or after a CONNACK that refuses", o.describe(t.Version()))
		if o.ack == nil {
			t.Judge().Silent(l.c, "DISCONNECT before CONNACK", ofType(codec.TypeDisconnect), func() {})
		}
	},
}, {
	Name:     "auth/bad-codes-refused",
	Rules:    []string{"MQTT-3.15.2-1"},
	Breaks:   []string{"MQTT-3.15.2-1"},
	Versions: MQTT5,
	Needs:    CapAuthMethod,
	Run: func(t *T) {
		for _, code := range []byte{2, 0} {
			l := t.authenticated()
			l.scram = l.scram.anew()
			raw := t.Encode(authPacket(codec.ReAuthenticate, l.method, l.scram.first()))
			_, n := codec.Varint(raw[1:])
			raw[1+n] = code
			l.c.SendRaw(raw...)
			t.Judge().Refuses(l.c, nil, codec.ProtocolError, codec.MalformedPacket)
		}
	},
}, {
	Name:     "auth/other-method-refused",
	Rules:    []string{"MQTT-4.12.1-1"},
	Breaks:   []string{"MQTT-4.12.1-1", "MQTT-4.12.0-5", "P-3.15-auth-without-method"},
	Versions: MQTT5,
	Needs:    CapAuthMethod,
	Run: func(t *T) {
		l := t.authenticated()
		l.c.Send(authPacket(codec.ReAuthenticate, l.method+"-PLUS", l.scram.first()))
		t.Judge().Refuses(l.c, nil, codec.ProtocolError, codec.BadAuthenticationMethod)
	},
}, {
	Name:     "auth/reauthentication-failed",
	Rules:    []string{"MQTT-4.12.1-2"},
	Versions: MQTT5,
	Needs:    CapAuthMethod,
	Run: func(t *T) {
		reasons := []codec.ReasonCode{codec.NotAuthorized, codec.BadAuthenticationMethod, codec.ProtocolError, codec.BadUserNameOrPassword}
		l := t.authenticated()
		l.scram.password += " is wrong"
		l.again()
		if l.next() == nil {
			t.Inconclusive("%s: the exchange did not begin", l.c.Name())
		}
		l.reply()
		if !l.refused(nil, reasons) {
			return
		}
		garbage := []byte("no message of the method")
		l = t.authenticated()
		l.c.Send(authPacket(codec.ReAuthenticate, l.method, garbage))
		l.refused(garbage, reasons)
	},
}, {
	Name:     "auth/reauthentication",
	Rules:    []string{"P-4.12-reauth-flow"},
	Versions: MQTT5,
	Needs:    CapAuthMethod,
	Run: func(t *T) {
		l := t.authenticated()
		l.again()
		qos := t.atMost(1)
		p := &codec.Publish{Topic: t.Topic("a"), QoS: qos, Payload: []byte("meanwhile")}
		if qos > 0 {
			p.PacketID = 1
		}
		l.c.Send(p)
		l.c.Send(&codec.Pingreq{})
		for {
			what := "AUTH with code 0x00 or 0x18 and the same Authentication Method"
			e := t.Judge().Answer(l.c, what, ofType(codec.TypeAuth))
			a := e.Packet.(*codec.Auth)
			fits := (a.Reason == codec.Success || a.Reason == codec.ContinueAuthentication) && a.Props.Text(codec.PropAuthMethod) == l.method
			t.Judge().That(fits, what, codec.Describe(a, t.Version()))
			l.seen = append(l.seen, e)
			if a.Reason != codec.ContinueAuthentication || len(l.seen) > mostSteps {
				break
			}
			l.reply()
		}
		if qos > 0 {
			t.Judge().Answer(l.c, "PUBACK", ofType(codec.TypePuback))
		}
		t.Judge().Answer(l.c, "PINGRESP", ofType(codec.TypePingresp))
		t.Judge().StaysOpen(l.c)
	},
}, {
	Name:     "auth/without-method-in-exchange-refused",
	Rules:    []string{"P-3.15.2.2.2-method-missing"},
	Breaks:   []string{"P-3.15.2.2.2-method-missing", "MQTT-3.15.2-1"},
	Versions: MQTT5,
	Needs:    CapAuthMethod,
	Run: func(t *T) {
		t.brokenReply(t.Judge(), "AUTH without Authentication Method", func(_ *login, data []byte) []byte { return data })
		t.brokenReply(t.Judge(), "AUTH with two", func(l *login, data []byte) []byte {
			return append(doubled(textProperty(codec.PropAuthMethod, l.method)...), data...)
		})
		// Whether the short form may be used at all is told in two ways.
		l := t.login()
		l.connect()
		if l.next() == nil {
			t.Inconclusive("%s: the exchange did not begin", l.c.Name())
		}
		l.c.SendRaw(0xF0, 0)
		o := l.c.outcome()
		t.Judge().Note().That(!o.accepted() && o.ended, "the connection ends after F0 00", o.describe(t.Version()))
	},
}, {
	Name:     "auth/data-twice-refused",
	Rules:    []string{"P-3.15.2.2.3-data-duplicate"},
	Breaks:   []string{"P-3.15.2.2.3-data-duplicate"},
	Versions: MQTT5,
	Needs:    CapAuthMethod,
	Run: func(t *T) {
		method := func(l *login) []byte { return textProperty(codec.PropAuthMethod, l.method) }
		t.brokenReply(t.Judge().Warn(), "AUTH with Authentication Data twice", func(l *login, data []byte) []byte {
			return append(method(l), doubled(data...)...)
		})
		t.brokenReply(t.Judge().Warn(), "AUTH with Reason String twice", func(l *login, data []byte) []byte {
			return append(append(method(l), data...), doubled(textProperty(codec.PropReasonString, "why")...)...)
		})
	},
}, {
	Name:     "auth/method-twice-in-connect-refused",
	Rules:    []string{"P-3.1.2.11.9-auth-method-duplicate"},
	Breaks:   []string{"P-3.1.2.11.9-auth-method-duplicate"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.brokenLogin("Authentication Method twice", func(method, data []byte) []byte { return append(doubled(method...), data...) })
	},
}, {
	Name:     "auth/data-twice-in-connect-refused",
	Rules:    []string{"P-3.1.2.11.10-auth-data-duplicate"},
	Breaks:   []string{"P-3.1.2.11.10-auth-data-duplicate"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.brokenLogin("Authentication Data twice", func(method, data []byte) []byte { return append(method, doubled(data...)...) })
	},
}, {
	Name:     "auth/reason-string-fits",
	Rules:    []string{"MQTT-3.15.2-2"},
	Versions: MQTT5,
	Needs:    CapAuthMethod,
	Run:      func(t *T) { fittingAuths(t, codec.PropReasonString) },
}, {
	Name:     "auth/user-property-fits",
	Rules:    []string{"MQTT-3.15.2-3"},
	Versions: MQTT5,
	Needs:    CapAuthMethod,
	Run:      func(t *T) { fittingAuths(t, codec.PropUserProperty) },
}}

// authPacket returns an AUTH.
func authPacket(code codec.ReasonCode, method string, data []byte) *codec.Auth {
	a := &codec.Auth{Reason: code}
	a.Props.SetText(codec.PropAuthMethod, method)
	if data != nil {
		a.Props.SetBytes(codec.PropAuthData, data)
	}
	return a
}

// mostSteps bounds how often a target may ask for more in one exchange.
const mostSteps = 5

// login is one exchange of enhanced authentication, on the client's side.
type login struct {
	t      *T
	c      *Conn
	method string
	scram  *scramClient
	seen   []*peer.Event // AUTH and CONNACK packets of the target
}

// speaksMethod reports whether the target has a method that the suite speaks.
func (t *T) speaksMethod() bool { return scramHashes[t.Config().AuthMethod] != nil }

// login prepares an exchange with the target's method.
func (t *T) login() *login {
	cfg := t.Config()
	if !t.speaksMethod() {
		t.NotApplicable("the suite does not speak the Authentication Method %s: it knows SCRAM-SHA-1, SCRAM-SHA-256 and SCRAM-SHA-512", cfg.AuthMethod)
	}
	user, password := cfg.AuthUsername, cfg.AuthPassword
	if user == "" {
		user, password = cfg.Username, cfg.Password
	}
	client := newScramClient(cfg.AuthMethod, user, password)
	client.keys = &t.run.salted
	return &login{t: t, c: t.Open(), method: cfg.AuthMethod, scram: client}
}

// packet returns the CONNECT that begins the exchange. The method takes the place of user name and password.
func (l *login) packet(edits ...func(*codec.Connect)) *codec.Connect {
	return l.t.ConnectPacket(append([]func(*codec.Connect){func(p *codec.Connect) {
		p.HasUsername, p.Username, p.HasPassword, p.Password = false, "", false, nil
		p.Props.SetText(codec.PropAuthMethod, l.method)
		p.Props.SetBytes(codec.PropAuthData, l.scram.first())
	}}, edits...)...)
}

func (l *login) connect(edits ...func(*codec.Connect)) { l.c.Send(l.packet(edits...)) }

// again begins a re-authentication.
func (l *login) again() {
	l.scram = l.scram.anew()
	l.c.Send(authPacket(codec.ReAuthenticate, l.method, l.scram.first()))
}

// next waits for AUTH or CONNACK and returns the AUTH, nil where it is no AUTH.
func (l *login) next() *codec.Auth {
	e := l.c.Take(l.t.Timeout(), func(e *peer.Event) bool {
		return e.Packet != nil && (e.Packet.Type() == codec.TypeAuth || e.Packet.Type() == codec.TypeConnack)
	})
	if e == nil {
		return nil
	}
	l.seen = append(l.seen, e)
	a, _ := e.Packet.(*codec.Auth)
	return a
}

// proof returns the data that answers the first AUTH that was seen.
func (l *login) proof() []byte {
	a, ok := l.seen[0].Packet.(*codec.Auth)
	if !ok {
		l.t.Inconclusive("%s: the exchange ended before it began", l.c.Name())
	}
	data, err := l.scram.final(a.Props.Bytes(codec.PropAuthData))
	if err != nil {
		l.t.Inconclusive("%s: %v", l.c.Name(), err)
	}
	return data
}

// reply answers the latest AUTH: the first with the proof, others with nothing.
func (l *login) reply() {
	var data []byte
	if len(l.seen) == 1 {
		data = l.proof()
	}
	l.c.Send(authPacket(codec.ContinueAuthentication, l.method, data))
}

// proceed goes on until CONNACK, or until an AUTH says that it is over, and returns the CONNACK if
// one came. It answers an AUTH with a wrong code as if the code were right.
func (l *login) proceed() *codec.Connack {
	for range mostSteps {
		a := l.next()
		if a == nil || a.Reason == codec.Success && len(l.seen) > 1 {
			break
		}
		l.reply()
	}
	if len(l.seen) == 0 {
		l.t.Inconclusive("%s: neither AUTH nor CONNACK came", l.c.Name())
	}
	ack, _ := l.seen[len(l.seen)-1].Packet.(*codec.Connack)
	return ack
}

// answerMore answers further questions of the target with the data, until it asks no more.
func (l *login) answerMore(data []byte) {
	for range mostSteps {
		if a := l.next(); a == nil || a.Reason != codec.ContinueAuthentication {
			return
		}
		l.c.Send(authPacket(codec.ContinueAuthentication, l.method, data))
	}
}

// outcome is [Conn.outcome] for a login whose CONNACK may have been seen.
func (l *login) outcome() connectOutcome {
	for _, e := range l.seen {
		if ack, ok := e.Packet.(*codec.Connack); ok {
			o := connectOutcome{ack: ack, frame: e.Frame}
			if !o.accepted() {
				_, o.ended = l.c.AwaitClose(l.t.Timeout())
			}
			return o
		}
	}
	return l.c.outcome()
}

// refused judges that a re-authentication with wrong data ends the connection, whatever the target
// asks before that.
func (l *login) refused(data []byte, reasons []codec.ReasonCode) bool {
	l.answerMore(data)
	if n := len(l.seen); n > 0 {
		if a, ok := l.seen[n-1].Packet.(*codec.Auth); ok && a.Reason == codec.Success {
			return l.t.Judge().That(false, "the connection ends after wrong data", codec.Describe(a, l.t.Version()))
		}
	}
	return l.t.Judge().Refuses(l.c, nil, reasons...)
}

// authenticated returns a login that has succeeded. Another outcome makes the check inconclusive.
func (t *T) authenticated() *login {
	l := t.login()
	l.connect()
	ack := l.proceed()
	if ack == nil || ack.Reason != codec.Success {
		t.Inconclusive("%s: the login by %s was not accepted: %s", l.c.Name(), l.method, describeEvents(l.seen, t.Version()))
	}
	l.seen = nil
	return l
}

// judgeSeen judges method and codes of what the target sent, before CONNACK or after it.
func (l *login) judgeSeen(connecting bool) {
	t := l.t
	for _, e := range l.seen {
		got := codec.Describe(e.Packet, t.Version())
		expected := fmt.Sprintf("Authentication Method %q", l.method)
		switch p := e.Packet.(type) {
		case *codec.Connack:
			if p.Reason == codec.Success {
				t.Judge().That(p.Props.Text(codec.PropAuthMethod) == l.method, expected, got)
			}
		case *codec.Auth:
			t.Judge().That(p.Props.Text(codec.PropAuthMethod) == l.method, expected, got)
			if connecting {
				t.Judge("MQTT-4.12.0-2").That(p.Reason == codec.ContinueAuthentication, "AUTH with code 0x18 before CONNACK", got)
			}
			ok := p.Reason == codec.Success || p.Reason == codec.ContinueAuthentication
			t.Judge("MQTT-3.15.2-1").That(ok, "AUTH with code 0x00 or 0x18", got)
		}
	}
}

// brokenReply answers the first AUTH with the right proof in an AUTH whose properties are laid out
// by list, and judges that the exchange does not go on. data is the property with the proof.
func (t *T) brokenReply(x *Expectation, what string, list func(l *login, data []byte) []byte) {
	l := t.login()
	l.connect()
	if l.next() == nil {
		t.Inconclusive("%s: the exchange did not begin", l.c.Name())
	}
	props := list(l, binaryProperty(codec.PropAuthData, l.proof()))
	body := codec.AppendVarint([]byte{byte(codec.ContinueAuthentication)}, uint32(len(props)))
	l.c.SendRaw(connectFrame(0xF0, append(body, props...))...)
	x.goesNoFurther(l, what)
}

// goesNoFurther judges that the target ends the connection instead of completing the exchange.
func (x *Expectation) goesNoFurther(l *login, what string) {
	for range mostSteps {
		a := l.next()
		if a == nil || a.Reason != codec.ContinueAuthentication {
			break
		}
		l.reply()
	}
	accepted := false
	for _, e := range l.seen {
		if ack, ok := e.Packet.(*codec.Connack); ok && ack.Reason == codec.Success {
			accepted = true
		}
	}
	ended := false
	if !accepted {
		_, ended = l.c.AwaitClose(x.t.Timeout())
	}
	x.record(l.c, !accepted && ended, false, what+": the connection ends before a CONNACK that accepts",
		fmt.Sprintf("%s; connection ended: %v", describeEvents(l.seen, x.t.Version()), ended))
}

// brokenLogin sends a CONNECT whose Authentication Method and Data are laid out by list. Without a
// method of the target's it can only be refused for two reasons.
func (t *T) brokenLogin(what string, list func(method, data []byte) []byte) {
	if !t.speaksMethod() {
		refusesEach(t, t.Judge(), connectCase{what, func(b *connectBytes) {
			b.withProps(list(textProperty(codec.PropAuthMethod, unknownMethod), binaryProperty(codec.PropAuthData, []byte("x")))...)
		}})
		return
	}
	l := t.login()
	b := t.connectBytes()
	b.anonymous()
	b.withProps(list(textProperty(codec.PropAuthMethod, l.method), binaryProperty(codec.PropAuthData, l.scram.first()))...)
	l.c.SendRaw(b.encode()...)
	t.Judge().goesNoFurther(l, what)
}

func binaryProperty(id codec.PropID, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{byte(id)}, uint16(len(data))), data...)
}

// fittingAuths judges that no AUTH exceeds a Maximum Packet Size for the sake of the property.
// Only what a target sends where there is room for it can be missed where there is none.
func fittingAuths(t *T, id codec.PropID) {
	size := 0
	l := t.login()
	l.connect()
	l.proceed()
	for _, e := range l.seen {
		if a, ok := e.Packet.(*codec.Auth); ok && a.Props.Has(id) {
			size = max(size, len(e.Frame))
		}
	}
	if size == 0 {
		t.Inconclusive("the target puts no %s on AUTH", id)
	}
	size--
	l = t.login()
	l.connect(maximumPacketSize(size))
	a := l.next()
	expected := fmt.Sprintf("no %s in an AUTH of more than %d bytes", id, size)
	if a == nil {
		t.Judge().That(true, expected, "no AUTH at all")
		return
	}
	frame := l.seen[0].Frame
	t.Judge().Thatf(len(frame) <= size || !a.Props.Has(id), expected, "%d bytes: %s", len(frame), codec.Describe(a, t.Version()))
}
