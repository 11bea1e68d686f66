package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/internal/ui"
)

// everyCommand calls f with every command of the program and the path to it.
func everyCommand(t *testing.T, f func(path []*cli.Command)) {
	t.Helper()
	e, _, _ := testEnv(t)
	var walk func(path []*cli.Command)
	walk = func(path []*cli.Command) {
		for _, c := range path[len(path)-1].Subcommands {
			sub := append(slices.Clone(path), c)
			f(sub)
			walk(sub)
		}
	}
	walk([]*cli.Command{{Name: "mqlab", Subcommands: commands(e)}})
}

// A command that only groups others borrows their examples; every other has two of its own.
func TestEveryCommandHasHelp(t *testing.T) {
	n := 0
	everyCommand(t, func(path []*cli.Command) {
		n++
		c, name := path[len(path)-1], pathName(path)
		paragraphs, examples := description(c)
		if c.Usage == "" || strings.HasSuffix(c.Usage, ".") || strings.Contains(c.Usage, "\n") {
			t.Errorf("%s: its usage is one line without a full stop, not %q", name, c.Usage)
		}
		if len(paragraphs) == 0 || !strings.HasSuffix(paragraphs[0], ".") {
			t.Errorf("%s: its description is a paragraph of sentences, not %q", name, paragraphs)
		}
		if len(examples) < 2 {
			t.Errorf("%s has %d examples, want two", name, len(examples))
		}
		for _, x := range examples {
			if !strings.HasPrefix(x, name+" ") && x != name {
				t.Errorf("%s: example of another command: %s", name, x)
			}
		}
		text := helpText(ui.Plain(), 80, path)
		for _, part := range append(examples, c.Usage) {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), strings.Join(strings.Fields(part), " ")) {
				t.Errorf("%s: help lacks %q", name, part)
			}
		}
		for _, f := range c.Flags {
			d, ok := f.(cli.DocGenerationFlag)
			if !ok || d.GetUsage() == "" {
				t.Errorf("%s: flag %s has no usage", name, f.Names()[0])
				continue
			}
			if slices.Contains(f.Names(), "help") {
				t.Errorf("%s: --help is everybody's", name)
			}
			if !strings.Contains(text, dashed(f.Names()[0])) {
				t.Errorf("%s: help lacks the flag %s", name, f.Names()[0])
			}
		}
	})
	if n < 4 {
		t.Errorf("only %d commands were seen", n)
	}
}

// Every example is run by a script: the same command with the same flags, with values that a test can have.
func TestExamplesAreInScripts(t *testing.T) {
	e, _, _ := testEnv(t)
	root := &cli.Command{Name: "mqlab", Subcommands: commands(e)}
	shape := func(line string) string {
		l, err := parseLine(root, splitWords(t, line)[1:])
		if err != nil {
			return "error: " + err.Error()
		}
		s := pathName(l.path)
		var flags []string
		for _, c := range l.flags {
			for _, w := range c {
				if strings.HasPrefix(w, "-") {
					name, _, _ := strings.Cut(strings.TrimLeft(w, "-"), "=")
					if f := findFlag(l.path, name); f != nil {
						flags = append(flags, f.Names()[0])
					}
				}
			}
		}
		slices.Sort(flags)
		return s + " " + strings.Join(slices.Compact(flags), " ")
	}

	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	run := map[string]bool{}
	for _, file := range scripts {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			_, call, ok := strings.Cut(line, "mqlab ")
			if !ok || !strings.HasPrefix(line, "exec ") && !strings.HasPrefix(line, "exits ") && !strings.HasPrefix(line, "serve ") {
				continue
			}
			// Script variables and quoting in other arguments do not matter to the shape.
			call = strings.NewReplacer("$", "", `"`, "", "|", "", "&", "", "<", "", ">", "", ";", "", "`", "").Replace(call)
			run[shape("mqlab "+strings.TrimSpace(call))] = true
		}
	}
	everyCommand(t, func(path []*cli.Command) {
		_, examples := description(path[len(path)-1])
		for _, x := range examples {
			s := shape(x)
			if strings.HasPrefix(s, "error: ") {
				t.Errorf("%s\n%s", x, s)
			} else if !run[s] {
				t.Errorf("no script runs %s, or another call of the shape %q", x, s)
			}
		}
	})
}

func TestRenderManual(t *testing.T) {
	page := "# Title\n\nA paragraph with `code`\nand **strong** words that is long enough.\n\n- an item that\n  goes on for more than a line\n- another\n\n" +
		"| a | b |\n|---|---|\n| 1 | a sentence that does not fit |\n| 2 | short |\n\n```sh\nmqlab x | y\n\nz\n```\n"
	want := `Title

A paragraph with ` + "`code`" + ` and
strong words that is long
enough.

- an item that goes on for
  more than a line
- another

a  b
1  a sentence that does not
   fit
2  short

    mqlab x | y

    z
`
	if diff := cmp.Diff(want, renderManual(ui.Plain(), 27, page)); diff != "" {
		t.Error(diff)
	}
	tty := ui.New(&strings.Builder{}, true, func(name string) string { return map[string]string{"TERM": "xterm"}[name] })
	colored := renderManual(tty, 27, page)
	if !strings.Contains(colored, "\x1b") || strings.Contains(colored, "`code`") {
		t.Errorf("nothing is styled: %q", colored)
	}
}

// The pages use only what renderManual knows, so nothing of their Markdown shows.
func TestManualLeavesNoMarkdown(t *testing.T) {
	for _, topic := range manualTopics() {
		page, err := manual.ReadFile("docs/" + topic + ".md")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(page), "# ") {
			t.Errorf("%s does not start with a title", topic)
		}
		for line := range strings.Lines(renderManual(ui.Plain(), 80, string(page))) {
			if strings.HasPrefix(line, "    ") { // shown as it is
				continue
			}
			for _, mark := range []string{"```", "**", "](", "# ", "|--"} {
				if strings.Contains(line, mark) {
					t.Errorf("%s shows %q in %q", topic, mark, line)
				}
			}
		}
	}
}
