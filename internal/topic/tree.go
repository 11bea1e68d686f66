package topic

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// Tree holds the Subscriptions of a broker. The zero value is empty and ready. All methods
// are safe for concurrent use; lookups run side by side. T is the handle of a subscriber,
// usually a pointer to its session.
//
// Filters without wildcards are keys of one map, so a name costs one lookup however many
// there are; the others are in a trie, of which a lookup visits only the parts that match.
// Whether several matching Subscriptions of one subscriber become one copy or one copy each
// is the caller's choice: each is a result of its own.
type Tree[T comparable] struct {
	mu    sync.RWMutex // guards exact, wild and count
	exact map[string]set[T]
	wild  trie[ends[T]]
	count int

	gen atomic.Uint64
	// For Cache, finer than gen: changes of wildcard filters, and of exact filters by hash.
	wildGen  atomic.Uint64
	exactGen [exactGens]atomic.Uint64
}

// ends is what a node of the trie carries: the filters that end at it and at /# below it.
type ends[T comparable] struct {
	here  set[T]
	below set[T]
}

// Bits of node.used.
const (
	usedHere uint8 = 1 << iota
	usedBelow
)

const exactGens = 256

// seed is one per process, so that a hash can be computed before any lock is taken.
var seed = maphash.MakeSeed()

func hash(name string) uint64 { return maphash.String(seed, name) }

// Subscribe adds a Subscription and reports whether it replaced one of the same subscriber,
// filter and group. group is the ShareName of a Shared Subscription, "" for any other, and
// filter the inner filter: see ParseShared. The filter has to be valid.
func (t *Tree[T]) Subscribe(group, filter string, who T, o Options) (replaced bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sub := Subscription[T]{Subscriber: who, Options: o}
	if IsWild(filter) {
		replaced = t.putWild(group, filter, sub)
	} else {
		replaced = t.putExact(group, filter, sub)
	}
	if !replaced {
		t.count++
	}
	t.bump(filter)
	return replaced
}

// Unsubscribe removes a Subscription and reports whether there was one.
func (t *Tree[T]) Unsubscribe(group, filter string, who T) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	var found bool
	if IsWild(filter) {
		found = t.dropWild(group, filter, who)
	} else {
		found = t.dropExact(group, filter, who)
	}
	if found {
		t.count--
		t.bump(filter)
	}
	return found
}

// AppendMatches appends what subscribes to a Topic Name, in no particular order. It allocates
// only to grow dst.
func (t *Tree[T]) AppendMatches(dst []Target[T], name string) []Target[T] {
	if name == "" {
		return dst
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if s, ok := t.exact[name]; ok {
		dst = s.appendTo(dst)
	}
	if t.wild.nodes == 0 && t.wild.root.used == 0 {
		return dst
	}
	return t.appendWild(dst, name)
}

// Gen returns a number that is different after each Subscribe and Unsubscribe that changed
// something. Read before a lookup, it says later whether the results still hold.
func (t *Tree[T]) Gen() uint64 { return t.gen.Load() }

// Len returns the number of Subscriptions: a filter counts once for each subscriber and group.
func (t *Tree[T]) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.count
}

// stamp changes whenever the results for a name may change. It counts two generations that
// only grow, so their sum is the same only while both are.
func (t *Tree[T]) stamp(h uint64) uint64 {
	return t.wildGen.Load() + t.exactGen[h%exactGens].Load()
}

func (t *Tree[T]) bump(filter string) {
	if IsWild(filter) {
		t.wildGen.Add(1)
	} else {
		t.exactGen[hash(filter)%exactGens].Add(1)
	}
	t.gen.Add(1)
}

func (t *Tree[T]) putExact(group, filter string, sub Subscription[T]) bool {
	s, ok := t.exact[filter]
	replaced, changed := s.put(!ok, group, filter, sub)
	if changed {
		if t.exact == nil {
			t.exact = make(map[string]set[T])
		}
		// Assigning may replace the key as well: never by a string of the caller's.
		t.exact[strings.Clone(filter)] = s
	}
	return replaced
}

