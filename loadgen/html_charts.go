package loadgen

import (
	"fmt"
	"math"
)

// maxPoints bounds the points of a line. A longer run shows several seconds as one point.
const maxPoints = 1200

// timeline is a run's series with as many seconds to a point as its length asks for.
type timeline struct {
	series []Second
	step   int
	at     points
}

func newTimeline(series []Second) *timeline {
	t := &timeline{series: series, step: (len(series) + maxPoints - 1) / maxPoints}
	t.step = max(t.step, 1)
	for i := 0; i < len(series); i += t.step {
		t.at = append(t.at, series[i].At.Seconds())
	}
	return t
}

// line reduces the values of the seconds of each point: by their mean or by their peak. Negative values are unknown.
func (t *timeline) line(peak bool, value func(*Second) float64) points {
	out := make(points, 0, len(t.at))
	for i := 0; i < len(t.series); i += t.step {
		sum, top, n := 0.0, 0.0, 0
		for j := i; j < min(i+t.step, len(t.series)); j++ {
			if v := value(&t.series[j]); v >= 0 {
				sum, top, n = sum+v, max(top, v), n+1
			}
		}
		switch {
		case n == 0:
			out = append(out, missing)
		case peak:
			out = append(out, top)
		default:
			out = append(out, sum/float64(n))
		}
	}
	return out
}

func (t *timeline) note() string {
	if t.step == 1 {
		return ""
	}
	return fmt.Sprintf("Each point stands for %d seconds: rates are their mean, latencies their worst.", t.step)
}

// latency are the lines of a metric on a log axis, where there is no 0.
func (t *timeline) latency(of func(*Second) *Percentiles) []line {
	pick := func(v func(*Percentiles) int64) points {
		return t.line(true, func(s *Second) float64 {
			p := of(s)
			if p.Count == 0 || v(p) <= 0 {
				return -1
			}
			return float64(v(p))
		})
	}
	return []line{
		{Label: "p50", Color: 1, Values: pick(func(p *Percentiles) int64 { return p.P50 })},
		{Label: "p90", Color: 3, Values: pick(func(p *Percentiles) int64 { return p.P90 })},
		{Label: "p99", Color: 2, Values: pick(func(p *Percentiles) int64 { return p.P99 })},
		{Label: "max", Color: 5, Dash: true, Values: pick(func(p *Percentiles) int64 { return p.Max })},
	}
}

func (r *Result) bands() []band {
	if len(r.Phases) < 2 || len(r.Phases) > 200 {
		return nil
	}
	out := make([]band, len(r.Phases))
	for i, p := range r.Phases {
		out[i] = band{p.Name, p.From.Seconds(), p.To.Seconds()}
	}
	return out
}

