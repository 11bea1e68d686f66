package loadgen

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/mqlab/mqlab/internal/transport"
)

// collector takes over, once a second, what the workers have counted, and makes seconds, snapshots and the result of it.
// All but mu is used by the run's goroutine alone.
type collector struct {
	p       *plan
	target  string
	workers []*worker
	mu      sync.Mutex // guards what functions that run on workers add up

	t0, end  int64 // never: not known yet
	last     int64 // the end of the last second
	draining bool
	counts   []Counts // as in stats
	hist     []*series
	errors   map[errorKey]uint64
	total    Counts
	series   []Second
	spare    []*stats
	gauge    gauges

	sys                 *sysSampler
	own                 usage
	startAt             usage
	broker, startBroker usage
	rssMax              int64
	busy                []int64 // of each worker: processor time at the last second
	hot                 int     // seconds in which a worker was busy nearly all the time
	merged              [3]*hdrhistogram.Histogram
	totals              [3]*hdrhistogram.Histogram
	lags                *hdrhistogram.Histogram
}

type gauges struct {
	connected, inflight, ready int
	backlog                    uint64
	missing, duplicated        uint64
}

type usage struct {
	cpu float64
	rss int64
}

// The metrics of which each second has percentiles.
var secondMetrics = [3]int{metricLag, metricAck, metricEnd}

func newCollector(p *plan) *collector {
	c := &collector{
		p: p, t0: never, end: never, errors: map[errorKey]uint64{}, lags: newHistogram(),
		counts: make([]Counts, len(p.groups)*len(p.phases)), hist: make([]*series, len(p.phases)*len(p.groups)*metricCount*4),
	}
	if t, err := transport.Parse(p.cfg.Target); err == nil {
		c.target = t.String()
	} else if len(p.groups) > 0 {
		c.target = p.groups[0].target.String()
	}
	for i := range c.merged {
		c.merged[i], c.totals[i] = newHistogram(), newHistogram()
	}
	return c
}

func (c *collector) start(workers []*worker) {
	c.workers = workers
	c.busy = make([]int64, len(workers))
	c.last = 0
	if c.p.cfg.Sys {
		c.sys = startSys(c.p)
	}
	c.own.cpu, c.own.rss = ownUse()
	c.startAt = c.own
	if c.p.cfg.PID > 0 {
		c.broker.cpu, c.broker.rss, _ = processUse(c.p.cfg.PID)
	}
}

func (c *collector) stop() {
	if c.sys != nil {
		c.sys.stop()
		c.sys = nil
	}
}

// begin takes over what belongs to connecting, and starts the seconds at the first message.
func (c *collector) begin(t0 int64) {
	c.collect(false)
	c.t0, c.last = t0, t0
	c.p.start = t0
	c.own.cpu, c.own.rss = ownUse()
	c.startAt = c.own
	if c.p.cfg.PID > 0 {
		c.broker.cpu, c.broker.rss, _ = processUse(c.p.cfg.PID)
		c.startBroker = c.broker
	}
}

func (c *collector) finish(end int64) { c.end = end }

// nextAt is when the second ends.
func (c *collector) nextAt() int64 { return c.last + int64(time.Second) }

// maybeCollect collects when a second is over.
func (c *collector) maybeCollect(final bool) {
	if int64(time.Since(c.p.began)) >= c.nextAt() {
		c.collect(final)
	}
}

// failures is how many connections have failed so far, as far as it is known.
func (c *collector) failures() int {
	n := 0
	for _, w := range c.workers {
		if k, ok := ask(w, func(w *worker) int { return len(w.st.errors) }); ok {
			n += k
		}
	}
	return n + len(c.errors)
}

// settledCount is what has been counted before the workers' present sets.
func (c *collector) settledCount() uint64 { return c.total.Acknowledged + c.total.Published }

