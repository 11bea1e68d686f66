package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// TAP is a result in the Test Anything Protocol, version 14.
type TAP struct {
	Comments []string
	Points   []TAPPoint
	Bail     string // why the run ended early, if it did
}

// TAPPoint is one test point.
type TAPPoint struct {
	OK   bool
	Name string
	Skip string // why it was skipped; the point counts as passed
	Todo string // why it is known not to pass; the point counts as passed
	Diag []Diag // the YAML block under it
}

// Diag is one entry of a point's YAML block: a line or, where Lines is set, a list of them.
type Diag struct {
	Key   string
	Value string
	Lines []string
}

// Write writes the stream.
func (t TAP) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "TAP version 14\n1..%d\n", len(t.Points))
	for _, c := range t.Comments {
		fmt.Fprintf(&b, "# %s\n", Visible(c, false))
	}
	for i, p := range t.Points {
		if !p.OK {
			b.WriteString("not ")
		}
		fmt.Fprintf(&b, "ok %d - %s", i+1, tapText(p.Name))
		switch {
		case p.Skip != "":
			b.WriteString(" # SKIP " + tapText(p.Skip))
		case p.Todo != "":
			b.WriteString(" # TODO " + tapText(p.Todo))
		}
		b.WriteByte('\n')
		if len(p.Diag) > 0 {
			writeDiag(&b, p.Diag)
		}
	}
	if t.Bail != "" {
		fmt.Fprintf(&b, "Bail out! %s\n", tapText(t.Bail))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// tapText escapes what would begin a directive.
func tapText(s string) string {
	return strings.NewReplacer(`\`, `\\`, "#", `\#`).Replace(Visible(s, false))
}

func writeDiag(b *strings.Builder, list []Diag) {
	b.WriteString("  ---\n")
	for _, d := range list {
		if d.Lines == nil {
			fmt.Fprintf(b, "  %s: %s\n", d.Key, quoted(d.Value))
			continue
		}
		fmt.Fprintf(b, "  %s:\n", d.Key)
		for _, l := range d.Lines {
			fmt.Fprintf(b, "    - %s\n", quoted(l))
		}
	}
	b.WriteString("  ...\n")
}

// quoted writes a string as YAML: what JSON writes between double quotes, YAML reads.
func quoted(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(Visible(s, true)) // a string can always be encoded
	return strings.TrimSuffix(b.String(), "\n")
}
