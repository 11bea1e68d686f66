package codec

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "+", "#", "a/#", "a+", "\x00", "sensors/+/temp", "\xed\xa0\x80", "é/ü", "abcdefgh+", "1234567\x00", "$share/g/#"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		valid := len(s) <= 65535 && utf8.ValidString(s) && !strings.Contains(s, "\x00")
		if got := ValidString(s); got != valid {
			t.Errorf("ValidString(%q) = %v", s, got)
		}
		name := valid && s != "" && !strings.ContainsAny(s, "+#")
		if got := ValidTopicName(s); got != name {
			t.Errorf("ValidTopicName(%q) = %v", s, got)
		}
		filter := valid && s != ""
		levels := strings.Split(s, "/")
		for i, l := range levels {
			if strings.ContainsAny(l, "+#") && l != "+" && (l != "#" || i != len(levels)-1) {
				filter = false
			}
		}
		if got := ValidTopicFilter(s); got != filter {
			t.Errorf("ValidTopicFilter(%q) = %v", s, got)
		}
	})
}

// TestTextEveryPosition puts each byte value at each position of strings around the word
// size, since the scans look at eight bytes at once.
func TestTextEveryPosition(t *testing.T) {
	for n := 1; n <= 26; n++ {
		for at := range n {
			for c := range 256 {
				b := []byte(strings.Repeat("a", n))
				b[at] = byte(c)
				s := string(b)
				valid := c > 0 && c < 0x80
				if got := ValidString(s); got != valid {
					t.Fatalf("ValidString(%q) = %v", s, got)
				}
				if got := ValidTopicName(s); got != (valid && c != '+' && c != '#') {
					t.Fatalf("ValidTopicName(%q) = %v", s, got)
				}
				if got := ValidTopicFilter(s); got != (valid && (n == 1 || c != '+' && c != '#')) {
					t.Fatalf("ValidTopicFilter(%q) = %v", s, got)
				}
			}
		}
	}
}

func TestTextLimits(t *testing.T) {
	long := strings.Repeat("a", 65535)
	for _, tc := range []struct {
		name                    string
		in                      string
		isString, isName, isFil bool
	}{
		{"65535 bytes", long, true, true, true},
		{"65536 bytes [MQTT-4.7.3-3]", long + "a", false, false, false},
		{"empty [MQTT-4.7.3-1]", "", true, false, false},
		{"byte order mark is kept [MQTT-1.5.3-3]", "\xef\xbb\xbfa", true, true, true},
		{"noncharacter U+FFFF", "\uffff", true, true, true},
		{"control character U+0001", "\x01", true, true, true},
		{"surrogate", "\xed\xa0\x80", false, false, false},
		{"overlong slash", "\xc0\xaf", false, false, false},
		{"above U+10FFFF", "\xf5\x80\x80\x80", false, false, false},
		{"cut short", "abc\xe2\x82", false, false, false},
		{"NUL after non-ASCII", "\u00e9\x00", false, false, false},
		{"wildcard after non-ASCII", "\u00e9/+/x", true, false, true},
		{"hash inside", "a/#/b", true, false, false},
		{"hash after letter", "a#", true, false, false},
		{"plus within a level", "a/b+/c", true, false, false},
		{"levels that are empty", "//", true, true, true},
		{"plus at each end", "+/a/+", true, false, true},
		{"two hashes", "##", true, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if ValidString(tc.in) != tc.isString || ValidTopicName(tc.in) != tc.isName || ValidTopicFilter(tc.in) != tc.isFil {
				t.Errorf("string, name, filter = %v %v %v, want %v %v %v", ValidString(tc.in), ValidTopicName(tc.in),
					ValidTopicFilter(tc.in), tc.isString, tc.isName, tc.isFil)
			}
		})
	}
}

func BenchmarkValidTopicName(b *testing.B) {
	for _, s := range []string{"a/b", "sensors/line3/temperature", "bâtiment/étage/température"} {
		b.Run(s, func(b *testing.B) {
			for b.Loop() {
				if !ValidTopicName(s) {
					b.Fatal("refused")
				}
			}
		})
	}
}
