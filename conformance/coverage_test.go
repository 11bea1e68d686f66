package conformance_test

import (
	"slices"
	"testing"

	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/mutant"
	"github.com/mqlab/mqlab/conformance/rules"
)

// TestChecksAreSound holds that names are unique, and that every id is known under its version.
func TestChecksAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range conformance.All() {
		if seen[c.Name] {
			t.Errorf("two checks are named %s", c.Name)
		}
		seen[c.Name] = true
		if c.Run == nil || c.Versions == 0 {
			t.Errorf("%s has no body or no version", c.Name)
		}
		for _, v := range c.Versions.Split() {
			if len(c.RulesFor(v)) == 0 {
				t.Errorf("%s judges nothing under %s", c.Name, v)
			}
			for _, id := range slices.Concat(c.RulesFor(v), c.BreaksFor(v)) {
				if !rules.Known(v, id) {
					t.Errorf("%s names %s, which MQTT %s does not have", c.Name, id, v)
				}
			}
		}
	}
}

// TestEveryRuleHasACheck holds that a rule whose breach a server can show is judged by a check, or
// stands in the table of holes with the reason, and never both.
func TestEveryRuleHasACheck(t *testing.T) {
	type key struct {
		id string
		v  rules.Versions
	}
	checked, holes := map[key]bool{}, map[key]bool{}
	for _, c := range conformance.All() {
		for _, v := range c.Versions.Split() {
			for _, id := range c.RulesFor(v) {
				checked[key{id, v}] = true
			}
		}
	}
	for _, h := range conformance.Holes() {
		if h.Why == "" || !rules.Known(h.Version, h.Rule) {
			t.Errorf("the hole %s of %s has no reason or is no rule", h.Rule, h.Version)
		}
		holes[key{h.Rule, h.Version}] = true
	}
	missing := map[rules.Versions]int{}
	for _, r := range rules.All() {
		k := key{r.ID, r.Version}
		switch {
		case checked[k] && holes[k]:
			t.Errorf("%s of %s has a check and stands among the holes", r.ID, r.Version)
		case r.Probe.Sees(rules.ProbeServer) && !checked[k] && !holes[k]:
			missing[r.Version]++
			t.Errorf("%s of %s has neither a check nor a reason: %s", r.ID, r.Version, r.Text)
		}
	}
	t.Logf("without a check: %v; in the table of holes: %d", missing, len(holes))
}

// TestEveryCheckedRuleHasAMutant holds that each checked rule can be seen to fail.
func TestEveryCheckedRuleHasAMutant(t *testing.T) {
	type key struct {
		id string
		v  rules.Versions
	}
	broken, holes, named := map[key]bool{}, map[key]bool{}, map[string]bool{}
	for _, m := range mutant.All() {
		if named[m.Name] {
			t.Errorf("two mutants are named %s", m.Name)
		}
		named[m.Name] = true
		if (m.Rule == "") == (m.Legal == "") {
			t.Errorf("%s must either break a rule or say why it is legal", m.Name)
		}
		for _, v := range m.Versions.Split() {
			if m.Legal != "" {
				continue
			}
			if !rules.Known(v, m.RuleFor(v)) {
				t.Errorf("%s breaks %s, which MQTT %s does not have", m.Name, m.RuleFor(v), v)
			}
			broken[key{m.RuleFor(v), v}] = true
		}
	}
	for _, h := range mutant.Holes() {
		if h.Why == "" || !rules.Known(h.Version, h.Rule) {
			t.Errorf("the hole %s of %s has no reason or is no rule", h.Rule, h.Version)
		}
		holes[key{h.Rule, h.Version}] = true
	}
	for _, c := range conformance.All() {
		for _, v := range c.Versions.Split() {
			for _, id := range c.RulesFor(v) {
				k := key{id, v}
				if broken[k] && holes[k] {
					t.Errorf("%s of %s has a mutant and stands among the holes", id, v)
				}
				if !broken[k] && !holes[k] {
					t.Errorf("%s of %s is checked by %s and has neither a mutant nor a reason", id, v, c.Name)
					holes[k] = true
				}
			}
		}
	}
	t.Logf("%d rules are broken by %d mutants; %d have a reason for none", len(broken), len(mutant.All()), len(mutant.Holes()))
}