// charts are the plots of the page. What was not measured has none.
func (r *Result) charts() []chart {
	t := newTimeline(r.Series)
	bands := r.bands()
	var out []chart
	put := func(c chart) {
		kept := c.Lines[:0]
		for _, l := range c.Lines {
			if !l.Values.empty() {
				kept = append(kept, l)
			}
		}
		if c.Lines = kept; len(kept) == 0 || len(c.At) == 0 {
			return
		}
		if c.X == "time" {
			c.Bands = bands
		}
		out = append(out, c)
	}
	per := func(value func(*Counts) uint64) points {
		return t.line(false, func(s *Second) float64 { return float64(value(&s.Counts)) })
	}
	// These mostly lie on one another: the first is drawn wide below the next, the last is broken.
	rates := []line{
		{Label: "received", Color: 3, Wide: true, Values: per(func(c *Counts) uint64 { return c.Received })},
		{Label: "published", Color: 1, Values: per(func(c *Counts) uint64 { return c.Published })},
	}
	if r.Model == "open" {
		rates = append(rates, line{Label: "offered", Color: 2, Dash: true, Values: per(func(c *Counts) uint64 { return c.Scheduled })})
	}
	put(chart{ID: "rate", Title: "Messages per second", X: "time", Unit: "rate", At: t.at, Lines: rates, Note: t.note()})
	put(chart{
		ID: "ack", Title: "Response time of publishing", Note: "publish_ack: from the instant a message is due to the end of its handshake.", X: "time", Unit: "us", Log: true, At: t.at,
		Lines: t.latency(func(s *Second) *Percentiles { return &s.Ack }),
	})
	put(chart{
		ID: "end", Title: "Time to the subscriber", Note: "end_to_end: from the instant a message is due to its arrival.", X: "time", Unit: "us", Log: true, At: t.at,
		Lines: t.latency(func(s *Second) *Percentiles { return &s.EndToEnd }),
	})
	put(r.curves())
	put(chart{ID: "clients", Title: "Clients and messages under way", X: "time", Unit: "count", Right: "count", At: t.at, Lines: []line{
		{Label: "in flight", Color: 1, Values: t.line(true, func(s *Second) float64 { return float64(s.Inflight) })},
		{Label: "backlog", Color: 2, Fill: true, Values: t.line(true, func(s *Second) float64 { return float64(s.Backlog) })},
		{Label: "connected (right)", Color: 4, Right: true, Values: t.line(false, func(s *Second) float64 { return float64(s.Connected) })},
	}})
	put(chart{ID: "errors", Title: "Errors and cut connections", X: "time", Unit: "count", At: t.at, Lines: []line{
		{Label: "errors", Color: 5, Fill: true, Values: t.line(true, func(s *Second) float64 { return float64(s.Errors) })},
		{Label: "disconnects", Color: 2, Values: per(func(c *Counts) uint64 { return c.Disconnects })},
		{Label: "refused connects", Color: 4, Values: per(func(c *Counts) uint64 { return c.ConnectFails })},
		{Label: "refused messages", Color: 1, Values: per(func(c *Counts) uint64 { return c.Refused })},
	}})
	put(chart{ID: "cpu", Title: "Processor and memory", X: "time", Unit: "cores", Right: "bytes", Top: 1, At: t.at, Lines: []line{
		{Label: "generator", Color: 1, Values: t.line(false, func(s *Second) float64 { return s.GeneratorCPU })},
		{Label: "server", Color: 2, Values: t.line(false, func(s *Second) float64 { return s.BrokerCPU })},
		{Label: "server memory (right)", Color: 4, Right: true, Dash: true, Values: t.line(true, func(s *Second) float64 { return float64(s.BrokerRSS) })},
	}})
	put(chart{
		ID: "lag", Title: "How late messages left", Note: "schedule_lag: from the instant a message is due to its hand-over to the network.", X: "time", Unit: "us", Log: true, At: t.at,
		Lines: t.latency(func(s *Second) *Percentiles { return &s.Lag }),
	})
	return out
}

// curvePoints is the number of points to a power of ten of a percentile curve.
const curvePoints = 24

// curveGrid are the abscissas of percentile curves that reach as far as n values do.
func curveGrid(n int64) points {
	out := points{1}
	for k := 1; ; k++ {
		x := math.Pow(10, float64(k)/curvePoints)
		if x > float64(n) || len(out) > 15*curvePoints {
			return out
		}
		out = append(out, x)
	}
}

// curve is the row's distribution over the grid, up to the point that its number of values supports.
func curve(l *Latency, grid points) points {
	n := float64(l.count())
	var asked []float64
	for _, x := range grid {
		if x <= n {
			asked = append(asked, 100*(1-1/x))
		}
	}
	out := make(points, len(grid))
	for i := range out {
		out[i] = missing
	}
	for i, v := range l.Histogram.ValueAtPercentilesSlice(asked) {
		out[i] = float64(v)
	}
	return out
}

func (r *Result) curves() chart {
	var rows []*Latency
	most := int64(0)
	for _, metric := range metricOrder {
		if l := latency(r.Latency, metric, -1, ""); l != nil && metric != GeneratorLag {
			rows, most = append(rows, l), max(most, l.count())
		}
	}
	c := chart{ID: "curve", Title: "Latency by percentile", X: "percentile", Unit: "us", Log: true, At: curveGrid(most), Note: "At 99 % stands what one message in a hundred exceeded."}
	for i, l := range rows {
		c.Lines = append(c.Lines, line{Label: l.Metric, Color: i%8 + 1, Dash: l.Metric == ScheduleLag, Values: curve(l, c.At)})
	}
	return c
}
