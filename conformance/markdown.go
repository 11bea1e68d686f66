package conformance

import (
	"fmt"
	"io"
	"strings"

	"github.com/mqlab/mqlab/internal/report"
)

// Job pages of continuous integration take about a megabyte; what is beyond these bounds is only listed.
const (
	markdownEntries = 40        // of a transcript
	markdownBytes   = 600 << 10 // of all broken rules in full
)

// WriteMarkdown writes a summary for the page of a job: the outcome, a table by chapter, and every
// broken rule, folded, with its evidence.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## MQTT %s conformance of %s\n\n", report.MarkdownText(r.Versions.String()), report.MarkdownCode(r.Label()))
	fmt.Fprintf(&b, "**%s**: %s.\n\n", r.word(), r.Summary())
	b.WriteString(r.markdownMatrix())
	if len(r.Scores) > 0 {
		var rows [][]string
		for _, s := range r.Scores {
			rows = append(rows, []string{report.MarkdownText(s.Version.String()), report.MarkdownText(string(s.Axis)), report.MarkdownText(s.String())})
		}
		b.WriteString("\n" + report.MarkdownTable([]string{"MQTT", "Axis", "Rules kept"}, nil, rows))
	}
	for _, d := range r.Deaths {
		fmt.Fprintf(&b, "\n%s: %s\n", words[BrokerDied], report.MarkdownText(d.String()))
	}
	for _, x := range r.Better {
		fmt.Fprintf(&b, "\nExpected to be broken, and kept: %s under MQTT %s. The list can be tightened.\n", report.MarkdownCode(x.Rule), report.MarkdownText(x.Version.String()))
	}
	full := 0
	for _, group := range []struct {
		title    string
		verdicts []Verdict
	}{
		{"Broken rules", []Verdict{Errored, BrokerDied, Fail}},
		{"Warnings", []Verdict{Warn}},
	} {
		titled := false
		for _, v := range group.verdicts {
			for _, x := range r.Rules {
				if x.Verdict != v {
					continue
				}
				if !titled {
					fmt.Fprintf(&b, "\n### %s\n\n", group.title)
					titled = true
				}
				before := b.Len()
				r.markdownRule(&b, x, full < markdownBytes)
				full += b.Len() - before
			}
		}
	}
	for _, c := range r.stray() {
		fmt.Fprintf(&b, "\n%s the check %s under MQTT %s: %s\n", words[Errored], report.MarkdownCode(c.Name), report.MarkdownText(c.Version.String()), report.MarkdownText(firstLine(c.Reason)))
	}
	r.markdownUnjudged(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// word is the outcome of the run in one word.
func (r *Report) word() string {
	switch {
	case !r.OK():
		return words[Fail]
	case r.Interrupted:
		return "INTERRUPTED"
	case r.Counts.Warn > 0:
		return words[Warn]
	}
	return words[Pass]
}

func (r *Report) markdownMatrix() string {
	var rows [][]string
	for _, s := range r.sections() {
		c := s.Counts
		rows = append(rows, []string{
			report.MarkdownText(s.Version.String()), report.MarkdownText(s.Name()), number(c.Pass), number(c.Warn), number(c.Fail + c.BrokerDied + c.Error),
			number(c.Inconclusive), number(c.NotApplicable), words[s.Worst],
		})
	}
	return report.MarkdownTable([]string{"MQTT", "Chapter", "Pass", "Warn", "Fail", "Open", "N/A", "Verdict"},
		[]bool{false, false, true, true, true, true, true, false}, rows)
}

func (r *Report) markdownRule(b *strings.Builder, x *RuleResult, full bool) {
	summary := fmt.Sprintf("<b>%s</b> %s (MQTT %s)", words[x.Verdict], report.MarkdownCode(x.ID), x.Version)
	if x.Expected {
		summary += " (expected)"
	}
	text := x.wording()
	if text != "" {
		summary += " " + report.MarkdownText(text)
	}
	if !full {
		fmt.Fprintf(b, "- %s\n", summary)
		return
	}
	var body strings.Builder
	fmt.Fprintf(&body, "Section %s.\n\n", report.MarkdownText(x.Section))
	for _, c := range r.against(x) {
		fmt.Fprintf(&body, "%s%s\n\n", report.MarkdownCode(c.Name), attempts(c))
		if c.Verdict == Errored || c.Verdict == BrokerDied {
			fmt.Fprintf(&body, "- %s\n", report.MarkdownText(firstLine(c.Reason)))
		}
		for _, f := range c.breaches(x.ID) {
			fmt.Fprintf(&body, "- expected: %s\n- got: %s\n", report.MarkdownText(f.Expected), report.MarkdownText(f.Actual))
		}
		if len(c.Transcript) > 0 {
			body.WriteString("\n" + report.MarkdownBlock(strings.Join(lines(c.Transcript, markdownEntries), "\n")) + "\n")
		}
	}
	body.WriteString("\nRun it again:\n\n" + report.MarkdownBlock(r.replay(x)))
	b.WriteString(report.MarkdownDetails(summary, body.String()) + "\n")
}

func (r *Report) markdownUnjudged(b *strings.Builder) {
	for _, v := range []Verdict{Inconclusive, NotApplicable} {
		var rows [][]string
		for _, x := range r.Rules {
			if x.Verdict == v {
				rows = append(rows, []string{report.MarkdownText(x.Version.String()), report.MarkdownCode(x.ID), report.MarkdownText(firstLine(x.Reason))})
			}
		}
		if len(rows) > 0 {
			summary := fmt.Sprintf("%s: %d %s", words[v], len(rows), plural(len(rows), "rule", "rules"))
			b.WriteString("\n" + report.MarkdownDetails(summary, report.MarkdownTable([]string{"MQTT", "Rule", "Why"}, nil, rows)))
		}
	}
}
