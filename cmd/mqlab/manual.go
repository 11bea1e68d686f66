package main

import (
	"strings"

	"github.com/mqlab/mqlab/internal/ui"
)

// renderManual shows a page of the manual. It knows the Markdown that the pages use, and no more: headings,
// paragraphs, lists, fenced code, tables, `code` and **strong** words.
func renderManual(u *ui.UI, width int, page string) string {
	var b strings.Builder
	lines := strings.Split(strings.TrimRight(page, "\n"), "\n")
	for i := 0; i < len(lines); {
		line := lines[i]
		switch {
		case strings.TrimSpace(line) == "":
			b.WriteByte('\n')
			i++
		case strings.HasPrefix(line, "```"):
			for i++; i < len(lines) && !strings.HasPrefix(lines[i], "```"); i++ {
				if lines[i] == "" {
					b.WriteByte('\n')
					continue
				}
				b.WriteString("    " + u.Code(lines[i]) + "\n")
			}
			i++
		case strings.HasPrefix(line, "#"):
			b.WriteString(u.Heading(strings.TrimLeft(line, "# ")) + "\n")
			i++
		case strings.HasPrefix(line, "|"):
			from := i
			for i < len(lines) && strings.HasPrefix(lines[i], "|") {
				i++
			}
			b.WriteString(manualTable(u, width, lines[from:i]))
		default:
			indent := 0
			text := line
			if isItem(line) {
				indent = 2
			}
			for i++; i < len(lines) && continues(lines[i]); i++ {
				text += " " + strings.TrimSpace(lines[i])
			}
			wrapped := ui.Wrap(inline(u, strings.TrimSpace(strings.TrimPrefix(text, "- "))), width, indent)
			if indent > 0 {
				wrapped = "- " + strings.TrimPrefix(wrapped, "  ")
			}
			b.WriteString(wrapped + "\n")
		}
	}
	return b.String()
}

func isItem(line string) bool { return strings.HasPrefix(line, "- ") }

// continues reports whether the line belongs to the paragraph or list item before it.
func continues(line string) bool {
	return strings.TrimSpace(line) != "" && !isItem(line) &&
		!strings.HasPrefix(line, "```") && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "|")
}

func manualTable(u *ui.UI, width int, lines []string) string {
	var rows [][]string
	for _, line := range lines {
		if strings.Trim(line, "|-: ") == "" {
			continue // the rule under the titles
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i, c := range cells {
			cells[i] = inline(u, strings.TrimSpace(c))
		}
		rows = append(rows, cells)
	}
	if len(rows) == 0 {
		return ""
	}
	columns := make([]ui.Column, len(rows[0]))
	for i, title := range rows[0] {
		columns[i] = ui.Column{Title: title}
	}
	body := rows[1:]
	// The last column holds the sentences. It is wrapped into lines of its own rather than cut off.
	room := width
	for i := range len(columns) - 1 {
		widest := ui.Width(columns[i].Title)
		for _, row := range body {
			if i < len(row) {
				widest = max(widest, ui.Width(row[i]))
			}
		}
		room -= widest + 2
	}
	var out [][]string
	for _, row := range body {
		last := len(columns) - 1
		if len(row) <= last || room < 16 {
			out = append(out, row)
			continue
		}
		for i, text := range strings.Split(ui.Wrap(row[last], room, 0), "\n") {
			if i == 0 {
				out = append(out, append(row[:last:last], text))
				continue
			}
			out = append(out, append(make([]string, last), text))
		}
	}
	return u.Table(width, columns, out)
}

// inline styles `code` and **strong** spans, each word by itself so that wrapping cannot cut a style in two.
// Plain text keeps the backticks: without colours they are what sets a command apart.
func inline(u *ui.UI, text string) string {
	var b strings.Builder
	for i, part := range strings.Split(text, "`") {
		switch {
		case i%2 == 1 && u.Color():
			b.WriteString(words(part, u.Code))
		case i%2 == 1:
			b.WriteString("`" + part + "`")
		default:
			for j, piece := range strings.Split(part, "**") {
				if j%2 == 1 {
					piece = words(piece, u.Strong)
				}
				b.WriteString(piece)
			}
		}
	}
	return b.String()
}

func words(text string, style func(string) string) string {
	list := strings.Split(text, " ")
	for i, w := range list {
		if w != "" {
			list[i] = style(w)
		}
	}
	return strings.Join(list, " ")
}
