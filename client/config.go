package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	mrand "math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
	"github.com/mqlab/mqlab/internal/transport"
)

// Forever is a Session Expiry Interval that never passes.
const Forever time.Duration = math.MaxInt64

// Config says who the client is and how much it holds. The zero value connects with version 5, an
// identifier that the Server assigns, a session that ends with the client, and the defaults named here.
type Config struct {
	// Version of the protocol. Default: codec.V5.
	Version codec.Version
	// ClientID is the Client Identifier. Where it is empty the Server assigns one, or, where the version has
	// no such thing or a session is to outlive the connection, a random one is used.
	ClientID string

	// Username and Password log in; they take the place of those in the address. A nil Password is none.
	Username string
	Password []byte
	// Authenticator runs an enhanced authentication (version 5).
	Authenticator Authenticator
	// TLS is for mqtts and wss; nil trusts the system's authorities.
	TLS *tls.Config
	// Dial replaces the way a connection is opened. The address is then for people only.
	Dial func(ctx context.Context) (net.Conn, error)
	// ConnectTimeout bounds opening a connection up to CONNACK. Default: 30 s.
	ConnectTimeout time.Duration

	// Will is the message that the Server publishes when the client is gone without a word.
	Will *codec.Will
	// KeepAlive is the longest silence on the connection, in whole seconds. A Server of version 5 may
	// overrule it. Default: 30 s; negative: none.
	KeepAlive time.Duration
	// PingTimeout is how long nothing may arrive after a PINGREQ before the connection counts as dead.
	// Default: the Keep Alive, at most 10 s.
	PingTimeout time.Duration

	// CleanStart makes the Server forget an earlier session at the first connection.
	CleanStart bool
	// SessionExpiry is how long the Server keeps the session while the client is away: 0 not at all,
	// Forever without end. Before version 5 anything but 0 is without end. Default with a Store: 7 days.
	SessionExpiry time.Duration
	// Store keeps the session through a crash of this process. It is the caller's to close, after the client.
	Store Store

	// ReceiveMaximum bounds the QoS 1 and 2 messages that the Server may send unacknowledged (version 5).
	// Default: 512.
	ReceiveMaximum uint16
	// MaximumPacketSize bounds a packet from the Server, in bytes. Default: the protocol's own limit.
	MaximumPacketSize uint32
	// TopicAliasMaximum is the highest Topic Alias that the Server may use (version 5). Default: 16;
	// negative: none.
	TopicAliasMaximum int
	// NoTopicAliases keeps the client from using Topic Aliases that the Server offers.
	NoTopicAliases bool
	// UserProperties and RequestResponseInfo are sent with CONNECT (version 5).
	UserProperties      []UserProperty
	RequestResponseInfo bool

	// Queue bounds what is accepted at QoS 1 and 2 and not acknowledged, online and offline.
	// Default: 10,000 messages and 64 MiB.
	Queue Bound
	// MaxInflight bounds how many of them are on their way at a time, together with the Server's Receive
	// Maximum. Default: 1,024.
	MaxInflight uint16
	// Inbound bounds the messages that wait for handlers; when it is reached nothing more is read from the
	// connection. Default: 1,024 messages and 4 MiB.
	Inbound Bound
	// ManualAck leaves acknowledging QoS 1 and 2 to Message.Ack. Otherwise a message is acknowledged when its
	// handler has returned, or a receiver has taken it from Messages.
	ManualAck bool

	// Reconnect says when a lost connection is made again. The zero value tries for ever.
	Reconnect Reconnect
	// Offline lets Connect return before there is a connection.
	Offline bool

	// Handler takes messages that no Subscribe's handler takes, among them those of a session that goes on
	// from an earlier process.
	Handler Handler
	// OnConnect is called after each accepted connection, OnDisconnect after it has ended, OnError for
	// what no call returns: a failed attempt, a subscription that could not be renewed. They run one after
	// the other and may use the client, but must not end it.
	OnConnect    func(c *Client, s Session)
	OnDisconnect func(c *Client, err error)
	OnError      func(err error)
	// Logger receives what an operator wants to know. nil is silent.
	Logger *slog.Logger

	generated bool // the ClientID is of our making
}

// Bound is a limit on messages that wait. A field of 0 is its default.
type Bound struct {
	Messages int
	Bytes    int
}

func (b Bound) or(messages, bytes int) Bound {
	if b.Messages == 0 {
		b.Messages = messages
	}
	if b.Bytes == 0 {
		b.Bytes = bytes
	}
	return b
}

// UserProperty is one name and value of version 5.
type UserProperty struct{ Name, Value string }

// Session is what a Server said in accepting a connection.
type Session struct {
	Present  bool   // the session goes on
	ClientID string // as assigned or asked for
	Props    codec.Properties
}

// Reconnect is when a lost connection is made again: after Min at first, each time Factor times later up
// to Max, and of that a random part, so that clients that lost one Server do not come back in step.
type Reconnect struct {
	Min    time.Duration // default: 500 ms
	Max    time.Duration // default: 1 min
	Factor float64       // default: 2
	// Jitter is the part of the delay that is random, from 0 to 1. Default: 0.5; negative: none.
	Jitter float64
	// Stable is how long a connection lasts before the next delay is Min again. Default: 10 s.
	Stable time.Duration
	// Attempts bounds the attempts after one loss. Default: no bound.
	Attempts int
	// Off ends the client with its first connection.
	Off bool
	// Rand returns a random number in [0,1). nil is the system's.
	Rand func() float64
}

// delay is how long to wait before the attempt.
func (r *Reconnect) delay(attempt int) time.Duration {
	d := float64(r.Min) * math.Pow(r.Factor, float64(attempt))
	d = math.Min(d, float64(r.Max))
	return time.Duration(d * (1 - r.Jitter*r.Rand()))
}

