package loadgen

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/mqlab/mqlab/internal/ui"
)

// maxHistory is how many seconds a live view looks back.
const maxHistory = 600

// History is what a live view remembers of the seconds before. The zero value is empty.
type History struct {
	rates, worst []float64
}

// Add appends the second of a snapshot.
func (h *History) Add(s *Snapshot) {
	if s.Elapsed < 0 {
		return
	}
	p := math.NaN()
	if _, last, _ := mainPercentiles(s); last.Count > 0 {
		p = float64(last.P99)
	}
	h.rates, h.worst = append(h.rates, float64(s.Counts.Published)), append(h.worst, p)
	if n := len(h.rates) - maxHistory; n > 0 {
		h.rates, h.worst = append(h.rates[:0], h.rates[n:]...), append(h.worst[:0], h.worst[n:]...)
	}
}

// mainPercentiles are those of the metric that stands for the run so far.
func mainPercentiles(s *Snapshot) (metric string, last, total *Percentiles) {
	if s.TotalAck.Count == 0 && s.TotalEnd.Count > 0 {
		return EndToEnd, &s.Second.EndToEnd, &s.TotalEnd
	}
	return PublishAck, &s.Ack, &s.TotalAck
}

// stage says what the run is doing.
func stage(s *Snapshot) string {
	switch {
	case s.Elapsed < 0:
		return "connecting"
	case s.Draining:
		return "waiting for what is under way"
	case s.Phase != "":
		return ui.Printable(s.Phase)
	}
	return "running"
}

// View is the live picture of a run, lines of at most width cells. It depends on nothing but what it is given.
func View(u *ui.UI, s *Snapshot, h *History, width int) string {
	if width <= 0 {
		width = 80
	}
	var b strings.Builder
	put := func(line string) { b.WriteString(ui.Truncate(line, width) + "\n") }

	put(u.Strong(ui.Printable(s.Title)) + "  " + u.Dim(ui.Printable(s.Target)))
	switch {
	case s.Elapsed < 0:
		put(u.Progress(width, stage(s), int64(s.Connected), int64(max(s.Clients, 1)), fmt.Sprintf("%s of %s clients", ui.Count(int64(s.Connected)), ui.Count(int64(s.Clients)))))
	case s.Draining:
		put(u.Strong(stage(s)) + "  " + whole(s.Elapsed))
	default:
		put(u.Progress(width, stage(s), int64(s.Elapsed/time.Millisecond), int64(s.Planned/time.Millisecond), whole(s.Elapsed)+" of "+whole(s.Planned)))
	}

	b.WriteString("\n" + liveFigures(u, s, width))
	b.WriteString("\n" + liveLatency(u, s, width))

	if n := len(h.rates); n > 0 {
		const label = 12
		room := max(width-label-12, 8)
		// The last seconds, one to a cell.
		tail := func(v []float64) []float64 { return v[max(0, len(v)-room):] }
		metric, _, _ := mainPercentiles(s)
		b.WriteByte('\n')
		put(ui.Pad("published", label) + u.Code(ui.Sparkline(0, tail(h.rates))) + " " + ui.Rate(h.rates[n-1]))
		last := ""
		if v := h.worst[n-1]; !math.IsNaN(v) {
			last = " " + micros(int64(v))
		}
		name := "p99"
		if metric == EndToEnd {
			name = "p99 end"
		}
		put(ui.Pad(name, label) + u.Code(ui.Sparkline(0, tail(h.worst))) + last)
	}

	if len(s.TopErrors) > 0 {
		b.WriteString("\n" + u.Heading("Errors") + "\n")
		for i, e := range s.TopErrors {
			if i == 5 {
				put(fmt.Sprintf("and %d kinds more", len(s.TopErrors)-i))
				break
			}
			put(fmt.Sprintf("%s  %s: %s", ui.PadLeft(count(e.Count), 7), e.Kind, ui.Printable(e.Reason)))
		}
	}
	for _, l := range s.Limited {
		b.WriteString("\n" + u.Verdict(ui.Warn) + " " + ui.Wrap("the generator is the limit: "+ui.Printable(l), max(width-5, 20), 0) + "\n")
	}
	return b.String()
}

func alarm(u *ui.UI, n uint64) string {
	if n == 0 {
		return "0"
	}
	return u.Strong(count(n))
}

