package peers

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
)

func BenchmarkDecode(b *testing.B) { benchmark(b, DecodeCases) }

func BenchmarkEncode(b *testing.B) { benchmark(b, EncodeCases) }

func benchmark(b *testing.B, cases func() ([]Case, error)) {
	all, err := cases()
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range all {
		for _, op := range c.Ops {
			b.Run(c.Name+"/"+op.Impl, func(b *testing.B) {
				b.SetBytes(int64(c.Bytes))
				b.ReportAllocs()
				for b.Loop() {
					if err := op.Run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// The comparison is fair only if all do the same work without a fault.
func TestCases(t *testing.T) {
	decode, err := DecodeCases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range decode {
		for _, op := range c.Ops {
			if err := op.Run(); err != nil {
				t.Errorf("decode %s by %s: %v", c.Name, op.Impl, err)
			}
		}
	}
	encode, err := EncodeCases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range encode {
		want := map[codec.Version]Meaning{}
		for _, op := range c.Ops {
			// The second run writes into a used buffer, as all but the first of a benchmark do.
			for range 2 {
				if err := op.Run(); err != nil {
					t.Fatalf("encode %s by %s: %v", c.Name, op.Impl, err)
				}
			}
			d := codec.Decoder{Version: op.Version, From: codec.Client}
			p, err := d.Decode(op.Out())
			if err != nil {
				t.Errorf("encode %s by %s: %v in %x", c.Name, op.Impl, err, op.Out())
				continue
			}
			got := MeaningOf(p, op.Version)
			if op.Own() {
				want[op.Version] = got
			} else if diff := cmp.Diff(want[op.Version], got); diff != "" {
				t.Errorf("encode %s by %s, package codec -, the peer +:\n%s", c.Name, op.Impl, diff)
			}
		}
	}
}

func TestCodecAllocatesNothing(t *testing.T) {
	for _, cases := range []func() ([]Case, error){DecodeCases, EncodeCases} {
		all, err := cases()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			for _, op := range c.Ops {
				if !op.Own() {
					continue
				}
				if n := testing.AllocsPerRun(100, func() { _ = op.Run() }); n != 0 {
					t.Errorf("%s by %s: %v allocations in one run", c.Name, op.Impl, n)
				}
			}
		}
	}
}
