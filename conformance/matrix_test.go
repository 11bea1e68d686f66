package conformance_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/mutant"
	"github.com/mqlab/mqlab/conformance/rules"
)

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

// rounds are how mutants are judged: many at a time and with little patience at first. On a busy
// machine an honest answer may then seem missing too, so a mutant whose outcome is wrong is judged
// again in less company, and in the end alone.
var rounds = []struct {
	atATime int
	timeout time.Duration
}{{24, 2 * time.Second}, {4, 6 * time.Second}, {1, patient}}

const patient = 15 * time.Second

// TestMutants holds that each mutant is killed by a check that names its rule, at the grade
// that the rule allows and with no verdict against an unrelated rule, and that legal ones pass.
// Mutants mostly wait, so many are judged at a time, whatever -parallel says.
func TestMutants(t *testing.T) {
	type trial struct {
		mutant   *mutant.Mutant
		version  rules.Versions
		problems []string
	}
	var all []*trial
	for _, m := range mutant.All() {
		for _, v := range m.Versions.Split() {
			if wanted(m.Name + "/" + v.String()) {
				all = append(all, &trial{mutant: m, version: v})
			}
		}
	}
	open := all
	for _, round := range rounds {
		var wg sync.WaitGroup
		slots := make(chan struct{}, round.atATime)
		for _, one := range open {
			slots <- struct{}{}
			wg.Go(func() {
				one.problems = judgeMutant(t.Context(), one.mutant, one.version, round.timeout)
				<-slots
			})
		}
		wg.Wait()
		open = slices.DeleteFunc(slices.Clone(open), func(one *trial) bool { return len(one.problems) == 0 })
		t.Logf("%d of %d mutants are not as they should be when judged %d at a time", len(open), len(all), round.atATime)
	}
	for _, one := range all {
		t.Run(one.mutant.Name+"/"+one.version.String(), func(t *testing.T) {
			for _, p := range one.problems {
				t.Error(p)
			}
		})
	}
}

// wanted reports whether -run asks for the subtest of TestMutants.
func wanted(name string) bool {
	parts := strings.Split(flag.Lookup("test.run").Value.String(), "/")[1:]
	for i, level := range strings.Split(name, "/") {
		if i >= len(parts) {
			break
		}
		if ok, err := regexp.MatchString(parts[i], level); err != nil || !ok {
			return false
		}
	}
	return true
}

// judgeMutant runs the suite on the mutant and returns what is wrong with the outcome.
func judgeMutant(ctx context.Context, m *mutant.Mutant, v rules.Versions, timeout time.Duration) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	b := broker.New(m.Broker)
	defer b.Close()
	p := mutant.NewProxy(func(context.Context) (net.Conn, error) { return b.Dial() }, m.New())
	defer p.Close()
	rule := m.RuleFor(v)
	var checks []*conformance.Check
	for _, c := range conformance.All() {
		if m.Legal != "" || c.Slow == 0 || slices.Contains(c.RulesFor(v), rule) {
			checks = append(checks, c)
		}
	}
	cfg := conformance.Config{Dial: p.Dial, Versions: v, Checks: checks, Timeout: timeout, Ephemeral: true}
	if len(m.Broker.AuthMethods) > 0 {
		cfg.AuthMethod, cfg.AuthUsername, cfg.AuthPassword = broker.ScramName, mutant.ScramUser, mutant.ScramPassword
	}
	if m.WS != nil {
		ws, err := mutant.ServeWS(p.Dial, m.WS)
		if err != nil {
			return []string{err.Error()}
		}
		defer ws.Close()
		cfg.WSTarget = ws.URL()
	}
	rep, err := conformance.Run(ctx, cfg)
	if err != nil {
		return []string{err.Error()}
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
				bad("%s: %s (%s), want %s", r.ID, r.Verdict, r.Reason, want)
			}
		case r.Verdict >= conformance.Warn && !slices.Contains(m.FallsFor(v), r.ID):
			bad("the unrelated rule %s: %s: %s", r.ID, r.Verdict, r.Reason)
		}
	}
	if !killed && len(problems) == 0 {
		bad("no check judged %s", rule)
	}
	return problems
}
