package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The scenario in the manual is one that the embedded broker follows.
func TestManualShowsARealScenario(t *testing.T) {
	page, err := os.ReadFile("docs/scenario.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```yaml\n")
	text, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("the page shows no scenario")
	}
	file := filepath.Join(t.TempDir(), "shown.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	e, out, errOut := testEnv(t)
	if code := run([]string{"mqlab", "scenario", "run", file}, e); code != exitOK {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
}
