package broker_test

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/codec"
)

func passwords(t *testing.T) *broker.Passwords {
	t.Helper()
	line, err := broker.HashPassword("ann", "secret", 10)
	if err != nil {
		t.Fatal(err)
	}
	p, err := broker.ReadPasswords(strings.NewReader("# accounts\n\n" + line + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPasswords(t *testing.T) {
	srv := newMem(t, broker.Config{Authenticate: passwords(t).Authenticate})
	tests := []struct {
		name, user, password string
		ok                   bool
	}{
		{"right", "ann", "secret", true},
		{"wrong password", "ann", "Secret", false},
		{"unknown user", "bob", "secret", false},
		{"none", "", "", false},
	}
	for _, tt := range tests {
		for _, v := range versions {
			t.Run(tt.name+" "+v.String(), func(t *testing.T) {
				c := newClient(t, srv.Mem(), v)
				c.send(&codec.Connect{
					ClientID: "c", CleanStart: true, Username: tt.user, Password: []byte(tt.password),
					HasUsername: tt.user != "", HasPassword: tt.user != "",
				})
				k := c.recv().(*codec.Connack)
				switch {
				case tt.ok && k.Reason != codec.Success:
					t.Errorf("refused: %v", k.Reason)
				case !tt.ok && v == codec.V5 && k.Reason != codec.BadUserNameOrPassword, !tt.ok && v < codec.V5 && k.Reason != codec.ReturnBadCredentials:
					t.Errorf("answer 0x%02X", uint8(k.Reason))
				case !tt.ok:
					c.closed() // [MQTT-3.1.4-2]
				}
			})
		}
	}
}

func TestReadPasswordsReportsAll(t *testing.T) {
	_, err := broker.ReadPasswords(strings.NewReader("nocolon\nu:$pbkdf2-sha256$0$AAAAAAAAAAAAAA$x\nv:plain\n"))
	if err == nil {
		t.Fatal("a damaged file is accepted")
	}
	for _, want := range []string{"line 1", "line 2", "line 3"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestAuthorize(t *testing.T) {
	srv := newMem(t, broker.Config{
		Authenticate: func(context.Context, broker.Login) error { return nil },
		Authorize: func(_ context.Context, a broker.Access) bool {
			return !strings.HasPrefix(a.Topic, "no/") && (a.Username == "ann" || a.Action == broker.Subscribe)
		},
	})
	login := func(v codec.Version, id, user string) *client {
		c, _ := connect(t, srv, v, &codec.Connect{ClientID: id, CleanStart: true, Username: user, HasUsername: true})
		return c
	}
	watch := login(codec.V5, "watch", "bob")
	watch.send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "#", QoS: 2}, {Filter: "no/x"}}})
	watch.expect(&codec.Suback{PacketID: 1, Reasons: []codec.ReasonCode{2, codec.NotAuthorized}})
	four := login(codec.V4, "four", "ann")
	four.send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "no/x"}, {Filter: "yes"}}})
	four.expect(&codec.Suback{PacketID: 1, Reasons: []codec.ReasonCode{codec.SubackFailure, 0}})
	four.send(text("no/x", "", 1, 1), text("no/x", "", 2, 2), text("no/x", "", 0, 0), &codec.Pubrel{PacketID: 2})
	four.expect(&codec.Puback{PacketID: 1}, &codec.Pubrec{PacketID: 2}, &codec.Pubcomp{PacketID: 2}) // [MQTT-3.3.5-2]
	five := login(codec.V5, "five", "ann")
	five.send(text("no/x", "", 1, 1), text("no/x", "", 2, 2), text("no/x", "", 0, 0))
	five.expect(&codec.Puback{PacketID: 1, Reason: codec.NotAuthorized}, &codec.Pubrec{PacketID: 2, Reason: codec.NotAuthorized})
	watch.fence()
	five.send(text("yes/x", "", 2, 2)) // [MQTT-4.3.3-9]
	watch.expect(text("yes/x", "", 2, 1))
	five.expect(&codec.Pubrec{PacketID: 2})
	if n := srv.Stats().Denied; n != 8 {
		t.Errorf("%d denied, want 8", n)
	}
	c := newClient(t, srv.Mem(), codec.V5)
	c.send(&codec.Connect{ClientID: "w", HasWill: true, Will: codec.Will{Topic: "no/w"}, Username: "ann", HasUsername: true})
	if k := c.recv().(*codec.Connack); k.Reason != codec.NotAuthorized {
		t.Errorf("a Will that may not be published: %v", k.Reason)
	}
}

