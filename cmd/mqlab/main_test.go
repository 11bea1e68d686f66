package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/ui"
)

// testEnv is a world without a terminal, and what the program writes in it.
func testEnv(t *testing.T) (e *env, stdout, stderr *bytes.Buffer) {
	t.Helper()
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &env{
		ctx: t.Context(), stdin: strings.NewReader(""), stdout: stdout, stderr: stderr,
		getenv: func(string) string { return "" },
	}, stdout, stderr
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name   string
		args   string
		code   int
		stdout string // a part of it; "" means that nothing is written
		stderr string
	}{
		{"no command", "", 2, "", "mqlab: mqlab needs a command: "},
		{"unknown command", "ruels", 2, "", `unknown command "ruels"; did you mean "mqlab rules"?`},
		{"unknown command far from any", "xyzzy", 2, "", `unknown command "xyzzy"; mqlab --help lists the commands`},
		{"unknown subcommand", "rules shwo", 2, "", `did you mean "mqlab rules show"?`},
		{"surplus argument", "version 5", 2, "", `mqlab version takes no arguments, but got "5"`},
		{"help", "--help", 0, "Exit codes", ""},
		{"help of a command", "rules --help", 0, "mqlab rules - list", ""},
		{"help after arguments", "rules show X --help", 0, "mqlab rules show - ", ""},
		{"help is no value", "rules --run --help", 2, "", "no rule passes"},
		{"-h is not help", "rules -h", 2, "", "write mqlab rules --help"},
		{"help after --", "rules show -- --help", 2, "", `no rule "--help"`},
		{"manual", "help rules", 0, "Reading a rule", ""},
		{"manual of a command without a page", "help version", 0, "mqlab version - say", ""},
		{"unknown page", "help rulse", 2, "", "did you mean rules?"},
		{"two pages", "help rules rules", 2, "", "one page at a time"},
		{"unknown flag", "rules --frmat json", 2, "", "unknown flag --frmat; did you mean --format?"},
		{"unknown flag with a value", "rules --frmat=json", 2, "", "unknown flag --frmat; did you mean --format?"},
		{"unknown flag far from any", "rules --xyzzyx", 2, "", "mqlab rules --help lists the flags"},
		{"flag of another command", "version --grep x", 2, "", "unknown flag --grep"},
		{"flag without value", "rules --run", 2, "", "flag --run needs a value"},
		{"unknown format", "rules --format jsno", 2, "", `unknown format "jsno"; did you mean json?`},
		{"flag before command", "--format json version", 0, `"go"`, ""},
		{"flag before subcommand goes to it", "rules --format tsv show MQTT-7.0.0-1 --mqtt 3.1.1", 0, "3.1.1\tMQTT-7.0.0-1\t", ""},
		{"flag after argument", "rules show MQTT-7.0.0-1 --format=json", 0, `"id": "MQTT-7.0.0-1"`, ""},
		{"--version", "--version", 0, "mqlab ", ""},
		{"two dashes end the flags", "rules show -- MQTT-7.0.0-1", 0, "MQTT-7.0.0-1  MQTT 3.1.1", ""},
		{"command after two dashes", "-- rules", 2, "", "unknown command"},
		{"prefix left out", "rules show 7.0.0-1", 0, "MQTT-7.0.0-1  MQTT 3.1.1", ""},
		{"no id", "rules show", 2, "", "rules show needs the ID"},
		{"unknown id", "rules show MQTT-3.3.1-40", 2, "", "did you mean MQTT-3.3.1-4?"},
		{"id of another version", "rules show P-2.1.2-reserved-type --mqtt 3.1.1", 2, "", "no rule"},
		{"unknown version", "rules --mqtt 3.1", 2, "", `--mqtt: unknown MQTT version "3.1"`},
		{"unknown subject", "rules --subject broker", 2, "", `unknown subject "broker"; known are server, client, both`},
		{"empty filter", "rules --level", 2, "", "needs a value"},
		{"nothing passes", "rules --mqtt 3.1.1 --level may", 2, "", "no rule passes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, stdout, stderr := testEnv(t)
			code := run(append([]string{"mqlab"}, strings.Fields(tt.args)...), e)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			expectPart(t, "stdout", stdout.String(), tt.stdout)
			expectPart(t, "stderr", stderr.String(), tt.stderr)
			if n := strings.Count(stderr.String(), "\n"); tt.stderr != "" && n != 1 {
				t.Errorf("stderr has %d lines, want 1: %q", n, stderr)
			}
		})
	}
}

func expectPart(t *testing.T, name, got, part string) {
	t.Helper()
	if part == "" && got != "" || !strings.Contains(got, part) {
		t.Errorf("%s is %q, want it to hold %q", name, got, part)
	}
}

