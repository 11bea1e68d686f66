package transport

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func TestWSSubprotocol(t *testing.T) {
	custom := func(name string) func([]string) string { return func([]string) string { return name } }
	tests := map[string]struct {
		offer   []string // nil: mqtt
		server  ListenConfig
		dial    Dialer
		want    string
		refused error
	}{
		"MQTT-6.0.0-4 offered":        {want: "mqtt"},
		"MQTT-6.0.0-4 among others":   {offer: []string{"foo", "mqttv3.1", "mqtt"}, want: "mqtt"},
		"only another, taken without": {offer: []string{"mqttv3.1"}, dial: Dialer{AnySubprotocol: true}},
		"only another, checked":       {offer: []string{"mqttv3.1"}, refused: ErrSubprotocol},
		"none offered":                {offer: []string{}},
		"none offered, required":      {offer: []string{}, server: ListenConfig{RequireSubprotocol: true}, refused: &HandshakeError{}},
		"mqtt required and offered":   {server: ListenConfig{RequireSubprotocol: true}, want: "mqtt"},
		"server selects a stranger":   {server: ListenConfig{Subprotocol: custom("soap")}, refused: ErrSubprotocol},
		"stranger kept on demand":     {server: ListenConfig{Subprotocol: custom("soap")}, dial: Dialer{AnySubprotocol: true}, want: "soap"},
		"server selects nothing":      {server: ListenConfig{Subprotocol: custom("")}, refused: ErrSubprotocol},
		"one selected, none offered":  {offer: []string{}, server: ListenConfig{Subprotocol: custom("mqtt")}, refused: ErrSubprotocol},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := listen(t, "ws://127.0.0.1:0", tt.server)
			tt.dial.Subprotocols = tt.offer
			if tt.refused != nil {
				_, err := tt.dial.DialWS(t.Context(), l.URL())
				var he *HandshakeError
				if _, byStatus := tt.refused.(*HandshakeError); byStatus {
					if !errors.As(err, &he) || he.Status != http.StatusBadRequest {
						t.Errorf("%v", err)
					}
				} else if !errors.Is(err, tt.refused) {
					t.Errorf("%v, want %v", err, tt.refused)
				}
				return
			}
			c, s := connect(t, &tt.dial, l)
			if got := c.(*WSConn).Subprotocol(); got != tt.want || s.(*WSConn).Subprotocol() != tt.want {
				t.Errorf("client has %q, server %q, want %q", got, s.(*WSConn).Subprotocol(), tt.want)
			}
		})
	}
}

func TestWSRequests(t *testing.T) {
	l := listen(t, "ws://127.0.0.1:0/mqtt", ListenConfig{MaxHeader: 2000})
	good := "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a,mqtt\r\nSec-WebSocket-Protocol: b\r\n\r\n"
	replace := func(from, to string) string { return strings.Replace(good, from, to, 1) }
	for name, tt := range map[string]struct {
		request string
		status  int
	}{
		"good":        {good, 101},
		"bare LF":     {strings.ReplaceAll(good, "\r\n", "\n"), 101},
		"path":        {replace("/mqtt", "/"), 404},
		"method":      {replace("GET", "PUT"), 405},
		"no upgrade":  {replace("Upgrade: WebSocket\r\n", ""), 426},
		"version":     {replace(": 13", ": 8"), 426},
		"key":         {replace("dGhl", ""), 400},
		"no host":     {replace("Host: x\r\n", ""), 400},
		"not HTTP":    {"\x10\x0c\x00\x04MQTT\r\n\r\n", 400},
		"HTTP/1.0":    {replace("HTTP/1.1", "HTTP/1.0"), 400},
		"too large":   {replace("Host:", "X: "+strings.Repeat("x", 4000)+"\r\nHost:"), 431},
		"never ended": {strings.Repeat("GET / HTTP/1.1\r\n", 1000), 431},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", l.Addr().String())
			must(t, err)
			defer c.Close()
			must(t, c.SetDeadline(time.Now().Add(time.Minute)))
			if tt.status == 101 {
				go func() {
					if s, err := l.Accept(); err == nil {
						io.Copy(s, s)
						s.Close()
					}
				}()
			}
			// A frame right behind the request belongs to the connection.
			go c.Write(append([]byte(tt.request), frame(OpBinary, true, true, "early")...))
			br := bufio.NewReader(c)
			resp, err := http.ReadResponse(br, &http.Request{Method: "GET"})
			must(t, err)
			if resp.StatusCode != tt.status {
				t.Fatalf("status %s", resp.Status)
			}
			if tt.status != 101 {
				return
			}
			// The example of RFC 6455 section 1.3.
			if got := resp.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || resp.Header.Get("Sec-WebSocket-Protocol") != "mqtt" {
				t.Errorf("%v", resp.Header)
			}
			f, err := peerFrame(br)
			if err != nil || string(f.Payload) != "early" {
				t.Errorf("%q, %v", f.Payload, err)
			}
		})
	}
}

