package transport

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Subprotocol is the WebSocket subprotocol of MQTT [MQTT-6.0.0-3], [MQTT-6.0.0-4].
const Subprotocol = "mqtt"

const (
	headProtocol = "Sec-WebSocket-Protocol"
	headKey      = "Sec-WebSocket-Key"
	headAccept   = "Sec-WebSocket-Accept"
	headVersion  = "Sec-WebSocket-Version"
	headExt      = "Sec-WebSocket-Extensions"

	// DefaultMaxHeader bounds the HTTP head of a WebSocket handshake.
	DefaultMaxHeader = 8 << 10
)

// acceptKey answers a handshake key as RFC 6455 section 1.3 has it.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// errHeadTooLarge is the cause when an HTTP head passes its limit.
var errHeadTooLarge = errors.New("the HTTP head of the handshake is too large")

// readHead reads up to the empty line that ends an HTTP head, and returns what came behind it apart.
func readHead(r io.Reader, limit int) (head, rest []byte, err error) {
	buf := make([]byte, 0, 1024)
	for {
		if len(buf) == cap(buf) {
			if len(buf) >= limit {
				return nil, nil, errHeadTooLarge
			}
			buf = append(make([]byte, 0, min(2*cap(buf), max(limit, cap(buf)+1))), buf...)
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		from := max(0, len(buf)-3)
		buf = buf[:len(buf)+n]
		if end := headEnd(buf, from); end > limit {
			return nil, nil, errHeadTooLarge
		} else if end > 0 {
			return buf[:end], buf[end:], nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// headEnd finds the end of the first empty line, looking from an offset on; 0 if there is none.
func headEnd(b []byte, from int) int {
	for i := from; i < len(b); i++ {
		if b[i] != '\n' {
			continue
		}
		switch rest := b[i+1:]; {
		case len(rest) >= 1 && rest[0] == '\n':
			return i + 2
		case len(rest) >= 2 && rest[0] == '\r' && rest[1] == '\n':
			return i + 3
		}
	}
	return 0
}

// tokens splits the comma-separated values of a header, in order.
func tokens(values []string) []string {
	var out []string
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if t = strings.TrimSpace(t); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}

func hasToken(values []string, want string) bool {
	return slices.ContainsFunc(tokens(values), func(t string) bool { return strings.EqualFold(t, want) })
}

// clientHandshake turns conn into a WebSocket connection. It closes conn on error.
func (d *Dialer) clientHandshake(ctx context.Context, conn net.Conn, t Target) (_ *WSConn, err error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			conn.Close()
		}
	}()
	offered := d.Subprotocols
	if offered == nil {
		offered = []string{Subprotocol}
	}
	var nonce [16]byte
	rand.Read(nonce[:])
	key := base64.StdEncoding.EncodeToString(nonce[:])
	if _, err := conn.Write(d.request(t, key, offered)); err != nil {
		return nil, err
	}
	head, rest, err := readHead(conn, 2*DefaultMaxHeader)
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: http.MethodGet})
	if err != nil {
		return nil, &HandshakeError{Msg: "the peer does not speak HTTP there; check that the port is a WebSocket listener"}
	}
	defer resp.Body.Close()
	if msg := refuseResponse(resp, key); msg != "" {
		return nil, &HandshakeError{Status: resp.StatusCode, Header: resp.Header, Msg: msg}
	}
	c := newWSConn(conn, true, rest)
	// A copy, for the original would keep the whole head alive.
	c.protocol, c.header = strings.Clone(resp.Header.Get(headProtocol)), resp.Header
	if !d.AnySubprotocol && !acceptable(offered, resp.Header.Values(headProtocol)) {
		return nil, fmt.Errorf("%w (offered %q, selected %q)", ErrSubprotocol, offered, resp.Header.Values(headProtocol))
	}
	return c, nil
}

// acceptable tells whether the selected names are exactly one of those offered, or none of none.
func acceptable(offered, selected []string) bool {
	if len(offered) == 0 {
		return len(selected) == 0
	}
	return len(selected) == 1 && slices.Contains(offered, selected[0])
}

func (d *Dialer) request(t Target, key string, offered []string) []byte {
	var b bytes.Buffer
	host := t.Addr()
	if t.Scheme == SchemeWS && t.Port == 80 || t.Scheme == SchemeWSS && t.Port == 443 {
		host = strings.TrimSuffix(host, fmt.Sprintf(":%d", t.Port))
	}
	if h := d.Header.Get("Host"); h != "" {
		host = strings.NewReplacer("\r", "", "\n", "").Replace(h)
	}
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%s: %s\r\n%s: 13\r\n",
		t.requestURI(), host, headKey, key, headVersion)
	if len(offered) > 0 {
		fmt.Fprintf(&b, "%s: %s\r\n", headProtocol, strings.Join(offered, ", "))
	}
	// WriteSubset cleans values, so that a header cannot smuggle in another line.
	d.Header.WriteSubset(&b, map[string]bool{
		"Host": true, "Upgrade": true, "Connection": true, "Sec-Websocket-Key": true,
		"Sec-Websocket-Version": true, "Sec-Websocket-Protocol": true, "Sec-Websocket-Extensions": true,
	})
	b.WriteString("\r\n")
	return b.Bytes()
}

