package conformance

import (
	"fmt"
	"strings"

	"github.com/mqlab/mqlab/internal/ui"
)

// Label is what reports call the target: its name where it has one, and its address.
func (r *Report) Label() string {
	address := r.Target
	if r.Command != "" {
		address = r.Command // the port is another one each time
	}
	if r.Name == "" {
		return address
	}
	return fmt.Sprintf("%s (%s)", r.Name, address)
}

// writeExpected mentions a breach that a baseline lists, without its evidence.
func (r *Report) writeExpected(b *strings.Builder, u *ui.UI, x *RuleResult, opt TextOptions) {
	fmt.Fprintf(b, "\n%s %s  %s\n", u.Verdict(words[x.Verdict]), u.Strong(x.ID), u.Dim(fmt.Sprintf("MQTT %s, section %s, expected", x.Version, x.Section)))
	reason := x.ExpectedReason
	if reason == "" {
		reason = x.Reason
	}
	b.WriteString(ui.Wrap(ui.Printable(reason), opt.Width, 2) + "\n")
}

// writeBetter lists what a baseline expects and the target does not do.
func (r *Report) writeBetter(b *strings.Builder, u *ui.UI, width int) {
	if len(r.Better) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", u.Heading("Better than expected: tighten the list of expected findings"))
	for _, f := range r.Better {
		now := "is kept"
		if x := r.Rule(f.Rule, f.Version); x != nil && x.Verdict == Warn {
			now = "is a warning only"
		}
		b.WriteString(ui.Wrap(fmt.Sprintf("%s of MQTT %s %s; %s was expected", f.Rule, f.Version, now, f.Verdict), width, 2) + "\n")
	}
}

// writeDeaths lists how the target ended, where the suite started it.
func (r *Report) writeDeaths(b *strings.Builder, u *ui.UI, width int) {
	for _, d := range r.Deaths {
		about := "no check brings it about alone"
		if d.Culprit != "" {
			about = d.Culprit + " brings it about"
		}
		fmt.Fprintf(b, "\n%s %s\n", u.Verdict(ui.Died), u.Strong("the target "+ui.Printable(d.Status)))
		b.WriteString(ui.Wrap(about+"; then ran: "+strings.Join(d.During, ", "), width, 2) + "\n")
		for _, line := range d.Output {
			b.WriteString(u.Dim("    "+ui.Printable(line)) + "\n")
		}
	}
}
