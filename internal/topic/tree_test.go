package topic

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mqlab/mqlab/codec"
)

// checkEmpty wants no trace of what a tree once held.
func checkEmpty[T comparable](t testing.TB, tree *Tree[T]) {
	t.Helper()
	if tree.Len() != 0 || tree.wild.nodes != 0 || len(tree.exact) != 0 {
		t.Fatalf("not empty: %d subscriptions, %d nodes, %d exact filters", tree.Len(), tree.wild.nodes, len(tree.exact))
	}
	if r := &tree.wild.root; r.used != 0 || r.kids != nil || r.plus != nil || r.load != (ends[T]{}) {
		t.Fatalf("the root is not empty: %+v", r)
	}
}

// checkNodes walks a trie and holds it to its invariants.
func checkNodes[P any](t interface {
	Helper()
	Fatalf(string, ...any)
}, tr *trie[P],
) {
	t.Helper()
	count := 0
	var down func(n *node[P])
	down = func(n *node[P]) {
		visit := func(c *node[P]) {
			count++
			if int(c.first) != levelEnd(c.label, 0) {
				t.Fatalf("node %q: first level is %q", c.label, c.key())
			}
			if c.used == 0 && c.children() < 2 {
				t.Fatalf("node %q neither ends nor branches", c.label)
			}
			if n.child(c.key()) != c {
				t.Fatalf("node %q is not found by its key", c.label)
			}
			down(c)
		}
		if b := n.kids; b != nil {
			if b.len() == 0 || b.index != nil && (b.list != nil || len(b.index) <= branchMin) || len(b.list) > branchMax {
				t.Fatalf("below %q: a list of %d and a map of %d", n.label, len(b.list), len(b.index))
			}
			for c := range b.all {
				visit(c)
			}
		}
		if n.plus != nil {
			visit(n.plus)
		}
	}
	down(&tr.root)
	if count != tr.nodes {
		t.Fatalf("%d nodes, counted as %d", count, tr.nodes)
	}
}

// checkSets wants filters with one subscriber to have shrunk to the small form.
func checkSets[T comparable](t interface {
	Helper()
	Fatalf(string, ...any)
}, tree *Tree[T],
) {
	t.Helper()
	check := func(filter string, s *set[T]) {
		if s.many != nil && len(s.many.shares) == 0 && len(s.many.plain.list) < 2 {
			t.Fatalf("%q keeps the room of many for %d", filter, len(s.many.plain.list))
		}
	}
	for filter, s := range tree.exact {
		check(filter, &s)
	}
	var down func(n *node[ends[T]])
	down = func(n *node[ends[T]]) {
		check(n.label, &n.load.here)
		check(n.label, &n.load.below)
		if n.kids != nil {
			for c := range n.kids.all {
				down(c)
			}
		}
		if n.plus != nil {
			down(n.plus)
		}
	}
	down(&tree.wild.root)
}

// row is a subscription of the model, and with an id the form in which results are compared.
type row struct {
	Group, Filter string
	Who           int
}

type hit struct {
	Row row
	ID  uint32
}

// modelMatches is what a lookup has to yield, with each group's members.
func modelMatches(model map[row]Options, name string) []hit {
	var want []hit
	for r, o := range model {
		if naive(r.Filter, name) {
			if r.Group == "" {
				r.Filter = "" // results do not tell
			}
			want = append(want, hit{r, o.ID})
		}
	}
	return sortHits(want)
}

func flatten(targets []Target[int]) []hit {
	var got []hit
	for _, m := range targets {
		if m.Share == nil {
			got = append(got, hit{row{Who: m.Subscriber}, m.Options.ID})
			continue
		}
		for i := range m.Share.Len() {
			s, _ := m.Share.At(uint32(i))
			got = append(got, hit{row{m.Share.Name, m.Share.Filter, s.Subscriber}, s.Options.ID})
		}
	}
	return sortHits(got)
}

