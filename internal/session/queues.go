package session

import (
	"sort"

	"github.com/mqlab/mqlab/codec"
)

// queues is what has to wait. Most sessions never need it.
type queues struct {
	publish fifo[sendItem] // for the window or for storage, by seq; kept while disconnected for the expiries
	pubrel  fifo[sendItem] // for storage, by seq; seq 0: the identifier is unknown
	gate    fifo[gateItem] // by ticket: what a ticket lets go
	acks1   fifo[ackItem]  // PUBACKs in the order of the PUBLISH packets; the last one's Ref is ref1
	acks2   fifo[sendItem] // PUBRECs in the order of the PUBLISH packets; seq is the entry's ref
}

// wait returns the queues, made when first needed.
func (s *Session[H]) wait() *queues {
	if s.q == nil {
		s.q = new(queues)
	}
	return s.q
}

func (q *queues) empty() bool {
	return q.publish.len() == 0 && q.pubrel.len() == 0 && q.gate.len() == 0 && q.acks1.len() == 0 && q.acks2.len() == 0
}

// sendItem names an entry; the entry has moved on where its number differs.
type sendItem struct {
	seq     uint64
	expires Time
	id      uint16
}

// gateKind is what a ticket lets go.
type gateKind uint8

const (
	gatePublish gateKind = iota
	gatePubrel
	gatePuback
	gatePubrec
	gatePubcomp
)

type gateItem struct {
	ticket uint64
	ref    uint64 // seq of an outbound entry, ref of an inbound one
	id     uint16
	kind   gateKind
}

// What a PUBACK waits for.
const (
	ackHeld    uint8 = iota // the application
	ackStoring              // storage
	ackReady                // the PUBACKs before it
)

type ackItem struct {
	id     uint16
	reason codec.ReasonCode
	state  uint8
}

// fifo is a queue in a ring that grows and, once drained, is given back when it was large.
type fifo[T any] struct {
	buf  []T // a power of two, or nil
	head int
	n    int
}

func (f *fifo[T]) len() int { return f.n }

func (f *fifo[T]) at(i int) *T { return &f.buf[(f.head+i)&(len(f.buf)-1)] }

func (f *fifo[T]) front() T { return f.buf[f.head] }

func (f *fifo[T]) push(v T) {
	if f.n == len(f.buf) {
		next := make([]T, max(4, 2*f.n))
		for i := range f.n {
			next[i] = *f.at(i)
		}
		f.buf, f.head = next, 0
	}
	f.n++
	*f.at(f.n - 1) = v
}

func (f *fifo[T]) pop() T {
	v := f.buf[f.head]
	f.head = (f.head + 1) & (len(f.buf) - 1)
	f.n--
	if f.n == 0 && len(f.buf) > 1024 {
		f.reset()
	}
	return v
}

func (f *fifo[T]) reset() { *f = fifo[T]{} }

// expiry is the expiry of the item with the given number in a queue ordered by number, 0 where there is none.
func expiry(f *fifo[sendItem], seq uint64) Time {
	i := sort.Search(f.n, func(i int) bool { return f.at(i).seq >= seq })
	if i < f.n && f.at(i).seq == seq {
		return f.at(i).expires
	}
	return 0
}
