package topic

import (
	"math/bits"
	"unsafe"
)

// Cache remembers what a Tree answered for the last few Topic Names of one publisher. A hit
// takes no lock and does not allocate. A change of the tree is seen by the first lookup that
// begins after it returned. A Cache belongs to one goroutine; the zero value with Tree set is
// ready and holds no memory before the first lookup.
//
// What is remembered may keep subscribers reachable that have left since: call Reset when the
// publisher goes idle.
type Cache[T comparable] struct {
	Tree *Tree[T]
	// Entries bounds the names remembered, rounded up to a power of two; 0 means 64.
	Entries int
	// Bytes bounds the memory for names and results; 0 means 64 KiB. A result too large for
	// it is looked up anew each time.
	Bytes int

	slots   []entry[T] // pairs: the set of a hash is two neighbours, the one last used first
	bytes   int        // held by the slots' names and results
	scratch []Target[T]
}

// entry is one remembered name. It counts while its stamp is the tree's.
type entry[T comparable] struct {
	hash    uint64
	stamp   uint64
	name    []byte // nil: never used
	targets []Target[T]
}

const (
	defaultEntries = 64
	defaultBytes   = 64 << 10
	firstEntries   = 8
)

// Lookup returns what subscribes to a Topic Name. The slice is the cache's: it is valid until
// the next call and must not be changed.
func (c *Cache[T]) Lookup(name string) []Target[T] {
	h := hash(name)
	// Read before the tree, so that a change in between is noticed next time.
	stamp := c.Tree.stamp(h)
	if len(c.slots) > 0 {
		set := c.set(h)
		if e := &set[0]; e.holds(h, stamp, name) {
			return e.targets
		}
		if set[1].holds(h, stamp, name) {
			set[0], set[1] = set[1], set[0]
			return set[0].targets
		}
	}
	if cap(c.scratch)*targetSize[T]() > c.maxBytes() {
		c.scratch = nil
	}
	clear(c.scratch) // what left may be collected
	c.scratch = c.Tree.AppendMatches(c.scratch[:0], name)
	c.keep(h, stamp, name)
	return c.scratch
}

// Reset forgets everything and releases the memory.
func (c *Cache[T]) Reset() { c.slots, c.scratch, c.bytes = nil, nil, 0 }

// keep remembers the results in scratch, in place of the less recently used of two names.
func (c *Cache[T]) keep(h, stamp uint64, name string) {
	need := len(name) + len(c.scratch)*targetSize[T]()
	if need > c.maxBytes() {
		return
	}
	if len(c.slots) == 0 {
		c.slots = make([]entry[T], min(firstEntries, c.maxEntries()))
	}
	set := c.set(h)
	for c.fresh(&set[0]) && c.fresh(&set[1]) && len(c.slots) < c.maxEntries() {
		c.grow()
		set = c.set(h)
	}
	e := &set[1]
	if e.hash != h && (set[0].hash == h || c.fresh(e) && !c.fresh(&set[0])) {
		e = &set[0] // the name's own old entry, or one that has run out
	}
	c.bytes -= e.size()
	clear(e.targets)
	e.hash, e.stamp = h, stamp
	e.name = append(e.name[:0], name...)
	e.targets = append(e.targets[:0], c.scratch...)
	c.bytes += e.size()
	if c.bytes > c.maxBytes() {
		c.slots, c.bytes = nil, 0
		return
	}
	if e == &set[1] {
		set[0], set[1] = set[1], set[0]
	}
}

func (c *Cache[T]) set(h uint64) []entry[T] {
	// The low byte chooses the tree's generation: use other bits here.
	i := int(h>>8) & (len(c.slots)/2 - 1) * 2
	return c.slots[i : i+2 : i+2]
}

// grow doubles the slots. Each pair divides between two sets, so all find a place.
func (c *Cache[T]) grow() {
	old := c.slots
	c.slots = make([]entry[T], 2*len(old))
	for i := range old {
		if old[i].name == nil {
			continue
		}
		set := c.set(old[i].hash)
		if set[0].name == nil {
			set[0] = old[i]
		} else {
			set[1] = old[i]
		}
	}
}

// fresh reports whether an entry would still be a hit.
func (c *Cache[T]) fresh(e *entry[T]) bool {
	return e.name != nil && e.stamp == c.Tree.stamp(e.hash)
}

func (c *Cache[T]) maxEntries() int {
	if c.Entries <= 0 {
		return defaultEntries
	}
	return max(2, 1<<bits.Len(uint(c.Entries-1)))
}

func (c *Cache[T]) maxBytes() int {
	if c.Bytes <= 0 {
		return defaultBytes
	}
	return c.Bytes
}

func (e *entry[T]) holds(h, stamp uint64, name string) bool {
	return e.hash == h && e.stamp == stamp && e.name != nil && string(e.name) == name
}

func (e *entry[T]) size() int { return cap(e.name) + cap(e.targets)*targetSize[T]() }

func targetSize[T comparable]() int { return int(unsafe.Sizeof(Target[T]{})) }
