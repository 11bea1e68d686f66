package rules

import (
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed *.tsv
var tables embed.FS

var (
	ruleColumns     = []string{"id", "section", "subject", "level", "probe", "rule", "stimulus", "pass", "fail", "why_none"}
	codeColumns     = []string{"code", "name", "packets", "notes"}
	propertyColumns = []string{"identifier", "name", "type", "packets", "may_repeat", "values_notes"}
	termColumns     = []string{"term", "meaning"}
)

// load parses the embedded tables. They are compiled in, so a fault in them is a bug of ours and not input.
var load = sync.OnceValue(func() *registry {
	reg, err := parseAll(func(name string) (string, error) {
		b, err := tables.ReadFile(name)
		return string(b), err
	})
	if err != nil {
		panic("conformance/rules: embedded table: " + err.Error())
	}
	return reg
})

func parseAll(read func(name string) (string, error)) (*registry, error) {
	reg := &registry{byKey: map[key]int{}}
	for _, t := range []struct {
		file    string
		columns []string
		row     func(cells []string) error
	}{
		{"mqtt-3.1.1.tsv", ruleColumns, func(c []string) error { return reg.addRule(MQTT311, c) }},
		{"mqtt-5.0.tsv", ruleColumns, func(c []string) error { return reg.addRule(MQTT5, c) }},
		{"mqtt-5.0-unnumbered.tsv", ruleColumns, func(c []string) error { return reg.addRule(MQTT5, c) }},
		{"mqtt-5.0-reason-codes.tsv", codeColumns, reg.addCode},
		{"mqtt-5.0-properties.tsv", propertyColumns, reg.addProperty},
		{"mqtt-5.0-legend.tsv", termColumns, reg.addTerm},
	} {
		text, err := read(t.file)
		if err != nil {
			return nil, err
		}
		if err := eachRow(text, t.columns, t.row); err != nil {
			return nil, fmt.Errorf("%s: %w", t.file, err)
		}
	}
	return reg, nil
}

// eachRow checks the header, then hands each row to f with one cell per column.
func eachRow(text string, columns []string, f func(cells []string) error) error {
	header, rows, _ := strings.Cut(text, "\n")
	if got := strings.Split(header, "\t"); !slices.Equal(got, columns) {
		return fmt.Errorf("line 1: columns are %q, want %q", got, columns)
	}
	line := 1
	for row := range strings.Lines(rows) {
		line++
		cells := strings.Split(strings.TrimSuffix(row, "\n"), "\t")
		if len(cells) != len(columns) {
			return fmt.Errorf("line %d: %d cells, want %d", line, len(cells), len(columns))
		}
		if err := f(cells); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
	}
	return nil
}

func (reg *registry) addRule(v Versions, c []string) error {
	r := Rule{
		ID: c[0], Version: v, Section: c[1], Subject: Subject(c[2]), Level: Level(c[3]), Probe: Probe(c[4]),
		Text: c[5], Stimulus: c[6], Pass: c[7], Fail: c[8], WhyNone: c[9],
	}
	k := key{v, r.ID}
	_, twice := reg.byKey[k]
	switch {
	case r.ID == "" || r.Section == "" || r.Text == "":
		return fmt.Errorf("rule %q lacks an id, a section or its text", r.ID)
	case twice:
		return fmt.Errorf("rule %s stands twice in MQTT %s", r.ID, v)
	case !slices.Contains(Subjects(), r.Subject):
		return fmt.Errorf("rule %s: unknown subject %q", r.ID, r.Subject)
	case !slices.Contains(Levels(), r.Level):
		return fmt.Errorf("rule %s: unknown level %q", r.ID, r.Level)
	case !slices.Contains(Probes(), r.Probe):
		return fmt.Errorf("rule %s: unknown probe %q", r.ID, r.Probe)
	case (r.Probe == ProbeNone) != (r.WhyNone != ""):
		return fmt.Errorf("rule %s: why_none belongs to probe none, and only there", r.ID)
	}
	reg.byKey[k] = len(reg.rules)
	reg.rules = append(reg.rules, r)
	return nil
}

func (reg *registry) addCode(c []string) error {
	n, err := strconv.ParseUint(c[0], 0, 8)
	if err != nil {
		return err
	}
	reg.codes = append(reg.codes, ReasonCode{Code: byte(n), Name: c[1], Packets: strings.Split(c[2], ", "), Notes: c[3]})
	return nil
}

func (reg *registry) addProperty(c []string) error {
	n, err := strconv.ParseUint(c[0], 0, 8)
	if err != nil {
		return err
	}
	reg.properties = append(reg.properties, Property{
		ID: byte(n), Name: c[1], Type: c[2], Packets: strings.Split(c[3], ", "), MayRepeat: c[4], Notes: c[5],
	})
	return nil
}

func (reg *registry) addTerm(c []string) error {
	reg.terms = append(reg.terms, Term{Term: c[0], Meaning: c[1]})
	return nil
}
