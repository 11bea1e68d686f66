package conformance_test

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/mutant"
	"github.com/mqlab/mqlab/internal/ui"
)

// withoutPingresp returns how to reach a broker that never answers PINGREQ.
func withoutPingresp(t *testing.T) func(context.Context) (net.Conn, error) {
	t.Helper()
	p := mutant.NewProxy(serve(t, broker.Config{}), &mutant.Hooks{Down: func(_ *mutant.Link, raw *mutant.Packet) {
		if _, ok := raw.Packet.(*codec.Pingresp); ok {
			raw.Drop()
		}
	}})
	t.Cleanup(p.Close)
	return p.Dial
}

// TestExpectedFindings holds that a listed breach is shown and not counted against the target,
// that a worse or unlisted one is, and that a listed rule which is kept is reported.
func TestExpectedFindings(t *testing.T) {
	const ping = "MQTT-3.12.4-1"
	list := func(verdict conformance.Verdict, ids ...string) *conformance.Baseline {
		b := &conformance.Baseline{}
		for _, id := range ids {
			b.Findings = append(b.Findings, conformance.ExpectedFinding{Rule: id, Version: conformance.MQTT311, Verdict: verdict, Reason: "it does not ping"})
		}
		return b
	}
	for _, tc := range []struct {
		name     string
		baseline *conformance.Baseline
		ok       bool
		expected int
		better   int
		text     string
	}{
		{"no list", nil, false, 0, 0, "1 fail"},
		{"listed", list(conformance.Fail, ping), true, 1, 0, "it does not ping"},
		{"worse than listed", list(conformance.Warn, ping), false, 0, 0, "1 fail"},
		{"listed and kept", list(conformance.Fail, ping, "MQTT-3.10.4-4"), true, 1, 1, "MQTT-3.10.4-4 of MQTT 3.1.1 is kept; fail was expected"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rep, err := conformance.Run(t.Context(), conformance.Config{
				Dial: withoutPingresp(t), Versions: conformance.MQTT311, Run: []string{ping, "MQTT-3.10.4-4"}, Fast: true,
				Timeout: 500 * time.Millisecond, Ephemeral: true, Baseline: tc.baseline,
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := rep.Rule(ping, conformance.MQTT311); got.Verdict != conformance.Fail || got.Expected != (tc.expected > 0) {
				t.Errorf("%s: %s, expected %v", ping, got.Verdict, got.Expected)
			}
			if rep.OK() != tc.ok || rep.Counts.Expected != tc.expected || len(rep.Better) != tc.better {
				t.Errorf("OK %v, %d expected, better %v", rep.OK(), rep.Counts.Expected, rep.Better)
			}
			var b bytes.Buffer
			if err := rep.WriteText(&b, ui.Plain(), conformance.TextOptions{}); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(b.String(), tc.text) {
				t.Errorf("the text lacks %q:\n%s", tc.text, b.String())
			}
			// What is written as a baseline expects exactly this report, and keeps the reasons given.
			var file bytes.Buffer
			if err := rep.Baseline().Write(&file); err != nil {
				t.Fatal(err)
			}
			again, err := conformance.ReadBaseline(&file)
			if err != nil {
				t.Fatal(err)
			}
			if d := again.Compare(rep); len(d.Unexpected)+len(d.Better) != 0 {
				t.Errorf("the written list expects something else: %+v", d)
			}
			if tc.expected > 0 && again.Findings[0].Reason != "it does not ping" {
				t.Errorf("the reason became %q", again.Findings[0].Reason)
			}
		})
	}
}

func TestReadBaseline(t *testing.T) {
	good := "target: x\nfindings:\n- {rule: MQTT-3.12.4-1, mqtt: 3.1.1, verdict: fail}\n- {rule: MQTT-3.12.4-1, mqtt: 5.0, verdict: warn, reason: why}\n"
	b, err := conformance.ReadBaseline(strings.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	want := []conformance.ExpectedFinding{
		{Rule: "MQTT-3.12.4-1", Version: conformance.MQTT311, Verdict: conformance.Fail},
		{Rule: "MQTT-3.12.4-1", Version: conformance.MQTT5, Verdict: conformance.Warn, Reason: "why"},
	}
	if diff := cmp.Diff(want, b.Findings); diff != "" {
		t.Error(diff)
	}
	for _, tc := range []struct{ name, text, want string }{
		{"unknown rule", "findings: [{rule: MQTT-9.9.9-9, mqtt: 5.0, verdict: fail}]", "no rule MQTT-9.9.9-9"},
		{"a pass", "findings: [{rule: MQTT-3.12.4-1, mqtt: 5.0, verdict: pass}]", "expect fail or warn"},
		{"no version", "findings: [{rule: MQTT-3.12.4-1, verdict: fail}]", "write one version"},
		{"twice", strings.Replace(good, "5.0", "3.1.1", 1), "twice"},
		{"unknown key", "findngs: []", "findngs"},
		{"two problems", "findings: [{rule: A, mqtt: 5.0, verdict: fail}, {rule: B, mqtt: 5.0, verdict: fail}]", "no rule B"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := conformance.ReadBaseline(strings.NewReader(tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// TestRaces holds that a check which races runs as often as it asks for, that one failure in
// several is a failure, and that the report says how many.
func TestRaces(t *testing.T) {
	for _, tc := range []struct {
		name          string
		races, repeat int
		failsAt       int // the run that fails; 0: none, -1: all
		ran, failed   int
		want          conformance.Verdict
		reason        string
	}{
		{"once", 0, 0, 0, 1, 0, conformance.Pass, ""},
		{"never fails", 4, 0, 0, 4, 0, conformance.Pass, ""},
		{"fails once", 4, 0, 3, 4, 1, conformance.Fail, "1 of 4 attempts failed: expected luck; got none"},
		{"fails always", 5, 0, -1, 2, 2, conformance.Fail, "2 of 2 attempts failed"},
		{"asked for", 0, 3, 1, 3, 1, conformance.Fail, "1 of 3 attempts failed"},
		{"the larger number", 2, 5, 0, 5, 0, conformance.Pass, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var runs atomic.Int32
			topics := make(chan string, 10)
			rep, err := conformance.Run(t.Context(), conformance.Config{
				Versions: conformance.MQTT5, Repeat: tc.repeat,
				Checks: []*conformance.Check{{
					Name: "test/race", Rules: []string{"MQTT-3.12.4-1"}, Versions: conformance.MQTT5, Races: tc.races,
					Run: func(t *conformance.T) {
						topics <- t.Topic("a")
						n := int(runs.Add(1))
						t.Judge().That(n != tc.failsAt && tc.failsAt >= 0, "luck", "none")
					},
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			c := rep.Checks[0]
			if int(runs.Load()) != tc.ran || c.Attempts != tc.ran || c.Failed != tc.failed || c.Verdict != tc.want || !strings.HasPrefix(c.Reason, tc.reason) {
				t.Errorf("ran %d times; %d of %d failed; %s: %s", runs.Load(), c.Failed, c.Attempts, c.Verdict, c.Reason)
			}
			if r := rep.Rule("MQTT-3.12.4-1", conformance.MQTT5); r.Verdict != tc.want {
				t.Errorf("the rule's verdict is %s", r.Verdict)
			}
			seen := map[string]bool{}
			for range tc.ran {
				seen[<-topics] = true
			}
			if len(seen) != tc.ran {
				t.Errorf("%d runs shared topics: %v", tc.ran, seen)
			}
		})
	}
}

// TestScores holds that each rule is counted on one axis, and that a breach lowers only that one.
func TestScores(t *testing.T) {
	check := func(name, rule string, breaks []string, ok bool) *conformance.Check {
		return &conformance.Check{
			Name: name, Rules: []string{rule}, Breaks: breaks, Versions: conformance.MQTT311,
			Run: func(t *conformance.T) { t.Judge().That(ok, "yes", "no") },
		}
	}
	provoking := check("test/f", "MQTT-3.8.4-1", []string{"MQTT-2.2.2-2"}, true)
	provoking.Axis = conformance.Behaviour
	rep, err := conformance.Run(t.Context(), conformance.Config{Versions: conformance.MQTT311, Checks: []*conformance.Check{
		check("test/a", "MQTT-3.12.4-1", nil, true),
		check("test/b", "MQTT-3.10.4-4", nil, true),
		check("test/c", "MQTT-3.3.1-4", []string{"MQTT-3.3.1-4"}, false),
		check("test/d", "MQTT-2.2.2-2", []string{"MQTT-2.2.2-2"}, true),
		// Judged with legal input as well: a matter of behaviour.
		check("test/e", "MQTT-3.10.4-4", []string{"MQTT-3.10.3-2"}, true),
		// Breaks a rule only to provoke what it judges.
		provoking,
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []conformance.Score{
		{Version: conformance.MQTT311, Axis: conformance.Behaviour, Passed: 3, Judged: 3},
		{Version: conformance.MQTT311, Axis: conformance.MalformedInput, Passed: 1, Judged: 2},
	}
	if diff := cmp.Diff(want, rep.Scores); diff != "" {
		t.Error(diff)
	}
	if got := rep.Scores[1].String(); got != "1 of 2 (50.0 %)" {
		t.Errorf("score %q", got)
	}
	if got := (conformance.Score{Passed: 9999, Judged: 10000}).String(); got != "9999 of 10000 (99.9 %)" {
		t.Errorf("a breach is rounded away: %q", got)
	}
}
