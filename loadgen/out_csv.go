package loadgen

import (
	"encoding/csv"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// CSVColumns are the columns of WriteCSV. A later version adds to their end only.
func CSVColumns() []string {
	cols := []string{"second", "time", "phase", "connected", "inflight", "backlog"}
	counts := reflect.TypeFor[Counts]()
	for i := range counts.NumField() {
		name, _, _ := strings.Cut(counts.Field(i).Tag.Get("json"), ",")
		cols = append(cols, name)
	}
	for _, metric := range []string{ScheduleLag, PublishAck, EndToEnd} {
		for _, stat := range []string{"count", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"} {
			cols = append(cols, metric+"_"+stat)
		}
	}
	return append(cols, "errors", "generator_cpu", "broker_cpu", "broker_rss")
}

// WriteCSV writes one line for each second of the run under a line of titles. What is unknown is left empty.
func (r *Result) WriteCSV(out io.Writer) error {
	w := csv.NewWriter(out)
	if err := w.Write(CSVColumns()); err != nil {
		return err
	}
	var row []string
	for i := range r.Series {
		s := &r.Series[i]
		row = append(row[:0], strconv.FormatFloat(s.At.Seconds(), 'f', -1, 64), r.Started.Add(s.At).UTC().Format(time.RFC3339Nano),
			s.Phase, strconv.Itoa(s.Connected), strconv.Itoa(s.Inflight), strconv.Itoa(s.Backlog))
		counts := reflect.ValueOf(s.Counts)
		for i := range counts.NumField() {
			row = append(row, strconv.FormatUint(counts.Field(i).Uint(), 10))
		}
		for _, p := range []Percentiles{s.Lag, s.Ack, s.EndToEnd} {
			row = append(row, strconv.FormatInt(p.Count, 10))
			for _, v := range []int64{p.P50, p.P90, p.P99, p.P999, p.Max} {
				if p.Count == 0 {
					row = append(row, "")
					continue
				}
				row = append(row, strconv.FormatInt(v, 10))
			}
		}
		row = append(row, strconv.FormatUint(s.Errors, 10), known(s.GeneratorCPU), known(s.BrokerCPU), known(float64(s.BrokerRSS)))
		if err := w.Write(row); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

func known(v float64) string {
	if v < 0 {
		return ""
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}
