package conformance

import (
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/report"
	"github.com/mqlab/mqlab/internal/ui"
)

//go:embed assets
var assets embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"visible": func(s string) string { return report.Visible(s, true) },
	"word":    func(v Verdict) string { return words[v] },
	"letter":  func(v Verdict) string { return glyphs[v] },
	"cell":    tallyCell,
	"failed":  func(c Counts) int { return c.Fail + c.BrokerDied + c.Error },
}).ParseFS(assets, "assets/*.html"))

// asset returns an embedded file; the name is ours.
func asset(name string) string {
	b, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic("conformance: " + err.Error())
	}
	return string(b)
}

// glyphs stand for verdicts where there is room for one character only.
var glyphs = map[Verdict]string{
	Pass: "✓", Warn: "!", Fail: "✗", BrokerDied: "†", Inconclusive: "?", NotApplicable: "–", Errored: "E",
}

// severity lists the verdicts in the order in which a reader wants them.
var severity = []Verdict{Errored, BrokerDied, Fail, Warn, Inconclusive, Pass, NotApplicable}

// of returns how many rules have the verdict.
func (c Counts) of(v Verdict) int {
	switch v {
	case Pass:
		return c.Pass
	case Warn:
		return c.Warn
	case Fail:
		return c.Fail
	case BrokerDied:
		return c.BrokerDied
	case Inconclusive:
		return c.Inconclusive
	case NotApplicable:
		return c.NotApplicable
	}
	return c.Error
}

type tally struct {
	Verdict Verdict
	N       int
}

// tallies lists the verdicts that occurred, most severe first.
func (c Counts) tallies() []tally {
	var out []tally
	for _, v := range severity {
		if n := c.of(v); n > 0 {
			out = append(out, tally{v, n})
		}
	}
	return out
}

// htmlPage is what the page is made of before any script runs.
type htmlPage struct {
	Report   *Report
	Title    string
	Outcome  Verdict
	Summary  string
	Meta     string
	Versions []Versions
	Verdicts []tally
	Matrix   []htmlChapter
	Sections []htmlSection
	Features []htmlFeatures
	Stray    []*CheckResult
}

type htmlChapter struct {
	Chapter, Title string
	Cells          []*section // one for each version; nil where the version has no such chapter
}

type htmlSection struct {
	*section
	Rows []htmlRule
}

type htmlRule struct {
	*RuleResult
	Text string
}

type htmlFeatures struct {
	Version Versions
	Lines   []string
}

// htmlData is what the page's script reads.
type htmlData struct {
	Command string                 `json:"command"` // begins every replay
	Known   map[string]htmlWording `json:"known"`   // by version and id
	Report  *Report                `json:"report"`
}

type htmlWording struct {
	Pass string `json:"pass,omitempty"`
	Fail string `json:"fail,omitempty"`
}

// WriteHTML writes the report as one self-contained page. The rules with their verdicts are plain
// HTML, readable without scripts; the evidence is stored once and unfolded on demand.
func (r *Report) WriteHTML(w io.Writer) error {
	p := htmlPage{
		Report: r, Title: r.short(), Outcome: r.outcome(), Summary: r.sentence(), Versions: r.Versions.Split(), Verdicts: r.Counts.tallies(), Stray: r.stray(),
		Meta: fmt.Sprintf("MQTT %s · %s · %d checks in %s", strings.ReplaceAll(r.Versions.String(), ",", " and "),
			r.address()+r.Started.UTC().Format("2 January 2006, 15:04 UTC"), len(r.Checks), ui.Duration(r.Elapsed)),
	}
	data := htmlData{Command: r.command(), Known: map[string]htmlWording{}, Report: r}
	for _, s := range r.sections() {
		out := htmlSection{section: s}
		for _, x := range s.Rules {
			rule, ok := rules.Lookup(x.Version, x.ID)
			if ok {
				data.Known[x.Version.String()+"/"+x.ID] = htmlWording{Pass: rule.Pass, Fail: rule.Fail}
			}
			out.Rows = append(out.Rows, htmlRule{x, x.wording()})
		}
		p.Sections = append(p.Sections, out)
		p.addToMatrix(s)
	}
	slices.SortStableFunc(p.Matrix, func(a, b htmlChapter) int { return rules.Compare(a.Chapter, b.Chapter) })
	for _, f := range r.Features {
		p.Features = append(p.Features, htmlFeatures{f.Version, f.lines()})
	}
	body, err := render("report.html", p)
	if err != nil {
		return err
	}
	return report.Page{
		Title: words[p.Outcome] + ": MQTT conformance of " + report.Visible(r.short(), false), Body: body,
		Styles: []string{asset("report.css")}, Script: asset("filters.js") + asset("report.js"), Data: data,
	}.Write(w)
}

