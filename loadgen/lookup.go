package loadgen

import (
	"strconv"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/mqlab/mqlab/scenarios"
)

// judge evaluates the thresholds. A run that the generator limited passes none on latency: what it measured is its own.
func (r *Result) judge(texts []string) {
	for _, text := range texts {
		tr := ThresholdResult{Text: text}
		t, err := scenarios.ParseThreshold(text)
		if err == nil {
			tr.Passed, tr.Value, tr.Why, err = t.Eval(r.Lookup)
		}
		if err != nil {
			tr.Passed, tr.Why = false, err.Error()
		}
		if tr.Passed && len(r.Generator.Limited) > 0 && aboutLatency(t) {
			tr.Passed = false
			tr.Why += "; yet the generator itself was the limit, so no latency is proven"
		}
		r.Thresholds = append(r.Thresholds, tr)
	}
}

func aboutLatency(t *scenarios.Threshold) bool {
	for _, term := range t.Terms() {
		if term.Stat == "count" {
			continue
		}
		switch term.Metric {
		case Connect, Subscribe, ScheduleLag, PublishService, PublishAck, EndToEnd, Request, Ping, GeneratorLag:
			return true
		}
	}
	return false
}

// Lookup finds a value for a threshold: a metric with its statistic and labels, in base units (seconds, bytes). It is false
// where the run has no such value.
func (r *Result) Lookup(metric, stat string, labels map[string]string) (value float64, unit scenarios.Unit, ok bool) {
	switch metric {
	case Connect, Subscribe, ScheduleLag, PublishService, PublishAck, EndToEnd, Request, Ping, GeneratorLag:
		return r.lookupLatency(metric, stat, labels)
	case "lost", "duplicated", "reordered", "corrupted", "unexpected", "unsettled", "delivered", "expected", "unverified", "delivered_ratio":
		return r.lookupLedger(metric, labels)
	case "errors":
		var n uint64
		for i := range r.Errors {
			e := &r.Errors[i]
			if want, has := labels["kind"]; has && want != e.Kind {
				continue
			}
			if want, has := labels["reason"]; has && !strings.EqualFold(want, e.Reason) && want != strconv.Itoa(e.Code) {
				continue
			}
			n += e.Count
		}
		return float64(n), scenarios.UnitCount, true
	case "broker_cpu", "broker_rss", "generator_cpu", "connected", "inflight", "backlog":
		return r.lookupGauge(metric, stat)
	}
	counts, seconds, found := r.countsFor(labels)
	if !found {
		return 0, "", false
	}
	switch metric {
	case "rate", "offered", "receive_rate":
		if seconds <= 0 {
			return 0, "", false
		}
		n := map[string]uint64{"rate": counts.Published, "offered": counts.Scheduled, "receive_rate": counts.Received}[metric]
		return float64(n) / seconds, scenarios.UnitPerSecond, true
	case "bytes_out":
		return float64(counts.BytesOut), scenarios.UnitBytes, true
	case "bytes_in":
		return float64(counts.BytesIn), scenarios.UnitBytes, true
	}
	n, has := map[string]uint64{
		"scheduled": counts.Scheduled, "published": counts.Published, "resent": counts.Resent, "acknowledged": counts.Acknowledged,
		"refused": counts.Refused, "dropped": counts.Dropped, "received": counts.Received, "connects": counts.Connects,
		"connect_fails": counts.ConnectFails, "disconnects": counts.Disconnects, "pings": counts.Pings,
	}[metric]
	return float64(n), scenarios.UnitCount, has
}

// countsFor are the counts that the labels name, and the seconds in which they were counted.
func (r *Result) countsFor(labels map[string]string) (c Counts, seconds float64, ok bool) {
	group, byGroup := labels["group"]
	phase, byPhase := labels["phase"]
	switch {
	case byGroup && byPhase:
		return c, 0, false
	case byGroup:
		for i := range r.Groups {
			if r.Groups[i].Name == group {
				return r.Groups[i].Counts, r.Elapsed.Seconds(), true
			}
		}
		return c, 0, false
	case byPhase:
		for i := range r.Phases {
			if p := &r.Phases[i]; p.Name == phase {
				return p.Counts, (min(p.To, r.Elapsed) - p.From).Seconds(), true
			}
		}
		return c, 0, false
	}
	return r.Totals, r.Elapsed.Seconds(), true
}

