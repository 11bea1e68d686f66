//go:build linux

package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mqlab/mqlab/internal/ui"
	"github.com/mqlab/mqlab/loadgen"
	"github.com/mqlab/mqlab/scenarios"
)

// peerSource is the loop on libmosquitto that the generator is set beside.
//
//go:embed libmosquitto/loop.c
var peerSource []byte

// offered is a load with the figure that counts: the generator's processor seconds for one million messages.
type offered struct {
	name     string
	clients  int
	qos      uint8
	window   int
	rate     scenarios.Rate // of each client; 0 is flat out
	messages int            // of the loop on libmosquitto
}

var offers = []offered{
	{"QoS 0 flat out, 50 publishers", 50, 0, 20, 0, 1_000_000},
	{"QoS 1 flat out, 50 publishers, window 20", 50, 1, 20, 0, 300_000},
	{"QoS 2 flat out, 50 publishers, window 20", 50, 2, 20, 0, 150_000},
	{"QoS 1 paced, 200 clients at 100/s", 200, 1, 0, 100, 60_000},
}

func benchGenerator(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench generator", flag.ContinueOnError)
	duration := flags.Duration("time", 5*time.Second, "how long each load is offered")
	runs := flags.Int("runs", 1, "how often; the median is shown")
	idleClients := flags.Int("idle", 10_000, "connections to measure the memory of; 0 for none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mqlab-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	peer, err := buildPeer(ctx, dir)
	if err != nil {
		fmt.Fprintln(out, "without the loop on libmosquitto:", err)
	}
	servers := []server{sink, embedded}
	if mosquittoPath() != "" {
		servers = append(servers, mosquitto)
	}
	fmt.Fprintf(out, "messages of %d bytes, MQTT 3.1.1, %v a load, median of %d; generator CPU-s for 1M messages\n\n", payload, *duration, *runs)
	for _, o := range offers {
		fmt.Fprintln(out, o.name)
		var rows [][]string
		for _, s := range servers {
			row, err := o.row(ctx, s, peer, *duration, *runs)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				row = []string{s.name, "failed: " + err.Error()}
			}
			rows = append(rows, row)
		}
		fmt.Fprintln(out, ui.Plain().Table(0, []ui.Column{
			{Title: "against"},
			{Title: "published", Right: true},
			{Title: "CPU-s/1M", Right: true},
			{Title: "libmosquitto", Right: true},
			{Title: "its CPU-s/1M", Right: true},
			{Title: "ratio", Right: true},
			{Title: "lag p50 us", Right: true},
			{Title: "lag p99 us", Right: true},
			{Title: "ack p99 us", Right: true},
		}, rows))
	}
	if *idleClients > 0 {
		return benchConnections(ctx, servers, *idleClients, out)
	}
	return nil
}

func buildPeer(ctx context.Context, dir string) (string, error) {
	source, program := filepath.Join(dir, "loop.c"), filepath.Join(dir, "loop")
	if err := os.WriteFile(source, peerSource, 0o600); err != nil {
		return "", err
	}
	said, err := exec.CommandContext(ctx, "cc", "-O2", "-o", program, source, "-lmosquitto").CombinedOutput()
	if err != nil {
		line, _, _ := strings.Cut(string(said), "\n")
		return "", fmt.Errorf("a C compiler and libmosquitto-dev are needed to build it: %w %s", err, line)
	}
	return program, nil
}

// figure is one run of the generator.
type figure struct {
	rate, cpu float64
	lag, ack  loadgen.Percentiles
}

func (o offered) row(ctx context.Context, s server, peer string, d time.Duration, runs int) ([]string, error) {
	var all []figure
	var theirs [][2]float64
	for range max(runs, 1) {
		err := func() error {
			p, err := s.start(ctx)
			if err != nil {
				return err
			}
			defer p.stop()
			f, err := o.measure(ctx, p, d)
			if err != nil {
				return err
			}
			all = append(all, f)
			if peer == "" {
				return nil
			}
			t, err := o.peer(ctx, peer, p)
			theirs = append(theirs, t)
			return err
		}()
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b figure) int { return cmp.Compare(a.cpu, b.cpu) })
	f := all[len(all)/2]
	row := []string{s.name, ui.Rate(f.rate), fmt.Sprintf("%.2f", f.cpu), "", "", ""}
	if len(theirs) > 0 {
		slices.SortFunc(theirs, func(a, b [2]float64) int { return cmp.Compare(a[1], b[1]) })
		t := theirs[len(theirs)/2]
		row[3], row[4], row[5] = ui.Rate(t[0]), fmt.Sprintf("%.2f", t[1]), fmt.Sprintf("%.2f", f.cpu/t[1])
	}
	if o.rate > 0 {
		row = append(row, strconv.FormatInt(f.lag.P50, 10), strconv.FormatInt(f.lag.P99, 10), strconv.FormatInt(f.ack.P99, 10))
	}
	return row, nil
}