func (r *Reconnect) prepare() {
	if r.Min == 0 {
		r.Min = 500 * time.Millisecond
	}
	if r.Max == 0 {
		r.Max = max(time.Minute, r.Min)
	}
	if r.Factor == 0 {
		r.Factor = 2
	}
	switch {
	case r.Jitter == 0:
		r.Jitter = 0.5
	case r.Jitter < 0:
		r.Jitter = 0
	}
	if r.Stable == 0 {
		r.Stable = 10 * time.Second
	}
	if r.Rand == nil {
		r.Rand = mrand.Float64
	}
}

// Validate reports all problems of the configuration, each by the path of its field.
func (cfg *Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	v := cfg.Version
	switch v {
	case 0, codec.V31, codec.V4, codec.V5:
	default:
		bad("Version", "%d is not 3, 4 or 5", v)
	}
	if !codec.ValidString(cfg.ClientID) {
		bad("ClientID", "%q is not a string that MQTT can carry", cfg.ClientID)
	}
	if v == codec.V31 && len(cfg.ClientID) > 23 {
		bad("ClientID", "MQTT 3.1 allows 23 bytes, and it has %d", len(cfg.ClientID))
	}
	if !codec.ValidString(cfg.Username) {
		bad("Username", "it is not a string that MQTT can carry")
	}
	if len(cfg.Password) > codec.MaxStringLen {
		bad("Password", "%d bytes are more than the 65,535 that MQTT can carry", len(cfg.Password))
	}
	before5 := v == codec.V31 || v == codec.V4
	if before5 && cfg.Password != nil && cfg.Username == "" {
		bad("Password", "before version 5 it needs a Username")
	}
	if before5 && cfg.Authenticator != nil {
		bad("Authenticator", "enhanced authentication needs version 5")
	}
	if cfg.KeepAlive > 65535*time.Second {
		bad("KeepAlive", "%s is more than 65,535 seconds", cfg.KeepAlive)
	}
	if cfg.SessionExpiry < 0 {
		bad("SessionExpiry", "%s is negative", cfg.SessionExpiry)
	}
	if cfg.TopicAliasMaximum > 65535 {
		bad("TopicAliasMaximum", "%d is above 65,535", cfg.TopicAliasMaximum)
	}
	if cfg.MaximumPacketSize > codec.MaxPacketSize {
		bad("MaximumPacketSize", "%d is more than the %d that the protocol allows", cfg.MaximumPacketSize, codec.MaxPacketSize)
	}
	for name, b := range map[string]Bound{"Queue": cfg.Queue, "Inbound": cfg.Inbound} {
		if b.Messages < 0 || b.Bytes < 0 {
			bad(name, "a bound cannot be negative")
		}
	}
	if r := cfg.Reconnect; r.Min < 0 || r.Max < 0 || r.Jitter > 1 || r.Factor < 0 || r.Factor > 0 && r.Factor < 1 || r.Max > 0 && r.Max < r.Min {
		bad("Reconnect", "delays cannot be negative or shrink, and Jitter is at most 1")
	}
	if w := cfg.Will; w != nil {
		if err := topic.CheckName(w.Topic, cfg.version()); err != nil {
			bad("Will.Topic", "%v", err)
		}
		if w.QoS > 2 {
			bad("Will.QoS", "%d is not 0, 1 or 2", w.QoS)
		}
		if len(w.Payload) > codec.MaxStringLen {
			bad("Will.Payload", "%d bytes are more than the 65,535 that a Will can carry", len(w.Payload))
		}
	}
	return errors.Join(errs...)
}

func (cfg *Config) version() codec.Version {
	if cfg.Version == 0 {
		return codec.V5
	}
	return cfg.Version
}

// prepare validates and fills in the defaults.
func (cfg *Config) prepare(url string) error {
	if cfg.Dial == nil {
		t, err := transport.Parse(url)
		if err != nil {
			return err
		}
		if cfg.Username == "" {
			cfg.Username = t.Username
			if cfg.Password == nil && t.HasPassword {
				cfg.Password = []byte(t.Password)
			}
		}
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("client configuration: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	cfg.Version = cfg.version()
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = 30 * time.Second
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 30 * time.Second
	}
	if cfg.Store != nil && cfg.SessionExpiry == 0 {
		cfg.SessionExpiry = 7 * 24 * time.Hour
	}
	if cfg.ClientID == "" && (cfg.Version == codec.V31 || cfg.Version == codec.V4 && cfg.SessionExpiry > 0) {
		cfg.ClientID, cfg.generated = "mqlab"+rand.Text()[:16], true
	}
	if cfg.ReceiveMaximum == 0 {
		cfg.ReceiveMaximum = 512
	}
	if cfg.TopicAliasMaximum == 0 {
		cfg.TopicAliasMaximum = 16
	}
	if cfg.MaxInflight == 0 {
		cfg.MaxInflight = 1024
	}
	cfg.Queue = cfg.Queue.or(10_000, 64<<20)
	cfg.Inbound = cfg.Inbound.or(1024, 4<<20)
	cfg.Reconnect.prepare()
	return nil
}

func (cfg *Config) log(msg string, args ...any) {
	if cfg.Logger != nil {
		cfg.Logger.Info(msg, args...)
	}
}

// persistent tells whether a session is to outlive a connection.
func (cfg *Config) persistent() bool { return cfg.SessionExpiry > 0 }

// expirySeconds is the Session Expiry Interval as it stands on the wire, rounded up.
func (cfg *Config) expirySeconds() uint32 {
	if cfg.SessionExpiry == Forever {
		return math.MaxUint32
	}
	return uint32(min((cfg.SessionExpiry+time.Second-1)/time.Second, math.MaxUint32-1))
}
