package loadgen

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// sameHistogram compares what was recorded.
var sameHistogram = cmp.Comparer(func(a, b *hdrhistogram.Histogram) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equals(b) && a.LowestTrackableValue() == b.LowestTrackableValue() &&
		a.HighestTrackableValue() == b.HighestTrackableValue() && a.SignificantFigures() == b.SignificantFigures()
})

func TestResultSurvivesJSON(t *testing.T) {
	for _, o := range []sampleOptions{
		{seed: 1, seconds: 8, rate: 400},
		{seed: 2, seconds: 12, rate: 300, stall: 6},
		{seed: 3, seconds: 4, rate: 40, noPID: true},
	} {
		r := sampleResult(o)
		r.Latency = append(r.Latency, Latency{Metric: Request, QoS: -1}, Latency{Metric: Ping, QoS: -1, OutOfRange: 3, Histogram: hdrhistogram.New(1, 1000, 2)})
		var first, second bytes.Buffer
		if err := r.WriteJSON(&first); err != nil {
			t.Fatal(err)
		}
		back, err := ReadResult(bytes.NewReader(first.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, back, sameHistogram); diff != "" {
			t.Errorf("seed %d: %s", o.seed, diff)
		}
		if err := back.WriteJSON(&second); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("seed %d: written again the text differs", o.seed)
		}
	}
}