// refuseResponse says what RFC 6455 section 4.1 makes unacceptable, subprotocol apart; "" if nothing.
func refuseResponse(resp *http.Response, key string) string {
	h := resp.Header
	switch {
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return "the peer answered HTTP " + resp.Status
	case !resp.ProtoAtLeast(1, 1):
		return "the peer's handshake answer is older than HTTP/1.1"
	case !hasToken(h.Values("Upgrade"), "websocket"):
		return "the peer's handshake answer has no Upgrade: websocket"
	case !hasToken(h.Values("Connection"), "upgrade"):
		return "the peer's handshake answer has no Connection: Upgrade"
	case strings.TrimSpace(h.Get(headAccept)) != acceptKey(key):
		return "the peer's handshake answer has a wrong Sec-WebSocket-Accept"
	case len(tokens(h.Values(headExt))) > 0:
		return "the peer selected a WebSocket extension that was not offered"
	}
	return ""
}

// serverHandshake answers the upgrade request that comes on conn.
func serverHandshake(conn net.Conn, path string, cfg *ListenConfig) (*WSConn, error) {
	head, rest, err := readHead(conn, cfg.maxHeader())
	if errors.Is(err, errHeadTooLarge) {
		refuse(conn, http.StatusRequestHeaderFieldsTooLarge, nil)
	}
	if err != nil {
		return nil, err
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		refuse(conn, http.StatusBadRequest, nil)
		return nil, errors.New("the request is not HTTP")
	}
	if status, msg, extra := refuseRequest(req, path, cfg); status != 0 {
		refuse(conn, status, extra)
		return nil, &HandshakeError{Status: status, Header: req.Header, Msg: msg}
	}
	offered := tokens(req.Header.Values(headProtocol))
	selected := cfg.selectSubprotocol(offered)
	if selected == "" && cfg.RequireSubprotocol {
		refuse(conn, http.StatusBadRequest, nil)
		return nil, &HandshakeError{Status: http.StatusBadRequest, Header: req.Header, Msg: "the client did not offer the subprotocol mqtt"}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%s: %s\r\n",
		headAccept, acceptKey(req.Header.Get(headKey)))
	if selected != "" {
		fmt.Fprintf(&b, "%s: %s\r\n", headProtocol, selected)
	}
	b.WriteString("\r\n")
	if _, err := conn.Write(b.Bytes()); err != nil {
		return nil, err
	}
	c := newWSConn(conn, false, rest)
	c.protocol = strings.Clone(selected)
	if cfg.KeepHeader {
		c.header = req.Header
	}
	return c, nil
}

// refuseRequest says what RFC 6455 section 4.2.1 makes unacceptable; status 0 if nothing.
func refuseRequest(req *http.Request, path string, cfg *ListenConfig) (status int, msg string, extra http.Header) {
	h := req.Header
	key, keyErr := base64.StdEncoding.DecodeString(h.Get(headKey))
	switch {
	case req.Method != http.MethodGet:
		return http.StatusMethodNotAllowed, "the method is not GET", http.Header{"Allow": {http.MethodGet}}
	case !cfg.AnyPath && req.URL.EscapedPath() != path:
		return http.StatusNotFound, "the path is not the listener's", nil
	case !hasToken(h.Values("Connection"), "upgrade") || !hasToken(h.Values("Upgrade"), "websocket"):
		return http.StatusUpgradeRequired, "the request does not ask for WebSocket",
			http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}
	case !req.ProtoAtLeast(1, 1) || req.Host == "" && len(h.Values("Host")) == 0:
		return http.StatusBadRequest, "the request is not HTTP/1.1 with a Host", nil
	case h.Get(headVersion) != "13":
		return http.StatusUpgradeRequired, "the WebSocket version is not 13", http.Header{headVersion: {"13"}}
	case keyErr != nil || len(key) != 16 || len(h.Values(headKey)) != 1:
		return http.StatusBadRequest, "the Sec-WebSocket-Key is not 16 bytes in base64", nil
	}
	return 0, "", nil
}

// refuse answers with an error; whether it arrives does not matter.
func refuse(w io.Writer, status int, extra http.Header) {
	body := http.StatusText(status) + "\n"
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	h := http.Header{"Content-Type": {"text/plain"}, "Content-Length": {fmt.Sprint(len(body))}, "Connection": {"close"}}
	for k, v := range extra {
		h[k] = v
	}
	h.Write(&b)
	b.WriteString("\r\n" + body)
	_, _ = w.Write(b.Bytes())
}
