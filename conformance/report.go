package conformance

import (
	"context"
	"slices"
	"time"

	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/peer"
)

// Report is the outcome of a run. It marshals to the documented JSON; Format names its version.
type Report struct {
	Format      string        `json:"format"`         // ReportFormat
	Name        string        `json:"name,omitempty"` // what the user calls the target
	Target      string        `json:"target"`
	Command     string        `json:"command,omitempty"` // that started it
	WSTarget    string        `json:"ws_target,omitempty"`
	Versions    Versions      `json:"mqtt"`
	Started     time.Time     `json:"started"`
	Elapsed     time.Duration `json:"elapsed_ns"`
	Client      string        `json:"client,omitempty"` // the command of the client that was checked; empty: the target is a server
	Extra       string        `json:"extra,omitempty"`  // the folder of checks of the user's own
	Interrupted bool          `json:"interrupted,omitempty"`
	Strict      bool          `json:"strict,omitempty"`

	Counts   Counts            `json:"counts"` // of rules
	Scores   []Score           `json:"scores,omitempty"`
	Better   []ExpectedFinding `json:"better,omitempty"` // expected to be broken, and kept: the list can be tightened
	Deaths   []Death           `json:"deaths,omitempty"` // how often the target ended, where the suite started it
	Features []*Features       `json:"features"`
	Rules    []*RuleResult     `json:"rules"`
	Checks   []*CheckResult    `json:"checks"`
}

// Counts is the number of rules for each verdict.
type Counts struct {
	Pass          int `json:"pass"`
	Warn          int `json:"warn"`
	Fail          int `json:"fail"`
	BrokerDied    int `json:"broker_died"`
	Inconclusive  int `json:"inconclusive"`
	NotApplicable int `json:"not_applicable"`
	Error         int `json:"error"`
	Expected      int `json:"expected,omitempty"` // of the warnings and breaches, those that a baseline lists
}

// RuleResult is the verdict on one rule over all its checks.
type RuleResult struct {
	ID      string      `json:"id"`
	Version Versions    `json:"mqtt"`
	Section string      `json:"section"`
	Title   string      `json:"title,omitempty"` // of a rule of the user's own
	Level   rules.Level `json:"level"`
	Verdict Verdict     `json:"verdict"`
	Reason  string      `json:"reason,omitempty"` // the first breach, or why nothing was judged
	Axis    Axis        `json:"axis,omitempty"`
	Judged  int         `json:"judged"`           // expectations, passive ones included
	Checks  []string    `json:"checks,omitempty"` // names of the checks that judged it or could have

	Expected       bool   `json:"expected,omitempty"`        // a baseline lists the breach
	ExpectedReason string `json:"expected_reason,omitempty"` // what the baseline says of it
}

// CheckResult is the outcome of one check under one version.
type CheckResult struct {
	Name       string        `json:"name"`
	Version    Versions      `json:"mqtt"`
	Rules      []string      `json:"rules"`
	Axis       Axis          `json:"axis,omitempty"`
	Verdict    Verdict       `json:"verdict"`
	Reason     string        `json:"reason,omitempty"`
	Attempts   int           `json:"attempts,omitempty"`
	Failed     int           `json:"failed,omitempty"` // how many of several attempts failed
	Elapsed    time.Duration `json:"elapsed_ns"`
	Findings   []Finding     `json:"findings,omitempty"`
	Transcript []peer.Entry  `json:"transcript,omitempty"`

	// ClientBreaches are the rules of the suite's own side that the check broke on purpose: the
	// client's, or the server's where a client is checked.
	ClientBreaches []string `json:"client_breaches,omitempty"`

	seen     map[string]int // how often the passive judge saw the server keep or break a rule
	script   *T             // what ran, where evidence is asked for
	evidence *evidence      // of a breach
	again    bool           // it is undecided, and more time may settle it
	crossing bool           // every breach depends on one connection's act being visible on another
}

// OK reports whether the target does what the rules ask: no breach, and under Strict no warning,
// other than those that are expected.
func (r *Report) OK() bool {
	c := r.Counts
	for _, x := range r.Rules {
		switch {
		case x.Expected && x.Verdict == Fail:
			c.Fail--
		case x.Expected && x.Verdict == Warn:
			c.Warn--
		}
	}
	return c.Fail == 0 && c.BrokerDied == 0 && c.Error == 0 && len(r.Deaths) == 0 && (!r.Strict || c.Warn == 0)
}

// Check returns the result of the named check under the version, or nil.
func (r *Report) Check(name string, v Versions) *CheckResult {
	i := slices.IndexFunc(r.Checks, func(c *CheckResult) bool { return c.Name == name && c.Version == v })
	if i < 0 {
		return nil
	}
	return r.Checks[i]
}

