package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// Login is what a Client says of itself in CONNECT.
type Login struct {
	ClientID    string
	Username    string
	Password    []byte
	HasUsername bool
	HasPassword bool
	Version     codec.Version
	Remote      net.Addr
	TLS         *tls.ConnectionState // nil without TLS
}

// Authenticator judges a Login: nil admits it. An error refuses it with the Reason Code of the
// RefusedError or sentinel in it, by default 0x87 (Not authorized). It may block; the
// connection is not read meanwhile. It is called concurrently.
type Authenticator func(ctx context.Context, l Login) error

// ErrBadCredentials refuses a Login with Reason Code 0x86, in 3.1.1 return code 4.
var ErrBadCredentials = &RefusedError{Reason: codec.BadUserNameOrPassword, Msg: "user name or password is wrong"}

// ErrNotAuthorized refuses a Login with Reason Code 0x87, in 3.1.1 return code 5.
var ErrNotAuthorized = &RefusedError{Reason: codec.NotAuthorized, Msg: "the client is not authorized to connect"}

// RefusedError refuses a Login with a Reason Code of CONNACK. Msg is sent to version 5 Clients.
type RefusedError struct {
	Reason codec.ReasonCode
	Msg    string
}

// Error returns the message.
func (e *RefusedError) Error() string { return e.Msg }

// Action is what a Client wants to do with a topic.
type Action uint8

// The actions.
const (
	Publish Action = iota + 1
	Subscribe
)

// String returns "publish" or "subscribe".
func (a Action) String() string {
	if a == Subscribe {
		return "subscribe"
	}
	return "publish"
}

// Access is one request that an Authorizer judges.
type Access struct {
	ClientID string
	Username string
	Action   Action
	Topic    string // a Topic Name, or the Topic Filter of a Subscription as it was sent
	QoS      codec.QoS
	Retain   bool
}

// Authorizer reports whether a request is allowed. The Topic is valid during the call only. It
// is called concurrently, for every PUBLISH, so it has to be quick.
//
// A refused Subscription gets 0x87, before version 5 0x80. A refused PUBLISH gets 0x87 in
// version 5 and is acknowledged and dropped before that [MQTT-3.3.5-2].
type Authorizer func(ctx context.Context, a Access) bool

// allowed asks the Authorizer, which is not nil.
func (b *Broker) allowed(c *conn, a Access) bool {
	a.ClientID, a.Username = c.sess.id, c.username
	return b.cfg.Authorize(context.Background(), a)
}

// loginFault turns what an Authenticator or AuthMethod returns into a refusal.
func loginFault(err error) *fault {
	var r *RefusedError
	if errors.As(err, &r) && r.Reason.AllowedIn(codec.TypeConnack, codec.Server) && r.Reason.Failed() {
		return &fault{reason: r.Reason, msg: r.Msg}
	}
	return &fault{reason: codec.NotAuthorized, msg: ErrNotAuthorized.Msg}
}

// AuthMethod is a method of enhanced authentication (4.12). It is used concurrently.
type AuthMethod interface {
	// Name is the Authentication Method as it stands in CONNECT, such as "SCRAM-SHA-256".
	Name() string
	// Begin starts the exchange of one connection, or its re-authentication.
	Begin(l Login) AuthExchange
}

// AuthExchange is one run of an AuthMethod. It belongs to one connection.
type AuthExchange interface {
	// Step takes the Client's Authentication Data and returns the Server's. done says that
	// the Client is authenticated. An error refuses it, see Authenticator.
	Step(ctx context.Context, data []byte) (reply []byte, done bool, err error)
	// Username returns the name that was authenticated, once done.
	Username() string
}

// exchange is the enhanced authentication of a connection.
type exchange struct {
	name    string
	account Login
	method  AuthMethod
	running AuthExchange // nil between authentications
}

