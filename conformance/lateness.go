package conformance

import (
	"sync/atomic"
	"time"
)

// lateness measures how late the suite itself gets to what is due. Whatever it measures of others
// may be off by as much.
type lateness struct {
	most atomic.Int64
	stop chan struct{}
	done chan struct{}
}

const latenessEvery = 50 * time.Millisecond

func newLateness() *lateness {
	l := &lateness{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		timer := time.NewTimer(latenessEvery)
		defer timer.Stop()
		for {
			due := time.Now().Add(latenessEvery)
			timer.Reset(latenessEvery)
			select {
			case <-timer.C:
			case <-l.stop:
				return
			}
			if late := int64(time.Since(due)); late > l.most.Load() {
				l.most.Store(late)
			}
		}
	}()
	return l
}

// worst is the most by which a measured pause may be too long: what began it may have been seen in
// time, and what ended it late. A nil lateness was never late.
func (l *lateness) worst() time.Duration {
	if l == nil {
		return 0
	}
	return 2 * time.Duration(l.most.Load())
}

func (l *lateness) end() {
	close(l.stop)
	<-l.done
}
