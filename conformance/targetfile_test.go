package conformance_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/conformance"
)

func TestTargetFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("secret", "sesame\nsecond line\n")
	write("known.yaml", "target: b\nfindings: [{rule: MQTT-3.12.4-1, mqtt: 5.0, verdict: warn, reason: known}]\n")
	targets, err := conformance.ReadTargets(strings.NewReader(`
targets:
- name: one
  url: mqtt://bob@127.0.0.1:1
  ws_url: ws://127.0.0.1:2/mqtt
  password_file: secret
  bad_username: bob
  bad_password_env: WRONG
  forbidden_topic: secret/x
  auth_method: SCRAM-SHA-256
  client_id_prefix: c-
  topic_prefix: t/
  mqtt: 3.1.1
  timeout: 7s
  patience: 2
  parallel: 3
  fast: true
  no_global_filters: true
  expected_file: known.yaml
- name: two
  cmd: broker --port {port} --dir {dir}
  url: mqtt://127.0.0.1:{port}
  tls: {insecure: true}
  expected: [{rule: MQTT-3.12.4-1, mqtt: 3.1.1, verdict: fail, reason: silent}]
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []conformance.Config
	for _, x := range targets {
		cfg := conformance.Config{TopicPrefix: "mqlab/", Timeout: 5 * time.Second}
		if err := x.Apply(&cfg, dir, func(name string) string { return "value of " + name }); err != nil {
			t.Fatal(err)
		}
		if (cfg.TLS != nil) != (cfg.Name == "two") {
			t.Errorf("%s: TLS %v", cfg.Name, cfg.TLS)
		}
		cfg.TLS = nil
		got = append(got, cfg)
	}
	want := []conformance.Config{{
		Name: "one", Target: "mqtt://bob@127.0.0.1:1", WSTarget: "ws://127.0.0.1:2/mqtt", Username: "bob", Password: "sesame",
		BadUsername: "bob", BadPassword: "value of WRONG", ForbiddenTopic: "secret/x", AuthMethod: "SCRAM-SHA-256",
		ClientIDPrefix: "c-", TopicPrefix: "t/", Versions: conformance.MQTT311, Timeout: 7 * time.Second, Patience: 2, Parallel: 3,
		Fast: true, NoGlobalFilters: true,
		Baseline: &conformance.Baseline{Target: "b", Findings: []conformance.ExpectedFinding{
			{Rule: "MQTT-3.12.4-1", Version: conformance.MQTT5, Verdict: conformance.Warn, Reason: "known"},
		}},
	}, {
		Name: "two", Cmd: "broker --port {port} --dir {dir}", Target: "mqtt://127.0.0.1:{port}", TopicPrefix: "mqlab/", Timeout: 5 * time.Second,
		Baseline: &conformance.Baseline{Target: "two", Findings: []conformance.ExpectedFinding{
			{Rule: "MQTT-3.12.4-1", Version: conformance.MQTT311, Verdict: conformance.Fail, Reason: "silent"},
		}},
	}}
	opt := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Broker" }, cmp.Ignore())
	if diff := cmp.Diff(want, got, opt); diff != "" {
		t.Error(diff)
	}
	for _, cfg := range got {
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", cfg.Name, err)
		}
	}
}

func TestTargetFileProblems(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown key", "url: mqtt://x\nusrname: u\n", "usrname"},
		{"nothing to test", "name: x\n", "url: neither url nor cmd"},
		{"bad url", "url: 'gopher://x'\n", "url:"},
		{"two passwords", "url: mqtt://x\npassword: a\npassword_env: B\n", "password: it stands there in several forms"},
		{"bad version", "url: mqtt://x\nmqtt: '6'\n", "unknown MQTT version"},
		{"bad duration", "url: mqtt://x\ntimeout: soon\n", "invalid duration"},
		{"shell", "cmd: broker {port} > log\n", "cmd: the command needs a shell"},
		{"expected", "url: mqtt://x\nexpected: [{rule: Z, mqtt: 5.0, verdict: fail}]\n", "no rule Z"},
		{"all at once", "targets: [{name: a}, {name: b}]\n", "targets[1].url: neither"},
		{"one and a list", "url: mqtt://x\ntargets: [{url: mqtt://y}]\n", "put all of them under targets"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := conformance.ReadTargets(strings.NewReader(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	one, err := conformance.ReadTargets(strings.NewReader("url: mqtt://x\npassword_env: NOT_SET\n"))
	if err != nil || len(one) != 1 {
		t.Fatal(one, err)
	}
	if err := one[0].Apply(&conformance.Config{}, "", func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), "NOT_SET is not set") {
		t.Errorf("error %v", err)
	}
}
