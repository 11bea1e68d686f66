package ledger

import (
	"iter"
	"math/bits"
	"slices"
	"sort"
)

// Span is a stretch of numbers, From included, To not.
type Span struct{ From, To uint64 }

// Len is how many numbers the stretch holds.
func (s Span) Len() uint64 {
	if s.To <= s.From {
		return 0
	}
	return s.To - s.From
}

func (s Span) intersect(o Span) Span { return Span{max(s.From, o.From), min(s.To, o.To)} }

// Set is a set of numbers: stretches while they are few, and bits of pages of 4,096 numbers for short stretches where
// they are many. The zero value is empty and ready, and a nil Set is empty for reading.
type Set struct {
	spans []Span // sorted, apart from one another by at least one number
	pages map[uint64]*page
	n     uint64
	bits  uint64 // of n, those in pages
	limit int    // of spans, before short ones become bits; 0 is spanLimit
}

const (
	pageBits  = 4096
	spanLimit = 256
	spanBytes = 16
	pageBytes = pageBits/8 + 24 // with its share of the map
)

type page [pageBits / 64]uint64

// Len is how many numbers the set holds.
func (s *Set) Len() uint64 {
	if s == nil {
		return 0
	}
	return s.n
}

// Bytes is the memory that the set takes.
func (s *Set) Bytes() int {
	if s == nil {
		return 0
	}
	return 64 + cap(s.spans)*spanBytes + len(s.pages)*pageBytes
}

// Add adds the numbers from to below to.
func (s *Set) Add(from, to uint64) { s.addSpan(Span{from, to}) }

func (s *Set) addSpan(a Span) {
	if a.Len() == 0 {
		return
	}
	// What comes in order, as losses do, goes to the end.
	i := len(s.spans)
	if i > 0 && s.spans[i-1].To >= a.From {
		i = sort.Search(len(s.spans), func(i int) bool { return s.spans[i].To >= a.From })
	}
	j := i
	for ; j < len(s.spans) && s.spans[j].From <= a.To; j++ {
		s.n -= s.spans[j].Len()
		a = Span{min(a.From, s.spans[j].From), max(a.To, s.spans[j].To)}
	}
	s.spans = slices.Replace(s.spans, i, j, a)
	s.n += a.Len()
	if s.bits > 0 {
		s.clearBits(a)
	}
	if limit := max(s.limit, spanLimit); len(s.spans) >= limit {
		s.fold(limit)
	}
}

// fold turns short stretches into bits.
func (s *Set) fold(limit int) {
	if s.pages == nil {
		s.pages = map[uint64]*page{}
	}
	long := s.spans[:0]
	for _, sp := range s.spans {
		if sp.Len() >= pageBits {
			long = append(long, sp)
			continue
		}
		for seq := sp.From; seq < sp.To; seq++ {
			p := s.pages[seq/pageBits]
			if p == nil {
				p = new(page)
				s.pages[seq/pageBits] = p
			}
			p[seq%pageBits/64] |= 1 << (seq % 64)
		}
		s.bits += sp.Len()
	}
	s.spans = long
	if len(long) >= limit/2 {
		s.limit = 2 * limit
	}
}

// clearBits takes the numbers of a stretch, which is in spans, out of the pages.
func (s *Set) clearBits(a Span) {
	for key := a.From / pageBits; key <= (a.To-1)/pageBits; key++ {
		p := s.pages[key]
		if p == nil {
			if uint64(len(s.pages)) < (a.To-1)/pageBits-key {
				s.clearFew(a, key)
				return
			}
			continue
		}
		s.clearPage(key, p, a)
	}
}

// clearFew is clearBits for a stretch over more pages than there are.
func (s *Set) clearFew(a Span, from uint64) {
	for key, p := range s.pages {
		if key >= from && key <= (a.To-1)/pageBits {
			s.clearPage(key, p, a)
		}
	}
}

