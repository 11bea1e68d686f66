package loadgen

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/mqlab/mqlab/internal/report"
	"github.com/mqlab/mqlab/internal/ui"
)

// ComparisonFormat names the format of a comparison in JSON.
const ComparisonFormat = "mqlab-load-comparison/1"

// Comparison sets load results side by side. Ratios are to the first of them.
type Comparison struct {
	Format string        `json:"format"`
	Runs   []ComparedRun `json:"runs"`
	Rows   []ComparedRow `json:"rows"`
	// Differ says in sentences what makes the runs unequal before any server is: rates, sizes, a limited generator.
	Differ []string `json:"differ,omitempty"`

	results []*Result
}

// ComparedRun is one of the results.
type ComparedRun struct {
	Label   string    `json:"label"`
	Title   string    `json:"title"`
	Target  string    `json:"target"`
	Server  string    `json:"server,omitempty"`
	Started time.Time `json:"started"`
	Passed  bool      `json:"passed"`
}

// ComparedRow is one figure of every run.
type ComparedRow struct {
	Part  string `json:"part"`   // load, latency, delivery, resources
	Name  string `json:"name"`   // such as publish_ack.p99
	QoS   int    `json:"qos"`    // -1: all
	Unit  string `json:"unit"`   // messages/s, us, messages, cores, cpu_s/1M, bytes
	Lower bool   `json:"lower"`  // whether less is better
	Value []Num  `json:"values"` // one for each run; null where it was not measured
	Ratio []Num  `json:"ratios"` // to the first run's; null where there is none
}

// Num is a number that may be missing: NaN, null in JSON.
type Num float64

