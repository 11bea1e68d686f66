package conformance

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/internal/ui"
)

// WriteText writes the report for a person: a table of what was probed, a column for each
// version, and what 5.0 announces.
func (r *FeatureReport) WriteText(w io.Writer, u *ui.UI, width int) error {
	var b strings.Builder
	target := r.Target
	if r.Name != "" {
		target = fmt.Sprintf("%s (%s)", r.Name, r.Target)
	}
	fmt.Fprintf(&b, "%s\n\n", u.Heading("What "+target+" can do"))
	columns := []ui.Column{{Title: "Feature"}}
	var names []string
	for _, v := range r.Versions {
		columns = append(columns, ui.Column{Title: "MQTT " + v.Version, Flex: v.Version == "5.0"})
		for _, f := range v.Features {
			if !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
		}
	}
	var rows [][]string
	served := []string{"connections"}
	for _, v := range r.Versions {
		word := string(Yes)
		if !v.Served {
			word = string(No)
		}
		served = append(served, word)
	}
	rows = append(rows, served)
	for _, name := range names {
		row := []string{name}
		for _, v := range r.Versions {
			row = append(row, v.cell(name))
		}
		rows = append(rows, row)
	}
	b.WriteString(u.Table(width, columns, rows))
	for _, v := range r.Versions {
		v.remarks(&b, u, width)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (v *VersionFeatures) cell(name string) string {
	i := slices.IndexFunc(v.Features, func(f Feature) bool { return f.Name == name })
	if i < 0 {
		return "·"
	}
	f := v.Features[i]
	switch {
	case f.State == Yes && f.Limit > 0 && f.AtLeast:
		return fmt.Sprintf("%d or more", f.Limit)
	case f.State == Yes && f.Limit > 0:
		return fmt.Sprintf("up to %d", f.Limit)
	case f.Median > 0:
		return fmt.Sprintf("yes, %s, best %s", ui.Duration(f.Median), ui.Duration(f.Min))
	case f.State == Yes && f.Duration > 0:
		return "yes, after " + ui.Duration(f.Duration)
	}
	return string(f.State)
}

// remarks lists what does not fit into a cell, and what is announced.
func (v *VersionFeatures) remarks(b *strings.Builder, u *ui.UI, width int) {
	var lines []string
	if !v.Served {
		lines = append(lines, "not served: "+v.Evidence)
	}
	for _, f := range v.Features {
		if f.Detail != "" {
			lines = append(lines, f.Name+": "+f.Detail)
		}
	}
	if len(v.Announced) > 0 {
		var said, silent []string
		for _, a := range v.Announced {
			text := fmt.Sprintf("%s %d", a.Name, a.Value)
			if a.Default {
				silent = append(silent, text)
			} else {
				said = append(said, text)
			}
		}
		if len(said) > 0 {
			lines = append(lines, "CONNACK announces: "+strings.Join(said, ", "))
		}
		if len(silent) > 0 {
			lines = append(lines, "not announced, so that it stands for: "+strings.Join(silent, ", "))
		}
	}
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", u.Heading("MQTT "+v.Version))
	for _, line := range lines {
		b.WriteString(ui.Wrap(ui.Printable(line), width, 2) + "\n")
	}
}
