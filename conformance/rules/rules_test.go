package rules

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The counts are those of the documents: a row lost or added by an edit of a table breaks them.
func TestCounts(t *testing.T) {
	type count struct {
		Rows   int
		Probes map[Probe]int
	}
	got := map[string]count{}
	for _, r := range All() {
		name := r.Version.String()
		if !r.Numbered() {
			name += " unnumbered"
		}
		c := got[name]
		if c.Probes == nil {
			c.Probes = map[Probe]int{}
		}
		c.Rows++
		c.Probes[r.Probe]++
		got[name] = c
	}
	want := map[string]count{
		"3.1.1":          {141, map[Probe]int{ProbeServer: 68, ProbeBoth: 55, ProbeClient: 12, ProbeNone: 6}},
		"5.0":            {251, map[Probe]int{ProbeServer: 119, ProbeBoth: 110, ProbeClient: 20, ProbeNone: 2}},
		"5.0 unnumbered": {126, map[Probe]int{ProbeServer: 69, ProbeBoth: 51, ProbeClient: 6}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(ReasonCodes()); n != 45 {
		t.Errorf("%d reason code rows, want 45", n)
	}
	if n := len(Properties()); n != 27 {
		t.Errorf("%d properties, want 27", n)
	}
	if n := len(Terms()); n == 0 {
		t.Error("no terms")
	}
}

func TestRowsAreComplete(t *testing.T) {
	seen := map[key]bool{}
	for _, r := range All() {
		k := key{r.Version, r.ID}
		if seen[k] {
			t.Errorf("%s stands twice in %s", r.ID, r.Version)
		}
		seen[k] = true
		if !strings.HasPrefix(r.ID, "MQTT-") && !strings.HasPrefix(r.ID, "P-") {
			t.Errorf("%s: ids start with MQTT- or P-", r.ID)
		}
		if !slices.Contains(Levels(), r.Level) || !slices.Contains(Subjects(), r.Subject) || !slices.Contains(Probes(), r.Probe) {
			t.Errorf("%s: unknown level, subject or probe: %s %s %s", r.ID, r.Level, r.Subject, r.Probe)
		}
		if r.Numbered() && r.Level != LevelMust {
			t.Errorf("%s: numbered statements are all MUST, not %s", r.ID, r.Level)
		}
		if r.Probe != ProbeNone && (r.Stimulus == "" || r.Pass == "" || r.Fail == "") {
			t.Errorf("%s: a rule that can be probed says how, and what passes and fails", r.ID)
		}
		for _, cell := range []string{r.ID, r.Section, r.Text, r.Stimulus, r.Pass, r.Fail, r.WhyNone} {
			if cell != strings.TrimSpace(cell) || strings.ContainsAny(cell, "\t\r\n") {
				t.Errorf("%s: stray white space in %q", r.ID, cell)
			}
		}
	}
	codes := map[string]bool{}
	for _, c := range ReasonCodes() {
		if c.Name == "" || len(c.Packets) == 0 || codes[c.Name] {
			t.Errorf("reason code %#02x %q: no name, no packets or a repeated name", c.Code, c.Name)
		}
		codes[c.Name] = true
	}
	if !slices.IsSortedFunc(Properties(), func(a, b Property) int { return int(a.ID) - int(b.ID) }) {
		t.Error("properties are not in ascending order")
	}
}

func TestLookup(t *testing.T) {
	old, ok := Lookup(MQTT311, "MQTT-3.3.1-4")
	if !ok || old.Version != MQTT311 || !strings.Contains(old.Text, "QoS") {
		t.Errorf("3.1.1: %v %+v", ok, old)
	}
	now, ok := Lookup(MQTT5, "MQTT-3.3.1-4")
	if !ok || now.Version != MQTT5 {
		t.Errorf("5.0: %v %+v", ok, now)
	}
	if either, _ := Lookup(AnyVersion, "MQTT-3.3.1-4"); either != old {
		t.Errorf("both versions: %+v, want that of 3.1.1", either)
	}
	if _, ok := Lookup(MQTT311, "P-2.1.2-reserved-type"); ok {
		t.Error("an unnumbered rule of 5.0 was found in 3.1.1")
	}
	if !Known(AnyVersion, "P-2.1.2-reserved-type") {
		t.Error("an unnumbered rule of 5.0 is not known")
	}
	for _, id := range []string{"", "MQTT-9.9.9-9", "mqtt-3.3.1-4"} {
		if _, ok := Lookup(AnyVersion, id); ok {
			t.Errorf("%q was found", id)
		}
	}
	if _, ok := Lookup(0, "MQTT-3.3.1-4"); ok {
		t.Error("found in the empty set of versions")
	}
	if n := len(ByVersion(MQTT311)) + len(ByVersion(MQTT5)); n != len(All()) {
		t.Errorf("versions apart hold %d rules, All %d", n, len(All()))
	}
}

func TestResultsAreCopies(t *testing.T) {
	All()[0].ID = "overwritten"
	Properties()[0].Packets[0] = "overwritten"
	ReasonCodes()[0].Packets[0] = "overwritten"
	if All()[0].ID == "overwritten" || Properties()[0].Packets[0] == "overwritten" || ReasonCodes()[0].Packets[0] == "overwritten" {
		t.Error("a caller's write reached the registry")
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"MQTT-3.3.1-4", "MQTT-3.3.1-4", true},
		{"MQTT-3.3.1-4", "MQTT-3.3.1-40", false},
		{"mqtt-3.3.1-4", "MQTT-3.3.1-4", true},
		{"MQTT-3.3.*", "MQTT-3.3.1-4", true},
		{"MQTT-3.3.*", "MQTT-3.30-1", false},
		{"*-4", "MQTT-3.3.1-4", true},
		{"*-4", "MQTT-3.3.1-14", false},
		{"*3*1*", "MQTT-3.3.1-4", true},
		{"MQTT-3.3.?-4", "MQTT-3.3.1-4", true},
		{"MQTT-3.3.?-4", "MQTT-3.3.11-4", false},
		{"publish*", "publish/qos3-refused", true},
		{"*", "", true},
		{"**", "x", true},
		{"", "", true},
		{"", "x", false},
		{"?", "", false},
		{"a*b", "a", false},
		{"ä?", "äö", true},
	} {
		if got := Match(tt.pattern, tt.name); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.pattern, tt.name, got)
		}
	}
}

