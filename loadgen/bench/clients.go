//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/internal/transport"
	"github.com/mqlab/mqlab/internal/ui"
	"github.com/mqlab/mqlab/loadgen"
	"github.com/mqlab/mqlab/scenarios"
)

// spareDescriptors are those that a process needs beside its connections.
const spareDescriptors = 100

// benchClients measures what many clients cost that are subscribed and send PINGREQ: over TCP to a broker in another
// process, and over the in-memory transport with the broker in the same process.
func benchClients(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench clients", flag.ContinueOnError)
	overTCP := flags.String("tcp", "1000,10000,19000", "numbers of clients over TCP")
	overMem := flags.String("mem", "1000,10000,100000,200000", "numbers of clients over the in-memory transport")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	fmt.Fprintln(out, "clients with one subscription each that send PINGREQ all the time; bytes of resident memory for each")
	var rows [][]string
	add := func(wire, list string, measure func(n int) (idleFigures, int64, error)) error {
		for text := range strings.SplitSeq(list, ",") {
			if text == "" {
				continue
			}
			n, err := strconv.Atoi(text)
			if err != nil {
				return fmt.Errorf("%q is not a number of clients", text)
			}
			row := []string{wire, ui.Count(int64(n))}
			f, server, err := measure(n)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				row = append(row, "failed: "+err.Error())
			default:
				row = append(row, ui.Rate(float64(n)/f.connecting), ui.Bytes(int64(f.each)), ui.Bytes(server/int64(n)), strconv.Itoa(f.pings))
				if wire == "memory" {
					row[4] = "in generator's"
				}
			}
			rows = append(rows, row)
		}
		return nil
	}
	if err := add("TCP", *overTCP, func(n int) (idleFigures, int64, error) {
		if uint64(n+spareDescriptors) > limit.Max {
			return idleFigures{}, 0, fmt.Errorf("a process may open %d files here, and the limit cannot be raised", limit.Max)
		}
		p, err := embedded.start(ctx)
		if err != nil {
			return idleFigures{}, 0, err
		}
		defer p.stop()
		return idleRun(ctx, "mqtt://"+p.addr(), n, true, p)
	}); err != nil {
		return err
	}
	if err := add("memory", *overMem, func(n int) (idleFigures, int64, error) { return idleRun(ctx, memURL, n, true, nil) }); err != nil {
		return err
	}
	fmt.Fprintln(out, ui.Plain().Table(0, []ui.Column{
		{Title: "over"},
		{Title: "clients", Right: true},
		{Title: "connects", Right: true},
		{Title: "generator each", Right: true},
		{Title: "broker each", Right: true},
		{Title: "pings", Right: true},
	}, rows))
	return nil
}

// idleFigures are what a process of idle clients says of itself.
type idleFigures struct {
	connecting float64 // seconds
	each       float64 // bytes of the process for each client
	pings      int
}

// idleRun runs idle clients in a process of their own, whose memory nothing else has grown, and returns what a server in
// another process grew by.
func idleRun(ctx context.Context, url string, n int, subscribed bool, p *process) (f idleFigures, server int64, err error) {
	self, err := os.Executable()
	if err != nil {
		return f, 0, err
	}
	var before, after usage
	if p != nil {
		if before, err = p.usage(); err != nil {
			return f, 0, err
		}
	}
	cmd := exec.CommandContext(ctx, self, idleArg, url, strconv.Itoa(n), strconv.FormatBool(subscribed))
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return f, 0, err
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return f, 0, err
	}
	in := bufio.NewReader(pipe)
	var up string
	_, first := fmt.Fscanln(in, &up)
	if p != nil {
		after, err = p.usage()
	}
	_, last := fmt.Fscanln(in, &f.connecting, &f.each, &f.pings)
	if ended := cmd.Wait(); ended != nil {
		return f, 0, fmt.Errorf("%w: %s", ended, strings.TrimSpace(said.String()))
	}
	return f, after.rss - before.rss, errors.Join(first, err, last)
}

const (
	// idleArg makes this program a number of clients. It prints "up" two seconds after all are connected, and at the end
	// its idleFigures.
	idleArg = "idle"
	// memURL in place of a server's URL has the broker in the same process.
	memURL = "mem://bench"
)

// idleClients is the program behind idleArg.
func idleClients(ctx context.Context, args []string, out io.Writer) error {
	n, err1 := strconv.Atoi(args[1])
	subscribed, err2 := strconv.ParseBool(args[2])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	cfg := loadgen.Config{Target: args[0]}
	if cfg.Target == memURL {
		cfg.Network = &transport.Network{}
		b := broker.New(broker.Config{Mem: cfg.Network})
		if _, err := b.Listen(memURL); err != nil {
			return err
		}
	}
	run := func(n int, progress func(*loadgen.Snapshot)) (*loadgen.Result, error) {
		g, hold := scenarios.Group{Name: "idle", Count: n, KeepAlive: 10 * time.Minute}, 5*time.Second
		if subscribed {
			g.KeepAlive = max(4*time.Second, time.Duration(n/5000)*time.Second)
			hold = g.KeepAlive + 3*time.Second
			g.Subscribe = []scenarios.Subscription{{Filter: "bench/clients/{index}", QoS: 1}}
		}
		w := &scenarios.Workload{
			Kind: scenarios.KindWorkload, Title: "idle clients", Drain: time.Second,
			Clients: []scenarios.Group{g}, Phases: []scenarios.Phase{{Kind: "idle", For: hold}},
		}
		cfg.Workload, cfg.Progress = w.Resolved(), progress
		return loadgen.Run(ctx, cfg)
	}
	// A run of one client first, so that what every run needs is not counted as the clients'.
	if _, err := run(1, nil); err != nil {
		return err
	}
	before, err := treeUsage(os.Getpid())
	if err != nil {
		return err
	}
	var after usage
	seconds := 0
	r, err := run(n, func(s *loadgen.Snapshot) {
		if s.Connected < n {
			return
		}
		if u, err := treeUsage(os.Getpid()); err == nil {
			after = u
		}
		if seconds++; seconds == 2 {
			fmt.Fprintln(out, "up")
		}
	})
	switch {
	case err != nil:
		return err
	case int(r.Totals.Connects) != n || r.Totals.Disconnects > 0 || after.rss == 0:
		return fmt.Errorf("%d of %d clients connected, and %d connections ended", r.Totals.Connects, n, r.Totals.Disconnects)
	}
	_, err = fmt.Fprintln(out, r.Connecting.Seconds(), float64(after.rss-before.rss)/float64(n), r.Totals.Pings)
	return err
}
