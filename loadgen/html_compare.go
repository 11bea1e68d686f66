package loadgen

import (
	"fmt"
	"io"
)

// WriteHTML writes the comparison as one page that needs nothing beside itself.
func (c *Comparison) WriteHTML(w io.Writer) error {
	charts := c.charts()
	return writePage(w, "compare.html", fmt.Sprintf("MQTT load: %d runs side by side", len(c.Runs)), charts, struct {
		*Comparison
		Charts []chart
		Head   table
		Tables []table
	}{c, charts, c.runTable(), c.tables()})
}

// charts lay the runs over one another: the percentile curves of each metric, and how throughput and latency went.
func (c *Comparison) charts() []chart {
	var out []chart
	for _, metric := range []string{PublishAck, EndToEnd, Request, Connect} {
		most := int64(0)
		for _, r := range c.results {
			most = max(most, latency(r.Latency, metric, -1, "").orNone().count())
		}
		if most == 0 {
			continue
		}
		p := chart{ID: "curve-" + metric, Title: metric + " by percentile", Note: "Time " + meanings[metric] + ".", X: "percentile", Unit: "us", Log: true, At: curveGrid(most)}
		for i, r := range c.results {
			if l := latency(r.Latency, metric, -1, ""); l != nil {
				p.Lines = append(p.Lines, line{Label: c.Runs[i].Label, Color: i%8 + 1, Values: curve(l, p.At)})
			}
		}
		out = append(out, p)
	}
	longest := &timeline{}
	lines := make([]*timeline, len(c.results))
	for i, r := range c.results {
		lines[i] = newTimeline(r.Series)
		if len(r.Series) > len(longest.series) {
			longest = lines[i]
		}
	}
	over := func(id, title, unit string, log bool, value func(*Second) float64) {
		p := chart{ID: id, Title: title, Note: longest.note(), X: "time", Unit: unit, Log: log, At: longest.at}
		some := false
		for i, t := range lines {
			t.step = longest.step // so that points of all runs stand for equally many seconds
			values := t.line(log, value)
			for len(values) < len(p.At) {
				values = append(values, missing)
			}
			some = some || !values.empty()
			p.Lines = append(p.Lines, line{Label: c.Runs[i].Label, Color: i%8 + 1, Values: values})
		}
		if some && len(p.At) > 0 {
			out = append(out, p)
		}
	}
	over("rate", "Messages published per second", "rate", false, func(s *Second) float64 { return float64(s.Counts.Published) })
	over("ack", "publish_ack, 99th percentile of each second", "us", true, func(s *Second) float64 { return positive(s.Ack.P99) })
	over("end", "end_to_end, 99th percentile of each second", "us", true, func(s *Second) float64 { return positive(s.EndToEnd.P99) })
	over("cpu", "Cores that the server kept busy", "cores", false, func(s *Second) float64 { return s.BrokerCPU })
	return out
}

// positive leaves out what a log axis cannot show.
func positive(v int64) float64 {
	if v <= 0 {
		return -1
	}
	return float64(v)
}
