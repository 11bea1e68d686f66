// Package scenarios reads scenario files: conversations with an MQTT server and descriptions of load, written down as
// YAML, that anybody can run against any server.
//
// A file's kind says what it holds. An [Exchange] is a script of steps on named connections: send this packet, expect that
// one; [Run] runs it. A [Workload] is groups of virtual clients, the phases of a run, and thresholds; package loadgen runs
// it. Start from [LoadFile], or from [Library] and [Quick] for workloads that are at hand; [Schema] is the JSON Schema of
// the format, for editors.
//
// What is read is checked twice: unknown words and wrong types are refused with their place in the file, and Validate
// reports everything else at once by the path of the field; [Load] adds the lines.
package scenarios

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// KindExchange is the kind of an [Exchange].
const KindExchange = "exchange"

// MaxSize bounds a scenario file, in bytes.
const MaxSize = 4 << 20

//go:embed scenario.schema.json
var schema []byte

// Schema returns the JSON Schema of scenario files of both kinds.
func Schema() []byte { return bytes.Clone(schema) }

// Scenario is what a file can hold: an *[Exchange] or a *[Workload].
type Scenario interface {
	// Validate reports every problem by the path of its field.
	Validate() error
	// Marshal writes the scenario as a file that Load reads.
	Marshal() ([]byte, error)
}

// Load reads one scenario and validates it. An error about the file's form shows the line. Files that a workload names are
// looked for in the process's folder; [LoadFile] looks beside the scenario.
func Load(r io.Reader) (Scenario, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// LoadFile is Load for a path.
func LoadFile(path string) (Scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, err
	}
	return parse(text, filepath.Dir(path))
}

// Parse is Load for a text at hand.
func Parse(text []byte) (Scenario, error) { return parse(text, "") }

func parse(text []byte, dir string) (Scenario, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("the scenario is larger than %d bytes", MaxSize)
	}
	var head struct {
		Kind string `yaml:"kind"`
	}
	if err := decode(text, &head); err != nil {
		return nil, err
	}
	switch head.Kind {
	case KindExchange:
		x := new(Exchange)
		if err := decode(text, x, yaml.Strict()); err != nil {
			return nil, placed(err, text)
		}
		return x, located(x.Validate(), text)
	case KindWorkload:
		w := &Workload{Dir: dir}
		if err := decode(text, w, yaml.Strict()); err != nil {
			return nil, placed(err, text)
		}
		w.Dir = dir
		return w, located(w.Validate(), text)
	case "":
		return nil, errors.New("kind: it is missing; write \"kind: exchange\" or \"kind: workload\"")
	}
	return nil, fmt.Errorf("kind: %q is not known; write \"kind: exchange\" or \"kind: workload\"", head.Kind)
}

// decode reads a YAML text into v. Some malformed texts (an alias or a tag where a list should be) make
// the library dereference nil: that is a fault of the text to whoever wrote it, so it is told as one.
func decode(text []byte, v any, options ...yaml.DecodeOption) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the YAML cannot be read (%v): look for a tag, an anchor or an alias without a value", p)
		}
	}()
	return yaml.UnmarshalWithOptions(text, v, options...)
}

// placed adds the line to an error about a duration, to which the YAML library gives none, and the most likely word to one
// about an unknown field.
func placed(err error, text []byte) error {
	var unknown *yaml.UnknownFieldError
	if errors.As(err, &unknown) && unknown.Token != nil {
		if near := nearest(unknown.Token.Value, fieldNames); near != "" {
			unknown.Message += fmt.Sprintf(", did you mean %q?", near)
		}
		return unknown
	}
	_, quoted, ok := strings.Cut(err.Error(), `duration "`)
	word, _, closed := strings.Cut(quoted, `"`)
	if !ok || !closed {
		return err
	}
	for i, line := range strings.Split(string(text), "\n") {
		if word != "" && strings.Contains(line, ": "+word) {
			return fmt.Errorf("[%d] %q is not a duration: write 500ms, 2s or 1m30s\n>  %d | %s", i+1, word, i+1, line)
		}
	}
	return err
}

// fieldNames are the keys that a file can have.
var fieldNames = func() []string {
	var out []string
	seen := map[reflect.Type]bool{}
	var walk func(t reflect.Type)
	walk = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || seen[t] {
			return
		}
		seen[t] = true
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if name != "" && name != "-" && !slices.Contains(out, name) {
				out = append(out, name)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Workload]())
	walk(reflect.TypeFor[Exchange]())
	return out
}()

// LoadExchange is Load for a file that must hold an exchange.
func LoadExchange(r io.Reader) (*Exchange, error) {
	s, err := Load(r)
	if err != nil {
		return nil, err
	}
	x, ok := s.(*Exchange)
	if !ok {
		return nil, errors.New("kind: the scenario is not an exchange")
	}
	return x, nil
}

// Marshal writes the exchange as a file that Load reads.
func (x *Exchange) Marshal() ([]byte, error) { return marshal(x) }

func marshal(v any) ([]byte, error) {
	return yaml.MarshalWithOptions(v, yaml.UseLiteralStyleIfMultiline(true), yaml.Indent(2), yaml.IndentSequence(true))
}
