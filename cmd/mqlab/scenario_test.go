package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/mqlab/mqlab/scenarios"
)

// The scenario in the manual is one that the embedded broker follows.
func TestManualShowsARealScenario(t *testing.T) {
	file := filepath.Join(t.TempDir(), "shown.yaml")
	if err := os.WriteFile(file, shownScenario(t, "docs/scenario.md"), 0o644); err != nil {
		t.Fatal(err)
	}
	e, out, errOut := testEnv(t)
	if code := run([]string{"mqlab", "scenario", "run", file}, e); code != exitOK {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
}

// shownScenario returns the first YAML block of a page.
func shownScenario(t *testing.T, file string) []byte {
	t.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```yaml\n")
	text, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatalf("%s shows no scenario", file)
	}
	return []byte(text)
}

func TestManualShowsAValidWorkload(t *testing.T) {
	s, err := scenarios.Parse(shownScenario(t, "docs/scenario-workload.md"))
	if err != nil {
		t.Fatal(err)
	}
	w, ok := s.(*scenarios.Workload)
	if !ok || len(w.Clients) < 2 || len(w.Thresholds) < 2 {
		t.Errorf("the page shows %+v", s)
	}
}

// Every word that a workload can have stands in the manual, and every placeholder and metric. Properties of MQTT 5.0 have
// the standard's names and are left to the schema.
func TestManualNamesEveryField(t *testing.T) {
	page, err := os.ReadFile("docs/scenario-workload.md")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]bool{}
	for _, w := range regexp.MustCompile(`[a-z][a-z0-9_]*`).FindAllString(string(page), -1) {
		words[w] = true
	}
	var walk func(path string, of reflect.Type)
	walk = func(path string, of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || of == reflect.TypeFor[scenarios.Properties]() {
			return
		}
		for f := range of.Fields() {
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if key != "" && key != "-" && !words[key] {
				t.Errorf("%s%s is not explained", path, key)
			}
			walk(path+key+".", f.Type)
		}
	}
	walk("", reflect.TypeFor[scenarios.Workload]())
	for _, p := range scenarios.Placeholders() {
		if !strings.Contains(string(page), "{"+p.Name+"}") && !strings.Contains(string(page), "{"+p.Name+":") {
			t.Errorf("the placeholder %s is not explained", p.Form)
		}
	}
	for _, m := range scenarios.Metrics() {
		if !words[m.Name] {
			t.Errorf("the metric %s is not explained", m.Name)
		}
	}
}
