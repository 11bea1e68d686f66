// Package store keeps MQTT sessions for package client: [Open] in a file, through crashes of the process and of
// the machine, [Memory] for as long as the process lives.
//
// A store holds one session and serves one client at a time. Its owner closes it, after the client.
package store

import (
	"bytes"
	"iter"
	"maps"
	"slices"
	"sync"
)

// Mem is a store in memory, for a session that outlives its client but not its process.
type Mem struct {
	mu      sync.Mutex // guards records
	records map[string][]byte
}

// Memory makes an empty Mem.
func Memory() *Mem { return &Mem{records: map[string][]byte{}} }

// Load yields the records in order.
func (m *Mem) Load(yield func(key, value []byte) error) error {
	m.mu.Lock()
	records := maps.Clone(m.records)
	m.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(records)) {
		if err := yield([]byte(k), records[k]); err != nil {
			return err
		}
	}
	return nil
}

// Commit applies changes; a nil value deletes.
func (m *Mem) Commit(changes iter.Seq2[[]byte, []byte]) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, v := range changes {
		if v == nil {
			delete(m.records, string(k))
			continue
		}
		m.records[string(k)] = bytes.Clone(v)
	}
	return nil
}

// Len returns the number of records.
func (m *Mem) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.records)
}
