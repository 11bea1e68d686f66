package conformance_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/mutant"
	"github.com/mqlab/mqlab/conformance/rules"
)

// serve runs a broker of the configuration until the test ends and returns how to reach it.
func serve(t *testing.T, cfg broker.Config) func(context.Context) (net.Conn, error) {
	t.Helper()
	b := broker.New(cfg)
	t.Cleanup(func() { _ = b.Close() })
	return func(context.Context) (net.Conn, error) { return b.Dial() }
}

// onlyUser admits one login.
func onlyUser(_ context.Context, l broker.Login) error {
	if l.Username != "alice" || string(l.Password) != "sesame" {
		return broker.ErrBadCredentials
	}
	return nil
}

// verdictOf returns the verdict of one rule.
func verdictOf(t *testing.T, rep *conformance.Report, v rules.Versions, id string) conformance.Verdict {
	t.Helper()
	for _, r := range rep.Rules {
		if r.ID == id && r.Version == v {
			return r.Verdict
		}
	}
	t.Fatalf("no verdict on %s of %s", id, v)
	return 0
}

// TestHandshakeWithLogin holds that a broker which knows its users is not accused of turning
// others away, and that a login which must be refused is judged.
func TestHandshakeWithLogin(t *testing.T) {
	cfg := conformance.Config{
		Username: "alice", Password: "sesame", BadUsername: "alice", BadPassword: "open", Ephemeral: true, Fast: true,
		Run: []string{"connect/*", "clientid/*", "connack/*"}, Timeout: patient,
	}
	cfg.Dial = serve(t, broker.Config{Authenticate: onlyUser})
	rep, err := conformance.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rep.Rules {
		if r.Verdict >= conformance.Warn {
			t.Errorf("%s of %s: %s: %s", r.ID, r.Version, r.Verdict, r.Reason)
		}
	}
	if got := verdictOf(t, rep, rules.MQTT5, "MQTT-3.1.4-2"); got != conformance.Pass {
		t.Errorf("MQTT-3.1.4-2: %s, want pass", got)
	}

	cfg.Dial, cfg.Run, cfg.Versions = serve(t, broker.Config{}), []string{"MQTT-3.1.4-2"}, rules.MQTT5
	if rep, err = conformance.Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if got := verdictOf(t, rep, rules.MQTT5, "MQTT-3.1.4-2"); got != conformance.Fail {
		t.Errorf("MQTT-3.1.4-2 on a broker that admits everybody: %s, want fail", got)
	}
}

// TestSurplusFieldUsed holds that a broker which takes a field that no flag announces for a
// credential is accused, and not only warned.
func TestSurplusFieldUsed(t *testing.T) {
	for _, tc := range []struct{ id, user, password string }{
		{"MQTT-3.1.2-18", "alice", ""},
		{"MQTT-3.1.2-20", "alice", "sesame"},
	} {
		t.Run(tc.id, func(t *testing.T) {
			p := mutant.NewProxy(serve(t, broker.Config{Authenticate: func(_ context.Context, l broker.Login) error {
				if l.Username != tc.user || string(l.Password) != tc.password {
					return broker.ErrBadCredentials
				}
				return nil
			}}), mutant.SurplusFieldUsed())
			defer p.Close()
			rep, err := conformance.Run(t.Context(), conformance.Config{
				Dial: p.Dial, Versions: rules.MQTT311, Username: tc.user, Password: tc.password, Ephemeral: true,
				Run: []string{tc.id}, Timeout: patient,
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := verdictOf(t, rep, rules.MQTT311, tc.id); got != conformance.Fail {
				t.Errorf("%s: %s, want fail", tc.id, got)
			}
		})
	}
}

// TestNoConnect holds that a connection without CONNECT which is never closed is reported once
// patience has outlasted every usual limit, and is inconclusive before.
func TestNoConnect(t *testing.T) {
	for _, tc := range []struct {
		name     string
		timeout  bool // the broker has a limit
		patience float64
		want     conformance.Verdict
	}{
		{"limit", true, 1, conformance.Pass},
		{"no limit", false, 1, conformance.Inconclusive},
		{"no limit for long", false, 20, conformance.Warn},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := broker.Config{}
				if !tc.timeout {
					cfg.ConnectTimeout = -1
				}
				rep, err := conformance.Run(t.Context(), conformance.Config{
					Dial: serve(t, cfg), Versions: rules.MQTT5, Run: []string{"P-3.1.4-no-connect"},
					Patience: tc.patience, Ephemeral: true,
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := verdictOf(t, rep, rules.MQTT5, "P-3.1.4-no-connect"); got != tc.want {
					t.Errorf("verdict %s, want %s", got, tc.want)
				}
			})
		})
	}
}
