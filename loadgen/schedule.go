package loadgen

import (
	"math"
	"sort"
	"time"

	"github.com/mqlab/mqlab/scenarios"
)

// never is the due instant of what does not come.
const never = math.MaxInt64

// profile is the factor on all rates over the time of a run, and its integral: piecewise linear, piecewise quadratic. With
// F(t) the integral up to t, a stream of r messages a second has its message k at the t where r*F(t) = k + offset: exact,
// without memory of what came before.
type profile struct {
	segs []segment
	end  float64 // seconds
	area float64 // F(end)
}

// segment is a stretch on which the factor goes evenly from one value to another.
type segment struct {
	from, to float64 // seconds
	a, b     float64 // factor at from and to
	area     float64 // integral before from
}

// newProfile makes the profile of the phases. A spike climbs to its height in its first tenth and comes down in its last.
func newProfile(phases []scenarios.Phase) profile {
	var p profile
	for _, ph := range phases {
		d := ph.For.Seconds()
		one := func(f float64) float64 {
			if f == 0 {
				return 1
			}
			return f
		}
		switch ph.Kind {
		case "ramp":
			p.add(d, ph.From, one(ph.To))
		case "step":
			steps := ph.Steps
			if steps <= 0 {
				steps = 5
			}
			from, to := one(ph.From), one(ph.To)
			for i := range steps {
				f := from
				if steps > 1 {
					f += (to - from) * float64(i) / float64(steps-1)
				}
				p.add(d/float64(steps), f, f)
			}
		case "spike":
			base, top := one(ph.From), one(ph.To)
			p.add(d/10, base, top)
			p.add(d*8/10, top, top)
			p.add(d/10, top, base)
		case "idle":
			p.add(d, 0, 0)
		default:
			p.add(d, one(ph.To), one(ph.To))
		}
	}
	return p
}

func (p *profile) add(d, a, b float64) {
	if d <= 0 {
		return
	}
	p.segs = append(p.segs, segment{from: p.end, to: p.end + d, a: a, b: b, area: p.area})
	p.end += d
	p.area += d * (a + b) / 2
}

// factor is the factor at t seconds.
func (p *profile) factor(t float64) float64 {
	if i := p.find(t); i < len(p.segs) {
		s := &p.segs[i]
		return s.a + (s.b-s.a)*(t-s.from)/(s.to-s.from)
	}
	return 0
}

func (p *profile) find(t float64) int {
	return sort.Search(len(p.segs), func(i int) bool { return p.segs[i].to > t })
}

// integral is F(t).
func (p *profile) integral(t float64) float64 {
	if t <= 0 {
		return 0
	}
	if i := p.find(t); i < len(p.segs) {
		s := &p.segs[i]
		u := t - s.from
		return s.area + u*(s.a+(s.b-s.a)*u/(s.to-s.from)/2)
	}
	return p.area
}

// inverse is the t at which F passes x, in nanoseconds; never where the run ends before.
func (p *profile) inverse(x float64, hint *int) int64 {
	if x >= p.area {
		return never
	}
	i := *hint
	if i >= len(p.segs) || p.segs[i].area > x || i+1 < len(p.segs) && p.segs[i+1].area <= x {
		// The last segment that begins at or below x; those without area before it are passed over.
		i = sort.Search(len(p.segs), func(i int) bool { return p.segs[i].area > x }) - 1
		*hint = i
	}
	s := &p.segs[i]
	y := x - s.area
	if y <= 0 {
		return int64(s.from * 1e9)
	}
	slope := (s.b - s.a) / (s.to - s.from)
	// The root of slope/2 u^2 + a u = y in the form that does not cancel.
	u := 2 * y / (s.a + math.Sqrt(max(0, s.a*s.a+2*slope*y)))
	return int64(math.Min(s.from+u, s.to) * 1e9)
}

// The ways in which messages of a publication arrive.
type arrival uint8

const (
	arriveEven arrival = iota
	arrivePoisson
	arriveTogether
)

// schedule gives the due instants of the messages of one client and publication. Instants are nanoseconds since the run's
// first message was due.
type schedule struct {
	rate   float64 // of the client, per second at factor 1; 0: not on a schedule
	offset float64 // even: which part of an interval the client is behind
	shift  float64 // F at the publication's start
	acc    float64 // poisson: the sum of the gaps up to and including message k
	k      uint64
	hint   int
}

// due is the instant of message k, from which advance goes on.
func (s *schedule) due(p *profile) int64 {
	if s.rate <= 0 {
		return never
	}
	return p.inverse(s.shift+(float64(s.k)+s.offset+s.acc)/s.rate, &s.hint)
}

// advance goes on to the next message. gap is the random number of its gap where arrivals are Poisson's; there offset is
// 0 and the sum of the gaps replaces the count.
func (s *schedule) advance(how arrival, gap uint64) {
	s.k++
	if how == arrivePoisson {
		s.acc += exponential(gap) - 1
	}
}

// count is how many messages are due before the instant, counted from k: exact for even spacing, expected for Poisson.
func (s *schedule) count(p *profile, at int64) uint64 {
	if s.rate <= 0 {
		return 0
	}
	n := math.Ceil((p.integral(float64(at)/1e9)-s.shift)*s.rate - s.offset - s.acc - float64(s.k))
	if n <= 0 {
		return 0
	}
	return uint64(n)
}

// phaseTable finds the phase of an instant.
type phaseTable struct{ ends []int64 }

func newPhaseTable(phases []scenarios.Phase) phaseTable {
	var t phaseTable
	var end time.Duration
	for _, p := range phases {
		end += p.For
		t.ends = append(t.ends, int64(end))
	}
	return t
}

// at is the phase of an instant; what is later than the last phase belongs to it.
func (t *phaseTable) at(due int64) int {
	i := 0
	for i < len(t.ends)-1 && due >= t.ends[i] {
		i++
	}
	return i
}

func (t *phaseTable) from(i int) int64 {
	if i == 0 {
		return 0
	}
	return t.ends[i-1]
}

func (t *phaseTable) end() int64 {
	if len(t.ends) == 0 {
		return 0
	}
	return t.ends[len(t.ends)-1]
}
