package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/loadgen"
	"github.com/mqlab/mqlab/scenarios"
)

// The forms of a load result. The first is the default.
var loadFormats = []string{"text", "json", "csv", "markdown", "html"}

// flatOutWindow is what --max lets a client have under way where nothing says otherwise.
const flatOutWindow = 20

func loadCommand(e *env) *cli.Command {
	flags := append(targetFlags(),
		&cli.IntFlag{Name: "clients", DefaultText: "100", Usage: "`N` publishers, in a fan-out subscribers; of a FILE the size of its largest group"},
		&cli.IntFlag{Name: "subscribers", DefaultText: "one for ten publishers", Usage: "`N` subscribers of a fan-in, 0 for none"},
		&cli.StringFlag{Name: "rate", DefaultText: "1000/s", Usage: "offer `RATE` messages, all clients together: 10000, 10k/s, 600/min"},
		&cli.IntFlag{Name: "qos", DefaultText: "0", Usage: "publish and subscribe at `QOS` 0, 1 or 2"},
		&cli.StringFlag{Name: "size", DefaultText: "64", Usage: "`BYTES` of each payload, or a range such as 16-1024"},
		&cli.StringFlag{Name: "payload", Usage: "publish `TEXT`, a template, instead of made-up bytes"},
		&cli.DurationFlag{Name: "duration", Aliases: []string{"time"}, DefaultText: "10s", Usage: "offer messages for `TIME`; the phases of a FILE are stretched to it"},
		&cli.StringFlag{Name: "topic", Usage: "publish to `TOPIC`, a template: {index} is the client's number, {run} the run's id"},
		&cli.StringFlag{Name: "topology", Value: scenarios.FanIn, Usage: "how publishers and subscribers meet, as `NAME`: " + strings.Join(scenarios.Topologies, ", ")},
		&cli.BoolFlag{Name: "retain", Usage: "publish retained messages"},
		&cli.StringFlag{Name: "mqtt", DefaultText: "3.1.1", Usage: "speak `VERSION` 3.1, 3.1.1 or 5.0"},
		&cli.Float64Flag{Name: "scale", DefaultText: "1", Usage: "multiply clients and rate of a FILE by `FACTOR`"},
		&cli.IntFlag{Name: "window", DefaultText: "no bound; 1 with --closed, 20 with --max", Usage: "leave at most `N` QoS 1 and 2 messages of a client unacknowledged"},
		&cli.BoolFlag{Name: "closed", Usage: "no schedule: each client publishes when its window has room"},
		&cli.BoolFlag{Name: "max", Usage: "no schedule: publish as fast as window and socket allow"},
		&cli.StringFlag{Name: "connect-rate", DefaultText: "as fast as they are accepted", Usage: "open so many connections, as `RATE`: 500/s"},
		&cli.StringSliceFlag{Name: "source", Usage: "spread connections over the local addresses of `CIDR`, such as 127.0.0.0/24: each has some 28,000 ports"},
		&cli.Uint64Flag{Name: "seed", DefaultText: "drawn", Usage: "draw everything random from `N`; the same seed offers the same load"},
		&cli.IntFlag{Name: "workers", DefaultText: "by the processors", Usage: "run `N` event loops"},
		&cli.IntFlag{Name: "pid", DefaultText: "that of the embedded broker", Usage: "sample processor and memory of process `ID`, the broker's"},
		&cli.BoolFlag{Name: "sys", Usage: "sample what the broker publishes below $SYS"},
		&cli.BoolFlag{Name: "no-verify", Usage: "do not follow every message to its receivers; needed for payloads that cannot carry a proof"},
		&cli.DurationFlag{Name: "drain", DefaultText: "5s", Usage: "wait `TIME` at the end for what is under way"},
		&cli.StringSliceFlag{Name: "threshold", Usage: "the result must satisfy `EXPRESSION`, such as 'publish_ack.p99 < 50ms'"},
		&cli.StringFlag{Name: "metrics", Usage: "serve live figures to Prometheus on `ADDRESS`, such as :9090"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "show no progress"},
		formatFlag(loadFormats...), outputFlag(),
		&cli.StringFlag{Name: "hgrm", Usage: "write percentiles in the format of HdrHistogram plotters to `FILE`, or one file for each metric to a folder"},
		&cli.StringFlag{Name: "hlog", Usage: "write the histograms of every second to `FILE`, an HdrHistogram log"},
	)
	flags = append(flags, fileFlags(loadFormats)...)
	return &cli.Command{
		Name:  "load",
		Usage: "offer load to a broker, and measure what comes of it",
		Description: describe(`Connects clients, publishes at instants that are fixed beforehand, and measures from those instants, so that a broker
			that stalls cannot hide it. Every message is followed to its receivers: lost, duplicated, out of order. The load is what the
			flags say or a workload: a FILE, or the NAME of a built-in one, which the flags then resize.

			Without --target an embedded broker in a process of its own is loaded. Exit code 1 means that a threshold failed or that the
			broker broke a promise: a message of QoS 1 or 2 lost, one of QoS 0 or 2 duplicated, or one corrupted. The key q or an
			interrupt ends the run early, with its result; a second interrupt ends it at once.`,
			"mqlab load --clients 1000 --rate 10000 --qos 1 --duration 30s --target mqtt://127.0.0.1:1883",
			"mqlab load telemetry-fan-in --scale 0.1 --duration 10s --html report.html",
			"mqlab load --qos 1 --duration 30s --threshold 'publish_ack.p99 < 50ms' --threshold 'lost == 0' --json result.json"),
		ArgsUsage:   "[FILE|NAME]",
		Flags:       flags,
		Subcommands: []*cli.Command{loadServerCommand(e)},
		Action:      func(c *cli.Context) error { return e.load(c) },
	}
}

