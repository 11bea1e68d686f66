package conformance

import (
	"fmt"
	"io"
	"strings"

	"github.com/mqlab/mqlab/internal/report"
)

// WriteTAP writes the report as TAP 14, a test point for each rule. What could not be judged is
// skipped; a warning, unless the run was strict, and a breach that a baseline expects are points
// that are known not to pass (TODO).
func (r *Report) WriteTAP(w io.Writer) error {
	doc := report.TAP{Comments: []string{"MQTT " + r.Versions.String() + " conformance of " + r.Label(), r.Summary()}}
	for _, s := range r.sections() {
		for _, x := range s.Rules {
			doc.Points = append(doc.Points, r.tapPoint(x))
		}
	}
	for _, c := range r.stray() {
		doc.Points = append(doc.Points, report.TAPPoint{
			Name: "MQTT " + c.Version.String() + " check " + c.Name,
			Diag: []report.Diag{{Key: "verdict", Value: c.Verdict.String()}, {Key: "message", Value: c.Reason}},
		})
	}
	if r.Interrupted {
		doc.Bail = "the run was interrupted: not every rule was judged"
	}
	return doc.Write(w)
}

func (r *Report) tapPoint(x *RuleResult) report.TAPPoint {
	p := report.TAPPoint{OK: x.Verdict < Warn, Name: "MQTT " + x.Version.String() + " " + x.ID}
	if x.Verdict == NotApplicable || x.Verdict == Inconclusive {
		p.Skip = strings.TrimSuffix(x.Verdict.String()+": "+firstLine(x.Reason), ": ")
		return p
	}
	if p.OK {
		return p
	}
	if !r.breaks(x) {
		p.Todo = x.Verdict.String()
		if x.Expected {
			p.Todo = strings.TrimSuffix("expected: "+firstLine(x.ExpectedReason), ": ")
		}
	}
	p.Diag = []report.Diag{
		{Key: "verdict", Value: x.Verdict.String()},
		{Key: "message", Value: x.Reason},
		{Key: "section", Value: x.Section},
	}
	if text := x.wording(); text != "" {
		p.Diag = append(p.Diag, report.Diag{Key: "rule", Value: text})
	}
	p.Diag = append(p.Diag, report.Diag{Key: "replay", Value: r.replay(x)})
	for i, c := range r.against(x) {
		name := "check"
		if i > 0 {
			name = fmt.Sprintf("check_%d", i+1) // a key stands once
		}
		p.Diag = append(p.Diag, report.Diag{Key: name, Value: c.Name + attempts(c)})
		if len(c.Transcript) > 0 {
			p.Diag = append(p.Diag, report.Diag{Key: strings.Replace(name, "check", "transcript", 1), Lines: lines(c.Transcript, 0)})
		}
	}
	return p
}
