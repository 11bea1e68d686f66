// Package topic knows Topic Names and Topic Filters (3.1.1 section 4.7, 5.0 sections 4.7 and
// 4.8): what is wrong with one, which names a filter matches, and who subscribes to a name.
//
// Start from [Match] for one filter and one name, [Tree] for a broker's Subscriptions with
// [Cache] in front of it for each publisher, and [Store] for Retained Messages. [CheckName],
// [CheckFilter] and [ParseShared] say why a string is refused and by which rule.
//
// Matching expects what these checks accept. Other input never panics and is never kept
// twice, but what it matches is not defined. Tree and Store copy the strings they keep, so a
// string that views a frame may be passed in. Work and memory are linear in the bytes of a
// name or filter: levels that do not branch share one node, so 65,535 slashes cost one node
// and their own 64 KiB.
//
// Not done here: access control, limits on levels or counts, delivery, and time.
package topic

import "strings"

// maxLength is the longest string a two-byte length prefix can carry.
const maxLength = 65535

// Levels returns the number of levels of a name or filter: one more than it has slashes.
func Levels(s string) int { return strings.Count(s, "/") + 1 }

// IsWild reports whether a valid filter contains a wildcard.
func IsWild(filter string) bool {
	return strings.IndexByte(filter, '+') >= 0 || strings.IndexByte(filter, '#') >= 0
}

// Match reports whether a Topic Filter matches a Topic Name. Both are compared byte by byte,
// without normalization. It does not allocate. A share prefix has no meaning here: pass the
// inner filter that ParseShared returns.
func Match(filter, name string) bool {
	if filter == "" || name == "" {
		return false
	}
	if name[0] == '$' && (filter[0] == '+' || filter[0] == '#') { // [MQTT-4.7.2-1]
		return false
	}
	f, n := 0, 0
	for f < len(filter) {
		switch c := filter[f]; {
		case c == '+':
			n = levelEnd(name, n)
			f++
		case c == '#':
			return true
		case n < len(name) && name[n] == c:
			f++
			n++
		default:
			// "a/#" includes its parent "a".
			return n == len(name) && filter[f:] == "/#"
		}
	}
	return n == len(name)
}

// levelEnd returns the offset of the slash that ends the level starting at pos, or len(s).
func levelEnd(s string, pos int) int {
	if i := strings.IndexByte(s[pos:], '/'); i >= 0 {
		return pos + i
	}
	return len(s)
}
