package topic

import (
	"fmt"
	"testing"
	"unsafe"
)

// borrow views b as a string, as a decoded packet views its frame.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func TestCacheHitsDoNotAllocate(t *testing.T) {
	var tree Tree[int]
	names := make([]string, 200)
	for i := range names {
		names[i] = fmt.Sprintf("site/%d/temperature", i)
		tree.Subscribe("", names[i], i, Options{})
	}
	tree.Subscribe("", "site/+/temperature", -1, Options{})
	cache := Cache[int]{Tree: &tree}
	hit := func() {
		if got := len(cache.Lookup(names[0])); got != 2 {
			t.Fatalf("%d targets, want 2", got)
		}
	}
	hit()
	if n := testing.AllocsPerRun(100, hit); n != 0 {
		t.Errorf("%v allocations per hit", n)
	}
	// More names than entries: once every slot has been used, misses reuse their memory.
	i := 0
	miss := func() {
		i++
		if got := len(cache.Lookup(names[i%len(names)])); got != 2 {
			t.Fatalf("%d targets, want 2", got)
		}
	}
	for range 20 * len(names) {
		miss()
	}
	if n := testing.AllocsPerRun(1000, miss); n != 0 {
		t.Errorf("%v allocations per miss", n)
	}
}

func TestCacheIsBounded(t *testing.T) {
	var tree Tree[int]
	for i := range 100 {
		tree.Subscribe("", "wide/#", i, Options{})
	}
	tree.Subscribe("", "#", -1, Options{})
	cache := Cache[int]{Tree: &tree, Entries: 20, Bytes: 4000}
	for i := range 1000 {
		if got := len(cache.Lookup(fmt.Sprint("t/", i))); got != 1 {
			t.Fatalf("%d targets, want 1", got)
		}
		if len(cache.slots) > 32 {
			t.Fatalf("%d entries, want at most 32", len(cache.slots))
		}
		held := 0
		for j := range cache.slots {
			held += cache.slots[j].size()
		}
		if held != cache.bytes || held > 4000 {
			t.Fatalf("%d bytes are held, counted as %d, allowed are 4000", held, cache.bytes)
		}
		if i%100 == 0 {
			if got := len(cache.Lookup(fmt.Sprint("wide/", i))); got != 101 {
				t.Fatalf("%d targets, want 101", got)
			}
		}
	}
	if len(cache.slots) != 32 {
		t.Errorf("%d entries after 1000 names, want 32", len(cache.slots))
	}
	cache.Reset()
	if cache.slots != nil || cache.scratch != nil || cache.bytes != 0 {
		t.Error("Reset keeps memory")
	}
	if got := len(cache.Lookup("t/1")); got != 1 {
		t.Errorf("%d targets after Reset, want 1", got)
	}
}

// TestCacheSurvivesOthersChanges: a client that subscribes to a topic of its own does not
// make everybody forget.
func TestCacheSurvivesOthersChanges(t *testing.T) {
	var tree Tree[int]
	tree.Subscribe("", "a/b", 1, Options{})
	cache := Cache[int]{Tree: &tree}
	cache.Lookup("a/b")
	kept := 0
	for i := range 100 {
		other := fmt.Sprint("reply/", i)
		collides := hash(other)%exactGens == hash("a/b")%exactGens
		fresh := tree.stamp(hash("a/b"))
		tree.Subscribe("", other, 2, Options{})
		if (tree.stamp(hash("a/b")) == fresh) == collides {
			t.Fatalf("subscribing to %s: forgotten is %v", other, !collides)
		}
		if !collides {
			kept++
		}
	}
	if kept < 80 {
		t.Errorf("only %d of 100 changes elsewhere were without effect", kept)
	}
	stamp := tree.stamp(hash("a/b"))
	tree.Subscribe("", "+/b", 3, Options{})
	if tree.stamp(hash("a/b")) == stamp {
		t.Error("a wildcard subscription is not noticed")
	}
	if got := len(cache.Lookup("a/b")); got != 2 {
		t.Errorf("%d targets, want 2", got)
	}
}

func TestCacheDoesNotKeepTheName(t *testing.T) {
	var tree Tree[int]
	tree.Subscribe("", "a/b", 1, Options{})
	cache := Cache[int]{Tree: &tree}
	buf := []byte("a/b")
	cache.Lookup(borrow(buf))
	copy(buf, "x/y")
	if got := len(cache.Lookup("a/b")); got != 1 {
		t.Errorf("a/b has %d targets, want 1", got)
	}
	if got := len(cache.Lookup("x/y")); got != 0 {
		t.Errorf("x/y has %d targets, want none", got)
	}
}

// TestCacheComparesNames: two names may have the same hash.
func TestCacheComparesNames(t *testing.T) {
	var tree Tree[int]
	tree.Subscribe("", "a/b", 1, Options{})
	cache := Cache[int]{Tree: &tree}
	cache.Lookup("a/b")
	e := &cache.set(hash("a/b"))[0]
	if string(e.name) != "a/b" {
		t.Fatalf("the name last used comes first: found %q", e.name)
	}
	copy(e.name, "x/y") // another name under the hash of this one
	if got := len(cache.Lookup("a/b")); got != 1 {
		t.Errorf("%d targets, want 1", got)
	}
	if e := &cache.set(hash("a/b"))[0]; string(e.name) != "a/b" {
		t.Errorf("the entry of another name was used: %q", e.name)
	}
}

// TestCacheLetsGo: an entry that is used again keeps none of its earlier targets reachable.
func TestCacheLetsGo(t *testing.T) {
	var tree Tree[*session]
	gone := make([]session, 5)
	for i := range gone {
		tree.Subscribe("", "a/b", &gone[i], Options{})
	}
	cache := Cache[*session]{Tree: &tree}
	cache.Lookup("a/b")
	for i := range gone {
		tree.Unsubscribe("", "a/b", &gone[i])
	}
	stays := new(session)
	tree.Subscribe("", "a/b", stays, Options{})
	cache.Lookup("a/b")
	check := func(targets []Target[*session]) {
		for _, target := range targets[:cap(targets)] {
			if s := target.Subscriber; s != nil && s != stays {
				t.Fatal("a subscriber that left is still reachable")
			}
		}
	}
	check(cache.scratch)
	for i := range cache.slots {
		check(cache.slots[i].targets)
	}
}