// Whoever has no HdrHistogram library reads the percentiles beside it.
func TestLatencyJSONHasPercentiles(t *testing.T) {
	h := hdrhistogram.New(1, 1e9, 3)
	for us := range int64(1000) {
		_ = h.RecordValue(us + 1)
	}
	text, err := json.Marshal(Latency{Metric: Connect, QoS: -1, Histogram: h})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if enc := got["histogram"].(string); !strings.HasPrefix(enc, "HISTFAAA") {
		t.Errorf("the histogram is %q", enc)
	}
	delete(got, "histogram")
	want := map[string]any{
		"metric": "connect", "qos": -1., "count": 1000., "min": 1., "mean": 500.5, "max": 1000.,
		"p50": 500., "p75": 750., "p90": 900., "p95": 950., "p99": 990., "p999": 999., "p9999": 1000., "stddev": got["stddev"],
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The lines of a result are broken between values only.
func TestBreakLines(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{}`, `{}`},
		{`{"a":[],"b":{}}`, "{\n  \"a\": [],\n  \"b\": {}\n}"},
		{`{"a":[{"b":1,"c":[2,3]},4],"d":"x,y:{\"}"}`, "{\n  \"a\": [\n    {\"b\": 1, \"c\": [2, 3]},\n    4\n  ],\n  \"d\": \"x,y:{\\\"}\"\n}"},
	} {
		if diff := cmp.Diff(tt.want, string(breakLines([]byte(tt.in), 2))); diff != "" {
			t.Error(diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var gen func(depth int) any
		gen = func(depth int) any {
			switch rapid.IntRange(0, 3-min(depth, 2)).Draw(t, "kind") {
			case 2:
				return []any{gen(depth + 1), gen(depth + 1)}
			case 3:
				return map[string]any{rapid.String().Draw(t, "key"): gen(depth + 1), "": gen(depth + 1)}
			case 1:
				return rapid.String().Draw(t, "text")
			}
			return rapid.Float64Range(-1e9, 1e9).Draw(t, "number")
		}
		text, err := json.Marshal(gen(0))
		if err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if err := json.Compact(&again, breakLines(text, rapid.IntRange(0, 4).Draw(t, "depth"))); err != nil {
			t.Fatal(err)
		}
		if again.String() != string(text) {
			t.Fatalf("%s became %s", text, again.String())
		}
	})
}

func TestReadResultRefuses(t *testing.T) {
	good := func(change func(map[string]any)) string {
		var b bytes.Buffer
		if err := sampleResult(sampleOptions{seed: 1, seconds: 1, rate: 10}).WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(b.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		change(m)
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	row := func(m map[string]any) map[string]any { return m["latency"].([]any)[0].(map[string]any) }
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "no result in JSON"},
		{"another file", "<html>", "no result in JSON"},
		{"another result", `{"format":"mqlab-conformance/1"}`, `the format is "mqlab-conformance/1" where a load result has "mqlab-load/1"`},
		{"a number", `{"format":1}`, `the format is "1"`},
		{"a wrong type", good(func(m map[string]any) { m["totals"] = 5 }), "cannot be read"},
		{"a damaged histogram", good(func(m map[string]any) { row(m)["histogram"] = "HISTFAAA" }), "the histogram of connect"},
		{"a histogram that is none", good(func(m map[string]any) { row(m)["histogram"] = "%" }), "the histogram of connect"},
		{"a histogram of too many digits", good(func(m map[string]any) {
			text, err := hdrhistogram.New(1, 10, 5).EncodeV2()
			if err != nil {
				t.Fatal(err)
			}
			row(m)["histogram"], row(m)["count"] = string(text), 0
		}), "5 significant digits"},
		{"another count", good(func(m map[string]any) { row(m)["count"] = 5 }), "where its count says 5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadResult(strings.NewReader(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func FuzzReadResult(f *testing.F) {
	var b bytes.Buffer
	small := sampleResult(sampleOptions{seed: 1, seconds: 1, rate: 8}) // large inputs are slow to vary
	small.Latency, small.Phases, small.Groups, small.Series[0].Sys = small.Latency[:1], nil, nil, nil
	if err := small.WriteJSON(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"format":"mqlab-load/1","latency":[{"metric":"x"}],"series":[{}],"phases":[{}],"ledger":[{"qos":9}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := ReadResult(bytes.NewReader(text))
		if err != nil {
			return
		}
		for _, write := range []func(io.Writer) error{r.WriteJSON, r.WriteCSV, r.WriteMarkdown} {
			if err := write(io.Discard); err != nil {
				t.Error(err)
			}
		}
		_ = r.charts()
		_ = Compare([]*Result{r, r}, nil).charts()
	})
}

func TestCSV(t *testing.T) {
	r := sampleResult(sampleOptions{seed: 1, seconds: 6, rate: 100, noPID: true})
	r.Series[0].Phase = "a, \"b\""
	r.Series[1].Ack = Percentiles{}
	var b bytes.Buffer
	if err := r.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	// Programs read these columns by their places.
	want := "second time phase connected inflight backlog scheduled published resent acknowledged refused dropped received connects connect_fails disconnects pings bytes_out bytes_in " +
		"schedule_lag_count schedule_lag_p50_us schedule_lag_p90_us schedule_lag_p99_us schedule_lag_p999_us schedule_lag_max_us " +
		"publish_ack_count publish_ack_p50_us publish_ack_p90_us publish_ack_p99_us publish_ack_p999_us publish_ack_max_us " +
		"end_to_end_count end_to_end_p50_us end_to_end_p90_us end_to_end_p99_us end_to_end_p999_us end_to_end_max_us errors generator_cpu broker_cpu broker_rss"
	if diff := cmp.Diff(strings.Fields(want), rows[0]); diff != "" {
		t.Fatal(diff)
	}
	if len(rows) != 7 {
		t.Fatalf("%d rows for 6 seconds", len(rows)-1)
	}
	cell := func(row int, name string) string { return rows[row][slices.Index(rows[0], name)] }
	got := []string{cell(1, "second"), cell(6, "second"), cell(2, "time"), cell(1, "phase"), cell(1, "broker_cpu"), cell(1, "broker_rss"), cell(2, "publish_ack_count"), cell(2, "publish_ack_p99_us")}
	if diff := cmp.Diff([]string{"0", "5", "2026-03-14T09:26:54Z", "a, \"b\"", "", "", "0", ""}, got); diff != "" {
		t.Error(diff)
	}
	if n, err := strconv.ParseUint(cell(4, "scheduled"), 10, 64); err != nil || n != r.Series[3].Counts.Scheduled {
		t.Errorf("scheduled is %s", cell(4, "scheduled"))
	}
}

func TestPercentilesFile(t *testing.T) {
	h := hdrhistogram.New(1, 1e9, 3)
	_ = h.RecordValues(2000, 99)
	_ = h.RecordValue(1500000)
	var b bytes.Buffer
	if err := (&Latency{Metric: PublishAck, QoS: -1, Histogram: h}).WritePercentiles(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	if got := strings.Fields(lines[2]); got[0] != "2.000" || got[1] != "0.000000" {
		t.Errorf("the first line is %q, want 2 ms", lines[2])
	}
	if !strings.Contains(b.String(), "#[Max     =     1500.") {
		t.Errorf("the greatest value is not in milliseconds:\n%s", b.String())
	}
	if err := (&Latency{Metric: Ping}).WritePercentiles(io.Discard); err == nil {
		t.Error("a row without histogram is written")
	}
}

func TestFileName(t *testing.T) {
	for _, tt := range []struct {
		row  Latency
		want string
	}{
		{Latency{Metric: PublishAck, QoS: -1}, "publish_ack"},
		{Latency{Metric: EndToEnd, QoS: 2}, "end_to_end.qos2"},
		{Latency{Metric: Connect, QoS: -1, Group: "../a b,c"}, "connect.group.___a_b_c"},
	} {
		if got := tt.row.FileName(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// The log is read back by the library, and its intervals add up to what was recorded.
func TestHistogramLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Date(2026, 3, 14, 9, 26, 53, rapid.IntRange(0, 999).Draw(t, "ms")*1e6, time.UTC)
		var b bytes.Buffer
		second := 0
		log := NewHistogramLog(&b, func() time.Time { return start.Add(time.Duration(second+1) * time.Second) })
		whole := map[string]*hdrhistogram.Histogram{}
		lines := 0
		for second = range rapid.IntRange(0, 6).Draw(t, "seconds") {
			var rows []Latency
			for _, row := range []Latency{{Metric: PublishAck, QoS: -1}, {Metric: PublishAck, QoS: 1}, {Metric: EndToEnd, QoS: -1}, {Metric: EndToEnd, QoS: -1, Group: "g"}} {
				row.Histogram = hdrhistogram.New(1, 6e8, 3)
				for _, v := range rapid.SliceOfN(rapid.Int64Range(1, 6e8), 0, 20).Draw(t, "values") {
					_ = row.Histogram.RecordValue(v)
				}
				rows = append(rows, row)
				if row.Group != "" || row.count() == 0 {
					continue
				}
				lines++
				name := row.FileName()
				if whole[name] == nil {
					whole[name] = hdrhistogram.New(1, 6e8, 3)
				}
				whole[name].Merge(row.Histogram)
			}
			log.Write(&Second{At: time.Duration(second) * time.Second}, rows)
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		reader := hdrhistogram.NewHistogramLogReader(&b)
		got := map[string]*hdrhistogram.Histogram{}
		n, before := 0, int64(0)
		for {
			h, err := reader.NextIntervalHistogram()
			if err != nil {
				t.Fatal(err)
			}
			if h == nil {
				break
			}
			n++
			if h.StartTimeMs() < before || h.EndTimeMs()-h.StartTimeMs() < 999 || h.EndTimeMs()-h.StartTimeMs() > 1001 {
				t.Fatalf("an interval from %d to %d after one from %d", h.StartTimeMs(), h.EndTimeMs(), before)
			}
			before = h.StartTimeMs()
			// The instants are those of the clock, to the library's own rounding.
			if off := (h.StartTimeMs() - start.UnixMilli()) % 1000; off != 0 && off != 999 && off != -1 && off != 1 {
				t.Fatalf("an interval begins %d ms beside a second of the run", off)
			}
			if got[h.Tag()] == nil {
				got[h.Tag()] = hdrhistogram.New(1, 6e8, 3)
			}
			got[h.Tag()].Merge(h)
		}
		if n != lines {
			t.Fatalf("%d intervals are read of %d", n, lines)
		}
		if diff := cmp.Diff(whole, got, sameHistogram); diff != "" {
			t.Fatal(diff)
		}
	})
}