// MarshalJSON writes a missing number as null.
func (n Num) MarshalJSON() ([]byte, error) {
	if n.missing() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

func (n Num) missing() bool { return n != n }

// Compare sets the results side by side under the labels; one that is empty or missing is made from the target.
func Compare(results []*Result, labels []string) *Comparison {
	c := &Comparison{Format: ComparisonFormat, results: results}
	for i, r := range results {
		label := ""
		if i < len(labels) {
			label = labels[i]
		}
		if label == "" {
			label = r.Target
		}
		seen := 1
		for _, other := range c.Runs {
			if other.Label == label || strings.HasPrefix(other.Label, label+" (") {
				seen++
			}
		}
		if seen > 1 {
			label += fmt.Sprintf(" (%d)", seen)
		}
		c.Runs = append(c.Runs, ComparedRun{Label: label, Title: r.Title, Target: r.Target, Server: r.Server, Started: r.Started, Passed: r.Verdict().Passed})
	}
	c.loadRows()
	c.latencyRows()
	c.deliveryRows()
	c.useRows()
	c.differ()
	return c
}

// row adds a figure, unless no run has it.
func (c *Comparison) row(row ComparedRow, of func(*Result) (float64, bool)) {
	found := false
	for _, r := range c.results {
		v, ok := of(r)
		if !ok {
			v = missing
		}
		found = found || ok
		row.Value = append(row.Value, Num(v))
		ratio := missing
		if first := float64(row.Value[0]); ok && first > 0 {
			ratio = v / first
		}
		row.Ratio = append(row.Ratio, Num(ratio))
	}
	if found {
		c.Rows = append(c.Rows, row)
	}
}

func (c *Comparison) loadRows() {
	for _, x := range []struct {
		name  string
		lower bool
		of    func(*Counts) uint64
	}{
		{"offered", false, func(c *Counts) uint64 { return c.Scheduled }},
		{"published", false, func(c *Counts) uint64 { return c.Published }},
		{"acknowledged", false, func(c *Counts) uint64 { return c.Acknowledged }},
		{"received", false, func(c *Counts) uint64 { return c.Received }},
	} {
		c.row(ComparedRow{Part: "load", Name: x.name, QoS: -1, Unit: "messages/s"}, func(r *Result) (float64, bool) {
			n := x.of(&r.Totals)
			return perSecond(n, r.span()), n > 0
		})
	}
}

func (c *Comparison) latencyRows() {
	for _, metric := range metricOrder {
		if metric == GeneratorLag {
			continue
		}
		for qos := -1; qos <= 2; qos++ {
			if qos >= 0 && (metric != PublishAck && metric != EndToEnd || !c.severalQoS(metric)) {
				continue
			}
			for _, stat := range []struct {
				name string
				of   func(*Latency) int64
			}{
				{"p50", func(l *Latency) int64 { return l.Histogram.ValueAtPercentile(50) }},
				{"p99", func(l *Latency) int64 { return l.Histogram.ValueAtPercentile(99) }},
				{"p99.9", func(l *Latency) int64 { return l.Histogram.ValueAtPercentile(99.9) }},
				{"max", func(l *Latency) int64 { return l.Histogram.Max() }},
			} {
				c.row(ComparedRow{Part: "latency", Name: metric + "." + stat.name, QoS: qos, Unit: "us", Lower: true}, func(r *Result) (float64, bool) {
					l := latency(r.Latency, metric, qos, "")
					if l == nil {
						return 0, false
					}
					return float64(stat.of(l)), true
				})
			}
		}
	}
}

// severalQoS reports whether a run measured the metric at more than one QoS.
func (c *Comparison) severalQoS(metric string) bool {
	for _, r := range c.results {
		n := 0
		for qos := range 3 {
			if latency(r.Latency, metric, qos, "") != nil {
				n++
			}
		}
		if n > 1 {
			return true
		}
	}
	return false
}

func (c *Comparison) deliveryRows() {
	for qos := range 3 {
		for _, x := range []struct {
			name string
			of   func(*LedgerRow) uint64
		}{
			{"lost", func(l *LedgerRow) uint64 { return l.Lost }},
			{"duplicated", func(l *LedgerRow) uint64 { return l.Duplicated }},
			{"reordered", func(l *LedgerRow) uint64 { return l.Reordered }},
			{"corrupted", func(l *LedgerRow) uint64 { return l.Corrupted }},
		} {
			some := false // a row of nothing but zeros tells nothing, but for what was lost
			for _, r := range c.results {
				for i := range r.Ledger {
					some = some || r.Ledger[i].QoS == qos && x.of(&r.Ledger[i]) > 0
				}
			}
			if !some && x.name != "lost" {
				continue
			}
			c.row(ComparedRow{Part: "delivery", Name: x.name, QoS: qos, Unit: "messages", Lower: true}, func(r *Result) (float64, bool) {
				for i := range r.Ledger {
					if l := &r.Ledger[i]; l.QoS == qos && l.Expected > 0 {
						return float64(x.of(l)), true
					}
				}
				return 0, false
			})
		}
	}
}

func (c *Comparison) useRows() {
	per := func(r *Result, cpu float64) float64 { return cpu / float64(r.Totals.Published+r.Totals.Received) * 1e6 }
	moved := func(r *Result) bool { return r.Totals.Published+r.Totals.Received > 0 && r.Elapsed > 0 }
	for _, x := range []struct {
		name, unit string
		of         func(*Result) (float64, bool)
	}{
		{"server CPU", "cores", func(r *Result) (float64, bool) {
			return r.Broker.CPUSeconds / r.Elapsed.Seconds(), r.Broker.PID > 0 && r.Elapsed > 0
		}},
		{"server CPU per million", "cpu_s/1M", func(r *Result) (float64, bool) {
			return per(r, r.Broker.CPUSeconds), r.Broker.PID > 0 && moved(r)
		}},
		{"server memory", "bytes", func(r *Result) (float64, bool) { return float64(r.Broker.MaxRSS), r.Broker.PID > 0 }},
		{"generator CPU", "cores", func(r *Result) (float64, bool) {
			return r.Generator.CPUSeconds / r.Elapsed.Seconds(), r.Generator.CPUSeconds > 0 && r.Elapsed > 0
		}},
		{"generator CPU per million", "cpu_s/1M", func(r *Result) (float64, bool) {
			return per(r, r.Generator.CPUSeconds), r.Generator.CPUSeconds > 0 && moved(r)
		}},
	} {
		c.row(ComparedRow{Part: "resources", Name: x.name, QoS: -1, Unit: x.unit, Lower: true}, x.of)
	}
}

// differ finds what a reader must know before reading a ratio as a property of the servers.
func (c *Comparison) differ() {
	first := c.results[0]
	say := func(format string, args ...any) { c.Differ = append(c.Differ, fmt.Sprintf(format, args...)) }
	for i, r := range c.results {
		label := c.Runs[i].Label
		if len(r.Generator.Limited) > 0 {
			say("In %s the generator was the limit: %s", label, sentence(strings.Join(r.Generator.Limited, " ")))
		}
		if r.Stopped != "" {
			say("%s ended before its plan: %s", label, sentence(r.Stopped))
		}
		if i == 0 {
			continue
		}
		if r.Model != first.Model || r.Window != first.Window {
			say("%s has the %s model with window %d, %s the %s model with window %d.", c.Runs[0].Label, first.Model, first.Window, label, r.Model, r.Window)
		}
		if r.Model == "open" && first.Model == "open" {
			a, b := perSecond(first.Totals.Scheduled, first.span()), perSecond(r.Totals.Scheduled, r.span())
			if b > a*1.02 || b < a*.98 {
				say("%s was offered %s, %s %s.", c.Runs[0].Label, ui.Rate(a), label, ui.Rate(b))
			}
		}
		if r.Generator.Clients != first.Generator.Clients {
			say("%s had %d clients, %s %d.", c.Runs[0].Label, first.Generator.Clients, label, r.Generator.Clients)
		}
	}
}

// WriteJSON writes the comparison with all of its numbers.
func (c *Comparison) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(c)
}