func (s *Set) clearPage(key uint64, p *page, a Span) {
	in := a.intersect(Span{key * pageBits, (key + 1) * pageBits})
	for seq := in.From; seq < in.To; seq++ {
		if bit := uint64(1) << (seq % 64); p[seq%pageBits/64]&bit != 0 {
			p[seq%pageBits/64] &^= bit
			s.bits--
			s.n--
		}
	}
	if *p == (page{}) {
		delete(s.pages, key)
	}
}

// Remove takes a number out and reports whether it was there.
func (s *Set) Remove(seq uint64) bool {
	i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].To > seq })
	if i < len(s.spans) && s.spans[i].From <= seq {
		sp := s.spans[i]
		s.n--
		switch {
		case sp.Len() == 1:
			s.spans = slices.Delete(s.spans, i, i+1)
		case sp.From == seq:
			s.spans[i].From++
		case sp.To == seq+1:
			s.spans[i].To--
		default:
			s.spans[i].To = seq
			s.spans = slices.Insert(s.spans, i+1, Span{seq + 1, sp.To})
		}
		return true
	}
	p := s.pages[seq/pageBits]
	bit := uint64(1) << (seq % 64)
	if p == nil || p[seq%pageBits/64]&bit == 0 {
		return false
	}
	s.clearPage(seq/pageBits, p, Span{seq, seq + 1})
	return true
}

// Contains reports whether the set holds a number.
func (s *Set) Contains(seq uint64) bool {
	if s == nil {
		return false
	}
	_, ok := s.find(seq)
	return ok
}

// find returns a stretch of the set that holds the number, as far as it is known in one piece.
func (s *Set) find(seq uint64) (Span, bool) {
	i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].To > seq })
	if i < len(s.spans) && s.spans[i].From <= seq {
		return s.spans[i], true
	}
	p := s.pages[seq/pageBits]
	if p == nil || p[seq%pageBits/64]&(1<<(seq%64)) == 0 {
		return Span{}, false
	}
	return Span{seq, seq + 1}, true
}

// Overlap is how many numbers of the stretch the set holds.
func (s *Set) Overlap(a Span) uint64 {
	var n uint64
	s.within(a, func(sp Span) { n += sp.Len() })
	return n
}

func (s *Set) copyInto(dst *Set, a Span) {
	s.within(a, dst.addSpan)
}

// within calls f for the parts of the set in the stretch.
func (s *Set) within(a Span, f func(Span)) {
	if s == nil || a.Len() == 0 {
		return
	}
	i := sort.Search(len(s.spans), func(i int) bool { return s.spans[i].To > a.From })
	for ; i < len(s.spans) && s.spans[i].From < a.To; i++ {
		f(s.spans[i].intersect(a))
	}
	first, last := a.From/pageBits, (a.To-1)/pageBits
	if last-first < uint64(len(s.pages)) {
		for key := first; key <= last; key++ {
			s.pages[key].runs(key, a, f)
		}
		return
	}
	for key, p := range s.pages {
		if key >= first && key <= last {
			p.runs(key, a, f)
		}
	}
}

// runs calls f for each run of set bits within the stretch.
func (p *page) runs(key uint64, a Span, f func(Span)) {
	if p == nil {
		return
	}
	for w, word := range p {
		for word != 0 {
			low := uint64(bits.TrailingZeros64(word))
			run := uint64(bits.TrailingZeros64(^(word >> low)))
			base := key*pageBits + uint64(w)*64
			if sp := (Span{base + low, base + low + run}).intersect(a); sp.Len() > 0 {
				f(sp)
			}
			if low+run >= 64 {
				break
			}
			word &^= (1<<run - 1) << low
		}
	}
}

// All yields the numbers of the set as stretches, in no order. A run of numbers may come in several pieces.
func (s *Set) All() iter.Seq[Span] {
	return func(yield func(Span) bool) {
		if s == nil {
			return
		}
		for _, sp := range s.spans {
			if !yield(sp) {
				return
			}
		}
		for key, p := range s.pages {
			more := true
			p.runs(key, Span{0, ^uint64(0)}, func(sp Span) { more = more && yield(sp) })
			if !more {
				return
			}
		}
	}
}