func TestCompare(t *testing.T) {
	want := []string{"MQTT-2.2.2-2", "MQTT-3.1.2-4", "MQTT-3.1.2-10", "MQTT-3.1.2-24", "MQTT-3.10.1-1", "P-1.5.4-x", "P-1.5.4-xy"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Compare)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if Compare("a", "a") != 0 {
		t.Error("equal ids do not compare as equal")
	}
}

func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		list string
		want Versions
		ok   bool
	}{
		{"3.1.1", MQTT311, true},
		{"5", MQTT5, true},
		{"5.0, 311", AnyVersion, true},
		{"4,4", MQTT311, true},
		{"", 0, false},
		{"3.1", 0, false},
		{"5,", 0, false},
	} {
		got, err := ParseVersions(tt.list)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("ParseVersions(%q) = %v, %v", tt.list, got, err)
		}
	}
	for _, v := range []Versions{0, MQTT311, MQTT5, AnyVersion} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var back Versions
		if err := json.Unmarshal(b, &back); err != nil || back != v {
			t.Errorf("%v became %s and then %v, %v", v, b, back, err)
		}
	}
	if AnyVersion.String() != "3.1.1,5.0" {
		t.Errorf("both versions read %q", AnyVersion)
	}
}

func TestSees(t *testing.T) {
	if !ProbeBoth.Sees(ProbeServer) || !ProbeServer.Sees(ProbeServer) || ProbeClient.Sees(ProbeServer) || ProbeNone.Sees(ProbeClient) {
		t.Error("a probe is seen by its own side and by both")
	}
}

func TestParseRefuses(t *testing.T) {
	header := strings.Join(ruleColumns, "\t") + "\n"
	row := func(cells ...string) string { return header + strings.Join(cells, "\t") + "\n" }
	good := row("MQTT-1", "1 A", "both", "MUST", "server", "text", "s", "p", "f", "")
	for name, text := range map[string]string{
		"no table":         "",
		"wrong header":     "id\tsection\n",
		"too few cells":    header + "MQTT-1\t1\n",
		"no id":            row("", "1 A", "both", "MUST", "server", "text", "s", "p", "f", ""),
		"unknown subject":  row("MQTT-1", "1 A", "broker", "MUST", "server", "text", "s", "p", "f", ""),
		"unknown level":    row("MQTT-1", "1 A", "both", "SHALL", "server", "text", "s", "p", "f", ""),
		"unknown probe":    row("MQTT-1", "1 A", "both", "MUST", "all", "text", "s", "p", "f", ""),
		"none without why": row("MQTT-1", "1 A", "both", "MUST", "none", "text", "s", "p", "f", ""),
		"why without none": row("MQTT-1", "1 A", "both", "MUST", "both", "text", "s", "p", "f", "why"),
		"id twice":         good + strings.TrimPrefix(good, header),
	} {
		t.Run(name, func(t *testing.T) {
			files := embedded(t)
			files["mqtt-3.1.1.tsv"] = text
			if _, err := parseAll(reader(files)); err == nil {
				t.Error("accepted")
			} else if !strings.HasPrefix(err.Error(), "mqtt-3.1.1.tsv: line ") {
				t.Errorf("the error does not name the place: %v", err)
			}
		})
	}
	for file, row := range map[string]string{
		"mqtt-5.0-reason-codes.tsv": "nine\tname\tPUBLISH\t\n",
		"mqtt-5.0-properties.tsv":   "0x100\tname\tByte\tPUBLISH\tno\t\n",
	} {
		files := embedded(t)
		files[file] += row
		if _, err := parseAll(reader(files)); err == nil || !strings.Contains(err.Error(), "strconv") {
			t.Errorf("%s: a code that is no byte: %v", file, err)
		}
	}
	files := embedded(t)
	delete(files, "mqtt-5.0.tsv")
	if _, err := parseAll(reader(files)); err == nil {
		t.Error("a missing table was accepted")
	}
	files = embedded(t)
	files["mqtt-3.1.1.tsv"] = good
	reg, err := parseAll(reader(files))
	if err != nil || reg.rules[0].Text != "text" {
		t.Errorf("the good row was not taken: %v", err)
	}
}

func embedded(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := tables.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := tables.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(b)
	}
	return files
}

func reader(files map[string]string) func(string) (string, error) {
	return func(name string) (string, error) {
		text, ok := files[name]
		if !ok {
			return "", errors.New(name + " is missing")
		}
		return text, nil
	}
}