// scramClient is the client's side of SCRAM-SHA-256, written from RFC 5802.
type scramClient struct{ user, password, nonce, first string }

func (s *scramClient) begin() []byte {
	s.first = "n=" + s.user + ",r=" + s.nonce
	return []byte("n,," + s.first)
}

func (s *scramClient) final(t *testing.T, challenge []byte) (msg []byte, verifier string) {
	t.Helper()
	var nonce, salt string
	var iterations int
	for _, f := range strings.Split(string(challenge), ",") {
		switch {
		case strings.HasPrefix(f, "r="):
			nonce = f[2:]
		case strings.HasPrefix(f, "s="):
			salt = f[2:]
		case strings.HasPrefix(f, "i="):
			_, _ = fmt.Sscan(f[2:], &iterations)
		}
	}
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil || !strings.HasPrefix(nonce, s.nonce) || iterations < 4096 {
		t.Fatalf("challenge %q", challenge)
	}
	salted, _ := pbkdf2.Key(sha256.New, s.password, raw, iterations, 32)
	sum := func(key []byte, text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	key := sum(salted, "Client Key")
	stored := sha256.Sum256(key)
	without := "c=biws,r=" + nonce
	auth := s.first + "," + string(challenge) + "," + without
	for i, b := range sum(stored[:], auth) {
		key[i] ^= b
	}
	return []byte(without + ",p=" + base64.StdEncoding.EncodeToString(key)),
		"v=" + base64.StdEncoding.EncodeToString(sum(sum(salted, "Server Key"), auth))
}

func authPacket(reason codec.ReasonCode, method string, data []byte) *codec.Auth {
	a := &codec.Auth{Reason: reason}
	a.Props.SetText(codec.PropAuthMethod, method)
	a.Props.SetBytes(codec.PropAuthData, data)
	return a
}

func scramServer(t *testing.T) *brokertest.Server {
	cred, err := broker.NewScramCredentials("pencil", 0)
	if err != nil {
		t.Fatal(err)
	}
	return newMem(t, broker.Config{
		Authenticate: func(context.Context, broker.Login) error { return broker.ErrNotAuthorized },
		AuthMethods: []broker.AuthMethod{broker.ScramSHA256(func(user string) (broker.ScramCredentials, bool) {
			return cred, user == "ann"
		})},
	})
}

func (s *scramClient) connect(c *client) {
	p := &codec.Connect{ClientID: "c"}
	p.Props.SetText(codec.PropAuthMethod, broker.ScramName)
	p.Props.SetBytes(codec.PropAuthData, s.begin())
	c.send(p)
}

func TestScram(t *testing.T) {
	srv := scramServer(t)
	c := newClient(t, srv.Mem(), codec.V5)
	s := &scramClient{user: "ann", password: "pencil", nonce: "abc"}
	s.connect(c)
	a := c.recv().(*codec.Auth)
	if a.Reason != codec.ContinueAuthentication || a.Props.Text(codec.PropAuthMethod) != broker.ScramName { // [MQTT-4.12.0-2] [MQTT-4.12.0-5]
		t.Fatalf("AUTH %v", a.Reason)
	}
	msg, verifier := s.final(t, a.Props.Bytes(codec.PropAuthData))
	c.send(authPacket(codec.ContinueAuthentication, broker.ScramName, msg))
	k := c.connack()
	if got := string(k.Props.Bytes(codec.PropAuthData)); got != verifier || k.Props.Text(codec.PropAuthMethod) != broker.ScramName {
		t.Errorf("verifier %q, want %q", got, verifier)
	}

	// Re-authentication: other packets go on meanwhile (P-4.12-reauth-flow).
	s = &scramClient{user: "ann", password: "pencil", nonce: "def"}
	c.send(authPacket(codec.ReAuthenticate, broker.ScramName, s.begin()))
	a = c.recv().(*codec.Auth)
	c.fence()
	msg, verifier = s.final(t, a.Props.Bytes(codec.PropAuthData))
	c.send(authPacket(codec.ContinueAuthentication, broker.ScramName, msg))
	a = c.recv().(*codec.Auth)
	if a.Reason != codec.Success || string(a.Props.Bytes(codec.PropAuthData)) != verifier {
		t.Errorf("AUTH %v %q", a.Reason, a.Props.Bytes(codec.PropAuthData))
	}
	c.fence()

	// A failed one ends the connection [MQTT-4.12.1-2].
	s = &scramClient{user: "ann", password: "wrong", nonce: "ghi"}
	c.send(authPacket(codec.ReAuthenticate, broker.ScramName, s.begin()))
	msg, _ = s.final(t, c.recv().(*codec.Auth).Props.Bytes(codec.PropAuthData))
	c.send(authPacket(codec.ContinueAuthentication, broker.ScramName, msg))
	c.closed(codec.NotAuthorized)
}

func TestScramRefused(t *testing.T) {
	tests := []struct {
		name   string
		user   string
		answer func(msg []byte) codec.Packet
		reason codec.ReasonCode
	}{
		{"wrong password", "ann", nil, codec.BadUserNameOrPassword},
		{"unknown user", "eve", nil, codec.BadUserNameOrPassword},
		{"garbage", "ann", func([]byte) codec.Packet {
			return authPacket(codec.ContinueAuthentication, broker.ScramName, []byte("x"))
		}, codec.NotAuthorized},
		{"other method", "ann", func(m []byte) codec.Packet { return authPacket(codec.ContinueAuthentication, "other", m) }, codec.ProtocolError},
		{"not due", "ann", func(m []byte) codec.Packet { return authPacket(codec.ReAuthenticate, broker.ScramName, m) }, codec.ProtocolError},
		{"MQTT-3.1.2-30", "ann", func([]byte) codec.Packet { return &codec.Pingreq{} }, codec.ProtocolError},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := scramServer(t)
			c := newClient(t, srv.Mem(), codec.V5)
			s := &scramClient{user: tt.user, password: "wrong", nonce: "abc"}
			s.connect(c)
			msg, _ := s.final(t, c.recv().(*codec.Auth).Props.Bytes(codec.PropAuthData))
			if tt.answer == nil {
				c.send(authPacket(codec.ContinueAuthentication, broker.ScramName, msg))
			} else {
				c.send(tt.answer(msg))
			}
			if k := c.recv().(*codec.Connack); k.Reason != tt.reason { // [MQTT-4.12.0-4]
				t.Errorf("CONNACK %v, want %v", k.Reason, tt.reason)
			}
			c.closed()
		})
	}
}

