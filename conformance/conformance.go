// Package conformance checks an MQTT server against every statement of MQTT 3.1.1 and 5.0 that
// a wire test can judge.
//
// Start from [Run] with a [Config]; the [Report] says a [Verdict] for every rule of the
// registry in package rules. A [Check] provokes one behaviour through its [T]; [All] lists
// them. The zero Config checks the embedded broker.
//
// Verdicts err on the side of the target: every behaviour that the standard allows passes, a
// feature that the target does not announce makes a rule not applicable, and what cannot be
// decided is inconclusive.
package conformance

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/process"
	"github.com/mqlab/mqlab/internal/transport"
)

// Config says what to check and how. The zero value checks the embedded broker completely.
type Config struct {
	Name     string      // what reports call the target; empty: its URL
	Target   string      // URL of the server; "" is the embedded broker
	WSTarget string      // WebSocket URL of the same server, for the rules about WebSocket
	TLS      *tls.Config // for tls:// and wss:// targets

	// Cmd, if set, is the command that starts the target: it is run before the checks, run again
	// whenever the target dies, and ended afterwards. The words {port} and {ws_port} in it, in
	// Target and in WSTarget stand for free loopback ports, {dir} for a temporary folder.
	// An empty Target is then mqtt://127.0.0.1:{port}.
	Cmd string

	// Dial, if set, opens the connections instead of Target.
	Dial func(context.Context) (net.Conn, error)
	// DialWS, if set, opens the frame-level WebSocket connections instead of WSTarget.
	DialWS func(context.Context) (*transport.WSConn, error)
	// Broker configures the embedded broker.
	Broker broker.Config

	Username, Password       string // credentials of every connection
	BadUsername, BadPassword string // a login that the target refuses
	ForbiddenTopic           string // a topic that the credentials may not publish to
	AuthMethod               string // an enhanced authentication method of the target
	// AuthUsername and AuthPassword are the credentials of AuthMethod; empty: Username and Password.
	AuthUsername, AuthPassword string

	Versions Versions // zero: both
	Run      []string // globs on rule ids and check names; empty: everything
	Checks   []*Check // nil: All

	Baseline *Baseline // the findings that are expected of the target; may be nil

	Repeat   int           // run every check so many times; zero: once, or as often as the check asks for
	Parallel int           // checks at the same time; zero: 32
	Timeout  time.Duration // how long something that must happen is waited for; zero: 5 s
	Patience float64       // scales the waits that rules about time ask for; zero: 1

	Strict          bool // a warning counts as a breach in Report.OK
	Fast            bool // leave out rules about time
	NoGlobalFilters bool // leave out checks whose filters escape the topic prefix
	Transcripts     bool // keep the transcript of checks that pass as well
	Evidence        bool // work out evidence of every breach, for Report.WriteEvidence
	Ephemeral       bool // the target is thrown away afterwards: leave retained messages and sessions

	ClientIDPrefix string // before every Client Identifier
	TopicPrefix    string // before every topic; empty: "mqlab/"

	Events func(Event) // told what the run is doing; calls are serialised
}

func (c Config) withDefaults() Config {
	if c.Versions == 0 {
		c.Versions = rules.AnyVersion
	}
	if c.Checks == nil {
		c.Checks = All()
	}
	if c.Parallel == 0 {
		c.Parallel = 32
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Patience == 0 {
		c.Patience = 1
	}
	if c.TopicPrefix == "" {
		c.TopicPrefix = "mqlab/"
	}
	return c
}

// Validate reports every problem of the configuration by field.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if c.Target != "" && c.Dial == nil {
		if _, err := transport.Parse(strings.ReplaceAll(c.Target, "{port}", "1883")); err != nil {
			bad("Target", "%v", err)
		}
	}
	if c.Cmd != "" {
		if _, err := process.Split(c.Cmd); err != nil {
			bad("Cmd", "%v", err)
		} else if c.Target == "" && c.Dial == nil && !strings.Contains(c.Cmd, "{port}") {
			bad("Cmd", "the command does not say where it listens: write {port} in it, or name the target's URL")
		}
	}
	if c.Repeat < 0 {
		bad("Repeat", "%d is negative", c.Repeat)
	}
	if c.Parallel < 1 {
		bad("Parallel", "%d checks at a time are too few: use 1 or more", c.Parallel)
	}
	if c.Timeout < 100*time.Millisecond {
		bad("Timeout", "%v is too short to tell a slow server from a silent one: use 100ms or more", c.Timeout)
	}
	if c.Patience < 0.5 {
		bad("Patience", "%v is too little for the waits that rules ask for: use 0.5 or more", c.Patience)
	}
	if c.Password != "" && c.Username == "" {
		bad("Password", "a password without a user name is not allowed under 3.1.1: name the user as well")
	}
	if len(c.Select()) == 0 {
		bad("Run", "nothing matches %q: list the checks to see their names", c.Run)
	}
	return errors.Join(errs...)
}

// secrets are the strings that must not show in transcripts.
func (c *Config) secrets() []string { return []string{c.Password, c.BadPassword, c.AuthPassword} }

// open prepares the way to the target and starts the embedded broker where none is named.
func (r *run) open(ctx context.Context) (func(), error) {
	nothing := func() {}
	switch {
	case r.cfg.Cmd != "":
		return r.launch(ctx)
	case r.cfg.Dial != nil:
		r.dial = r.cfg.Dial
		return nothing, nil
	case r.cfg.Target != "":
		r.dialURL(r.cfg.Target)
		return nothing, nil
	}
	b, err := r.embedded()
	if err != nil {
		return nothing, err
	}
	stop := func() { _ = b.Close() }
	l, err := b.Listen("mqtt://127.0.0.1:0")
	if err != nil {
		return nothing, fmt.Errorf("start the embedded broker: %w", err)
	}
	ws, err := b.Listen("ws://127.0.0.1:0/mqtt")
	if err != nil {
		stop()
		return nothing, fmt.Errorf("start the embedded broker: %w", err)
	}
	r.cfg.WSTarget, r.cfg.Ephemeral = ws.URL(), true
	r.dialURL(l.URL())
	return stop, nil
}

// embedded returns the embedded broker. It says and offers all that the standard lets a server
// say and offer, so that no rule goes without a judgement.
func (r *run) embedded() (*broker.Broker, error) {
	cfg := r.cfg.Broker
	cfg.AckProperties = true
	if len(cfg.AuthMethods) == 0 && r.cfg.AuthMethod == "" {
		r.cfg.AuthMethod, r.cfg.AuthUsername, r.cfg.AuthPassword = broker.ScramName, "mqlab", rand.Text()
		account, err := broker.NewScramCredentials(r.cfg.AuthPassword, 0)
		if err != nil {
			return nil, fmt.Errorf("start the embedded broker: %w", err)
		}
		cfg.AuthMethods = []broker.AuthMethod{broker.ScramSHA256(func(user string) (broker.ScramCredentials, bool) {
			return account, user == r.cfg.AuthUsername
		})}
	}
	return broker.New(cfg), nil
}

func (r *run) dialURL(url string) {
	d := &transport.Dialer{TLS: r.cfg.TLS, Timeout: r.cfg.Timeout}
	r.dial = func(ctx context.Context) (net.Conn, error) { return d.Dial(ctx, url) }
}
