package scenarios

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Threshold is a condition that the result of a load run must satisfy: publish_ack.p99 < 50ms, lost == 0,
// duplicated{qos=2} == 0, rate >= 0.99 * offered.
type Threshold struct {
	Left   Term
	Op     string // < <= > >= == !=
	Factor float64
	Right  *Term   // nil where the right side is a number
	Number float64 // in the base unit of Unit
	Unit   Unit    // of both sides

	text    string
	literal string // the number as it was written
}

// Term is one value of a result.
type Term struct {
	Metric string
	Stat   string // "" where the metric is one number
	Labels map[string]string
}

// String returns the term as one writes it.
func (t *Term) String() string {
	s := t.Metric
	if t.Stat != "" {
		s += "." + t.Stat
	}
	for i, k := range slices.Sorted(maps.Keys(t.Labels)) {
		s += []string{"{", ","}[min(i, 1)] + k + "=" + t.Labels[k]
	}
	if len(t.Labels) > 0 {
		s += "}"
	}
	return s
}

// String returns the threshold as it was written.
func (t *Threshold) String() string { return t.text }

// Terms returns the values that the threshold names.
func (t *Threshold) Terms() []*Term {
	if t.Right == nil {
		return []*Term{&t.Left}
	}
	return []*Term{&t.Left, t.Right}
}

// maxThreshold bounds the text of a threshold, in bytes.
const maxThreshold = 1000

// thresholdParser reads a threshold from left to right.
type thresholdParser struct {
	s  string
	at int
}

func (p *thresholdParser) fail(at int, format string, args ...any) error {
	return fmt.Errorf("column %d: %s", column(p.s, at), fmt.Sprintf(format, args...))
}

func (p *thresholdParser) space() {
	for p.at < len(p.s) && (p.s[p.at] == ' ' || p.s[p.at] == '\t') {
		p.at++
	}
}

// rest is a bit of what comes, for messages.
func (p *thresholdParser) rest() string {
	if p.at >= len(p.s) {
		return "the end"
	}
	return strconv.Quote(shorten(p.s[p.at:], 20))
}

// ParseThreshold reads a threshold. An error says at which column the fault is.
func ParseThreshold(text string) (*Threshold, error) {
	if len(text) > maxThreshold {
		return nil, fmt.Errorf("it is longer than %d bytes", maxThreshold)
	}
	p := &thresholdParser{s: text}
	t := &Threshold{text: strings.TrimSpace(text), Factor: 1}
	var err error
	if t.Unit, err = p.term(&t.Left); err != nil {
		return nil, err
	}
	p.space()
	at := p.at
	for _, op := range []string{"<=", ">=", "==", "!=", "<", ">"} {
		if strings.HasPrefix(p.s[at:], op) {
			t.Op = op
			p.at += len(op)
			break
		}
	}
	if t.Op == "" {
		if strings.HasPrefix(p.s[at:], "=") {
			return nil, p.fail(at, "equality is written ==")
		}
		return nil, p.fail(at, "there is %s where one of < <= > >= == != belongs", p.rest())
	}
	if err := p.right(t); err != nil {
		return nil, err
	}
	p.space()
	if p.at < len(p.s) {
		return nil, p.fail(p.at, "%s is too much: write each condition as a threshold of its own", p.rest())
	}
	return t, nil
}

// term reads METRIC[.STAT][{label=value,...}].
func (p *thresholdParser) term(t *Term) (Unit, error) {
	p.space()
	at := p.at
	name := wordAt(p.s[at:])
	if name == "" {
		return "", p.fail(at, "there is %s where a metric belongs, such as publish_ack.p99 or lost", p.rest())
	}
	m := metric(name)
	if m == nil {
		if near := nearest(name, metricNames); near != "" {
			return "", p.fail(at, "%q is no metric, did you mean %s?", name, near)
		}
		return "", p.fail(at, "%q is no metric: there are %s", name, strings.Join(metricNames, ", "))
	}
	t.Metric = name
	p.at += len(name)
	written := ""
	if strings.HasPrefix(p.s[p.at:], ".") {
		n := 1
		for ; p.at+n < len(p.s); n++ {
			c := p.s[p.at+n]
			if c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				break
			}
		}
		if n == 1 {
			return "", p.fail(p.at, "nothing stands behind the point")
		}
		written = p.s[p.at+1 : p.at+n]
		at, p.at = p.at+1, p.at+n
	}
	stat, unit, err := m.stat(written)
	if err != nil {
		return "", p.fail(at, "%v", err)
	}
	t.Stat = stat
	if strings.HasPrefix(p.s[p.at:], "{") {
		if err := p.labels(t, m); err != nil {
			return "", err
		}
	}
	return unit, nil
}

