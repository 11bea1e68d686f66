package topic

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// session stands for the broker's: a handle is a pointer.
type session struct{ _ [8]byte }

// heap returns the bytes of live objects.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestDeepFiltersCostTheirBytes subscribes to filters of 65,535 bytes that are nothing but
// levels and differ from one another in one place. One node for each level would cost over
// a hundred times their length.
func TestDeepFiltersCostTheirBytes(t *testing.T) {
	const n, length = 100, 65535
	shapes := map[string]func(i int) string{
		"slashes":       func(i int) string { return strings.Repeat("/", i) + "x" + strings.Repeat("/", length-1-i) },
		"slashes and +": func(i int) string { return strings.Repeat("/", i) + "+" + strings.Repeat("/", length-1-i) },
		"+ levels": func(i int) string {
			return strings.Repeat("+/", i) + "x/" + strings.Repeat("+/", length/2-1-i) + "+"
		},
		"nested": func(i int) string { return strings.Repeat("/", length-2-2*i) + "/#" },
	}
	for shape, filter := range shapes {
		t.Run(shape, func(t *testing.T) {
			var tree Tree[*session]
			s := new(session)
			before := heap()
			for i := range n {
				tree.Subscribe("", filter(i*300), s, Options{})
			}
			each := (int64(heap()) - int64(before)) / n
			// Size classes round 65,535 up to 65,536 and lengths just below it to 73,728.
			t.Logf("%d bytes for each of %d filters, %d nodes", each, n, tree.wild.nodes)
			if each > 80<<10 {
				t.Errorf("%d bytes for each filter of %d bytes, want at most %d", each, length, 80<<10)
			}
			if tree.wild.nodes > 2*n {
				t.Errorf("%d nodes for %d filters", tree.wild.nodes, n)
			}
			name := strings.Repeat("/", length)
			tree.AppendMatches(nil, name)
			for i := range n {
				if !tree.Unsubscribe("", filter(i*300), s) {
					t.Fatalf("filter %d is gone", i)
				}
			}
			checkEmpty(t, &tree)
		})
	}
}

// TestShortFiltersPinNoLongOnes: a node shared with a long filter forgets it when it leaves.
func TestShortFiltersPinNoLongOnes(t *testing.T) {
	const n = 100
	long := strings.Repeat("x", 60000)
	var tree Tree[*session]
	var store Store[int]
	s := new(session)
	before := heap()
	for i := range n {
		tree.Subscribe("", fmt.Sprintf("a%d/%s/+", i, long), s, Options{})
		tree.Subscribe("", fmt.Sprintf("a%d/+", i), s, Options{})
		tree.Unsubscribe("", fmt.Sprintf("a%d/%s/+", i, long), s)
		tree.Subscribe(long, fmt.Sprintf("b%d", i), s, Options{})
		tree.Subscribe("", fmt.Sprintf("b%d", i), s, Options{})
		tree.Unsubscribe(long, fmt.Sprintf("b%d", i), s)
		store.Set(fmt.Sprintf("a%d/%s/x", i, long), 1)
		store.Set(fmt.Sprintf("a%d/y", i), 1)
		store.Delete(fmt.Sprintf("a%d/%s/x", i, long))
	}
	if held := int64(heap()) - int64(before); held > n*2000 {
		t.Errorf("%d bytes held by %d short filters and names", held, 3*n)
	}
	runtime.KeepAlive(&tree)
	runtime.KeepAlive(&store)
}

// TestBytesPerSubscription holds the budget of 1 KiB with room to spare.
func TestBytesPerSubscription(t *testing.T) {
	const n = 20000
	for _, mix := range mixes {
		var tree Tree[*session]
		sessions := make([]session, n)
		before := heap()
		for i := range n {
			tree.Subscribe("", mix.filter(i, n), &sessions[i], Options{QoS: 1})
		}
		each := (int64(heap()) - int64(before)) / n
		t.Logf("%s: %d bytes for each subscription", mix.name, each)
		if each > 400 {
			t.Errorf("%s: %d bytes for each subscription, want at most 400", mix.name, each)
		}
		runtime.KeepAlive(&tree)
		runtime.KeepAlive(sessions)
	}
}
