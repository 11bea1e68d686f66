package loadgen

// What a timer is for.
type timerKind uint8

const (
	timerEmit     timerKind = iota // arg: the emitter
	timerDial                      // the client connects
	timerDeadline                  // an answer is overdue
	timerPing                      // Keep Alive
	timerLink                      // the client's link has bytes to let go
	timerCut                       // the client's link breaks
	timerRest                      // after a cut: the connection that fell silent is reset
	timerPhase                     // arg: the phase; of the worker
	timerCount
)

// timer is an instant at which a client, by its place in the worker, has something to do. Timers are not taken back: a
// client knows by at and gen which of its timers count.
type timer struct {
	at     int64
	client int32
	gen    uint16
	arg    uint8
	kind   timerKind
}

// timers is a heap of four children a node: half as deep as one of two, with the children in one cache line.
type timers []timer

func (h *timers) push(t timer) {
	s := append(*h, t)
	i := len(s) - 1
	for i > 0 {
		up := (i - 1) / 4
		if s[up].at <= t.at {
			break
		}
		s[i] = s[up]
		i = up
	}
	s[i] = t
	*h = s
}

func (h timers) next() int64 {
	if len(h) == 0 {
		return never
	}
	return h[0].at
}

func (h *timers) pop() timer {
	s := *h
	top := s[0]
	last := s[len(s)-1]
	s = s[:len(s)-1]
	*h = s
	if len(s) == 0 {
		return top
	}
	i := 0
	for {
		first := 4*i + 1
		if first >= len(s) {
			break
		}
		least := first
		for j := first + 1; j < min(first+4, len(s)); j++ {
			if s[j].at < s[least].at {
				least = j
			}
		}
		if s[least].at >= last.at {
			break
		}
		s[i] = s[least]
		i = least
	}
	s[i] = last
	return top
}