// labels reads {label=value,...}. A value may stand in double quotes.
func (p *thresholdParser) labels(t *Term, m *Metric) error {
	t.Labels = map[string]string{}
	p.at++
	for {
		p.space()
		at := p.at
		name := wordAt(p.s[at:])
		if !slices.Contains(m.Labels, name) {
			if len(m.Labels) == 0 {
				return p.fail(at, "%s cannot be narrowed", m.Name)
			}
			return p.fail(at, "%s can be narrowed by %s, not by %s", m.Name, strings.Join(m.Labels, ", "), p.rest())
		}
		if _, twice := t.Labels[name]; twice {
			return p.fail(at, "%s stands twice", name)
		}
		p.at += len(name)
		p.space()
		if !strings.HasPrefix(p.s[p.at:], "=") {
			return p.fail(p.at, "there is %s where = belongs", p.rest())
		}
		p.at++
		p.space()
		at = p.at
		var value string
		if strings.HasPrefix(p.s[at:], `"`) {
			quoted, err := strconv.QuotedPrefix(p.s[at:])
			if err != nil {
				return p.fail(at, "the quoted text is not closed")
			}
			value, _ = strconv.Unquote(quoted)
			p.at += len(quoted)
		} else {
			n := strings.IndexAny(p.s[at:], ",}")
			if n < 0 {
				return p.fail(at, "the brace is not closed")
			}
			value = strings.TrimSpace(p.s[at : at+n])
			p.at += n
		}
		if value == "" || !utf8.ValidString(value) {
			return p.fail(at, "%s has no value", name)
		}
		if name == "qos" && value != "0" && value != "1" && value != "2" {
			return p.fail(at, "a QoS is 0, 1 or 2, not %q", value)
		}
		t.Labels[name] = value
		p.space()
		switch {
		case strings.HasPrefix(p.s[p.at:], ","):
			p.at++
		case strings.HasPrefix(p.s[p.at:], "}"):
			p.at++
			return nil
		default:
			return p.fail(p.at, "there is %s where a comma or the closing brace belongs", p.rest())
		}
	}
}

// right reads NUMBER[UNIT], METRIC or FACTOR * METRIC.
func (p *thresholdParser) right(t *Threshold) error {
	p.space()
	at := p.at
	if at < len(p.s) && p.s[at] >= 'a' && p.s[at] <= 'z' {
		return p.metricOnRight(t)
	}
	n := 0
	for at+n < len(p.s) && strings.IndexByte(" \t*", p.s[at+n]) < 0 {
		n++
	}
	word := p.s[at : at+n]
	if word == "" {
		return p.fail(at, "there is %s where a number or a metric belongs", p.rest())
	}
	value, units, err := parseQuantity(word)
	if err != nil {
		return p.fail(at, "%v", err)
	}
	p.at += n
	p.space()
	if strings.HasPrefix(p.s[p.at:], "*") {
		if !slices.Contains(units, UnitRatio) {
			return p.fail(at, "a factor is a plain number or a percentage, not %s", word)
		}
		p.at++
		t.Factor = value
		p.space()
		return p.metricOnRight(t)
	}
	if !slices.Contains(units, t.Unit) {
		return p.fail(at, "%s is compared with %s, but it is %s", t.Left.Metric, word, unitForms[t.Unit])
	}
	t.Number, t.literal = value, word
	return nil
}

func (p *thresholdParser) metricOnRight(t *Threshold) error {
	at := p.at
	t.Right = new(Term)
	unit, err := p.term(t.Right)
	if err != nil {
		return err
	}
	if unit != t.Unit {
		return p.fail(at, "%s is %s and cannot be compared with %s, which is %s", t.Right, unitForms[unit], &t.Left, unitForms[t.Unit])
	}
	return nil
}

// unitForms says how values of a unit are written.
var unitForms = map[Unit]string{
	UnitSeconds:   "a time: write it as 50ms or 1.5s",
	UnitCount:     "a number: write it as 1000 or 10k",
	UnitPerSecond: "a rate: write it as 1000, 10k or 1000/s",
	UnitBytes:     "bytes: write them as 1000, 64KiB or 1GB",
	UnitRatio:     "a share: write it as 99% or 0.99",
	UnitCores:     "a number of cores: write it as 1.5",
}

// numberUnits are the units that may stand behind a number, and what they make of it.
var numberUnits = []struct {
	name   string
	factor float64
	units  []Unit
}{
	{"", 1, []Unit{UnitCount, UnitPerSecond, UnitBytes, UnitRatio, UnitCores}},
	{"k", 1e3, []Unit{UnitCount, UnitPerSecond}},
	{"K", 1e3, []Unit{UnitCount, UnitPerSecond}},
	{"M", 1e6, []Unit{UnitCount, UnitPerSecond}},
	{"%", 0.01, []Unit{UnitRatio}},
	{"/s", 1, []Unit{UnitPerSecond}},
	{"k/s", 1e3, []Unit{UnitPerSecond}},
	{"M/s", 1e6, []Unit{UnitPerSecond}},
	{"B", 1, []Unit{UnitBytes}},
	{"kB", 1e3, []Unit{UnitBytes}},
	{"KB", 1e3, []Unit{UnitBytes}},
	{"MB", 1e6, []Unit{UnitBytes}},
	{"GB", 1e9, []Unit{UnitBytes}},
	{"KiB", 1 << 10, []Unit{UnitBytes}},
	{"MiB", 1 << 20, []Unit{UnitBytes}},
	{"GiB", 1 << 30, []Unit{UnitBytes}},
}

