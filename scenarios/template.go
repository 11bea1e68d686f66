package scenarios

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Template is a text with placeholders such as {index} or {int:1:100}. A brace that begins no placeholder stands for
// itself, so JSON needs no escapes: {"t": {float:18:24:1}} is a template. Doubled braces around a placeholder write it
// as it stands: {{index}} becomes {index}.
//
// A Template is not changed by its use and may be used from several goroutines at a time.
type Template struct {
	source   string
	parts    []part
	varies   Varies
	groups   []string // named by peer and each
	suspects []string
}

// Varies is the set of what the text of a template depends on.
type Varies uint8

// What a text can depend on.
const (
	VariesRun     Varies = 1 << iota // the run's id
	VariesGroup                      // the group's name or count
	VariesClient                     // the client
	VariesTopic                      // the place in the pool of topics
	VariesMessage                    // the message: its number or its instant
	VariesRandom                     // the generator of random numbers
	VariesProof                      // the verification header
)

// variesNames are the words for the bits of Varies, lowest first.
var variesNames = []string{"run", "group", "client", "topic", "message", "random", "proof"}

// Has reports whether the set has a bit of the other.
func (v Varies) Has(other Varies) bool { return v&other != 0 }

// String lists the set.
func (v Varies) String() string {
	var out []string
	for i, n := range variesNames {
		if v&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	if out == nil {
		return "nothing"
	}
	return strings.Join(out, ", ")
}

// Placeholder describes one placeholder of templates.
type Placeholder struct {
	Name   string
	Form   string // as one writes it
	Doc    string
	Varies Varies
	build  func(p *part, args string) error
}

// Placeholders returns all placeholders.
func Placeholders() []Placeholder { return slices.Clone(placeholders) }

var placeholders = []Placeholder{
	{"index", "{index}", "the client's place in its group, from 0", VariesClient, number(kindIndex)},
	{"client", "{client}", "the client's place in the whole workload, from 0", VariesClient, number(kindClient)},
	{"count", "{count}", "how many clients the group has", VariesGroup, number(kindCount)},
	{"group", "{group}", "the group's name", VariesGroup, plainPart(kindGroup)},
	{"run", "{run}", "the run's id, up to 8 letters and digits that no other run has", VariesRun, plainPart(kindRun)},
	{"topic", "{topic}", "the place in the pool of topics, from 0", VariesTopic, number(kindTopic)},
	{"each", "{each:GROUP}", "the clients of another group in turn: the index of one, another with every message", VariesTopic | VariesClient, ofGroup(kindEach)},
	{"peer", "{peer:GROUP}", "the index of the client of another group that belongs to this one: this one's index, modulo the other group's count", VariesClient, ofGroup(kindPeer)},
	{"seq", "{seq}", "the number of the message, from 0 for each client and stream", VariesMessage, number(kindSeq)},
	{"random", "{random:N}", "N random letters and digits", VariesRandom, randomPart},
	{"int", "{int:MIN:MAX}", "a random whole number, both ends included", VariesRandom, intPart},
	{"float", "{float:MIN:MAX:DIGITS}", "a random number with so many digits behind the point; default 2", VariesRandom, floats(kindFloat)},
	{"gauss", "{gauss:MEAN:DEV:DIGITS}", "a normally distributed number", VariesRandom, floats(kindGauss)},
	{"walk", "{walk:MIN:MAX:DIGITS}", "a value that drifts from message to message as a sensor's does, each client on a path of its own", VariesMessage | VariesClient, floats(kindWalk)},
	{"choice", "{choice:a|b|c}", "one of the texts at random", VariesRandom, choicePart},
	{"uuid", "{uuid}", "a random UUID", VariesRandom, plainPart(kindUUID)},
	{"timestamp", "{timestamp}", "the instant at which the message is due: 2006-01-02T15:04:05.000Z", VariesMessage, plainPart(kindTimestamp)},
	{"unix", "{unix}", "that instant in seconds since 1970", VariesMessage, plainPart(kindUnix)},
	{"unix_ms", "{unix_ms}", "the same in milliseconds", VariesMessage, plainPart(kindUnixMS)},
	{"unix_ns", "{unix_ns}", "the same in nanoseconds", VariesMessage, plainPart(kindUnixNS)},
	{"proof", "{proof}", "the verification header in hexadecimal digits, with which receivers tell lost, repeated and overtaken messages", VariesProof, plainPart(kindProof)},
}

// placeholderNames are the names of placeholders, for suggestions.
var placeholderNames = func() []string {
	var out []string
	for _, p := range placeholders {
		out = append(out, p.Name)
	}
	return out
}()

func placeholder(name string) *Placeholder {
	for i := range placeholders {
		if placeholders[i].Name == name {
			return &placeholders[i]
		}
	}
	return nil
}

type partKind uint8

const (
	kindText partKind = iota
	kindIndex
	kindClient
	kindCount
	kindGroup
	kindRun
	kindTopic
	kindEach
	kindPeer
	kindSeq
	kindRandom
	kindInt
	kindFloat
	kindGauss
	kindWalk
	kindChoice
	kindUUID
	kindTimestamp
	kindUnix
	kindUnixMS
	kindUnixNS
	kindProof
)

// part is a stretch of text or one placeholder.
type part struct {
	kind    partKind
	text    string // of kindText; the group of peer and each
	ops     []op
	width   int // numbers are filled up with zeros to it
	n       int // of random: characters; of floats: digits
	low     int64
	span    uint64 // high - low
	a, b    float64
	choices []string
}

// op is one step of arithmetic on a whole number.
type op struct {
	sign byte // % / + or *
	by   uint64
}

// The bounds of what placeholders may ask for.
const (
	maxRandomText = 64 << 10
	maxDigits     = 15
	maxWidth      = 20
)

// ParseTemplate reads a template. An error says at which column the fault is.
func ParseTemplate(s string) (*Template, error) {
	t := &Template{source: s}
	random := 0
	text := make([]byte, 0, len(s))
	flush := func() {
		if len(text) > 0 {
			t.parts = append(t.parts, part{kind: kindText, text: string(text)})
			text = text[:0]
		}
	}
	for i := 0; i < len(s); {
		if s[i] != '{' {
			text = append(text, s[i])
			i++
			continue
		}
		if inner, ok := doubled(s[i:]); ok {
			text = append(text, inner...)
			i += len(inner) + 2
			continue
		}
		name := wordAt(s[i+1:])
		after := i + 1 + len(name)
		if name == "" || after == len(s) || s[after] != '}' && s[after] != ':' {
			text = append(text, '{')
			i++
			continue
		}
		p := placeholder(name)
		if p == nil {
			if near := nearest(name, placeholderNames); near != "" {
				t.suspects = append(t.suspects, fmt.Sprintf("column %d: {%s} is no placeholder, did you mean {%s}?", column(s, i), name, near))
			}
			text = append(text, '{')
			i++
			continue
		}
		size := strings.IndexByte(s[after:], '}')
		if size < 0 {
			return nil, fmt.Errorf("column %d: {%s is not closed: the form is %s", column(s, i), name, p.Form)
		}
		args := strings.TrimPrefix(s[after:after+size], ":")
		if s[after] == ':' && args == "" {
			return nil, fmt.Errorf("column %d: {%s:} has nothing behind the colon: the form is %s", column(s, i), name, p.Form)
		}
		var made part
		if err := p.build(&made, args); err != nil {
			whole := s[i : after+size+1]
			return nil, fmt.Errorf("column %d: %s: %w; the form is %s, and {%s} stands for the text itself", column(s, i), shorten(whole, 40), err, p.Form, shorten(whole, 40))
		}
		if made.kind == kindRandom {
			if random += made.n; random > maxRandomText {
				return nil, fmt.Errorf("column %d: the text has more than %d random characters", column(s, i), maxRandomText)
			}
		}
		flush()
		t.parts = append(t.parts, made)
		t.varies |= p.Varies
		if made.kind == kindPeer || made.kind == kindEach {
			t.groups = append(t.groups, made.text)
		}
		i = after + size + 1
	}
	flush()
	return t, nil
}

// doubled returns the placeholder that stands at the beginning of s in doubled braces.
func doubled(s string) (inner string, ok bool) {
	if !strings.HasPrefix(s, "{{") {
		return "", false
	}
	name := wordAt(s[2:])
	if placeholder(name) == nil {
		return "", false
	}
	size := strings.IndexByte(s, '}')
	if size < 0 || size+1 >= len(s) || s[size+1] != '}' || s[2+len(name)] != '}' && s[2+len(name)] != ':' {
		return "", false
	}
	return s[1 : size+1], true
}

// wordAt returns the small letters and underscores at the beginning of s.
func wordAt(s string) string {
	n := 0
	for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || s[n] == '_') {
		n++
	}
	return s[:n]
}

