package conformance

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/goccy/go-yaml"

	"github.com/mqlab/mqlab/conformance/rules"
)

// Baseline is the list of findings that are expected of a target: what its makers know and
// declare, so that a run tells only what is new. It is kept as a YAML file.
type Baseline struct {
	Target   string            `yaml:"target"`         // what the list is about, such as "mosquitto 2.0.11"
	Note     string            `yaml:"note,omitempty"` // for readers
	Findings []ExpectedFinding `yaml:"findings"`
}

// ExpectedFinding is one rule that the target is known to break.
type ExpectedFinding struct {
	Rule    string   `yaml:"rule" json:"rule"`
	Version Versions `yaml:"mqtt" json:"mqtt"`
	Verdict Verdict  `yaml:"verdict" json:"verdict"`                   // the worst that is expected: fail or warn
	Reason  string   `yaml:"reason,omitempty" json:"reason,omitempty"` // what it does instead, and why that is a breach
}

// maxBaseline bounds a baseline file, in bytes.
const maxBaseline = 1 << 20

// ReadBaseline reads a baseline file. The error names every entry that makes no sense.
func ReadBaseline(r io.Reader) (*Baseline, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBaseline+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxBaseline {
		return nil, fmt.Errorf("the baseline is larger than %d bytes", maxBaseline)
	}
	var b Baseline
	if err := yaml.UnmarshalWithOptions(text, &b, yaml.Strict()); err != nil {
		return nil, err
	}
	if err := checkExpected(b.Findings); err != nil {
		return nil, err
	}
	return &b, nil
}

// checkExpected names every entry that makes no sense.
func checkExpected(findings []ExpectedFinding) error {
	var errs []error
	seen := map[[2]string]bool{}
	for i, f := range findings {
		key := [2]string{f.Rule, f.Version.String()}
		switch {
		case len(f.Version.Split()) != 1:
			errs = append(errs, fmt.Errorf("findings[%d]: mqtt is %q: write one version, 3.1.1 or 5.0", i, f.Version))
		case !rules.Known(f.Version, f.Rule):
			errs = append(errs, fmt.Errorf("findings[%d]: MQTT %s has no rule %s", i, f.Version, f.Rule))
		case f.Verdict != Fail && f.Verdict != Warn:
			errs = append(errs, fmt.Errorf("findings[%d]: the verdict on %s is %s: expect fail or warn", i, f.Rule, f.Verdict))
		case seen[key]:
			errs = append(errs, fmt.Errorf("findings[%d]: %s of MQTT %s stands there twice", i, f.Rule, f.Version))
		}
		seen[key] = true
	}
	return errors.Join(errs...)
}

// Write writes the baseline as a file that ReadBaseline reads.
func (b *Baseline) Write(w io.Writer) error {
	return yaml.NewEncoder(w, yaml.UseLiteralStyleIfMultiline(true)).Encode(b)
}

// Baseline returns the findings of the report as a baseline. Where a breach was expected already,
// the reason that was given for it is kept.
func (r *Report) Baseline() *Baseline {
	b := &Baseline{Target: r.Label(), Findings: []ExpectedFinding{}}
	for _, x := range r.Rules {
		if x.Verdict == Fail || x.Verdict == Warn {
			reason := x.Reason
			if x.Expected && x.ExpectedReason != "" {
				reason = x.ExpectedReason
			}
			b.Findings = append(b.Findings, ExpectedFinding{Rule: x.ID, Version: x.Version, Verdict: x.Verdict, Reason: reason})
		}
	}
	return b
}

// Difference is what a report says otherwise than a baseline expects.
type Difference struct {
	Unexpected []*RuleResult     `json:"unexpected,omitempty"` // worse than expected
	Better     []ExpectedFinding `json:"better,omitempty"`     // expected to be broken, and kept
}

// Compare holds the report against the baseline. Rules that were not judged say nothing.
func (b *Baseline) Compare(r *Report) Difference {
	var d Difference
	for _, x := range r.Rules {
		i := slices.IndexFunc(b.Findings, func(f ExpectedFinding) bool { return f.Rule == x.ID && f.Version == x.Version })
		switch {
		case x.Verdict >= Warn && (i < 0 || x.Verdict > b.Findings[i].Verdict):
			d.Unexpected = append(d.Unexpected, x)
		case i >= 0 && (x.Verdict == Pass || x.Verdict == Warn && b.Findings[i].Verdict == Fail):
			d.Better = append(d.Better, b.Findings[i])
		}
	}
	return d
}

// apply marks what the baseline expects of the report.
func (b *Baseline) apply(r *Report) {
	d := b.Compare(r)
	r.Better, r.Counts.Expected = d.Better, 0
	for _, x := range r.Rules {
		i := slices.IndexFunc(b.Findings, func(f ExpectedFinding) bool { return f.Rule == x.ID && f.Version == x.Version })
		if i < 0 || x.Verdict != Fail && x.Verdict != Warn || slices.Contains(d.Unexpected, x) {
			continue
		}
		x.Expected, x.ExpectedReason = true, b.Findings[i].Reason
		r.Counts.Expected++
	}
}