// parseQuantity reads a number with its unit, and says which units it can have.
func parseQuantity(word string) (value float64, units []Unit, err error) {
	n := 0
	for n < len(word) && (word[n] >= '0' && word[n] <= '9' || word[n] == '.' || word[n] == '-' && n == 0) {
		n++
	}
	for _, u := range numberUnits {
		if word[n:] != u.name {
			continue
		}
		value, err := strconv.ParseFloat(word[:n], 64)
		if err != nil || math.IsInf(value, 0) {
			return 0, nil, fmt.Errorf("%q is not a number", word)
		}
		if u.name == "%" {
			return value / 100, u.units, nil
		}
		return value * u.factor, u.units, nil
	}
	if d, err := time.ParseDuration(word); err == nil {
		return d.Seconds(), []Unit{UnitSeconds}, nil
	}
	return 0, nil, fmt.Errorf("%q is not a number with a unit such as 50ms, 1.5s, 99%%, 10k or 1GB", shorten(word, 20))
}

// Lookup returns a value of a result in the base unit of its unit. ok is false where the run has no such value: nothing
// was measured.
type Lookup func(metric, stat string, labels map[string]string) (value float64, unit Unit, ok bool)

// Eval judges the threshold by the values of a result. left is the value of the left side, and why a sentence with what
// was measured. A threshold on a value that the run does not have is not passed. An error means that lookup answers in
// another unit than the metric's.
func (t *Threshold) Eval(lookup Lookup) (passed bool, left float64, why string, err error) {
	if lookup == nil {
		return false, 0, "", errors.New("there is no result to judge the threshold by")
	}
	left, has, err := t.look(&t.Left, lookup)
	if err != nil {
		return false, left, "", err
	}
	if !has {
		return false, left, fmt.Sprintf("nothing was measured for %s", &t.Left), nil
	}
	right, against := t.Number, t.literal
	if t.Right != nil {
		right, has, err = t.look(t.Right, lookup)
		if err != nil {
			return false, left, "", err
		}
		if !has {
			return false, left, fmt.Sprintf("nothing was measured for %s", t.Right), nil
		}
		against = fmt.Sprintf("%s, which is %s", t.Right, formatValue(right, t.Unit))
		if t.Factor != 1 {
			right *= t.Factor
			against = fmt.Sprintf("%s * %s, which is %s", strconv.FormatFloat(t.Factor, 'g', -1, 64), t.Right, formatValue(right, t.Unit))
		}
	}
	switch t.Op {
	case "<":
		passed = left < right
	case "<=":
		passed = left <= right
	case ">":
		passed = left > right
	case ">=":
		passed = left >= right
	case "==":
		passed = left == right
	case "!=":
		passed = left != right
	}
	is := "is"
	if !passed {
		is = "is not"
	}
	words := map[string]string{"<": "below", "<=": "at most", ">": "above", ">=": "at least", "==": "equal to", "!=": "other than"}
	return passed, left, fmt.Sprintf("%s is %s, which %s %s %s", &t.Left, formatValue(left, t.Unit), is, words[t.Op], against), nil
}

func (t *Threshold) look(term *Term, lookup Lookup) (value float64, ok bool, err error) {
	value, unit, ok := lookup(term.Metric, term.Stat, term.Labels)
	if !ok || math.IsNaN(value) {
		return 0, false, nil
	}
	if unit != t.Unit {
		return value, true, fmt.Errorf("%s was measured in %q and is defined in %q", term, unit, t.Unit)
	}
	return value, true, nil
}

// formatValue writes a value for people.
func formatValue(x float64, u Unit) string {
	switch u {
	case UnitSeconds:
		if math.Abs(x) < 1e9 {
			d := time.Duration(x * float64(time.Second))
			for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
				if d.Abs() >= unit {
					return d.Round(unit / 1000).String()
				}
			}
			return d.String()
		}
	case UnitRatio:
		return strconv.FormatFloat(math.Trunc(x*1e6)/1e4, 'f', -1, 64) + "%"
	case UnitPerSecond:
		return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64) + "/s"
	case UnitBytes:
		return strconv.FormatFloat(math.Round(x), 'f', -1, 64) + " bytes"
	case UnitCores:
		return strconv.FormatFloat(math.Round(x*100)/100, 'f', -1, 64) + " cores"
	}
	return strconv.FormatFloat(x, 'f', -1, 64)
}
