package conformance

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/internal/ui"
)

// TextOptions says how much WriteText shows.
type TextOptions struct {
	Width   int  // cells in a line; 0: no limit
	Verbose bool // the transcript of every check that was kept, not only of those that failed
}

// words are the verdicts as the terminal shows them.
var words = map[Verdict]string{
	Pass: ui.Pass, Warn: ui.Warn, Fail: ui.Fail, BrokerDied: ui.Died,
	Inconclusive: ui.Inconclusive, NotApplicable: ui.NotApplies, Errored: ui.Error,
}

// WriteText writes the report for a person: a matrix by chapter, then every breach with the
// rule, what was expected and what came, then the counts.
func (r *Report) WriteText(w io.Writer, u *ui.UI, opt TextOptions) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", u.Heading(fmt.Sprintf("MQTT %s conformance of %s", r.Versions, r.Label())))
	b.WriteString(r.matrix(u, opt.Width))
	b.WriteString(r.scoreTable(u, opt.Width))
	for _, expected := range []bool{true, false} {
		for _, v := range []Verdict{Errored, BrokerDied, Fail, Warn} {
			for _, rule := range r.Rules {
				switch {
				case rule.Verdict != v || rule.Expected != expected:
				case expected:
					r.writeExpected(&b, u, rule, opt)
				default:
					r.writeBreach(&b, u, rule, opt)
				}
			}
		}
	}
	r.writeBetter(&b, u, opt.Width)
	r.writeDeaths(&b, u, opt.Width)
	if opt.Verbose {
		r.writeOthers(&b, u, opt)
	}
	r.writeUnjudged(&b, u, opt.Width)
	b.WriteString("\n" + r.Summary() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// Summary says the outcome in one line.
func (r *Report) Summary() string {
	c := r.Counts
	s := fmt.Sprintf("%d rules judged by %d checks in %s: %d pass, %d warn, %d fail",
		c.Pass+c.Warn+c.Fail+c.BrokerDied, len(r.Checks), ui.Duration(r.Elapsed), c.Pass, c.Warn, c.Fail)
	for _, extra := range []struct {
		n    int
		what string
	}{{c.BrokerDied, "broker died"}, {c.Error, "error"}, {c.Inconclusive, "inconclusive"}, {c.NotApplicable, "not applicable"}} {
		if extra.n > 0 {
			s += fmt.Sprintf(", %d %s", extra.n, extra.what)
		}
	}
	if c.Expected > 0 {
		s += fmt.Sprintf("; %d of the breaches and warnings are expected", c.Expected)
	}
	if len(r.Deaths) > 0 {
		s += fmt.Sprintf("; the target died %d %s", len(r.Deaths), plural(len(r.Deaths), "time", "times"))
	}
	if r.Interrupted {
		s += "; interrupted"
	}
	return s
}

// matrix counts verdicts by chapter and version.
func (r *Report) matrix(u *ui.UI, width int) string {
	type key struct {
		chapter string
		version Versions
	}
	counts := map[key]*Counts{}
	var keys []key
	for _, rule := range r.Rules {
		k := key{chapter(rule.ID), rule.Version}
		if counts[k] == nil {
			counts[k] = &Counts{}
			keys = append(keys, k)
		}
		counts[k].add(rule.Verdict)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(int(a.version)-int(b.version), rules.Compare(a.chapter, b.chapter))
	})
	var rows [][]string
	for _, k := range keys {
		c := counts[k]
		worst := ui.Pass
		switch {
		case c.Error > 0:
			worst = ui.Error
		case c.BrokerDied > 0:
			worst = ui.Died
		case c.Fail > 0:
			worst = ui.Fail
		case c.Warn > 0:
			worst = ui.Warn
		case c.Pass == 0 && c.Inconclusive > 0:
			worst = ui.Inconclusive
		case c.Pass == 0:
			worst = ui.NotApplies
		}
		rows = append(rows, []string{
			k.version.String(), k.chapter, chapterTitles[k.chapter], number(c.Pass), number(c.Warn), number(c.Fail + c.BrokerDied + c.Error),
			number(c.Inconclusive), number(c.NotApplicable), u.Verdict(worst),
		})
	}
	return u.Table(width, []ui.Column{
		{Title: "MQTT"},
		{Title: "Ch."},
		{Title: "About", Flex: true},
		{Title: "Pass", Right: true},
		{Title: "Warn", Right: true},
		{Title: "Fail", Right: true},
		{Title: "Open", Right: true},
		{Title: "N/A", Right: true},
		{Title: "Verdict"},
	}, rows)
}

func number(n int) string {
	if n == 0 {
		return "·"
	}
	return fmt.Sprint(n)
}

// chapter returns the chapter of a rule id: "3.3" of MQTT-3.3.1-4 and of P-3.3.4-topic-alias-range.
func chapter(id string) string {
	kind, rest, _ := strings.Cut(id, "-")
	if kind != "MQTT" && kind != "P" {
		return extraSection
	}
	parts := strings.SplitN(rest, ".", 3)
	if len(parts) < 2 {
		return rest
	}
	second, _, _ := strings.Cut(parts[1], "-")
	return parts[0] + "." + second
}