// load runs the workload and writes what it measured.
func (e *env) load(c *cli.Context) error {
	if _, err := oneOf("format", c.String("format"), loadFormats...); err != nil {
		return err
	}
	cfg, err := loadConfig(c)
	if err != nil {
		return err
	}
	if err := checkOutputs(c, append(slices.Clone(loadFormats[1:]), "output", "hgrm", "hlog")); err != nil {
		return err
	}
	if cfg.Target == "" {
		server, err := e.embeddedServer()
		if err != nil {
			return err
		}
		defer server.stop()
		cfg.Target, cfg.PID = server.url, server.pid
		fmt.Fprintf(e.stderr, "no --target: loading the embedded broker, %s\n", server)
	}
	var sinks []func(*loadgen.Snapshot)
	if addr := c.String("metrics"); addr != "" {
		metrics := new(loadgen.Metrics)
		stop, err := e.serveMetrics(addr, metrics)
		if err != nil {
			return err
		}
		defer stop()
		sinks = append(sinks, metrics.Update)
	}
	closeLog := func() error { return nil }
	if path := c.String("hlog"); path != "" {
		f, err := os.Create(path)
		if err != nil {
			return fmt.Errorf("write the log of histograms: %w; choose another --hlog", err)
		}
		log := loadgen.NewHistogramLog(f, nil)
		cfg.Second = log.Write
		closeLog = func() error { return errors.Join(log.Close(), f.Close()) }
	}
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	live := e.startLive(c.Bool("quiet"), cancel)
	cfg.Progress = func(s *loadgen.Snapshot) {
		for _, sink := range sinks {
			sink(s)
		}
		live.show(s)
	}
	res, err := loadgen.Run(ctx, cfg)
	live.end()
	err = errors.Join(err, closeLog())
	if res != nil {
		err = errors.Join(err, e.writeForms(c, loadFormats, loadForms(res), false), writePercentiles(c.String("hgrm"), res))
	}
	switch {
	case err != nil:
		return err
	case live.quit && e.ctx.Err() == nil:
		return exitWith(exitInterrupted, errors.New("stopped; the result is that of the time until then"))
	case !res.Verdict().Passed:
		return exitWith(exitNo, nil) // the result says why
	}
	return nil
}

