package loadgen

import (
	"fmt"
	"strconv"
	"time"

	"github.com/mqlab/mqlab/internal/ui"
)

// table is one part of the summary, before it takes a form. Cells are plain text of any origin.
type table struct {
	Title   string
	Columns []ui.Column
	Rows    [][]string
	Notes   []string // sentences below it
	// Verdicts is set where cells may be verdict words.
	Verdicts bool
}

func left(title string) ui.Column  { return ui.Column{Title: title} }
func right(title string) ui.Column { return ui.Column{Title: title, Right: true} }
func flex(title string) ui.Column  { return ui.Column{Title: title, Flex: true} }

// tables are the parts of the summary in the order in which a reader wants them. Empty ones are left out.
func (r *Result) tables() []table {
	all := []table{r.loadTable(), r.latencyTable(), r.ledgerTable(), r.thresholdTable(), r.phaseTable(), r.groupTable(), r.errorTable(), r.useTable()}
	out := all[:0]
	for _, t := range all {
		if len(t.Rows) > 0 {
			out = append(out, t)
		}
	}
	return out
}

func (r *Result) loadTable() table {
	t := table{Title: "Load", Columns: []ui.Column{left("Messages"), right("Total"), right("Per second"), flex("")}}
	c, span := &r.Totals, r.span()
	row := func(always bool, name string, n uint64, note string) {
		if always || n > 0 {
			t.Rows = append(t.Rows, []string{name, count(n), rate(n, span), note})
		}
	}
	if r.Model == "open" {
		row(true, "offered", c.Scheduled, "fell due by the schedule")
	}
	row(true, "published", c.Published, ui.Bytes(int64(c.BytesOut))+" sent")
	row(false, "acknowledged", c.Acknowledged, "the handshake of QoS 1 or 2 ended well")
	row(true, "received", c.Received, ui.Bytes(int64(c.BytesIn))+" received")
	row(false, "resent", c.Resent, "sent again with DUP after a reconnect")
	row(false, "refused", c.Refused, "acknowledged with an error")
	row(false, "dropped", c.Dropped, "never sent: QoS 0 while disconnected, or the run ended")
	once := func(name string, n uint64, note string) {
		if n > 0 {
			t.Rows = append(t.Rows, []string{name, count(n), "", note})
		}
	}
	once("connects", c.Connects, "")
	once("failed connects", c.ConnectFails, "")
	once("disconnects", c.Disconnects, "that the run did not ask for")
	return t
}

// meanings say what the metrics measure.
var meanings = map[string]string{
	Connect:        "from dialling to CONNACK",
	Subscribe:      "from SUBSCRIBE to SUBACK",
	ScheduleLag:    "from the instant a message is due to its hand-over to the network",
	GeneratorLag:   "the part of it that is the generator's own",
	PublishService: "from the write of PUBLISH to the end of its handshake",
	PublishAck:     "from the instant a message is due to the end of its handshake",
	EndToEnd:       "from the instant a message is due to its arrival at a subscriber",
	Request:        "from the instant a request is due to its response",
	Ping:           "from PINGREQ to PINGRESP",
}

// metricOrder is the order of rows: what one asks for first comes first.
var metricOrder = []string{PublishAck, PublishService, EndToEnd, Request, ScheduleLag, GeneratorLag, Connect, Subscribe, Ping}

func (r *Result) latencyTable() table {
	t := table{Title: "Latency", Columns: []ui.Column{
		left("Metric"), left("QoS"), right("Count"), right("p50"), right("p90"), right("p99"), right("p99.9"), right("Max"), flex(""),
	}}
	for _, metric := range metricOrder {
		shown := 0
		for i := range r.Latency {
			l := &r.Latency[i]
			if l.Metric != metric || l.Group != "" || l.count() == 0 || (metric == ScheduleLag || metric == GeneratorLag) && l.QoS >= 0 {
				continue
			}
			note := ""
			if shown++; shown == 1 {
				note = meanings[metric]
			}
			p := l.percentiles()
			t.Rows = append(t.Rows, []string{metric, qosWord(l.QoS), ui.Count(p.Count), micros(p.P50), micros(p.P90), micros(p.P99), micros(p.P999), micros(p.Max), note})
		}
		// A single QoS is the same row twice.
		if n := len(t.Rows); shown == 2 && t.Rows[n-1][2] == t.Rows[n-2][2] {
			t.Rows[n-2][1] = t.Rows[n-1][1]
			t.Rows = t.Rows[:n-1]
		}
	}
	return t
}

