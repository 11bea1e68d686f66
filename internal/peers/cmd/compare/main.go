// Command compare prints how fast package codec is beside other codecs: nanoseconds and
// allocations of each, and the ratio to the faster peer of the same version.
//
//	go run ./cmd/compare
//
// Every figure is the best of several rounds. The rounds of one case are interleaved, so that a
// machine that slows down for a while slows all of them.
package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peers"
)

func main() {
	rounds := flag.Int("rounds", 15, "how often each implementation is measured")
	slice := flag.Duration("slice", 4*time.Millisecond, "how long one measurement takes")
	flag.Parse()
	if *rounds < 1 || *slice <= 0 {
		fmt.Fprintln(os.Stderr, "compare: -rounds and -slice must be above zero")
		os.Exit(2)
	}
	if err := run(os.Stdout, *rounds, *slice); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, rounds int, slice time.Duration) error {
	decode, err := peers.DecodeCases()
	if err != nil {
		return err
	}
	encode, err := peers.EncodeCases()
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "case\timplementation\tns/op\tallocs/op\tratio\tgoal")
	for _, c := range decode {
		if err := compare(t, "decode/"+c.Name, c, rounds, slice); err != nil {
			return err
		}
	}
	for _, c := range encode {
		if err := compare(t, "encode/"+c.Name, c, rounds, slice); err != nil {
			return err
		}
	}
	return t.Flush()
}

// figure is what one implementation needs for one packet.
type figure struct {
	ns     float64
	allocs float64
}

// compare measures a case and prints its lines.
func compare(w io.Writer, name string, c peers.Case, rounds int, slice time.Duration) error {
	figures := make([]figure, len(c.Ops))
	counts := make([]int, len(c.Ops))
	for i, op := range c.Ops {
		n, err := calibrate(op, slice)
		if err != nil {
			return fmt.Errorf("%s by %s: %w", name, op.Impl, err)
		}
		counts[i] = n
		figures[i] = figure{ns: math.Inf(1), allocs: allocs(op)}
	}
	for range rounds {
		for i, op := range c.Ops {
			d, err := measure(op, counts[i])
			if err != nil {
				return fmt.Errorf("%s by %s: %w", name, op.Impl, err)
			}
			figures[i].ns = min(figures[i].ns, float64(d.Nanoseconds())/float64(counts[i]))
		}
	}
	for i, op := range c.Ops {
		ratio, goal := "", ""
		if op.Own() {
			r := fastest(c.Ops, figures, op.Version) / figures[i].ns
			ratio = fmt.Sprintf("%.1fx", r)
			goal = fmt.Sprintf("%.1fx", c.Goal)
			if r < c.Goal {
				goal += " missed"
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%.0f\t%s\t%s\n", name, op.Impl, figures[i].ns, figures[i].allocs, ratio, goal)
	}
	return nil
}

// fastest returns the nanoseconds of the fastest peer that speaks the version.
func fastest(ops []peers.Op, figures []figure, v codec.Version) float64 {
	best := math.Inf(1)
	for i, op := range ops {
		if op.Version == v && !op.Own() {
			best = min(best, figures[i].ns)
		}
	}
	return best
}

func measure(op peers.Op, n int) (time.Duration, error) {
	start := time.Now()
	for range n {
		if err := op.Run(); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// calibrate returns how many runs fill the slice, and warms up caches and buffers.
func calibrate(op peers.Op, slice time.Duration) (int, error) {
	for n := 1; ; n *= 2 {
		d, err := measure(op, n)
		if err != nil || d >= slice {
			return n, err
		}
	}
}

// allocs returns the allocations of one run, averaged over many.
func allocs(op peers.Op) float64 {
	const runs = 1000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		_ = op.Run() // calibrate has seen the error already
	}
	runtime.ReadMemStats(&after)
	return math.Round(float64(after.Mallocs-before.Mallocs) / runs)
}