// column is the place of a byte as a person counts, from 1.
func column(s string, at int) int { return utf8.RuneCountInString(s[:at]) + 1 }

func plainPart(k partKind) func(*part, string) error {
	return func(p *part, args string) error {
		p.kind = k
		if args != "" {
			return fmt.Errorf("%q is too much", args)
		}
		return nil
	}
}

func number(k partKind) func(*part, string) error {
	return func(p *part, args string) error {
		p.kind = k
		if args == "" {
			return nil
		}
		return p.arithmetic(strings.Split(args, ":"))
	}
}

// arithmetic reads what may stand behind a whole number: %N, /N, +N and *N, applied in turn, and a width.
func (p *part) arithmetic(args []string) error {
	for i, a := range args {
		if a == "" {
			return fmt.Errorf("a colon has nothing behind it")
		}
		if strings.IndexByte("%/+*", a[0]) < 0 {
			n, err := strconv.ParseUint(a, 10, 8)
			if err != nil || n < 1 || n > maxWidth || i != len(args)-1 {
				return fmt.Errorf("%q is neither a width such as 05, at the end, nor %%N, /N, +N or *N", a)
			}
			p.width = int(n)
			continue
		}
		n, err := strconv.ParseUint(a[1:], 10, 32)
		if err != nil || n == 0 && a[0] != '+' {
			return fmt.Errorf("%q is not %%N, /N, +N or *N with a whole number", a)
		}
		p.ops = append(p.ops, op{a[0], n})
	}
	return nil
}

