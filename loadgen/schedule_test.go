package loadgen

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mqlab/mqlab/scenarios"
)

// drawPhases draws a run of phases of all kinds.
func drawPhases(t *rapid.T) []scenarios.Phase {
	factor := rapid.SampledFrom([]float64{0.25, 0.5, 1, 2, 3.5, 10})
	var out []scenarios.Phase
	for range rapid.IntRange(1, 5).Draw(t, "phases") {
		ph := scenarios.Phase{
			Kind: rapid.SampledFrom([]string{"ramp", "hold", "step", "spike", "storm", "churn", "takeover", "idle"}).Draw(t, "kind"),
			For:  time.Duration(rapid.IntRange(1, 20_000).Draw(t, "ms")) * time.Millisecond,
			From: factor.Draw(t, "from"), To: factor.Draw(t, "to"), Steps: rapid.IntRange(1, 6).Draw(t, "steps"),
		}
		if ph.Kind == "ramp" && rapid.Bool().Draw(t, "from zero") {
			ph.From = 0
		}
		out = append(out, ph)
	}
	return out
}

// naiveFactor is the factor at t as the documentation words it, phase by phase.
func naiveFactor(phases []scenarios.Phase, t float64) float64 {
	for _, ph := range phases {
		d := ph.For.Seconds()
		if t >= d {
			t -= d
			continue
		}
		u := t / d
		switch ph.Kind {
		case "ramp":
			return ph.From + (ph.To-ph.From)*u
		case "step":
			if ph.Steps == 1 {
				return ph.From
			}
			i := math.Floor(u * float64(ph.Steps))
			return ph.From + (ph.To-ph.From)*i/float64(ph.Steps-1)
		case "spike":
			switch {
			case u < 0.1:
				return ph.From + (ph.To-ph.From)*u*10
			case u < 0.9:
				return ph.To
			}
			return ph.To + (ph.From-ph.To)*(u-0.9)*10
		case "idle":
			return 0
		}
		return ph.To
	}
	return 0
}

func TestScheduleAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		phases := drawPhases(t)
		p := newProfile(phases)
		rate := rapid.SampledFrom([]float64{0.1, 1, 7.3, 100, 1000}).Draw(t, "rate")
		s := schedule{rate: rate, offset: rapid.Float64Range(0, 0.999).Draw(t, "offset")}

		// Simpson's rule over pieces of 100 us that do not straddle a kink is exact for what is linear; a step within a
		// piece is what the tolerance is for.
		const piece = 1e-4
		var area float64
		due := s.due(&p)
		start := s
		n := uint64(0)
		for at := 0.0; at < p.end; at += piece {
			step := math.Min(piece, p.end-at)
			mid := naiveFactor(phases, at+step/2)
			area += mid * step
			for due != never && float64(due)/1e9 <= at+step {
				want := (float64(s.k) + s.offset) / rate
				if diff := math.Abs(area-want) * rate; diff > 0.01+rate*12*piece {
					t.Fatalf("message %d is due at %.6f s, where the integral is %.6f, want %.6f", s.k, float64(due)/1e9, area, want)
				}
				s.advance(arriveEven, 0)
				n++
				next := s.due(&p)
				if next < due {
					t.Fatalf("message %d is due at %d, before the one in front of it at %d", s.k, next, due)
				}
				due = next
			}
		}
		if due != never {
			t.Fatalf("message %d is due at %d, after the end at %f s", s.k, due, p.end)
		}
		if want := area*rate - s.offset; math.Abs(float64(n)-want) > 1.01+rate*12*piece {
			t.Fatalf("%d messages, want about %f", n, want)
		}
		// Counting agrees with going through them one by one.
		at := rapid.Int64Range(0, int64(p.end*1e9)).Draw(t, "at")
		walk, counted := start, start.count(&p, at)
		var m uint64
		for walk.due(&p) < at {
			walk.advance(arriveEven, 0)
			m++
		}
		if d := int64(m) - int64(counted); d < -1 || d > 1 {
			t.Fatalf("%d are due before %d, counted %d", m, at, counted)
		}
	})
}

// TestScheduleExact holds the instants of plain rates to the nanosecond.
func TestScheduleExact(t *testing.T) {
	p := newProfile([]scenarios.Phase{{Kind: "hold", For: time.Second}, {Kind: "idle", For: time.Second}, {Kind: "ramp", For: 2 * time.Second, To: 1}})
	s := schedule{rate: 4}
	var got []time.Duration
	for d := s.due(&p); d != never; d = s.due(&p) {
		got = append(got, time.Duration(d).Round(time.Microsecond))
		s.advance(arriveEven, 0)
	}
	ms := func(x float64) time.Duration { return time.Duration(x * 1e6).Round(time.Microsecond) }
	// On the ramp F(t) = u*u/4: message 4+i is where u = 2*sqrt(i/4).
	want := []time.Duration{0, ms(250), ms(500), ms(750), ms(2000), ms(2000 + 1000), ms(2000 + 1414.213562), ms(2000 + 1732.050808)}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("message %d is due at %v, want %v", i, got[i], want[i])
		}
	}
}

func TestPoisson(t *testing.T) {
	p := newProfile([]scenarios.Phase{{Kind: "hold", For: 1000 * time.Second}})
	pub := &publication{g: &group{p: &plan{seed: 3}}, arrival: arrivePoisson}
	s := schedule{rate: 20, acc: exponential(pub.gap(5, 0))}
	var n, short int
	last := int64(0)
	for d := s.due(&p); d != never; d = s.due(&p) {
		if float64(d-last) < 0.05e9*math.Ln2 { // the median gap
			short++
		}
		last = d
		n++
		s.advance(arrivePoisson, pub.gap(5, s.k+1))
	}
	// 20,000 are expected; four standard deviations are 566, and 283 of the gaps below the median.
	if n < 19_400 || n > 20_600 {
		t.Errorf("%d messages in 1,000 s at 20/s", n)
	}
	if d := short - n/2; d < -300 || d > 300 {
		t.Errorf("%d of %d gaps are below the median", short, n)
	}
}

func TestTimers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h timers
		var left []int64
		for _, at := range rapid.SliceOfN(rapid.Int64Range(-1, 100), 1, 200).Draw(t, "at") {
			if at >= 0 {
				h.push(timer{at: at})
				left = append(left, at)
				continue
			}
			if len(left) == 0 {
				continue
			}
			least := 0
			for i := range left {
				if left[i] < left[least] {
					least = i
				}
			}
			if h.next() != left[least] {
				t.Fatalf("next is %d, want %d", h.next(), left[least])
			}
			if got := h.pop(); got.at != left[least] {
				t.Fatalf("popped %d, want %d", got.at, left[least])
			}
			left = append(left[:least], left[least+1:]...)
		}
		if len(h) != len(left) {
			t.Fatalf("%d left, want %d", len(h), len(left))
		}
	})
}

func BenchmarkSchedule(b *testing.B) {
	for _, bc := range []struct {
		name string
		how  arrival
	}{{"even", arriveEven}, {"poisson", arrivePoisson}} {
		b.Run(bc.name, func(b *testing.B) {
			p := newProfile([]scenarios.Phase{{Kind: "ramp", For: 10 * time.Second, To: 1}, {Kind: "hold", For: 1e6 * time.Second}})
			s := schedule{rate: 1000}
			b.ReportAllocs()
			for b.Loop() {
				if s.due(&p) == never {
					s.k = 0
				}
				s.advance(bc.how, mix(s.k))
			}
		})
	}
}