// chapterTitles name the chapters, which are the same in both versions but for 1.5.
var chapterTitles = map[string]string{
	extraSection: "Rules of your own",
	"1.5":        "Data representation", "2.1": "Fixed header", "2.2": "Fixed and variable header", "2.3": "Packet Identifier",
	"3.1": "CONNECT", "3.2": "CONNACK", "3.3": "PUBLISH", "3.4": "PUBACK", "3.5": "PUBREC", "3.6": "PUBREL", "3.7": "PUBCOMP",
	"3.8": "SUBSCRIBE", "3.9": "SUBACK", "3.10": "UNSUBSCRIBE", "3.11": "UNSUBACK", "3.12": "PINGREQ", "3.14": "DISCONNECT", "3.15": "AUTH",
	"4.1": "Session state", "4.2": "Network connections", "4.3": "Quality of Service", "4.4": "Delivery retry", "4.5": "Message receipt",
	"4.6": "Ordering", "4.7": "Topics and filters", "4.8": "Subscriptions, error handling", "4.9": "Flow control", "4.10": "Request and response",
	"4.11": "Server redirection", "4.12": "Enhanced authentication", "4.13": "Error handling", "6.0": "WebSocket",
}

func (r *Report) writeBreach(b *strings.Builder, u *ui.UI, res *RuleResult, opt TextOptions) {
	fmt.Fprintf(b, "\n%s %s  %s\n", u.Verdict(words[res.Verdict]), u.Strong(res.ID), u.Dim(fmt.Sprintf("MQTT %s, section %s", res.Version, res.Section)))
	if rule, ok := rules.Lookup(res.Version, res.ID); ok {
		b.WriteString(ui.Wrap(rule.Text, opt.Width, 2) + "\n")
	} else if res.Title != "" {
		b.WriteString(ui.Wrap(res.Title, opt.Width, 2) + "\n")
	}
	for _, c := range r.Checks {
		if c.Version != res.Version || !c.against(res.ID) {
			continue
		}
		fmt.Fprintf(b, "  %s%s\n", u.Code(c.Name), attempts(c))
		if c.Verdict == Errored || c.Verdict == BrokerDied {
			b.WriteString(ui.Wrap(c.Reason, opt.Width, 4) + "\n")
		}
		for _, f := range c.Findings {
			if f.Rule == res.ID && !f.OK && f.Grade != GradeNote {
				b.WriteString(ui.Wrap("expected: "+f.Expected, opt.Width, 4) + "\n")
				b.WriteString(ui.Wrap("got:      "+f.Actual, opt.Width, 4) + "\n")
			}
		}
		writeTranscript(b, u, c.Transcript, opt.Width)
	}
}

// against reports whether the check speaks against the rule.
func (c *CheckResult) against(rule string) bool {
	if (c.Verdict == Errored || c.Verdict == BrokerDied) && slices.Contains(c.Rules, rule) {
		return true
	}
	return slices.ContainsFunc(c.Findings, func(f Finding) bool { return f.Rule == rule && !f.OK && f.Grade != GradeNote })
}

func attempts(c *CheckResult) string {
	if c.Attempts < 2 {
		return ""
	}
	return fmt.Sprintf(" (failed %d of %d)", c.Failed, c.Attempts)
}

const hexShown = 32 // bytes of a packet that the terminal shows

func writeTranscript(b *strings.Builder, u *ui.UI, entries []peer.Entry, width int) {
	arrows := map[peer.Direction]string{peer.Sent: "->", peer.Received: "<-", peer.Noted: "--"}
	for _, e := range entries {
		line := fmt.Sprintf("    %9s %-3s %s %s", e.At.Round(time.Millisecond/10), e.Conn, arrows[e.Dir], ui.Printable(e.Text))
		if width > 0 {
			line = ui.Truncate(line, width)
		}
		b.WriteString(line + "\n")
		if len(e.Bytes) > 0 {
			shown := hex.EncodeToString(e.Bytes[:min(len(e.Bytes), hexShown)])
			if e.Size > hexShown {
				shown += fmt.Sprintf("... (%d bytes)", e.Size)
			}
			b.WriteString(u.Dim(strings.Repeat(" ", 21)+spaced(shown)) + "\n")
		}
	}
}

// spaced sets the bytes of a hex string apart.
func spaced(h string) string {
	var b strings.Builder
	for i := 0; i < len(h); i += 2 {
		if h[i] == '.' {
			b.WriteString(h[i:])
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(h[i:min(i+2, len(h))])
	}
	return b.String()
}

// writeOthers lists every check with its transcript, where it was kept.
func (r *Report) writeOthers(b *strings.Builder, u *ui.UI, opt TextOptions) {
	fmt.Fprintf(b, "\n%s\n", u.Heading("Checks"))
	for _, c := range r.Checks {
		fmt.Fprintf(b, "%s %s  %s\n", u.Verdict(words[c.Verdict]), u.Strong(c.Name), u.Dim("MQTT "+c.Version.String()+", "+strings.Join(c.Rules, " ")))
		if c.Reason != "" {
			b.WriteString(ui.Wrap(c.Reason, opt.Width, 4) + "\n")
		}
		if c.Verdict < Warn {
			writeTranscript(b, u, c.Transcript, opt.Width)
		}
	}
}

// writeUnjudged lists what could not be judged, grouped by reason.
func (r *Report) writeUnjudged(b *strings.Builder, u *ui.UI, width int) {
	for _, v := range []Verdict{Inconclusive, NotApplicable} {
		byReason := map[string][]string{}
		var order []string
		for _, rule := range r.Rules {
			if rule.Verdict != v {
				continue
			}
			why := rule.Reason
			if byReason[why] == nil {
				order = append(order, why)
			}
			byReason[why] = append(byReason[why], rule.ID)
		}
		for _, why := range order {
			fmt.Fprintf(b, "\n%s %s\n", u.Verdict(words[v]), why)
			b.WriteString(ui.Wrap(strings.Join(byReason[why], " "), width, 4) + "\n")
		}
	}
}
