package report

import (
	"html"
	"strings"
)

// MarkdownText returns s so that Markdown, with HTML and tables in it, shows it as it is.
func MarkdownText(s string) string {
	s = html.EscapeString(Visible(s, false))
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune("\\`*_{}[]<>()#+!|~$@:", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	// html.EscapeString numbers quotes, and a "#" in such a number must not be escaped again.
	return strings.NewReplacer(`&\#39;`, "'", `&\#34;`, `"`).Replace(b.String())
}

// MarkdownCode returns s as a span of code that may stand in a table.
func MarkdownCode(s string) string {
	// HTML rather than backticks: a span of backticks cannot hold a "|" in a table everywhere.
	r := strings.NewReplacer("|", "&#124;", "`", "&#96;", "*", "&#42;", "_", "&#95;", "[", "&#91;", "\\", "&#92;", "~", "&#126;", "$", "&#36;", "@", "&#64;")
	return "<code>" + r.Replace(html.EscapeString(Visible(s, false))) + "</code>"
}

// MarkdownBlock returns text as a fenced block of code, behind a fence that the text does not hold.
func MarkdownBlock(text string) string {
	text = Visible(text, true)
	longest, run := 0, 0
	for _, r := range text {
		if r == '`' {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	fence := strings.Repeat("`", max(3, longest+1))
	return fence + "text\n" + strings.TrimRight(text, "\n") + "\n" + fence + "\n"
}

// MarkdownTable returns a table. Cells are Markdown; right names the columns of numbers.
func MarkdownTable(titles []string, right []bool, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(titles)
	marks := make([]string, len(titles))
	for i := range marks {
		marks[i] = "---"
		if i < len(right) && right[i] {
			marks[i] = "--:"
		}
	}
	line(marks)
	for _, r := range rows {
		line(r)
	}
	return b.String()
}

// MarkdownDetails returns a block that is folded until it is asked for. The summary is HTML or
// Markdown on one line, the body Markdown.
func MarkdownDetails(summary, body string) string {
	return "<details>\n<summary>" + summary + "</summary>\n\n" + strings.TrimRight(body, "\n") + "\n\n</details>\n"
}