func (o offered) measure(ctx context.Context, p *process, d time.Duration) (figure, error) {
	w := &scenarios.Workload{
		Kind: scenarios.KindWorkload, Title: o.name, Window: o.window, Drain: 2 * time.Second,
		Clients: []scenarios.Group{{
			Name: "publishers", Count: o.clients,
			Publish: []scenarios.Publication{{Topic: "bench/load/{index:08}", Rate: o.rate, Size: scenarios.Size{Fixed: payload}}},
		}},
		Phases: []scenarios.Phase{{Kind: "hold", For: d}},
	}
	w.Clients[0].Publish[0].QoS[o.qos] = 1
	if o.rate == 0 {
		w.Model = "closed"
	}
	r, err := loadgen.Run(ctx, loadgen.Config{Workload: w.Resolved(), Target: "mqtt://" + p.addr(), Max: o.rate == 0})
	if err != nil {
		return figure{}, err
	}
	n := r.Totals.Published
	if o.qos > 0 {
		n = r.Totals.Acknowledged
	}
	if n == 0 {
		return figure{}, errors.New("no message went through")
	}
	f := figure{rate: float64(n) / d.Seconds(), cpu: r.Generator.CPUSeconds / float64(n) * 1e6}
	for _, l := range r.Latency {
		if l.QoS >= 0 || l.Group != "" || l.Histogram == nil {
			continue
		}
		short := loadgen.Percentiles{Count: l.Histogram.TotalCount(), P50: l.Histogram.ValueAtQuantile(50), P99: l.Histogram.ValueAtQuantile(99)}
		switch l.Metric {
		case loadgen.ScheduleLag:
			f.lag = short
		case loadgen.PublishAck:
			f.ack = short
		}
	}
	return f, nil
}

// peer runs the loop on libmosquitto and returns its rate and its processor seconds for one million messages.
func (o offered) peer(ctx context.Context, program string, p *process) ([2]float64, error) {
	args := []int{p.port, o.clients, int(o.qos), cmp.Or(o.window, window), o.messages, payload, int(o.rate)}
	var words []string
	for _, n := range args {
		words = append(words, strconv.Itoa(n))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	said, err := exec.CommandContext(ctx, program, words...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return [2]float64{}, fmt.Errorf("the loop on libmosquitto: %w", err)
	}
	var n, cpu, wall float64
	if _, err := fmt.Sscan(string(said), &n, &cpu, &wall); err != nil {
		return [2]float64{}, fmt.Errorf("the loop on libmosquitto said %q: %w", said, err)
	}
	return [2]float64{n / wall, cpu / n * 1e6}, nil
}

// benchConnections measures how fast clients connect, and what an idle one costs on either side.
func benchConnections(ctx context.Context, servers []server, n int, out io.Writer) error {
	fmt.Fprintf(out, "%d idle connections\n", n)
	var rows [][]string
	for _, s := range servers {
		row, err := connections(ctx, s, n)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			row = []string{s.name, "failed: " + err.Error()}
		}
		rows = append(rows, row)
	}
	fmt.Fprintln(out, ui.Plain().Table(0, []ui.Column{
		{Title: "against"}, {Title: "connects", Right: true}, {Title: "generator RSS each", Right: true}, {Title: "server RSS each", Right: true},
	}, rows))
	return nil
}

func connections(ctx context.Context, s server, n int) ([]string, error) {
	p, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	f, server, err := idleRun(ctx, "mqtt://"+p.addr(), n, false, p)
	if err != nil {
		return nil, err
	}
	return []string{s.name, ui.Rate(float64(n) / f.connecting), ui.Bytes(int64(f.each)), ui.Bytes(server / int64(n))}, nil
}
