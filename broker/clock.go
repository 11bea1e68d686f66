package broker

import "time"

// Clock is where a Broker takes the time and its timers from. The zero Config uses the system's,
// which inside a testing/synctest bubble is the bubble's.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f on a goroutine of its own once d has passed, unless stopped before.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is a call that a Clock has scheduled.
type Timer interface {
	// Stop reports whether it prevented the call.
	Stop() bool
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
