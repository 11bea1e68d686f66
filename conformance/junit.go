package conformance

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mqlab/mqlab/internal/report"
)

// WriteJUnit writes the report as JUnit XML: a suite for each version and chapter, a case for each
// rule. What could not be judged is skipped, and so is a breach that a baseline expects; a warning
// passes, unless the run was strict, and shows in the case's output.
func (r *Report) WriteJUnit(w io.Writer) error {
	doc := report.JUnit{Name: "MQTT conformance of " + r.Label(), Started: r.Started, Elapsed: r.Elapsed}
	for _, s := range r.sections() {
		suite := report.JUnitSuite{Name: "MQTT " + s.Version.String() + ": " + s.Name()}
		class := "mqtt-" + dashes(s.Version.String()) + "." + dashes(s.Name())
		for _, x := range s.Rules {
			c := r.junitCase(x)
			c.Class = class
			suite.Cases = append(suite.Cases, c)
			suite.Elapsed = max(suite.Elapsed, c.Elapsed)
		}
		doc.Suites = append(doc.Suites, suite)
	}
	if stray := r.stray(); len(stray) > 0 {
		suite := report.JUnitSuite{Name: "checks"}
		for _, c := range stray {
			suite.Cases = append(suite.Cases, report.JUnitCase{
				Class: "mqtt-" + dashes(c.Version.String()) + ".checks", Name: c.Name, Elapsed: c.Elapsed, Outcome: report.Errored,
				Kind: Errored.String(), Message: firstLine(c.Reason), Detail: c.Reason, Output: strings.Join(lines(c.Transcript, 0), "\n"),
			})
		}
		doc.Suites = append(doc.Suites, suite)
	}
	if r.Interrupted {
		doc.Suites = append(doc.Suites, report.JUnitSuite{Name: "run", Cases: []report.JUnitCase{{
			Class: "run", Name: "complete", Outcome: report.Errored, Kind: "interrupted", Message: "the run was interrupted: not every rule was judged",
		}}})
	}
	return doc.Write(w)
}

func (r *Report) junitCase(x *RuleResult) report.JUnitCase {
	c := report.JUnitCase{Name: x.ID, Elapsed: r.slowest(x), Kind: x.Verdict.String(), Message: firstLine(x.Reason)}
	switch {
	case x.Verdict == NotApplicable || x.Verdict == Inconclusive:
		c.Outcome = report.Skipped
		c.Message = strings.TrimSuffix(x.Verdict.String()+": "+c.Message, ": ")
		return c
	case x.Expected:
		c.Outcome = report.Skipped
		c.Message = strings.TrimSuffix("expected "+x.Verdict.String()+": "+firstLine(x.ExpectedReason), ": ")
	case x.Verdict == Errored:
		c.Outcome = report.Errored
	case r.breaks(x):
		c.Outcome = report.Failed
	}
	if x.Verdict < Warn {
		return c
	}
	c.Detail = r.detail(x)
	var out []string
	if c.Outcome != report.Failed && c.Outcome != report.Errored {
		out = append(out, x.Verdict.String()+": "+firstLine(x.Reason), c.Detail)
	}
	for _, k := range r.against(x) {
		if len(k.Transcript) > 0 {
			out = append(out, k.Name+":")
			out = append(out, lines(k.Transcript, 0)...)
		}
	}
	c.Output = strings.Join(out, "\n")
	return c
}

// breaks reports whether the rule's verdict makes the run as a whole fail.
func (r *Report) breaks(x *RuleResult) bool {
	return !x.Expected && (x.Verdict >= Fail || x.Verdict == Warn && r.Strict)
}

// slowest is how long the longest check of the rule took: checks of one rule run side by side.
func (r *Report) slowest(x *RuleResult) time.Duration {
	var d time.Duration
	for _, name := range x.Checks {
		if c := r.Check(name, x.Version); c != nil {
			d = max(d, c.Elapsed)
		}
	}
	return d
}

// detail says in plain text what the rule demands, what was found, and how to judge it again.
func (r *Report) detail(x *RuleResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, MQTT %s, section %s\n", x.ID, x.Version, x.Section)
	if text := x.wording(); text != "" {
		b.WriteString(text + "\n")
	}
	for _, c := range r.against(x) {
		fmt.Fprintf(&b, "\n%s%s\n", c.Name, attempts(c))
		if c.Verdict == Errored || c.Verdict == BrokerDied {
			b.WriteString(c.Reason + "\n")
		}
		for _, f := range c.breaches(x.ID) {
			fmt.Fprintf(&b, "expected: %s\ngot:      %s\n", f.Expected, f.Actual)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", r.replay(x))
	return b.String()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// dashes keeps the words of a name together: viewers split classes at dots.
func dashes(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune(" ./,", c) }), "_")
}