// collect takes over what has been counted.
func (c *collector) collect(final bool) {
	now := int64(time.Since(c.p.began))
	var counts Counts
	var g gauges
	for i := range c.merged {
		c.merged[i].Reset()
	}
	errs := uint64(0)
	hot := false
	for i, w := range c.workers {
		var back *stats
		if len(c.spare) > 0 {
			back = c.spare[len(c.spare)-1]
			c.spare = c.spare[:len(c.spare)-1]
		}
		st, ok := ask(w, func(w *worker) *stats {
			if back != nil {
				w.spare = back
			}
			w.tick()
			return w.handOver()
		})
		if !ok {
			continue
		}
		if d := now - c.last; c.busy[i] > 0 && d > int64(500*time.Millisecond) && float64(st.cpu-c.busy[i]) > 0.85*float64(d) {
			hot = true
		}
		c.busy[i] = st.cpu
		for j := range st.counts {
			counts.add(&st.counts[j])
			c.counts[j].add(&st.counts[j])
		}
		for k, n := range st.errors {
			if _, has := c.errors[k]; !has && len(c.errors) >= errorKinds {
				k = errorKey{kind: k.kind, reason: "others", code: -1}
			}
			c.errors[k] += n
			errs += n
		}
		c.takeHistograms(st)
		g.connected += st.connected
		g.inflight += st.inflight
		g.ready += st.ready
		g.backlog += st.backlog
		g.missing += st.missing
		g.duplicated += st.duplicated
		st.reset()
		c.spare = append(c.spare, st)
	}
	c.total.add(&counts)
	// What is held back has fallen due all the same.
	counts.Scheduled += g.backlog - c.gauge.backlog
	c.gauge = g
	if hot && !c.draining && c.t0 != never {
		c.hot++
	}
	if n := len(c.series); n > 0 && (now-c.last < int64(100*time.Millisecond) || c.series[n-1].At == c.at()) {
		// Too short for rates, or the rest of a second that was collected early: it belongs to the one before.
		s := &c.series[n-1]
		s.Counts.add(&counts)
		s.Errors += errs
		s.Inflight, s.Backlog = g.inflight, int(g.backlog)
	} else {
		c.second(now, counts, g, errs)
	}
	c.last = now
	if c.t0 != never {
		// Seconds keep to the first message's instant, whenever the collector comes to them.
		c.last = c.t0 + (now-c.t0)/int64(time.Second)*int64(time.Second)
	}
	_ = final
}

func (c *collector) takeHistograms(st *stats) {
	for j, h := range st.hist {
		if h == nil || !h.used {
			continue
		}
		if c.hist[j] == nil {
			c.hist[j] = &series{Histogram: newHistogram()}
		}
		c.hist[j].Merge(h.Histogram)
		c.hist[j].beyond += h.beyond
		metric := j / 4 % metricCount
		for k, m := range secondMetrics {
			if metric == m {
				c.merged[k].Merge(h.Histogram)
				c.totals[k].Merge(h.Histogram)
			}
		}
		if metric == metricOwnLag {
			c.lags.Merge(h.Histogram)
		}
	}
}

func percentiles(h *hdrhistogram.Histogram) Percentiles {
	if h.TotalCount() == 0 {
		return Percentiles{}
	}
	v := h.ValueAtPercentilesSlice([]float64{50, 90, 99, 99.9})
	return Percentiles{Count: h.TotalCount(), P50: v[0], P90: v[1], P99: v[2], P999: v[3], Max: h.Max()}
}

// at is when the second that is being counted began, from the first message on.
func (c *collector) at() time.Duration {
	return time.Duration(c.last - c.t0).Truncate(time.Second)
}