// liveFigures are the counts of the moment, as many columns as there is room for.
func liveFigures(u *ui.UI, s *Snapshot, width int) string {
	offered := s.Offered
	if offered == 0 && s.Elapsed >= 0 {
		offered = float64(s.Counts.Scheduled)
	}
	figures := [][2]string{
		{"offered", ui.Rate(offered)},
		{"published", ui.Rate(float64(s.Counts.Published))},
		{"received", ui.Rate(float64(s.Counts.Received))},
		{"connected", ui.Count(int64(s.Connected)) + " of " + ui.Count(int64(s.Clients))},
		{"in flight", ui.Count(int64(s.Inflight))},
		{"backlog", ui.Count(int64(s.Backlog))},
		{"lost", alarm(u, s.Lost)},
		{"duplicated", count(s.Duplicated)},
		{"generator", fmt.Sprintf("%.2f cores", max(s.GeneratorCPU, 0))},
	}
	if s.BrokerCPU >= 0 {
		figures = append(figures, [2]string{"server", fmt.Sprintf("%.2f cores", s.BrokerCPU)})
	}
	if s.BrokerRSS >= 0 {
		figures = append(figures, [2]string{"its memory", ui.Bytes(s.BrokerRSS)})
	}
	figures = append(figures, [2]string{"in all", count(s.Totals.Published)})
	const name, cell = 12, 28
	columns := max(1, min(4, width/cell))
	var b strings.Builder
	for i := 0; i < len(figures); i += columns {
		line := ""
		for _, f := range figures[i:min(i+columns, len(figures))] {
			line += ui.Pad(u.Dim(ui.Pad(f[0], name))+f[1], cell)
		}
		b.WriteString(ui.Truncate(strings.TrimRight(line, " "), width) + "\n")
	}
	return b.String()
}

// whole is a time to the second, so that a live view does not flicker.
func whole(d time.Duration) string {
	d = d.Round(time.Second)
	if d < time.Minute {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return ui.Duration(d)
}

func liveLatency(u *ui.UI, s *Snapshot, width int) string {
	columns := []ui.Column{left("Latency"), left(""), right("p50"), right("p90"), right("p99"), right("p99.9"), right("Max")}
	var rows [][]string
	for _, m := range []struct {
		name        string
		last, total *Percentiles
	}{
		{PublishAck, &s.Ack, &s.TotalAck},
		{EndToEnd, &s.Second.EndToEnd, &s.TotalEnd},
		{ScheduleLag, &s.Lag, &s.TotalLag},
	} {
		if m.total.Count == 0 && m.last.Count == 0 {
			continue
		}
		for i, p := range []*Percentiles{m.last, m.total} {
			row := []string{m.name, "last second", "-", "-", "-", "-", "-"}
			if i == 1 {
				row[0], row[1] = "", "in all"
			}
			if p.Count > 0 {
				row = append(row[:2], micros(p.P50), micros(p.P90), micros(p.P99), micros(p.P999), micros(p.Max))
			}
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return u.Dim("no latency yet") + "\n"
	}
	if width < 70 { // the tail matters more than its name
		columns[1].Title = ""
		for _, row := range rows {
			if row[1] = "last"; row[0] == "" {
				row[1] = "all"
			}
		}
	}
	return u.Table(width, columns, rows)
}

// ProgressLine is the snapshot as one line for a log.
func ProgressLine(s *Snapshot) string {
	if s.Elapsed < 0 {
		return fmt.Sprintf("connecting: %s of %s clients%s", ui.Count(int64(s.Connected)), ui.Count(int64(s.Clients)), errorTail(s))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s:", whole(s.Elapsed), stage(s))
	if s.Offered > 0 {
		fmt.Fprintf(&b, " offered %s,", ui.Rate(s.Offered))
	}
	fmt.Fprintf(&b, " published %s, received %s, %s in flight", ui.Rate(float64(s.Counts.Published)), ui.Rate(float64(s.Counts.Received)), ui.Count(int64(s.Inflight)))
	if s.Connected < s.Clients {
		fmt.Fprintf(&b, ", %s of %s connected", ui.Count(int64(s.Connected)), ui.Count(int64(s.Clients)))
	}
	if s.Backlog > 0 {
		fmt.Fprintf(&b, ", %s waiting", ui.Count(int64(s.Backlog)))
	}
	if metric, last, _ := mainPercentiles(s); last.Count > 0 {
		fmt.Fprintf(&b, ", %s p50 %s p99 %s max %s", metric, micros(last.P50), micros(last.P99), micros(last.Max))
	}
	if s.Lag.Count > 0 {
		fmt.Fprintf(&b, ", lag p99 %s", micros(s.Lag.P99))
	}
	if s.Lost > 0 {
		fmt.Fprintf(&b, ", %s lost", count(s.Lost))
	}
	b.WriteString(errorTail(s))
	return b.String()
}

func errorTail(s *Snapshot) string {
	out := ""
	if s.Errors > 0 {
		out = fmt.Sprintf(", %s errors", count(s.Errors))
		if len(s.TopErrors) > 0 {
			out += " (" + ui.Printable(s.TopErrors[0].Reason) + ")"
		}
	}
	if len(s.Limited) > 0 {
		out += ", the generator is the limit"
	}
	return out
}