func qosWord(qos int) string {
	if qos < 0 {
		return "all"
	}
	return strconv.Itoa(qos)
}

// kept reports whether the promise of the row's QoS was.
func (l *LedgerRow) kept() bool {
	return (l.QoS == 0 || l.Lost == 0) && (l.QoS == 1 || l.Duplicated == 0) && l.Corrupted == 0
}

func (r *Result) ledgerTable() table {
	t := table{Title: "Delivery", Verdicts: true, Columns: []ui.Column{left("Messages")}}
	rows := []struct {
		name, note string
		of         func(*LedgerRow) uint64
		always     bool
	}{
		{"expected", "that subscriptions entitle to", func(l *LedgerRow) uint64 { return l.Expected }, true},
		{"delivered", "different ones that arrived", func(l *LedgerRow) uint64 { return l.Delivered }, true},
		{"lost", "allowed at QoS 0 only", func(l *LedgerRow) uint64 { return l.Lost }, true},
		{"duplicated", "allowed at QoS 1 only", func(l *LedgerRow) uint64 { return l.Duplicated }, true},
		{"reordered", "behind a later one of the same publisher and topic", func(l *LedgerRow) uint64 { return l.Reordered }, true},
		{"corrupted", "with another payload than was sent", func(l *LedgerRow) uint64 { return l.Corrupted }, false},
		{"unexpected", "where no subscription asked for them", func(l *LedgerRow) uint64 { return l.Unexpected }, false},
		{"unsettled", "missing where nothing was promised: handshakes that did not end, QoS 0 around cuts", func(l *LedgerRow) uint64 { return l.Unsettled }, false},
		{"unverified", "arrived without a proof", func(l *LedgerRow) uint64 { return l.Unverified }, false},
	}
	var used []*LedgerRow
	for i := range r.Ledger {
		l := &r.Ledger[i]
		if *l == (LedgerRow{QoS: l.QoS}) {
			continue
		}
		used = append(used, l)
		t.Columns = append(t.Columns, right("QoS "+strconv.Itoa(l.QoS)))
	}
	if len(used) == 0 {
		return t
	}
	t.Columns = append(t.Columns, flex(""))
	promise := []string{"promise"}
	for _, l := range used {
		if l.kept() {
			promise = append(promise, ui.Pass)
		} else {
			promise = append(promise, ui.Fail)
		}
	}
	for _, x := range rows {
		row, some := []string{x.name}, x.always
		for _, l := range used {
			n := x.of(l)
			some = some || n > 0
			row = append(row, count(n))
		}
		if some {
			t.Rows = append(t.Rows, append(row, x.note))
		}
	}
	t.Rows = append(t.Rows, append(promise, "lost at QoS 1 or 2, duplicated at 0 or 2, or corrupted breaks it"))
	return t
}

func (r *Result) thresholdTable() table {
	t := table{Title: "Thresholds", Verdicts: true, Columns: []ui.Column{left(""), left("Threshold"), flex("Measured")}}
	for _, x := range r.Thresholds {
		word := ui.Pass
		if !x.Passed {
			word = ui.Fail
		}
		t.Rows = append(t.Rows, []string{word, x.Text, x.Why})
	}
	return t
}