func (c *collector) second(now int64, counts Counts, g gauges, errs uint64) {
	s := Second{
		Connected: g.connected, Inflight: g.inflight, Backlog: int(g.backlog), Counts: counts,
		Lag: percentiles(c.merged[0]), Ack: percentiles(c.merged[1]), EndToEnd: percentiles(c.merged[2]), Errors: errs,
		BrokerCPU: -1, BrokerRSS: -1,
	}
	span := float64(now-c.last) / 1e9
	cpu, rss := ownUse()
	if span > 0 {
		s.GeneratorCPU = (cpu - c.own.cpu) / span
	}
	c.own = usage{cpu, rss}
	if pid := c.p.cfg.PID; pid > 0 {
		if cpu, rss, err := processUse(pid); err == nil {
			if span > 0 {
				s.BrokerCPU = (cpu - c.broker.cpu) / span
			}
			s.BrokerRSS = rss
			c.broker = usage{cpu, rss}
			c.rssMax = max(c.rssMax, rss)
		}
	}
	if c.sys != nil {
		s.Sys = c.sys.values()
	}
	started := c.t0 != never
	if started {
		s.At = c.at()
		if c.draining {
			s.Phase = drainPhase
		} else {
			s.Phase = c.p.phases[c.p.table.at(int64(s.At))].Name
		}
		c.series = append(c.series, s)
	} else {
		s.Phase = "connect"
	}
	if started && c.p.cfg.Second != nil {
		c.p.cfg.Second(&s, c.interval())
	}
	if c.p.cfg.Progress == nil {
		return
	}
	snap := Snapshot{
		Second: s, Title: c.p.w.Title, Target: c.target, Planned: time.Duration(c.p.table.end()), Clients: c.p.clients,
		Totals: c.total, TotalLag: percentiles(c.totals[0]), TotalAck: percentiles(c.totals[1]), TotalEnd: percentiles(c.totals[2]),
		Lost: g.missing, Duplicated: g.duplicated, TopErrors: c.topErrors(5), Limited: c.limits(), Draining: c.draining,
		Elapsed: -1,
	}
	if started {
		snap.Elapsed = time.Duration(now - c.t0)
		if !c.p.closed {
			snap.Offered = c.p.offers * c.p.profile.factor(snap.Elapsed.Seconds())
		}
	}
	c.p.cfg.Progress(&snap)
}

// interval are the second's histograms.
func (c *collector) interval() []Latency {
	var out []Latency
	for k, m := range secondMetrics {
		if c.merged[k].TotalCount() > 0 {
			out = append(out, Latency{Metric: metricNames[m], QoS: -1, Histogram: c.merged[k]})
		}
	}
	return out
}

func (c *collector) topErrors(n int) []ErrorCount {
	var out []ErrorCount
	for k, count := range c.errors {
		out = append(out, ErrorCount{Kind: k.kind, Reason: k.reason, Code: k.code, Count: count, Advice: c.p.adviceOn(k.reason)})
	}
	slices.SortFunc(out, func(a, b ErrorCount) int {
		return cmp.Or(-cmp.Compare(a.Count, b.Count), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Code, b.Code))
	})
	if n > 0 && len(out) > n {
		out = out[:n]
	}
	return out
}

// worst is the most frequent error of the first kind that there is.
func (c *collector) worst(kinds ...string) *ErrorCount {
	all := c.topErrors(0)
	for _, kind := range kinds {
		for i := range all {
			if all[i].Kind == kind {
				return &all[i]
			}
		}
	}
	return nil
}

// The bounds of the generator's own lateness: five milliseconds, or a tenth of the latency that was measured where that is
// more.
const (
	ownLagLimit = 5_000 // microseconds
	ownLagShare = 10
)

// limits says why the generator was the limit.
func (c *collector) limits() []string {
	var out []string
	if c.lags.TotalCount() > 0 {
		p99 := c.lags.ValueAtPercentile(99)
		if measured := c.totals[1].ValueAtPercentile(99); p99 > max(ownLagLimit, measured/ownLagShare) {
			out = append(out, fmt.Sprintf(
				"one message in a hundred left the generator %.1f ms late or more for reasons of its own: it has too little processor time for this load. Use fewer clients, a lower rate, more --workers, or another machine.", float64(p99)/1000))
		}
	}
	if seconds := len(c.series); c.hot >= 2 && c.hot*5 >= seconds {
		out = append(out, fmt.Sprintf(
			"in %d of %d seconds an event loop of the generator was busy more than 85 %% of the time: rates are a lower bound of what the server takes, and latencies contain the generator's.", c.hot, seconds))
	}
	return out
}

