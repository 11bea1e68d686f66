package report

import (
	"fmt"
	"strings"
)

// markdownSigns are the characters that Markdown reads as more than text. A dash or digit that would begin a
// list is not among them: texts stand within lines.
const markdownSigns = "\\`*_[]<>#|~$@&"

// MarkdownText returns s so that it is shown as it is, in Markdown as well as in HTML that stands in
// it: a summary, say, where backslashes would not escape anything.
func MarkdownText(s string) string {
	var b strings.Builder
	s = Visible(s, false)
	for i, r := range s {
		switch {
		case strings.ContainsRune(markdownSigns, r),
			r == ':' && i+1 < len(s) && s[i+1] != ' ': // :smile: and https://
			fmt.Fprintf(&b, "&#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// MarkdownCode returns s as a span of code. A span of backticks cannot hold every text, least of all in a table.
func MarkdownCode(s string) string { return "<code>" + MarkdownText(s) + "</code>" }

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

// MarkdownDetails returns a block that is folded until it is asked for. The summary is one line of
// HTML, made of MarkdownText and MarkdownCode; the body is Markdown.
func MarkdownDetails(summary, body string) string {
	return "<details>\n<summary>" + summary + "</summary>\n\n" + strings.TrimRight(body, "\n") + "\n\n</details>\n"
}
