package pcap

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// plot is a line over time, and a second one where peak is there. Where a value is not a number the line is broken.
type plot struct {
	title        string
	span         float64 // seconds
	values, peak []float64
	base         int // in which the numbers of the axis are round: 10, or 2
	label        func(float64) string
}

// The plot in units of its own, which the page scales.
const (
	plotWidth  = 480.0
	plotHeight = 190.0
	plotLeft   = 62.0
	plotTop    = 10.0
	plotRight  = 470.0
	plotBottom = 154.0
)

// draw writes the plot as a figure. What it writes is made of numbers and of words of this package.
func (p plot) draw() template.HTML {
	most, sum, n := 0.0, 0.0, 0
	for _, v := range p.values {
		if !math.IsNaN(v) {
			most, sum, n = max(most, v), sum+v, n+1
		}
	}
	for _, v := range p.peak {
		if !math.IsNaN(v) {
			most = max(most, v)
		}
	}
	esc := template.HTMLEscapeString
	var b strings.Builder
	b.WriteString("<figcaption>" + esc(p.title))
	if p.peak != nil {
		b.WriteString(`<span><i></i>mean <i class="peak"></i>slowest</span>`)
	}
	b.WriteString("</figcaption>")
	if n == 0 {
		b.WriteString(`<p class="soft">The capture shows none.</p>`)
		return template.HTML(b.String())
	}
	summary := fmt.Sprintf("%s over %s: at most %s, %s in the mean", p.title, timeLabel(p.span, p.span), p.label(most), p.label(sum/float64(n)))
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, plotWidth, plotHeight, esc(summary))

	step := roundStep(most/4, p.base)
	top := max(step*math.Ceil(most/step-1e-9), step)
	y := func(v float64) float64 { return plotBottom - (plotBottom-plotTop)*v/top }
	for v := 0.0; v <= top*1.0001; v += step {
		class := "grid"
		if v == 0 {
			class = "axis"
		}
		fmt.Fprintf(&b, `<line class="%s" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, class, plotLeft, plotRight, y(v), y(v))
		label := "0"
		if v > 0 {
			label = p.label(v)
		}
		fmt.Fprintf(&b, `<text x="%g" y="%.1f" text-anchor="end">%s</text>`, plotLeft-6, y(v)+4, esc(label))
	}
	tick := timeStep(p.span / 6)
	for t := 0.0; t <= p.span*1.0001; t += tick {
		x := plotLeft + (plotRight-plotLeft)*t/p.span
		fmt.Fprintf(&b, `<line class="axis" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/>`, x, x, plotBottom, plotBottom+4)
		anchor := "middle"
		if x > plotRight-14 {
			anchor = "end"
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%g" text-anchor="%s">%s</text>`, x, plotBottom+16, anchor, timeLabel(t, p.span))
	}
	fmt.Fprintf(&b, `<text x="%g" y="%g" text-anchor="middle">time since the first packet</text>`, (plotLeft+plotRight)/2, plotHeight-5)

	if p.peak == nil {
		fmt.Fprintf(&b, `<path class="area" d="%s"/>`, p.area(y))
	}
	fmt.Fprintf(&b, `<path class="line" d="%s"/>`, p.path(p.values, y))
	if p.peak != nil {
		fmt.Fprintf(&b, `<path class="peak" d="%s"/>`, p.path(p.peak, y))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

func (p plot) x(i int) float64 {
	return plotLeft + (plotRight-plotLeft)*(float64(i)+.5)/float64(len(p.values))
}

// path is the line through the values. One that stands alone is a dot.
func (p plot) path(list []float64, y func(float64) float64) string {
	var b strings.Builder
	down := false
	for i, v := range list {
		switch {
		case math.IsNaN(v):
			down = false
			continue
		case down:
			fmt.Fprintf(&b, "L%.1f %.1f", p.x(i), y(v))
		default:
			fmt.Fprintf(&b, "M%.1f %.1fh.1", p.x(i), y(v))
		}
		down = true
	}
	return b.String()
}

func (p plot) area(y func(float64) float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "M%.1f %.1f", p.x(0), y(0))
	for i, v := range p.values {
		fmt.Fprintf(&b, "L%.1f %.1f", p.x(i), y(v))
	}
	fmt.Fprintf(&b, "L%.1f %.1fZ", p.x(len(p.values)-1), y(0))
	return b.String()
}

// roundStep returns the next round number that is not below v.
func roundStep(v float64, base int) float64 {
	if v <= 0 {
		return 1
	}
	if base == 2 {
		return math.Pow(2, math.Ceil(math.Log2(v)))
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, k := range []float64{1, 2, 2.5, 5} {
		if v <= k*unit*1.0000001 {
			return k * unit
		}
	}
	return 10 * unit
}

// timeStep is roundStep for seconds, minutes, hours and days.
func timeStep(v float64) float64 {
	if v <= 10 {
		return roundStep(v, 10)
	}
	for _, s := range []float64{15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400} {
		if v <= s {
			return s
		}
	}
	return 86400 * roundStep(v/86400, 10)
}

// timeLabel writes seconds in the unit that suits the whole span.
func timeLabel(t, span float64) string {
	unit, name := 1.0, "s"
	switch {
	case span > 3*86400:
		unit, name = 86400, "d"
	case span > 3*3600:
		unit, name = 3600, "h"
	case span > 300:
		unit, name = 60, "min"
	case span < 1e-3:
		unit, name = 1e-6, "µs"
	case span < 1:
		unit, name = 1e-3, "ms"
	}
	return strconv.FormatFloat(math.Round(t/unit*1000)/1000, 'f', -1, 64) + " " + name
}
