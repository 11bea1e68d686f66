package ui

import "strings"

// Column describes one column of a table.
type Column struct {
	Title string
	Right bool // numbers: aligned right, never shortened
	Flex  bool // may be shortened when the table is too wide; the last one gives way first
	Min   int  // fewest cells a Flex column keeps, at least 1; default 8 or its title
}

const columnGap = 2

// Table returns rows aligned under their titles, without trailing spaces, each line ended by "\n".
// Lines are at most width cells wide: Flex columns are shortened with "…" first, and then
// every line is. A width of 0 or less means that there is no limit: nothing is shortened.
// Cells may be styled; line breaks in them become spaces. Cells beyond the columns are dropped,
// missing ones are empty. A table of columns without any title has no header line.
func (u *UI) Table(width int, columns []Column, rows [][]string) string {
	if len(columns) == 0 {
		return ""
	}
	widths := make([]int, len(columns))
	titled := false
	for i, c := range columns {
		widths[i] = Width(c.Title)
		titled = titled || c.Title != ""
	}
	cells := make([][]string, len(rows))
	for r, row := range rows {
		cells[r] = make([]string, len(columns))
		for i := range columns {
			if i < len(row) {
				cells[r][i] = oneLine(row[i])
			}
			widths[i] = max(widths[i], Width(cells[r][i]))
		}
	}
	if width > 0 {
		shrink(columns, widths, width)
	}

	var b strings.Builder
	if titled {
		titles := make([]string, len(columns))
		for i, c := range columns {
			titles[i] = Truncate(c.Title, widths[i])
		}
		writeRow(&b, columns, widths, width, titles, u.Strong)
	}
	for _, row := range cells {
		writeRow(&b, columns, widths, width, row, nil)
	}
	return b.String()
}

// shrink takes cells from Flex columns, the last first, until the table fits or none can give more.
func shrink(columns []Column, widths []int, width int) {
	over := columnGap*(len(columns)-1) - width
	for _, w := range widths {
		over += w
	}
	for i := len(columns) - 1; i >= 0 && over > 0; i-- {
		c := columns[i]
		if !c.Flex || c.Right {
			continue
		}
		least := c.Min
		if least <= 0 {
			least = max(8, Width(c.Title))
		}
		give := min(over, max(0, widths[i]-least))
		widths[i] -= give
		over -= give
	}
}

func writeRow(b *strings.Builder, columns []Column, widths []int, width int, row []string, style func(string) string) {
	var line strings.Builder
	for i, cell := range row {
		if i > 0 {
			line.WriteString(strings.Repeat(" ", columnGap))
		}
		// The width is that of the bare text, so it is padded before it is styled.
		cell = Truncate(cell, widths[i])
		space := strings.Repeat(" ", max(0, widths[i]-Width(cell)))
		if style != nil && cell != "" {
			cell = style(cell)
		}
		if columns[i].Right {
			line.WriteString(space + cell)
		} else {
			line.WriteString(cell + space)
		}
	}
	b.WriteString(strings.TrimRight(Truncate(strings.TrimRight(line.String(), " "), width), " "))
	b.WriteByte('\n')
}

// oneLine keeps a cell from breaking its row.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\r\n\t") {
		return s
	}
	return strings.Join(strings.Fields(s), " ")
}