func (t *Tree[T]) dropExact(group, filter string, who T) bool {
	s, ok := t.exact[filter]
	if !ok {
		return false
	}
	found, empty, changed := s.drop(group, who)
	switch {
	case empty && len(t.exact) == 1:
		t.exact = nil // a map does not shrink
	case empty:
		delete(t.exact, filter)
	case changed:
		t.exact[strings.Clone(filter)] = s
	}
	return found
}

// path returns a wildcard filter without its # as the string and offset of a path in the
// trie: "#" has no levels at all, "/#" has one, which is empty.
func path(filter string) (p string, pos int, below bool) {
	if filter == "#" {
		return "", 1, true
	}
	p, below = strings.CutSuffix(filter, "/#")
	return p, 0, below
}

// slot returns the set of a node that a filter belongs to, and its bit.
func slot[T comparable](n *node[ends[T]], below bool) (*set[T], uint8) {
	if below {
		return &n.load.below, usedBelow
	}
	return &n.load.here, usedHere
}

func (t *Tree[T]) putWild(group, filter string, sub Subscription[T]) bool {
	p, pos, below := path(filter)
	n := t.wild.obtain(p, pos)
	s, bit := slot(n, below)
	replaced, _ := s.put(n.used&bit == 0, group, filter, sub)
	n.used |= bit
	return replaced
}

func (t *Tree[T]) dropWild(group, filter string, who T) bool {
	p, pos, below := path(filter)
	grand, parent, n := t.wild.find(p, pos)
	if n == nil {
		return false
	}
	s, bit := slot(n, below)
	if n.used&bit == 0 {
		return false
	}
	found, empty, _ := s.drop(group, who)
	if empty {
		*s = set[T]{}
		n.used &^= bit
		t.wild.settle(grand, parent, n)
	}
	return found
}

// spot is a node of the trie reached at an offset of the name.
type spot[T comparable] struct {
	n   *node[ends[T]]
	pos int
}

// appendWild walks the trie. Where both a literal level and + apply, one way is put aside;
// the room for those is on the stack and grows to the heap only when more than that nest.
func (t *Tree[T]) appendWild(dst []Target[T], name string) []Target[T] {
	var room [32]spot[T]
	aside := room[:0]
	at := spot[T]{&t.wild.root, 0}
	hidden := name[0] == '$' // leading wildcards do not apply [MQTT-4.7.2-1]
	for {
		n := at.n
		leading := hidden && n == &t.wild.root
		if n.used&usedBelow != 0 && !leading {
			dst = n.load.below.appendTo(dst)
		}
		var next spot[T]
		if at.pos > len(name) {
			if n.used&usedHere != 0 {
				dst = n.load.here.appendTo(dst)
			}
		} else {
			if n.kids != nil {
				if c := n.kids.find(name[at.pos:levelEnd(name, at.pos)]); c != nil {
					if pos := follow(c.label, name, at.pos); pos >= 0 {
						next = spot[T]{c, pos}
					}
				}
			}
			if n.plus != nil && !leading {
				if pos := follow(n.plus.label, name, at.pos); pos >= 0 {
					if next.n != nil {
						aside = append(aside, next)
					}
					next = spot[T]{n.plus, pos}
				}
			}
		}
		switch {
		case next.n != nil:
			at = next
		case len(aside) > 0:
			at = aside[len(aside)-1]
			aside = aside[:len(aside)-1]
		default:
			return dst
		}
	}
}

// follow matches all levels of a label against a name from offset pos. It returns the offset
// of the level after them, past the end of the name when it is used up, or -1.
func follow(label, name string, pos int) int {
	for {
		plus := strings.IndexByte(label, '+')
		if plus < 0 {
			rest := name[pos:]
			if !strings.HasPrefix(rest, label) || len(rest) > len(label) && rest[len(label)] != '/' {
				return -1
			}
			return pos + len(label) + 1
		}
		// The literal levels before the +, with their slash, then any one level.
		if !strings.HasPrefix(name[pos:], label[:plus]) {
			return -1
		}
		pos = levelEnd(name, pos+plus)
		if plus+1 == len(label) {
			return pos + 1
		}
		if pos == len(name) {
			return -1
		}
		pos++
		label = label[plus+2:]
	}
}
