package fuzz

import "math/rand/v2"

// source makes the choices of a generator, from a seed or from bytes. A source of bytes that are used up always
// chooses 0, so that what it leads to comes to an end.
type source struct {
	pcg   *rand.PCG
	bytes []byte // where pcg is nil
}

// n chooses a number below n, which is at least 1.
func (s *source) n(n int) int {
	if n <= 1 {
		return 0
	}
	if s.pcg != nil {
		return int((s.pcg.Uint64() >> 32) * uint64(n) >> 32)
	}
	v := int(s.byte())
	if n > 256 {
		v = v<<8 | int(s.byte())
	}
	if n > 1<<16 {
		v = v<<8 | int(s.byte())
	}
	return v % n
}

func (s *source) byte() byte {
	if s.pcg != nil {
		return byte(s.pcg.Uint64() >> 56)
	}
	if len(s.bytes) == 0 {
		return 0
	}
	b := s.bytes[0]
	s.bytes = s.bytes[1:]
	return b
}

// percent is true so often in a hundred.
func (s *source) percent(p int) bool { return s.n(100) >= 100-p }

// ended reports whether no byte is left to choose by.
func (s *source) ended() bool { return s.pcg == nil && len(s.bytes) == 0 }

// weighted chooses an index in proportion to the weights.
func (s *source) weighted(weights []int) int {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	k := s.n(sum)
	for i, w := range weights {
		if k -= w; k < 0 {
			return i
		}
	}
	return len(weights) - 1
}

// pick chooses one of the values.
func pick[T any](s *source, from []T) T { return from[s.n(len(from))] }
