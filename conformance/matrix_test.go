package conformance_test

import (
	"context"
	"fmt"
	"net"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/mutant"
	"github.com/mqlab/mqlab/conformance/rules"
)

// TestBaselinePasses holds that nothing is said against the baseline broker. What stays undecided,
// as it may where the machine is too busy for the deadlines, is judged again with more patience.
func TestBaselinePasses(t *testing.T) {
	t.Parallel()
	rep, err := conformance.Run(t.Context(), conformance.Config{Timeout: 10 * time.Second})
	if err == nil && rep.Counts.Warn+rep.Counts.Fail+rep.Counts.BrokerDied+rep.Counts.Error == 0 && !clean(rep) {
		rep, err = conformance.Run(t.Context(), conformance.Config{Timeout: 2 * patient, Patience: 3})
	}
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
//
// A run computes while its checks begin and mostly waits for the last of them, so what is bounded
// tightly is how many are busy: a run counts as busy until nearly all of its checks are done.
var rounds = []struct {
	atATime, busy int
	timeout       time.Duration
}{{64, 5, 2 * time.Second}, {4, 4, 6 * time.Second}, {1, 1, patient}}

const patient = 15 * time.Second

// TestMutants holds that each mutant is killed by a check that names its rule, at the grade
// that the rule allows and with no verdict against an unrelated rule, and that legal ones pass.
// Mutants mostly wait, so many are judged at a time, whatever -parallel says.
func TestMutants(t *testing.T) {
	// Next to nothing of what a run allocates outlives it.
	defer debug.SetGCPercent(debug.SetGCPercent(250))
	type trial struct {
		mutant   *mutant.Mutant
		version  rules.Versions
		problems []string
	}
	var all []*trial
	for _, m := range mutant.All() {
		for _, v := range m.Versions.Split() {
			if wanted(t.Name() + "/" + m.Name + "/" + v.String()) {
				all = append(all, &trial{mutant: m, version: v})
			}
		}
	}
	open := all
	for _, round := range rounds {
		var wg sync.WaitGroup
		slots, busy := make(chan struct{}, round.atATime), make(chan struct{}, round.busy)
		for _, one := range open {
			slots <- struct{}{}
			busy <- struct{}{}
			wg.Go(func() {
				idle := sync.OnceFunc(func() { <-busy })
				one.problems = judgeMutant(t.Context(), one.mutant, one.version, round.timeout, idle)
				idle()
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

// judgeMutant runs the suite on the mutant and returns what is wrong with the outcome. It calls
// idle once the run mostly waits.
func judgeMutant(ctx context.Context, m *mutant.Mutant, v rules.Versions, timeout time.Duration, idle func()) (problems []string) {
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
	cfg := conformance.Config{Dial: p.Dial, Versions: v, Checks: checks, Parallel: 128, Timeout: timeout, Ephemeral: true}
	cfg.Events = func(e conformance.Event) {
		if e.Done != nil && e.Number >= e.Total*9/10 {
			idle()
		}
	}
	// A mutant that many checks wait for in vain does not get so far, and computes no more either.
	tired := time.AfterFunc(2*timeout, idle)
	defer tired.Stop()
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
