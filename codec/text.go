package codec

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// MaxStringLen is the length in bytes that the two-byte prefix of a string can say (1.5.3, in 5.0 1.5.4).
const MaxStringLen = 65535

// ValidString reports whether s is an MQTT UTF-8 Encoded String: at most 65,535 bytes of
// well-formed UTF-8 without surrogates and without U+0000 (1.5.3, in 5.0 1.5.4).
func ValidString(s string) bool {
	if len(s) > MaxStringLen {
		return false
	}
	seen := scanText(s)
	return seen == 0 || seen == seenHigh && utf8.ValidString(s)
}

// ValidTopicName reports whether s is a Topic Name: a valid string of at least one byte
// without wildcards (4.7).
func ValidTopicName(s string) bool {
	if len(s)-1 >= MaxStringLen || s == "" {
		return false
	}
	seen := scanName(s)
	return seen == 0 || seen == seenHigh && utf8.ValidString(s)
}

// ValidTopicFilter reports whether s is a Topic Filter: a valid string of at least one byte
// in which + fills a whole level and # stands alone at the end (4.7.1). The share prefix of a
// Shared Subscription is not looked at.
func ValidTopicFilter(s string) bool {
	if len(s)-1 >= MaxStringLen || s == "" {
		return false
	}
	seen := scanName(s)
	if seen == 0 {
		return true
	}
	return seen&seenNUL == 0 && (seen&seenHigh == 0 || utf8.ValidString(s)) && wildcardFault(s) == faultNone
}

// filterFault returns what is wrong with a Topic Filter whose characters are in order. Where
// shared is set, one that begins with the share prefix is that of a Shared Subscription.
func filterFault(s string, shared bool) fault {
	if shared && strings.HasPrefix(s, sharePrefix) {
		return shareFault(s[len(sharePrefix):])
	}
	if s == "" {
		return faultFilterEmpty // [MQTT-4.7.3-1]
	}
	return wildcardFault(s)
}

// sharePrefix begins the Topic Filter of a Shared Subscription (5.0, 4.8.2).
const sharePrefix = "$share/"

// shareFault judges what follows the share prefix: ShareName, slash, Topic Filter.
func shareFault(s string) fault {
	name, filter, _ := strings.Cut(s, "/")
	switch {
	case name == "":
		return faultShareNameEmpty // [MQTT-4.8.2-1]
	case hasWildcard(name):
		return faultShareNameWildcard // [MQTT-4.8.2-2]
	case filter == "":
		return faultShareFilterMissing // [MQTT-4.8.2-2]
	}
	return wildcardFault(filter)
}

// wildcardFault returns the fault of the first wildcard that stands where 4.7.1 does not allow it.
func wildcardFault(s string) fault {
	for i := 0; i < len(s); i++ {
		if s[i]&^('+'^'#') != '#' {
			continue // neither: the two differ in one bit
		}
		if i > 0 && s[i-1] != '/' || i+1 < len(s) && (s[i] == '#' || s[i+1] != '/') {
			if s[i] == '#' {
				return faultFilterHash // [MQTT-4.7.1-2], in 5.0 [MQTT-4.7.1-1]
			}
			return faultFilterPlus // [MQTT-4.7.1-3], in 5.0 [MQTT-4.7.1-2]
		}
	}
	return faultNone
}

// What scanText and scanName have seen in a string.
const (
	seenHigh     = 1 << iota // a byte above 0x7F: the string is not plain ASCII
	seenNUL                  // the byte 0x00
	seenWildcard             // + or #
)

// The masks look at eight bytes at once. For a word x, (x-lows)&^x&highs is zero exactly when
// no byte of x is zero. '+' (0x2B) and '#' (0x23) differ in the bit 0x08 alone, so that one
// comparison finds both.
const (
	lows     = 0x0101010101010101
	highs    = 0x8080808080808080
	hashes   = 0x2323232323232323
	plusBits = 0x0808080808080808
)

// scanText says whether s holds bytes above 0x7F or the byte 0x00.
func scanText(s string) int {
	b := []byte(s) // read alone, and so not copied
	var high, nul uint64
	if len(b) < 8 {
		x := shortWord(b)
		high, nul = x, (x-lows)&^x
	} else {
		x := binary.LittleEndian.Uint64(b[len(b)-8:])
		high = x
		nul = (x - lows) &^ x
		for ; len(b) > 8; b = b[8:] {
			x := binary.LittleEndian.Uint64(b)
			high |= x
			nul |= (x - lows) &^ x
		}
	}
	if (high|nul)&highs == 0 {
		return 0
	}
	seen := 0
	if high&highs != 0 {
		seen = seenHigh
	}
	if nul&highs != 0 {
		seen |= seenNUL
	}
	return seen
}

// scanName is scanText that looks for wildcards too.
func scanName(s string) int {
	b := []byte(s) // read alone, and so not copied
	var high, nul, wild uint64
	if len(b) < 8 {
		x := shortWord(b)
		y := x&^plusBits ^ hashes
		high, nul, wild = x, (x-lows)&^x, (y-lows)&^y
	} else {
		x := binary.LittleEndian.Uint64(b[len(b)-8:])
		y := x&^plusBits ^ hashes
		high = x
		nul = (x - lows) &^ x
		wild = (y - lows) &^ y
		for ; len(b) > 8; b = b[8:] {
			x := binary.LittleEndian.Uint64(b)
			y := x&^plusBits ^ hashes
			high |= x
			nul |= (x - lows) &^ x
			wild |= (y - lows) &^ y
		}
	}
	if (high|nul|wild)&highs == 0 {
		return 0
	}
	seen := 0
	if high&highs != 0 {
		seen = seenHigh
	}
	if nul&highs != 0 {
		seen |= seenNUL
	}
	if wild&highs != 0 {
		seen |= seenWildcard
	}
	return seen
}

// shortWord packs fewer than eight bytes into a word; the rest of it is filled with 'A', a byte
// that no scan looks for.
func shortWord(b []byte) uint64 {
	const fill = 0x4141414141414141
	switch n := len(b); {
	case n >= 4:
		// The two halves may overlap.
		return uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint32(b[n-4:]))<<32
	case n >= 2:
		return uint64(binary.LittleEndian.Uint16(b)) | uint64(binary.LittleEndian.Uint16(b[n-2:]))<<16 | fill&^0xFFFFFFFF
	case n == 1:
		return uint64(b[0]) | fill&^0xFF
	}
	return fill
}

// hasWildcard reports whether s holds + or #.
func hasWildcard(s string) bool { return strings.ContainsAny(s, "+#") }