func ofGroup(k partKind) func(*part, string) error {
	return func(p *part, args string) error {
		p.kind = k
		words := strings.Split(args, ":")
		if words[0] == "" {
			return fmt.Errorf("it names no group")
		}
		p.text = words[0]
		return p.arithmetic(words[1:])
	}
}

func randomPart(p *part, args string) error {
	n, err := strconv.Atoi(args)
	if err != nil || n < 1 || n > maxRandomText {
		return fmt.Errorf("%q is not a number of characters from 1 to %d", args, maxRandomText)
	}
	p.kind, p.n = kindRandom, n
	return nil
}

func intPart(p *part, args string) error {
	low, high, ok := strings.Cut(args, ":")
	a, err1 := strconv.ParseInt(low, 10, 64)
	b, err2 := strconv.ParseInt(high, 10, 64)
	if !ok || err1 != nil || err2 != nil || a > b {
		return fmt.Errorf("%q are not two whole numbers, the smaller first", args)
	}
	p.kind, p.low, p.span = kindInt, a, uint64(b)-uint64(a)
	return nil
}

func floats(k partKind) func(*part, string) error {
	return func(p *part, args string) error {
		p.kind, p.n = k, 2
		words := strings.Split(args, ":")
		if len(words) < 2 || len(words) > 3 {
			return fmt.Errorf("%q are not two numbers and, where wanted, a number of digits", args)
		}
		var err1, err2 error
		p.a, err1 = strconv.ParseFloat(words[0], 64)
		p.b, err2 = strconv.ParseFloat(words[1], 64)
		if err1 != nil || err2 != nil || !(math.Abs(p.a) <= 1e15) || !(math.Abs(p.b) <= 1e15) {
			return fmt.Errorf("%q are not two numbers", args)
		}
		if k != kindGauss && p.a > p.b {
			return fmt.Errorf("%s is greater than %s: the smaller number is first", words[0], words[1])
		}
		if k == kindGauss && p.b < 0 {
			return fmt.Errorf("the deviation %s is negative", words[1])
		}
		if len(words) == 3 {
			n, err := strconv.Atoi(words[2])
			if err != nil || n < 0 || n > maxDigits {
				return fmt.Errorf("%q is not a number of digits from 0 to %d", words[2], maxDigits)
			}
			p.n = n
		}
		return nil
	}
}

func choicePart(p *part, args string) error {
	if args == "" {
		return fmt.Errorf("there is nothing to choose from")
	}
	p.kind, p.choices = kindChoice, strings.Split(args, "|")
	return nil
}

// String returns the template as it was written.
func (t *Template) String() string { return t.source }

// Constant returns the template's text where it has no placeholders.
func (t *Template) Constant() (string, bool) {
	switch len(t.parts) {
	case 0:
		return "", true
	case 1:
		if t.parts[0].kind == kindText {
			return t.parts[0].text, true
		}
	}
	return "", false
}

// Varies returns what the text depends on. Where it has nothing beyond [VariesRun], [VariesGroup] and [VariesClient],
// one expansion per client is enough.
func (t *Template) Varies() Varies { return t.varies }

// Groups returns the names of other groups that the template refers to.
func (t *Template) Groups() []string { return slices.Clone(t.groups) }

// Suspects returns a sentence for each word in braces that is no placeholder but nearly one.
func (t *Template) Suspects() []string { return slices.Clone(t.suspects) }
