// Package report writes results in forms that other programs and browsers read: one self-contained
// HTML page, JUnit XML, TAP, and pieces of Markdown. Start from [Page], [JUnit] and [TAP].
//
// Every instrument of mqlab fills these with its own results; nothing here knows what is
// reported. Texts may come from the network: everything is escaped for the place where it
// stands, and what a format cannot hold is made visible rather than dropped.
package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible returns s with every character that a reader could not see, and that may change how the
// rest looks, as an escape such as \x1b: control characters, marks of the direction of
// writing, and bytes that are not UTF-8. Line breaks and tabs stay when multiline is set.
func Visible(s string, multiline bool) string {
	if strings.IndexFunc(s, func(r rune) bool { return r == utf8.RuneError || hidden(r, multiline) }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case !hidden(r, multiline):
			b.WriteString(s[:n])
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		s = s[n:]
	}
	return b.String()
}

// hidden holds for U+FFFE and U+FFFF as well: XML has no way to write them.
func hidden(r rune, multiline bool) bool {
	if multiline && (r == '\n' || r == '\t') {
		return false
	}
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || r == 0xfffe || r == 0xffff
}