// beginAuth starts the exchange that a CONNECT with an Authentication Method asks for.
func (c *conn) beginAuth(sc *scratch, data []byte) error {
	m := c.b.methods[c.login.method]
	c.auth = &exchange{name: c.login.method, method: m, account: c.login.account}
	c.auth.running = m.Begin(c.login.account)
	return c.stepAuth(sc, data)
}

// stepAuth takes the exchange one step further, before CONNACK or after it.
func (c *conn) stepAuth(sc *scratch, data []byte) error {
	x := c.auth
	reply, done, err := x.running.Step(context.Background(), data)
	if err != nil { // [MQTT-4.12.0-4] [MQTT-4.12.1-2]
		x.running = nil
		f := loginFault(err)
		if c.sess == nil {
			return c.refuse(sc, f)
		}
		if !f.reason.AllowedIn(codec.TypeDisconnect, codec.Server) {
			f.reason = codec.NotAuthorized
		}
		return f
	}
	if !done { // [MQTT-4.12.0-2]
		c.sendAuth(sc, codec.ContinueAuthentication, reply)
		return nil
	}
	user := x.running.Username()
	x.running = nil
	if c.sess != nil {
		c.username = user
		c.sendAuth(sc, codec.Success, reply)
		return nil
	}
	c.login.account.Username = user
	return c.admit(sc, c.login, reply)
}

// sendAuth appends an AUTH with the connection's method [MQTT-4.12.0-5].
func (c *conn) sendAuth(sc *scratch, reason codec.ReasonCode, data []byte) {
	a := codec.Auth{Reason: reason}
	a.Props.SetText(codec.PropAuthMethod, c.auth.name)
	if data != nil {
		a.Props.SetBytes(codec.PropAuthData, data)
	}
	c.send(sc, &a, &a.Props, "")
}

// beforeConnack processes a packet that comes while enhanced authentication goes on.
func (c *conn) beforeConnack(sc *scratch, p codec.Packet) error {
	switch p := p.(type) {
	case *codec.Auth:
		if err := c.judgeAuth(p, codec.ContinueAuthentication); err != nil {
			return c.refuse(sc, err)
		}
		return c.stepAuth(sc, append([]byte(nil), p.Props.Bytes(codec.PropAuthData)...))
	case *codec.Disconnect:
		return errLeft
	}
	return c.refuse(sc, &fault{reason: codec.ProtocolError, rule: "MQTT-3.1.2-30", msg: p.Type().String() + " before the authentication has ended"})
}

// reauth processes an AUTH after CONNACK: re-authentication (4.12.1).
func (c *conn) reauth(sc *scratch, p *codec.Auth) error {
	if c.auth == nil { // [MQTT-4.12.0-7]
		return &fault{reason: codec.ProtocolError, rule: "P-3.15-auth-without-method", msg: "AUTH on a connection without Authentication Method"}
	}
	if c.auth.running != nil {
		if err := c.judgeAuth(p, codec.ContinueAuthentication); err != nil {
			return err
		}
	} else {
		if err := c.judgeAuth(p, codec.ReAuthenticate); err != nil { // [MQTT-4.12.1-1]
			return err
		}
		c.auth.running = c.auth.method.Begin(c.auth.account)
	}
	return c.stepAuth(sc, append([]byte(nil), p.Props.Bytes(codec.PropAuthData)...))
}

// judgeAuth checks that an AUTH is the one that is due.
func (c *conn) judgeAuth(p *codec.Auth, due codec.ReasonCode) error {
	switch {
	case p.Props.Text(codec.PropAuthMethod) != c.auth.name: // [MQTT-4.12.0-5]
		return &fault{reason: codec.ProtocolError, rule: "MQTT-4.12.0-5", msg: "AUTH names another Authentication Method than CONNECT"}
	case p.Reason != due:
		return &fault{reason: codec.ProtocolError, rule: "MQTT-3.15.2-1", msg: "AUTH with reason " + p.Reason.String() + " is not due"}
	}
	return nil
}

// isSys reports whether a topic belongs to the Server's own statistics.
func isSys(name string) bool { return strings.HasPrefix(name, "$SYS/") || name == "$SYS" }
