// Package scenarios reads and runs scenario files: conversations with an MQTT server, written
// down as YAML, that anybody can replay against any server.
//
// A file's kind says what it holds. An [Exchange] is a script of steps on named connections:
// send this packet, expect that one. Start from [Load] and [Run]; [Schema] is the JSON Schema of
// the format, for editors.
//
// What is read is checked twice: unknown words and wrong types are refused with their place in
// the file, and [Exchange.Validate] reports everything else at once by the path of the field.
package scenarios

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
)

// KindExchange is the kind of an [Exchange].
const KindExchange = "exchange"

// MaxSize bounds a scenario file, in bytes.
const MaxSize = 4 << 20

//go:embed exchange.schema.json
var schema []byte

// Schema returns the JSON Schema of an exchange file.
func Schema() []byte { return bytes.Clone(schema) }

// Scenario is what a file can hold: for the time being an *[Exchange].
type Scenario interface {
	// Validate reports every problem by the path of its field.
	Validate() error
}

// Load reads one scenario file and validates it. An error about the file's form shows the line.
func Load(r io.Reader) (Scenario, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// Parse is Load for a text at hand.
func Parse(text []byte) (Scenario, error) {
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
		return x, x.Validate()
	case "":
		return nil, errors.New("kind: it is missing; write \"kind: exchange\"")
	}
	return nil, fmt.Errorf("kind: %q is not known; write \"kind: exchange\"", head.Kind)
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

// placed adds the line to an error about a duration, to which the YAML library gives none.
func placed(err error, text []byte) error {
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
func (x *Exchange) Marshal() ([]byte, error) {
	return yaml.MarshalWithOptions(x, yaml.UseLiteralStyleIfMultiline(true), yaml.Indent(2), yaml.IndentSequence(true))
}