func TestAckProperties(t *testing.T) {
	for _, problem := range []uint32{0, 1} {
		t.Run(fmt.Sprint("request problem information ", problem), func(t *testing.T) {
			srv := newMem(t, broker.Config{AckProperties: true})
			p := &codec.Connect{ClientID: "c"}
			p.Props.SetUint(codec.PropRequestProblemInfo, problem)
			c, k := connect(t, srv, codec.V5, p)
			seen := map[codec.Type]bool{}
			look := func(p codec.Packet, props *codec.Properties, always bool) {
				seen[p.Type()] = true
				want := always || problem == 1 // [MQTT-3.1.2-29]
				if got := props.Has(codec.PropReasonString) && props.Has(codec.PropUserProperty); got != want {
					t.Errorf("%v: properties %v, want %v", p.Type(), got, want)
				}
			}
			look(k, &k.Props, true)
			c.send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "t", QoS: 2}}},
				text("t", "", 2, 1), text("none", "", 1, 2), &codec.Pubrec{PacketID: 1}, &codec.Pubrel{PacketID: 1},
				&codec.Unsubscribe{PacketID: 3, Filters: []string{"t"}}, &codec.Connect{ClientID: "c"})
			for {
				p, err := c.tryRecv(patience)
				if err != nil {
					break
				}
				switch p := p.(type) {
				case *codec.Suback:
					look(p, &p.Props, false)
				case *codec.Unsuback:
					look(p, &p.Props, false)
				case *codec.Puback:
					look(p, &p.Props, false)
				case *codec.Pubrec:
					look(p, &p.Props, false)
				case *codec.Pubrel:
					look(p, &p.Props, false)
				case *codec.Pubcomp:
					look(p, &p.Props, false)
				case *codec.Disconnect:
					look(p, &p.Props, true)
				}
			}
			want := map[codec.Type]bool{
				codec.TypeConnack: true, codec.TypeSuback: true, codec.TypeUnsuback: true, codec.TypePuback: true,
				codec.TypePubrec: true, codec.TypePubrel: true, codec.TypePubcomp: true, codec.TypeDisconnect: true,
			}
			if diff := cmp.Diff(want, seen); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{SysInterval: 10 * time.Second})
		c, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "c"})
		c.wait = time.Minute
		c.subscribe("$SYS/broker/clients/+", 0)
		want := map[string]string{"connected": "1", "total": "1", "accepted": "1", "slow": "0", "protocol errors": "0"}
		got := map[string]string{}
		for len(got) < len(want) {
			p := c.recv().(*codec.Publish)
			got[strings.TrimPrefix(p.Topic, "$SYS/broker/clients/")] = string(p.Payload)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
