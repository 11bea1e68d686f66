package packetgen

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/mqlab/mqlab/codec"
)

// Vector is one case of codec/testdata/vectors: a frame written by hand and what a strict
// Decoder has to make of it.
type Vector struct {
	Name      string // the file name without its ending
	Frame     []byte
	Versions  []codec.Version
	From      codec.Side
	OK        bool                       // the frame is legal
	Rules     map[codec.Version][]string // by version: the rule broken, or those whose legal neighbour this is
	Reasons   []codec.ReasonCode         // the codes that answer a faulty frame; empty where any does
	Level     codec.Level
	Offset    int  // of the fault; -1 where the file does not say
	Canonical bool // the encoder would produce the same bytes
	Comment   string
}

// Vectors loads every wire vector of the module.
func Vectors(tb testing.TB) []Vector {
	tb.Helper()
	dir, err := vectorDir()
	if err != nil {
		tb.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no wire vectors in %s (%v)", dir, err)
	}
	vectors := make([]Vector, 0, len(files))
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		v, err := ParseVector(strings.TrimSuffix(filepath.Base(name), ".txt"), data)
		if err != nil {
			tb.Fatalf("vector %s: %v", name, err)
		}
		vectors = append(vectors, v)
	}
	return vectors
}

// vectorDir finds the vectors from the working directory of a test, which is its package's.
func vectorDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "codec", "testdata", "vectors"), nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
		dir = up
	}
}

// ParseVector reads one vector: lines of "key: value", an empty line, hexadecimal with comments
// from # to the end of the line.
func ParseVector(name string, data []byte) (Vector, error) {
	v := Vector{Name: name, Offset: -1, Canonical: true, Rules: map[codec.Version][]string{}}
	head, body, ok := bytes.Cut(bytes.ReplaceAll(data, []byte("\r"), nil), []byte("\n\n"))
	if !ok {
		return v, fmt.Errorf("no empty line between the keys and the bytes")
	}
	rules := map[string][]string{}
	for line := range strings.Lines(string(head)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			return v, fmt.Errorf("line %q is not a key with a value", line)
		}
		value = strings.TrimSpace(value)
		switch key {
		case "rule", "rule4", "rule5":
			rules[key] = strings.Fields(value)
		case "comment":
			v.Comment = value
		default:
			if err := v.set(key, value); err != nil {
				return v, err
			}
		}
	}
	for _, ver := range v.Versions {
		v.Rules[ver] = rules["rule"]
		if own, ok := rules["rule"+strconv.Itoa(int(ver))]; ok {
			v.Rules[ver] = own
		}
	}
	frame, err := parseHex(string(body))
	v.Frame = frame
	return v, err
}

func (v *Vector) set(key, value string) error {
	unknown := fmt.Errorf("%s: unknown value %q", key, value)
	switch key {
	case "version":
		for s := range strings.FieldsSeq(value) {
			n, err := strconv.ParseUint(s, 10, 8)
			if err != nil || n < 3 || n > 5 {
				return unknown
			}
			v.Versions = append(v.Versions, codec.Version(n))
		}
	case "from":
		i := slices.Index([]string{"either", "client", "server"}, value)
		if i < 0 {
			return unknown
		}
		v.From = codec.Side(i)
	case "expect":
		switch value {
		case "ok":
			v.OK = true
		case "malformed":
			v.Reasons = append(v.Reasons, codec.MalformedPacket)
		case "protocol-error":
			v.Reasons = append(v.Reasons, codec.ProtocolError)
		default:
			return unknown
		}
	case "reason":
		n, err := strconv.ParseUint(value, 0, 8)
		if err != nil {
			return unknown
		}
		v.Reasons = []codec.ReasonCode{codec.ReasonCode(n)}
	case "level":
		switch value {
		case "should":
			v.Level = codec.Should
		case "must":
		default:
			return unknown
		}
	case "offset":
		n, err := strconv.Atoi(value)
		if err != nil {
			return unknown
		}
		v.Offset = n
	case "canonical":
		v.Canonical = value != "no"
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	return nil
}

func parseHex(s string) ([]byte, error) {
	var digits strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, "#")
		for f := range strings.FieldsSeq(line) {
			digits.WriteString(f)
		}
	}
	return hex.DecodeString(digits.String())
}