// loadForms are the forms of one load result, by the names of their formats.
func loadForms(r *loadgen.Result) map[string]form {
	return map[string]form{
		"text":     func(out output) error { return r.WriteText(out, out.ui, out.width) },
		"json":     func(out output) error { return r.WriteJSON(out) },
		"csv":      func(out output) error { return r.WriteCSV(out) },
		"markdown": func(out output) error { return r.WriteMarkdown(out) },
		"html":     func(out output) error { return r.WriteHTML(out) },
	}
}

// loadConfig turns the command line into a run.
func loadConfig(c *cli.Context) (loadgen.Config, error) {
	var cfg loadgen.Config
	t, err := targetFrom(c)
	if err != nil {
		return cfg, err
	}
	cfg.Target, cfg.Username, cfg.Password, cfg.TLS = t.url, t.username, t.password, t.tls
	cfg.Max, cfg.Workers, cfg.PID, cfg.Sys, cfg.NoVerify = c.Bool("max"), c.Int("workers"), c.Int("pid"), c.Bool("sys"), c.Bool("no-verify")
	if cfg.PID != 0 && t.url == "" {
		return cfg, usagef("--pid: without --target the embedded broker is loaded, whose process is known")
	}
	if cfg.Max && c.Bool("closed") {
		return cfg, usagef("--max and --closed: choose one of them")
	}
	if c.String("rate") != "" && (cfg.Max || c.Bool("closed")) {
		return cfg, usagef("--rate: with --max or --closed there is no schedule; leave one of them out")
	}
	if cfg.Sources, err = sourceAddresses(c.StringSlice("source")); err != nil {
		return cfg, err
	}
	over, err := overrides(c)
	if err != nil {
		return cfg, err
	}
	w, err := baseWorkload(c, &over)
	if err != nil {
		return cfg, err
	}
	if w, err = w.Apply(over); err != nil {
		return cfg, usagef("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	cfg.Workload = w
	return cfg, nil
}

// overrides are what the flags change in any workload.
func overrides(c *cli.Context) (scenarios.Overrides, error) {
	o := scenarios.Overrides{
		Duration: c.Duration("duration"), MQTT: c.String("mqtt"), Window: c.Int("window"), Closed: c.Bool("closed"), Drain: c.Duration("drain"),
		Seed: c.Uint64("seed"), Thresholds: c.StringSlice("threshold"), NoVerify: c.Bool("no-verify"),
	}
	if c.Bool("max") && o.Window == 0 {
		o.Window = flatOutWindow
	}
	for _, name := range []string{"clients", "window", "workers", "pid"} {
		if c.IsSet(name) && c.Int(name) < 1 {
			return o, usagef("--%s: %d is not above 0", name, c.Int(name))
		}
	}
	for _, name := range []string{"duration", "drain"} {
		if c.IsSet(name) && c.Duration(name) <= 0 {
			return o, usagef("--%s: %v is not above 0", name, c.Duration(name))
		}
	}
	for name, rate := range map[string]*scenarios.Rate{"rate": &o.Rate, "connect-rate": &o.ConnectRate} {
		text := c.String(name)
		if text == "" {
			continue
		}
		r, err := scenarios.ParseRate(text)
		if err == nil && r <= 0 {
			err = fmt.Errorf("%q is not above 0", text)
		}
		if err != nil {
			return o, usagef("--%s: %w", name, err)
		}
		*rate = r
	}
	if c.IsSet("qos") {
		q := c.Int("qos")
		if q < 0 || q > 2 {
			return o, usagef("--qos: %d is not 0, 1 or 2", q)
		}
		level := uint8(q)
		o.QoS = &level
	}
	if text := c.String("size"); text != "" {
		size, err := parseSize(text)
		if err != nil {
			return o, err
		}
		o.Size = size
	}
	for _, text := range o.Thresholds {
		if _, err := scenarios.ParseThreshold(text); err != nil {
			return o, usagef("--threshold %q: %w", text, err)
		}
	}
	return o, nil
}

// parseSize reads 64 or 16-1024.
func parseSize(text string) (scenarios.Size, error) {
	least, most, ranged := strings.Cut(text, "-")
	a, err := strconv.Atoi(least)
	b := a
	if err == nil && ranged {
		b, err = strconv.Atoi(most)
	}
	if err != nil || a < 0 || b < a || b > scenarios.MaximumSize || ranged && a == b || b == 0 {
		return scenarios.Size{}, usagef("--size: %q is not a number of bytes such as 64, nor a range such as 16-1024", text)
	}
	if ranged {
		return scenarios.Size{Min: a, Max: b}, nil
	}
	return scenarios.Size{Fixed: a}, nil
}

// quickOnly are the flags that make up a workload, and have no sense beside a FILE.
var quickOnly = []string{"subscribers", "payload", "topic", "topology", "retain"}

// baseWorkload is the workload of the file or name, or the one that the flags make up, before the rest of them changes it.
func baseWorkload(c *cli.Context, over *scenarios.Overrides) (*scenarios.Workload, error) {
	if c.NArg() > 1 {
		return nil, usagef("load runs one FILE or NAME at a time, but got %s", strings.Join(c.Args().Slice(), " "))
	}
	if c.NArg() == 0 {
		return quickWorkload(c, over)
	}
	for _, name := range quickOnly {
		if c.IsSet(name) {
			return nil, usagef("--%s is for a load without FILE; change it in the file; mqlab scenario show NAME --format yaml writes a built-in one", name)
		}
	}
	w, err := findWorkload(c.Args().First())
	if err != nil {
		return nil, err
	}
	over.Clients = c.Int("clients")
	if c.IsSet("scale") {
		f := c.Float64("scale")
		if !(f > 0 && f <= 1e6) {
			return nil, usagef("--scale: %v is not above 0", f)
		}
		if over.Clients != 0 || over.Rate != 0 {
			return nil, usagef("--scale changes clients and rate together: leave out --clients and --rate, or --scale")
		}
		largest := 0
		for _, g := range w.Clients {
			largest = max(largest, g.Count)
		}
		over.Clients = max(1, int(math.Round(float64(largest)*f)))
		// The rate of each client stays, so that of all grows with them; what a group shares is scaled here.
		over.Rate = w.Offered() * scenarios.Rate(f)
		if w.Model == "closed" || over.Closed || c.Bool("max") {
			over.Rate = 0
		}
	}
	return w, nil
}

func quickWorkload(c *cli.Context, over *scenarios.Overrides) (*scenarios.Workload, error) {
	if c.IsSet("scale") {
		return nil, usagef("--scale is for a FILE or NAME; write --clients and --rate instead")
	}
	topology, err := oneOf("topology", c.String("topology"), scenarios.Topologies...)
	if err != nil {
		return nil, err
	}
	o := scenarios.QuickOptions{
		Topology: topology, Clients: c.Int("clients"), Subscribers: c.Int("subscribers"), Rate: over.Rate, Closed: over.Closed,
		Size: over.Size, Payload: c.String("payload"), Duration: over.Duration, Topic: c.String("topic"), MQTT: over.MQTT, Window: over.Window, Retain: c.Bool("retain"),
	}
	if c.IsSet("subscribers") {
		switch {
		case topology != scenarios.FanIn:
			return nil, usagef("--subscribers is for a fan-in; in a %s they follow from --clients", topology)
		case o.Subscribers < 0:
			return nil, usagef("--subscribers: %d is not 0 or above", o.Subscribers)
		}
		o.NoSubscribers = o.Subscribers == 0
	}
	if o.Payload != "" && !over.Size.IsZero() {
		return nil, usagef("--size and --payload: choose one of them")
	}
	if over.QoS != nil {
		o.QoS = *over.QoS
	}
	// What made up the workload need not change it again.
	over.Rate, over.QoS, over.Size, over.Duration, over.MQTT, over.Window, over.Closed = 0, nil, scenarios.Size{}, 0, "", 0, false
	return scenarios.Quick(o), nil
}

// findWorkload reads a file, or finds a built-in workload.
func findWorkload(name string) (*scenarios.Workload, error) {
	if slices.Contains(scenarios.Names(), name) {
		return scenarios.ByName(name)
	}
	s, err := scenarios.LoadFile(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if near := closestWorkload(name); near != "" {
			return nil, usagef("there is no file and no built-in workload %q; did you mean %s?", name, near)
		}
		return nil, usagef("there is no file and no built-in workload %q; built in are %s", name, strings.Join(scenarios.Names(), ", "))
	case err != nil:
		return nil, usagef("%s: %s", name, strings.TrimSpace(err.Error()))
	}
	w, ok := s.(*scenarios.Workload)
	if !ok {
		return nil, usagef("%s is a conversation, not a workload: mqlab scenario run %s runs it", name, name)
	}
	return w, nil
}

// closestWorkload finds the built-in workload that a misspelt name or the beginning of one stands for.
func closestWorkload(name string) string {
	if near := closest(name, scenarios.Names()); near != "" {
		return near
	}
	for _, known := range scenarios.Names() {
		if n := len(name); n >= 4 && n < len(known) && editDistance(name, known[:n]) <= n/4 {
			return known
		}
	}
	return ""
}

// maxSources bounds the local addresses of a run.
const maxSources = 1 << 16

// sourceAddresses lists the addresses of networks such as 127.0.0.0/24, and single ones.
func sourceAddresses(list []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range list {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a)
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, usagef("--source: %q is no address and no network such as 127.0.0.0/24", text)
		}
		p = p.Masked()
		free := p.Addr().BitLen() - p.Bits()
		if free > 16 {
			return nil, usagef("--source: %s has more than %d addresses; write a longer prefix", text, maxSources)
		}
		n := 1 << free
		for i, a := 0, p.Addr(); i < n; i, a = i+1, a.Next() {
			if free > 1 && a.Is4() && (i == 0 || i == n-1) {
				continue // the names of the network and of all in it
			}
			out = append(out, a)
		}
	}
	if len(out) > maxSources {
		return nil, usagef("--source: %d addresses are more than %d", len(out), maxSources)
	}
	return out, nil
}

