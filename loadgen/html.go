package loadgen

import (
	"bytes"
	"embed"
	"html/template"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/mqlab/mqlab/internal/report"
)

//go:embed assets
var assets embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{
	"visible": func(s string) string { return report.Visible(s, true) },
	"class":   strings.ToLower,
}).ParseFS(assets, "assets/*.html"))

// asset returns an embedded file; the name is ours.
func asset(name string) string {
	b, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic("loadgen: " + err.Error())
	}
	return string(b)
}

// chart is one plot, as the page's script draws it.
type chart struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Note  string `json:"note,omitempty"`
	// X is "time", in seconds, or "percentile", as 1/(1-quantile) on a log axis.
	X string `json:"x"`
	// Unit and Right are those of the axes: rate, us, count, cores, bytes.
	Unit  string  `json:"unit"`
	Right string  `json:"right,omitempty"`
	Log   bool    `json:"log,omitempty"`
	At    points  `json:"at"`
	Lines []line  `json:"lines"`
	Bands []band  `json:"bands,omitempty"`
	Top   float64 `json:"top,omitempty"` // the least upper end of the axis
}

type line struct {
	Label  string `json:"label"`
	Color  int    `json:"color"` // of the palette, from 1
	Right  bool   `json:"right,omitempty"`
	Fill   bool   `json:"fill,omitempty"`
	Dash   bool   `json:"dash,omitempty"`
	Wide   bool   `json:"wide,omitempty"`
	Values points `json:"values"`
}

// band is a phase.
type band struct {
	Name string  `json:"name"`
	From float64 `json:"from"`
	To   float64 `json:"to"`
}

// points are values of which some may be missing.
type points []float64

var missing = math.NaN()

// MarshalJSON writes what is missing as null, and no more digits than can be seen.
func (p points) MarshalJSON() ([]byte, error) {
	out := append(make([]byte, 0, 8*len(p)), '[')
	for i, v := range p {
		if i > 0 {
			out = append(out, ',')
		}
		if math.IsNaN(v) || math.IsInf(v, 0) {
			out = append(out, "null"...)
			continue
		}
		out = strconv.AppendFloat(out, v, 'g', 7, 64)
	}
	return append(out, ']'), nil
}

func (p points) empty() bool {
	for _, v := range p {
		if !math.IsNaN(v) && v != 0 {
			return false
		}
	}
	return true
}

// figure is one of the numbers at the top.
type figure struct{ Name, Value, Note string }

func (r *Result) figures() []figure {
	span := r.span()
	var out []figure
	if r.Model == "open" {
		out = append(out, figure{"offered", rate(r.Totals.Scheduled, span), count(r.Totals.Scheduled) + " messages"})
	}
	out = append(out, figure{"published", rate(r.Totals.Published, span), count(r.Totals.Published) + " messages"},
		figure{"received", rate(r.Totals.Received, span), count(r.Totals.Received) + " messages"})
	if m := r.Main(); m != nil {
		p := m.percentiles()
		out = append(out, figure{m.Metric + " p50", micros(p.P50), ""}, figure{m.Metric + " p99", micros(p.P99), "max " + micros(p.Max)})
	}
	lost, expected := uint64(0), uint64(0)
	for _, l := range r.Ledger {
		lost, expected = lost+l.Lost, expected+l.Expected
	}
	if expected > 0 {
		out = append(out, figure{"lost", count(lost), "of " + count(expected) + " deliveries"})
	}
	return out
}

// WriteHTML writes the result as one page that needs nothing beside itself.
func (r *Result) WriteHTML(w io.Writer) error {
	v := r.Verdict()
	title := r.Title
	if title == "" {
		title = "load"
	}
	charts := r.charts()
	return writePage(w, "report.html", v.Word()+": "+title, charts, struct {
		*Result
		Title, Server, Subject string
		Verdict                Verdict
		Figures                []figure
		Charts                 []chart
		Tables                 []table
		Started                string
	}{r, title, r.server(), r.subject(), v, r.figures(), charts, r.tables(), r.Started.UTC().Format("2006-01-02 15:04:05 UTC")})
}

func writePage(w io.Writer, name, title string, charts []chart, data any) error {
	var body bytes.Buffer
	if err := pages.ExecuteTemplate(&body, name, data); err != nil {
		return err
	}
	return report.Page{
		Title:  title,
		Body:   template.HTML(body.String()),
		Styles: []string{asset("uPlot.min.css"), asset("load.css")},
		Script: asset("uPlot.iife.min.js") + "\n" + asset("load.js"),
		Data:   map[string]any{"charts": charts},
	}.Write(w)
}

// Verdict reports whether the cell is a verdict word.
func (t table) Verdict(cell string) bool { return t.Verdicts && verdictWord(cell) }

// Kind is the class of a column's cells: num, note for the explanations beside a table, wide for texts.
func (t table) Kind(col int) string {
	if col >= len(t.Columns) {
		return ""
	}
	switch c := t.Columns[col]; {
	case c.Right:
		return "num"
	case c.Flex && c.Title == "":
		return "note"
	case c.Flex:
		return "wide"
	}
	return ""
}
