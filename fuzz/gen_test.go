package fuzz

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
)

// asOne compares bytes as a whole: payloads are large, and looking at each byte alone takes a minute under the race detector.
var asOne = cmp.Comparer(bytes.Equal)

// TestLegalShare holds that most packets of most scripts stay legal, so that sessions live, and that what is called
// legal is.
func TestLegalShare(t *testing.T) {
	g := NewGenerator(1, GenConfig{})
	legal, edited, broken := 0, 0, 0
	types := map[codec.Type]int{}
	ops := map[Op]int{}
	for range 8000 {
		s := g.Next()
		if len(s.Steps) == 0 {
			t.Fatalf("the script of seed %d is empty", s.Seed)
		}
		for i := range s.Steps {
			st := &s.Steps[i]
			ops[st.Op]++
			if st.Op != Send {
				continue
			}
			if len(st.Bytes) == 0 {
				t.Fatalf("a step of seed %d sends nothing", s.Seed)
			}
			types[codec.Type(st.Bytes[0]>>4)]++
			if st.Edit != "" {
				edited++
				continue
			}
			legal++
			d := codec.Decoder{Version: s.Version, From: codec.Client}
			if _, err := d.Decode(st.Bytes); err != nil {
				broken++
				t.Errorf("seed %d: %x is called legal: %v", s.Seed, st.Bytes[:min(40, len(st.Bytes))], err)
			}
			if broken > 5 {
				t.FailNow()
			}
		}
	}
	if share := 100 * legal / (legal + edited); share < 58 || share > 72 {
		t.Errorf("%d %% of the packets are legal, want 60 to 70", share)
	}
	for typ := codec.TypeConnect; typ <= codec.TypeAuth; typ++ {
		if types[typ] == 0 {
			t.Errorf("no %s in 8000 scripts", typ)
		}
	}
	for op := Open; op <= Afterwards; op++ {
		if ops[op] == 0 {
			t.Errorf("no %s in 8000 scripts", op)
		}
	}
}

// TestDeterministic holds that the seed alone decides what is made, mutation included, and that a script alone can be
// made again from its own seed.
func TestDeterministic(t *testing.T) {
	a, b := NewGenerator(7, GenConfig{Prefix: "x"}), NewGenerator(7, GenConfig{Prefix: "x"})
	var last *Script
	for i := range 300 {
		x, y := a.Next(), b.Next()
		if diff := cmp.Diff(x, y, asOne); diff != "" {
			t.Fatalf("script %d differs: %s", i, diff)
		}
		if again := NewGenerator(99, GenConfig{Prefix: "x"}).Make(x.Seed); x.Text() != again.Text() {
			t.Fatalf("the script of seed %d differs:\n%s\n%s", x.Seed, x.Text(), again.Text())
		}
		if last != nil {
			before := last.Text()
			m, n := a.Mutate(last, x), b.Mutate(last, y)
			if m.Text() != n.Text() {
				t.Fatalf("mutant %d differs", i)
			}
			if last.Text() != before {
				t.Fatalf("mutation %d changed its original", i)
			}
		}
		last = x
	}
}

// TestScriptText holds that the text form says everything.
func TestScriptText(t *testing.T) {
	g := NewGenerator(3, GenConfig{})
	for range 1000 {
		s := g.Next()
		s.Oracle, s.Signature = OracleDied, "go panic: \"x\"  # y"
		text := s.Text()
		back, err := ReadScript(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if diff := cmp.Diff(s, back, asOne); diff != "" {
			t.Fatalf("seed %d: %s", s.Seed, diff)
		}
	}
	for _, bad := range []string{
		"", "x", scriptMagic, scriptMagic + "\nc9 open", scriptMagic + "\nc0 jump", scriptMagic + "\nversion 6",
		scriptMagic + "\nc0 send zz", scriptMagic + "\nc0 send 00*999999999", scriptMagic + "\nc0 settle soon", scriptMagic + "\nc0 answer maybe", scriptMagic + "\nfinding x \"y\"\nc0 open", scriptMagic + "\nfinding died\nc0 open",
	} {
		if _, err := ReadScript(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

// TestFromBytes holds that any bytes make a light script, and that bytes reach what the generator can do.
func TestFromBytes(t *testing.T) {
	src := NewGenerator(5, GenConfig{})
	ops := map[Op]bool{}
	for n := range 3000 {
		b := make([]byte, n%200)
		for i := range b {
			b[i] = src.main.byte()
		}
		s := FromBytes(b)
		if len(s.Steps) == 0 || len(s.Steps) > 64 {
			t.Fatalf("%d steps", len(s.Steps))
		}
		for _, st := range s.Steps {
			ops[st.Op] = true
			if st.Repeat > 40 || len(st.Bytes) > 200_000 {
				t.Fatalf("%s x%d of %d bytes is not light", st.Op, st.Repeat, len(st.Bytes))
			}
		}
	}
	for op := Open; op <= Afterwards; op++ {
		if !ops[op] {
			t.Errorf("bytes never choose %s", op)
		}
	}
}

// TestGeneratorAllocates holds the generator to few allocations a packet.
func TestGeneratorAllocates(t *testing.T) {
	g := NewGenerator(1, GenConfig{Light: true})
	packets := 0
	n := testing.AllocsPerRun(2000, func() { packets += len(g.Next().Steps) })
	if each := n * 2001 / float64(packets); each > 3 {
		t.Errorf("%.2f allocations a step, want 3 at most", each)
	}
}

func BenchmarkGenerate(b *testing.B) {
	g := NewGenerator(1, GenConfig{})
	b.ReportAllocs()
	packets := 0
	for b.Loop() {
		for _, st := range g.Next().Steps {
			if st.Op == Send {
				packets++
			}
		}
	}
	b.ReportMetric(float64(packets)/b.Elapsed().Seconds(), "packets/s")
}
