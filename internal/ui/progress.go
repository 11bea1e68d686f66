package ui

import (
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
)

// Bar returns a bar of exactly width cells, filled in proportion of done to total. It is full only when
// done has reached total, and empty when total is unknown (0 or less).
func (u *UI) Bar(width int, done, total int64) string {
	if width <= 0 {
		return ""
	}
	full := 0
	if total > 0 {
		share := float64(min(max(done, 0), total)) / float64(total)
		full = int(share * float64(width))
	}
	return u.bar.Render(strings.Repeat("█", full)) + u.Dim(strings.Repeat("░", width-full))
}

// Progress returns one line of at most width cells: label, bar, share and detail, as in
// "conformance  ██████░░░░░░  50%  23 of 46, 1 failed". When the line is too narrow the bar goes first, then
// the end of the detail. With an unknown total (0 or less) there is no bar and no share.
// A width of 0 or less is taken as 80.
func (u *UI) Progress(width int, label string, done, total int64, detail string) string {
	if width <= 0 {
		width = 80
	}
	const widest, narrowest = 30, 8
	parts := []string{u.Strong(oneLine(label))}
	if total > 0 {
		// Rounded down: 100% means that nothing is left.
		share := fmt.Sprintf("%3d%%", int(100*float64(min(max(done, 0), total))/float64(total)))
		rest := width - Width(label) - columnGap - len(share) - columnGap
		if detail != "" {
			rest -= columnGap + Width(detail)
		}
		if rest >= narrowest {
			parts = append(parts, u.Bar(min(rest, widest), done, total))
		}
		parts = append(parts, share)
	}
	if detail != "" {
		parts = append(parts, oneLine(detail))
	}
	return Truncate(strings.Join(parts, strings.Repeat(" ", columnGap)), width)
}

var sparks = []rune("▁▂▃▄▅▆▇█")

// Sparkline draws values as at most width blocks, on a scale from 0 to the greatest. When there are more values than
// cells, each cell shows the greatest of its share, so that a peak is never lost. What is not a number
// is left blank, what is below 0 counts as 0. A width of 0 or less means one cell per value.
func Sparkline(width int, values []float64) string {
	cells := len(values)
	if width > 0 {
		cells = min(cells, width)
	}
	top := 0.0
	for _, v := range values {
		if !math.IsInf(v, 0) {
			top = math.Max(top, zeroNaN(v))
		}
	}
	out := make([]rune, cells)
	for i := range out {
		from, to := i*len(values)/cells, (i+1)*len(values)/cells
		peak := math.NaN()
		for _, v := range values[from:to] {
			if math.IsNaN(peak) || v > peak {
				peak = v
			}
		}
		switch {
		case math.IsNaN(peak):
			out[i] = ' '
		case math.IsInf(peak, 1):
			out[i] = sparks[len(sparks)-1]
		case top == 0 || peak <= 0:
			out[i] = sparks[0]
		default:
			out[i] = sparks[min(len(sparks)-1, int(peak/top*float64(len(sparks))))]
		}
	}
	return string(out)
}

func zeroNaN(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

// Line is a line of a terminal that is rewritten in place, for progress beside results on another
// output. It is safe for concurrent use. A nil Line ignores every call.
type Line struct {
	w  io.Writer
	mu sync.Mutex // guards last
	// last is what stands on the terminal, so that equal lines are not written again.
	last string
}

// NewLine returns the line of a terminal, or nil when tty is false: a log must not fill with progress.
func NewLine(w io.Writer, tty bool) *Line {
	if !tty {
		return nil
	}
	return &Line{w: w}
}

// Set replaces the line. The text must be a single line no wider than the terminal.
func (l *Line) Set(text string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if text == l.last {
		return
	}
	l.last = text
	fmt.Fprint(l.w, "\r\x1b[K"+oneLine(text))
}

// Clear removes the line, so that other text may be written.
func (l *Line) Clear() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last != "" {
		l.last = ""
		fmt.Fprint(l.w, "\r\x1b[K")
	}
}
