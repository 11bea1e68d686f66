// Package ledger verifies what a receiver got of numbered messages: which were lost, duplicated or came out of order.
//
// Start from [Stream], one sender's numbered messages as one receiver sees them: [Stream.Record] takes each arrival,
// [Stream.Settle] compares with what was sent. [Set] holds the numbers that are missing, or that are excused.
//
// Numbers start at 0 and have no holes at the sender. A Stream whose messages arrive in order costs its own size, 40 bytes,
// and does not allocate; a stretch that is missing costs 16 bytes, and where a great many are missing they cost a bit
// for each message. The caller must refuse numbers that were never sent: an arrival far ahead makes all before it missing.
//
// Nothing here locks, reads a clock or knows of MQTT: who is entitled to what is the caller's to say.
package ledger

// Outcome is what one arrival was.
type Outcome uint8

const (
	// InOrder is the number that was due next.
	InOrder Outcome = iota
	// Ahead is a first arrival that leaves numbers before it missing.
	Ahead
	// Late is a first arrival behind a later number.
	Late
	// Copy is a further arrival of a number that may come more than once.
	Copy
	// Duplicate is a further arrival that nothing allows.
	Duplicate
)

// Stream is what one receiver got of the numbered messages of one sender. The zero value is ready.
type Stream struct {
	next       uint64 // one above the highest number seen
	missing    *Set   // below next; nil while nothing is
	copies     *Stream
	duplicated uint64
	reordered  uint64
}

// Record takes the arrival of a number, of which copies may arrive: 1, or more where several subscriptions match.
func (s *Stream) Record(seq uint64, copies int) Outcome {
	if seq == s.next {
		s.next++
		return InOrder
	}
	return s.record(seq, copies)
}

func (s *Stream) record(seq uint64, copies int) Outcome {
	switch {
	case seq > s.next:
		if s.missing == nil {
			s.missing = new(Set)
		}
		s.missing.Add(s.next, seq)
		s.next = seq + 1
		return Ahead
	case s.missing != nil && s.missing.Remove(seq):
		s.reordered++
		return Late
	case copies > 1:
		if s.copies == nil {
			s.copies = new(Stream)
		}
		if s.copies.Record(seq, copies-1) != Duplicate {
			return Copy
		}
	}
	s.duplicated++
	return Duplicate
}

// Next is one above the highest number that arrived.
func (s *Stream) Next() uint64 { return s.next }

// Missing is how many numbers below Next have not arrived.
func (s *Stream) Missing() uint64 {
	if s.missing == nil {
		return 0
	}
	return s.missing.Len()
}

// Seen reports whether a number has arrived.
func (s *Stream) Seen(seq uint64) bool { return seq < s.next && !s.missing.Contains(seq) }

// Bytes is the memory that the Stream takes, itself included.
func (s *Stream) Bytes() int {
	n := streamBytes
	if s.missing != nil {
		n += s.missing.Bytes()
	}
	if s.copies != nil {
		n += s.copies.Bytes()
	}
	return n
}

// streamBytes is the size of a Stream.
const streamBytes = 40

// Claim is what the sender's side says of a stream.
type Claim struct {
	// Issued is how many numbers were given out.
	Issued uint64
	// Void are numbers that were never sent, or that the server refused: nobody waits for them. May be nil.
	Void *Set
	// Open are numbers that nobody promised to deliver, though they may have been. May be nil.
	Open *Set
	// Cuts are stretches of numbers sent on one connection that then broke. What was under way at its end may have got
	// lost with it: those at the end of the stretch from which on nothing arrived are open too.
	Cuts []Span
	// Excused are further stretches that are open for this receiver.
	Excused []Span
}

// Tally is the account of one stream or of many. Expected is the sum of Delivered, Lost and Unsettled.
type Tally struct {
	Expected   uint64 // numbers that the receiver was to get, or might
	Delivered  uint64 // different numbers that arrived
	Lost       uint64
	Duplicated uint64 // arrivals beyond those allowed
	Reordered  uint64 // first arrivals behind a later number
	Unsettled  uint64 // missing, and open
}

// Add adds another account.
func (t *Tally) Add(o Tally) {
	t.Expected += o.Expected
	t.Delivered += o.Delivered
	t.Lost += o.Lost
	t.Duplicated += o.Duplicated
	t.Reordered += o.Reordered
	t.Unsettled += o.Unsettled
}

// Settle compares what arrived with what was sent. A nil Stream is one of which nothing arrived.
func (s *Stream) Settle(c Claim) Tally {
	if s == nil {
		s = new(Stream)
	}
	t := Tally{Duplicated: s.duplicated, Reordered: s.reordered}
	t.Delivered = s.next - s.Missing()
	judge := func(m Span) {
		lost, open := c.judge(s, m)
		t.Lost += lost
		t.Unsettled += open
	}
	if s.missing != nil {
		for m := range s.missing.All() {
			judge(m)
		}
	}
	if s.next < c.Issued {
		judge(Span{s.next, c.Issued})
	}
	t.Expected = t.Delivered + t.Lost + t.Unsettled
	return t
}

// judge divides a missing stretch into what is lost and what is open; what is void is neither.
func (c *Claim) judge(s *Stream, m Span) (lost, open uint64) {
	void := c.Void.Overlap(m)
	if void == m.Len() {
		return 0, 0
	}
	if c.Open.Overlap(m) == 0 && len(c.Cuts) == 0 && len(c.Excused) == 0 {
		return m.Len() - void, 0
	}
	var out Set // what is not lost
	c.Void.copyInto(&out, m)
	c.Open.copyInto(&out, m)
	for _, e := range c.Excused {
		out.addSpan(e.intersect(m))
	}
	for _, cut := range c.Cuts {
		if cut.To <= m.From || cut.From >= m.To {
			continue
		}
		// Only a run of missing numbers that reaches the connection's end is excused.
		if from := max(cut.From, c.runStart(s, cut.To, cut.From)); from < cut.To {
			out.addSpan(Span{from, cut.To}.intersect(m))
		}
	}
	return m.Len() - out.Len(), out.Len() - void
}

// runStart is where the run of missing or void numbers that ends before to begins, not below floor.
func (c *Claim) runStart(s *Stream, to, floor uint64) uint64 {
	for to > floor {
		switch at := to - 1; {
		case at >= s.next:
			to = max(s.next, floor)
			continue
		case s.missing == nil:
			return to
		default:
			span, ok := s.missing.find(at)
			if !ok {
				return to
			}
			to = max(span.From, floor)
		}
	}
	return to
}
