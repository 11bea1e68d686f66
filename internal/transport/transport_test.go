package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// schemeCase is one way to connect, for tests that hold for all of them.
type schemeCase struct {
	url  string
	cfg  ListenConfig
	dial Dialer
}

func schemeCases(t testing.TB) map[string]schemeCase {
	ca := newAuthority(t)
	server := ca.server(false)
	client, err := TLS{CAFile: ca.file}.Client()
	must(t, err)
	var mem Network
	return map[string]schemeCase{
		"mqtt":  {url: "mqtt://127.0.0.1:0"},
		"mqtts": {"mqtts://localhost:0", ListenConfig{TLS: server}, Dialer{TLS: client}},
		"ws":    {url: "ws://127.0.0.1:0"},
		"wss":   {"wss://localhost:0/x", ListenConfig{TLS: server}, Dialer{TLS: client}},
		"unix":  {url: "unix://" + filepath.Join(t.TempDir(), "s")},
		"mem":   {"mem://", ListenConfig{Mem: &mem}, Dialer{Mem: &mem}},
	}
}

func TestRoundTrip(t *testing.T) {
	for name, sc := range schemeCases(t) {
		t.Run(name, func(t *testing.T) {
			l := listen(t, sc.url, sc.cfg)
			if target := l.Target(); target.Scheme != name || strings.Contains(l.URL(), ":0") {
				t.Fatalf("URL %s, scheme %s", l.URL(), target.Scheme)
			}
			c, s := connect(t, &sc.dial, l)
			for i, pair := range [][2]net.Conn{{c, s}, {s, c}} {
				for _, msg := range []string{"a", "second message", strings.Repeat("long", 20_000)} {
					go pair[0].Write([]byte(msg))
					got := make([]byte, len(msg))
					_, err := io.ReadFull(pair[1], got)
					if err != nil || string(got) != msg {
						t.Fatalf("direction %d, %d bytes: %v", i, len(msg), err)
					}
				}
			}
			_, encrypted := ConnectionState(s)
			if want := l.Target().TLS(); encrypted != want {
				t.Errorf("TLS state: %v, want %v", encrypted, want)
			}
			_, raw := RawConn(c)
			if want := name == "mqtt" || name == "unix"; raw != want {
				t.Errorf("RawConn: %v, want %v", raw, want)
			}
			for range 2 {
				must(t, c.Close())
				if name == "mqtt" || name == "mqtts" || name == "unix" {
					break // the standard library's own connections report the second Close
				}
			}
			if _, err := s.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("read after the peer's Close: %v", err)
			}
			for range 2 {
				must(t, l.Close())
			}
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept after Close: %v", err)
			}
			if _, err := sc.dial.Dial(t.Context(), l.URL()); err == nil {
				t.Error("Dial succeeds after Close")
			}
		})
	}
}

