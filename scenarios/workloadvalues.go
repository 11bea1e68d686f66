package scenarios

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Rate is a number of events per second.
type Rate float64

// Bandwidth is a number of bytes per second.
type Bandwidth float64

// QoSMix holds the shares of QoS 0, 1 and 2. All zero is QoS 0.
type QoSMix [3]float64

// Size is a distribution of sizes in bytes. Exactly one form is used: Fixed, or Min and Max (every size between them
// alike), or Mean and Deviation (normal, cut at 0 and at MaximumSize).
type Size struct {
	Fixed           int
	Min, Max        int
	Mean, Deviation float64
}

// MaximumSize bounds payloads of generated messages, in bytes.
const MaximumSize = 256 << 20

// ProofSize is the size of the header with which generated payloads begin, in bytes: run, publisher, stream, sequence, instant
// and checks. Before 5.0 a payload that is to be verified cannot be smaller.
const ProofSize = 28

// faultAt is an error with its place in the file.
func faultAt(n ast.Node, format string, args ...any) error {
	return &yaml.SyntaxError{Message: fmt.Sprintf(format, args...), Token: n.GetToken()}
}

// plainValue returns the value of a node that is a number or a text; ok is false for anything else.
func plainValue(n ast.Node) (text string, ok bool) {
	for {
		switch x := n.(type) {
		case *ast.AnchorNode:
			n = x.Value
			continue
		case *ast.StringNode:
			return x.Value, true
		case *ast.IntegerNode, *ast.FloatNode:
			return n.GetToken().Value, true
		}
		return "", false
	}
}

// entries returns the keys and values of a map; ok is false for anything else.
func entries(n ast.Node) (values []*ast.MappingValueNode, ok bool) {
	if a, is := n.(*ast.AnchorNode); is {
		n = a.Value
	}
	switch x := n.(type) {
	case *ast.MappingNode:
		return x.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{x}, true
	}
	return nil, false
}

// positive reads a decimal number that is not negative.
func positive(s string) (float64, bool) {
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && f >= 0 && !math.IsInf(f, 0) && !strings.ContainsAny(s, "xXpP_nN")
}

// numberOf reads the node of a number that is not negative.
func numberOf(n ast.Node) (float64, bool) {
	text, ok := plainValue(n)
	if !ok {
		return 0, false
	}
	return positive(text)
}

// decimal writes a number without an exponent, so that it reads back as the same.
func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// rateUnits are the seconds of the units of a rate, the one that is written first.
var rateUnits = []struct {
	name    string
	seconds float64
}{{"s", 1}, {"min", 60}, {"h", 3600}, {"m", 60}, {"sec", 1}, {"second", 1}, {"minute", 60}, {"hour", 3600}}

// ParseRate reads a rate such as 10/s, 600/min, 1/h or 2.5, which is per second.
func ParseRate(s string) (Rate, error) {
	number, unit, divided := strings.Cut(strings.TrimSpace(s), "/")
	f, ok := thousands(strings.TrimSpace(number))
	if ok && !divided {
		return Rate(f), nil
	}
	for _, u := range rateUnits {
		if ok && strings.TrimSpace(unit) == u.name {
			return Rate(f / u.seconds), nil
		}
	}
	return 0, fmt.Errorf("%q is not a rate: write 10/s, 600/min, 1/h, or a number of events per second", shorten(s, 40))
}

// thousands reads a number that may end in k or M.
func thousands(s string) (float64, bool) {
	for _, u := range []struct {
		name   string
		factor float64
	}{{"k", 1e3}, {"M", 1e6}} {
		if number, ok := strings.CutSuffix(s, u.name); ok {
			f, ok := positive(number)
			return f * u.factor, ok
		}
	}
	return positive(s)
}

// String writes the rate in the unit that is easiest to read.
func (r Rate) String() string {
	if r > 0 && r < 1 {
		for _, u := range rateUnits[1:3] {
			n := math.Round(float64(r) * u.seconds)
			if n >= 1 && Rate(n/u.seconds) == r {
				return decimal(n) + "/" + u.name
			}
		}
	}
	return decimal(float64(r)) + "/s"
}

// MarshalYAML writes the rate as it is read.
func (r Rate) MarshalYAML() (any, error) { return r.String(), nil }

// UnmarshalYAML reads what [ParseRate] reads, or a number.
func (r *Rate) UnmarshalYAML(n ast.Node) error {
	text, ok := plainValue(n)
	if !ok {
		return faultAt(n, "a rate is written as 10/s, 600/min, 1/h, or as a number of events per second")
	}
	got, err := ParseRate(text)
	if err != nil {
		return faultAt(n, "%v", err)
	}
	*r = got
	return nil
}

