//go:build race

package transport

// raceEnabled: under the race detector sync.Pool drops objects at random, so allocations are not counted.
const raceEnabled = true
