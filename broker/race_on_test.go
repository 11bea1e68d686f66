//go:build race

package broker_test

// raceEnabled says that the race detector is on, whose bookkeeping counts as memory.
const raceEnabled = true
