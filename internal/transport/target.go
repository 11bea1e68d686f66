package transport

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// The canonical schemes of a Target. Parse also knows tcp (mqtt), tls and ssl (mqtts).
const (
	SchemeMQTT  = "mqtt"
	SchemeMQTTS = "mqtts"
	SchemeWS    = "ws"
	SchemeWSS   = "wss"
	SchemeUnix  = "unix"
	SchemeMem   = "mem"
)

// DefaultPath is the path of a WebSocket URL that names none.
const DefaultPath = "/mqtt"

// Target is a parsed address.
type Target struct {
	Scheme string // one of the Scheme constants
	Host   string // without brackets; the name for mem, empty for unix
	Port   uint16 // 0 for unix and mem; for Listen, 0 is any free port
	Path   string // of the request for ws and wss, of the socket for unix
	Query  string // of a ws or wss request, without the question mark

	Username    string // from the URL, percent-decoded; never part of String
	Password    string
	HasPassword bool // tells an empty password from none
}

var schemes = map[string]struct {
	name string
	port uint16
}{
	"mqtt":  {SchemeMQTT, 1883},
	"tcp":   {SchemeMQTT, 1883},
	"mqtts": {SchemeMQTTS, 8883},
	"tls":   {SchemeMQTTS, 8883},
	"ssl":   {SchemeMQTTS, 8883},
	"ws":    {SchemeWS, 80},
	"wss":   {SchemeWSS, 443},
}

// Parse reads an address such as mqtts://user:secret@broker.example:8883, ws://localhost:8080/mqtt,
// unix:///run/broker.sock, mem://name or a bare host:port, which means mqtt. Its errors do not
// show credentials.
func Parse(raw string) (Target, error) {
	full := raw
	scheme, rest, found := strings.Cut(raw, ":")
	switch scheme = strings.ToLower(scheme); {
	case raw == "":
		return Target{}, parseError(raw, "the address is empty")
	case found && scheme == SchemeUnix:
		path := strings.TrimPrefix(rest, "//")
		if path == "" {
			return Target{}, parseError(raw, "the socket path is missing, write unix:///path")
		}
		if strings.IndexByte(path, 0) >= 0 {
			return Target{}, parseError(raw, "the socket path has a zero byte")
		}
		return Target{Scheme: SchemeUnix, Path: path}, nil
	case found && scheme == SchemeMem:
		return Target{Scheme: SchemeMem, Host: strings.TrimPrefix(rest, "//")}, nil
	case !strings.Contains(raw, "://"):
		if a, err := netip.ParseAddr(raw); err == nil && a.Is6() {
			return Target{Scheme: SchemeMQTT, Host: raw, Port: 1883}, nil
		}
		full = "mqtt://" + raw
	}
	return parseURL(raw, full)
}

func parseURL(raw, full string) (Target, error) {
	// The text of a url.Error can hold a piece of the password: its cause is not passed on.
	u, err := url.Parse(full)
	if err != nil {
		return Target{}, parseError(raw, "it is not a valid URL, check the port and percent-encode special characters")
	}
	s, ok := schemes[strings.ToLower(u.Scheme)]
	if !ok {
		return Target{}, parseError(raw, "the scheme is unknown, use mqtt, mqtts, ws, wss, unix or mem")
	}
	t := Target{Scheme: s.name, Host: u.Hostname(), Port: s.port}
	if u.Fragment != "" {
		return Target{}, parseError(raw, "it has a # part, percent-encode the # as %23")
	}
	if strings.Contains(t.Host, ":") {
		if _, err := netip.ParseAddr(t.Host); err != nil {
			return Target{}, parseError(raw, "the host has a colon but is no IPv6 address")
		}
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return Target{}, parseError(raw, "the port is not a number up to 65535")
		}
		t.Port = uint16(n)
	}
	if u.User != nil {
		t.Username = u.User.Username()
		t.Password, t.HasPassword = u.User.Password()
	}
	if t.WebSocket() {
		t.Path, t.Query = u.EscapedPath(), strings.ReplaceAll(u.RawQuery, " ", "%20")
		if t.Path == "" {
			t.Path = DefaultPath
		}
		return t, nil
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return Target{}, parseError(raw, "only ws and wss addresses have a path")
	}
	return t, nil
}

// WebSocket reports whether MQTT travels in WebSocket frames.
func (t Target) WebSocket() bool { return t.Scheme == SchemeWS || t.Scheme == SchemeWSS }

// TLS reports whether the connection is encrypted.
func (t Target) TLS() bool { return t.Scheme == SchemeMQTTS || t.Scheme == SchemeWSS }

// Addr returns host:port, the socket path, or the name of the in-memory listener.
func (t Target) Addr() string {
	switch t.Scheme {
	case SchemeUnix:
		return t.Path
	case SchemeMem:
		return t.Host
	}
	return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
}

// String returns the address as a URL that Parse reads, without credentials and with the query hidden,
// which often carries a token.
func (t Target) String() string {
	switch {
	case t.Scheme == SchemeUnix && !strings.HasPrefix(t.Path, "/"):
		return "unix:" + t.Path
	case t.WebSocket() && t.Query != "":
		return t.Scheme + "://" + t.Addr() + t.Path + "?***"
	case t.WebSocket():
		return t.Scheme + "://" + t.Addr() + t.Path
	}
	return t.Scheme + "://" + t.Addr()
}

// requestURI is what the WebSocket handshake asks for, secrets included.
func (t Target) requestURI() string {
	if t.Query == "" {
		return t.Path
	}
	return t.Path + "?" + t.Query
}

// Redact hides the credentials and the query of an address that may be malformed. It hides too much
// rather than too little.
func Redact(raw string) string {
	head, rest := "", raw
	if i := strings.Index(raw, "://"); i >= 0 {
		head, rest = raw[:i+3], raw[i+3:]
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "***" + rest[i:]
	}
	if i := strings.IndexByte(rest, '?'); i >= 0 {
		rest = rest[:i] + "?***"
	}
	return head + rest
}

func parseError(raw, why string) error {
	if raw == "" {
		return errors.New("read the address: it is empty, write for example mqtt://localhost:1883")
	}
	return errors.New("read the address " + strconv.Quote(Redact(raw)) + ": " + why)
}
