package ui

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
)

// Width is the number of terminal cells text takes, its widest line if it has several.
// Escape sequences take none, East Asian wide characters two.
func Width(text string) int { return lipgloss.Width(text) }

// Truncate shortens one line to at most width cells, the last of which is then "…".
// A width of 0 or less means that there is no limit.
func Truncate(line string, width int) string {
	if width <= 0 || Width(line) <= width {
		return line
	}
	return ansi.Truncate(line, width, "…")
}

// Pad fills a line with spaces on the right up to width cells.
func Pad(line string, width int) string {
	return line + strings.Repeat(" ", max(0, width-Width(line)))
}

// PadLeft fills a line with spaces on the left up to width cells.
func PadLeft(line string, width int) string {
	return strings.Repeat(" ", max(0, width-Width(line))) + line
}

// Wrap breaks text at spaces, and nowhere else, into lines of at most width cells, and indents each by
// indent spaces. The line breaks and inner spaces of the text stay. A word longer than a line is cut
// into lines; nothing is dropped but the spaces at the breaks. A width of 0 or less means that there is no limit.
func Wrap(text string, width, indent int) string {
	margin := strings.Repeat(" ", max(0, indent))
	room := 0
	if width > 0 {
		room = max(2, width-len(margin)) // two cells hold any character
	}
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		for _, l := range wrapLine(strings.TrimRight(line, " "), room) {
			if l != "" {
				l = margin + l
			}
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

// wrapLine does not break at hyphens as others do: a rule id cut in two can be neither read nor copied.
func wrapLine(line string, room int) []string {
	if room <= 0 || Width(line) <= room {
		return []string{line}
	}
	var out []string
	var cur strings.Builder
	used := 0 // cells in cur
	for word := range strings.SplitSeq(line, " ") {
		w := Width(word)
		if cur.Len() > 0 && used+1+w <= room {
			cur.WriteString(" " + word)
			used += 1 + w
			continue
		}
		if cur.Len() > 0 {
			out = append(out, strings.TrimRight(cur.String(), " "))
			cur.Reset()
		}
		if w > room {
			cut := strings.Split(ansi.Hardwrap(word, room, true), "\n")
			out = append(out, cut[:len(cut)-1]...)
			word = cut[len(cut)-1]
			w = Width(word)
		}
		cur.WriteString(word)
		used = w
	}
	if cur.Len() > 0 {
		out = append(out, cur.String())
	}
	return out
}

// Printable makes foreign text safe to show on one line: control characters, line breaks, characters
// that change the direction of writing and bytes that are not UTF-8 become visible escapes such as \x1b.
// A backslash stays as it is; the result is for reading, not for parsing.
func Printable(s string) string {
	clean := true
	for i, r := range s {
		if hidden(r) || r == utf8.RuneError && badByte(s[i:]) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case hidden(r) && r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case hidden(r) && r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		case hidden(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// hidden characters are those a terminal acts on, or that make two different texts look alike.
func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp)
}

func badByte(s string) bool {
	_, n := utf8.DecodeRuneInString(s)
	return n == 1
}