// result makes the result when the workers have ended.
func (c *collector) result(r *runner) *Result {
	p := c.p
	res := &Result{
		Format: ResultFormat, Run: p.run, Title: p.w.Title, Target: c.target, Model: "open", Seed: p.seed,
		Planned: time.Duration(p.table.end()), Stopped: r.stopped, Connecting: r.connecting, Window: p.window, Totals: c.total, Series: c.series,
	}
	switch {
	case p.max:
		res.Model = "max"
	case p.closed:
		res.Model = "closed"
	}
	if c.sys != nil {
		res.Server = c.sys.version()
	}
	start := c.t0
	if start == never {
		start = int64(time.Since(p.began))
		c.end = start
	}
	res.Started = p.wall().Add(-time.Since(p.began) + time.Duration(start)).Truncate(time.Second)
	res.Elapsed = time.Duration(c.end - start)
	if b, err := p.cfg.Workload.Marshal(); err == nil {
		res.Workload = string(b)
	}
	for _, g := range p.groups {
		gr := GroupResult{Name: g.Name, Clients: g.Count}
		for ph := range p.phases {
			gr.Counts.add(&c.counts[ph*len(p.groups)+g.index])
		}
		res.Groups = append(res.Groups, gr)
	}
	for i := range p.phases {
		ph := PhaseResult{
			Name: p.phases[i].Name, Kind: p.phases[i].Kind,
			From: time.Duration(p.table.from(i)), To: time.Duration(p.table.ends[i]),
		}
		for g := range p.groups {
			ph.Counts.add(&c.counts[i*len(p.groups)+g])
		}
		ph.Latency = c.latencies(i)
		res.Phases = append(res.Phases, ph)
	}
	res.Latency = c.latencies(-1)
	rows, bytes := r.settle()
	for q := range rows {
		if rows[q] != (LedgerRow{QoS: q}) {
			res.Ledger = append(res.Ledger, rows[q])
		}
	}
	res.Errors = c.topErrors(0)
	cpu, rss := ownUse()
	res.Generator = Generator{
		Cores: runtime.GOMAXPROCS(0), Workers: len(r.workers), CPUSeconds: cpu - c.startAt.cpu, MaxRSS: rss, Clients: p.clients,
		Limited: c.limits(), Notes: p.notes, LedgerBytes: bytes,
	}
	if p.cfg.PID > 0 {
		res.Broker = BrokerUse{PID: p.cfg.PID, CPUSeconds: c.broker.cpu - c.startBroker.cpu, MaxRSS: c.rssMax}
	}
	res.judge(p.w.Thresholds)
	return res
}

// latencies are the histograms of a phase, or of all (-1): of all together, by QoS, by group.
func (c *collector) latencies(phase int) []Latency {
	var out []Latency
	groups := len(c.p.groups)
	add := func(metric, qos, group int) {
		var sum *hdrhistogram.Histogram
		var beyond uint64
		parts := 0
		for j, h := range c.hist {
			if h == nil || j/4%metricCount != metric || h.TotalCount() == 0 {
				continue
			}
			g, ph, q := j/4/metricCount%groups, j/4/metricCount/groups, j%4
			if phase >= 0 && ph != phase || qos >= 0 && q != qos || group >= 0 && g != group {
				continue
			}
			if sum == nil {
				sum = newHistogram()
			}
			parts++
			sum.Merge(h.Histogram)
			beyond += h.beyond
		}
		if sum == nil {
			return
		}
		l := Latency{Metric: metricNames[metric], QoS: qos, Histogram: sum, OutOfRange: beyond}
		if group >= 0 {
			l.Group = c.p.groups[group].Name
		}
		out = append(out, l)
	}
	for m := range metricCount {
		add(m, -1, -1)
	}
	for m := range metricCount {
		for q := range 3 {
			add(m, q, -1)
		}
	}
	if groups > 1 && groups <= 16 {
		for m := range metricCount {
			for g := range groups {
				add(m, -1, g)
			}
		}
	}
	return out
}

// drainPhase is the phase of the seconds after the last one of the workload.
const drainPhase = "drain"
