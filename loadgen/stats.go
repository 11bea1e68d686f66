package loadgen

import (
	"github.com/HdrHistogram/hdrhistogram-go"
)

// The metrics as the workers number them.
const (
	metricConnect = iota
	metricSubscribe
	metricLag
	metricService
	metricAck
	metricEnd
	metricRequest
	metricPing
	metricOwnLag
	metricCount
)

var metricNames = [metricCount]string{Connect, Subscribe, ScheduleLag, PublishService, PublishAck, EndToEnd, Request, Ping, GeneratorLag}

// The range of all histograms: one microsecond to ten minutes, to three digits.
const (
	lowestLatency  = 1
	highestLatency = 10 * 60 * 1_000_000
	latencyDigits  = 3
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(lowestLatency, highestLatency, latencyDigits)
}

// series is one histogram that a worker records into.
type series struct {
	*hdrhistogram.Histogram
	beyond uint64 // values above the range, recorded as its end
	used   bool
}

// errorKey is one kind of trouble.
type errorKey struct {
	kind, reason string
	code         int
}

// stats are what a worker has counted since the last hand-over. Two sets take turns: while the worker fills one, the
// collector reads the other.
type stats struct {
	groups, phases int
	counts         []Counts // by phase, then group
	hist           []*series
	errors         map[errorKey]uint64

	// Gauges, set at the hand-over.
	connected, inflight, ready int
	backlog, missing           uint64
	duplicated                 uint64
	cpu                        int64
}

// anyQoS is the row of what has no QoS.
const anyQoS = 3

func newStats(groups, phases int) *stats {
	return &stats{
		groups: groups, phases: phases, counts: make([]Counts, groups*phases),
		hist: make([]*series, phases*groups*metricCount*4), errors: map[errorKey]uint64{},
	}
}

func (s *stats) at(phase, group int) *Counts { return &s.counts[phase*s.groups+group] }

func (s *stats) index(metric, qos, group, phase int) int {
	return ((phase*s.groups+group)*metricCount+metric)*4 + qos
}

// record records a latency in nanoseconds.
func (s *stats) record(metric, qos, group, phase int, ns int64) {
	h := s.hist[s.index(metric, qos, group, phase)]
	if h == nil {
		h = &series{Histogram: newHistogram()}
		s.hist[s.index(metric, qos, group, phase)] = h
	}
	h.used = true
	h.add(ns)
}

func (h *series) add(ns int64) {
	us := max(0, (ns+500)/1000)
	if h.RecordValue(us) != nil {
		h.beyond++
		_ = h.RecordValue(highestLatency)
	}
}

// reset empties the set for its next turn.
func (s *stats) reset() {
	clear(s.counts)
	clear(s.errors)
	for _, h := range s.hist {
		if h != nil && h.used {
			h.Reset()
			h.beyond, h.used = 0, false
		}
	}
}

func (c *Counts) add(o *Counts) {
	c.Scheduled += o.Scheduled
	c.Published += o.Published
	c.Resent += o.Resent
	c.Acknowledged += o.Acknowledged
	c.Refused += o.Refused
	c.Dropped += o.Dropped
	c.Received += o.Received
	c.Connects += o.Connects
	c.ConnectFails += o.ConnectFails
	c.Disconnects += o.Disconnects
	c.Pings += o.Pings
	c.BytesOut += o.BytesOut
	c.BytesIn += o.BytesIn
}
