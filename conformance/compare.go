package conformance

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/report"
	"github.com/mqlab/mqlab/internal/ui"
)

// ComparisonFormat is the value of Comparison.Format.
const ComparisonFormat = "mqlab-comparison/1"

// Comparison holds several reports side by side, rule by rule. It marshals to the documented JSON.
type Comparison struct {
	Format  string           `json:"format"` // ComparisonFormat
	Targets []ComparedTarget `json:"targets"`
	Rules   []ComparedRule   `json:"rules"` // those on which the targets differ first
}

// ComparedTarget is one report.
type ComparedTarget struct {
	Label    string    `json:"label"`
	Target   string    `json:"target"`
	Versions Versions  `json:"mqtt"`
	Started  time.Time `json:"started"`
	Counts   Counts    `json:"counts"`
}

// Contrast says how the reports stand to one another on a rule.
type Contrast string

// The contrasts, in the order of Comparison.Rules.
const (
	Differs Contrast = "differs" // at least two targets were judged, and not alike
	Shared  Contrast = "shared"  // every target that was judged breaks the rule in the same degree
	Partly  Contrast = "partly"  // those that were judged keep the rule; others were not judged
	Alike   Contrast = "alike"   // every target keeps the rule, or none was judged
)

var contrasts = []Contrast{Differs, Shared, Partly, Alike}

// ComparedRule is one rule over all reports.
type ComparedRule struct {
	ID       string          `json:"id"`
	Title    string          `json:"title,omitempty"` // of a rule of the user's own
	Version  Versions        `json:"mqtt"`
	Section  string          `json:"section"`
	Level    rules.Level     `json:"level"`
	Contrast Contrast        `json:"contrast"`
	Results  []*ComparedCell `json:"results"` // one for each target; null where its report has no such rule
}

// ComparedCell is what one report says of the rule.
type ComparedCell struct {
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason,omitempty"`
}

// Compare holds reports side by side. A report without a label goes by its target; labels that
// would be the same are numbered.
func Compare(reports []*Report, labels []string) *Comparison {
	c := &Comparison{Format: ComparisonFormat, Targets: []ComparedTarget{}, Rules: []ComparedRule{}}
	type key struct {
		version Versions
		id      string
	}
	at := map[key]int{}
	for i, r := range reports {
		label := r.short()
		if i < len(labels) && labels[i] != "" {
			label = labels[i]
		}
		c.Targets = append(c.Targets, ComparedTarget{Label: c.unused(label), Target: r.Target, Versions: r.Versions, Started: r.Started, Counts: r.Counts})
		for _, x := range r.Rules {
			k := key{x.Version, x.ID}
			j, ok := at[k]
			if !ok {
				j = len(c.Rules)
				at[k] = j
				c.Rules = append(c.Rules, ComparedRule{ID: x.ID, Title: x.Title, Version: x.Version, Section: x.Section, Level: x.Level, Results: make([]*ComparedCell, len(reports))})
			}
			c.Rules[j].Results[i] = &ComparedCell{Verdict: x.Verdict, Reason: x.Reason}
		}
	}
	for i := range c.Rules {
		c.Rules[i].Contrast = c.Rules[i].contrast()
	}
	slices.SortStableFunc(c.Rules, func(a, b ComparedRule) int {
		return cmp.Or(slices.Index(contrasts, a.Contrast)-slices.Index(contrasts, b.Contrast), int(a.Version)-int(b.Version),
			rules.Compare(chapter(a.ID), chapter(b.ID)), rules.Compare(a.ID, b.ID))
	})
	return c
}

// unused returns the label with a number where it is taken.
func (c *Comparison) unused(label string) string {
	taken := func(l string) bool {
		return slices.ContainsFunc(c.Targets, func(t ComparedTarget) bool { return t.Label == l })
	}
	out := label
	for n := 2; taken(out); n++ {
		out = fmt.Sprintf("%s (%d)", label, n)
	}
	return out
}

func (r *ComparedRule) wording() string { return wording(r.Version, r.ID, r.Title) }

func (r *ComparedRule) contrast() Contrast {
	var first Verdict
	judged, absent := 0, 0
	for _, cell := range r.Results {
		switch {
		case cell == nil || cell.Verdict < Pass || cell.Verdict == Errored:
			absent++
			continue
		case judged > 0 && cell.Verdict != first:
			return Differs
		}
		first = cell.Verdict
		judged++
	}
	switch {
	case judged > 0 && first > Pass:
		return Shared
	case judged > 0 && absent > 0:
		return Partly
	}
	return Alike
}

// Count returns the number of rules with the contrast.
func (c *Comparison) Count(k Contrast) int {
	n := 0
	for _, r := range c.Rules {
		if r.Contrast == k {
			n++
		}
	}
	return n
}

// Summary says the outcome in one line.
func (c *Comparison) Summary() string {
	return fmt.Sprintf("%d rules over %d targets: %d differ, %d are broken wherever they were judged, %d are kept but not judged everywhere, %d are alike",
		len(c.Rules), len(c.Targets), c.Count(Differs), c.Count(Shared), c.Count(Partly), c.Count(Alike))
}

// WriteJSON writes the comparison as the documented JSON, indented.
func (c *Comparison) WriteJSON(w io.Writer) error { return writeJSON(w, c) }

// contrastTitles head the blocks of a comparison.
var contrastTitles = map[Contrast]string{
	Differs: "Different", Shared: "Broken wherever judged", Partly: "Kept wherever judged", Alike: "Alike",
}