// Rule returns the result of the rule under the version, or nil.
func (r *Report) Rule(id string, v Versions) *RuleResult {
	i := slices.IndexFunc(r.Rules, func(x *RuleResult) bool { return x.ID == id && x.Version == v })
	if i < 0 {
		return nil
	}
	return r.Rules[i]
}

// report gathers the verdict on every rule that the selected checks judge.
func (r *run) report(ctx context.Context, started time.Time, checks []*CheckResult) *Report {
	rep := &Report{
		Format: ReportFormat, Name: r.cfg.Name, Command: r.describeCommand(), Target: r.describeTarget(), WSTarget: r.describeWSTarget(), Client: r.describeClient(), Extra: r.cfg.extraFolder(), Versions: r.cfg.Versions,
		Started: started.UTC(), Elapsed: time.Since(started), Interrupted: ctx.Err() != nil, Strict: r.cfg.Strict,
		Checks: checks,
	}
	for _, v := range r.cfg.Versions.Split() {
		rep.Features = append(rep.Features, r.features[v])
	}
	for _, rule := range append(rules.ByVersion(r.cfg.Versions), r.extraRules()...) {
		if res := r.judge(rule, checks); res != nil {
			rep.Rules = append(rep.Rules, res)
			rep.Counts.add(res.Verdict)
		}
	}
	// A check that failed as a whole, by a defect of the suite, must show even where its rules were judged by others.
	for _, c := range checks {
		if c.Verdict == Errored && !slices.ContainsFunc(rep.Rules, func(x *RuleResult) bool { return x.Verdict == Errored && slices.Contains(x.Checks, c.Name) }) {
			rep.Counts.Error++
		}
	}
	rep.Scores = score(rep.Rules)
	if r.server != nil {
		rep.Deaths = r.server.obituaries()
	}
	if r.cfg.Baseline != nil {
		r.cfg.Baseline.apply(rep)
	}
	slices.SortFunc(rep.Checks, func(a, b *CheckResult) int {
		if a.Version != b.Version {
			return int(a.Version) - int(b.Version)
		}
		return rules.Compare(a.Name, b.Name)
	})
	return rep
}

// judge returns the verdict on one rule, or nil where nothing of the run is about it.
func (r *run) judge(rule rules.Rule, checks []*CheckResult) *RuleResult {
	res := &RuleResult{ID: rule.ID, Version: rule.Version, Section: rule.Section, Level: rule.Level}
	if rule.Section == extraSection {
		res.Title = rule.Text
	}
	selected := len(r.cfg.Run) == 0 || slices.ContainsFunc(r.cfg.Run, func(g string) bool { return rules.Match(g, rule.ID) })
	unjudged := NotApplicable
	var why string
	for _, c := range checks {
		if c.Version != rule.Version {
			continue
		}
		lists := slices.Contains(c.Rules, rule.ID)
		if lists {
			res.Checks = append(res.Checks, c.Name)
		}
		judged := c.seen[rule.ID] > 0 && (lists || selected)
		if judged {
			res.Judged += c.seen[rule.ID]
			res.Verdict = max(res.Verdict, Pass)
		}
		for _, f := range c.Findings {
			if f.Rule == rule.ID && (lists || selected) {
				judged = true
				res.add(f)
			}
		}
		switch {
		case !lists:
		case c.Verdict == Errored || c.Verdict == BrokerDied:
			res.Verdict, res.Reason = max(res.Verdict, c.Verdict), c.Reason
			res.Judged = max(res.Judged, 1)
		case !judged && (c.Verdict > unjudged || why == ""):
			unjudged, why = min(max(unjudged, c.Verdict), Inconclusive), c.Reason
		}
	}
	if len(res.Checks) == 0 && res.Judged == 0 {
		return nil
	}
	if res.Judged == 0 {
		res.Verdict, res.Reason = unjudged, why
	}
	res.Axis = axisOf(checks, res.Checks, rule.Version)
	return res
}

func (r *RuleResult) add(f Finding) {
	r.Judged++
	v := Pass
	if !f.OK {
		v = f.Grade.verdict()
	}
	if v > r.Verdict {
		r.Verdict = v
		if v > Pass {
			r.Reason = "expected " + f.Expected + "; got " + f.Actual
		}
	}
}

func (c *Counts) add(v Verdict) {
	switch v {
	case Pass:
		c.Pass++
	case Warn:
		c.Warn++
	case Fail:
		c.Fail++
	case BrokerDied:
		c.BrokerDied++
	case Inconclusive:
		c.Inconclusive++
	case NotApplicable:
		c.NotApplicable++
	case Errored:
		c.Error++
	}
}
