package scenarios

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write scenario.schema.json anew from the types")

// schemaOf describes a type of the file format. Named structs become definitions.
func schemaOf(t reflect.Type, defs map[string]any) map[string]any {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
	case reflect.TypeFor[Reason]():
		return map[string]any{"type": []any{"integer", "string"}, "pattern": `^(success|refused|0[xX][0-9A-Fa-f]{1,2}|[0-9]{1,3})$`}
	case reflect.TypeFor[ID]():
		return map[string]any{"type": []any{"integer", "string"}, "pattern": `^([0-9]{1,5}|\$[A-Za-z][A-Za-z0-9_-]*\.[a-z]+\.[1-9][0-9]*)$`}
	case reflect.TypeFor[Rate]():
		return map[string]any{"type": []any{"number", "string"}, "minimum": 0.0, "pattern": `^ *[0-9.]+([eE][+-]?[0-9]+)?[kM]? *(/ *(s|min|h|m|sec|second|minute|hour) *)?$`}
	case reflect.TypeFor[Bandwidth]():
		return map[string]any{"type": []any{"number", "string"}, "minimum": 0.0, "pattern": `^ *[0-9.]+([eE][+-]?[0-9]+)? *([kKMG]?bit/s|[kKMG]?B/s|[KM]iB/s|[kMG]?bps)? *$`}
	case reflect.TypeFor[QoSMix]():
		share := map[string]any{"type": []any{"number", "string"}, "minimum": 0.0, "pattern": `^[0-9.]+$`}
		return map[string]any{
			"type": []any{"integer", "string", "object"}, "minimum": 0.0, "maximum": 2.0, "pattern": "^[012]$",
			"additionalProperties": false, "properties": map[string]any{"0": share, "1": share, "2": share},
		}
	case reflect.TypeFor[Size]():
		bytes := map[string]any{"type": "integer", "minimum": 0.0, "maximum": float64(MaximumSize)}
		number := map[string]any{"type": "number", "minimum": 0.0, "maximum": float64(MaximumSize)}
		return map[string]any{
			"type": []any{"integer", "object"}, "minimum": 1.0, "maximum": float64(MaximumSize), "additionalProperties": false,
			"properties": map[string]any{"min": bytes, "max": bytes, "mean": number, "deviation": number},
		}
	case reflect.TypeFor[Bytes]():
		return map[string]any{"type": []any{"string", "number", "boolean"}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), defs)
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem(), defs)}
	case reflect.String:
		return map[string]any{"type": []any{"string", "number", "boolean"}} // a plain word may look like one
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Uint64:
		return map[string]any{"type": "integer", "minimum": 0.0}
	case reflect.Float64:
		return map[string]any{"type": "number", "minimum": 0.0}
	case reflect.Uint8:
		return map[string]any{"type": "integer", "minimum": 0.0, "maximum": 255.0}
	case reflect.Uint16:
		return map[string]any{"type": "integer", "minimum": 0.0, "maximum": 65535.0}
	case reflect.Uint32:
		return map[string]any{"type": "integer", "minimum": 0.0, "maximum": 4294967295.0}
	case reflect.Struct:
		name := strings.ToLower(t.Name())
		if _, known := defs[name]; !known {
			defs[name] = nil // it may hold itself
			defs[name] = objectOf(t, defs)
		}
		return map[string]any{"$ref": "#/$defs/" + name}
	}
	panic("no schema for " + t.String())
}

