package fuzz

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// corpus holds the scripts that led somewhere new, and how often each state was met. It is guarded by its owner.
type corpus struct {
	entries []*entry
	states  map[uint64]int
	edges   map[uint64]int
	seeds   []*Script // to be executed first
}

// entry is a script that is kept.
type entry struct {
	script *Script
	rare   uint64 // the state that it was kept for
	picked int
}

const (
	maxEntries = 4096
	maxKept    = 64 << 10 // bytes that a script that is kept may send
)

func newCorpus() *corpus { return &corpus{states: map[uint64]int{}, edges: map[uint64]int{}} }

func (c *corpus) takeSeed() *Script {
	if len(c.seeds) == 0 {
		return nil
	}
	s := c.seeds[len(c.seeds)-1]
	c.seeds = c.seeds[:len(c.seeds)-1]
	return s
}

// pick chooses the one of three whose state was met least, and that was chosen least itself.
func (c *corpus) pick(src *source) *Script {
	if len(c.entries) == 0 {
		return nil
	}
	var best *entry
	for range 3 {
		e := c.entries[src.n(len(c.entries))]
		if best == nil || c.weight(e) < c.weight(best) {
			best = e
		}
	}
	best.picked++
	return best.script
}

func (c *corpus) weight(e *entry) int { return c.states[e.rare] + 4*e.picked }

// learn counts the states of an execution, and keeps the script where one is new.
func (c *corpus) learn(s *Script, r *result) *entry {
	var rare uint64
	fresh := false
	for _, h := range r.states {
		if c.states[h] == 0 {
			fresh, rare = true, h
		}
		c.states[h]++
	}
	for _, h := range r.edges {
		// There are many more edges than states: one in four is enough.
		if c.edges[h] == 0 && !fresh && h%4 == 0 {
			fresh = true
			rare = r.states[len(r.states)-1]
		}
		c.edges[h]++
	}
	if !fresh || size(s) > maxKept {
		return nil
	}
	e := &entry{script: s, rare: rare}
	c.add(e)
	return e
}

// keep keeps a script for another reason than its states. It is chosen as if its state were new.
func (c *corpus) keep(s *Script) bool {
	for _, e := range c.entries[max(0, len(c.entries)-64):] {
		if e.script == s {
			return false
		}
	}
	c.add(&entry{script: s})
	return true
}

func (c *corpus) add(e *entry) {
	if len(c.entries) < maxEntries {
		c.entries = append(c.entries, e)
		return
	}
	// The one whose state is commonest makes room.
	worst := slices.MaxFunc(c.entries[:min(len(c.entries), 64)], func(a, b *entry) int { return c.weight(a) - c.weight(b) })
	*worst = *e
}

// size counts the bytes that a script holds.
func size(s *Script) int {
	n := 0
	for i := range s.Steps {
		n += len(s.Steps[i].Bytes)
	}
	return n
}

// load reads the scripts of a folder, which need not exist, to be executed first. It says which files it could not use.
func (c *corpus) load(dir string) (notes []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, fmt.Errorf("read the corpus: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the corpus: %w; choose another one", err)
	}
	slices.Sort(files)
	foreign := 0
	for _, file := range files {
		if filepath.Ext(file) != ".txt" {
			foreign++
			continue
		}
		s, err := readScriptFile(file)
		if err != nil {
			notes = append(notes, fmt.Sprintf("%s is left out of the corpus: %v", file, err))
			continue
		}
		c.seeds = append(c.seeds, s)
	}
	if foreign > 0 {
		notes = append(notes, fmt.Sprintf("%s in %s that are no scripts are left out; mqlab fuzz import makes scripts of captures and of other fuzzers' files", plural(int64(foreign), "file"), dir))
	}
	return notes, nil
}

func readScriptFile(file string) (*Script, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadScript(f)
}

// corpusFile returns the file of a script in a corpus, whose name its text decides.
func corpusFile(dir string, s *Script) (name string, text []byte) {
	text = []byte(s.Text())
	h := fnv.New64a()
	_, _ = h.Write(text)
	return filepath.Join(dir, fmt.Sprintf("%016x.txt", h.Sum64())), text
}

// save keeps a script for the next run. What cannot be written is not kept.
func (c *corpus) save(dir string, s *Script) {
	_, _ = AddToCorpus(dir, []*Script{s})
}

// ring keeps the last scripts of a worker.
type ring struct {
	mu   sync.Mutex // guards the fields below
	last []ringEntry
}

type ringEntry struct {
	script *Script
	at     int64
}

const ringSize = 24

func (r *ring) add(s *Script, at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last) == ringSize {
		copy(r.last, r.last[1:])
		r.last = r.last[:ringSize-1]
	}
	r.last = append(r.last, ringEntry{s, at})
}

// again counts a script as executed later than it was begun.
func (r *ring) again(s *Script, at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.last {
		if r.last[i].script == s {
			r.last[i].at = at
		}
	}
}

// before returns what was sent before a script, the latest last.
func (r *ring) before(s *Script) []*Script {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*Script
	for _, e := range r.last {
		if e.script == s {
			break
		}
		all = append(all, e.script)
	}
	return all
}

// suspects returns the last scripts of all workers, the latest first.
func suspects(rings []*ring) []*Script {
	var all []ringEntry
	for _, r := range rings {
		r.mu.Lock()
		all = append(all, r.last...)
		r.mu.Unlock()
	}
	slices.SortStableFunc(all, func(a, b ringEntry) int { return int(b.at - a.at) })
	out := make([]*Script, len(all))
	for i, e := range all {
		out[i] = e.script
	}
	return out
}

// forget empties the rings: what they hold was sent to another process.
func forget(rings []*ring) {
	for _, r := range rings {
		r.mu.Lock()
		r.last = r.last[:0]
		r.mu.Unlock()
	}
}

// joined returns one script that does what several do, one after the other. None but the last waits for long.
func joined(all []*Script) *Script {
	if len(all) == 1 {
		return all[0]
	}
	s := &Script{Version: all[0].Version}
	for i, x := range all {
		if x.Version != s.Version && s.Version == 0 {
			s.Version = x.Version
		}
		from := len(s.Steps)
		s.Steps = append(s.Steps, x.Steps...)
		for k := from; k < len(s.Steps) && i < len(all)-1; k++ {
			if st := &s.Steps[k]; st.Op == Pause {
				st.Gap = min(st.Gap, mostPause)
			}
		}
		if slices.ContainsFunc(x.Steps, func(st Step) bool { return st.Op == Meanwhile }) {
			s.Steps = append(s.Steps, Step{Op: Afterwards})
		}
		for c := range uint8(MaxConns) {
			if slices.ContainsFunc(x.Steps, func(st Step) bool { return st.Op == Open && st.Conn == c }) {
				s.Steps = append(s.Steps, Step{Op: Close, Conn: c})
			}
		}
	}
	return s
}
