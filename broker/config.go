package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

// QoSLimit is the highest QoS a Broker accepts in a PUBLISH or Will.
type QoSLimit uint8

// The limits. The zero value is no limit.
const (
	UpToQoS2 QoSLimit = iota
	UpToQoS0
	UpToQoS1
)

// qos returns the limit as a QoS.
func (l QoSLimit) qos() codec.QoS {
	switch l {
	case UpToQoS0:
		return 0
	case UpToQoS1:
		return 1
	}
	return 2
}

// Config says what a Broker supports and how much it holds. The zero value supports everything
// the standard allows, admits everybody, and bounds memory by the defaults named here.
type Config struct {
	// What CONNACK announces to a version 5 Client; other versions are held to the same.

	// MaximumQoS is the highest QoS of a PUBLISH. Subscriptions are granted up to it.
	MaximumQoS QoSLimit
	// RetainUnavailable refuses retained messages.
	RetainUnavailable bool
	// WildcardUnavailable refuses Topic Filters with wildcards.
	WildcardUnavailable bool
	// SharedUnavailable refuses Shared Subscriptions.
	SharedUnavailable bool
	// SubscriptionIDsUnavailable refuses Subscription Identifiers.
	SubscriptionIDsUnavailable bool
	// ReceiveMaximum bounds the unacknowledged QoS 1 and 2 messages of one Client. 0 is 65,535.
	ReceiveMaximum uint16
	// TopicAliasMaximum is the highest Topic Alias a Client may use. 0 is 64, negative none.
	TopicAliasMaximum int
	// MaximumPacketSize bounds a packet of a Client, in bytes. 0 is the protocol's own limit.
	MaximumPacketSize uint32
	// ServerKeepAlive replaces the Keep Alive of every version 5 Client, in whole seconds. 0 lets the Client choose.
	ServerKeepAlive time.Duration
	// SessionExpiryMaximum bounds the time a Session is kept without a connection, in whole
	// seconds. 0 is no bound; negative keeps no Session.
	SessionExpiryMaximum time.Duration
	// EmptyClientIDRefused refuses a CONNECT without Client Identifier instead of assigning one.
	EmptyClientIDRefused bool
	// ResponseInformation is sent to Clients that ask for it. Empty sends none.
	ResponseInformation string
	// ServerReference names another Server, for Clients refused by MaxConnections and Clients
	// connected at Shutdown.
	ServerReference string

	// NoOutboundAliases leaves Topic Aliases out of PUBLISH packets to Clients.
	NoOutboundAliases bool
	// AckProperties puts a Reason String and a User Property on every packet that may carry
	// them, within the Client's Maximum Packet Size and Request Problem Information.
	AckProperties bool

	// Who may do what.

	// Authenticate judges user name and password. nil admits everybody.
	Authenticate Authenticator
	// Authorize judges each PUBLISH, Will and Subscription. nil allows everything.
	Authorize Authorizer
	// AuthMethods are the methods of enhanced authentication on offer.
	AuthMethods []AuthMethod

	// Bounds. 0 takes the default, negative is no bound.

	// MaxConnections bounds open connections. Default: no bound.
	MaxConnections int
	// MaxSessions bounds Sessions, connected or not. Default: no bound.
	MaxSessions int
	// MaxRetained bounds the number of retained messages. Default: no bound.
	MaxRetained int
	// MaxRetainedBytes bounds their topics, payloads and properties. Default: 256 MiB.
	MaxRetainedBytes int64
	// MaxSubscriptions bounds the Subscriptions of one Session. Default: no bound.
	MaxSubscriptions int
	// MaxInflight bounds unacknowledged QoS 1 and 2 messages to one Client, in version 5
	// together with its Receive Maximum. Default: 4,096.
	MaxInflight int
	// QueueMessages bounds the QoS 1 and 2 messages that wait for one Session. Default: 10,000.
	QueueMessages int
	// QueueBytes bounds their topics, payloads and properties. Default: 8 MiB.
	QueueBytes int
	// OutboundBytes bounds what waits for the socket of one Client. Default: 1 MiB.
	OutboundBytes int

	// Times. 0 takes the default, negative turns the mechanism off.

	// ConnectTimeout is how long a connection may take to deliver its CONNECT. Default: 5 s.
	ConnectTimeout time.Duration
	// SlowQoS0 is how long publishers are held back for a Client that does not read, before
	// QoS 0 messages to it are dropped. Default: 1 s, since TCP needs 200 ms and more to recover
	// from one lost window update.
	SlowQoS0 time.Duration
	// SlowConsumer is how long publishers are held back for a connected Client whose QoS 1
	// and 2 queue is full, before it is disconnected. The time of several such Clients runs at
	// once. Default: 2 s.
	SlowConsumer time.Duration
	// SysInterval is the period of the statistics under $SYS/broker. Default: none are published.
	SysInterval time.Duration

	// TLSConfig serves mqtts and wss listeners.
	TLSConfig *tls.Config
	// TLS names the files to make a TLSConfig of where none is given.
	TLS *transport.TLS
	// Mem is the network of mem listeners; nil makes one of the Broker's own, reached by Dial.
	Mem *transport.Network
	// Logger receives what an operator wants to know. nil is silent.
	Logger *slog.Logger
	// Clock replaces the system's clock.
	Clock Clock
}

