package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
)

var (
	// ErrSubprotocol is the cause when a WebSocket server answered without the subprotocol that was
	// offered, or with another one.
	ErrSubprotocol = errors.New("the server did not select the WebSocket subprotocol that was offered")

	// ErrNotWebSocket is the cause when frames are asked of an address that has none.
	ErrNotWebSocket = errors.New("the address is not a WebSocket address")

	// ErrNoCertificate is the cause when a TLS listener has no configuration.
	ErrNoCertificate = errors.New("a TLS listener needs a certificate; give the certificate file and the key file")

	// ErrNoNetwork is the cause when a mem address is used without a Network.
	ErrNoNetwork = errors.New("in-memory addresses need a Network shared by both sides")
)

// Error says what was being done, to which address, why it did not work and what to try. The cause
// is reached by errors.Is and errors.As. It never shows credentials.
type Error struct {
	Op  string // "connect to", "listen on", "TLS handshake with" or "WebSocket handshake with"
	URL string // redacted
	Why string // what happened and what to try
	Err error
}

// Error returns one sentence.
func (e *Error) Error() string { return e.Op + " " + e.URL + ": " + e.Why }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether the time given was too short.
func (e *Error) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// HandshakeError is the cause when the peer answered the WebSocket handshake with something other
// than an acceptable 101. Status and Header are what it sent; Status is 0 if it was no HTTP.
type HandshakeError struct {
	Status int
	Header http.Header
	Msg    string
}

func (e *HandshakeError) Error() string { return e.Msg }

// explain wraps err with the reason and the way out in plain words.
func explain(op string, t Target, err error) error {
	return &Error{Op: op, URL: t.String(), Why: reason(t, err), Err: err}
}

func reason(t Target, err error) string {
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		op        *net.OpError
		status    *HandshakeError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return "it was cancelled"
	case errors.As(err, &status):
		return handshakeReason(status)
	case errors.Is(err, ErrSubprotocol):
		return ErrSubprotocol.Error() + "; it may serve another protocol at this path"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the host name is unknown; check its spelling or give an IP address"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there (connection refused); start the broker or check host and port"
	case errors.Is(err, syscall.ENOENT):
		return "no such file; start the broker or check the socket's path"
	case errors.Is(err, syscall.EADDRINUSE):
		return "the address is taken; stop the other listener or choose another port (0 takes any free one)"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "the address is not one of this machine, or its ports are used up; check the source or listen address or spread over several"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "no file descriptor is left; raise the limit (ulimit -n)"
	case errors.Is(err, os.ErrPermission):
		return "permission denied; choose a port above 1023 or check the rights on the socket"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to the host; check the address and the network"
	case errors.As(err, &authority):
		return "the certificate was signed by an unknown authority; give the CA file, or skip verification if the peer is trusted"
	case errors.As(err, &name):
		return "the certificate is for another name (" + name.Error() + "); set the server name to one of the certificate's"
	case errors.As(err, &invalid):
		return "the certificate is not valid (" + invalid.Error() + "); renew it or check the clock"
	case errors.As(err, &record):
		return "the peer does not speak TLS there; use " + plain(t) + " or the port for TLS"
	case errors.As(err, &op) && op.Op == "remote error": // how crypto/tls reports an alert
		return "the peer ended the TLS handshake (" + op.Err.Error() + "); check the client certificate and the TLS versions"
	case isTimeout(err):
		return "no answer in time; check host, port and firewall or allow more time"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.ErrClosedPipe):
		return "the peer closed the connection during the handshake; check that this port is meant for " + t.Scheme
	}
	// An operating-system error names operation and address itself; here the innermost text is enough.
	if op != nil && op.Err != nil {
		return op.Err.Error()
	}
	return err.Error()
}

func handshakeReason(e *HandshakeError) string {
	answer := "the peer answered HTTP " + strconv.Itoa(e.Status)
	switch e.Status {
	case 0, http.StatusSwitchingProtocols:
		return e.Msg
	case http.StatusNotFound:
		return answer + " (not found); check the path of the address, brokers use /mqtt, / or /ws"
	case http.StatusUnauthorized, http.StatusForbidden:
		return answer + "; give the credentials or headers that it asks for"
	case http.StatusBadRequest, http.StatusUpgradeRequired:
		return answer + "; it refused the handshake, check the path and the subprotocol"
	}
	return answer + " instead of 101; check that a WebSocket listener is at this port and path"
}

func plain(t Target) string {
	if t.Scheme == SchemeWSS {
		return "ws://"
	}
	return "mqtt://"
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
