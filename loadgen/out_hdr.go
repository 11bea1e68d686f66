package loadgen

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
)

// microsPerMilli turns recorded values into the milliseconds in which the tools of HdrHistogram show them.
const microsPerMilli = 1000

// WritePercentiles writes the histogram as a table of percentiles, the .hgrm format that the plotters of HdrHistogram
// read. Values are milliseconds.
func (l *Latency) WritePercentiles(w io.Writer) error {
	if l.Histogram == nil {
		return fmt.Errorf("no %s was measured", l.Metric)
	}
	_, err := l.Histogram.PercentilesPrint(w, 5, microsPerMilli)
	return err
}

// FileName is a name for the row's file, without its ending: publish_ack, publish_ack.qos1, end_to_end.qos1.group.sensors.
func (l *Latency) FileName() string {
	name := l.Metric
	if l.QoS >= 0 {
		name += fmt.Sprintf(".qos%d", l.QoS)
	}
	if l.Group != "" {
		name += ".group." + strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
				return r
			}
			return '_'
		}, l.Group)
	}
	return name
}

// Main returns the row that stands for the run: the response time of messages that are acknowledged, else the time to their
// arrival, else the first row there is. It is nil where nothing was measured.
func (r *Result) Main() *Latency {
	for _, metric := range []string{PublishAck, EndToEnd, Request, Connect} {
		if l := latency(r.Latency, metric, -1, ""); l != nil {
			return l
		}
	}
	for i := range r.Latency {
		if r.Latency[i].count() > 0 {
			return &r.Latency[i]
		}
	}
	return nil
}

// A HistogramLog writes the intervals of a run in the HdrHistogram log format 1.3 while the run goes on: one line a second
// for each metric, under its name as the tag. Values are microseconds; the greatest of an interval, in the third
// field, is in milliseconds. Its methods are called from one goroutine.
type HistogramLog struct {
	w      *bufio.Writer
	now    func() time.Time
	shift  float64 // seconds from the base time to the run's start
	headed bool
	err    error
}

// NewHistogramLog returns a log that is written to w. A nil now is time.Now.
func NewHistogramLog(w io.Writer, now func() time.Time) *HistogramLog {
	if now == nil {
		now = time.Now
	}
	return &HistogramLog{w: bufio.NewWriter(w), now: now}
}

// head writes what stands before the first interval. The base time is a whole second: readers drop its fraction.
func (l *HistogramLog) head(start time.Time) {
	l.headed = true
	base := start.Truncate(time.Second)
	l.shift = start.Sub(base).Seconds()
	fmt.Fprintf(l.w, "#[Histogram log format version 1.3]\n")
	fmt.Fprintf(l.w, "#[Values are microseconds: a value unit ratio of 1000 gives milliseconds]\n")
	fmt.Fprintf(l.w, "#[StartTime: %d.000 (seconds since epoch), %s]\n", base.Unix(), base.UTC().Format(time.RFC3339))
	fmt.Fprintf(l.w, "#[BaseTime: %d.000 (seconds since epoch)]\n", base.Unix())
	fmt.Fprintf(l.w, "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n")
}

// Write adds the intervals that ended with the second, as Config.Second hands them over. Rows that are narrowed to a group
// are left out: the rows of all hold their values too. The first error ends the log; Close returns it.
func (l *HistogramLog) Write(s *Second, rows []Latency) {
	if l.err != nil {
		return
	}
	if !l.headed {
		l.head(l.now().Add(-s.At - time.Second))
	}
	for i := range rows {
		row := &rows[i]
		if row.count() == 0 || row.Group != "" {
			continue
		}
		text, err := row.Histogram.EncodeV2()
		if err != nil {
			l.err = fmt.Errorf("write the histogram of %s: %w", row.Metric, err)
			return
		}
		fmt.Fprintf(l.w, "Tag=%s,%.3f,1.000,%.3f,%s\n", row.FileName(), s.At.Seconds()+l.shift, float64(row.Histogram.Max())/microsPerMilli, text)
	}
	l.err = l.w.Flush()
}

// Close finishes the log. It does not close what the log is written to.
func (l *HistogramLog) Close() error {
	if !l.headed {
		l.head(l.now())
	}
	if err := l.w.Flush(); l.err == nil {
		l.err = err
	}
	return l.err
}
