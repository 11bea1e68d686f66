// Rediscover runs the fuzzer on published versions of other brokers and prints which of their bugs it meets, what that
// takes, and how few packets bring them about:
//
//	go run ./fuzz/flawed/rediscover -time 5m -out findings
//
// The brokers are fetched from the Go module proxy and the npm registry by their ordinary clients, and built in a folder
// that is removed at the end unless -dir names one. Nothing of them is a dependency of mqlab. What is found is found
// without a hint: the corpus is empty, and the generator knows nothing of any broker.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mqlab/mqlab/fuzz"
	"github.com/mqlab/mqlab/internal/ui"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("rediscover", flag.ContinueOnError)
	fs.SetOutput(stderr)
	limit := fs.Duration("time", 5*time.Minute, "how long each broker is fuzzed")
	only := fs.String("brokers", "", "names of brokers, by commas; all where it is empty")
	seed := fs.Uint64("seed", 1, "seed of the generator")
	dir := fs.String("dir", "", "build in this folder, and leave it there")
	out := fs.String("out", "", "folder for what is written about findings")
	list := fs.Bool("list", false, "print the brokers and end")
	if fs.Parse(args) != nil {
		return 2
	}
	if *list {
		for _, b := range brokers {
			fmt.Fprintf(stdout, "%-16s %s\n", b.name, b.version)
		}
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *dir == "" {
		tmp, err := os.MkdirTemp("", "mqlab-brokers-")
		if err != nil {
			fmt.Fprintln(stderr, err)
			return 3
		}
		defer os.RemoveAll(tmp)
		*dir = tmp
	}
	root, err := filepath.Abs(*dir)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 3
	}
	var rows [][]string
	for _, b := range brokers {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), b.name) {
			continue
		}
		fmt.Fprintf(stderr, "%s %s: build\n", b.name, b.version)
		cmd, err := b.build(ctx, filepath.Join(root, b.name))
		if err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", b.name, err)
			rows = append(rows, []string{b.name, b.version, "cannot be built", "", "", "", ""})
			continue
		}
		found, err := look(ctx, b, cmd, *seed, *limit, *out, stderr)
		if err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", b.name, err)
			rows = append(rows, []string{b.name, b.version, "cannot be fuzzed", "", "", "", ""})
			continue
		}
		rows = append(rows, found...)
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Fprint(stdout, ui.Plain().Table(0, []ui.Column{
		{Title: "broker"},
		{Title: "version"},
		{Title: "found by"},
		{Title: "seconds", Right: true},
		{Title: "scripts", Right: true},
		{Title: "packets", Right: true},
		{Title: "signature"},
	}, rows))
	return 0
}

// look fuzzes a broker and returns a row for each finding that is more than an answer against the rules, and one that
// counts those.
func look(ctx context.Context, b old, cmd string, seed uint64, limit time.Duration, out string, stderr io.Writer) ([][]string, error) {
	if out != "" {
		out = filepath.Join(out, b.name)
	}
	sum, err := fuzz.Run(ctx, fuzz.Config{
		Target: fuzz.Target{Cmd: cmd, Ready: time.Minute}, Seed: seed, Time: limit, Out: out,
		Events: func(e fuzz.Event) {
			if e.Finding != nil && e.Finding.Tried > 0 {
				fmt.Fprintf(stderr, "%s: %s %s after %s, %s\n", b.name, e.Finding.Oracle, e.Finding.Signature,
					e.Finding.After.Round(100*time.Millisecond), e.Finding.Confirmation())
			}
		},
	})
	if err != nil {
		return nil, err
	}
	var rows [][]string
	broken := 0
	for _, f := range sum.Findings {
		if f.Class() == "rule" || f.Warn {
			broken++
			continue
		}
		packets := ""
		if s := f.Best(); s != nil {
			packets = fmt.Sprint(s.Packets())
		}
		rows = append(rows, []string{b.name, b.version, string(f.Oracle), fmt.Sprintf("%.1f", f.After.Seconds()), fmt.Sprint(f.Execs), packets, f.Signature})
	}
	if len(rows) == 0 {
		rows = append(rows, []string{b.name, b.version, "nothing", "", fmt.Sprint(sum.Execs), "", ""})
	}
	if broken > 0 {
		rows = append(rows, []string{"", "", "", "", "", "", fmt.Sprintf("and %d findings about rules, or warnings", broken)})
	}
	return rows, nil
}

// build fetches and builds the broker in the folder and returns its command line.
func (b *old) build(ctx context.Context, dir string) (string, error) {
	if b.program != "" {
		path, err := exec.LookPath(b.program)
		if err != nil {
			return "", fmt.Errorf("%w; install it", err)
		}
		return strings.ReplaceAll(b.run, "{program}", path), nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for name, text := range b.files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	for _, words := range b.steps {
		cmd := exec.CommandContext(ctx, words[0], words[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		if text, err := cmd.CombinedOutput(); err != nil && !(words[1] == "mod" && words[2] == "init") { // it may be there from another run
			return "", errors.Join(fmt.Errorf("%s: %w", strings.Join(words, " "), err), errors.New(string(text)))
		}
	}
	return strings.ReplaceAll(b.run, "{folder}", dir), nil
}
