package loadgen

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/internal/ui"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares text with a file that was read by a person.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "out", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-update rewrites it): %s", file, diff)
	}
}

func TestTextAndMarkdown(t *testing.T) {
	fine := sampleResult(sampleOptions{seed: 1, seconds: 12, rate: 400})
	bad := sampleResult(sampleOptions{seed: 2, seconds: 12, rate: 400, stall: 5, slow: 1.5})
	for _, width := range []int{0, 80} {
		var b bytes.Buffer
		if err := bad.WriteText(&b, ui.Plain(), width); err != nil {
			t.Fatal(err)
		}
		golden(t, fmt.Sprintf("result-%d.txt", width), b.String())
		for line := range strings.Lines(b.String()) {
			if width > 0 && ui.Width(strings.TrimSuffix(line, "\n")) > width {
				t.Errorf("a line is wider than %d: %q", width, line)
			}
		}
	}
	var b bytes.Buffer
	if err := bad.WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "result.md", b.String())
	c := Compare([]*Result{fine, bad}, []string{"before", "after"})
	b.Reset()
	if err := c.WriteText(&b, ui.Plain(), 100); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", b.String())
	b.Reset()
	if err := c.WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.md", b.String())
}

func TestLiveViews(t *testing.T) {
	r := sampleResult(sampleOptions{seed: 3, seconds: 30, rate: 300, stall: 20})
	snaps := sampleSnapshots(r)
	var h History
	for _, s := range snaps[:22] {
		h.Add(s)
	}
	trouble := *snaps[21]
	trouble.Lost = 3
	trouble.Limited = []string{"its workers were busy 95 % of the time, and messages left late for that"}
	connecting := &Snapshot{Title: r.Title, Target: r.Target, Elapsed: -time.Second, Planned: r.Planned, Clients: 220, Offered: 300, Second: Second{Connected: 97, BrokerCPU: -1, BrokerRSS: -1}}
	draining := *snaps[29]
	draining.Draining, draining.BrokerCPU, draining.BrokerRSS = true, -1, -1
	for _, width := range []int{60, 80, 120} {
		for _, x := range []struct {
			name string
			s    *Snapshot
			h    *History
		}{{"steady", snaps[15], &h}, {"trouble", &trouble, &h}, {"connecting", connecting, &History{}}, {"draining", &draining, &h}} {
			got := View(ui.Plain(), x.s, x.h, width)
			golden(t, fmt.Sprintf("live-%s-%d.txt", x.name, width), got)
			for line := range strings.Lines(got) {
				if ui.Width(strings.TrimSuffix(line, "\n")) > width {
					t.Errorf("%s: a line is wider than %d: %q", x.name, width, line)
				}
			}
		}
	}
	var lines strings.Builder
	for _, s := range []*Snapshot{connecting, snaps[15], &trouble, &draining} {
		lines.WriteString(ProgressLine(s) + "\n")
	}
	golden(t, "progress.txt", lines.String())
}

