package peers

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/packetgen"
)

// FuzzDifferential holds whatever bytes the strict Decoder takes for a legal packet against the
// peers. MQTT 3.1 is left out for the reason that TestVectors gives.
func FuzzDifferential(f *testing.F) {
	for _, vec := range vectors(f) {
		for _, v := range vec.Versions {
			if v == codec.V31 {
				continue
			}
			for _, from := range sidesOf(vec.From) {
				f.Add(v == codec.V5, from == codec.Server, vec.Frame)
			}
		}
	}
	f.Fuzz(func(t *testing.T, five, server bool, frame []byte) {
		v, from := codec.V4, codec.Client
		if five {
			v = codec.V5
		}
		if server {
			from = codec.Server
		}
		d := codec.Decoder{Version: v, From: from}
		p, err := d.Decode(frame)
		if err != nil {
			return
		}
		if c, ok := p.(*codec.Connect); ok {
			if c.Version == codec.V31 {
				return
			}
			v = c.Version
		}
		if err := compareAll(p, frame, v, from); err != nil {
			t.Error(err)
		}
	})
}

// FuzzGenerated has the fuzzer steer the generator of legal packets.
func FuzzGenerated(f *testing.F) {
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		v := rapid.SampledFrom(versions).Draw(t, "version")
		from := rapid.SampledFrom([]codec.Side{codec.Client, codec.Server}).Draw(t, "from")
		p := packetgen.Packet(t, v, from)
		frame, err := p.AppendTo(nil, v)
		if err != nil {
			t.Fatalf("encode %+v: %v", p, err)
		}
		if err := compareAll(p, frame, v, from); err != nil {
			t.Fatal(err)
		}
	}))
}
