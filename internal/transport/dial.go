package transport

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// DefaultTimeout bounds a Dial, and at a listener the handshake of one connection, where nothing else
// is set.
const DefaultTimeout = 10 * time.Second

// Dialer opens connections by address. The zero value is ready. It may be used concurrently and must not
// be modified meanwhile.
type Dialer struct {
	// TLS is for mqtts and wss; nil trusts the system's authorities. An empty ServerName is replaced by
	// the host of the address.
	TLS *tls.Config

	// LocalAddr is the source address of TCP connections; the zero value leaves it to the system.
	LocalAddr netip.Addr

	// Timeout bounds resolving, connecting and all handshakes together: 0 is DefaultTimeout, a negative
	// value is none but the context's.
	Timeout time.Duration

	// Header is sent with a WebSocket handshake. What the handshake itself sets cannot be overridden,
	// except Host.
	Header http.Header

	// Subprotocols are offered in a WebSocket handshake; nil offers mqtt, an empty slice nothing.
	Subprotocols []string

	// AnySubprotocol keeps a WebSocket connection whose server did not select one of those offered.
	AnySubprotocol bool

	// Mem is where mem addresses are looked up.
	Mem *Network
}

// Dial connects to an address as described at Parse, with all handshakes done. The connection is a
// *net.TCPConn, *net.UnixConn, *tls.Conn, *WSConn or an end of a Pipe. Credentials in the address are
// left to the caller. An error is an *Error unless the address is malformed.
func (d *Dialer) Dial(ctx context.Context, url string) (net.Conn, error) {
	t, err := Parse(url)
	if err != nil {
		return nil, err
	}
	ctx, cancel := d.bound(ctx)
	defer cancel()
	if t.WebSocket() {
		// A nil *WSConn must not become a net.Conn that is not nil.
		c, err := d.dialWS(ctx, t)
		if err != nil {
			return nil, err
		}
		c.header = nil
		return c, nil
	}
	return d.dialStream(ctx, t)
}

// DialWS connects to a ws or wss address for access to frames and the response header.
func (d *Dialer) DialWS(ctx context.Context, url string) (*WSConn, error) {
	t, err := Parse(url)
	if err != nil {
		return nil, err
	}
	if !t.WebSocket() {
		return nil, &Error{Op: "connect to", URL: t.String(), Why: "it is not a WebSocket address; use ws:// or wss://", Err: ErrNotWebSocket}
	}
	ctx, cancel := d.bound(ctx)
	defer cancel()
	return d.dialWS(ctx, t)
}

func (d *Dialer) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	switch {
	case d.Timeout < 0:
		return context.WithCancel(ctx)
	case d.Timeout == 0:
		return context.WithTimeout(ctx, DefaultTimeout)
	}
	return context.WithTimeout(ctx, d.Timeout)
}

func (d *Dialer) dialWS(ctx context.Context, t Target) (*WSConn, error) {
	conn, err := d.dialStream(ctx, t)
	if err != nil {
		return nil, err
	}
	c, err := d.clientHandshake(ctx, conn, t)
	if err != nil {
		return nil, explain("WebSocket handshake with", t, err)
	}
	return c, nil
}

// dialStream connects what lies beneath WebSocket, TLS included.
func (d *Dialer) dialStream(ctx context.Context, t Target) (net.Conn, error) {
	conn, err := d.connect(ctx, t)
	if err != nil {
		return nil, explain("connect to", t, err)
	}
	if !t.TLS() {
		return conn, nil
	}
	cfg := d.TLS
	switch {
	case cfg == nil:
		cfg = &tls.Config{ServerName: t.Host}
	case cfg.ServerName == "":
		cfg = cfg.Clone()
		cfg.ServerName = t.Host
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, explain("TLS handshake with", t, err)
	}
	return secure, nil
}

func (d *Dialer) connect(ctx context.Context, t Target) (net.Conn, error) {
	switch t.Scheme {
	case SchemeMem:
		if d.Mem == nil {
			return nil, ErrNoNetwork
		}
		return d.Mem.Dial(ctx, t.Host)
	case SchemeUnix:
		var nd net.Dialer
		return nd.DialContext(ctx, "unix", t.Path)
	}
	var nd net.Dialer
	if d.LocalAddr.IsValid() {
		nd.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(d.LocalAddr, 0))
		nd.Control = lateBind
	}
	return nd.DialContext(ctx, "tcp", t.Addr())
}
