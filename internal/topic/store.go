package topic

import (
	"strings"
	"sync"
)

// Store maps Topic Names to values and finds them by Topic Filter: a broker's Retained
// Messages. The zero value is empty and ready. All methods are safe for concurrent use.
type Store[V any] struct {
	mu    sync.RWMutex // guards names and paths
	names map[string]*node[Entry[V]]
	paths trie[Entry[V]]
}

// Entry is one name of a Store with its value.
type Entry[V any] struct {
	Name  string
	Value V
}

// usedEntry is the bit of node.used that says a name ends at the node.
const usedEntry uint8 = 1

// Set stores the value of a Topic Name, which has to be valid, and reports whether it
// replaced one.
func (s *Store[V]) Set(name string, v V) (replaced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.names[name]; n != nil {
		n.load.Value = v
		return true
	}
	name = strings.Clone(name)
	n := s.paths.obtain(name, 0)
	n.used = usedEntry
	n.load = Entry[V]{name, v}
	if s.names == nil {
		s.names = make(map[string]*node[Entry[V]])
	}
	s.names[name] = n
	return false
}

// Delete removes a name and reports whether it was there.
func (s *Store[V]) Delete(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[name] == nil {
		return false
	}
	grand, parent, n := s.paths.find(name, 0)
	n.used = 0
	n.load = Entry[V]{}
	s.paths.settle(grand, parent, n)
	delete(s.names, name)
	if len(s.names) == 0 {
		s.names = nil // a map does not shrink
	}
	return true
}

// Get returns the value of a name.
func (s *Store[V]) Get(name string) (v V, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if n := s.names[name]; n != nil {
		return n.load.Value, true
	}
	return v, false
}

// Len returns the number of names.
func (s *Store[V]) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.names)
}

// AppendAll appends every entry, those that begin with $ included, in no particular order.
func (s *Store[V]) AppendAll(dst []Entry[V]) []Entry[V] {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, n := range s.names {
		dst = append(dst, n.load)
	}
	return dst
}

// AppendMatching appends the entries whose name a Topic Filter matches, in no particular
// order. Only the parts of the store that agree with the filter are visited; those of "#"
// are all.
func (s *Store[V]) AppendMatching(dst []Entry[V], filter string) []Entry[V] {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !IsWild(filter) {
		if n := s.names[filter]; n != nil {
			dst = append(dst, n.load)
		}
		return dst
	}
	w := walk[V]{dst: dst, filter: filter, open: []reached[V]{{&s.paths.root, 0}}}
	for len(w.open) > 0 {
		last := len(w.open) - 1
		at := w.open[last]
		w.open = w.open[:last]
		w.visit(at, at.n == &s.paths.root)
	}
	return w.dst
}

// walk is one search through the paths of a store. What is still to be visited is a list
// and not the stack: paths may nest 32,768 deep.
type walk[V any] struct {
	dst    []Entry[V]
	filter string
	open   []reached[V]
}

// reached is a node whose path agrees with the filter up to pos: the start of a level, the
// # that takes all below, or past the end of the filter.
type reached[V any] struct {
	n   *node[Entry[V]]
	pos int
}

func (w *walk[V]) visit(at reached[V], root bool) {
	if at.n.used != 0 && w.ends(at.pos) {
		w.dst = append(w.dst, at.n.load)
	}
	if at.n.kids == nil || at.pos > len(w.filter) {
		return
	}
	level := w.filter[at.pos:levelEnd(w.filter, at.pos)]
	if level != "+" && level != "#" {
		if c := at.n.kids.find(level); c != nil {
			w.reach(c, at.pos)
		}
		return
	}
	for c := range at.n.kids.all {
		if root && strings.HasPrefix(c.label, "$") { // [MQTT-4.7.2-1]
			continue
		}
		w.reach(c, at.pos)
	}
}

// reach takes a child whose parent was reached at pos: a leaf at once, others when they are due.
func (w *walk[V]) reach(c *node[Entry[V]], pos int) {
	pos = w.agree(c.label, pos)
	switch {
	case pos < 0:
	case c.kids != nil:
		w.open = append(w.open, reached[V]{c, pos})
	case w.ends(pos):
		w.dst = append(w.dst, c.load)
	}
}

// ends reports whether a name that agrees with the filter up to pos matches it.
func (w *walk[V]) ends(pos int) bool {
	return pos > len(w.filter) || w.filter[pos:] == "#"
}

// agree matches the levels of a label against the filter from pos on and returns where the
// next one goes on, the offset of a # that takes the rest, or -1.
func (w *walk[V]) agree(label string, pos int) int {
	for l := 0; l <= len(label); {
		if pos > len(w.filter) {
			return -1
		}
		want := w.filter[pos:levelEnd(w.filter, pos)]
		if want == "#" {
			return pos
		}
		end := levelEnd(label, l)
		if want != "+" && want != label[l:end] {
			return -1
		}
		pos += len(want) + 1
		l = end + 1
	}
	return pos
}