func objectOf(t reflect.Type, defs map[string]any) map[string]any {
	props, required := map[string]any{}, []any{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "-" {
			continue
		}
		s := schemaOf(f.Type, defs)
		if words := f.Tag.Get("enum"); words != "" {
			var list []any
			for _, w := range strings.Split(words, ",") {
				list = append(list, w)
			}
			if name == "mqtt" { // numbers mean the version of that name
				list = append(list, "3", "4", "5", 3.0, 3.1, 4.0, 5.0)
				s = map[string]any{}
			}
			s["enum"] = list
		}
		s["description"] = f.Tag.Get("doc")
		props[name] = s
		if options == "" {
			required = append(required, name)
		}
	}
	out := map[string]any{"type": "object", "additionalProperties": false, "properties": props}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

func generated(t *testing.T) []byte {
	t.Helper()
	defs := map[string]any{}
	schemaOf(reflect.TypeFor[Exchange](), defs)
	schemaOf(reflect.TypeFor[Workload](), defs)
	threshold := defs["workload"].(map[string]any)["properties"].(map[string]any)["thresholds"].(map[string]any)
	threshold["items"] = map[string]any{"type": "string", "pattern": `^\s*(` + strings.Join(metricNames, "|") + `)\b`}
	root := map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mqlab scenario", "type": "object",
		"required": []any{"kind"}, "properties": map[string]any{"kind": map[string]any{"enum": []any{KindExchange, KindWorkload}}},
		"if":   map[string]any{"properties": map[string]any{"kind": map[string]any{"const": KindWorkload}}, "required": []any{"kind"}},
		"then": map[string]any{"$ref": "#/$defs/workload"}, "else": map[string]any{"$ref": "#/$defs/exchange"}, "$defs": defs,
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSchemaMatchesTypes(t *testing.T) {
	want := generated(t)
	if *update {
		if err := os.WriteFile("scenario.schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(Schema())); diff != "" {
		t.Errorf("scenario.schema.json is not what the types say (-update rewrites it): %s", diff)
	}
}

// validator judges a value by the words of JSON Schema that the generator uses.
type validator struct{ root map[string]any }

func (v validator) check(path string, s map[string]any, x any) []string {
	if ref, ok := s["$ref"].(string); ok {
		return v.check(path, v.root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any), x)
	}
	var bad []string
	if cond, ok := s["if"].(map[string]any); ok {
		if len(v.check(path, open(cond), x)) == 0 {
			return v.check(path, s["then"].(map[string]any), x)
		}
		return v.check(path, s["else"].(map[string]any), x)
	}
	if want := s["type"]; want != nil && !slices.ContainsFunc(listOf(want), func(t any) bool { return isType(x, t.(string)) }) {
		return append(bad, fmt.Sprintf("%s: %v is not of type %v", path, x, want))
	}
	if want, ok := s["const"]; ok && want != x {
		bad = append(bad, fmt.Sprintf("%s: %v is not %v", path, x, want))
	}
	if words, ok := s["enum"].([]any); ok && !slices.Contains(words, x) {
		bad = append(bad, fmt.Sprintf("%s: %v is not one of %v", path, x, words))
	}
	switch x := x.(type) {
	case string:
		if p, ok := s["pattern"].(string); ok && !regexp.MustCompile(p).MatchString(x) {
			bad = append(bad, fmt.Sprintf("%s: %q does not look like %s", path, x, p))
		}
	case float64:
		if most, ok := s["maximum"].(float64); ok && x > most {
			bad = append(bad, fmt.Sprintf("%s: %v is above %v", path, x, most))
		}
		if least, ok := s["minimum"].(float64); ok && x < least {
			bad = append(bad, fmt.Sprintf("%s: %v is below %v", path, x, least))
		}
	case []any:
		for i, e := range x {
			bad = append(bad, v.check(fmt.Sprintf("%s[%d]", path, i), s["items"].(map[string]any), e)...)
		}
	case map[string]any:
		props := s["properties"].(map[string]any)
		for name, e := range x {
			p, known := props[name].(map[string]any)
			if !known && s["additionalProperties"] != false {
				continue
			}
			if !known {
				bad = append(bad, path+"."+name+": unknown")
				continue
			}
			bad = append(bad, v.check(path+"."+name, p, e)...)
		}
		for _, name := range listOf(s["required"]) {
			if _, there := x[name.(string)]; !there {
				bad = append(bad, fmt.Sprintf("%s.%s: missing", path, name))
			}
		}
	}
	return bad
}

// open returns the schema of a condition, with the lists that check looks for.
func open(s map[string]any) map[string]any {
	s["type"] = "object"
	return s
}

func listOf(x any) []any {
	if l, ok := x.([]any); ok {
		return l
	}
	if x == nil {
		return nil
	}
	return []any{x}
}

func isType(x any, t string) bool {
	switch x := x.(type) {
	case string:
		return t == "string"
	case bool:
		return t == "boolean"
	case float64:
		return t == "number" || t == "integer" && x == float64(int64(x))
	case []any:
		return t == "array"
	case map[string]any:
		return t == "object"
	}
	return false
}

// judgeBySchema returns what the schema has against a file.
func judgeBySchema(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return []string{err.Error()}
	}
	var x any
	if err := json.Unmarshal(asJSON, &x); err != nil {
		return []string{err.Error()}
	}
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	return validator{root}.check("", root, x)
}

// Files in testdata/good are in order for the loader and for the schema. Those in testdata/bad
// are refused by the loader with the words of their last line; where the schema can know, it
// refuses them too.
func TestSchemaJudgesLikeTheLoader(t *testing.T) {
	good, _ := filepath.Glob("testdata/good/*.yaml")
	library, _ := filepath.Glob("library/*.yaml")
	if len(library) != len(Names()) {
		t.Errorf("%d files in library, and %d names", len(library), len(Names()))
	}
	good = append(good, library...)
	bad, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(good) < 3 || len(bad) < 8 {
		t.Fatalf("only %d good and %d bad files", len(good), len(bad))
	}
	for _, file := range good {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if _, err := load(t, file); err != nil {
				t.Errorf("the loader: %v", err)
			}
			for _, b := range judgeBySchema(t, file) {
				t.Errorf("the schema: %s", b)
			}
		})
	}
	for _, file := range bad {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = load(t, file)
			if err == nil {
				t.Fatal("the loader takes it")
			}
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			for _, l := range lines {
				if want, ok := strings.CutPrefix(l, "# error: "); ok && !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %q, want %q in it", err, want)
				}
			}
			bySchema := judgeBySchema(t, file)
			if byForm := !strings.Contains(string(text), "# schema: silent"); byForm != (len(bySchema) > 0) {
				t.Errorf("the schema says %q, and the file says whether it can know", bySchema)
			}
		})
	}
}

func load(t *testing.T, file string) (Scenario, error) {
	t.Helper()
	return LoadFile(file)
}

// The packet types in tags are packet types.
func TestPacketFieldsNameTypes(t *testing.T) {
	named := 0
	for f := range reflect.TypeFor[Packet]().Fields() {
		in, ok := f.Tag.Lookup("in")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(in, ",") {
			named++
			if types[name] == 0 {
				t.Errorf("%s: %q is no packet type", f.Name, name)
			}
		}
	}
	if named < 16 {
		t.Errorf("only %d types are named", named)
	}
}