func (r *Result) phaseTable() table {
	t := table{Title: "Phases", Columns: []ui.Column{flex("Phase"), left("Kind"), right("Until"), right("Offered"), right("Published"), right("Received"), right("p50"), right("p99"), right("Max")}}
	if len(r.Phases) < 2 {
		return t
	}
	metric := r.phaseMetric()
	if metric != "" {
		t.Notes = []string{"Latencies are those of " + metric + "."}
	}
	for i := range r.Phases {
		p := &r.Phases[i]
		to := p.To
		if r.Stopped != "" {
			to = max(p.From, min(to, r.Elapsed))
		}
		row := []string{
			p.Name, p.Kind, instant(p.To),
			rate(p.Counts.Scheduled, to-p.From), rate(p.Counts.Published, to-p.From), rate(p.Counts.Received, to-p.From), "-", "-", "-",
		}
		if l := latency(p.Latency, metric, -1, ""); l != nil {
			q := l.percentiles()
			row[6], row[7], row[8] = micros(q.P50), micros(q.P99), micros(q.Max)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// phaseMetric is the metric that most phases have, of these the one that a reader asks for first: phases of QoS 0
// have no handshakes.
func (r *Result) phaseMetric() string {
	best, most := "", 0
	for _, metric := range metricOrder {
		n := 0
		for i := range r.Phases {
			if latency(r.Phases[i].Latency, metric, -1, "") != nil {
				n++
			}
		}
		if n > most && metric != ScheduleLag && metric != GeneratorLag {
			best, most = metric, n
		}
	}
	return best
}

// instant is a time since the start.
func instant(d time.Duration) string {
	if d == 0 {
		return "0 s"
	}
	return ui.Duration(d)
}

func (r *Result) groupTable() table {
	t := table{Title: "Groups", Columns: []ui.Column{
		flex("Group"), right("Clients"), right("Published"), right("Received"), left("Metric"), right("p50"), right("p99"), right("Max"),
	}}
	if len(r.Groups) < 2 {
		return t
	}
	span := r.span()
	for i := range r.Groups {
		g := &r.Groups[i]
		row := []string{
			g.Name, strconv.Itoa(g.Clients), rate(g.Counts.Published, span), rate(g.Counts.Received, span), "-", "-", "-", "-",
		}
		for _, metric := range metricOrder {
			if l := latency(r.Latency, metric, -1, g.Name); l != nil {
				p := l.percentiles()
				row[4], row[5], row[6], row[7] = metric, micros(p.P50), micros(p.P99), micros(p.Max)
				break
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func (r *Result) errorTable() table {
	t := table{Title: "Errors", Columns: []ui.Column{right("Count"), left("Kind"), flex("Reason")}}
	for _, e := range r.Errors {
		reason := e.Reason
		if e.Code >= 0 {
			reason += fmt.Sprintf(" (0x%02x)", e.Code)
		}
		t.Rows = append(t.Rows, []string{count(e.Count), e.Kind, reason})
		if e.Advice != "" {
			t.Notes = append(t.Notes, e.Reason+": "+sentence(e.Advice))
		}
	}
	return t
}

func (r *Result) useTable() table {
	t := table{Title: "Resources", Columns: []ui.Column{left("Process"), right("CPU"), right("Cores busy"), right("CPU per 1M messages"), right("Memory"), flex("")}}
	use := func(name string, cpu float64, rss int64, note string) {
		busy, per := "-", "-"
		if r.Elapsed > 0 {
			busy = fmt.Sprintf("%.2f", cpu/r.Elapsed.Seconds())
		}
		if n := r.Totals.Published + r.Totals.Received; n > 0 {
			per = fmt.Sprintf("%.1f s", cpu/float64(n)*1e6)
		}
		t.Rows = append(t.Rows, []string{name, ui.Duration(time.Duration(cpu * 1e9)), busy, per, ui.Bytes(rss), note})
	}
	if g := &r.Generator; g.CPUSeconds > 0 || g.MaxRSS > 0 {
		use("generator", g.CPUSeconds, g.MaxRSS, plural(g.Workers, "worker")+" on "+plural(g.Cores, "core"))
	}
	if r.Broker.PID > 0 {
		use("server", r.Broker.CPUSeconds, r.Broker.MaxRSS, fmt.Sprintf("process %d", r.Broker.PID))
	}
	return t
}
