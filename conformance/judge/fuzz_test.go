package judge_test

import (
	"testing"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
)

// FuzzJudge feeds frames of both sides, and the same bytes once more in pieces. Each record of the
// input is one byte of direction and kind, one of length, and the frame. Nothing may panic, what is
// kept has to stay within its bounds, and cutting the bytes elsewhere may not change the verdict.
func FuzzJudge(f *testing.F) {
	for _, file := range exchangeFiles(f) {
		for _, c := range readExchanges(f, file) {
			var seed []byte
			for _, s := range c.steps {
				if len(s.bytes) > 255 {
					continue
				}
				dir := byte(0)
				if s.from == codec.Server {
					dir = 1
				}
				switch s.what {
				case "next":
					dir |= 2
				case "gap":
					dir |= 4
				case "end":
					dir |= 6
				}
				seed = append(append(seed, dir, byte(len(s.bytes))), s.bytes...)
			}
			f.Add(seed)
		}
	}
	listed := map[judge.Key]bool{}
	for _, k := range judge.Rules() {
		listed[k] = true
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		books := [2]*judge.Book{{}, {}}
		whole, pieces := judge.New(books[0]), judge.New(books[1])
		at := epoch
		check := func() {
			a, b := whole.Findings(), pieces.Findings()
			if len(a) > 256 {
				t.Fatalf("%d findings", len(a))
			}
			for i := range a {
				for _, v := range a[i].Version.Split() {
					if k := (judge.Key{Version: v, Rule: a[i].Rule, By: a[i].By}); !listed[k] {
						t.Fatalf("a finding of a duty that is not listed: %v", a[i])
					}
				}
				if i >= len(b) || a[i] != b[i] {
					t.Fatalf("in pieces the verdict is another: %v", a[i])
				}
			}
			if len(a) != len(b) {
				t.Fatalf("in pieces there are more findings: %v", b[len(a)])
			}
			for k := range whole.Judged() {
				if !listed[k] {
					t.Fatalf("a count of a duty that is not listed: %v", k)
				}
			}
		}
		for len(in) >= 2 {
			dir, n := in[0], min(int(in[1]), len(in)-2)
			frame := in[2 : 2+n]
			in = in[2+n:]
			from := codec.Client
			if dir&1 == 1 {
				from = codec.Server
			}
			at = at.Add(time.Duration(dir>>3) * 700 * time.Millisecond)
			switch dir & 6 {
			case 2:
				check()
				whole, pieces = judge.New(books[0]), judge.New(books[1])
			case 4:
				whole.Gap(from, at)
				pieces.Gap(from, at)
			case 6:
				whole.End(at, from)
				pieces.End(at, from)
			default:
				// Only frames whose length agrees with themselves come out of bytes the same.
				one, rest, err := codec.Cut(frame, 0)
				if err != nil || one == nil || len(rest) > 0 {
					judge.New(nil).Packet(from, at, frame)
					continue
				}
				whole.Packet(from, at, frame)
				cut := len(frame) / 2
				pieces.Bytes(from, at, frame[:cut])
				pieces.Bytes(from, at, frame[cut:])
			}
		}
		check()
	})
}
