package client

import (
	"errors"
	"fmt"

	"github.com/mqlab/mqlab/codec"
)

// The errors that callers tell apart, by errors.Is.
var (
	// ErrClosed reports use of a client after Disconnect or Close.
	ErrClosed = errors.New("the client is closed")
	// ErrOffline refuses a QoS 0 message while there is no connection: at most once means that it is not kept.
	ErrOffline = errors.New("there is no connection; messages of QoS 0 are not kept for later")
	// ErrQueueFull refuses a message because Config.Queue is used up.
	ErrQueueFull = errors.New("the queue of unacknowledged messages is full; wait for some of them, or raise Config.Queue")
	// ErrExpired ends a message whose Message Expiry Interval passed before it was sent.
	ErrExpired = errors.New("the message expired before it could be sent")
	// ErrTooLarge ends a message or request above the Server's Maximum Packet Size.
	ErrTooLarge = errors.New("the packet is larger than the server accepts")
	// ErrUnsupported ends a message or request that needs what the Server announced not to support.
	ErrUnsupported = errors.New("the server does not support it")
	// ErrDead ends a connection on which nothing arrived after a PINGREQ.
	ErrDead = errors.New("the server did not answer PINGREQ in time")
	// ErrStore ends a client whose Store failed: it could not keep its promises any more.
	ErrStore = errors.New("the session store failed")
)

// RefusedError is a Server's refusal of a connection, a message or a subscription, or the reason of its
// DISCONNECT.
type RefusedError struct {
	Packet  codec.Type // the packet that refused: CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT or AUTH
	Version codec.Version
	Reason  codec.ReasonCode
	// About is the Topic Name or Topic Filter that was refused, if it was one.
	About string
	// ReasonString and ServerReference are what a Server of version 5 added. The latter names another
	// Server to use, where Reason is 0x9C (use another server) or 0x9D (server moved).
	ReasonString    string
	ServerReference string
}

// Error returns one sentence.
func (e *RefusedError) Error() string {
	what := map[codec.Type]string{
		codec.TypeConnack: "refused the connection", codec.TypePuback: "refused the message", codec.TypePubrec: "refused the message",
		codec.TypeSuback: "refused the subscription", codec.TypeUnsuback: "refused to unsubscribe", codec.TypeDisconnect: "ended the connection",
		codec.TypeAuth: "refused the authentication",
	}[e.Packet]
	text := "the server " + what
	if e.About != "" {
		text += fmt.Sprintf(" %q", e.About)
	}
	text += ": " + e.Reason.Name(e.Packet, e.Version)
	if e.Version == codec.V5 || e.Packet != codec.TypeConnack {
		text += fmt.Sprintf(" (0x%02X)", uint8(e.Reason))
	}
	if e.ReasonString != "" {
		text += fmt.Sprintf(", %q", e.ReasonString)
	}
	if e.ServerReference != "" {
		text += fmt.Sprintf("; it names another server: %s", e.ServerReference)
	}
	return text
}

func refused(t codec.Type, v codec.Version, r codec.ReasonCode, props *codec.Properties) *RefusedError {
	e := &RefusedError{Packet: t, Version: v, Reason: r}
	if props != nil {
		e.ReasonString = string([]byte(props.Text(codec.PropReasonString)))
		e.ServerReference = string([]byte(props.Text(codec.PropServerReference)))
	}
	return e
}

// ProtocolError says that the Server broke the protocol; the connection was closed for it.
type ProtocolError struct {
	Reason codec.ReasonCode // what the Server was told, in version 5
	Err    error
}

// Error returns one sentence.
func (e *ProtocolError) Error() string {
	return fmt.Sprintf("the server broke the protocol: %v", e.Err)
}

// Unwrap returns the fault, a *codec.Error where a packet could not be read.
func (e *ProtocolError) Unwrap() error { return e.Err }

func protocolError(r codec.ReasonCode, format string, args ...any) *ProtocolError {
	return &ProtocolError{r, fmt.Errorf(format, args...)}
}

// fatal tells whether trying again would be no use, or would do harm.
func fatal(err error) bool {
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrStore) {
		return true
	}
	e, ok := errors.AsType[*RefusedError](err)
	if !ok {
		return false
	}
	if e.Packet == codec.TypeConnack && e.Version != codec.V5 {
		return e.Reason != codec.ReturnServerUnavailable
	}
	switch e.Reason {
	case codec.UnsupportedProtocolVersion, codec.ClientIDNotValid, codec.BadUserNameOrPassword, codec.NotAuthorized,
		codec.Banned, codec.BadAuthenticationMethod, codec.UseAnotherServer, codec.ServerMoved,
		codec.SessionTakenOver: // two clients of one identifier would throw each other out for ever
		return true
	}
	return false
}
