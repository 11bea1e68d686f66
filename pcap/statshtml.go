package pcap

import (
	"fmt"
	"html/template"
	"io"
	"math"
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
<h2>Packets</h2><div class="scroll"><table class="slim"><thead><tr><th>Type</th><th class="num">Packets</th></tr></thead><tbody>
{{range $t, $n := .R.Types}}<tr><td>{{$t}}</td><td class="num">{{count $n}}</td></tr>
{{end}}</tbody></table></div>
<h2>Clients ({{len .R.Clients}})</h2><div class="scroll"><table><thead><tr><th>Client</th><th>Address</th><th>MQTT</th><th class="num">Keep alive</th><th>Session</th><th>Will</th><th class="num">Conns</th><th>Answer</th><th class="num">Sent</th><th class="num">Received</th><th class="num">Bytes</th><th>End</th></tr></thead><tbody>
{{range .Clients}}<tr><td class="name">{{or (visible .ID) "(none)"}}</td><td class="whole">{{.Address}}</td><td>{{.Version}}</td><td class="num">{{.KeepAlive}} s</td><td>{{if .CleanStart}}clean{{else}}kept{{end}}{{if .Session}}, present{{end}}</td><td class="name">{{visible .WillTopic}}</td><td class="num">{{.Connections}}</td><td>{{.Result}}</td><td class="num">{{count .Sent}}</td><td class="num">{{count .Received}}</td><td class="num">{{size .SentBytes}} / {{size .RecvBytes}}</td><td>{{.End}}</td></tr>
{{end}}</tbody></table></div>
<h2>Topics ({{len .R.Topics}})</h2><div class="scroll"><table><thead><tr><th>Topic</th><th class="num">Published</th><th class="num">Delivered</th><th class="num">Payload</th><th class="num">Rate</th><th class="num">Retained</th><th class="num">Publishers</th><th class="num">Receivers</th></tr></thead><tbody>
{{range .Topics}}<tr><td class="name">{{or (visible .Topic) "(not known)"}}</td><td class="num">{{count .Published}}</td><td class="num">{{count .Delivered}}</td><td class="num">{{size .Bytes}}</td><td class="num">{{rate .Rate}}</td><td class="num">{{count .Retained}}</td><td class="num">{{.Publishers}}</td><td class="num">{{.Subscribers}}</td></tr>
{{end}}</tbody></table></div>
{{if .Cut}}<p class="soft">The tables show the first {{.Max}} rows; --format json has them all.</p>{{end}}
</main>`))

const statsStyle = `.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .75rem .75rem .5rem; border: 1px solid var(--line); border-radius: 8px; background: var(--paper); }
figcaption { display: flex; flex-wrap: wrap; gap: .1rem 1rem; justify-content: space-between; font-size: .875rem; font-weight: 600; }
figcaption span { font-weight: 400; color: var(--soft); }
figcaption i { display: inline-block; width: 1.1rem; height: 0; margin: 0 .3rem 0 .6rem; border-top: 2px solid var(--accent); vertical-align: middle; }
figcaption i.peak { border-top: 2px dashed var(--warn); }
figure svg { display: block; width: 100%; height: auto; margin-top: .25rem; font: 11px var(--sans); fill: var(--soft); }
figure .line { fill: none; stroke: var(--accent); stroke-width: 1.5; stroke-linecap: round; stroke-linejoin: round; }
figure .area { fill: var(--accent); opacity: .18; }
figure .peak { fill: none; stroke: var(--warn); stroke-width: 1.25; stroke-dasharray: 4 2; stroke-linecap: butt; }
figure .grid { stroke: var(--line); }
figure .axis { stroke: var(--soft); }
td.num, td.whole { white-space: nowrap; }
td.name { min-width: 9rem; max-width: 20rem; overflow-wrap: anywhere; }
table.slim { width: auto; }
table.slim th:last-child, table.slim td:last-child { padding-left: 2rem; }
tr { break-inside: avoid; }
@page { size: landscape; margin: 12mm; }
@media print {
  body, figcaption { font-size: .75rem; }
  main, header.top { max-width: none; padding: 0; }
  h1 { font-size: 1.3rem; }
  h2 { font-size: 1rem; margin-top: 1.25rem; break-after: avoid; }
  .plots { grid-template-columns: 1fr 1fr; gap: .5rem; }
  .scroll { overflow: visible; }
  figure { break-inside: avoid; }
  thead { display: table-header-group; }
  table { font-size: .6875rem; }
  th, td, table.slim th, table.slim td { padding: .2rem .5rem .2rem 0; }
  .scroll thead th { font-size: inherit; white-space: normal; vertical-align: bottom; }
  td.name { min-width: 6rem; }
}`

// WriteHTML writes the report as one page that needs nothing beside itself.
func (r *Report) WriteHTML(w io.Writer, title string) error {
	line := r.Timeline
	if len(line) > 10 { // the last step has not run to its end: its rates would only look like a breakdown
		line = line[:len(line)-1]
	}
	line, step := coarser(line, r.Step)
	rate := func(pick func(*Interval) int64) []float64 {
		out := make([]float64, len(line))
		for i := range line {
			out[i] = float64(pick(&line[i])) / step
		}
		return out
	}
	mean, peak := make([]float64, len(line)), make([]float64, len(line))
	for i, iv := range line {
		mean[i], peak[i] = math.NaN(), math.NaN() // where nothing was answered there is no time
		if iv.AckNum > 0 {
			mean[i], peak[i] = float64(iv.AckSum)/float64(iv.AckNum), float64(iv.AckMax)
		}
	}
	count := func(v float64) string { return strings.TrimSuffix(ui.Rate(v), "/s") }
	span := float64(len(line)) * step
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
			plot{"Packets per second", span, rate(func(i *Interval) int64 { return i.Packets }), nil, 10, count}.draw(),
			plot{"PUBLISH per second", span, rate(func(i *Interval) int64 { return i.Publish }), nil, 10, count}.draw(),
			plot{"Bytes per second", span, rate(func(i *Interval) int64 { return i.Bytes }), nil, 2, func(v float64) string { return ui.Bytes(int64(v)) }}.draw(),
			plot{"From PUBLISH to the first answer", span, mean, peak, 10, func(v float64) string { return ui.Duration(time.Duration(v)) }}.draw(),
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

// maxPoints is how many points of a plot can be told apart.
const maxPoints = 150

// coarser joins steps of the time line, so that there are no more than a plot can show.
func coarser(line []Interval, step float64) ([]Interval, float64) {
	k := (len(line) + maxPoints - 1) / maxPoints
	if k <= 1 {
		return line, step
	}
	var out []Interval
	for at := 0; at+k <= len(line); at += k {
		a := line[at]
		for i := at + 1; i < at+k; i++ {
			a.add(&line[i])
		}
		out = append(out, a)
	}
	return out, step * float64(k)
}
