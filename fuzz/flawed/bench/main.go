// Bench runs the fuzzer on every flaw of package flawed, each from an empty corpus, and prints which oracle found it, how
// long it took, and how many packets the script that it made of it sends, beside those of the shortest one known:
//
//	go run ./fuzz/flawed/bench -time 60s
//
// It exits with 1 where a flaw was not found. A finding counts once replays have confirmed it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mqlab/mqlab/fuzz"
	"github.com/mqlab/mqlab/fuzz/flawed"
	"github.com/mqlab/mqlab/internal/ui"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 3 && args[0] == "serve" {
		return serve(args[1], args[2], stderr)
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	limit := fs.Duration("time", time.Minute, "how long each flaw is looked for")
	only := fs.String("flaws", "", "names of flaws, by commas; all where it is empty")
	seed := fs.Uint64("seed", 1, "seed of the generator")
	out := fs.String("out", "", "folder for what is written about findings")
	list := fs.Bool("list", false, "print the flaws and end")
	if fs.Parse(args) != nil {
		return 2
	}
	if *list {
		for _, f := range flawed.All() {
			fmt.Fprintf(stdout, "%-20s %s\n", f.Name, f.About)
		}
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	columns := []ui.Column{
		{Title: "flaw"},
		{Title: "found by"},
		{Title: "seconds", Right: true},
		{Title: "scripts", Right: true},
		{Title: "settled", Right: true},
		{Title: "steps", Right: true},
		{Title: "packets", Right: true},
		{Title: "shortest", Right: true},
		{Title: "signature"},
	}
	var rows [][]string
	var t tally
	for _, f := range flawed.All() {
		if names := strings.Split(*only, ","); *only != "" && !slices.Contains(names, f.Name) || *only == "" && f.Name == "none" {
			continue
		}
		began := time.Now()
		found, sum, err := look(ctx, f, *seed, *limit, *out)
		switch {
		case err != nil:
			fmt.Fprintf(stderr, "%s: %v\n", f.Name, err)
			return 3
		case found == nil:
			if len(f.Oracles) > 0 {
				t.flaws++
			}
			rows = append(rows, []string{f.Name, "not found", "", fmt.Sprint(sum.Execs), "", "", "", fmt.Sprint(f.Packets), others(sum)})
		default:
			s := found.Best()
			if s == nil { // nobody knows which script it was
				s = &fuzz.Script{}
			}
			t.add(found.After, s.Packets(), f.Packets)
			rows = append(rows, []string{
				f.Name, string(found.Oracle), fmt.Sprintf("%.1f", found.After.Seconds()), fmt.Sprint(found.Execs), fmt.Sprintf("%.1f", time.Since(began).Seconds()),
				fmt.Sprint(len(s.Steps)), fmt.Sprint(s.Packets()), fmt.Sprint(f.Packets), found.Signature,
			})
		}
		fmt.Fprintf(stderr, "%s: %q after %s\n", f.Name, rows[len(rows)-1][1:], time.Since(began).Round(100*time.Millisecond))
		if ctx.Err() != nil {
			break
		}
	}
	fmt.Fprint(stdout, ui.Plain().Table(0, columns, rows))
	fmt.Fprintln(stdout, t.String())
	if len(t.times) < t.flaws {
		return 1
	}
	return 0
}

// tally sums the rows up.
type tally struct {
	flaws, short int
	times        []time.Duration // of those found
}

// add counts a flaw that was found after so long, with a script of so many packets.
func (t *tally) add(after time.Duration, packets, shortest int) {
	t.flaws++
	t.times = append(t.times, after)
	if packets <= 2*shortest {
		t.short++
	}
}

// String is the last line of the output.
func (t *tally) String() string {
	s := fmt.Sprintf("found %d of %d", len(t.times), t.flaws)
	if len(t.times) == 0 {
		return s
	}
	slices.Sort(t.times)
	n := len(t.times)
	median := (t.times[(n-1)/2] + t.times[n/2]) / 2
	return fmt.Sprintf("%s; median %.1f s, max %.1f s; %d scripts within twice the shortest", s, median.Seconds(), t.times[n-1].Seconds(), t.short)
}

// look fuzzes a broker with the flaw until an oracle of the flaw's has a finding and the fuzzer is done with it. What else
// is found stays in the summary: a flaw may show in more than one way.
func look(ctx context.Context, f flawed.Flaw, seed uint64, limit time.Duration, out string) (*fuzz.Finding, *fuzz.Summary, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	if out != "" {
		out = filepath.Join(out, f.Name)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	sum, err := fuzz.Run(ctx, fuzz.Config{
		Target: fuzz.Target{Cmd: fmt.Sprintf("'%s' serve %s {port}", exe, f.Name)},
		Name:   f.Name, Seed: seed, Time: limit, Out: out, Resources: 4 * time.Second,
		Events: func(e fuzz.Event) {
			if e.Finding == nil || !slices.Contains(f.Oracles, e.Finding.Oracle) {
				return
			}
			if e.Settled && e.Finding.Confirmed > 0 {
				stop()
			}
		},
	})
	if err != nil {
		return nil, nil, err
	}
	for _, o := range f.Oracles {
		for _, found := range sum.Findings {
			if found.Oracle == o && found.Confirmed > 0 {
				return found, sum, nil
			}
		}
	}
	return nil, sum, nil
}

// others says what was found instead.
func others(sum *fuzz.Summary) string {
	var all []string
	for _, f := range sum.Findings {
		all = append(all, fmt.Sprintf("%s %s (%s)", f.Oracle, f.Signature, f.Confirmation()))
	}
	return strings.Join(all, ", ")
}

// serve is the flawed broker, a process of its own.
func serve(name, port string, stderr io.Writer) int {
	f, ok := flawed.Lookup(name)
	if !ok {
		fmt.Fprintf(stderr, "there is no flaw %q\n", name)
		return 2
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 3
	}
	flawed.Serve(l, f)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term // what the flaw has left behind ends with the process
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return 1
	}
	return 0
}
