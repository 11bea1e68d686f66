package pcap

import (
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/mqlab/mqlab/internal/report"
	"github.com/mqlab/mqlab/internal/ui"
)

// maxRows is how many clients and topics the page shows.
const maxRows = 200

var statsPage = template.Must(template.New("stats").Funcs(template.FuncMap{
	"count":    ui.Count,
	"size":     ui.Bytes,
	"duration": func(ns int64) string { return ui.Duration(time.Duration(ns)) },
	"rate":     ui.Rate,
	"visible":  func(s string) string { return report.Visible(s, false) },
	"stamp":    func(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05.000 UTC") },
}).Parse(`<header class="top"><p class="kicker">mqlab pcap stats</p><h1>{{.Title}}</h1>
<p class="meta">{{stamp .R.Summary.First}}, {{printf "%.3f" .R.Duration}} s; {{count .R.Summary.Frames}} frames, {{size .R.Summary.Bytes}};
{{count .R.Summary.Packets}} MQTT packets on {{.R.Summary.MQTT}} streams{{if .R.Summary.Lost}}; {{count .R.Summary.Lost}} bytes were not captured{{end}}</p></header>
<main>
<h2>Rates</h2><div class="plots">{{range .Plots}}<figure>{{.}}</figure>{{end}}</div>
<h2>Times of exchanges</h2><div class="scroll"><table><thead><tr><th>Exchange</th><th class="num">Count</th><th class="num">Unanswered</th><th class="num">Minimum</th><th class="num">50 %</th><th class="num">90 %</th><th class="num">99 %</th><th class="num">99.9 %</th><th class="num">Maximum</th></tr></thead><tbody>
{{range .R.Latencies}}<tr><td>{{.Name}}</td><td class="num">{{count .Count}}</td><td class="num">{{count .Unanswered}}</td><td class="num">{{duration .Min}}</td><td class="num">{{duration .P50}}</td><td class="num">{{duration .P90}}</td><td class="num">{{duration .P99}}</td><td class="num">{{duration .P999}}</td><td class="num">{{duration .Max}}</td></tr>
{{end}}</tbody></table></div>
<h2>Packets</h2><div class="scroll"><table><thead><tr><th>Type</th><th class="num">Packets</th></tr></thead><tbody>
{{range $t, $n := .R.Types}}<tr><td>{{$t}}</td><td class="num">{{count $n}}</td></tr>
{{end}}</tbody></table></div>
<h2>Clients ({{len .R.Clients}})</h2><div class="scroll"><table><thead><tr><th>Client</th><th>Address</th><th>MQTT</th><th class="num">Keep alive</th><th>Session</th><th>Will</th><th class="num">Conns</th><th>Answer</th><th class="num">Sent</th><th class="num">Received</th><th class="num">Bytes</th><th>End</th></tr></thead><tbody>
{{range .Clients}}<tr><td>{{visible .ID}}</td><td>{{.Address}}</td><td>{{.Version}}</td><td class="num">{{.KeepAlive}} s</td><td>{{if .CleanStart}}clean{{else}}kept{{end}}{{if .Session}}, present{{end}}</td><td>{{visible .WillTopic}}</td><td class="num">{{.Connections}}</td><td>{{.Result}}</td><td class="num">{{count .Sent}}</td><td class="num">{{count .Received}}</td><td class="num">{{size .SentBytes}} / {{size .RecvBytes}}</td><td>{{.End}}</td></tr>
{{end}}</tbody></table></div>
<h2>Topics ({{len .R.Topics}})</h2><div class="scroll"><table><thead><tr><th>Topic</th><th class="num">Published</th><th class="num">Delivered</th><th class="num">Payload</th><th class="num">Rate</th><th class="num">Retained</th><th class="num">Publishers</th><th class="num">Receivers</th></tr></thead><tbody>
{{range .Topics}}<tr><td>{{visible .Topic}}</td><td class="num">{{count .Published}}</td><td class="num">{{count .Delivered}}</td><td class="num">{{size .Bytes}}</td><td class="num">{{rate .Rate}}</td><td class="num">{{count .Retained}}</td><td class="num">{{.Publishers}}</td><td class="num">{{.Subscribers}}</td></tr>
{{end}}</tbody></table></div>
{{if .Cut}}<p class="soft">The tables show the first {{.Max}} rows; --format json has them all.</p>{{end}}
</main>`))

const statsStyle = `.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; padding: .75rem; border: 1px solid var(--line); border-radius: 8px; background: var(--paper); }
figure svg { display: block; width: 100%; height: auto; font: 11px var(--sans); fill: var(--soft); }
figure .line { fill: none; stroke: var(--accent); stroke-width: 1.5; }
figure .area { fill: var(--accent); opacity: .18; }
figure .peak { fill: none; stroke: var(--warn); stroke-width: 1; }
figure .grid { stroke: var(--line); }
figure .title { font-weight: 600; font-size: 13px; fill: var(--ink); }`

// WriteHTML writes the report as one page that needs nothing beside itself.
func (r *Report) WriteHTML(w io.Writer, title string) error {
	rate := func(pick func(*Interval) int64) []float64 {
		out := make([]float64, len(r.Timeline))
		for i := range r.Timeline {
			out[i] = float64(pick(&r.Timeline[i])) / r.Step
		}
		return out
	}
	mean, peak := make([]float64, len(r.Timeline)), make([]float64, len(r.Timeline))
	for i, iv := range r.Timeline {
		if iv.AckNum > 0 {
			mean[i] = float64(iv.AckSum) / float64(iv.AckNum)
		}
		peak[i] = float64(iv.AckMax)
	}
	per := func(unit string) func(float64) string {
		return func(v float64) string { return strings.TrimSuffix(ui.Rate(v), "/s") + " " + unit }
	}
	span := float64(len(r.Timeline)) * r.Step
	data := struct {
		Title   string
		R       *Report
		Plots   []template.HTML
		Clients []*ClientStats
		Topics  []*TopicStats
		Cut     bool
		Max     int
	}{
		Title: title, R: r,
		Plots: []template.HTML{
			plot("Packets per second", span, rate(func(i *Interval) int64 { return i.Packets }), nil, per("packets/s")),
			plot("PUBLISH per second", span, rate(func(i *Interval) int64 { return i.Publish }), nil, per("messages/s")),
			plot("Bytes per second", span, rate(func(i *Interval) int64 { return i.Bytes }), nil, func(v float64) string { return ui.Bytes(int64(v)) + "/s" }),
			plot("PUBLISH to the first answer: mean, and the slowest", span, mean, peak, func(v float64) string { return ui.Duration(time.Duration(v)) }),
		},
		Clients: r.Clients[:min(len(r.Clients), maxRows)], Topics: r.Topics[:min(len(r.Topics), maxRows)],
		Cut: len(r.Clients) > maxRows || len(r.Topics) > maxRows, Max: maxRows,
	}
	var body strings.Builder
	if err := statsPage.Execute(&body, data); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return report.Page{Title: title, Body: template.HTML(body.String()), Styles: []string{statsStyle}, Script: "mqlab.ready();"}.Write(w)
}

// plot draws a line over time as SVG, and a second one where peak is there. What it writes is made of
// numbers and of words of this file.
func plot(title string, span float64, values, peak []float64, label func(float64) string) template.HTML {
	const width, height, left, top, right, bottom = 640.0, 220.0, 8.0, 30.0, 8.0, 22.0
	most := 0.0
	for _, v := range append(append([]float64(nil), values...), peak...) {
		most = max(most, v)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s"><text class="title" x="%g" y="16">%s</text>`,
		width, height, template.HTMLEscapeString(title), left, template.HTMLEscapeString(title))
	bottomY := height - bottom
	for i := range 3 {
		y := top + (bottomY-top)*float64(i)/2
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, left, width-right, y, y)
		fmt.Fprintf(&b, `<text x="%g" y="%.1f">%s</text>`, left+2, y-3, template.HTMLEscapeString(label(most*float64(2-i)/2)))
	}
	x := func(i, n int) float64 {
		return left + (width-left-right)*(float64(i)+.5)/float64(max(n, 1))
	}
	y := func(v float64) float64 {
		if most == 0 {
			return bottomY
		}
		return bottomY - (bottomY-top)*v/most
	}
	path := func(list []float64) string {
		var p strings.Builder
		for i, v := range list {
			word := "L"
			if i == 0 {
				word = "M"
			}
			fmt.Fprintf(&p, "%s%.1f %.1f", word, x(i, len(list)), y(v))
		}
		return p.String()
	}
	if n := len(values); n > 0 {
		line := path(values)
		fmt.Fprintf(&b, `<path class="area" d="%sL%.1f %.1fL%.1f %.1fZ"/><path class="line" d="%s"/>`, line, x(n-1, n), bottomY, x(0, n), bottomY, line)
		if peak != nil {
			fmt.Fprintf(&b, `<path class="peak" d="%s"/>`, path(peak))
		}
	}
	fmt.Fprintf(&b, `<text x="%g" y="%g">0 s</text><text x="%g" y="%g" text-anchor="end">%.3g s</text></svg>`,
		left, height-6, width-right, height-6, span)
	return template.HTML(b.String())
}
