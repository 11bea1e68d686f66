package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/mqlab/mqlab/conformance"
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
