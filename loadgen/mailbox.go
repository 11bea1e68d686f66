package loadgen

import "sync"

// mailbox takes what other goroutines want a worker to do.
type mailbox struct {
	wake  func()
	mu    sync.Mutex // guards queue and ended
	queue []func(*worker)
	ended bool
	spare []func(*worker)
}

// put queues work and reports whether the worker will do it.
func (m *mailbox) put(f func(*worker)) bool {
	m.mu.Lock()
	if m.ended {
		m.mu.Unlock()
		return false
	}
	m.queue = append(m.queue, f)
	m.mu.Unlock()
	m.wake()
	return true
}

// take does what is queued.
func (m *mailbox) take(w *worker) {
	m.mu.Lock()
	q := m.queue
	m.queue = m.spare[:0]
	m.mu.Unlock()
	for _, f := range q {
		f(w)
	}
	clear(q)
	m.spare = q
}

// close refuses further work and does what is left.
func (m *mailbox) close(w *worker) {
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
	m.take(w)
}

// ask has the worker compute something and waits for it. It is false once the worker has ended.
func ask[T any](w *worker, f func(*worker) T) (T, bool) {
	ch := make(chan T, 1)
	if !w.box.put(func(w *worker) { ch <- f(w) }) {
		var zero T
		return zero, false
	}
	return <-ch, true
}
