package topic

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
)

const million = 1_000_000

// mixes are populations of subscriptions: the filter of the i-th of n, and a name to publish to.
var mixes = []struct {
	name          string
	filter, topic func(i, n int) string
}{
	{
		"exact",
		func(i, _ int) string { return fmt.Sprintf("site/%03d/dev/%07d", i%1000, i) },
		func(i, _ int) string { return fmt.Sprintf("site/%03d/dev/%07d", i%1000, i) },
	},
	{
		"multi",
		func(i, _ int) string { return fmt.Sprintf("site/%03d/dev/%07d/#", i%1000, i) },
		func(i, _ int) string { return fmt.Sprintf("site/%03d/dev/%07d/temp", i%1000, i) },
	},
	{
		"plus",
		func(i, _ int) string { return fmt.Sprintf("site/+/dev/%07d/+", i) },
		func(i, _ int) string { return fmt.Sprintf("site/%03d/dev/%07d/temp", i%1000, i) },
	},
	{
		"mixed",
		func(i, _ int) string {
			switch i % 10 {
			case 0:
				return fmt.Sprintf("site/+/dev/%07d", i)
			case 1:
				return fmt.Sprintf("site/%03d/dev/%07d/#", i%1000, i)
			case 2:
				return fmt.Sprintf("+/%03d/+/%07d", i%1000, i)
			}
			return fmt.Sprintf("site/%03d/dev/%07d", i%1000, i)
		},
		func(i, _ int) string { return fmt.Sprintf("site/%03d/dev/%07d", i%1000, i) },
	},
	{
		"shared names", // ten subscribers to each filter
		func(i, n int) string { return fmt.Sprintf("group/%06d/news", i%(n/10)) },
		func(i, n int) string { return fmt.Sprintf("group/%06d/news", i%(n/10)) },
	},
}

// BenchmarkTreeMatch looks up random names among subscriptions; each has at least one.
func BenchmarkTreeMatch(b *testing.B) {
	for _, n := range []int{100_000, million} {
		for _, mix := range mixes {
			b.Run(fmt.Sprintf("%s/%d", mix.name, n), func(b *testing.B) {
				var tree Tree[*session]
				sessions := make([]session, n)
				before := heap()
				for i := range n {
					tree.Subscribe("", mix.filter(i, n), &sessions[i], Options{})
				}
				each := float64(heap()-before) / float64(n)
				names := randomNames(mix.topic, n)
				dst := make([]Target[*session], 0, 64)
				found, i := 0, 0
				b.ReportAllocs()
				for b.Loop() {
					dst = tree.AppendMatches(dst[:0], names[i%len(names)])
					found += len(dst)
					i++
				}
				b.ReportMetric(each, "B/sub")
				b.ReportMetric(float64(found)/float64(i), "targets/op")
				runtime.KeepAlive(sessions)
			})
		}
	}
}

func randomNames(topic func(i, n int) string, n int) []string {
	rnd := rand.New(rand.NewPCG(1, 2))
	names := make([]string, 1<<16)
	for i := range names {
		names[i] = topic(rnd.IntN(n), n)
	}
	return names
}

// BenchmarkSubscribe fills a tree with a million subscriptions and empties it again.
func BenchmarkSubscribe(b *testing.B) {
	for _, mix := range mixes {
		filters := make([]string, million)
		for i := range filters {
			filters[i] = mix.filter(i, million)
		}
		sessions := make([]session, million)
		b.Run(mix.name, func(b *testing.B) {
			for b.Loop() {
				var tree Tree[*session]
				for i, f := range filters {
					tree.Subscribe("", f, &sessions[i], Options{})
				}
				if tree.Len() != million {
					b.Fatalf("%d subscriptions", tree.Len())
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/million, "ns/sub")
		})
		b.Run(mix.name+"/remove", func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				var tree Tree[*session]
				for i, f := range filters {
					tree.Subscribe("", f, &sessions[i], Options{})
				}
				b.StartTimer()
				for i, f := range filters {
					tree.Unsubscribe("", f, &sessions[i])
				}
				if tree.Len() != 0 {
					b.Fatalf("%d subscriptions left", tree.Len())
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/million, "ns/sub")
		})
	}
}

// BenchmarkCache: hits are one publisher with few topics, misses one with a hundred thousand.
func BenchmarkCache(b *testing.B) {
	const n = 100_000
	var tree Tree[*session]
	sessions := make([]session, n)
	for i := range n {
		tree.Subscribe("", mixes[3].filter(i, n), &sessions[i], Options{})
	}
	for name, names := range map[string][]string{"hit": randomNames(mixes[3].topic, n)[:16], "miss": randomNames(mixes[3].topic, n)} {
		b.Run(name, func(b *testing.B) {
			cache := Cache[*session]{Tree: &tree}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				cache.Lookup(names[i%len(names)])
				i++
			}
		})
	}
}

// BenchmarkTreeDeep publishes to 65,535 slashes among 1,000 filters about as long that
// differ in one place each: the most work a subscription can cause.
func BenchmarkTreeDeep(b *testing.B) {
	const n, length = 1000, 65535
	shapes := map[string]func(i int) string{
		"missed": func(i int) string {
			return strings.Repeat("/", 60*i+1) + "x" + strings.Repeat("/", length-3-60*i) + "+"
		},
		"matched": func(i int) string { return strings.Repeat("/", 60*i) + "+" + strings.Repeat("/", length-60*i) },
		"all +": func(i int) string {
			return strings.Repeat("+/", 30*i) + "/" + strings.Repeat("+/", length/2-1-30*i) + "#"
		},
	}
	name := strings.Repeat("/", length)
	for shape, filter := range shapes {
		b.Run(shape, func(b *testing.B) {
			var tree Tree[*session]
			before := heap()
			for i := range n {
				tree.Subscribe("", filter(i), nil, Options{})
			}
			each := float64(heap()-before) / n
			var dst []Target[*session]
			for b.Loop() {
				dst = tree.AppendMatches(dst[:0], name)
			}
			b.ReportMetric(each, "B/sub")
			b.ReportMetric(float64(len(dst)), "targets/op")
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Match("site/+/dev/#", "site/017/dev/0001234/temp")
	}
}

// BenchmarkStore replaces, and finds by filter, among a million names.
func BenchmarkStore(b *testing.B) {
	var store Store[*session]
	s := new(session)
	before := heap()
	for i := range million {
		store.Set(mixes[1].topic(i, million), s)
	}
	each := float64(heap()-before) / million
	names := randomNames(mixes[1].topic, million)
	b.Run("set", func(b *testing.B) {
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			store.Set(names[i%len(names)], s)
			i++
		}
		b.ReportMetric(each, "B/name")
	})
	for _, filter := range []string{"site/017/dev/0000017/#", "site/+/dev/0000017/temp", "site/017/#", "#"} {
		b.Run(filter, func(b *testing.B) {
			var dst []Entry[*session]
			b.ReportAllocs()
			for b.Loop() {
				dst = store.AppendMatching(dst[:0], filter)
			}
			b.ReportMetric(float64(len(dst)), "names/op")
		})
	}
}
