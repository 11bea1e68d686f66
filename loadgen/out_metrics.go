package loadgen

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Metrics serves the live figures of a run in the text format of Prometheus. The zero value is ready and serves only
// that the run is not up; it is safe for concurrent use.
type Metrics struct {
	mu   sync.Mutex // guards page
	page []byte
}

// Update replaces the figures. It fits Config.Progress, and keeps nothing of the snapshot.
func (m *Metrics) Update(s *Snapshot) {
	page := exposition(s)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.page = page
}

// ServeHTTP answers every path with the figures.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "metrics are read with GET", http.StatusMethodNotAllowed)
		return
	}
	m.mu.Lock()
	page := m.page
	m.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	if page == nil {
		page = []byte("# HELP mqlab_load_up 1 while the run has figures.\n# TYPE mqlab_load_up gauge\nmqlab_load_up 0\n")
	}
	_, _ = w.Write(page) // whoever asked is gone, then
}

// metricsWriter writes families of samples. A family is headed once, before its first sample.
type metricsWriter struct {
	buf  bytes.Buffer
	last string
}

// sample writes one line. Labels are names and values in turn.
func (w *metricsWriter) sample(kind, name, help string, value float64, labels ...string) {
	name = "mqlab_load_" + name
	if name != w.last {
		w.last = name
		fmt.Fprintf(&w.buf, "# HELP %s %s\n# TYPE %s %s\n", name, strings.NewReplacer("\\", `\\`, "\n", `\n`).Replace(help), name, kind)
	}
	w.line(name, value, labels...)
}

var escapeLabel = strings.NewReplacer("\\", `\\`, "\n", `\n`, `"`, `\"`)

func (w *metricsWriter) line(name string, value float64, labels ...string) {
	w.buf.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		w.buf.WriteByte(sep)
		w.buf.WriteString(labels[i] + `="` + escapeLabel.Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD")) + `"`)
	}
	if len(labels) > 0 {
		w.buf.WriteByte('}')
	}
	w.buf.WriteByte(' ')
	w.buf.WriteString(strconv.FormatFloat(value, 'g', -1, 64))
	w.buf.WriteByte('\n')
}

func (w *metricsWriter) summary(name, help string, p *Percentiles) {
	const micro = float64(time.Microsecond) / float64(time.Second)
	full := "mqlab_load_" + name
	w.last = full
	fmt.Fprintf(&w.buf, "# HELP %s %s\n# TYPE %s summary\n", full, help, full)
	if p.Count > 0 {
		for _, q := range []struct {
			name  string
			value int64
		}{{"0.5", p.P50}, {"0.9", p.P90}, {"0.99", p.P99}, {"0.999", p.P999}, {"1", p.Max}} {
			w.line(full, float64(q.value)*micro, "quantile", q.name)
		}
	}
	w.line(full+"_count", float64(p.Count))
}

// exposition writes the figures of the moment.
func exposition(s *Snapshot) []byte {
	w := new(metricsWriter)
	w.sample("gauge", "up", "1 while the run has figures.", 1)
	w.sample("gauge", "info", "What is run, in the labels.", 1, "title", s.Title, "target", s.Target, "phase", s.Phase)
	for _, c := range []struct {
		name, help string
		n          uint64
	}{
		{"messages_scheduled_total", "Messages that fell due.", s.Totals.Scheduled},
		{"messages_published_total", "PUBLISH packets handed to the network, resent ones not counted again.", s.Totals.Published},
		{"messages_resent_total", "PUBLISH packets sent again with DUP.", s.Totals.Resent},
		{"messages_acknowledged_total", "QoS 1 and 2 messages whose handshake ended well.", s.Totals.Acknowledged},
		{"messages_refused_total", "Messages acknowledged with an error.", s.Totals.Refused},
		{"messages_dropped_total", "Messages that were never sent.", s.Totals.Dropped},
		{"messages_received_total", "PUBLISH packets received.", s.Totals.Received},
		{"connects_total", "CONNACKs with success.", s.Totals.Connects},
		{"connect_failures_total", "Attempts to connect that failed.", s.Totals.ConnectFails},
		{"disconnects_total", "Connections that ended without the run's wish.", s.Totals.Disconnects},
		{"pings_total", "PINGREQ packets sent.", s.Totals.Pings},
		{"sent_bytes_total", "Bytes sent.", s.Totals.BytesOut},
		{"received_bytes_total", "Bytes received.", s.Totals.BytesIn},
	} {
		w.sample("counter", c.name, c.help, float64(c.n))
	}
	for _, g := range []struct {
		name, help string
		v          float64
		known      bool
	}{
		{"elapsed_seconds", "Time since the first message was due; negative while connecting.", s.Elapsed.Seconds(), true},
		{"planned_seconds", "How long the run is planned to take.", s.Planned.Seconds(), true},
		{"clients", "Clients of the workload.", float64(s.Clients), true},
		{"connected", "Clients that are connected.", float64(s.Connected), true},
		{"inflight", "QoS 1 and 2 messages under way.", float64(s.Inflight), true},
		{"backlog", "Messages due and not sent.", float64(s.Backlog), true},
		{"offered_rate", "Messages due per second at this moment.", s.Offered, true},
		{"lost", "Messages known to be lost so far.", float64(s.Lost), true},
		{"duplicated", "Arrivals beyond the first so far.", float64(s.Duplicated), true},
		{"limited", "1 where the generator itself is the limit.", truth(len(s.Limited) > 0), true},
		{"draining", "1 while what is under way is waited for at the end.", truth(s.Draining), true},
		{"generator_cpu_cores", "Cores that the generator keeps busy.", s.GeneratorCPU, s.GeneratorCPU >= 0},
		{"broker_cpu_cores", "Cores that the server keeps busy.", s.BrokerCPU, s.BrokerCPU >= 0},
		{"broker_memory_bytes", "Resident memory of the server.", float64(s.BrokerRSS), s.BrokerRSS >= 0},
	} {
		if g.known {
			w.sample("gauge", g.name, g.help, g.v)
		}
	}
	w.summary("schedule_lag_seconds", "From the instant a message is due to its hand-over to the network.", &s.TotalLag)
	w.summary("publish_ack_seconds", "From the instant a message is due to the end of its handshake.", &s.TotalAck)
	w.summary("end_to_end_seconds", "From the instant a message is due to its arrival at a subscriber.", &s.TotalEnd)
	for _, e := range s.TopErrors {
		w.sample("counter", "errors_total", "Errors by kind and reason, the most frequent ones.", float64(e.Count), "kind", e.Kind, "reason", e.Reason)
	}
	topics := make([]string, 0, len(s.Sys))
	for t := range s.Sys {
		topics = append(topics, t)
	}
	slices.Sort(topics)
	for _, t := range topics {
		w.sample("gauge", "sys", "Values below $SYS, by topic.", s.Sys[t], "topic", t)
	}
	return w.buf.Bytes()
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
