package scenarios

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Unit says what a value counts. Values are compared in base units.
type Unit string

// The units of metrics.
const (
	UnitSeconds   Unit = "s"
	UnitCount     Unit = "count"
	UnitPerSecond Unit = "/s"
	UnitBytes     Unit = "B"
	UnitRatio     Unit = "ratio"
	UnitCores     Unit = "cores"
)

// Metric is a value of a load result that a threshold can name.
type Metric struct {
	Name   string
	Doc    string
	Unit   Unit
	Stats  []string // what may stand behind the name; "pN" is any percentile
	Stat   string   // the one that is meant where none is written; "" where one must be
	Labels []string // what the value can be narrowed to
}

var (
	latencyStats  = []string{"pN", "min", "max", "mean", "stddev", "count"}
	latencyLabels = []string{"qos", "group", "phase"}
	countLabels   = []string{"group", "phase"}
	gaugeStats    = []string{"mean", "max"}
)

// metrics are all that thresholds can name.
var metrics = []Metric{
	{"connect", "from dialling to CONNACK", UnitSeconds, latencyStats, "", latencyLabels},
	{"subscribe", "from SUBSCRIBE to SUBACK", UnitSeconds, latencyStats, "", latencyLabels},
	{"schedule_lag", "from the instant at which a message was due to its hand-over to the network: the generator's own lateness", UnitSeconds, latencyStats, "", latencyLabels},
	{"publish_service", "from the write of a PUBLISH to the end of its handshake", UnitSeconds, latencyStats, "", latencyLabels},
	{"publish_ack", "from the instant at which a message was due to the end of its handshake", UnitSeconds, latencyStats, "", latencyLabels},
	{"end_to_end", "from the instant at which a message was due to its arrival at a subscriber", UnitSeconds, latencyStats, "", latencyLabels},
	{"request", "from the instant at which a request was due to its response", UnitSeconds, latencyStats, "", latencyLabels},
	{"ping", "from PINGREQ to PINGRESP", UnitSeconds, latencyStats, "", latencyLabels},

	{"scheduled", "messages that fell due", UnitCount, nil, "", countLabels},
	{"published", "messages handed to the network", UnitCount, nil, "", countLabels},
	{"resent", "PUBLISH packets sent again with DUP", UnitCount, nil, "", countLabels},
	{"acknowledged", "messages at QoS 1 and 2 whose handshake ended well", UnitCount, nil, "", countLabels},
	{"refused", "messages refused by PUBACK or PUBREC", UnitCount, nil, "", countLabels},
	{"dropped", "messages that were never sent", UnitCount, nil, "", countLabels},
	{"received", "PUBLISH packets received", UnitCount, nil, "", countLabels},
	{"connects", "connections accepted", UnitCount, nil, "", countLabels},
	{"connect_fails", "connections that were not", UnitCount, nil, "", countLabels},
	{"disconnects", "connections that ended without the run's wish", UnitCount, nil, "", countLabels},
	{"pings", "PINGREQ packets answered", UnitCount, nil, "", countLabels},
	{"bytes_out", "bytes sent", UnitBytes, nil, "", countLabels},
	{"bytes_in", "bytes received", UnitBytes, nil, "", countLabels},

	{"expected", "deliveries that the subscriptions entitle to", UnitCount, nil, "", []string{"qos"}},
	{"delivered", "different messages that arrived", UnitCount, nil, "", []string{"qos"}},
	{"lost", "messages promised that did not arrive", UnitCount, nil, "", []string{"qos"}},
	{"duplicated", "arrivals beyond the first", UnitCount, nil, "", []string{"qos"}},
	{"reordered", "arrivals behind a later message of the same publisher, topic and QoS", UnitCount, nil, "", []string{"qos"}},
	{"corrupted", "arrivals with another payload than was sent", UnitCount, nil, "", []string{"qos"}},
	{"unexpected", "arrivals that no subscription asked for", UnitCount, nil, "", []string{"qos"}},
	{"unsettled", "messages that are missing, and that nobody had promised", UnitCount, nil, "", []string{"qos"}},
	{"delivered_ratio", "delivered by expected", UnitRatio, nil, "", []string{"qos"}},

	{"errors", "errors", UnitCount, nil, "", []string{"kind", "reason"}},

	{"offered", "messages that fell due, per second", UnitPerSecond, nil, "", countLabels},
	{"rate", "messages published per second", UnitPerSecond, nil, "", countLabels},
	{"receive_rate", "messages received per second", UnitPerSecond, nil, "", countLabels},

	{"broker_cpu", "cores that the broker's process keeps busy, with --pid", UnitCores, gaugeStats, "mean", nil},
	{"broker_rss", "the broker's memory, with --pid", UnitBytes, gaugeStats, "max", nil},
	{"generator_cpu", "cores that the generator keeps busy", UnitCores, gaugeStats, "mean", nil},
}

// Metrics returns all metrics that thresholds can name.
func Metrics() []Metric { return slices.Clone(metrics) }

var metricNames = func() []string {
	var out []string
	for _, m := range metrics {
		out = append(out, m.Name)
	}
	return out
}()

func metric(name string) *Metric {
	if i := slices.Index(metricNames, name); i >= 0 {
		return &metrics[i]
	}
	return nil
}

// Percentile returns the number of a stat such as p99.9.
func Percentile(stat string) (p float64, ok bool) {
	digits, ok := strings.CutPrefix(stat, "p")
	if !ok || digits == "" || digits[0] < '0' || digits[0] > '9' {
		return 0, false
	}
	p, err := strconv.ParseFloat(digits, 64)
	return p, err == nil && p > 0 && p <= 100
}

// stat resolves what is written behind the metric's name, "" for nothing.
func (m *Metric) stat(written string) (stat string, unit Unit, err error) {
	forms := strings.Join(m.Stats, ", ")
	forms = strings.Replace(forms, "pN", "p50, p99 or any percentile", 1)
	switch {
	case len(m.Stats) == 0 && written != "":
		return "", "", fmt.Errorf("%s is one number: nothing can stand behind it", m.Name)
	case len(m.Stats) == 0:
		return "", m.Unit, nil
	case written == "" && m.Stat == "":
		return "", "", fmt.Errorf("%s is a distribution: say which value of it, such as %s.p99 (%s)", m.Name, m.Name, forms)
	case written == "":
		return m.Stat, m.Unit, nil
	}
	if _, ok := Percentile(written); ok && slices.Contains(m.Stats, "pN") {
		return written, m.Unit, nil
	}
	if !slices.Contains(m.Stats, written) || written == "pN" {
		return "", "", fmt.Errorf("%s has no %q: it has %s", m.Name, written, forms)
	}
	if written == "count" {
		return written, UnitCount, nil
	}
	return written, m.Unit, nil
}