// A view of any width and any text stays within its lines, and lets no foreign escape sequence through.
func TestLiveViewIsSafe(t *testing.T) {
	s := sampleSnapshots(sampleResult(sampleOptions{seed: 1, seconds: 3, rate: 20}))[1]
	s.Title, s.Target, s.Phase = "a\x1b[2Jb\nc", "mqtt://\x07", "\x1b]0;x\x07"
	s.TopErrors = []ErrorCount{{Kind: "socket", Reason: "\x1b[31m", Count: 1}}
	var h History
	h.Add(s)
	for width := range 200 {
		got := View(ui.Plain(), s, &h, width)
		if strings.ContainsAny(got, "\x1b\x07") {
			t.Fatalf("an escape sequence got through: %q", got)
		}
		for line := range strings.Lines(got) {
			if limit := max(width, 20); width > 0 && ui.Width(strings.TrimSuffix(line, "\n")) > limit {
				t.Fatalf("width %d: %q", width, line)
			}
		}
	}
	if got := ProgressLine(s); strings.ContainsAny(got, "\x1b\x07\n") {
		t.Errorf("an escape sequence got through: %q", got)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var h History
	s := &Snapshot{}
	h.Add(&Snapshot{Elapsed: -1})
	if len(h.rates) != 0 {
		t.Error("a second of connecting is remembered")
	}
	for i := range 3 * maxHistory {
		s.Counts.Published = uint64(i)
		h.Add(s)
	}
	if len(h.rates) != maxHistory || len(h.worst) != maxHistory || h.rates[maxHistory-1] != 3*maxHistory-1 {
		t.Errorf("%d seconds, the last %v", len(h.rates), h.rates[len(h.rates)-1])
	}
	if n := testing.AllocsPerRun(1000, func() { h.Add(s) }); n > 0 {
		t.Errorf("%v allocations a second", n)
	}
}

func TestVerdict(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Result)
		passed bool
		want   string // one of the sentences holds it
	}{
		{"fine", func(*Result) {}, true, "Every promise was kept"},
		{"lost at QoS 0", func(r *Result) { r.Ledger[0].Lost = 2 }, true, "2 of them were lost"},
		{"lost at QoS 1", func(r *Result) { r.Ledger[1].Lost = 2 }, false, "QoS 1: 2 of the messages that were acknowledged never arrived"},
		{"lost at QoS 2", func(r *Result) { r.Ledger[2].Lost = 1 }, false, "QoS 2: 1 of the messages"},
		{"repeated at QoS 0", func(r *Result) { r.Ledger[0].Duplicated = 1 }, false, "QoS 0: 1 of the arrivals repeat"},
		{"repeated at QoS 1", func(r *Result) { r.Ledger[1].Duplicated = 5 }, true, "where it is legal, 5 of the arrivals"},
		{"repeated at QoS 2", func(r *Result) { r.Ledger[2].Duplicated = 5 }, false, "QoS 2: 5 of the arrivals repeat"},
		{"corrupted", func(r *Result) { r.Ledger[1].Corrupted = 1 }, false, "another payload"},
		{"unsettled", func(r *Result) { r.Ledger[1].Unsettled = 7 }, true, "Every promise was kept"},
		{"reordered", func(r *Result) { r.Ledger[1].Reordered = 7 }, true, "Every promise was kept"},
		{"threshold", func(r *Result) { r.Thresholds[0].Passed = false }, false, "1 of 2 thresholds failed"},
		{"limited", func(r *Result) { r.Generator.Limited = []string{"it was busy"} }, true, "The generator was the limit, so its latencies say nothing about the server: it was busy."},
		{"stopped", func(r *Result) { r.Stopped = "interrupted" }, true, "ended before its plan: interrupted."},
		{"nothing verified", func(r *Result) { r.Ledger = nil }, true, "No delivery was verified"},
		{"nothing published", func(r *Result) { r.Totals = Counts{} }, true, "published nothing"},
		{"not all sent", func(r *Result) { r.Totals.Published = r.Totals.Scheduled - 1 }, true, "(99."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := sampleResult(sampleOptions{seed: 1, seconds: 2, rate: 100})
			tt.change(r)
			v := r.Verdict()
			if v.Passed != tt.passed {
				t.Errorf("passed is %v", v.Passed)
			}
			if all := strings.Join(v.Sentences, "\n"); !strings.Contains(all, tt.want) {
				t.Errorf("no sentence says %q:\n%s", tt.want, all)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	a := sampleResult(sampleOptions{seed: 1, seconds: 4, rate: 100})
	b := sampleResult(sampleOptions{seed: 1, seconds: 4, rate: 200, noPID: true})
	b.Generator.Limited, b.Stopped, b.Model = []string{"busy"}, "interrupted", "closed"
	c := Compare([]*Result{a, b, a}, []string{"x"})
	var labels []string
	for _, r := range c.Runs {
		labels = append(labels, r.Label)
	}
	if diff := cmp.Diff([]string{"x", "mqtt://127.0.0.1:1883", "mqtt://127.0.0.1:1883 (2)"}, labels); diff != "" {
		t.Error(diff)
	}
	find := func(name string) *ComparedRow {
		for i := range c.Rows {
			if c.Rows[i].Name == name && c.Rows[i].QoS == -1 {
				return &c.Rows[i]
			}
		}
		t.Fatalf("no row %s", name)
		return nil
	}
	if row := find("published"); row.Ratio[1] < 1.9 || row.Ratio[1] > 2.1 || row.Judge(1) != "better" || row.Judge(2) != "" || row.Judge(0) != "" {
		t.Errorf("published: %+v", row)
	}
	if row := find("server memory"); !row.Value[1].missing() || !row.Ratio[1].missing() || row.value(row.Value[1]) != "-" || row.ratio(1) != "" {
		t.Errorf("server memory: %+v", row)
	}
	text := strings.Join(c.Differ, "\n")
	for _, want := range []string{"generator was the limit: busy.", "ended before its plan: interrupted.", "the open model with window 0"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing says %q:\n%s", want, text)
		}
	}
	var buf bytes.Buffer
	if err := c.WriteJSON(&buf); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(buf.String(), "null") || strings.Contains(buf.String(), "NaN") {
		t.Error("what is missing is not null")
	}
}
