package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite what can be produced anew: golden files, output shown in documents")

func documents(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no pages of the manual: %v", err)
	}
	return append(files, filepath.Join("..", "..", "README.md"))
}

// Blocks marked as console show commands and what they print. Here they are run again.
func TestDocumentsShowRealOutput(t *testing.T) {
	shown := 0
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		inside := false
		for line := range strings.Lines(string(text)) {
			switch {
			case strings.HasPrefix(line, "```"):
				inside = !inside && strings.TrimSpace(line) == "```console"
				b.WriteString(line)
			case !inside:
				b.WriteString(line)
			case strings.HasPrefix(line, "$ "):
				shown++
				b.WriteString(line)
				args := splitWords(t, strings.TrimSpace(line[2:]))
				e, out, errOut := testEnv(t)
				e.width = 100
				if code := run(args, e); code != exitOK {
					t.Errorf("%s: %sexit code %d: %s", file, line, code, errOut)
				}
				b.WriteString(out.String())
			}
		}
		if *update && b.String() != string(text) {
			if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(string(text), b.String()); diff != "" {
			t.Errorf("%s shows other output than the program writes (-update rewrites it): %s", file, diff)
		}
	}
	if shown == 0 {
		t.Error("no document shows any output")
	}
}

func TestReadmeListsExitCodes(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range exitCodes {
		if row := fmt.Sprintf("| %d | %s |\n", x.code, x.meaning); !bytes.Contains(readme, []byte(row)) {
			t.Errorf("the README lacks the line %s", row)
		}
	}
}

// splitWords reads words and 'quoted words' as a shell does, and nothing else of it.
func splitWords(t *testing.T, line string) []string {
	t.Helper()
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		if strings.ContainsAny(part, "\"|<>;&$`") {
			t.Fatalf("%q needs a shell", line)
		}
		out = append(out, strings.Fields(part)...)
	}
	return out
}
