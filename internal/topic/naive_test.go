package topic

import (
	"strings"

	"pgregory.net/rapid"
)

// naive is section 4.7 read aloud: the oracle for everything that matches.
func naive(filter, name string) bool {
	if name[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	fs, ns := strings.Split(filter, "/"), strings.Split(name, "/")
	for i, f := range fs {
		if f == "#" {
			return true // also where the name has just ended: # includes the parent
		}
		if i == len(ns) || f != "+" && f != ns[i] {
			return false
		}
	}
	return len(fs) == len(ns)
}

// Few letters, so that names and filters meet; empty levels, $ and letters of several bytes.
var levelGen = rapid.SampledFrom([]string{"", "", "a", "b", "ab", "$", "$a", "é"})

// The empty string is the one list of levels that is no name.
func nameGen() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(levelGen, 1, 6).Draw(t, "levels"), "/")
	}).Filter(func(s string) bool { return s != "" })
}

func filterGen() *rapid.Generator[string] {
	level := rapid.OneOf(levelGen, rapid.Just("+"))
	return rapid.Custom(func(t *rapid.T) string {
		levels := rapid.SliceOfN(level, 0, 5).Draw(t, "levels")
		if len(levels) == 0 || rapid.Bool().Draw(t, "multi") {
			levels = append(levels, "#")
		}
		return strings.Join(levels, "/")
	}).Filter(func(s string) bool { return s != "" })
}