func TestWSResponses(t *testing.T) {
	const good = "HTTP/1.1 101 Yes\r\nupgrade: WebSocket\r\nconnection: keep-alive, upgrade\r\nSec-WebSocket-Accept: ACCEPT\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	replace := func(from, to string) string { return strings.Replace(good, from, to, 1) }
	for name, tt := range map[string]struct{ response, say string }{
		"good":       {good, ""},
		"not found":  {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "check the path"},
		"forbidden":  {"HTTP/1.1 403 Forbidden\r\n\r\n", "credentials"},
		"a page":     {"HTTP/1.1 200 OK\r\n\r\n<html>", "HTTP 200 instead of 101"},
		"accept":     {replace("ACCEPT", "x"), "Sec-WebSocket-Accept"},
		"upgrade":    {replace("upgrade: WebSocket\r\n", ""), "Upgrade: websocket"},
		"connection": {replace("keep-alive, upgrade", "close"), "Connection: Upgrade"},
		"extension":  {replace("upgrade:", "Sec-WebSocket-Extensions: permessage-deflate\r\nupgrade:"), "extension"},
		"MQTT":       {"\x20\x02\x00\x00\r\n\r\n", "does not speak HTTP"},
		"closed":     {"", "closed the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, "tcp://127.0.0.1:0", ListenConfig{})
			served := make(chan struct{})
			go func() {
				defer close(served)
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				// A frame in the same segment as the answer must not be lost.
				answer := strings.Replace(tt.response, "ACCEPT", acceptKey(req.Header.Get(headKey)), 1)
				c.Write(append([]byte(answer), frame(OpBinary, true, false, "early")[:min(7, 7*len(answer))]...))
			}()
			c, err := (&Dialer{}).Dial(t.Context(), strings.Replace(l.URL(), "mqtt", "ws", 1))
			<-served
			if tt.say != "" {
				if err == nil || !strings.Contains(err.Error(), tt.say) {
					t.Errorf("%v, want %q", err, tt.say)
				}
				return
			}
			must(t, err)
			defer c.Close()
			p := make([]byte, 5)
			if _, err := io.ReadFull(c, p); err != nil || string(p) != "early" {
				t.Errorf("%q, %v", p, err)
			}
		})
	}
}

// The other implementation as client of our listener.
func TestWSForeignClient(t *testing.T) {
	l := listen(t, "ws://127.0.0.1:0", ListenConfig{})
	// Close does not wait for the answer to its close frame, and this client reports the failure to write
	// that answer rather than the code: the connection stays until the code was seen.
	seen, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if s, err := l.Accept(); err == nil {
			io.Copy(s, s)
			<-seen
			s.Close()
		}
	}()
	defer func() { close(seen); l.Close(); <-done }()
	c, _, hs, err := ws.Dialer{Protocols: []string{"x", "mqtt"}}.Dial(t.Context(), l.URL())
	must(t, err)
	defer c.Close()
	if hs.Protocol != "mqtt" {
		t.Errorf("protocol %q", hs.Protocol)
	}
	big := bytes.Repeat([]byte("mqtt"), 1<<16)
	go wsutil.WriteClientBinary(c, big)
	var got []byte
	for len(got) < len(big) {
		b, op, err := wsutil.ReadServerData(c)
		must(t, err)
		if op != ws.OpBinary {
			t.Fatalf("opcode %v", op)
		}
		got = append(got, b...)
	}
	if !bytes.Equal(got, big) {
		t.Error("the echo differs")
	}
	must(t, wsutil.WriteClientText(c, []byte("text")))
	_, _, err = wsutil.ReadServerData(c)
	var closed wsutil.ClosedError
	if !errors.As(err, &closed) || closed.Code != ws.StatusUnsupportedData {
		t.Errorf("after a text frame: %v", err)
	}
}

// The other implementation as server of our client.
func TestWSForeignServer(t *testing.T) {
	l := listen(t, "tcp://127.0.0.1:0", ListenConfig{})
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			defer c.Close()
			u := ws.Upgrader{Protocol: func(b []byte) bool { return string(b) == "mqtt" }}
			if _, err := u.Upgrade(c); err != nil {
				return err
			}
			for {
				b, op, err := wsutil.ReadClientData(c)
				if err != nil {
					return err
				}
				if err := wsutil.WriteServerMessage(c, op, b); err != nil {
					return err
				}
			}
		}()
	}()
	c, err := (&Dialer{}).Dial(t.Context(), strings.Replace(l.URL(), "mqtt", "ws", 1))
	must(t, err)
	for _, size := range []int{1, 200, 70_000} {
		msg := bytes.Repeat([]byte{byte(size)}, size)
		go c.Write(msg)
		got := make([]byte, size)
		if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, msg) {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	must(t, c.Close())
	var closed wsutil.ClosedError
	if err := <-done; !errors.As(err, &closed) || closed.Code != ws.StatusNormalClosure {
		t.Errorf("the server saw %v", err)
	}
}
