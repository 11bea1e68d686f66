package pcap

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/internal/report/reporttest"
)

func sampleReport() *Report {
	r := &Report{Step: .05, Duration: 30, Types: map[string]int64{"PUBLISH": 12, "PUBACK": 12}}
	r.Summary = Summary{Files: 1, Frames: 1234, Bytes: 56789, MQTT: 3, Packets: 24, Last: int64(30 * time.Second)}
	for i := range 600 {
		iv := Interval{Packets: int64(i % 7), Bytes: int64(i * 30), Publish: int64(i % 3)}
		if i%100 < 70 {
			iv.AckNum, iv.AckSum, iv.AckMax = 2, int64(i)*1e5, int64(i)*8e4
		}
		r.Timeline = append(r.Timeline, iv)
	}
	for _, id := range []string{`<script>alert(1)</script>`, "\u202egnp.exe", "a\x1b[31mb", strings.Repeat("long-client-id-", 20), "", "\xff\xfe"} {
		r.Clients = append(r.Clients, &ClientStats{
			ID: id, Address: "[2001:db8:1111:2222:3333:4444:5555:6666]:50000", Version: "5.0", KeepAlive: 60, Result: "Success",
			WillTopic: id + "/will", End: "closed by the server", SentBytes: 123456, RecvBytes: 654321, Connections: 1,
		})
		r.Topics = append(r.Topics, &TopicStats{Topic: "site/" + id + "/</td>", Published: 12})
	}
	r.Latencies = []Latency{{Name: flowNames[flowQoS1], Count: 12, Min: 1e6, P50: 2e6, P90: 3e6, P99: 4e6, P999: 5e6, Max: 6e6}}
	return r
}

// What a browser makes of the page: text of the network stays text, the axes are labelled, nothing is wider than
// the window, and lines can be told from the ground in either theme.
func TestStatsPage(t *testing.T) {
	browser := reporttest.Chromium(t)
	var b bytes.Buffer
	if err := sampleReport().WriteHTML(&b, `</title><script>alert(2)</script>`); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "http://") || strings.Contains(b.String(), "https://") {
		t.Error("the page points outside")
	}
	const looks = `
const svgs = [...document.querySelectorAll("figure svg")];
result.plots = svgs.map((s) => s.getAttribute("aria-label").split(" over ")[0]).join(", ");
result.empty = svgs.filter((s) => s.querySelector("path.line").getTotalLength() < 100).length;
const texts = (s) => [...s.querySelectorAll("text")].map((t) => t.textContent);
result.times = texts(svgs[0]).filter((t) => t.endsWith(" s")).join(", ");
result.axis = texts(svgs[3]).filter((t) => t.endsWith("ms")).join(", ");
result.outside = svgs.filter((s) => [...s.querySelectorAll("text")].some((t) => {
  const a = t.getBoundingClientRect(), b = s.getBoundingClientRect();
  return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 2 || a.bottom > b.bottom + 2;
})).length;
result.breaks = svgs[3].querySelector("path.line").getAttribute("d").split("M").length - 1;
result.unreadable = svgs.filter((s) => { const t = s.querySelector("text"); return t.getBoundingClientRect().height < 8; }).length;
const colour = (s) => getComputedStyle(svgs[3].querySelector(s)).stroke + getComputedStyle(document.body).backgroundColor;
const dark = colour(".line") + colour(".peak");
document.documentElement.dataset.theme = "light";
const light = colour(".line") + colour(".peak");
result.themes = dark !== light && colour(".line") !== colour(".peak");
result.scripts = document.querySelectorAll("main script, header script, table b").length;
result.overflow = document.documentElement.scrollWidth > document.documentElement.clientWidth;
result.title = document.querySelector("h1").textContent;
result.names = [...document.querySelectorAll("td.name")].slice(0, 5).map((t) => t.textContent.slice(0, 30)).join(" | ");
`
	want := map[string]string{
		"plots": "Packets per second, PUBLISH per second, Bytes per second, From PUBLISH to the first answer",
		"empty": "0", "times": "0 s, 5 s, 10 s, 15 s, 20 s, 25 s", "axis": "20.0 ms, 40.0 ms, 60.0 ms", "outside": "0", "breaks": "6", "unreadable": "0", "themes": "true",
		"scripts": "0", "overflow": "false", "title": "</title><script>alert(2)</script>",
		"names": `<script>alert(1)</script> | <script>alert(1)</script>/will | \u202egnp.exe | \u202egnp.exe/will | a\x1b[31mb`,
	}
	if diff := cmp.Diff(want, browser.Open(b.Bytes(), "?theme=dark", looks)); diff != "" {
		t.Error(diff)
	}
}

// Plots of little or nothing are plots all the same.
func TestPlotEdges(t *testing.T) {
	nan := math.NaN()
	for name, p := range map[string]plot{
		"nothing":         {"x", 1, nil, nil, 10, timeText},
		"no numbers":      {"x", 1, []float64{nan, nan}, []float64{nan, nan}, 10, timeText},
		"zeros":           {"x", 1e-6, []float64{0, 0}, nil, 2, timeText},
		"one point":       {"x", 1e7, []float64{nan, 5, nan}, []float64{nan, 1e18, nan}, 10, timeText},
		"a title of tags": {"<b>", 5, []float64{1}, nil, 10, timeText},
	} {
		html := string(p.draw())
		if strings.Contains(html, "NaN") || strings.Contains(html, "Inf") || strings.Contains(html, "<b>") || len(html) > 20000 {
			t.Errorf("%s: %s", name, html)
		}
	}
}

func timeText(v float64) string { return timeLabel(v, v) }

func TestRoundStep(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		base int
		want float64
	}{{0, 10, 1}, {1, 10, 1}, {1.1, 10, 2}, {2.3, 10, 2.5}, {30, 10, 50}, {70, 10, 100}, {.03, 10, .05}, {5000, 2, 8192}, {8192, 2, 8192}} {
		if got := roundStep(tt.v, tt.base); math.Abs(got-tt.want) > tt.want*1e-9 {
			t.Errorf("roundStep(%g, %d) is %g, want %g", tt.v, tt.base, got, tt.want)
		}
	}
	for v, want := range map[float64]float64{5: 5, 11: 15, 50: 60, 700: 900, 80000: 86400, 100000: 172800} {
		if got := timeStep(v); got != want {
			t.Errorf("timeStep(%g) is %g, want %g", v, got, want)
		}
	}
}
