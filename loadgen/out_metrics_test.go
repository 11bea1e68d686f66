package loadgen

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

// sampleLine is one line of the text format: name, labels with their escapes, value.
var sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*")*\})? (-?[0-9.e+-]+)$`)

func TestMetrics(t *testing.T) {
	r := sampleResult(sampleOptions{seed: 1, seconds: 12, rate: 50, stall: 4})
	snaps := sampleSnapshots(r)
	s := snaps[5]
	s.Title, s.Phase = "a \"b\" \\c\nd\xff", "steady"
	s.Sys = map[string]float64{"broker/b": 2, "broker/a": 1.5}
	var m Metrics
	srv := httptest.NewServer(&m)
	defer srv.Close()
	get := func() string {
		res, err := srv.Client().Get(srv.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got := res.Header.Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
			t.Errorf("content type %q", got)
		}
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := get(); !strings.HasSuffix(got, "mqlab_load_up 0\n") {
		t.Errorf("before the run: %q", got)
	}
	m.Update(s)
	text := get()
	typed, samples := map[string]string{}, map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(rest, " ")
			if typed[name] != "" {
				t.Errorf("%s has two types", name)
			}
			typed[name] = kind
			continue
		}
		if strings.HasPrefix(line, "# HELP ") {
			continue
		}
		p := sampleLine.FindStringSubmatch(line)
		if p == nil {
			t.Fatalf("not a sample: %q", line)
		}
		if typed[p[1]] == "" && typed[strings.TrimSuffix(p[1], "_count")] != "summary" {
			t.Errorf("%s has no type", p[1])
		}
		if typed[p[1]] == "counter" && !strings.HasSuffix(p[1], "_total") {
			t.Errorf("the counter %s does not end in _total", p[1])
		}
		if _, twice := samples[p[1]+p[2]]; twice {
			t.Errorf("%s%s stands twice", p[1], p[2])
		}
		samples[p[1]+p[2]] = p[3]
	}
	for name, want := range map[string]string{
		`mqlab_load_up`: "1",
		`mqlab_load_info{title="a \"b\" \\c\nd�",target="mqtt://127.0.0.1:1883",phase="steady"}`: "1",
		`mqlab_load_connected`:                  "214",
		`mqlab_load_sys{topic="broker/a"}`:      "1.5",
		`mqlab_load_duplicated`:                 "4",
		`mqlab_load_broker_memory_bytes`:        "9.437184e+06",
		`mqlab_load_disconnects_total`:          "6",
		`mqlab_load_schedule_lag_seconds_count`: samples["mqlab_load_schedule_lag_seconds_count"],
		`mqlab_load_errors_total{kind="socket",reason="connection reset by peer"}`: "6",
	} {
		if samples[name] != want || want == "" {
			t.Errorf("%s is %q, want %q", name, samples[name], want)
		}
	}
	if typed["mqlab_load_publish_ack_seconds"] != "summary" || samples[`mqlab_load_publish_ack_seconds{quantile="0.99"}`] == "" {
		t.Error("there are no quantiles")
	}
	res, err := srv.Client().Post(srv.URL, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST is answered with %s", res.Status)
	}
}
