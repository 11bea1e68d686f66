package codec_test

import (
	"bytes"
	"testing"

	"github.com/mqlab/mqlab/codec"
)

// TestAllocs holds the promise of the package comment: framing, decoding and encoding allocate
// nothing in steady state, for every packet type, properties included, in both modes.
func TestAllocs(t *testing.T) {
	for _, v := range versions {
		for _, mode := range []codec.Mode{codec.Strict, codec.Lenient} {
			d := codec.Decoder{Version: v, Mode: mode}
			buf := make([]byte, 0, 4096)
			for _, p := range samples(v) {
				frame, err := p.AppendTo(nil, v)
				if err != nil {
					t.Fatal(err)
				}
				src := bytes.NewReader(nil)
				r := codec.NewReader(src, 4096)
				n := testing.AllocsPerRun(50, func() {
					src.Reset(frame)
					r.Reset(src)
					f, err := r.Next()
					if err != nil {
						t.Fatal(err)
					}
					q, err := d.Decode(f)
					if err != nil {
						t.Fatal(err)
					}
					if buf, err = q.AppendTo(buf[:0], v); err != nil {
						t.Fatal(err)
					}
					if len(buf) != q.Size(v) {
						t.Fatal("size")
					}
				})
				if n != 0 {
					t.Errorf("%s, mode %d: %v allocations", codec.Describe(p, v), mode, n)
				}
			}
		}
	}
}

// TestPropertyGettersDoNotAllocate covers what brokers ask of every packet.
func TestPropertyGettersDoNotAllocate(t *testing.T) {
	p := samples(codec.V5)[6].(*codec.Publish)
	total := 0
	n := testing.AllocsPerRun(50, func() {
		total += int(p.Props.Uint(codec.PropTopicAlias, 0)) + len(p.Props.Text(codec.PropResponseTopic)) + len(p.Props.Bytes(codec.PropCorrelationData))
		for k, v := range p.Props.UserProperties() {
			total += len(k) + len(v)
		}
		for id := range p.Props.SubscriptionIDs() {
			total += int(id)
		}
	})
	if n != 0 || total == 0 {
		t.Errorf("%v allocations, total %d", n, total)
	}
}
