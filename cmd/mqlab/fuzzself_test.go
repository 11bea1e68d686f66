package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFuzzSelf has the Go tool find the planted fault of a target in a checkout made for it.
func TestFuzzSelf(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module github.com/mqlab/mqlab\n\ngo 1.26\n",
		// Not as one text, whose lines would be taken for a target of this package.
		"planted/planted_test.go": strings.Join([]string{
			"package planted",
			`import "testing"`,
			"func FuzzPlanted(f *testing.F) {",
			`	f.Add([]byte("a"))`,
			"	f.Fuzz(func(t *testing.T, b []byte) {",
			"		if len(b) > 1 {",
			`			t.Fatal("found it")`,
			"		}",
			"	})",
			"}",
		}, "\n"),
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	targets, err := fuzzTargets(root, nil)
	if err != nil || len(targets) != 1 {
		t.Fatalf("%v, %v", targets, err)
	}
	r := selfRun{root: root, each: 30 * time.Second, parallel: 1, minimise: time.Second, say: func(string, ...any) {}}
	res := r.one(t.Context(), targets[0])
	if !res.Failed || len(res.Crashers) != 1 || !strings.Contains(res.Output, "found it") {
		t.Fatalf("%+v", res)
	}
	if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(res.Crashers[0]))); err != nil {
		t.Error(err)
	}
	// The input is a seed by now, and fails the target before anything is made up.
	res = r.one(t.Context(), targets[0])
	if !res.Failed || len(res.Crashers) != 1 || !strings.Contains(res.Again, "go test ./planted -run '^FuzzPlanted/") {
		t.Errorf("%+v", res)
	}
}

// The targets of this checkout are all there, those beside what they fuzz included.
func TestFuzzTargetsOfMqlab(t *testing.T) {
	root, err := checkout(".")
	if err != nil {
		t.Fatal(err)
	}
	targets, err := fuzzTargets(root, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"fuzz/FuzzDecode", "fuzz/FuzzStream", "fuzz/FuzzRoundTrip", "fuzz/FuzzBreak", "fuzz/FuzzBroker", "internal/session/FuzzSession",
		"internal/topic/FuzzMatch", "internal/transport/FuzzWSFrames", "internal/peers/FuzzDifferential", "pcap/FuzzCapture", "scenarios/FuzzParse",
	} {
		if !slices.ContainsFunc(targets, func(t selfTarget) bool { return t.id() == want }) {
			t.Errorf("%s is not found", want)
		}
	}
}
