package broker

import "github.com/mqlab/mqlab/codec"

// queue holds the QoS 1 and 2 messages that wait for a Session: for its Client to come back,
// for its window, or for its socket. The zero value is empty.
type queue struct {
	items []waiting // a ring
	head  int
	n     int
	bytes int
}

type waiting struct {
	d   *delivery
	qos codec.QoS
}

// accepts reports whether a message still fits; the first one always does.
func (q *queue) accepts(d *delivery, msgs, bytes int) bool {
	return q.n == 0 || q.n < msgs && q.bytes+d.size() <= bytes
}

func (q *queue) push(d *delivery, qos codec.QoS) {
	if q.n == len(q.items) {
		bigger := make([]waiting, max(4, 2*q.n))
		k := copy(bigger, q.items[q.head:])
		copy(bigger[k:], q.items[:q.head])
		q.items, q.head = bigger, 0
	}
	q.items[(q.head+q.n)&(len(q.items)-1)] = waiting{d, qos}
	q.n++
	q.bytes += d.size()
}

// pop takes the oldest message; the queue is not empty.
func (q *queue) pop() waiting {
	w := q.items[q.head]
	q.items[q.head] = waiting{}
	q.head = (q.head + 1) & (len(q.items) - 1)
	q.n--
	q.bytes -= w.d.size()
	if q.n == 0 {
		*q = queue{}
	}
	return w
}