func (r *Result) lookupLatency(metric, stat string, labels map[string]string) (float64, scenarios.Unit, bool) {
	rows := r.Latency
	if phase, has := labels["phase"]; has {
		rows = nil
		for i := range r.Phases {
			if r.Phases[i].Name == phase {
				rows = r.Phases[i].Latency
			}
		}
	}
	qos := -1
	if q, has := labels["qos"]; has {
		n, err := strconv.Atoi(q)
		if err != nil {
			return 0, "", false
		}
		qos = n
	}
	for i := range rows {
		l := &rows[i]
		if l.Metric != metric || l.QoS != qos || l.Group != labels["group"] || l.Histogram == nil || l.Histogram.TotalCount() == 0 {
			continue
		}
		return latencyStat(l.Histogram, stat)
	}
	return 0, "", false
}

func latencyStat(h *hdrhistogram.Histogram, stat string) (float64, scenarios.Unit, bool) {
	const second = 1e6
	switch stat {
	case "count":
		return float64(h.TotalCount()), scenarios.UnitCount, true
	case "min":
		return float64(h.Min()) / second, scenarios.UnitSeconds, true
	case "max":
		return float64(h.Max()) / second, scenarios.UnitSeconds, true
	case "mean":
		return h.Mean() / second, scenarios.UnitSeconds, true
	case "stddev":
		return h.StdDev() / second, scenarios.UnitSeconds, true
	}
	p, err := strconv.ParseFloat(strings.TrimPrefix(stat, "p"), 64)
	if err != nil || p < 0 || p > 100 {
		return 0, "", false
	}
	return float64(h.ValueAtPercentile(p)) / second, scenarios.UnitSeconds, true
}

func (r *Result) lookupLedger(metric string, labels map[string]string) (float64, scenarios.Unit, bool) {
	var sum LedgerRow
	want, byQoS := labels["qos"]
	for i := range r.Ledger {
		row := &r.Ledger[i]
		if byQoS && want != strconv.Itoa(row.QoS) {
			continue
		}
		sum.Expected += row.Expected
		sum.Delivered += row.Delivered
		sum.Lost += row.Lost
		sum.Duplicated += row.Duplicated
		sum.Reordered += row.Reordered
		sum.Corrupted += row.Corrupted
		sum.Unexpected += row.Unexpected
		sum.Unsettled += row.Unsettled
		sum.Unverified += row.Unverified
	}
	if metric == "delivered_ratio" {
		if sum.Expected == 0 {
			return 0, "", false
		}
		return float64(sum.Delivered) / float64(sum.Expected), scenarios.UnitRatio, true
	}
	n := map[string]uint64{
		"expected": sum.Expected, "delivered": sum.Delivered, "lost": sum.Lost, "duplicated": sum.Duplicated,
		"reordered": sum.Reordered, "corrupted": sum.Corrupted, "unexpected": sum.Unexpected, "unsettled": sum.Unsettled,
		"unverified": sum.Unverified,
	}[metric]
	return float64(n), scenarios.UnitCount, true
}

// lookupGauge is the mean (the default) or greatest value of a column of the series.
func (r *Result) lookupGauge(metric, stat string) (float64, scenarios.Unit, bool) {
	var sum, most float64
	n := 0
	unit := scenarios.UnitCores
	for i := range r.Series {
		s := &r.Series[i]
		if s.Phase == drainPhase {
			continue
		}
		var v float64
		switch metric {
		case "broker_cpu":
			v = s.BrokerCPU
		case "broker_rss":
			v, unit = float64(s.BrokerRSS), scenarios.UnitBytes
		case "generator_cpu":
			v = s.GeneratorCPU
		case "connected":
			v, unit = float64(s.Connected), scenarios.UnitCount
		case "inflight":
			v, unit = float64(s.Inflight), scenarios.UnitCount
		case "backlog":
			v, unit = float64(s.Backlog), scenarios.UnitCount
		}
		if v < 0 {
			continue
		}
		sum += v
		most = max(most, v)
		n++
	}
	if n == 0 {
		return 0, "", false
	}
	if stat == "max" {
		return most, unit, true
	}
	return sum / float64(n), unit, true
}
