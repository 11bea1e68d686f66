package loadgen

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// maxResult bounds what ReadResult takes in, in bytes: a week of seconds is a tenth of it.
const maxResult = 1 << 30

// maxHistograms and maxSeconds bound what a result of foreign making can ask for.
const (
	maxHistograms = 100_000
	maxSeconds    = 10_000_000
	maxDigits     = 3
)

// WriteJSON writes the result as it is read again by [ReadResult]: a field to a line, and a line for each second and histogram.
func (r *Result) WriteJSON(w io.Writer) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return err
	}
	_, err := w.Write(breakLines(b.Bytes(), 2))
	return err
}

// breakLines indents JSON down to a depth; what lies deeper stays on the line it begins on. A result has a thousand
// seconds, each of a hundred numbers: a number to a line would be read by nobody.
func breakLines(text []byte, depth int) []byte {
	out := make([]byte, 0, len(text)+len(text)/8)
	level, quoted := 0, false
	line := func(n int) {
		out = append(out, '\n')
		for range n {
			out = append(out, "  "...)
		}
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quoted:
			if c == '\\' {
				out = append(out, c)
				i++
				c = text[i]
			} else {
				quoted = c != '"'
			}
			out = append(out, c)
		case c == '"':
			quoted = true
			out = append(out, c)
		case c == '{' || c == '[':
			level++
			out = append(out, c)
			if empty := text[i+1] == '}' || text[i+1] == ']'; level <= depth && !empty {
				line(level)
			}
		case c == '}' || c == ']':
			level--
			if last := text[i-1]; level < depth && last != '{' && last != '[' {
				line(level)
			}
			out = append(out, c)
		case c == ',' && level <= depth:
			out = append(out, c)
			line(level)
		case c == ',' || c == ':':
			out = append(out, c, ' ')
		default:
			out = append(out, c)
		}
	}
	return out
}

// ReadResult reads a result that WriteJSON has written.
func ReadResult(in io.Reader) (*Result, error) {
	text, err := io.ReadAll(io.LimitReader(in, maxResult+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxResult {
		return nil, fmt.Errorf("the result is larger than %d bytes", maxResult)
	}
	var head struct {
		Format any `json:"format"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("this is no result in JSON: %w", err)
	}
	if head.Format != ResultFormat {
		return nil, fmt.Errorf("the format is %q where a load result has %q: write one with mqlab load --json FILE", fmt.Sprint(head.Format), ResultFormat)
	}
	r := new(Result)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("the load result cannot be read: %w", err)
	}
	n := len(r.Latency)
	for i := range r.Phases {
		n += len(r.Phases[i].Latency)
	}
	switch {
	case n > maxHistograms:
		return nil, fmt.Errorf("the load result holds %d histograms, more than any run makes", n)
	case len(r.Series) > maxSeconds:
		return nil, fmt.Errorf("the load result holds %d seconds, more than any run takes", len(r.Series))
	}
	return r, nil
}

// latencyJSON is a Latency as it travels: the histogram whole, and its percentiles for readers without the library.
type latencyJSON struct {
	Metric     string  `json:"metric"`
	QoS        int     `json:"qos"`
	Group      string  `json:"group,omitempty"`
	Count      int64   `json:"count"`
	Min        int64   `json:"min"`
	Mean       float64 `json:"mean"`
	StdDev     float64 `json:"stddev"`
	P50        int64   `json:"p50"`
	P75        int64   `json:"p75"`
	P90        int64   `json:"p90"`
	P95        int64   `json:"p95"`
	P99        int64   `json:"p99"`
	P999       int64   `json:"p999"`
	P9999      int64   `json:"p9999"`
	Max        int64   `json:"max"`
	OutOfRange uint64  `json:"out_of_range,omitempty"`
	Histogram  string  `json:"histogram,omitempty"`
}

// MarshalJSON writes the percentiles and, in the compressed form of HdrHistogram logs, the histogram itself.
func (l Latency) MarshalJSON() ([]byte, error) {
	out := latencyJSON{Metric: l.Metric, QoS: l.QoS, Group: l.Group, OutOfRange: l.OutOfRange}
	if h := l.Histogram; h != nil {
		text, err := h.EncodeV2()
		if err != nil {
			return nil, fmt.Errorf("write the histogram of %s: %w", l.Metric, err)
		}
		out.Histogram = string(text)
		if h.TotalCount() > 0 {
			p := h.ValueAtPercentilesSlice([]float64{50, 75, 90, 95, 99, 99.9, 99.99})
			out.Count, out.Min, out.Mean, out.StdDev, out.Max = h.TotalCount(), h.Min(), h.Mean(), h.StdDev(), h.Max()
			out.P50, out.P75, out.P90, out.P95, out.P99, out.P999, out.P9999 = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads the histogram. The percentiles beside it follow from it.
func (l *Latency) UnmarshalJSON(text []byte) error {
	var in latencyJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	*l = Latency{Metric: in.Metric, QoS: in.QoS, Group: in.Group, OutOfRange: in.OutOfRange}
	if in.Histogram == "" {
		return nil
	}
	h, err := hdrhistogram.Decode([]byte(in.Histogram))
	if err == nil && h == nil {
		err = errors.New("it is empty")
	}
	if err != nil {
		return fmt.Errorf("the histogram of %s: %w", in.Metric, err)
	}
	if h.SignificantFigures() > maxDigits {
		return fmt.Errorf("the histogram of %s has %d significant digits, more than any that is written", in.Metric, h.SignificantFigures())
	}
	if n := h.TotalCount(); n != in.Count {
		return fmt.Errorf("the histogram of %s holds %d values where its count says %d", in.Metric, n, in.Count)
	}
	l.Histogram = h
	return nil
}

// count is the number of values, 0 where there is no histogram.
func (l *Latency) count() int64 {
	if l.Histogram == nil {
		return 0
	}
	return l.Histogram.TotalCount()
}

// percentiles are those of the histogram in short.
func (l *Latency) percentiles() Percentiles {
	if l.count() == 0 {
		return Percentiles{}
	}
	p := l.Histogram.ValueAtPercentilesSlice([]float64{50, 90, 99, 99.9})
	return Percentiles{Count: l.Histogram.TotalCount(), P50: p[0], P90: p[1], P99: p[2], P999: p[3], Max: l.Histogram.Max()}
}

// latency returns the row of a metric, or nil where nothing was measured.
func latency(rows []Latency, metric string, qos int, group string) *Latency {
	for i := range rows {
		if r := &rows[i]; r.Metric == metric && r.QoS == qos && r.Group == group && r.count() > 0 {
			return r
		}
	}
	return nil
}
