package conformance

import "fmt"

// Verdict is what a run says of a rule or a check. Larger is worse.
type Verdict uint8

// The verdicts, least severe first.
const (
	NotApplicable Verdict = iota // the target lacks the feature, with the evidence
	Inconclusive                 // right and wrong could not be told apart
	Pass                         // at least one expectation was judged, and all held
	Warn                         // a SHOULD, or a duty that nobody is bound to check
	Fail                         // the target breaks the rule
	BrokerDied                   // the target ended or stopped accepting while the check ran
	Errored                      // a defect of the suite itself
)

var verdictNames = [...]string{"not-applicable", "inconclusive", "pass", "warn", "fail", "broker-died", "error"}

// String returns the verdict's name in reports, such as "not-applicable".
func (v Verdict) String() string { return verdictNames[v] }

// MarshalText writes the name.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads a name.
func (v *Verdict) UnmarshalText(b []byte) error {
	for i, n := range verdictNames {
		if n == string(b) {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("unknown verdict %q: write one of %v", b, verdictNames)
}

// Grade says what a broken expectation costs.
type Grade uint8

// The grades. A note is a deviation that the standard allows and that is worth reporting.
const (
	GradeFail Grade = iota
	GradeWarn
	GradeNote
)

var gradeNames = [...]string{"fail", "warn", "note"}

// String returns "fail", "warn" or "note".
func (g Grade) String() string { return gradeNames[g] }

// MarshalText writes the name.
func (g Grade) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads a name.
func (g *Grade) UnmarshalText(b []byte) error {
	for i, n := range gradeNames {
		if n == string(b) {
			*g = Grade(i)
			return nil
		}
	}
	return fmt.Errorf("unknown grade %q: write one of %v", b, gradeNames)
}

// verdict is what a broken expectation of this grade makes of its rule.
func (g Grade) verdict() Verdict {
	switch g {
	case GradeFail:
		return Fail
	case GradeWarn:
		return Warn
	}
	return Pass
}
