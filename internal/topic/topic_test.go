package topic

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mqlab/mqlab/codec"
)

func TestMatch(t *testing.T) {
	deep := strings.Repeat("/", 65535)
	tests := []struct {
		filter, name string
		want         bool
	}{
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/tennis/player1/#", "sport/tennis/player11", false},
		{"sport/#", "sport", true},
		{"sport/#", "sport/", true},
		{"#", "a", true},
		{"#", "/", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false},
		{"sport/+", "sport/", true},
		{"+", "a", true},
		{"+", "/finance", false},
		{"+/+", "/finance", true},
		{"/+", "/finance", true},
		{"+/tennis/#", "sport/tennis", true},
		{"+/tennis/#", "sport/golf", false},
		{"a/+/#", "a", false},
		{"a/+/#", "a/", true},
		{"#", "$SYS/x", false},                   // MQTT-4.7.2-1
		{"+/monitor/x", "$SYS/monitor/x", false}, // MQTT-4.7.2-1
		{"+/#", "$SYS/x", false},                 // MQTT-4.7.2-1
		{"$SYS/#", "$SYS/x", true},
		{"$SYS/#", "$SYS", true},
		{"$SYS/+/x", "$SYS/monitor/x", true},
		{"a/+", "a/$b", true},
		{"a/#", "a/$b", true},
		{"/#", "/$b", true},
		{"ACCOUNTS", "Accounts", false},
		{"a//b", "a/b", false},
		{"a b", "a b", true},
		{"caf\u00e9", "cafe\u0301", false}, // MQTT-4.7.3-4
		{"\ufeffa", "a", false},
		{deep, deep, true},
		{deep[1:] + "#", deep, true},
		{deep[1:] + "+", deep[1:], true},
		{deep[2:] + "+", deep, false},
		{"", "a", false},
		{"#", "", false},
	}
	for _, tt := range tests {
		if got := Match(tt.filter, tt.name); got != tt.want {
			t.Errorf("Match(%.40q, %.40q) = %v", tt.filter, tt.name, got)
		}
		if tt.filter == "" || tt.name == "" {
			continue
		}
		// The table is the standard's: it holds the oracle and the two tries as well.
		if got := naive(tt.filter, tt.name); got != tt.want {
			t.Errorf("naive(%.40q, %.40q) = %v", tt.filter, tt.name, got)
		}
		var tree Tree[int]
		tree.Subscribe("", tt.filter, 1, Options{})
		if got := len(tree.AppendMatches(nil, tt.name)) == 1; got != tt.want {
			t.Errorf("Tree with %.40q, name %.40q: %v", tt.filter, tt.name, got)
		}
		var store Store[int]
		store.Set(tt.name, 1)
		if got := len(store.AppendMatching(nil, tt.filter)) == 1; got != tt.want {
			t.Errorf("Store with %.40q, filter %.40q: %v", tt.name, tt.filter, got)
		}
	}
}

func TestMatchAgainstNaive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		filter, name := filterGen().Draw(t, "filter"), nameGen().Draw(t, "name")
		if got, want := Match(filter, name), naive(filter, name); got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", filter, name, got, want)
		}
	})
}

func TestMatchDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Match("a/+/c/#", "a/b/c/d/e") }); n != 0 {
		t.Errorf("%v allocations per Match", n)
	}
}

func TestLevels(t *testing.T) {
	for s, want := range map[string]int{"a": 1, "/": 2, "a/b": 2, "a//b/": 4} {
		if got := Levels(s); got != want {
			t.Errorf("Levels(%q) = %d, want %d", s, got, want)
		}
	}
}

// FuzzMatch holds Match, a Tree and a Store to the oracle, whatever else they contain, and
// the trees to being empty again at the end.
func FuzzMatch(f *testing.F) {
	for _, s := range [][3]string{
		{"a/+/b", "a/x/b", "a/#"},
		{"#", "$SYS/a", "+/a"},
		{"/#", "/", "+/+"},
		{"+/+/#", "a//", "a//#"},
		{"//+", "///", "//"},
		{"é/+", "é/é", "é"},
		{"a/b/c/d", "a/b/c/d", "a/b/x/d"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, filter, name, other string) {
		if !codec.ValidTopicFilter(filter) || !codec.ValidTopicFilter(other) || !codec.ValidTopicName(name) {
			// Not defined, but not a panic either.
			Match(filter, name)
			var tree Tree[int]
			tree.Subscribe("", filter, 1, Options{})
			tree.Subscribe("", other, 1, Options{})
			tree.AppendMatches(nil, name)
			tree.Unsubscribe("", filter, 1)
			var store Store[int]
			store.Set(name, 1)
			store.Set(other, 1)
			store.AppendMatching(nil, filter)
			store.Delete(name)
			return
		}
		want := naive(filter, name)
		if got := Match(filter, name); got != want {
			t.Fatalf("Match(%q, %q) = %v", filter, name, got)
		}
		var tree Tree[int]
		tree.Subscribe("", other, 2, Options{})
		tree.Subscribe("", filter, 1, Options{})
		if got := subscribed(&tree, name, 1); got != want {
			t.Fatalf("Tree with %q and %q, name %q: %v", filter, other, name, got)
		}
		tree.Unsubscribe("", other, 2)
		if got := subscribed(&tree, name, 1); got != want {
			t.Fatalf("Tree with %q after removing %q, name %q: %v", filter, other, name, got)
		}
		tree.Unsubscribe("", filter, 1)
		checkEmpty(t, &tree)
		var store Store[int]
		if !IsWild(other) && other != name {
			store.Set(other, 2)
		}
		store.Set(name, 1)
		found := false
		for _, e := range store.AppendMatching(nil, filter) {
			found = found || e.Name == name
			if !naive(filter, e.Name) {
				t.Fatalf("Store finds %q by %q", e.Name, filter)
			}
		}
		if found != want {
			t.Fatalf("Store with %q, filter %q: %v", name, filter, found)
		}
	})
}

func subscribed(tree *Tree[int], name string, who int) bool {
	for _, m := range tree.AppendMatches(nil, name) {
		if m.Subscriber == who {
			return true
		}
	}
	return false
}