// value writes one of the row's numbers.
func (r *ComparedRow) value(v Num) string {
	if v.missing() {
		return "-"
	}
	switch r.Unit {
	case "us":
		return micros(int64(v))
	case "messages/s":
		return ui.Rate(float64(v))
	case "bytes":
		return ui.Bytes(int64(v))
	case "messages":
		return ui.Count(int64(v))
	}
	return strconv.FormatFloat(float64(v), 'f', 2, 64)
}

// ratio writes how a run stands to the first.
func (r *ComparedRow) ratio(i int) string {
	switch x := r.Ratio[i]; {
	case i == 0 || x.missing():
		return ""
	case x >= 99.5:
		return fmt.Sprintf("×%.0f", float64(x))
	default:
		return fmt.Sprintf("×%.2f", float64(x))
	}
}

// Judge says whether the run is "better" or "worse" than the first by more than chance usually explains, or "".
func (r *ComparedRow) Judge(i int) string {
	x := r.Ratio[i]
	if i == 0 || r.Name == "offered" || r.Part == "latency" && strings.HasPrefix(r.Name, ScheduleLag) {
		return ""
	}
	if r.Part == "delivery" {
		a, b := r.Value[0], r.Value[i]
		switch {
		case b > a:
			return "worse"
		case b < a:
			return "better"
		}
		return ""
	}
	if x.missing() || x > .9 && x < 1.1 {
		return ""
	}
	if (x < 1) == r.Lower {
		return "better"
	}
	return "worse"
}

// tables are the rows by their parts.
func (c *Comparison) tables() []table {
	var out []table
	for i := range c.Rows {
		row := &c.Rows[i]
		title := strings.ToUpper(row.Part[:1]) + row.Part[1:]
		if len(out) == 0 || out[len(out)-1].Title != title {
			t := table{Title: title, Columns: []ui.Column{left("Figure"), left("QoS")}}
			for j, run := range c.Runs {
				t.Columns = append(t.Columns, right(run.Label))
				if j > 0 {
					t.Columns = append(t.Columns, right("Ratio"), left(""))
				}
			}
			out = append(out, t)
		}
		qos := ""
		if row.QoS >= 0 {
			qos = strconv.Itoa(row.QoS)
		} else if row.Part == "latency" {
			qos = "all"
		}
		cells := []string{row.Name, qos}
		for j := range c.Runs {
			cells = append(cells, row.value(row.Value[j]))
			if j > 0 {
				cells = append(cells, row.ratio(j), row.Judge(j))
			}
		}
		t := &out[len(out)-1]
		t.Rows = append(t.Rows, cells)
	}
	return out
}

func (c *Comparison) runTable() table {
	t := table{Title: "Runs", Columns: []ui.Column{left("Label"), left("Verdict"), flex("Target"), flex("Workload"), left("Started")}}
	for _, r := range c.Runs {
		word := ui.Fail
		if r.Passed {
			word = ui.Pass
		}
		target := r.Target
		if r.Server != "" {
			target += " (" + r.Server + ")"
		}
		t.Rows = append(t.Rows, []string{r.Label, word, target, r.Title, r.Started.UTC().Format("2006-01-02 15:04:05")})
	}
	return t
}

// WriteText writes the comparison for people.
func (c *Comparison) WriteText(w io.Writer, u *ui.UI, width int) error {
	var b strings.Builder
	t := c.runTable()
	b.WriteString(t.text(u, width))
	for _, t := range c.tables() {
		b.WriteString("\n" + t.text(u, width))
	}
	if len(c.Differ) > 0 {
		b.WriteString("\n" + u.Heading("The runs differ in more than the server") + "\n")
		for _, s := range c.Differ {
			b.WriteString(ui.Wrap(ui.Printable(s), width, 0) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteMarkdown writes the comparison as Markdown.
func (c *Comparison) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	t := c.runTable()
	b.WriteString("# MQTT load, side by side\n\n" + t.markdown())
	for _, t := range c.tables() {
		b.WriteString("\n## " + t.Title + "\n\n" + t.markdown())
	}
	if len(c.Differ) > 0 {
		b.WriteString("\n## The runs differ in more than the server\n\n")
		for _, s := range c.Differ {
			b.WriteString("- " + report.MarkdownText(s) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
