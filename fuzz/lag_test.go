package fuzz

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestLag holds that late wakings are remembered for as long as somebody asks, and that memory is bounded.
func TestLag(t *testing.T) {
	start := time.Unix(1000, 0)
	var l lag
	if l.worst(start) != 0 {
		t.Error("late before anything was measured")
	}
	l.note(start.Add(time.Second), time.Millisecond) // no more than usual
	l.note(start.Add(2*time.Second), 700*time.Millisecond)
	l.note(start.Add(3*time.Second), 30*time.Millisecond)
	for _, tt := range []struct{ since, want time.Duration }{{0, 700 * time.Millisecond}, {2 * time.Second, 30 * time.Millisecond}, {3 * time.Second, 0}} {
		if got := l.worst(start.Add(tt.since)); got != tt.want {
			t.Errorf("worst since %v: %v, want %v", tt.since, got, tt.want)
		}
	}
	for i := range 3 * lagKept {
		l.note(start.Add(time.Minute+time.Duration(i)*time.Millisecond), time.Second)
	}
	if len(l.late) > lagKept {
		t.Errorf("%d wakings are kept", len(l.late))
	}
}

// TestLagMeasures holds that a machine with nothing to do is not late, and that measuring ends.
func TestLagMeasures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lag
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		l.measure(ctx)
		if got := l.worst(start); got != 0 || time.Since(start) != time.Minute {
			t.Errorf("late by %v after %v", got, time.Since(start))
		}
	})
}

// TestStarved holds that only silence is excused, and only on a machine that was late.
func TestStarved(t *testing.T) {
	silent := &trouble{oracle: OracleHang, signature: "long-lived publisher", late: true}
	for _, tt := range []struct {
		name string
		by   time.Duration
		t    *trouble
		want bool
	}{
		{"silence on a machine that was late", time.Second, silent, true},
		{"silence on a machine that was in time", 100 * time.Millisecond, silent, false},
		{"a refused connection", time.Second, &trouble{oracle: OracleHang, signature: "fresh refused"}, false},
		{"a dead process", time.Second, &trouble{oracle: OracleDied, late: true}, false},
	} {
		f := &fuzzer{cfg: Config{Patience: 5 * time.Second}}
		f.lag.note(time.Now(), tt.by)
		if got := f.starved(tt.t); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
