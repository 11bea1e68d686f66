package client

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// Authenticator is the client's side of an enhanced authentication (4.12). One exchange at a time uses it.
type Authenticator interface {
	// Method is the Authentication Method, such as "SCRAM-SHA-256".
	Method() string
	// Start begins an exchange and returns the Authentication Data of CONNECT, or of the AUTH that begins
	// a re-authentication.
	Start() ([]byte, error)
	// Continue answers the Server's Authentication Data. What it returns for the data of the packet that
	// ends the exchange is not sent; an error then says that the Server did not prove itself.
	Continue(data []byte) ([]byte, error)
}

func setAuth(p *codec.Properties, method string, data []byte) {
	p.SetText(codec.PropAuthMethod, method)
	if data != nil {
		p.SetBytes(codec.PropAuthData, data)
	}
}

// next answers an AUTH packet, or says what is wrong with it.
func (l *link) nextAuth(p *codec.Auth) (*codec.Auth, error) {
	a := l.c.cfg.Authenticator
	switch {
	case a == nil: // [MQTT-4.12.0-6]
		return nil, protocolError(codec.ProtocolError, "AUTH came, and no authentication was asked for")
	case p.Props.Text(codec.PropAuthMethod) != a.Method(): // [MQTT-4.12.0-5]
		return nil, protocolError(codec.ProtocolError, "AUTH has another Authentication Method than CONNECT")
	case p.Reason != codec.ContinueAuthentication:
		return nil, protocolError(codec.ProtocolError, "AUTH came with reason code 0x%02X", uint8(p.Reason))
	}
	data, err := a.Continue(p.Props.Bytes(codec.PropAuthData))
	if err != nil {
		return nil, fmt.Errorf("authenticate by %s: %w", a.Method(), err)
	}
	answer := &codec.Auth{Reason: codec.ContinueAuthentication}
	setAuth(&answer.Props, a.Method(), data)
	return answer, nil
}

// continueAuth goes on with the authentication of CONNECT.
func (l *link) continueAuth(p *codec.Auth) error {
	answer, err := l.nextAuth(p)
	if err != nil {
		return err
	}
	return l.writeNow(answer)
}

// Reauthenticate starts the authentication anew on the open connection (4.12.1) and does not wait for its
// outcome: a Server that is not convinced ends the connection.
func (c *Client) Reauthenticate(ctx context.Context) error {
	a := c.cfg.Authenticator
	if a == nil {
		return errors.New("authenticate again: there is no Config.Authenticator")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	data, err := a.Start()
	if err != nil {
		return fmt.Errorf("start authentication by %s: %w", a.Method(), err)
	}
	p := &codec.Auth{Reason: codec.ReAuthenticate}
	setAuth(&p.Props, a.Method(), data)
	c.mu.Lock()
	l := c.link
	if l == nil || l.closing {
		c.mu.Unlock()
		return ErrOffline
	}
	l.fifo.push(item{other: p})
	c.mu.Unlock()
	poke(l.wake)
	return nil
}

// reauthenticated takes an AUTH packet on an open connection.
func (l *link) reauthenticated(p *codec.Auth) error {
	a := l.c.cfg.Authenticator
	if a != nil && p.Reason == codec.Success && p.Props.Text(codec.PropAuthMethod) == a.Method() {
		if p.Props.Has(codec.PropAuthData) {
			if _, err := a.Continue(p.Props.Bytes(codec.PropAuthData)); err != nil {
				return fmt.Errorf("the server failed to prove itself by %s: %w", a.Method(), err)
			}
		}
		return nil
	}
	answer, err := l.nextAuth(p)
	if err != nil {
		return err
	}
	l.c.mu.Lock()
	l.fifo.push(item{other: answer})
	l.c.mu.Unlock()
	poke(l.wake)
	return nil
}

// maxIterations bounds the work that a Server can ask for.
const maxIterations = 1_000_000

// ScramSHA256 authenticates by SCRAM-SHA-256 (RFC 7677) and checks that the Server knows the password too. User
// name and password are taken byte by byte, without the SASLprep normalization, which leaves ASCII as it is.
func ScramSHA256(user, password string) Authenticator {
	return &scram{user: strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user), password: password}
}

type scram struct {
	user, password string
	bare           string // the first message without its header
	nonce          string
	server         []byte // what the server has to prove itself with
}

func (s *scram) Method() string { return "SCRAM-SHA-256" }

func (s *scram) Start() ([]byte, error) {
	s.nonce, s.server = rand.Text(), nil
	s.bare = "n=" + s.user + ",r=" + s.nonce
	return []byte("n,," + s.bare), nil
}

func (s *scram) Continue(data []byte) ([]byte, error) {
	fields := map[string]string{}
	for f := range strings.SplitSeq(string(data), ",") {
		name, value, _ := strings.Cut(f, "=")
		fields[name] = value
	}
	if s.server != nil {
		proof, err := base64.StdEncoding.DecodeString(fields["v"])
		if err != nil || !hmac.Equal(proof, s.server) {
			return nil, errors.New("the server does not know the password")
		}
		return nil, nil
	}
	salt, err := base64.StdEncoding.DecodeString(fields["s"])
	n, nerr := strconv.Atoi(fields["i"])
	nonce := fields["r"]
	if err != nil || nerr != nil || n < 1 || n > maxIterations || len(nonce) <= len(s.nonce) || !strings.HasPrefix(nonce, s.nonce) {
		return nil, errors.New("the server's first SCRAM message is not acceptable")
	}
	salted, err := pbkdf2.Key(sha256.New, s.password, salt, n, sha256.Size)
	if err != nil {
		return nil, err
	}
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	final := "c=biws,r=" + nonce // biws is "n,,"
	all := s.bare + "," + string(data) + "," + final
	key := mac(salted, "Client Key")
	stored := sha256.Sum256(key)
	for i, b := range mac(stored[:], all) {
		key[i] ^= b
	}
	s.server = mac(mac(salted, "Server Key"), all)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(key)), nil
}
