// Package ui makes text for terminals: styles, verdict words, aligned tables, progress, sparklines and
// numbers for people. Start from [New] and [UI]; everything but [Line] returns a string and writes nothing.
//
// A UI belongs to one output. Where that is no terminal, or the user asked for plain text, the same
// calls return the same words without escape sequences. Meaning never rests on colour alone.
//
// Text that came from the network must go through [Printable] first: this package passes escape
// sequences through, since its own styles are made of them.
package ui

import (
	"io"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
)

// UI holds the styles of one output. It is safe for concurrent use once made; the zero value is not usable.
type UI struct {
	color    bool
	heading  lipgloss.Style
	strong   lipgloss.Style
	dim      lipgloss.Style
	code     lipgloss.Style
	bar      lipgloss.Style
	verdicts map[string]lipgloss.Style
}

// New returns the styles for w. Text stays plain unless tty is set, TERM is neither empty nor "dumb",
// and NO_COLOR is empty or unset. A nil getenv reads as an empty environment.
// Only the sixteen colours of the user's own palette are used.
func New(w io.Writer, tty bool, getenv func(string) string) *UI {
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	term := getenv("TERM")
	color := tty && getenv("NO_COLOR") == "" && term != "" && term != "dumb"

	r := lipgloss.NewRenderer(w)
	profile := termenv.Ascii
	if color {
		profile = termenv.ANSI
	}
	// Both are set so that the renderer never asks the terminal.
	r.SetColorProfile(profile)
	r.SetHasDarkBackground(true)

	fg := func(c string) lipgloss.Style { return r.NewStyle().Foreground(lipgloss.Color(c)) }
	const red, green, yellow, magenta, cyan, grey = "1", "2", "3", "5", "6", "8"
	return &UI{
		color:   color,
		heading: r.NewStyle().Bold(true).Underline(true),
		strong:  r.NewStyle().Bold(true),
		dim:     fg(grey),
		code:    fg(cyan),
		bar:     fg(green),
		verdicts: map[string]lipgloss.Style{
			Pass:         fg(green),
			Fail:         fg(red).Bold(true),
			Warn:         fg(yellow),
			NotApplies:   fg(grey),
			Inconclusive: fg(magenta),
			Died:         fg(red).Bold(true).Reverse(true),
			Error:        fg(red).Reverse(true),
		},
	}
}

// Plain returns styles that add nothing: for files, and for golden tests of views.
func Plain() *UI { return New(io.Discard, false, nil) }

// Color reports whether escape sequences are used.
func (u *UI) Color() bool { return u.color }

// The verdict words. They are what a reader without colours sees.
const (
	Pass         = "PASS"
	Fail         = "FAIL"
	Warn         = "WARN"
	NotApplies   = "N/A"
	Inconclusive = "INCONCLUSIVE"
	Died         = "DIED"
	Error        = "ERROR"
)

// Verdict returns the word in the colour of its verdict; an unknown word comes back unchanged.
func (u *UI) Verdict(word string) string {
	style, ok := u.verdicts[word]
	if !ok {
		return word
	}
	return style.Render(word)
}

// Heading styles the title of a block. Without colours it is the text alone: a blank line before it sets it apart.
func (u *UI) Heading(text string) string { return perLine(u.heading, text) }

// Strong styles what the eye should find first in a line.
func (u *UI) Strong(text string) string { return perLine(u.strong, text) }

// Dim styles what may be skipped.
func (u *UI) Dim(text string) string { return perLine(u.dim, text) }

// Code styles commands, ids and file names.
func (u *UI) Code(text string) string { return perLine(u.code, text) }

// perLine styles each line by itself: rendered as one block, lipgloss would pad all lines to the longest.
func perLine(style lipgloss.Style, text string) string {
	if !strings.Contains(text, "\n") {
		return style.Render(text)
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = style.Render(line)
		}
	}
	return strings.Join(lines, "\n")
}
