// Package rules is the registry of what MQTT demands: every numbered statement of MQTT 3.1.1 and of
// MQTT 5.0, and the statements of 5.0 that carry a penalty but no number. Start from [All], [Lookup]
// and [Rule]; [ReasonCodes], [Properties] and [Terms] are the fact tables beside it.
//
// The tables are embedded as tab separated files, are parsed once, on first use, and are never
// written afterwards: every function hands out copies and may be called from any goroutine.
//
// The same id may stand in both versions and mean another thing there (MQTT-3.3.1-4 does), so the
// key of a rule is always the pair of version and id. How a rule is checked is not known here.
package rules

import (
	"cmp"
	"slices"
	"strings"
)

// Subject says whom a rule binds.
type Subject string

// The subjects of the registry.
const (
	SubjectServer Subject = "server"
	SubjectClient Subject = "client"
	SubjectBoth   Subject = "both"
)

// Subjects lists every Subject in the order in which they are documented.
func Subjects() []Subject { return []Subject{SubjectServer, SubjectClient, SubjectBoth} }

// Level is the keyword of a rule. Must stands for MUST NOT as well, and so on.
type Level string

// The levels of the registry, strongest first.
const (
	LevelMust   Level = "MUST"
	LevelShould Level = "SHOULD"
	LevelMay    Level = "MAY"
)

// Levels lists every Level, strongest first.
func Levels() []Level { return []Level{LevelMust, LevelShould, LevelMay} }

// Probe says whose breach of the rule can be seen on the wire.
type Probe string

// The probes of the registry. A rule with ProbeNone says why in Rule.WhyNone.
const (
	ProbeServer Probe = "server"
	ProbeClient Probe = "client"
	ProbeBoth   Probe = "both"
	ProbeNone   Probe = "none"
)

// Probes lists every Probe in the order in which they are documented.
func Probes() []Probe { return []Probe{ProbeServer, ProbeClient, ProbeBoth, ProbeNone} }

// Sees reports whether a test of the given side can see a breach of a rule with this probe.
// The side is ProbeServer or ProbeClient.
func (p Probe) Sees(side Probe) bool { return p == side || p == ProbeBoth }

// Rule is one normative statement, in our own wording. It is a plain value: copies are independent.
type Rule struct {
	ID       string   `json:"id"`
	Version  Versions `json:"mqtt"` // exactly one version
	Section  string   `json:"section"`
	Subject  Subject  `json:"subject"`
	Level    Level    `json:"level"`
	Probe    Probe    `json:"probe"`
	Text     string   `json:"rule"`
	Stimulus string   `json:"stimulus,omitempty"` // what to send
	Pass     string   `json:"pass,omitempty"`     // every outcome the standard allows
	Fail     string   `json:"fail,omitempty"`     // what a breach looks like, and what is only a warning
	WhyNone  string   `json:"why_none,omitempty"` // why no wire test can see a breach
}

// Numbered reports whether the standard itself gives the statement its id. The other ids are
// this project's own and start with "P-".
func (r Rule) Numbered() bool { return strings.HasPrefix(r.ID, "MQTT-") }

// key is what a rule is found by: the id alone is not enough.
type key struct {
	version Versions
	id      string
}

type registry struct {
	rules      []Rule
	byKey      map[key]int
	codes      []ReasonCode
	properties []Property
	terms      []Term
}

// All returns every rule: 3.1.1 first, then 5.0, each in the order of its document, with the
// unnumbered statements of 5.0 at the end. The slice is the caller's.
func All() []Rule { return slices.Clone(load().rules) }

// ByVersion returns the rules of any version in v, in the order of All. The slice is the caller's.
func ByVersion(v Versions) []Rule {
	var out []Rule
	for _, r := range load().rules {
		if v.Has(r.Version) {
			out = append(out, r)
		}
	}
	return out
}

// Lookup finds a rule by version and id. The id is compared exactly.
// When v holds both versions the rule of 3.1.1 is preferred.
func Lookup(v Versions, id string) (Rule, bool) {
	reg := load()
	for _, one := range v.Split() {
		if i, ok := reg.byKey[key{one, id}]; ok {
			return reg.rules[i], true
		}
	}
	return Rule{}, false
}

// Known reports whether the id stands in a version of v.
func Known(v Versions, id string) bool {
	_, ok := Lookup(v, id)
	return ok
}

// Compare orders rule ids as their documents do: MQTT-3.3.1-4 before MQTT-3.3.1-10, and
// the numbered statements before the others. It works on any string.
func Compare(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && '0' <= s[n] && s[n] <= '9' {
		n++
	}
	return n
}

// Match reports whether name matches the pattern as a whole. In a pattern * stands for any run of
// characters, dots and slashes included, and ? for exactly one; letters match in either case.
// A pattern without them matches one name alone.
func Match(pattern, name string) bool {
	p, s := []rune(strings.ToLower(pattern)), []rune(strings.ToLower(name))
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[j]):
			i++
			j++
		case star >= 0: // let the last * take one character more
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
