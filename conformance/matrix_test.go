package conformance_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/mutant"
	"github.com/mqlab/mqlab/conformance/rules"
)

// startBroker runs the baseline on an in-memory network and returns how to reach it.
func startBroker(t testing.TB, cfg broker.Config) func(context.Context) (net.Conn, error) {
	t.Helper()
	b := broker.New(cfg)
	t.Cleanup(func() { _ = b.Close() })
	return func(context.Context) (net.Conn, error) { return b.Dial() }
}

// TestBaselinePasses holds that nothing is said against the baseline broker.
func TestBaselinePasses(t *testing.T) {
	rep, err := conformance.Run(t.Context(), conformance.Config{Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range rep.Checks {
		if c.Verdict != conformance.Pass && c.Verdict != conformance.NotApplicable {
			t.Errorf("%s under %s: %s: %s", c.Name, c.Version, c.Verdict, c.Reason)
			for _, e := range c.Transcript {
				t.Logf("  %8.3fs %s %s %s", e.At.Seconds(), e.Conn, e.Dir, e.Text)
			}
		}
	}
	for _, r := range rep.Rules {
		if r.Verdict >= conformance.Warn {
			t.Errorf("%s of %s: %s: %s", r.ID, r.Version, r.Verdict, r.Reason)
		}
	}
	t.Logf("%d checks judged %d rules in %v: %+v", len(rep.Checks), len(rep.Rules), rep.Elapsed.Round(time.Millisecond), rep.Counts)
}

// mutantTimeout is how long a mutant's missing answer is waited for. Late answers of the baseline
// under load would only make a mutant look worse than it is, and are caught by the allowed list.
const mutantTimeout = 2 * time.Second

// TestMutants holds that each mutant is killed by a check that names its rule, at the grade
// that the rule allows and with no verdict against an unrelated rule, and that legal ones pass.
func TestMutants(t *testing.T) {
	slots := make(chan struct{}, 24)
	for _, m := range mutant.All() {
		for _, v := range m.Versions.Split() {
			t.Run(fmt.Sprintf("%s/%s", m.Name, v), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				judgeMutant(t, m, v)
			})
		}
	}
}

func judgeMutant(t *testing.T, m *mutant.Mutant, v rules.Versions) {
	p := mutant.NewProxy(startBroker(t, m.Broker), m.New())
	defer p.Close()
	rule := m.RuleFor(v)
	var checks []*conformance.Check
	for _, c := range conformance.All() {
		if c.Slow == 0 || slices.Contains(c.RulesFor(v), rule) {
			checks = append(checks, c)
		}
	}
	rep, err := conformance.Run(t.Context(), conformance.Config{
		Dial: p.Dial, Versions: v, Checks: checks, Timeout: mutantTimeout, Ephemeral: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := conformance.Fail
	if m.Warn {
		want = conformance.Warn
	}
	killed := m.Legal != ""
	for _, r := range rep.Rules {
		switch {
		case r.ID == rule:
			killed = r.Verdict == want
			if !killed {
				t.Errorf("%s: %s (%s), want %s", r.ID, r.Verdict, r.Reason, want)
			}
		case r.Verdict >= conformance.Warn && !slices.Contains(m.FallsFor(v), r.ID):
			t.Errorf("the unrelated rule %s: %s: %s", r.ID, r.Verdict, r.Reason)
		}
	}
	if !killed && !t.Failed() {
		t.Errorf("no check judged %s", rule)
	}
}