func render(name string, v any) (template.HTML, error) {
	var b strings.Builder
	if err := pages.ExecuteTemplate(&b, name, v); err != nil {
		return "", fmt.Errorf("write the page: %w", err)
	}
	return template.HTML(b.String()), nil
}

func (p *htmlPage) addToMatrix(s *section) {
	i := slices.IndexFunc(p.Matrix, func(c htmlChapter) bool { return c.Chapter == s.Chapter })
	if i < 0 {
		i = len(p.Matrix)
		p.Matrix = append(p.Matrix, htmlChapter{Chapter: s.Chapter, Title: s.Title, Cells: make([]*section, len(p.Versions))})
	}
	if j := slices.Index(p.Versions, s.Version); j >= 0 {
		p.Matrix[i].Cells[j] = s
	}
}

// short is the target's name or, where it has none, its address.
func (r *Report) short() string { return cmp.Or(r.Name, r.Target) }

// address is where a target that has a name was reached.
func (r *Report) address() string {
	switch {
	case r.Name == "":
		return ""
	case r.Command != "":
		return r.Command + " · "
	}
	return r.Target + " · "
}

// outcome is the verdict on the run as a whole; what is expected does not make it worse.
func (r *Report) outcome() Verdict {
	c := r.Counts
	for _, x := range r.Rules {
		switch {
		case x.Expected && x.Verdict == Fail:
			c.Fail--
		case x.Expected && x.Verdict == Warn:
			c.Warn--
		}
	}
	if len(r.Deaths) > 0 && c.Error == 0 {
		return BrokerDied
	}
	for _, v := range severity {
		switch {
		case v == Warn && c.Warn > 0 && r.Strict:
			return Fail
		case (v == Inconclusive || v == NotApplicable) && c.Pass > 0:
			return Pass
		case c.of(v) > 0:
			return v
		}
	}
	return NotApplicable
}

// sentence says the outcome in words.
func (r *Report) sentence() string {
	c := r.Counts
	judged := c.Pass + c.Warn + c.Fail + c.BrokerDied
	broken := c.Fail + c.BrokerDied
	s := fmt.Sprintf("Every one of the %d judged rules is kept", judged)
	switch {
	case judged == 0:
		s = "No rule could be judged"
	case broken > 0:
		s = fmt.Sprintf("%d of %d judged rules %s broken", broken, judged, plural(broken, "is", "are"))
	case c.Warn > 0:
		s = fmt.Sprintf("No judged rule of %d is broken", judged)
	}
	if c.Warn > 0 {
		s += fmt.Sprintf(", with %d %s", c.Warn, plural(c.Warn, "warning", "warnings"))
	}
	s += "."
	if c.Expected > 0 {
		s += fmt.Sprintf(" %d of these %s expected.", c.Expected, plural(c.Expected, "is", "are"))
	}
	if n := len(r.Deaths); n > 0 {
		s += fmt.Sprintf(" The target died %d %s.", n, plural(n, "time", "times"))
	}
	if c.Error > 0 {
		s += fmt.Sprintf(" %d %s of the suite itself.", c.Error, plural(c.Error, "error", "errors"))
	}
	if r.Strict {
		s += " Warnings count as failures."
	}
	if r.Interrupted {
		s += " The run was interrupted: not everything was judged."
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// lines says what a target announced, for readers.
func (f *Features) lines() []string {
	if !f.Served {
		return []string{"not served: " + f.Evidence}
	}
	out := []string{fmt.Sprintf("Maximum QoS %d", f.MaximumQoS)}
	out = append(out, f.Shown...)
	if f.Version != MQTT5 {
		return out
	}
	out = append(out, fmt.Sprintf("Receive Maximum %d", f.ReceiveMaximum), fmt.Sprintf("Topic Alias Maximum %d", f.TopicAliasMaximum))
	if f.MaximumPacketSize > 0 {
		out = append(out, fmt.Sprintf("Maximum Packet Size %d", f.MaximumPacketSize))
	}
	if f.ServerKeepAlive > 0 {
		out = append(out, fmt.Sprintf("Server Keep Alive %d s", f.ServerKeepAlive))
	}
	return out
}

// tallyCell is how a cell of the matrix counts, such as "2 fail, 14 pass".
func tallyCell(c Counts) string {
	var parts []string
	for _, t := range c.tallies() {
		parts = append(parts, fmt.Sprintf("%d %s", t.N, strings.ToLower(words[t.Verdict])))
	}
	return strings.Join(parts, ", ")
}
