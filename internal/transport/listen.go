package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// ListenConfig says how to listen. The zero value is ready for mqtt, ws and unix.
type ListenConfig struct {
	TLS *tls.Config // for mqtts and wss, where it is needed
	Mem *Network    // for mem, where it is needed

	// HandshakeTimeout bounds the TLS and WebSocket handshakes of one connection together; 0 is
	// DefaultTimeout.
	HandshakeTimeout time.Duration

	// MaxHandshakes bounds how many go on at the same time; 0 is 8192. Further connections wait in the
	// system's queue.
	MaxHandshakes int

	// MaxHeader bounds the HTTP head of a WebSocket handshake in bytes; 0 is DefaultMaxHeader.
	MaxHeader int

	AnyPath            bool // accept a WebSocket handshake for any path, not only the address's
	RequireSubprotocol bool // refuse WebSocket clients that do not offer mqtt
	KeepHeader         bool // keep the request's header for WSConn.Header

	// Subprotocol chooses from what a WebSocket client offers, "" for none. nil chooses mqtt if it is
	// offered [MQTT-6.0.0-4].
	Subprotocol func(offered []string) string

	// OnHandshakeError is told of connections that did not get through TLS or WebSocket handshakes. It
	// is called concurrently, and Close waits for it.
	OnHandshakeError func(remote net.Addr, err error)
}

func (c *ListenConfig) maxHeader() int {
	if c.MaxHeader > 0 {
		return c.MaxHeader
	}
	return DefaultMaxHeader
}

func (c *ListenConfig) selectSubprotocol(offered []string) string {
	switch {
	case c.Subprotocol != nil:
		return c.Subprotocol(offered)
	case slices.Contains(offered, Subprotocol):
		return Subprotocol
	}
	return ""
}

// Listener accepts connections on one address. TLS and WebSocket handshakes are made in goroutines of its
// own, each in bounded time: a slow client delays nobody, and what Accept returns is ready for MQTT.
type Listener struct {
	inner  net.Listener
	target Target
	cfg    ListenConfig

	ready chan accepted // nil without handshakes
	done  chan struct{}
	slots chan struct{}
	wg    sync.WaitGroup

	mu      sync.Mutex // guards all below
	pending map[net.Conn]struct{}
	closed  bool
	err     error
}

type accepted struct {
	conn net.Conn
	err  error
}

// Listen opens a listener on an address as described at Parse. Port 0 takes a free port, mem:// a free
// name; URL tells which. A Unix socket that a dead process left behind is replaced.
func Listen(url string, cfg ListenConfig) (*Listener, error) {
	t, err := Parse(url)
	if err != nil {
		return nil, err
	}
	if t.TLS() && cfg.TLS == nil {
		return nil, explain("listen on", t, ErrNoCertificate)
	}
	inner, err := listenStream(t, &cfg)
	if err != nil {
		return nil, explain("listen on", t, err)
	}
	switch a := inner.Addr().(type) {
	case *net.TCPAddr:
		t.Port = uint16(a.Port)
		if t.Host == "" {
			t.Host = a.IP.String()
		}
	case memAddr:
		t.Host = a.name
	}
	t.Username, t.Password, t.HasPassword, t.Query = "", "", false, ""
	l := &Listener{inner: inner, target: t, cfg: cfg}
	if t.TLS() || t.WebSocket() {
		slots := cfg.MaxHandshakes
		if slots <= 0 {
			slots = 8192
		}
		l.ready, l.done, l.slots = make(chan accepted), make(chan struct{}), make(chan struct{}, slots)
		l.pending = map[net.Conn]struct{}{}
		l.wg.Go(l.loop)
	}
	return l, nil
}

func listenStream(t Target, cfg *ListenConfig) (net.Listener, error) {
	switch t.Scheme {
	case SchemeMem:
		if cfg.Mem == nil {
			return nil, ErrNoNetwork
		}
		return cfg.Mem.Listen(t.Host)
	case SchemeUnix:
		l, err := net.Listen("unix", t.Path)
		if errors.Is(err, syscall.EADDRINUSE) && removeStale(t.Path) {
			return net.Listen("unix", t.Path)
		}
		return l, err
	}
	return net.Listen("tcp", t.Addr())
}

// removeStale removes a socket on which nobody listens.
func removeStale(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED) && os.Remove(path) == nil
}

// URL returns the address that reaches this listener, with the real port or name.
func (l *Listener) URL() string { return l.target.String() }

// Target returns the same in parts.
func (l *Listener) Target() Target { return l.target }

// Addr returns the address of the socket.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Accept returns the next connection with all handshakes done: a *net.TCPConn, *net.UnixConn, *tls.Conn,
// *WSConn or an end of a Pipe. After Close its error is net.ErrClosed; other errors, such as a lack of
// file descriptors, pass.
func (l *Listener) Accept() (net.Conn, error) {
	if l.ready == nil {
		return l.inner.Accept()
	}
	select {
	case a := <-l.ready:
		return a.conn, a.err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close stops listening, closes connections that are still in a handshake or were not accepted, and waits
// for the goroutines of these. Accepted connections stay open. It may be called again.
func (l *Listener) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		l.err = l.inner.Close()
		if l.done != nil {
			close(l.done)
		}
		for c := range l.pending {
			c.Close()
		}
	}
	err := l.err
	l.mu.Unlock()
	l.wg.Wait()
	return err
}

func (l *Listener) loop() {
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.done:
			return
		}
		c, err := l.inner.Accept()
		if err == nil && l.begin(c) {
			l.wg.Go(func() { l.serve(c) })
			continue
		}
		<-l.slots
		if err == nil || errors.Is(err, net.ErrClosed) {
			return
		}
		select {
		case l.ready <- accepted{err: err}:
		case <-l.done:
			return
		}
	}
}

// begin notes a connection for Close to end; false if that has been.
func (l *Listener) begin(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		return false
	}
	l.pending[c] = struct{}{}
	return true
}

func (l *Listener) serve(raw net.Conn) {
	defer func() { <-l.slots }()
	c, err := l.handshake(raw)
	l.mu.Lock()
	delete(l.pending, raw)
	closed := l.closed
	l.mu.Unlock()
	if err != nil || closed {
		raw.Close()
		if err != nil && !closed && l.cfg.OnHandshakeError != nil {
			l.cfg.OnHandshakeError(raw.RemoteAddr(), err)
		}
		return
	}
	select {
	case l.ready <- accepted{conn: c}:
	case <-l.done:
		raw.Close()
	}
}

func (l *Listener) handshake(raw net.Conn) (net.Conn, error) {
	timeout := l.cfg.HandshakeTimeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := raw.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	c := raw
	if l.target.TLS() {
		secure := tls.Server(raw, l.cfg.TLS)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		c = secure
	}
	if l.target.WebSocket() {
		w, err := serverHandshake(c, l.target.Path, &l.cfg)
		if err != nil {
			return nil, err
		}
		c = w
	}
	return c, raw.SetDeadline(time.Time{})
}
