package main

import (
	"strings"
	"testing"
	"time"

	"github.com/mqlab/mqlab/fuzz"
	"github.com/mqlab/mqlab/internal/ui"
)

func TestFuzzLine(t *testing.T) {
	before := fuzz.Stats{Elapsed: 10 * time.Second, Execs: 10_000, Packets: 200_000}
	now := fuzz.Stats{Elapsed: 12 * time.Second, Execs: 14_000, Packets: 260_000, Corpus: 312, States: 1045, Findings: 2, Restarts: 1}
	for _, tt := range []struct {
		width int
		limit time.Duration
		execs int64
		want  string
	}{
		{200, time.Minute, 0, "fuzz  ██████░░░░░░░░░░░░░░░░░░░░░░░░   20%  12.0 s  2.00k/s scripts  30.0k/s packets  corpus 312  states 1,045  findings 2  restarts 1"},
		{120, 0, 28_000, "fuzz  ████████░░░░░░░░   50%  12.0 s  2.00k/s scripts  30.0k/s packets  corpus 312  states 1,045  findings 2  restarts 1"},
		{60, time.Minute, 0, "fuzz   20%  12.0 s  2.00k/s scripts  30.0k/s packets  corpu…"},
	} {
		got := fuzzLine(ui.Plain(), tt.width, before, now, tt.limit, tt.execs)
		if got != tt.want {
			t.Errorf("at %d cells:\n%s\nwant\n%s", tt.width, got, tt.want)
		}
	}
	if got := fuzzLine(ui.Plain(), 200, now, now, 0, 0); strings.Contains(got, "NaN") || strings.Contains(got, "Inf") {
		t.Error(got)
	}
}