func sortHits(hits []hit) []hit {
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.Row.Group, b.Row.Group), cmp.Compare(a.Row.Filter, b.Row.Filter),
			cmp.Compare(a.Row.Who, b.Row.Who), cmp.Compare(a.ID, b.ID))
	})
	return hits
}

// TestTreeModel subscribes, unsubscribes and looks up at random, with and without a cache.
func TestTreeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tree Tree[int]
		cache := Cache[int]{Tree: &tree, Entries: 4, Bytes: 4096}
		model := map[row]Options{}
		known := func() row {
			rows := make([]row, 0, len(model))
			for r := range model {
				rows = append(rows, r)
			}
			slices.SortFunc(rows, func(a, b row) int {
				return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Filter, b.Filter), cmp.Compare(a.Who, b.Who))
			})
			return rapid.SampledFrom(rows).Draw(t, "known")
		}
		fresh := func() row {
			return row{
				rapid.SampledFrom([]string{"", "", "", "g", "h"}).Draw(t, "group"),
				rapid.OneOf(filterGen(), nameGen()).Draw(t, "filter"),
				rapid.IntRange(1, 4).Draw(t, "who"),
			}
		}
		subscribe := func(r row) {
			o := Options{ID: rapid.Uint32Range(0, 9).Draw(t, "id"), QoS: codec.QoS(rapid.IntRange(0, 2).Draw(t, "qos"))}
			gen := tree.Gen()
			_, want := model[r]
			if got := tree.Subscribe(r.Group, r.Filter, r.Who, o); got != want {
				t.Fatalf("Subscribe(%+v) replaced: %v, want %v", r, got, want)
			}
			if tree.Gen() == gen {
				t.Fatalf("Gen is the same after Subscribe")
			}
			model[r] = o
		}
		unsubscribe := func(r row) {
			gen := tree.Gen()
			_, want := model[r]
			if got := tree.Unsubscribe(r.Group, r.Filter, r.Who); got != want {
				t.Fatalf("Unsubscribe(%+v) = %v, want %v", r, got, want)
			}
			if want == (tree.Gen() == gen) {
				t.Fatalf("Gen went from %d to %d", gen, tree.Gen())
			}
			delete(model, r)
		}
		t.Repeat(map[string]func(*rapid.T){
			"subscribe":   func(*rapid.T) { subscribe(fresh()) },
			"subscribe2":  func(*rapid.T) { subscribe(fresh()) },
			"unsubscribe": func(*rapid.T) { unsubscribe(fresh()) },
			"again": func(*rapid.T) {
				if len(model) > 0 {
					subscribe(known())
				}
			},
			"remove": func(*rapid.T) {
				if len(model) > 0 {
					unsubscribe(known())
				}
			},
			"": func(*rapid.T) {
				checkNodes(t, &tree.wild)
				checkSets(t, &tree)
				if tree.Len() != len(model) {
					t.Fatalf("Len is %d, want %d", tree.Len(), len(model))
				}
				for range 3 {
					name := nameGen().Draw(t, "name")
					want := modelMatches(model, name)
					if diff := gocmp.Diff(want, flatten(tree.AppendMatches(nil, name))); diff != "" {
						t.Fatalf("AppendMatches(%q) (-want +got):\n%s", name, diff)
					}
					for range 2 {
						if diff := gocmp.Diff(want, flatten(cache.Lookup(name))); diff != "" {
							t.Fatalf("Lookup(%q) (-want +got):\n%s", name, diff)
						}
					}
				}
			},
		})
		for len(model) > 0 {
			unsubscribe(known())
		}
		if tree.Len() != 0 || tree.wild.nodes != 0 || len(tree.exact) != 0 || tree.wild.root.used != 0 {
			t.Fatalf("not empty: %+v", tree.wild)
		}
	})
}

