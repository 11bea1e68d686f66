package loadgen

import (
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"
)

func TestProof(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := rapid.Uint32().Draw(t, "run")
		want := proof{
			publisher: rapid.Uint32().Draw(t, "publisher"),
			stream:    rapid.Uint32Range(0, 1<<24-1).Draw(t, "stream"),
			seq:       rapid.Uint64Range(0, 1<<40-1).Draw(t, "seq"),
			due:       rapid.Int64Range(0, 1<<54).Draw(t, "due") &^ 255,
		}
		topic := rapid.StringN(1, 20, 40).Draw(t, "topic")
		payload := append(make([]byte, proofSize), rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "rest")...)
		want.put(payload, run)
		sealPayload(payload, topic)
		var got proof
		if f := got.readPayload(payload, topic, run); f != intact || got != want {
			t.Fatalf("read %+v (%v), want %+v", got, f, want)
		}
		if f := got.readPayload(payload, topic, run+1); f != foreign {
			t.Fatalf("another run's: %v", f)
		}
		if f := got.readPayload(payload, topic+"x", run); f != damaged {
			t.Fatalf("under another topic: %v", f)
		}
		// Whatever single bit is wrong, the message does not pass.
		bit := rapid.IntRange(0, 8*len(payload)-1).Draw(t, "bit")
		payload[bit/8] ^= 1 << (bit % 8)
		if f := got.readPayload(payload, topic, run); f == intact {
			t.Fatalf("a payload with bit %d changed passes", bit)
		}
	})
}

func TestProofInText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const run = 0xABCD1234
		digits := []byte("abcd1234")
		want := proof{publisher: 3, stream: 2, seq: rapid.Uint64Range(0, 1<<40-1).Draw(t, "seq"), due: 1 << 20}
		var header [proofSize]byte
		want.put(header[:], run)
		inside := rapid.Bool().Draw(t, "inside the payload")
		payload := []byte(`{"proof": "`)
		at := -1
		if inside {
			at = len(payload)
			payload = append(payload, make([]byte, 2*proofSize)...)
		}
		payload = append(payload, `", "t": 21.5}`...)
		sealText(header[:], payload, at, "a/b")
		text := hex.AppendEncode(nil, header[:])
		property := text
		if inside {
			copy(payload[at:], text)
			property = nil
		}
		var got proof
		if f := got.readText(property, payload, "a/b", run, digits); f != intact || got != want {
			t.Fatalf("read %+v (%v), want %+v", got, f, want)
		}
		i := rapid.IntRange(0, len(payload)-1).Draw(t, "byte")
		payload[i] ^= 1
		if f := got.readText(property, payload, "a/b", run, digits); f == intact {
			t.Fatalf("a payload with byte %d changed passes", i)
		}
	})
}

func BenchmarkProof(b *testing.B) {
	payload := make([]byte, 64)
	b.Run("put", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			pr := proof{publisher: 1, seq: 2, due: 3}
			pr.put(payload, 4)
			sealPayload(payload, "a/b/c")
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		var pr proof
		for b.Loop() {
			if pr.readPayload(payload, "a/b/c", 4) != intact {
				b.Fatal("not intact")
			}
		}
	})
}
