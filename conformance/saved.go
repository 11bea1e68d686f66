package conformance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/peer"
)

// ReportFormat is the value of Report.Format. The number grows when a field changes its meaning
// or goes; new fields do not change it.
const ReportFormat = "mqlab-conformance/1"

// maxReport bounds a saved report, in bytes.
const maxReport = 512 << 20

// WriteJSON writes the report as the documented JSON, indented. The same report always gives the same bytes.
func (r *Report) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// ReadReport reads what WriteJSON has written. Nothing that the JSON holds is lost, and fields
// that are not known are skipped.
func ReadReport(in io.Reader) (*Report, error) {
	list, err := ReadReports(in)
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("there are %d reports where one is wanted", len(list))
	}
	return list[0], nil
}

// ReadReports reads one report or a JSON list of several, as a run over several targets writes it.
func ReadReports(in io.Reader) ([]*Report, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxReport+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxReport {
		return nil, fmt.Errorf("the report is larger than %d bytes", maxReport)
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 || text[0] != '[' {
		r, err := parseReport(text)
		if err != nil {
			return nil, err
		}
		return []*Report{r}, nil
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, fmt.Errorf("this is no report in JSON: %w", err)
	}
	var out []*Report
	for i, p := range parts {
		r, err := parseReport(p)
		if err != nil {
			return nil, fmt.Errorf("report %d of %d: %w", i+1, len(parts), err)
		}
		out = append(out, r)
	}
	return out, nil
}

func parseReport(text []byte) (*Report, error) {
	var head struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("this is no report in JSON: %w", err)
	}
	if head.Format != ReportFormat {
		return nil, fmt.Errorf("the format is %q where a report has %q: write one with mqlab conformance --json FILE", head.Format, ReportFormat)
	}
	r := new(Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("the report cannot be read: %w", err)
	}
	one := func(v Versions) bool { return v == MQTT311 || v == MQTT5 }
	for i, f := range r.Features {
		if f == nil || !one(f.Version) {
			return nil, fmt.Errorf("features[%d] names no single MQTT version", i)
		}
	}
	for i, x := range r.Rules {
		if x == nil || x.ID == "" || !one(x.Version) {
			return nil, fmt.Errorf("rules[%d] names no rule of a single MQTT version", i)
		}
	}
	for i, c := range r.Checks {
		if c == nil || c.Name == "" || !one(c.Version) {
			return nil, fmt.Errorf("checks[%d] names no check under a single MQTT version", i)
		}
	}
	return r, nil
}

// section is the part of a report that is about one chapter of one version.
type section struct {
	Version Versions
	Chapter string
	Title   string
	Rules   []*RuleResult
	Counts  Counts
	Worst   Verdict
}

// sections groups the rules of the report, the older version first.
func (r *Report) sections() []*section {
	var out []*section
	for _, x := range r.Rules {
		ch := chapter(x.ID)
		i := slices.IndexFunc(out, func(s *section) bool { return s.Version == x.Version && s.Chapter == ch })
		if i < 0 {
			i = len(out)
			out = append(out, &section{Version: x.Version, Chapter: ch, Title: chapterTitles[ch]})
		}
		s := out[i]
		s.Rules = append(s.Rules, x)
		s.Counts.add(x.Verdict)
		s.Worst = max(s.Worst, x.Verdict)
	}
	slices.SortStableFunc(out, func(a, b *section) int {
		return cmp.Or(int(a.Version)-int(b.Version), rules.Compare(a.Chapter, b.Chapter))
	})
	return out
}

// Name returns the chapter's number and title.
func (s *section) Name() string {
	if s.Chapter == extraSection {
		return s.Title
	}
	return strings.TrimSpace(s.Chapter + " " + s.Title)
}

// wording is the text of a rule; one of the user's own has a title instead.
func (r *RuleResult) wording() string { return wording(r.Version, r.ID, r.Title) }

func wording(v Versions, id, title string) string {
	if rule, ok := rules.Lookup(v, id); ok {
		return rule.Text
	}
	return title
}

// against returns the checks that speak against the rule.
func (r *Report) against(x *RuleResult) []*CheckResult {
	var out []*CheckResult
	for _, c := range r.Checks {
		if c.Version == x.Version && c.against(x.ID) {
			out = append(out, c)
		}
	}
	return out
}

// breaches returns what the check found against the rule.
func (c *CheckResult) breaches(rule string) []Finding {
	var out []Finding
	for _, f := range c.Findings {
		if f.Rule == rule && !f.OK && f.Grade != GradeNote {
			out = append(out, f)
		}
	}
	return out
}

// stray returns the checks that failed as a whole while no rule says so.
func (r *Report) stray() []*CheckResult {
	var out []*CheckResult
	for _, c := range r.Checks {
		if c.Verdict == Errored && !slices.ContainsFunc(r.Rules, func(x *RuleResult) bool {
			return x.Verdict == Errored && x.Version == c.Version && slices.Contains(x.Checks, c.Name)
		}) {
			out = append(out, c)
		}
	}
	return out
}

// lines writes a transcript with one entry in a line and its bytes in hexadecimal below.
func lines(entries []peer.Entry, limit int) []string {
	arrows := map[peer.Direction]string{peer.Sent: "->", peer.Received: "<-", peer.Noted: "--"}
	var out []string
	for i, e := range entries {
		if limit > 0 && i == limit {
			return append(out, fmt.Sprintf("%d further entries", len(entries)-limit))
		}
		at := fmt.Sprintf("%.1fms", float64(e.At.Microseconds())/1000)
		out = append(out, fmt.Sprintf("%9s %-3s %s %s", at, e.Conn, arrows[e.Dir], e.Text))
		if len(e.Bytes) > 0 {
			shown := fmt.Sprintf("% x", e.Bytes[:min(len(e.Bytes), hexShown)])
			if e.Size > hexShown {
				shown += fmt.Sprintf("... (%d bytes)", e.Size)
			}
			out = append(out, strings.Repeat(" ", 17)+shown)
		}
	}
	return out
}

// replay is the command that judges the rule again, for a POSIX shell.
func (r *Report) replay(x *RuleResult) string {
	own := ""
	if chapter(x.ID) == extraSection {
		own = " --extra " + shellWord(cmp.Or(r.Extra, "DIR")) // older reports do not have the folder
	}
	if r.Client != "" { // it chooses the version
		return "mqlab conformance client --run " + shellWord(x.ID) + " -- " + r.Client
	}
	return r.command() + own + " --mqtt " + shellWord(x.Version.String()) + " --run " + shellWord(x.ID)
}

// command begins every replay. Credentials are not part of a report; the environment has them.
func (r *Report) command() string {
	s := "mqlab conformance"
	if r.Command != "" {
		return s + " --cmd " + shellWord(r.Command) // it picks the addresses
	}
	if r.Target != "" && r.Target != embeddedTarget {
		s += " --target " + shellWord(r.Target)
	}
	if r.WSTarget != "" {
		s += " --ws-target " + shellWord(r.WSTarget)
	}
	return s
}

func shellWord(s string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._,:/@%+=-", c)
	}
	if s != "" && strings.IndexFunc(s, func(c rune) bool { return !plain(c) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