// bandwidthUnits are the bytes per second of the units of a bandwidth, those that are written first.
var bandwidthUnits = []struct {
	name  string
	bytes float64
}{
	{"Gbit/s", 1e9 / 8},
	{"Mbit/s", 1e6 / 8},
	{"kbit/s", 1e3 / 8},
	{"bit/s", 1.0 / 8},
	{"B/s", 1},
	{"Kbit/s", 1e3 / 8},
	{"kB/s", 1e3},
	{"KB/s", 1e3},
	{"MB/s", 1e6},
	{"GB/s", 1e9},
	{"KiB/s", 1 << 10},
	{"MiB/s", 1 << 20},
	{"bps", 1.0 / 8},
	{"kbps", 1e3 / 8},
	{"Mbps", 1e6 / 8},
	{"Gbps", 1e9 / 8},
}

// ParseBandwidth reads a bandwidth such as 20kbit/s, 2KB/s, 1Mbit/s or a number of bytes per second.
func ParseBandwidth(s string) (Bandwidth, error) {
	s = strings.TrimSpace(s)
	if f, ok := positive(s); ok {
		return Bandwidth(f), nil
	}
	for _, u := range bandwidthUnits {
		if number, ok := strings.CutSuffix(s, u.name); ok {
			if f, ok := positive(strings.TrimSpace(number)); ok {
				return Bandwidth(f * u.bytes), nil
			}
		}
	}
	return 0, fmt.Errorf("%q is not a bandwidth: write 20kbit/s, 2KB/s, 1Mbit/s, or a number of bytes per second", shorten(s, 40))
}

// String writes the bandwidth in the greatest unit that divides it.
func (b Bandwidth) String() string {
	for _, u := range bandwidthUnits[:4] {
		n := math.Round(float64(b) / u.bytes)
		if n >= 1 && Bandwidth(n*u.bytes) == b {
			return decimal(n) + u.name
		}
	}
	return decimal(float64(b)) + "B/s"
}

// MarshalYAML writes the bandwidth as it is read.
func (b Bandwidth) MarshalYAML() (any, error) { return b.String(), nil }

// UnmarshalYAML reads what [ParseBandwidth] reads, or a number.
func (b *Bandwidth) UnmarshalYAML(n ast.Node) error {
	text, ok := plainValue(n)
	if !ok {
		return faultAt(n, "a bandwidth is written as 20kbit/s, 2KB/s, 1Mbit/s, or as a number of bytes per second")
	}
	got, err := ParseBandwidth(text)
	if err != nil {
		return faultAt(n, "%v", err)
	}
	*b = got
	return nil
}

// OnlyQoS is the mix of one QoS.
func OnlyQoS(q uint8) QoSMix {
	var m QoSMix
	m[min(q, 2)] = 1
	return m
}

// IsZero reports whether nothing is said.
func (m QoSMix) IsZero() bool { return m == QoSMix{} }

// Shares returns the shares of QoS 0, 1 and 2, whose sum is 1.
func (m QoSMix) Shares() [3]float64 {
	sum := m[0] + m[1] + m[2]
	if !(sum > 0) {
		return [3]float64{1, 0, 0}
	}
	return [3]float64{m[0] / sum, m[1] / sum, m[2] / sum}
}

// Max returns the greatest QoS that occurs.
func (m QoSMix) Max() uint8 {
	for q := uint8(2); q > 0; q-- {
		if m[q] > 0 {
			return q
		}
	}
	return 0
}

// only returns the one QoS that occurs, -1 where there are several.
func (m QoSMix) only() int {
	one := -1
	for q, share := range m {
		if share > 0 && one >= 0 {
			return -1
		}
		if share > 0 {
			one = q
		}
	}
	return max(one, 0)
}

