package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/loadgen"
)

// jsonNames calls f with the name of every field that values of the type have in JSON.
func jsonNames(typ reflect.Type, seen map[reflect.Type]bool, f func(name string)) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || seen[typ] || typ.PkgPath() == "time" {
		return
	}
	seen[typ] = true
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		f(name)
		jsonNames(field.Type, seen, f)
	}
}

// Whoever reads a result with a program finds each field in the manual.
func TestManualExplainsEveryField(t *testing.T) {
	for _, tt := range []struct {
		page  string
		value any
	}{
		{"conformance", conformance.Report{}},
		{"report", conformance.Comparison{}},
		{"report", loadgen.Comparison{}},
		{"load", loadgen.Result{}},
	} {
		text, err := os.ReadFile("docs/" + tt.page + ".md")
		if err != nil {
			t.Fatal(err)
		}
		if tt.page == "report" { // counts are those of a report
			more, err := os.ReadFile("docs/conformance.md")
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, more...)
		}
		n := 0
		jsonNames(reflect.TypeOf(tt.value), map[reflect.Type]bool{}, func(name string) {
			n++
			if !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("docs/%s.md does not explain the field %s", tt.page, name)
			}
		})
		if n < 10 {
			t.Errorf("%s: only %d fields were seen", tt.page, n)
		}
	}
}

// What only the JSON itself has, such as the percentiles beside a histogram, is explained as well.
func TestManualExplainsSavedLoad(t *testing.T) {
	page, err := os.ReadFile("docs/load.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/load/mosquitto.json")
	if err != nil {
		t.Fatal(err)
	}
	var result any
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for name, x := range v {
				if name != "sys" { // its names are the broker's
					walk(x)
				}
				if !seen[name] && !strings.Contains(string(page), "`"+name+"`") {
					t.Errorf("docs/load.md does not explain the field %s", name)
				}
				seen[name] = true
			}
		}
	}
	walk(result)
	if len(seen) < 60 {
		t.Errorf("only %d fields were seen", len(seen))
	}
}
