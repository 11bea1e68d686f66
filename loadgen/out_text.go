package loadgen

import (
	"fmt"
	"io"
	"strings"

	"github.com/mqlab/mqlab/internal/report"
	"github.com/mqlab/mqlab/internal/ui"
)

// proseWidth is where sentences are wrapped where nothing bounds a line.
const proseWidth = 100

// subject says in one line what was run.
func (r *Result) subject() string {
	parts := []string{plural(r.Generator.Clients, "client"), r.Model + " model"}
	if r.Model == "max" {
		parts[1] = "flat out"
	}
	if r.Window > 0 {
		parts = append(parts, fmt.Sprintf("window %d", r.Window))
	}
	ran := ui.Duration(r.Elapsed)
	if r.Stopped != "" {
		ran += " of " + ui.Duration(r.Planned)
	}
	parts = append(parts, "ran "+ran, "started "+r.Started.UTC().Format("2006-01-02 15:04:05")+" UTC", fmt.Sprintf("seed %d", r.Seed))
	return strings.Join(parts, ", ")
}

// server is the target and what it calls itself.
func (r *Result) server() string {
	if r.Server == "" {
		return r.Target
	}
	return r.Target + " (" + r.Server + ")"
}

// WriteText writes the summary for people. A width of 0 shortens nothing.
func (r *Result) WriteText(w io.Writer, u *ui.UI, width int) error {
	var b strings.Builder
	prose := width
	if prose <= 0 || prose > proseWidth {
		prose = proseWidth
	}
	title := r.Title
	if title == "" {
		title = "load"
	}
	fmt.Fprintf(&b, "%s\n%s\n%s\n", u.Strong(ui.Wrap(ui.Printable(title), prose, 0)), ui.Wrap(ui.Printable(r.server()), prose, 0), ui.Wrap(r.subject(), prose, 0))
	for _, t := range r.tables() {
		b.WriteString("\n" + t.text(u, width))
	}
	v := r.Verdict()
	fmt.Fprintf(&b, "\n%s\n", u.Verdict(v.Word()))
	for _, s := range v.Sentences {
		b.WriteString(ui.Wrap(ui.Printable(s), prose, 0) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// noteRoom is the least room in which the explanations beside a table are worth showing.
const noteRoom = 24

func (t *table) text(u *ui.UI, width int) string {
	columns := t.Columns
	if n := len(columns) - 1; width > 0 && columns[n].Flex && columns[n].Title == "" && t.widthOf(n) > width-noteRoom {
		columns = columns[:n]
	}
	rows := make([][]string, len(t.Rows))
	for i, row := range t.Rows {
		rows[i] = make([]string, len(row))
		for j, cell := range row {
			cell = ui.Printable(cell)
			switch {
			case t.Verdicts && verdictWord(cell):
				cell = u.Verdict(cell)
			case cell == "0" || cell == "-":
				cell = u.Dim(cell)
			}
			rows[i][j] = cell
		}
	}
	out := u.Heading(t.Title) + "\n" + u.Table(width, columns, rows)
	for _, note := range t.Notes {
		out += ui.Wrap(ui.Printable(note), min(width, proseWidth), 0) + "\n"
	}
	return out
}

// widthOf is how wide the first n columns are, with what keeps them apart.
func (t *table) widthOf(n int) int {
	sum := 0
	for j := range n {
		widest := ui.Width(t.Columns[j].Title)
		for _, row := range t.Rows {
			if j < len(row) {
				widest = max(widest, ui.Width(ui.Printable(row[j])))
			}
		}
		sum += widest + 2
	}
	return sum
}

func verdictWord(s string) bool { return s == ui.Pass || s == ui.Fail }

// WriteMarkdown writes the summary as Markdown.
func (r *Result) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	v := r.Verdict()
	title := r.Title
	if title == "" {
		title = "load"
	}
	fmt.Fprintf(&b, "# %s\n\n%s, %s\n\n**%s**: %s\n", report.MarkdownText(title), report.MarkdownCode(r.server()), report.MarkdownText(r.subject()), v.Word(), report.MarkdownText(strings.Join(v.Sentences, " ")))
	for _, t := range r.tables() {
		b.WriteString("\n## " + t.Title + "\n\n" + t.markdown())
		for _, note := range t.Notes {
			b.WriteString("\n" + report.MarkdownText(note) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *table) markdown() string {
	titles, numbers := make([]string, len(t.Columns)), make([]bool, len(t.Columns))
	for i, c := range t.Columns {
		titles[i], numbers[i] = c.Title, c.Right
	}
	rows := make([][]string, len(t.Rows))
	for i, row := range t.Rows {
		rows[i] = make([]string, len(row))
		for j, cell := range row {
			rows[i][j] = report.MarkdownText(cell)
		}
	}
	return report.MarkdownTable(titles, numbers, rows)
}
