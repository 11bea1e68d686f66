package conformance

import (
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/internal/ui"
)

// Axis says which of two questions a rule or a check answers: how the target behaves towards a
// client that keeps the rules, or what it does about one that breaks them.
type Axis string

// The axes.
const (
	Behaviour      Axis = "behaviour"
	MalformedInput Axis = "malformed input"
)

// AxisFor returns the axis of the check: its own, or malformed input where it breaks a rule of the
// client's on purpose.
func (c *Check) AxisFor(v Versions) Axis {
	if c.Axis != "" {
		return c.Axis
	}
	if len(c.BreaksFor(v)) > 0 {
		return MalformedInput
	}
	return Behaviour
}

// Score is how many of the judged rules on one axis a target keeps under one version.
type Score struct {
	Version Versions `json:"mqtt"`
	Axis    Axis     `json:"axis"`
	Passed  int      `json:"passed"`
	Judged  int      `json:"judged"` // passed, warned about and broken
}

// Percent returns the share of judged rules that are kept; nothing judged is 0.
func (s Score) Percent() float64 {
	if s.Judged == 0 {
		return 0
	}
	return 100 * float64(s.Passed) / float64(s.Judged)
}

// String returns the score as reports show it, such as "171 of 180 (95.0 %)". It never rounds a breach away.
func (s Score) String() string {
	if s.Judged == 0 {
		return "nothing judged"
	}
	percent := fmt.Sprintf("%.1f", s.Percent())
	if percent == "100.0" && s.Passed < s.Judged {
		percent = "99.9"
	}
	return fmt.Sprintf("%d of %d (%s %%)", s.Passed, s.Judged, percent)
}

// axisOf returns the axis of a rule over the checks that judge it: about malformed input is what
// only checks with malformed input judge.
func axisOf(checks []*CheckResult, names []string, v Versions) Axis {
	axis := Behaviour
	for _, c := range checks {
		if c.Version != v || !slices.Contains(names, c.Name) {
			continue
		}
		if c.Axis == Behaviour {
			return Behaviour
		}
		axis = c.Axis
	}
	return axis
}

// score counts the rules of a report by version and axis.
func score(results []*RuleResult) []Score {
	var out []Score
	for _, r := range results {
		if r.Verdict < Pass || r.Verdict == Errored {
			continue
		}
		i := slices.IndexFunc(out, func(s Score) bool { return s.Version == r.Version && s.Axis == r.Axis })
		if i < 0 {
			i = len(out)
			out = append(out, Score{Version: r.Version, Axis: r.Axis})
		}
		out[i].Judged++
		if r.Verdict == Pass {
			out[i].Passed++
		}
	}
	slices.SortFunc(out, func(a, b Score) int {
		if a.Version != b.Version {
			return int(a.Version) - int(b.Version)
		}
		if a.Axis == b.Axis {
			return 0
		}
		if a.Axis == Behaviour {
			return -1
		}
		return 1
	})
	return out
}

// scoreTable shows the scores.
func (r *Report) scoreTable(u *ui.UI, width int) string {
	if len(r.Scores) == 0 {
		return ""
	}
	var rows [][]string
	for _, s := range r.Scores {
		rows = append(rows, []string{s.Version.String(), string(s.Axis), s.String()})
	}
	return "\n" + u.Table(width, []ui.Column{{Title: "MQTT"}, {Title: "Axis"}, {Title: "Rules kept", Flex: true}}, rows)
}