// TestTreeMany crosses the sizes at which lists become maps and back, in filters, in
// subscribers of one filter, and in groups and their members.
func TestTreeMany(t *testing.T) {
	shapes := map[string]func(i int) row{
		"exact filters":      func(i int) row { return row{"", fmt.Sprintf("a/%d", i), 0} },
		"wildcard filters":   func(i int) row { return row{"", fmt.Sprintf("a/%d/+", i), 0} },
		"exact subscribers":  func(i int) row { return row{"", "a/b", i} },
		"wild subscribers":   func(i int) row { return row{"", "a/#", i} },
		"groups":             func(i int) row { return row{fmt.Sprint("g", i), "a/+", 0} },
		"members of a group": func(i int) row { return row{"g", "a/b", i} },
	}
	const n = 300
	for shape, nth := range shapes {
		t.Run(shape, func(t *testing.T) {
			var tree Tree[int]
			for i := range n {
				if r := nth(i); tree.Subscribe(r.Group, r.Filter, r.Who, Options{}) {
					t.Fatalf("%+v replaced another", r)
				}
			}
			// Leave in an order that is neither that of arrival nor its reverse.
			for i := range n {
				r := nth(i * 7 % n)
				if !tree.Unsubscribe(r.Group, r.Filter, r.Who) {
					t.Fatalf("%+v is not there", r)
				}
				checkNodes(t, &tree.wild)
				checkSets(t, &tree)
				if tree.Unsubscribe(r.Group, r.Filter, r.Who) {
					t.Fatalf("%+v is there twice", r)
				}
				r = nth((i + 1) * 7 % n)
				if i+1 < n && !tree.Subscribe(r.Group, r.Filter, r.Who, Options{}) {
					t.Fatalf("%+v is gone", r)
				}
				if tree.Len() != n-1-i {
					t.Fatalf("Len is %d, want %d", tree.Len(), n-1-i)
				}
			}
			checkEmpty(t, &tree)
		})
	}
}

func TestTreeKeepsNoCallersString(t *testing.T) {
	var tree Tree[int]
	filters := []string{"a/b", "a/+/b", "a/+/c", "a/#", "x/y"}
	for who := range 2 { // the second subscriber turns a single one into a list
		for _, f := range filters {
			buf := []byte("g" + f)
			frame := borrow(buf)
			tree.Subscribe("", frame[1:], who, Options{})
			tree.Subscribe(frame[:1], frame[1:], who, Options{})
			clear(buf)
		}
	}
	want := []hit{{row{Who: 0}, 0}, {row{Who: 1}, 0}, {row{"g", "x/y", 0}, 0}, {row{"g", "x/y", 1}, 0}}
	if diff := gocmp.Diff(want, flatten(tree.AppendMatches(nil, "x/y"))); diff != "" {
		t.Errorf("x/y (-want +got):\n%s", diff)
	}
	if got := len(flatten(tree.AppendMatches(nil, "a/z/c"))); got != 8 {
		t.Errorf("a/z/c has %d subscriptions, want 8", got)
	}
	for who := range 2 {
		for _, f := range filters {
			if !tree.Unsubscribe("", f, who) || !tree.Unsubscribe("g", f, who) {
				t.Errorf("%s of %d is gone", f, who)
			}
		}
	}
	checkEmpty(t, &tree)
}

func TestShareTurns(t *testing.T) {
	var tree Tree[string]
	for _, who := range []string{"a", "b", "c"} {
		tree.Subscribe("g", "t/+", who, Options{})
	}
	s := tree.AppendMatches(nil, "t/x")[0].Share
	served := map[string]int{}
	for range 9 {
		m, ok := s.At(s.Turn())
		if !ok {
			t.Fatal("a group with members has none")
		}
		served[m.Subscriber]++
	}
	if diff := gocmp.Diff(map[string]int{"a": 3, "b": 3, "c": 3}, served); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
	for _, who := range []string{"a", "b", "c"} {
		tree.Unsubscribe("g", "t/+", who)
	}
	if m, ok := s.At(s.Turn()); ok {
		t.Errorf("a group without members serves %q", m.Subscriber)
	}
	checkEmpty(t, &tree)
}