// Validate reports all problems of the configuration, each by the path of its field.
func (c *Config) Validate() error {
	var problems []error
	bad := func(field, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if c.MaximumQoS > UpToQoS1 {
		bad("MaximumQoS", "%d is not one of UpToQoS0, UpToQoS1 and UpToQoS2", c.MaximumQoS)
	}
	if c.TopicAliasMaximum > 65535 {
		bad("TopicAliasMaximum", "%d is above 65535", c.TopicAliasMaximum)
	}
	if c.MaximumPacketSize > codec.MaxPacketSize {
		bad("MaximumPacketSize", "%d is above %d, the protocol's own limit", c.MaximumPacketSize, codec.MaxPacketSize)
	}
	if c.MaximumPacketSize > 0 && c.MaximumPacketSize < 64 {
		bad("MaximumPacketSize", "%d leaves no room for a CONNECT; use at least 64", c.MaximumPacketSize)
	}
	if c.ServerKeepAlive < 0 || c.ServerKeepAlive > 65535*time.Second || c.ServerKeepAlive%time.Second != 0 {
		bad("ServerKeepAlive", "%v is not a whole number of seconds from 0 to 65535", c.ServerKeepAlive)
	}
	if c.SessionExpiryMaximum > 0 && c.SessionExpiryMaximum%time.Second != 0 {
		bad("SessionExpiryMaximum", "%v is not a whole number of seconds", c.SessionExpiryMaximum)
	}
	if c.SessionExpiryMaximum >= (1<<32-1)*time.Second {
		bad("SessionExpiryMaximum", "%v does not fit 32 bits of seconds; 0 is no bound", c.SessionExpiryMaximum)
	}
	if c.MaxInflight > 65535 {
		bad("MaxInflight", "%d is above 65535, the number of packet identifiers", c.MaxInflight)
	}
	if !codec.ValidString(c.ResponseInformation) {
		bad("ResponseInformation", "is not a valid MQTT string")
	}
	if !codec.ValidString(c.ServerReference) {
		bad("ServerReference", "is not a valid MQTT string")
	}
	if c.SysInterval > 0 && c.SysInterval < 100*time.Millisecond {
		bad("SysInterval", "%v is too short; use at least 100ms", c.SysInterval)
	}
	names := make(map[string]bool)
	for i, m := range c.AuthMethods {
		field := fmt.Sprintf("AuthMethods[%d]", i)
		switch {
		case m == nil:
			bad(field, "is nil")
		case !codec.ValidString(m.Name()) || m.Name() == "":
			bad(field, "has a name that is not a valid MQTT string")
		case names[m.Name()]:
			bad(field, "repeats the name %s", strings.ToValidUTF8(m.Name(), "?"))
		default:
			names[m.Name()] = true
		}
	}
	return errors.Join(problems...)
}

// limits are the bounds of a Config with the defaults filled in.
type limits struct {
	maxQoS        codec.QoS
	aliasIn       uint16
	maxPacket     int
	expiryMax     uint32 // seconds; neverExpires is no bound
	maxConns      int
	maxSessions   int
	maxRetained   int
	retainedBytes int64
	maxSubs       int
	inflight      uint16
	queueMsgs     int
	queueBytes    int
	outBytes      int
	connect       time.Duration
	slowQoS0      time.Duration
	slowConsumer  time.Duration
}

// neverExpires is the Session Expiry Interval that never ends.
const neverExpires = 1<<32 - 1

const unbounded = int(^uint(0) >> 1)

func (c *Config) limits() limits {
	l := limits{
		maxQoS:        c.MaximumQoS.qos(),
		aliasIn:       uint16(bound(c.TopicAliasMaximum, 64, 0)),
		maxPacket:     codec.MaxPacketSize,
		expiryMax:     neverExpires,
		maxConns:      bound(c.MaxConnections, unbounded, unbounded),
		maxSessions:   bound(c.MaxSessions, unbounded, unbounded),
		maxRetained:   bound(c.MaxRetained, unbounded, unbounded),
		retainedBytes: bound(c.MaxRetainedBytes, 256<<20, int64(unbounded)),
		maxSubs:       bound(c.MaxSubscriptions, unbounded, unbounded),
		inflight:      uint16(bound(c.MaxInflight, 4096, 65535)),
		queueMsgs:     bound(c.QueueMessages, 10_000, unbounded/4),
		queueBytes:    bound(c.QueueBytes, 8<<20, unbounded/4),
		outBytes:      bound(c.OutboundBytes, 1<<20, unbounded/4),
		connect:       bound(c.ConnectTimeout, 5*time.Second, 0),
		slowQoS0:      bound(c.SlowQoS0, time.Second, 0),
		slowConsumer:  bound(c.SlowConsumer, 2*time.Second, 0),
	}
	if c.MaximumPacketSize > 0 {
		l.maxPacket = int(c.MaximumPacketSize)
	}
	switch {
	case c.SessionExpiryMaximum < 0:
		l.expiryMax = 0
	case c.SessionExpiryMaximum > 0:
		l.expiryMax = uint32(c.SessionExpiryMaximum / time.Second)
	}
	return l
}

// bound returns v, or what stands for zero and for a negative value.
func bound[T int | int64 | time.Duration](v, zero, negative T) T {
	switch {
	case v == 0:
		return zero
	case v < 0:
		return negative
	}
	return v
}
