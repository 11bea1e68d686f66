package ledger

import (
	"fmt"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestStream(t *testing.T) {
	for _, tc := range []struct {
		name     string
		arrivals []uint64
		copies   int
		claim    Claim
		want     Tally
	}{
		{"nothing sent", nil, 1, Claim{}, Tally{}},
		{"all in order", []uint64{0, 1, 2}, 1, Claim{Issued: 3}, Tally{Expected: 3, Delivered: 3}},
		{"nothing arrived", nil, 1, Claim{Issued: 3}, Tally{Expected: 3, Lost: 3}},
		{"first lost", []uint64{1, 2}, 1, Claim{Issued: 3}, Tally{Expected: 3, Delivered: 2, Lost: 1}},
		{"late", []uint64{0, 2, 1}, 1, Claim{Issued: 3}, Tally{Expected: 3, Delivered: 3, Reordered: 1}},
		{"twice", []uint64{0, 1, 1, 0}, 1, Claim{Issued: 2}, Tally{Expected: 2, Delivered: 2, Duplicated: 2}},
		{"late and twice", []uint64{0, 2, 1, 1}, 1, Claim{Issued: 3}, Tally{Expected: 3, Delivered: 3, Reordered: 1, Duplicated: 1}},
		{"one copy of two", []uint64{0, 1}, 2, Claim{Issued: 2}, Tally{Expected: 2, Delivered: 2}},
		{"two copies of two", []uint64{0, 0, 1, 1}, 2, Claim{Issued: 2}, Tally{Expected: 2, Delivered: 2}},
		{"three copies of two", []uint64{0, 0, 0, 1}, 2, Claim{Issued: 2}, Tally{Expected: 2, Delivered: 2, Duplicated: 1}},
		{"void", []uint64{0, 3}, 1, Claim{Issued: 4, Void: set(1, 2)}, Tally{Expected: 3, Delivered: 2, Lost: 1}},
		{"open", []uint64{0, 3}, 1, Claim{Issued: 5, Open: set(1, 2, 4, 5)}, Tally{Expected: 5, Delivered: 2, Lost: 1, Unsettled: 2}},
		{"open and arrived", []uint64{0, 1}, 1, Claim{Issued: 2, Open: set(1, 2)}, Tally{Expected: 2, Delivered: 2}},
		{
			"lost with the connection",
			[]uint64{0, 2, 5, 6},
			1,
			Claim{Issued: 7, Cuts: []Span{{0, 5}}},
			Tally{Expected: 7, Delivered: 4, Lost: 1, Unsettled: 2}, // 3 and 4; 1 was lost before 2 arrived
		},
		{
			"two connections lost as a whole",
			[]uint64{0, 9},
			1,
			Claim{Issued: 10, Cuts: []Span{{0, 4}, {4, 8}}},
			Tally{Expected: 10, Delivered: 2, Lost: 1, Unsettled: 7}, // 8 went out on the third
		},
		{
			"nothing after the cut",
			[]uint64{0},
			1,
			Claim{Issued: 4, Cuts: []Span{{0, 3}}},
			Tally{Expected: 4, Delivered: 1, Lost: 1, Unsettled: 2},
		},
		{
			"excused",
			[]uint64{0, 5},
			1,
			Claim{Issued: 6, Excused: []Span{{1, 3}}, Void: set(2, 3)},
			Tally{Expected: 5, Delivered: 2, Lost: 2, Unsettled: 1},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s Stream
			for _, a := range tc.arrivals {
				s.Record(a, tc.copies)
			}
			if diff := cmp.Diff(tc.want, s.Settle(tc.claim)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSettleNil(t *testing.T) {
	want := Tally{Expected: 7, Lost: 7}
	if diff := cmp.Diff(want, (*Stream)(nil).Settle(Claim{Issued: 7})); diff != "" {
		t.Error(diff)
	}
}

func set(spans ...uint64) *Set {
	s := new(Set)
	for i := 0; i < len(spans); i += 2 {
		s.Add(spans[i], spans[i+1])
	}
	return s
}

// TestAgainstModel compares with maps, over histories that make the sets go through all their forms.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		issued := uint64(rapid.IntRange(1, 12_000).Draw(t, "issued"))
		copies := rapid.IntRange(1, 3).Draw(t, "copies")
		drop := rapid.Uint64Range(2, 50).Draw(t, "one in so many lost")
		repeat := rapid.Uint64Range(2, 50).Draw(t, "one in so many repeated")
		hold := rapid.Uint64Range(2, 50).Draw(t, "one in so many late")
		seed := rapid.Uint64().Draw(t, "seed")
		random := func(n, i uint64) bool { return mix(seed+n*1e9+i)%max(1, n) == 0 }

		claim := Claim{Issued: issued, Void: new(Set), Open: new(Set)}
		void, open := map[uint64]bool{}, map[uint64]bool{}
		var (
			s          Stream
			seen       = map[uint64]int{}
			high       = -1
			reordered  uint64
			duplicated uint64
			held       []uint64
		)
		arrive := func(seq uint64) {
			seen[seq]++
			var want Outcome
			switch {
			case seen[seq] > copies:
				duplicated++
				want = Duplicate
			case seen[seq] > 1:
				want = Copy
			case int(seq) < high:
				reordered++
				want = Late
			case int(seq) > high+1:
				want = Ahead
			}
			high = max(high, int(seq))
			if s.Seen(seq) != (seen[seq] > 1) {
				t.Fatalf("%d seen: %v", seq, s.Seen(seq))
			}
			if got := s.Record(seq, copies); got != want {
				t.Fatalf("record %d: %v, want %v", seq, got, want)
			}
		}
		for seq := range issued {
			switch {
			case random(drop, seq):
				switch seq % 3 {
				case 0:
					claim.Void.Add(seq, seq+1)
					void[seq] = true
				case 1:
					claim.Open.Add(seq, seq+1)
					open[seq] = true
				}
				continue
			case random(hold, seq):
				held = append(held, seq)
				continue
			}
			arrive(seq)
			if random(repeat, seq) {
				arrive(seq)
			}
			if len(held) > 20 {
				arrive(held[0])
				held = held[1:]
			}
		}
		for _, seq := range held {
			arrive(seq)
		}
		want := Tally{Duplicated: duplicated, Reordered: reordered, Delivered: uint64(len(seen))}
		for seq := range issued {
			switch {
			case seen[seq] > 0 || void[seq]:
			case open[seq]:
				want.Unsettled++
			default:
				want.Lost++
			}
		}
		want.Expected = want.Delivered + want.Lost + want.Unsettled
		if diff := cmp.Diff(want, s.Settle(claim)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestSetAgainstModel adds and removes at random places.
func TestSetAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Set
		model := map[uint64]bool{}
		const top = 30_000
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			at := rapid.Uint64Range(0, top).Draw(t, "at")
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				n := rapid.Uint64Range(1, 9000).Draw(t, "long")
				s.Add(at, at+n)
				for i := range n {
					model[at+i] = true
				}
			case 1, 2:
				if got := s.Remove(at); got != model[at] {
					t.Fatalf("remove %d: %v", at, got)
				}
				delete(model, at)
			default:
				n := rapid.Uint64Range(1, 3).Draw(t, "short")
				s.Add(at, at+n)
				for i := range n {
					model[at+i] = true
				}
			}
		}
		if s.Len() != uint64(len(model)) {
			t.Fatalf("holds %d, want %d", s.Len(), len(model))
		}
		got := map[uint64]bool{}
		for sp := range s.All() {
			for seq := sp.From; seq < sp.To; seq++ {
				if got[seq] {
					t.Fatalf("%d comes twice", seq)
				}
				got[seq] = true
			}
		}
		if diff := cmp.Diff(model, got); diff != "" {
			t.Fatal(diff)
		}
		from := rapid.Uint64Range(0, top).Draw(t, "from")
		to := from + rapid.Uint64Range(0, top).Draw(t, "len")
		var want uint64
		for seq := from; seq < to; seq++ {
			if model[seq] {
				want++
			}
		}
		if n := s.Overlap(Span{from, to}); n != want {
			t.Fatalf("overlap %d, want %d", n, want)
		}
	})
}

func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// TestFarAhead holds the promise that a stretch costs the same however long it is.
func TestFarAhead(t *testing.T) {
	var s Stream
	for i := range uint64(1000) {
		s.Record(i<<32, 1)
	}
	if n := s.Bytes(); n > 64<<10 {
		t.Errorf("1,000 stretches take %d bytes", n)
	}
	if got := s.Settle(Claim{Issued: 1000 << 32}); got.Delivered != 1000 || got.Lost != 1000<<32-1000 {
		t.Errorf("got %+v", got)
	}
}

func TestMemory(t *testing.T) {
	if n := unsafe.Sizeof(Stream{}); n != streamBytes {
		t.Errorf("a Stream takes %d bytes, documented are %d", n, streamBytes)
	}
	var s Stream
	const n = 1_000_000
	for i := uint64(0); i < n; i += 2 {
		s.Record(i, 1)
	}
	if got, most := s.Bytes(), n/8+n/8/4; got > most {
		t.Errorf("every second of %d messages lost takes %d bytes, want at most %d", n, got, most)
	}
	var i uint64
	var in Stream
	if a := testing.AllocsPerRun(1000, func() { in.Record(i, 1); i++ }); a != 0 {
		t.Errorf("an arrival in order allocates %v times", a)
	}
	if in.Bytes() != streamBytes {
		t.Errorf("in order: %d bytes", in.Bytes())
	}
}

func BenchmarkRecord(b *testing.B) {
	for _, every := range []uint64{0, 100, 2} {
		b.Run(fmt.Sprintf("lost=1in%d", every), func(b *testing.B) {
			b.ReportAllocs()
			var s Stream
			var seq uint64
			for b.Loop() {
				seq++
				if every != 0 && seq%every == 0 {
					seq++
				}
				s.Record(seq, 1)
			}
		})
	}
}

func ExampleStream() {
	var s Stream
	for _, seq := range []uint64{0, 1, 4, 3, 3} {
		s.Record(seq, 1)
	}
	fmt.Printf("%+v\n", s.Settle(Claim{Issued: 6}))
	// Output: {Expected:6 Delivered:4 Lost:2 Duplicated:1 Reordered:1 Unsettled:0}
}