func TestRulesFilters(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want int
	}{
		{nil, 518},
		{[]string{"--mqtt", "3.1.1"}, 141},
		{[]string{"--mqtt", "5", "--run", "MQTT-*"}, 251},
		{[]string{"--run", "P-*"}, 126},
		{[]string{"--run", "P-*,MQTT-7.0.0-1"}, 127},
		{[]string{"--run", "P-*", "--run", "MQTT-7.0.0-1"}, 127},
		{[]string{"--mqtt=3.1.1", "--probe", "server"}, 68},
		{[]string{"--mqtt=3.1.1", "--probe", "Server,both"}, 123},
		{[]string{"--probe", "none"}, 8},
		{[]string{"--mqtt=3.1.1", "--subject", "client"}, 35},
		{[]string{"--level", "should,may"}, 20},
		{[]string{"--run", "MQTT-3.3.1-4"}, 2},
		{[]string{"--mqtt=5", "--run", "MQTT-3.8.3-4", "--grep", "SHARED"}, 1},
	} {
		e, stdout, stderr := testEnv(t)
		if code := run(append([]string{"mqlab", "rules", "--format", "json"}, tt.args...), e); code != exitOK {
			t.Errorf("%v: exit code %d: %s", tt.args, code, stderr)
			continue
		}
		var got []rules.Rule
		if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if len(got) != tt.want {
			t.Errorf("%v: %d rules, want %d", tt.args, len(got), tt.want)
		}
	}
}

// What is written as JSON can be read back as the registry itself, and TSV holds the same cells.
func TestRulesFormatsAreWhole(t *testing.T) {
	e, stdout, _ := testEnv(t)
	run([]string{"mqlab", "rules", "--format", "json"}, e)
	var got []rules.Rule
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rules.All(), got); diff != "" {
		t.Error(diff)
	}
	e, stdout, _ = testEnv(t)
	run([]string{"mqlab", "rules", "--format", "tsv"}, e)
	lines := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	if len(lines) != len(got)+1 {
		t.Fatalf("%d lines, want %d and a header", len(lines), len(got))
	}
	for i, line := range lines {
		if n := strings.Count(line, "\t"); n != 10 {
			t.Errorf("line %d has %d tabs, want 10: %q", i+1, n, line)
		}
	}
}

func TestWidthAndColor(t *testing.T) {
	e, stdout, stderr := testEnv(t)
	e.width, e.isTTY = 60, true
	e.getenv = func(name string) string { return map[string]string{"TERM": "xterm"}[name] }
	for _, args := range [][]string{{"rules"}, {"rules", "show", "MQTT-3.3.1-4"}, {"help", "rules"}, {"rules", "--help"}, {"--help"}} {
		stdout.Reset()
		if code := run(append([]string{"mqlab"}, args...), e); code != exitOK {
			t.Fatalf("%v: exit code %d: %s", args, code, stderr)
		}
		if !strings.Contains(stdout.String(), "\x1b[") {
			t.Errorf("%v: no colours on a terminal", args)
		}
		for line := range strings.Lines(stdout.String()) {
			// Examples and shown output are there to be copied, so they keep their length.
			if w := ui.Width(strings.TrimSuffix(line, "\n")); w > 60 && !strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "  \x1b") {
				t.Errorf("%v: a line takes %d cells: %q", args, w, line)
			}
		}
	}
	if !strings.Contains(stderr.String(), "518 rules") {
		t.Errorf("the number of rules is not said: %q", stderr)
	}
}

func TestOutputFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rules.json")
	e, stdout, _ := testEnv(t)
	if code := run([]string{"mqlab", "rules", "--format", "json", "-o", path}, e); code != exitOK || stdout.Len() != 0 {
		t.Fatalf("exit code %d, stdout %q", code, stdout)
	}
	b, err := os.ReadFile(path)
	if err != nil || !json.Valid(b) {
		t.Errorf("the file holds no JSON: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}

	e, _, stderr := testEnv(t)
	if code := run([]string{"mqlab", "rules", "-o", filepath.Join(dir, "none", "x")}, e); code != exitTrouble {
		t.Errorf("a folder that is not there: exit code %d, %s", code, stderr)
	}
	e, _, stderr = testEnv(t)
	if code := run([]string{"mqlab", "rules", "-o", dir}, e); code != exitTrouble {
		t.Errorf("a folder: exit code %d, %s", code, stderr)
	}
	e, _, stderr = testEnv(t)
	if code := run([]string{"mqlab", "rules", "-o", os.DevNull}, e); code != exitOK {
		t.Errorf("a device: exit code %d, %s", code, stderr)
	}
	e, _, stderr = testEnv(t)
	e.stdout = failingWriter{}
	if code := run([]string{"mqlab", "rules"}, e); code != exitTrouble || !strings.Contains(stderr.String(), "disk full") {
		t.Errorf("a full disk: exit code %d, %s", code, stderr)
	}

	// A failed run leaves the older result alone.
	e, _, _ = testEnv(t)
	err = e.writeResult(path, func(out output) error {
		_, _ = io.WriteString(out, "half")
		return errors.New("lost the target")
	})
	after, readErr := os.ReadFile(path)
	if err == nil || readErr != nil || !bytes.Equal(b, after) {
		t.Errorf("%v, %v: the file was touched: %v", err, readErr, !bytes.Equal(b, after))
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestExitCodes(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		code int
		text string
	}{
		{"fine", t.Context(), nil, 0, ""},
		{"the answer is no, and the report says so", t.Context(), exitWith(exitNo, nil), 1, ""},
		{"the answer is no", t.Context(), exitWith(exitNo, errors.New("3 checks failed")), 1, "mqlab: 3 checks failed\n"},
		{"usage", t.Context(), usagef("no %s", "target"), 2, "mqlab: no target\n"},
		{"anything else", t.Context(), io.ErrUnexpectedEOF, 3, "mqlab: unexpected EOF\n"},
		{"interrupted", interrupted, context.Canceled, 130, "mqlab: interrupted\n"},
		{"interrupted, without a word", interrupted, nil, 130, "mqlab: interrupted\n"},
		{"interrupted, the answer so far is no", interrupted, exitWith(exitNo, nil), 130, "mqlab: interrupted\n"},
		{"stopped as it should be", interrupted, errStopped, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if code := report(tt.ctx, &b, tt.err); code != tt.code || b.String() != tt.text {
				t.Errorf("%d %q, want %d %q", code, b.String(), tt.code, tt.text)
			}
		})
	}
}

func TestCommandLine(t *testing.T) {
	run := func(*cli.Context) error { return nil }
	value := func(name string, alias ...string) cli.Flag { return &cli.StringFlag{Name: name, Aliases: alias} }
	root := &cli.Command{Name: "x", Subcommands: []*cli.Command{
		{Name: "list", ArgsUsage: "FILE...", Action: run, Flags: []cli.Flag{value("format", "f"), &cli.BoolFlag{Name: "all"}, &cli.IntFlag{Name: "n"}}},
		{Name: "pub", Action: run, Flags: []cli.Flag{value("host", "h"), &cli.StringFlag{Name: "topic", Aliases: []string{"t"}, Required: true}}},
		{Name: "group", Subcommands: []*cli.Command{{Name: "run", ArgsUsage: "[CMD...]", Action: run, Flags: []cli.Flag{value("target")}}}},
	}}
	for _, tt := range []struct{ line, want string }{
		{"list a --format json b", "x list --format json a b"},
		{"list a -f=json --all b", "x list -f=json --all a b"},
		{"list - -f json", "x list -f json -"},
		{"list -n -5 a", "x list -n -5 a"},
		{"list a -- --all", "x list -- a --all"},
		{"list --all=false a", "x list --all=false a"},
		{"--all list a", "x list --all a"},
		{"list list", "x list list"},
		{"pub -h 1 -t x", "x pub -h 1 -t x"},
		{"pub --topic=x", "x pub --topic=x"},
		{"group --target u run a", "x group run --target u a"},
		{"group run --target u -- sub --target v", "x group run --target u -- sub --target v"},
		{"pub", "error: x pub needs the flag --topic"},
		{"pub -t x y", "error: x pub takes no arguments, but got \"y\"; x pub --help says more"},
		{"group", "error: x group needs a command: run; x group --help says what they do"},
		{"group rnu", "error: unknown command \"rnu\"; did you mean \"x group run\"?"},
		{"group --all run", "error: unknown flag --all; x group --help lists the flags"},
		{"--all pub -t x", "error: unknown flag --all; x pub --help lists the flags"},
		{"list -af", "error: unknown flag -af; did you mean -f?"},
	} {
		l, err := parseLine(root, strings.Fields(tt.line))
		got := ""
		if err != nil {
			got = "error: " + err.Error()
		} else {
			got = strings.Join(l.argv(), " ")
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", tt.line, got, tt.want)
		}
	}
}

func TestClosest(t *testing.T) {
	known := []string{"conformance", "load", "pcap", "pub", "sub", "version"}
	for word, want := range map[string]string{
		"conformence": "conformance", "conf": "conformance", "laod": "load", "PCAP": "pcap", "pbu": "pub", "verison": "version",
		"x": "", "": "", "telemetry": "", "lists": "",
	} {
		if got := closest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestVersionOf(t *testing.T) {
	if v := versionOf(nil); v.Version != "(devel)" || v.Go == "" {
		t.Errorf("without build information: %+v", v)
	}
	v := versionOf(&debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "vcs.modified", Value: "true"},
	}})
	v.Go, v.Platform = "go1.26", "linux/amd64"
	if want := "mqlab v1.2.3 0123456789ab of 2026-01-02T03:04:05Z, modified (go1.26, linux/amd64)"; v.String() != want {
		t.Errorf("%q, want %q", v, want)
	}
}
