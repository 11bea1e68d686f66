package loadgen

import "math"

// Randomness is drawn by counters, not from a stream: what message k of a client looks like depends on the seed, the client
// and k alone, so that a message can be made again for resending and the same seed gives the same run on any number of
// workers.

// mix is a bijection that spreads every bit over all others.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// draw is the random number of a place: a few counters.
func draw(seed, a, b, c uint64) uint64 {
	return mix(mix(mix(seed+0x9e3779b97f4a7c15*(a+1))+0xd1b54a32d192ed03*(b+1)) + 0x8cb92ba72f3d8dd7*(c+1))
}

// unit turns a random number into one from 0 to below 1.
func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }

// exponential turns a random number into an exponentially distributed one of mean 1.
func exponential(x uint64) float64 { return -math.Log1p(-unit(x)) }

// normal turns a random number into a normally distributed one.
func normal(x uint64) float64 {
	u, v := unit(x), unit(mix(x+0x9e3779b97f4a7c15))
	return math.Sqrt(-2*math.Log1p(-u)) * math.Cos(2*math.Pi*v)
}

// What draws are for: the first counter of each.
const (
	forGap uint64 = iota + 1
	forQoS
	forSize
	forText
	forTopic
	forStorm
	forCut
	forBackoff
	forJitter
	forClient
)