// checkOutputs refuses places that cannot be written to before a run is spent on them.
func checkOutputs(c *cli.Context, flags []string) error {
	for _, name := range flags {
		path := c.String(name)
		if path == "" {
			continue
		}
		dir := filepath.Dir(path)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return fmt.Errorf("--%s %s: there is no folder %s to write it to", name, path, dir)
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() && name != "hgrm" {
			return fmt.Errorf("--%s %s: this is a folder, write the name of a file", name, path)
		}
	}
	return nil
}

// writePercentiles writes the main metric to a file or, where the path does not end in .hgrm, every metric into a folder.
func writePercentiles(path string, r *loadgen.Result) error {
	if path == "" {
		return nil
	}
	write := func(path string, l *loadgen.Latency) error {
		var b bytes.Buffer
		err := l.WritePercentiles(&b)
		if err == nil {
			err = os.WriteFile(path, b.Bytes(), 0o666)
		}
		if err != nil {
			return fmt.Errorf("write the percentiles: %w", err)
		}
		return nil
	}
	if filepath.Ext(path) == ".hgrm" {
		main := r.Main()
		if main == nil {
			return errors.New("write the percentiles: nothing was measured")
		}
		return write(path, main)
	}
	if err := os.MkdirAll(path, 0o777); err != nil {
		return fmt.Errorf("write the percentiles: %w", err)
	}
	var errs []error
	for i := range r.Latency {
		if l := &r.Latency[i]; l.Histogram != nil && l.Histogram.TotalCount() > 0 {
			errs = append(errs, write(filepath.Join(path, l.FileName()+".hgrm"), l))
		}
	}
	return errors.Join(errs...)
}

// serveMetrics serves the figures until stop is called.
func (e *env) serveMetrics(addr string, metrics http.Handler) (stop func(), err error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, usagef("--metrics: %w", err)
	}
	srv := &http.Server{Handler: metrics, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // until it is closed
	}()
	fmt.Fprintf(e.stderr, "metrics on http://%s/metrics\n", l.Addr())
	return func() {
		_ = srv.Close()
		<-done
	}, nil
}