// String writes the mix as in a file.
func (m QoSMix) String() string {
	if q := m.only(); q >= 0 {
		return strconv.Itoa(q)
	}
	var out []string
	for q, share := range m {
		if share > 0 {
			out = append(out, fmt.Sprintf("%d: %s", q, decimal(share)))
		}
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// MarshalYAML writes the mix as it is read.
func (m QoSMix) MarshalYAML() (any, error) {
	if q := m.only(); q >= 0 {
		return q, nil
	}
	out := map[int]any{}
	for q, share := range m {
		if share > 0 {
			out[q] = plainNumber(share)
		}
	}
	return out, nil
}

// plainNumber is the whole number that f is, or f.
func plainNumber(f float64) any {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return int64(f)
	}
	return f
}

const qosForms = "a QoS is 0, 1 or 2, or shares of them such as {0: 70, 1: 20, 2: 10}"

// UnmarshalYAML reads one QoS or a map of shares.
func (m *QoSMix) UnmarshalYAML(n ast.Node) error {
	if text, ok := plainValue(n); ok {
		q, err := strconv.ParseUint(text, 10, 8)
		if err != nil || q > 2 {
			return faultAt(n, "%q: %s", shorten(text, 20), qosForms)
		}
		*m = OnlyQoS(uint8(q))
		return nil
	}
	list, ok := entries(n)
	if !ok {
		return faultAt(n, "%s", qosForms)
	}
	*m = QoSMix{}
	sum := 0.0
	for _, e := range list {
		q, ok := plainValue(e.Key)
		if !ok || q != "0" && q != "1" && q != "2" {
			return faultAt(e.Key, "%q is no QoS: %s", shorten(q, 20), qosForms)
		}
		share, ok := numberOf(e.Value)
		if !ok {
			return faultAt(e.Value, "a share is a number that is not negative: %s", qosForms)
		}
		m[q[0]-'0'] = share
		sum += share
	}
	if !(sum > 0) || math.IsInf(sum, 0) {
		return faultAt(n, "the shares of the QoS add up to nothing: %s", qosForms)
	}
	return nil
}

// IsZero reports whether nothing is said.
func (s Size) IsZero() bool { return s == Size{} }

// Range returns the smallest and the greatest size.
func (s Size) Range() (least, most int) {
	switch {
	case s.Mean > 0 || s.Deviation > 0:
		if s.Deviation == 0 {
			return int(s.Mean), int(s.Mean)
		}
		return 0, MaximumSize
	case s.Min > 0 || s.Max > 0:
		return s.Min, s.Max
	}
	return s.Fixed, s.Fixed
}

// Average returns the average size, the cut of the normal form aside.
func (s Size) Average() float64 {
	switch {
	case s.Mean > 0 || s.Deviation > 0:
		return s.Mean
	case s.Min > 0 || s.Max > 0:
		return (float64(s.Min) + float64(s.Max)) / 2
	}
	return float64(s.Fixed)
}

// Draw returns a size. random is uniform in [0, 1) and normal is drawn from the normal distribution with deviation 1.
func (s Size) Draw(random, normal float64) int {
	switch {
	case s.Mean > 0 || s.Deviation > 0:
		return int(max(0, min(math.Round(s.Mean+s.Deviation*normal), MaximumSize)))
	case s.Min > 0 || s.Max > 0:
		return s.Min + int(random*float64(s.Max-s.Min+1))
	}
	return s.Fixed
}

// String writes the size as in a file.
func (s Size) String() string {
	switch {
	case s.Mean > 0 || s.Deviation > 0:
		return fmt.Sprintf("{mean: %s, deviation: %s}", decimal(s.Mean), decimal(s.Deviation))
	case s.Min > 0 || s.Max > 0:
		return fmt.Sprintf("{min: %d, max: %d}", s.Min, s.Max)
	}
	return strconv.Itoa(s.Fixed)
}

// MarshalYAML writes the size as it is read.
func (s Size) MarshalYAML() (any, error) {
	switch {
	case s.Mean > 0 || s.Deviation > 0:
		return yaml.MapSlice{{Key: "mean", Value: plainNumber(s.Mean)}, {Key: "deviation", Value: plainNumber(s.Deviation)}}, nil
	case s.Min > 0 || s.Max > 0:
		return yaml.MapSlice{{Key: "min", Value: s.Min}, {Key: "max", Value: s.Max}}, nil
	}
	return s.Fixed, nil
}

const sizeForms = "a size is a number of bytes, {min: 16, max: 1024} or {mean: 256, deviation: 64}"

// UnmarshalYAML reads a number of bytes, or the map of a distribution.
func (s *Size) UnmarshalYAML(n ast.Node) error {
	*s = Size{}
	if text, ok := plainValue(n); ok {
		bytes, err := strconv.ParseUint(text, 10, 31)
		if err != nil || bytes < 1 || bytes > MaximumSize {
			return faultAt(n, "%q: %s, from 1 to %d", shorten(text, 20), sizeForms, MaximumSize)
		}
		s.Fixed = int(bytes)
		return nil
	}
	list, ok := entries(n)
	if !ok {
		return faultAt(n, "%s", sizeForms)
	}
	has := map[string]bool{}
	for _, e := range list {
		key, _ := plainValue(e.Key)
		if key != "min" && key != "max" && key != "mean" && key != "deviation" {
			return faultAt(e.Key, "unknown field %q: %s", shorten(key, 20), sizeForms)
		}
		f, ok := numberOf(e.Value)
		if !ok || f > MaximumSize || (key == "min" || key == "max") && f != math.Trunc(f) {
			return faultAt(e.Value, "%s is not a number of bytes up to %d: %s", key, MaximumSize, sizeForms)
		}
		has[key] = true
		switch key {
		case "min":
			s.Min = int(f)
		case "max":
			s.Max = int(f)
		case "mean":
			s.Mean = f
		case "deviation":
			s.Deviation = f
		}
	}
	switch between, normal := has["min"] || has["max"], has["mean"] || has["deviation"]; {
	case between == normal, between && !has["max"], normal && !has["mean"]:
		return faultAt(n, "%s", sizeForms)
	case between && s.Max == 0:
		return faultAt(n, "the size's max is 0: %s", sizeForms)
	case s.Min > s.Max:
		return faultAt(n, "the size's min, %d, is above its max, %d", s.Min, s.Max)
	case normal && s.Mean == 0:
		return faultAt(n, "the size's mean is 0: %s", sizeForms)
	}
	return nil
}
