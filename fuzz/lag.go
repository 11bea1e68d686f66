package fuzz

import (
	"context"
	"sync"
	"time"
)

// A machine that has too much to do makes every target look like one that hangs. How late this process is woken tells.
const (
	lagEvery = 20 * time.Millisecond
	// lagShare of the patience is how late waking may be before nobody is accused of silence without a replay.
	lagShare = 10
	// lagKept bounds what is remembered: about a minute of a machine on which every waking is late.
	lagKept = 4096
)

// lag keeps how late wakings were. The zero value has seen none.
type lag struct {
	mu   sync.Mutex // guards the fields below
	late []lateness // the latest last
}

type lateness struct {
	at time.Time // when it ended
	by time.Duration
}

// measure notes late wakings until the context ends.
func (l *lag) measure(ctx context.Context) {
	t := time.NewTimer(lagEvery)
	defer t.Stop()
	for {
		due := time.Now().Add(lagEvery)
		select {
		case <-t.C:
			now := time.Now()
			l.note(now, now.Sub(due))
			t.Reset(lagEvery)
		case <-ctx.Done():
			return
		}
	}
}

// note remembers one waking, if it was late.
func (l *lag) note(at time.Time, by time.Duration) {
	if by < lagEvery {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.late) == lagKept {
		l.late = append(l.late[:0], l.late[lagKept/2:]...)
	}
	l.late = append(l.late, lateness{at, by})
}

// worst returns how late a waking was at most since then.
func (l *lag) worst(since time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var most time.Duration
	for i := len(l.late) - 1; i >= 0 && l.late[i].at.After(since); i-- {
		most = max(most, l.late[i].by)
	}
	return most
}

// starved reports whether silence over the last while says more about this machine than about the target.
func (f *fuzzer) starved(t *trouble) bool {
	if t.oracle != OracleHang || !t.late {
		return false
	}
	return f.lag.worst(time.Now().Add(-3*f.cfg.Patience)) > f.cfg.Patience/lagShare
}

// busyPatience is for how many times the patience a target is waited for that does not answer, and works.
const busyPatience = 2

// outlast waits for a target that does not answer because it has not yet done what was asked of it: that is slow, and no
// hang. The trouble is nil where it answers at last.
func (f *fuzzer) outlast(ctx context.Context, t *trouble, wait time.Duration) *trouble {
	if f.proc == nil || wait < f.cfg.Patience {
		return t
	}
	for limit := time.Now().Add(busyPatience * wait); t != nil && t.oracle == OracleHang && t.late && time.Now().Before(limit) && f.busy(ctx, spinSample, spinShare); {
		if t = f.guard.round(wait); t == nil {
			t = f.guard.probe(ctx, wait)
		}
	}
	return t
}
