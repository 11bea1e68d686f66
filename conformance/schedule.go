package conformance

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// maxDeaths bounds how often a target is started again: past it the rest stays undecided.
const maxDeaths = 25

// schedule runs the jobs of a run. Checks that need the target restarted run alone, after all
// others. A target that the suite started and that dies is started again, and the check that
// killed it is looked for.
type schedule struct {
	*run
	results []*CheckResult

	mu   sync.Mutex // guards the fields below and serialises events
	told []bool     // the job's end was reported
	done int
}

// execute runs every job and returns the results of those that ran.
func (r *run) execute(ctx context.Context) []*CheckResult {
	s := &schedule{run: r, results: make([]*CheckResult, len(r.jobs)), told: make([]bool, len(r.jobs))}
	var together, alone []int
	for i, j := range r.jobs {
		if j.check.Needs&CapRestart != 0 {
			alone = append(alone, i)
		} else {
			together = append(together, i)
		}
	}
	s.runAll(ctx, together, r.cfg.Parallel)
	for _, i := range alone {
		s.runAll(ctx, []int{i}, 1)
	}
	for _, res := range s.results {
		if res != nil && res.Verdict < Warn && !r.cfg.Transcripts {
			res.Transcript = nil
		}
	}
	return slices.DeleteFunc(s.results, func(c *CheckResult) bool { return c == nil })
}

func (s *schedule) emit(i int, done *CheckResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if done != nil {
		if s.told[i] {
			return
		}
		s.told[i] = true
		s.done++
	}
	if s.cfg.Events != nil {
		j := s.jobs[i]
		s.cfg.Events(Event{Check: j.check.Name, Version: j.version, Done: done, Number: s.done, Total: len(s.jobs)})
	}
}

// runAll runs the jobs side by side, through all deaths of the target.
func (s *schedule) runAll(ctx context.Context, jobs []int, parallel int) {
	for len(jobs) > 0 && ctx.Err() == nil {
		rest, suspects, epoch := s.pool(ctx, jobs, parallel)
		if epoch == nil {
			return
		}
		s.investigate(ctx, suspects, epoch)
		jobs = rest
	}
}

// pool runs jobs on a bounded number of goroutines until all are done or the target dies. Then
// it returns those that did not begin, those during which it may have died, and the epoch.
func (s *schedule) pool(ctx context.Context, jobs []int, parallel int) (rest, suspects []int, over *epoch) {
	gen, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	var e *epoch
	if s.server != nil {
		e = s.server.current()
		watch.Go(func() {
			select {
			case <-e.died:
				cancel()
			case <-gen.Done():
			}
		})
	}
	type span struct {
		job   int
		ended time.Time
	}
	var mu sync.Mutex // guards spans
	var spans []span
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(parallel, len(jobs)) {
		workers.Go(func() {
			for i := range next {
				s.emit(i, nil)
				res := s.runCheck(gen, s.jobs[i])
				s.results[i] = res
				mu.Lock()
				spans = append(spans, span{i, time.Now()})
				mu.Unlock()
				if gen.Err() == nil || ctx.Err() != nil {
					s.emit(i, res)
				}
			}
		})
	}
	rest = jobs
feed:
	for len(rest) > 0 {
		select {
		case <-gen.Done():
			break feed
		default:
		}
		select {
		case next <- rest[0]:
			rest = rest[1:]
		case <-gen.Done():
			break feed
		}
	}
	close(next)
	workers.Wait()
	if e != nil {
		// A process that dies of the last packet may take a moment to be gone.
		select {
		case <-e.died:
		case <-time.After(shortlyAgo):
		case <-ctx.Done():
		}
	}
	cancel()
	watch.Wait()
	if e == nil || ctx.Err() != nil {
		return nil, nil, nil
	}
	select {
	case <-e.died:
	default:
		return nil, nil, nil
	}
	for _, x := range spans {
		res, ago := s.results[x.job], shortlyAgo
		if res.Verdict == Inconclusive {
			ago = lately
		}
		if x.ended.After(e.dead.At.Add(-ago)) && res.Elapsed > 0 {
			suspects = append(suspects, x.job)
		}
	}
	slices.Sort(suspects)
	return rest, suspects, e
}

// investigate finds out which of the suspects kills the target: each runs alone, on a target
// that was started for it. The others get the verdict of that run.
func (s *schedule) investigate(ctx context.Context, suspects []int, e *epoch) {
	death := *e.dead
	for _, i := range suspects {
		death.During = append(death.During, s.jobs[i].String())
	}
	if len(suspects) == 1 {
		s.blame(suspects[0], &death)
		suspects = nil
	}
	for k, i := range suspects {
		if s.server.dead() || s.server.took < quickStart || k == 0 {
			if !s.startAgain(ctx, suspects[k:]) {
				break
			}
		}
		_, guilty, again := s.pool(ctx, []int{i}, 1)
		if again == nil {
			continue
		}
		if death.Culprit == "" && len(guilty) > 0 {
			death.Status, death.Output = again.dead.Status, again.dead.Output
			s.blame(i, &death)
			s.server.record(again, death)
			s.server.mu.Lock()
			e.told = true // one death and its repetition are one finding
			s.server.mu.Unlock()
			continue
		}
		another := *again.dead
		another.During = []string{s.jobs[i].String()}
		s.blame(i, &another)
		s.server.record(again, another)
	}
	s.server.record(e, death)
	if s.server.dead() && s.died.Load() == nil {
		s.startAgain(ctx, nil)
	}
}

// startAgain starts the target after a death. Where that cannot be, what is left stays undecided.
func (s *schedule) startAgain(ctx context.Context, left []int) bool {
	err := error(nil)
	if n := s.server.count(); n >= maxDeaths {
		err = fmt.Errorf("it died %d times and is not started again", n)
	} else if s.died.Load() == nil {
		err = s.server.start(ctx)
	}
	if err == nil && s.died.Load() == nil {
		return true
	}
	if err != nil {
		why := err.Error()
		s.died.CompareAndSwap(nil, &why)
	}
	for _, i := range left {
		res := s.skip(s.jobs[i])
		if res != nil {
			s.results[i] = res
			s.emit(i, res)
		}
	}
	return false
}

// blame gives the check the verdict that it killed the target.
func (s *schedule) blame(i int, d *Death) {
	d.Culprit = s.jobs[i].String()
	res := s.results[i]
	res.Verdict, res.Reason = BrokerDied, d.String()
	s.emit(i, res)
}

// String names the job in reports.
func (j job) String() string { return j.check.Name + " (MQTT " + j.version.String() + ")" }
