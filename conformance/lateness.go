package conformance

import (
	"sort"
	"sync"
	"time"
)

// lateness measures, all through a run, how late the suite itself gets to what is due. What it
// measures of others meanwhile may be off by as much, and a client on the same machine may be as
// late. So it offers a clock that stands still while the suite is late.
type lateness struct {
	stop, done chan struct{}

	mu     sync.Mutex // guards the fields below
	due    time.Time  // of the next look
	stalls []stall    // in order
}

// stall is a time in which the suite did not get to what was due.
type stall struct {
	from         time.Time
	long, before time.Duration // its own length, and that of all earlier ones
}

const (
	latenessEvery = 50 * time.Millisecond
	// latenessLeast is what a timer may be late on any machine.
	latenessLeast = 10 * time.Millisecond
	// maxStalls bounds the memory of a run without an end on a machine that is always late.
	maxStalls = 200_000
)

// newLateness begins to measure. It goes on until end.
func newLateness() *lateness {
	l := &lateness{stop: make(chan struct{}), done: make(chan struct{})}
	l.look(time.Now())
	go func() {
		defer close(l.done)
		timer := time.NewTimer(latenessEvery)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
			case <-l.stop:
				return
			}
			l.look(time.Now())
			timer.Reset(latenessEvery)
		}
	}()
	return l
}

func (l *lateness) end() {
	close(l.stop)
	<-l.done
}

// look notes that the suite got its turn.
func (l *lateness) look(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s, late := l.pending(now); late && len(l.stalls) < maxStalls {
		l.stalls = append(l.stalls, s)
	}
	l.due = now.Add(latenessEvery)
}

// pending is the stall that goes on at the time, if one does. The caller holds l.mu.
func (l *lateness) pending(at time.Time) (stall, bool) {
	if l.due.IsZero() {
		return stall{}, false
	}
	s := stall{from: l.due.Add(latenessLeast)}
	if s.long = at.Sub(s.from); s.long <= 0 {
		return stall{}, false
	}
	if n := len(l.stalls); n > 0 {
		s.before = l.stalls[n-1].before + l.stalls[n-1].long
	}
	return s, true
}

// lost is how much time was lost in stalls until then. A nil lateness was never late.
func (l *lateness) lost(at time.Time) time.Duration {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, late := l.pending(at)
	if !late {
		i := sort.Search(len(l.stalls), func(i int) bool { return l.stalls[i].from.After(at) })
		if i == 0 {
			return 0
		}
		s = l.stalls[i-1]
	}
	return s.before + min(s.long, at.Sub(s.from))
}

// clock is the time on a clock that stands still in stalls. It tells the same time whenever it is
// asked about one.
func (l *lateness) clock(at time.Time) time.Time { return at.Add(-l.lost(at)) }

// real is when the clock showed the time first.
func (l *lateness) real(clock time.Time) time.Time {
	if l == nil {
		return clock
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.stalls), func(i int) bool { return !l.stalls[i].from.Add(-l.stalls[i].before).Before(clock) })
	if i == 0 {
		return clock
	}
	s := l.stalls[i-1]
	return clock.Add(s.before + s.long)
}

// pause is how long the time between the two is on that clock.
func (l *lateness) pause(from, to time.Time) time.Duration {
	return to.Sub(from) - (l.lost(to) - l.lost(from))
}

// worst is the longest stall of which a part lies between the two.
func (l *lateness) worst(from, to time.Time) time.Duration {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	most := time.Duration(0)
	if s, late := l.pending(to); late {
		most = s.long
	}
	for i := len(l.stalls) - 1; i >= 0 && l.stalls[i].from.Add(l.stalls[i].long).After(from); i-- {
		if l.stalls[i].from.Before(to) {
			most = max(most, l.stalls[i].long)
		}
	}
	return most
}
