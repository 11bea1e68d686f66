package topic

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func sortEntries(e []Entry[int]) []Entry[int] {
	slices.SortFunc(e, func(a, b Entry[int]) int { return cmp.Compare(a.Name, b.Name) })
	return e
}

func TestStoreModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var store Store[int]
		model := map[string]int{}
		drop := func(name string) {
			_, want := model[name]
			if got := store.Delete(name); got != want {
				t.Fatalf("Delete(%q) = %v, want %v", name, got, want)
			}
			delete(model, name)
		}
		set := func(*rapid.T) {
			name, v := nameGen().Draw(t, "name"), rapid.IntRange(0, 9).Draw(t, "value")
			_, want := model[name]
			if got := store.Set(name, v); got != want {
				t.Fatalf("Set(%q) replaced: %v, want %v", name, got, want)
			}
			model[name] = v
		}
		t.Repeat(map[string]func(*rapid.T){
			"set":    set,
			"set2":   set,
			"delete": func(*rapid.T) { drop(nameGen().Draw(t, "name")) },
			"get": func(*rapid.T) {
				name := nameGen().Draw(t, "name")
				want, wantOK := model[name]
				if got, ok := store.Get(name); got != want || ok != wantOK {
					t.Fatalf("Get(%q) = %v, %v, want %v, %v", name, got, ok, want, wantOK)
				}
			},
			"": func(*rapid.T) {
				checkNodes(t, &store.paths)
				if store.Len() != len(model) || len(store.AppendAll(nil)) != len(model) {
					t.Fatalf("Len is %d, want %d", store.Len(), len(model))
				}
				for range 3 {
					filter := filterGen().Draw(t, "filter")
					var want []Entry[int]
					for name, v := range model {
						if naive(filter, name) {
							want = append(want, Entry[int]{name, v})
						}
					}
					got := store.AppendMatching(nil, filter)
					if diff := gocmp.Diff(sortEntries(want), sortEntries(got)); diff != "" {
						t.Fatalf("AppendMatching(%q) (-want +got):\n%s", filter, diff)
					}
				}
			},
		})
		names := make([]string, 0, len(model))
		for name := range model {
			names = append(names, name)
		}
		for _, name := range names {
			drop(name)
		}
		if store.Len() != 0 || store.paths.nodes != 0 || store.paths.root.kids != nil {
			t.Fatalf("not empty: %d names, %d nodes", store.Len(), store.paths.nodes)
		}
	})
}

func TestStoreMany(t *testing.T) {
	var store Store[int]
	const n = 300
	name := func(i int) string { return fmt.Sprintf("a/%d/%d", i%20, i) }
	for i := range n {
		store.Set(name(i), i)
	}
	for filter, want := range map[string]int{"#": n, "a/#": n, "a/3/+": n / 20, "a/+/7": 1, "+/+": 0, "a/7/7": 1} {
		if got := len(store.AppendMatching(nil, filter)); got != want {
			t.Errorf("%s finds %d, want %d", filter, got, want)
		}
	}
	for i := range n {
		if !store.Delete(name(i * 7 % n)) {
			t.Fatalf("%s is not there", name(i*7%n))
		}
		checkNodes(t, &store.paths)
		if got := len(store.AppendMatching(nil, "a/+/+")); got != n-1-i {
			t.Fatalf("%d left, want %d", got, n-1-i)
		}
	}
	if store.paths.nodes != 0 {
		t.Errorf("%d nodes left", store.paths.nodes)
	}
}

func TestStoreKeepsNoCallersString(t *testing.T) {
	var store Store[int]
	for _, name := range []string{"a/b/c", "a/b/d", "a/x"} {
		buf := []byte(name)
		store.Set(borrow(buf), 1)
		clear(buf)
	}
	want := []Entry[int]{{"a/b/c", 1}, {"a/b/d", 1}, {"a/x", 1}}
	if diff := gocmp.Diff(want, sortEntries(store.AppendMatching(nil, "a/#"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestStoreNests: names that begin one another make the deepest paths there can be.
func TestStoreNests(t *testing.T) {
	var store Store[int]
	const depth = 3000
	for i := range depth {
		store.Set(strings.Repeat("/", i+1), i)
	}
	if store.paths.nodes > depth {
		t.Errorf("%d nodes for %d names", store.paths.nodes, depth)
	}
	if got := len(store.AppendMatching(nil, "#")); got != depth {
		t.Errorf("# finds %d, want %d", got, depth)
	}
	if got := len(store.AppendMatching(nil, "+/+/+/#")); got != depth-1 {
		t.Errorf("+/+/+/# finds %d, want %d", got, depth-1)
	}
	for i := range depth {
		store.Delete(strings.Repeat("/", i+1))
	}
	if store.paths.nodes != 0 || store.Len() != 0 {
		t.Errorf("%d nodes, %d names left", store.paths.nodes, store.Len())
	}
}