// word is what a cell shows: nothing where the report has no such rule.
func (c *ComparedCell) word() string {
	if c == nil {
		return ""
	}
	return words[c.Verdict]
}

// WriteText writes the comparison for a person: what differs and what is broken everywhere, and with
// Verbose every rule.
func (c *Comparison) WriteText(w io.Writer, u *ui.UI, opt TextOptions) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", u.Heading(fmt.Sprintf("MQTT conformance of %d targets", len(c.Targets))))
	var rows [][]string
	for _, t := range c.Targets {
		rows = append(rows, []string{
			ui.Printable(t.Label), ui.Printable(t.Target), t.Versions.String(), number(t.Counts.Pass), number(t.Counts.Warn),
			number(t.Counts.Fail + t.Counts.BrokerDied + t.Counts.Error), number(t.Counts.Inconclusive), number(t.Counts.NotApplicable),
		})
	}
	b.WriteString(u.Table(opt.Width, []ui.Column{
		{Title: "Label", Flex: true},
		{Title: "Target", Flex: true},
		{Title: "MQTT"},
		{Title: "Pass", Right: true},
		{Title: "Warn", Right: true},
		{Title: "Fail", Right: true},
		{Title: "Open", Right: true},
		{Title: "N/A", Right: true},
	}, rows))
	columns := []ui.Column{{Title: "MQTT"}, {Title: "Rule"}}
	for _, t := range c.Targets {
		columns = append(columns, ui.Column{Title: ui.Printable(t.Label)})
	}
	columns = append(columns, ui.Column{Title: "Wording", Flex: true})
	for _, k := range contrasts {
		if (k == Partly || k == Alike) && !opt.Verbose {
			continue
		}
		var rows [][]string
		for _, r := range c.Rules {
			if r.Contrast != k {
				continue
			}
			row := []string{r.Version.String(), ui.Printable(r.ID)}
			for _, cell := range r.Results {
				row = append(row, u.Verdict(cell.word()))
			}
			rows = append(rows, append(row, ui.Printable(r.wording())))
		}
		if len(rows) > 0 {
			fmt.Fprintf(&b, "\n%s\n%s", u.Heading(contrastTitles[k]), u.Table(opt.Width, columns, rows))
		}
	}
	b.WriteString("\n" + c.Summary() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown writes the comparison as tables, those of no interest folded.
func (c *Comparison) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## MQTT conformance of %d targets\n\n%s.\n\n", len(c.Targets), c.Summary())
	var rows [][]string
	titles := []string{"MQTT", "Rule"}
	for _, t := range c.Targets {
		titles = append(titles, report.MarkdownText(t.Label))
		rows = append(rows, []string{
			report.MarkdownText(t.Label), report.MarkdownCode(t.Target), report.MarkdownText(t.Versions.String()), number(t.Counts.Pass), number(t.Counts.Warn),
			number(t.Counts.Fail + t.Counts.BrokerDied + t.Counts.Error), number(t.Counts.Inconclusive), number(t.Counts.NotApplicable),
		})
	}
	b.WriteString(report.MarkdownTable([]string{"Label", "Target", "MQTT", "Pass", "Warn", "Fail", "Open", "N/A"},
		[]bool{false, false, false, true, true, true, true, true}, rows))
	titles = append(titles, "Wording")
	for _, k := range contrasts {
		var rows [][]string
		for _, r := range c.Rules {
			if r.Contrast != k {
				continue
			}
			row := []string{report.MarkdownText(r.Version.String()), report.MarkdownCode(r.ID)}
			for _, cell := range r.Results {
				row = append(row, cell.word())
			}
			rows = append(rows, append(row, report.MarkdownText(r.wording())))
		}
		switch {
		case len(rows) == 0:
		case k == Partly || k == Alike:
			b.WriteString("\n" + report.MarkdownDetails(fmt.Sprintf("%s: %d %s", contrastTitles[k], len(rows), plural(len(rows), "rule", "rules")), report.MarkdownTable(titles, nil, rows)))
		default:
			fmt.Fprintf(&b, "\n### %s\n\n%s", contrastTitles[k], report.MarkdownTable(titles, nil, rows))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

type comparePage struct {
	*Comparison
	Blocks   []compareBlock
	Verdicts []Verdict
	Both     bool // both versions occur
}

type compareBlock struct {
	Contrast Contrast
	Title    string
	Rules    []compareRow
}

type compareRow struct {
	ComparedRule
	Text string
}

// WriteHTML writes the comparison as one self-contained page.
func (c *Comparison) WriteHTML(w io.Writer) error {
	p := comparePage{Comparison: c}
	var seen Versions
	for _, k := range contrasts {
		block := compareBlock{Contrast: k, Title: contrastTitles[k]}
		for _, r := range c.Rules {
			if r.Contrast == k {
				block.Rules = append(block.Rules, compareRow{r, r.wording()})
				seen |= r.Version
			}
		}
		if len(block.Rules) > 0 {
			p.Blocks = append(p.Blocks, block)
		}
	}
	p.Both = seen == rules.AnyVersion
	body, err := render("compare.html", p)
	if err != nil {
		return err
	}
	return report.Page{
		Title: fmt.Sprintf("MQTT conformance of %d targets", len(c.Targets)), Body: body,
		Styles: []string{asset("compare.css")}, Script: asset("filters.js") + asset("compare.js"), Data: c,
	}.Write(w)
}