func TestTreeDoesNotAllocate(t *testing.T) {
	var tree Tree[int]
	for i, f := range []string{"a/b/c", "a/+/c", "+/b/c", "+/+/+", "a/b/#", "#", "+/#", "a/#", "$SYS/#"} {
		tree.Subscribe("", f, i, Options{})
		tree.Subscribe("g", f, i, Options{})
	}
	dst := make([]Target[int], 0, 64)
	if n := testing.AllocsPerRun(100, func() { dst = tree.AppendMatches(dst[:0], "a/b/c") }); n != 0 {
		t.Errorf("%v allocations per AppendMatches", n)
	}
	if len(dst) != 16 {
		t.Errorf("%d targets, want 16", len(dst))
	}
}

// TestTreeConcurrent lets readers run beside writers: a subscription that is always there is
// always found, and the cache notices a change as soon as it has been made.
func TestTreeConcurrent(t *testing.T) {
	var tree Tree[int]
	tree.Subscribe("", "a/b", 1, Options{})
	tree.Subscribe("", "a/+", 2, Options{})
	tree.Subscribe("g", "a/#", 3, Options{})
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			cache := Cache[int]{Tree: &tree}
			own := 10 + w
			filters := []string{"a/b", "a/+", "+/b", "#", "a/b/#"}
			for i := range 1000 {
				f := filters[i%len(filters)]
				tree.Subscribe("", f, own, Options{})
				if !slices.ContainsFunc(cache.Lookup("a/b"), func(m Target[int]) bool { return m.Subscriber == own }) {
					t.Errorf("the cache does not know %s yet", f)
				}
				tree.Unsubscribe("", f, own)
				tree.Subscribe("g", f, own, Options{})
				tree.Unsubscribe("g", f, own)
				if slices.ContainsFunc(cache.Lookup("a/b"), func(m Target[int]) bool { return m.Subscriber == own }) {
					t.Errorf("the cache still knows %s", f)
				}
			}
		})
		wg.Go(func() {
			var dst []Target[int]
			cache := Cache[int]{Tree: &tree}
			for range 1000 {
				dst = tree.AppendMatches(dst[:0], "a/b")
				for _, targets := range [][]Target[int]{dst, cache.Lookup("a/b")} {
					found := 0
					for _, m := range targets {
						if m.Share == nil && m.Subscriber < 3 {
							found++
						}
						if m.Share != nil && m.Share.Filter == "a/#" {
							if _, ok := m.Share.At(m.Share.Turn()); ok {
								found++
							}
						}
					}
					if found != 3 {
						t.Errorf("%d of 3 lasting subscriptions found", found)
					}
				}
			}
		})
	}
	wg.Wait()
	for i, r := range []row{{"", "a/b", 1}, {"", "a/+", 2}, {"g", "a/#", 3}} {
		if !tree.Unsubscribe(r.Group, r.Filter, r.Who) {
			t.Errorf("subscription %d is gone", i)
		}
	}
	checkEmpty(t, &tree)
}

func TestTreeNests(t *testing.T) {
	// Filters that begin one another, each with a literal and a + way: more ways are put
	// aside than the stack has room for.
	var tree Tree[int]
	const depth = 200
	for i := range depth {
		tree.Subscribe("", strings.Repeat("a/", i)+"+", i, Options{})
		tree.Subscribe("", strings.Repeat("a/", i)+"+/#", i, Options{})
		tree.Subscribe("", strings.Repeat("a/", i)+"+/+", i, Options{})
	}
	name := strings.Repeat("a/", depth-1) + "a"
	if got := len(tree.AppendMatches(nil, name)); got != depth+2 {
		t.Errorf("%d targets, want %d", got, depth+2)
	}
	checkNodes(t, &tree.wild)
	for i := range depth {
		tree.Unsubscribe("", strings.Repeat("a/", i)+"+", i)
		tree.Unsubscribe("", strings.Repeat("a/", i)+"+/#", i)
		tree.Unsubscribe("", strings.Repeat("a/", i)+"+/+", i)
	}
	checkEmpty(t, &tree)
}