// Both sides write a megabyte before and while they read.
func TestBigMessagesBothWays(t *testing.T) {
	for name, sc := range schemeCases(t) {
		t.Run(name, func(t *testing.T) {
			c, s := connect(t, &sc.dial, listen(t, sc.url, sc.cfg))
			msg := make([]byte, 1<<20)
			for i := range msg {
				msg[i] = byte(i * 7 >> 3)
			}
			var wg sync.WaitGroup
			for _, conn := range []net.Conn{c, s} {
				wg.Go(func() {
					if n, err := conn.Write(msg); n != len(msg) || err != nil {
						t.Errorf("write: %d, %v", n, err)
					}
				})
				wg.Go(func() {
					got := make([]byte, len(msg))
					if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, msg) {
						t.Errorf("read: %v, equal %v", err, bytes.Equal(got, msg))
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestReadDeadlineAndClose(t *testing.T) {
	for name, sc := range schemeCases(t) {
		t.Run(name, func(t *testing.T) {
			c, s := connect(t, &sc.dial, listen(t, sc.url, sc.cfg))
			must(t, c.SetReadDeadline(time.Now().Add(time.Millisecond)))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			must(t, c.SetReadDeadline(time.Time{}))
			go s.Write([]byte("x"))
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() { _, err := c.Read(make([]byte, 1)); done <- err }()
			c.Close()
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read ended by Close: %v", err)
			}
		})
	}
}

func TestWaiter(t *testing.T) {
	for name, sc := range schemeCases(t) {
		t.Run(name, func(t *testing.T) {
			c, s := connect(t, &sc.dial, listen(t, sc.url, sc.cfg))
			w, ok := WaiterFor(s)
			if want := name != "mqtts" && name != "wss"; ok != want {
				t.Fatalf("WaiterFor: %v, want %v", ok, want)
			}
			if !ok {
				return
			}
			done := make(chan error)
			for range 3 { // the edge of the first arrival must not be needed by the second wait
				go func() { done <- w.WaitReadable() }()
				c.Write([]byte("ab"))
				must(t, <-done)
				must(t, w.WaitReadable())
				if _, err := io.ReadFull(s, make([]byte, 2)); err != nil {
					t.Fatal(err)
				}
			}
			must(t, s.SetReadDeadline(time.Now().Add(time.Millisecond)))
			if err := w.WaitReadable(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			must(t, s.SetReadDeadline(time.Time{}))
			c.Close()
			must(t, w.WaitReadable())
			if n := testing.AllocsPerRun(100, func() { w.WaitReadable() }); n > 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestLocalAddr(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", ListenConfig{})
	_, s := connect(t, &Dialer{LocalAddr: netip.MustParseAddr("127.0.0.9")}, l)
	if got := s.RemoteAddr().(*net.TCPAddr).IP.String(); got != "127.0.0.9" {
		t.Errorf("the source address is %s", got)
	}
}

func TestUnixSocketLeftBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	must(t, err)
	stale.SetUnlinkOnClose(false)
	stale.Close()
	l := listen(t, "unix://"+path, ListenConfig{})
	if _, err := Listen("unix://"+path, ListenConfig{}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second listener: %v", err)
	}
	connect(t, &Dialer{}, l)
}

func TestDialErrors(t *testing.T) {
	free := listen(t, "tcp://127.0.0.1:0", ListenConfig{})
	free.Close()
	silent := listen(t, "tcp://127.0.0.1:0", ListenConfig{}) // never answers
	tests := map[string]struct {
		url   string
		say   string
		cause error
	}{
		"refused":       {strings.Replace(free.URL(), "//", "//user:secret@", 1), "nothing listens there", syscall.ECONNREFUSED},
		"no socket":     {"unix:///nonexistent/s", "socket's path", syscall.ENOENT},
		"tls silent":    {strings.Replace(silent.URL(), "mqtt", "mqtts", 1), "no answer in time", context.DeadlineExceeded},
		"ws silent":     {strings.Replace(silent.URL(), "mqtt", "ws", 1) + "/?token=secret", "no answer in time", context.DeadlineExceeded},
		"mem":           {"mem://x", "Network", ErrNoNetwork},
		"bad URL":       {"mqtt://user:secret@h:99999", "port", nil},
		"listener gone": {free.URL(), "start the broker", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := Dialer{Timeout: time.Minute}
			if strings.Contains(name, "silent") {
				d.Timeout = 50 * time.Millisecond
			}
			_, err := d.Dial(t.Context(), tt.url)
			if err == nil {
				t.Fatal("connected")
			}
			if tt.cause != nil && !errors.Is(err, tt.cause) {
				t.Errorf("%v is not %v", err, tt.cause)
			}
			if !strings.Contains(err.Error(), tt.say) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q does not say %q, or says too much", err, tt.say)
			}
			var e *Error
			if name != "bad URL" && (!errors.As(err, &e) || e.Timeout() != strings.Contains(name, "silent")) {
				t.Errorf("%#v", err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&Dialer{}).Dial(ctx, silent.URL()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := (&Dialer{}).DialWS(t.Context(), silent.URL()); !errors.Is(err, ErrNotWebSocket) {
		t.Error(err)
	}
	if _, err := Listen(silent.URL(), ListenConfig{}); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "another port") {
		t.Error(err)
	}
	if _, err := Listen("mqtts://127.0.0.1:0", ListenConfig{}); !errors.Is(err, ErrNoCertificate) {
		t.Error(err)
	}
}

func TestTLSVerification(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	cert, key := ca.issue("client")
	plain := listen(t, "tcp://127.0.0.1:0", ListenConfig{})
	go func() {
		for {
			c, err := plain.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("not a TLS record at all"))
			c.Close()
		}
	}()
	tests := map[string]struct {
		client TLS
		mutual bool
		plain  bool
		say    string // "" connects
	}{
		"good":              {client: TLS{CAFile: ca.file}},
		"wrong server name": {client: TLS{CAFile: ca.file, ServerName: "elsewhere"}, say: "set the server name"},
		"unknown authority": {client: TLS{CAFile: foreign.file}, say: "give the CA file"},
		"insecure":          {client: TLS{Insecure: true}},
		"client cert":       {client: TLS{CAFile: ca.file, CertFile: cert, KeyFile: key}, mutual: true},
		"no shared ALPN":    {client: TLS{CAFile: ca.file, ALPN: []string{"mqtt"}}, say: "ended the TLS handshake"},
		"no TLS there":      {client: TLS{}, plain: true, say: "does not speak TLS there; use mqtt://"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg, err := tt.client.Client()
			must(t, err)
			server := ca.server(tt.mutual)
			server.NextProtos = []string{"other"}
			l := listen(t, "mqtts://localhost:0", ListenConfig{TLS: server})
			url := l.URL()
			if tt.plain {
				url = strings.Replace(plain.URL(), "mqtt", "mqtts", 1)
			}
			d := &Dialer{TLS: cfg}
			if tt.say != "" {
				_, err := d.Dial(t.Context(), url)
				if err == nil || !strings.Contains(err.Error(), tt.say) {
					t.Errorf("%v, want %q", err, tt.say)
				}
				return
			}
			_, s := connect(t, d, l)
			state, _ := ConnectionState(s)
			if tt.mutual && (len(state.PeerCertificates) != 1 || state.PeerCertificates[0].Subject.CommonName != "client") {
				t.Errorf("client certificates: %d", len(state.PeerCertificates))
			}
		})
	}
}

func TestTLSClientCertificateMissing(t *testing.T) {
	ca := newAuthority(t)
	refused := make(chan error, 1)
	l := listen(t, "mqtts://localhost:0", ListenConfig{TLS: ca.server(true), OnHandshakeError: func(_ net.Addr, err error) { refused <- err }})
	cfg, err := TLS{CAFile: ca.file}.Client()
	must(t, err)
	// In TLS 1.3 the client learns of it only when it reads.
	c, err := (&Dialer{TLS: cfg}).Dial(t.Context(), l.URL())
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("client: %v", err)
	}
	if err := <-refused; err == nil {
		t.Error("the listener was told of no error")
	}
}

func TestTLSFiles(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue("x")
	_, otherKey := ca.issue("y")
	for name, tt := range map[string]struct {
		tls    TLS
		server bool
		say    string
	}{
		"no CA file":     {TLS{CAFile: "/nonexistent"}, false, "read the CA file"},
		"CA without PEM": {TLS{CAFile: key}, false, "no certificate in PEM"},
		"key alone":      {TLS{KeyFile: key}, false, "without a certificate"},
		"key missing":    {TLS{CertFile: cert}, false, cert},
		"wrong key":      {TLS{CertFile: cert, KeyFile: otherKey}, true, otherKey},
		"no certificate": {TLS{}, true, "needs a certificate"},
	} {
		build := tt.tls.Client
		if tt.server {
			build = tt.tls.Server
		}
		if _, err := build(); err == nil || !strings.Contains(err.Error(), tt.say) {
			t.Errorf("%s: %v, want %q", name, err, tt.say)
		}
	}
	cfg, err := TLS{CertFile: cert, KeyFile: key, CAFile: ca.file, ClientCertOptional: true}.Server()
	if err != nil || cfg.ClientAuth != tls.VerifyClientCertIfGiven {
		t.Errorf("optional client certificate: %v", err)
	}
}

// Clients that never finish their handshake delay neither Accept nor Close, and are cut off in time.
func TestSlowHandshakes(t *testing.T) {
	ca := newAuthority(t)
	for _, url := range []string{"wss://localhost:0", "ws://localhost:0"} {
		failed := make(chan error, 50)
		cfg := ListenConfig{TLS: ca.server(false), HandshakeTimeout: 50 * time.Millisecond, OnHandshakeError: func(_ net.Addr, err error) { failed <- err }}
		begin := func(l *Listener) (c net.Conn) {
			c, err := net.Dial("tcp", l.Addr().String())
			must(t, err)
			t.Cleanup(func() { c.Close() })
			c.Write([]byte("GET"))
			return c
		}
		l := listen(t, url, cfg)
		for range 20 {
			begin(l)
		}
		for range 20 {
			if err := <-failed; err == nil {
				t.Error("no error for a slow handshake")
			}
		}

		client, err := TLS{CAFile: ca.file}.Client()
		must(t, err)
		l = listen(t, url, ListenConfig{TLS: cfg.TLS, HandshakeTimeout: time.Hour})
		var c net.Conn
		for range 20 {
			c = begin(l)
		}
		connect(t, &Dialer{TLS: client}, l)
		ready, err := (&Dialer{TLS: client}).Dial(t.Context(), l.URL()) // done, but nobody accepts it
		must(t, err)
		defer ready.Close()
		must(t, l.Close())
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the pending connection is not closed: %v", url, err)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for name, sc := range schemeCases(b) {
		b.Run(name, func(b *testing.B) {
			l, err := Listen(sc.url, sc.cfg)
			must(b, err)
			defer l.Close()
			c, s := connect(b, &sc.dial, l)
			go io.Copy(s, s)
			msg := make([]byte, 128)
			b.ReportAllocs()
			for b.Loop() {
				c.Write(msg)
				if _, err := io.ReadFull(c, msg); err != nil {
					b.Fatal(err)
				}
			}
			c.Close()
		})
	}
}
