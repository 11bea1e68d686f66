package fuzz

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/report"
)

// Bounds on what a page shows of one finding.
const (
	reportScript = 12 << 10
	reportStderr = 6 << 10
)

// WriteMarkdown writes the finding as one page: what happened, what brings it about, what was seen, and how to see it
// again.
func (f *Finding) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", report.MarkdownText(capital(f.headline())))
	fmt.Fprintf(&b, "%s%s.\n\n", report.MarkdownText(capital(f.Oracle.Says())), f.graded())
	rows := [][]string{{"target", report.MarkdownCode(f.Target)}}
	row := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	row("signature", report.MarkdownCode(f.Signature))
	if f.State != "" {
		row("state", report.MarkdownText(f.State))
	}
	row("rule", f.ruleText())
	if s := f.Best(); s != nil {
		row("version", "MQTT "+s.Version.String())
	}
	if !f.At.IsZero() {
		row("found", report.MarkdownText(fmt.Sprintf("%s, after %s and %s, with --seed %d",
			f.At.UTC().Format(time.DateTime+" UTC"), f.After.Round(time.Millisecond), plural(f.Execs, "script"), f.Seed)))
	}
	if f.Count > 1 {
		row("met", report.MarkdownText(plural(int64(f.Count), "time")))
	}
	row("confirmed", report.MarkdownText(f.Confirmation()))
	row("size", report.MarkdownText(f.size()))
	b.WriteString(report.MarkdownTable([]string{"", ""}, nil, rows))
	if s := f.Best(); s != nil {
		b.WriteString("\n## What brings it about\n\n" + report.MarkdownBlock(clip(s.Text(), reportScript)))
	}
	if len(f.Detail) > 0 {
		b.WriteString("\n## What was seen\n\n")
		for _, d := range f.Detail {
			b.WriteString("- " + report.MarkdownText(d) + "\n")
		}
	}
	if f.Stderr != "" {
		b.WriteString("\n## What the target wrote\n\n" + report.MarkdownBlock(clip(f.Stderr, reportStderr)))
	}
	if file := f.Files["script"]; file != "" {
		b.WriteString("\n## To see it again\n\n" + report.MarkdownBlock(f.replay(file)))
		if scenario := f.Files["scenario"]; scenario != "" {
			fmt.Fprintf(&b, "\nAs an exchange scenario, without the waits and watches of the fuzzer: %s.\n", report.MarkdownCode(scenario))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (f *Finding) headline() string {
	if f.Title != "" {
		return f.Title
	}
	return f.Oracle.Says()
}

func (f *Finding) graded() string {
	if f.Warn {
		return " (a warning)"
	}
	return ""
}

// ruleText names the rule and says what it demands.
func (f *Finding) ruleText() string {
	if f.Rule == "" {
		return ""
	}
	text := report.MarkdownCode(f.Rule)
	v := rules.MQTT311
	if s := f.Best(); s != nil && s.Version == codec.V5 {
		v = rules.MQTT5
	}
	if r, ok := rules.Lookup(v, f.Rule); ok {
		text += ": " + report.MarkdownText(r.Text)
	}
	return text
}

// size compares the scripts.
func (f *Finding) size() string {
	s := f.Best()
	if s == nil {
		return ""
	}
	say := func(s *Script) string {
		return fmt.Sprintf("%s, %s, %s", plural(int64(len(s.Steps)), "step"), plural(int64(s.Packets()), "packet"), plural(s.size(), "byte"))
	}
	if f.Minimal == nil || f.Script == nil {
		return say(s)
	}
	return say(f.Minimal) + "; found with " + say(f.Script)
}

// size counts the bytes that the script sends without the answers.
func (s *Script) size() int64 {
	var n int64
	for i := range s.Steps {
		st := &s.Steps[i]
		k := int64(max(1, st.Repeat))
		if st.Op == Churn {
			k *= int64(max(1, st.Size))
		}
		n += k * int64(len(st.Bytes))
	}
	return n
}

// replay is the command that shows the finding again.
func (f *Finding) replay(file string) string {
	how := "--target " + f.Target
	if strings.ContainsAny(f.Target, " {") || !strings.Contains(f.Target, "://") {
		how = "--cmd " + shellQuote(f.Target)
	}
	return "mqlab fuzz replay " + shellQuote(file) + " " + how
}

// shellQuote returns a word that a shell reads as s.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// clip cuts a text in the middle: the start and the end of a trace say most.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	head := strings.ToValidUTF8(s[:n/2], "")
	tail := strings.ToValidUTF8(s[len(s)-n/2:], "")
	return fmt.Sprintf("%s\n... %d bytes left out ...\n%s", strings.TrimRight(head, "\n"), len(s)-len(head)-len(tail), tail)
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// WriteMarkdown writes the summary of a run, to stand in a job's summary page.
func (s *Summary) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "## mqlab fuzz: %s\n\n", report.MarkdownText(s.headline()))
	fmt.Fprintf(&b, "Target %s. %s\n\n", report.MarkdownCode(s.Target), report.MarkdownText(s.effort()))
	if len(s.Findings) > 0 {
		var rows [][]string
		for _, f := range s.Findings {
			size := ""
			if x := f.Best(); x != nil {
				size = plural(int64(x.Packets()), "packet")
			}
			files := ""
			for _, kind := range []string{"report", "scenario", "script"} {
				if f.Files[kind] != "" {
					files = report.MarkdownCode(f.Files[kind])
					break
				}
			}
			class := f.Class()
			if !s.Fails(f) {
				class += " (does not fail the run)"
			}
			rows = append(rows, []string{
				report.MarkdownText(class), report.MarkdownText(f.headline()), report.MarkdownCode(f.Signature),
				f.After.Round(100 * time.Millisecond).String(), size, report.MarkdownText(f.Confirmation()), files,
			})
		}
		b.WriteString(report.MarkdownTable([]string{"class", "finding", "signature", "after", "minimal", "confirmed", "file"},
			[]bool{3: true}, rows))
	}
	if s.Stopped != "" {
		fmt.Fprintf(&b, "\nThe run ended early: %s.\n", report.MarkdownText(s.Stopped))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Summary) headline() string {
	switch n := len(s.Findings); {
	case n == 0:
		return "nothing found"
	case s.OK():
		return plural(int64(n), "finding") + ", none that fails the run"
	default:
		return plural(int64(n), "finding")
	}
}

// effort says what was done in one sentence.
func (s *Summary) effort() string {
	var versions []string
	for _, v := range s.Versions {
		versions = append(versions, v.String())
	}
	text := fmt.Sprintf("%s with %s in %s (%.0f/s), seed %d, %s and %s known", plural(s.Execs, "script"), plural(s.Packets, "packet"),
		s.Elapsed.Round(100*time.Millisecond), s.Rate(), s.Seed, plural(int64(s.States), "state"), plural(int64(s.Edges), "edge"))
	if len(versions) > 0 {
		text += ", MQTT " + strings.Join(versions, ", ")
	}
	if s.Covered > 0 {
		text += ", " + plural(int64(s.Covered), "block") + " of the target's code run"
	}
	if s.Restarts > 0 {
		text += fmt.Sprintf(", the target was started again %s", plural(int64(s.Restarts), "time"))
	}
	return text + "."
}

// WriteJUnit writes the summary as JUnit XML: a case for each oracle that stayed silent, and one for each finding.
func (s *Summary) WriteJUnit(w io.Writer) error {
	doc := report.JUnit{Name: "MQTT fuzzing of " + s.Target, Started: s.Started, Elapsed: s.Elapsed}
	for _, class := range Classes() {
		suite := report.JUnitSuite{Name: class, Elapsed: s.Elapsed}
		for _, o := range Oracles() {
			if o.Class() != class {
				continue
			}
			silent := true
			for _, f := range s.Findings {
				if f.Oracle == o {
					silent = false
					suite.Cases = append(suite.Cases, s.junitCase(f))
				}
			}
			if silent {
				suite.Cases = append(suite.Cases, report.JUnitCase{Class: "fuzz." + class, Name: "never: " + o.Says(), Elapsed: s.Elapsed})
			}
		}
		doc.Suites = append(doc.Suites, suite)
	}
	if s.Stopped != "" {
		doc.Suites = append(doc.Suites, report.JUnitSuite{Name: "run", Cases: []report.JUnitCase{{
			Class: "fuzz.run", Name: "ran to its end", Outcome: report.Errored, Kind: "stopped", Message: s.Stopped,
		}}})
	}
	return doc.Write(w)
}

func (s *Summary) junitCase(f *Finding) report.JUnitCase {
	c := report.JUnitCase{Class: "fuzz." + f.Class(), Name: f.Slug() + ": " + f.headline(), Elapsed: f.After}
	detail := []string{"signature: " + f.Signature}
	if f.Rule != "" {
		detail = append(detail, "rule: "+f.Rule)
	}
	detail = append(detail, "confirmed: "+f.Confirmation())
	detail = append(detail, f.Detail...)
	if x := f.Best(); x != nil {
		detail = append(detail, clip(x.Text(), reportScript))
	}
	if file := f.Files["script"]; file != "" {
		detail = append(detail, f.replay(file))
	}
	text := strings.Join(detail, "\n")
	if !s.Fails(f) {
		c.Output = text
		return c
	}
	c.Outcome, c.Kind, c.Message, c.Detail = report.Failed, string(f.Oracle), f.Signature, text
	c.Output = clip(f.Stderr, reportStderr)
	return c
}
