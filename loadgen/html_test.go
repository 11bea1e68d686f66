package loadgen

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/internal/report/reporttest"
)

// looks asks a page how it stands: plots, their lines, what overflows, and what the reader of the legend sees.
const looks = `
const plots = [...document.querySelectorAll("figure.plot")];
result.plots = plots.map((p) => p.id.slice(5)).join(" ");
result.drawn = plots.filter((p) => p.querySelector("canvas") && p.querySelector("canvas").width > 300).length;
result.lines = plots.map((p) => p.querySelectorAll(".u-series").length - 1).join(" ");
result.overflow = document.documentElement.scrollWidth > document.documentElement.clientWidth;
result.title = document.querySelector("h1").textContent;
result.verdict = document.querySelector(".v").textContent;
result.tables = [...document.querySelectorAll("h2")].map((h) => h.textContent).join(", ");
result.scripts = document.querySelectorAll("main script, header script").length;
result.painted = plots.filter((p) => {
  const c = p.querySelector("canvas");
  const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  const seen = new Set();
  for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200) seen.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]);
  return seen.size > 3;
}).length;
document.getElementById("theme").click();
await new Promise((done) => setTimeout(done, 50));
result.after = document.querySelectorAll("figure.plot .uplot").length;
`

func TestPage(t *testing.T) {
	browser := reporttest.Chromium(t)
	r := sampleResult(sampleOptions{seed: 2, seconds: 24, rate: 200, stall: 10})
	r.Title = `<script>alert(1)</script> & "more"`
	r.Phases[0].Name = "</script><b>"
	r.Groups[0].Name = "a very long name of a group that nobody would choose but that a program may well have made up"
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	got := browser.Open(b.Bytes(), "?theme=light", looks)
	want := map[string]string{
		"plots": "rate ack end curve clients errors cpu lag", "drawn": "8", "painted": "8", "after": "8",
		"lines": "3 4 4 5 3 2 3 4", "overflow": "false", "title": r.Title, "verdict": "FAIL", "scripts": "0",
		"tables": "Over time, Load, Latency, Delivery, Thresholds, Phases, Groups, Errors, Resources",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(b.String(), "http://") || strings.Contains(strings.ReplaceAll(b.String(), "https://github.com/leeoniya/uPlot", ""), "https://") {
		t.Error("the page points outside")
	}
}

func TestComparisonPage(t *testing.T) {
	browser := reporttest.Chromium(t)
	a := sampleResult(sampleOptions{seed: 1, seconds: 12, rate: 200})
	b := sampleResult(sampleOptions{seed: 2, seconds: 20, rate: 200, stall: 10, slow: 2})
	var page bytes.Buffer
	if err := Compare([]*Result{a, b}, []string{"<b>", "after"}).WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	got := browser.Open(page.Bytes(), "?theme=dark", looks)
	want := map[string]string{
		"plots": "curve-publish_ack curve-end_to_end curve-connect rate ack end cpu", "drawn": "7", "painted": "7", "after": "7",
		"lines": "2 2 2 2 2 2 2", "overflow": "false", "title": "2 runs", "verdict": "PASS", "scripts": "0",
		"tables": "Runs, Curves, Load, Latency, Delivery, Resources",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A day of seconds is no more points than a screen can show, and a peak among them is not lost.
func TestLongRunsAreShortened(t *testing.T) {
	series := make([]Second, 86400)
	for i := range series {
		series[i].At = time.Duration(i) * time.Second
		series[i].Counts.Published = 100
		series[i].Ack = Percentiles{Count: 1, P50: 10, P99: 10, Max: 10}
		series[i].BrokerCPU = -1
	}
	series[70001].Ack.P99 = 5000
	tl := newTimeline(series)
	rates := tl.line(false, func(s *Second) float64 { return float64(s.Counts.Published) })
	if len(tl.at) > maxPoints || len(rates) != len(tl.at) || rates[7] != 100 {
		t.Errorf("%d points of %d instants, one of %v", len(rates), len(tl.at), rates[7])
	}
	top := 0.0
	for _, v := range tl.latency(func(s *Second) *Percentiles { return &s.Ack })[2].Values {
		top = max(top, v)
	}
	if top != 5000 {
		t.Errorf("the greatest p99 is shown as %v", top)
	}
	if !tl.line(false, func(s *Second) float64 { return s.BrokerCPU }).empty() {
		t.Error("what is unknown has a line")
	}
	if !strings.Contains(tl.note(), "Each point stands for 72 seconds") {
		t.Errorf("%q", tl.note())
	}
}

// A page can be made of any result, of one without anything too.
func TestPageOfNothing(t *testing.T) {
	for _, r := range []*Result{{}, {Series: make([]Second, 1)}, {Model: "max", Ledger: []LedgerRow{{QoS: 9}}}} {
		for _, write := range r.allForms() {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Error(err)
			}
			if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf ") {
				t.Errorf("%.200q", b.String())
			}
		}
		var b bytes.Buffer
		if err := Compare([]*Result{r, r}, nil).WriteHTML(&b); err != nil {
			t.Error(err)
		}
	}
}
