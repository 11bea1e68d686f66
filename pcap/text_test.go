package pcap

import (
	"encoding/binary"
	"encoding/json"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// What looks at eight bytes in one go agrees with what looks at each.
func TestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.SampledFrom([]byte("abcdefgh{}:, ~\"\\\n\t\r\x7F\x1F\x00\xC3\xA4\xFF")), 0, 60).Draw(t, "text")
		want := utf8.Valid(b)
		for _, ch := range b {
			want = want && (ch >= 0x20 && ch != 0x7F || ch == '\n' || ch == '\r' || ch == '\t')
		}
		if got := printable(b); got != want {
			t.Fatalf("printable(%q) is %v", b, got)
		}
		if len(b) >= 8 {
			want := true
			for _, ch := range b[:8] {
				want = want && ch >= 0x20 && ch < 0x7F
			}
			if got := graphic(binary.LittleEndian.Uint64(b)); got != want {
				t.Fatalf("graphic(%q) is %v", b[:8], got)
			}
		}
		if !want {
			return
		}
		var back string
		quoted := appendQuotedText(nil, b)
		if err := json.Unmarshal(quoted, &back); err != nil || back != string(b) {
			t.Fatalf("%q becomes %s and %q, %v", b, quoted, back, err)
		}
		if other := appendQuoted(nil, b); string(other) != string(quoted) {
			t.Fatalf("%q becomes %s and %s", b, quoted, other)
		}
	})
}

func TestStamp(t *testing.T) {
	var s stamp
	for _, nanos := range []int64{0, 1, 999_999_999, 1e9, 1_700_000_000_123_456_789, -1, -1e9, -1e9 - 1, 1 << 62} {
		want := time.Unix(0, nanos).UTC().Format("2006-01-02T15:04:05.000000000Z")
		if got := string(s.append(nil, nanos)); got != want {
			t.Errorf("%d is %s, want %s", nanos, got, want)
		}
	}
}
