package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/fuzz"
	"github.com/mqlab/mqlab/internal/transport"
	"github.com/mqlab/mqlab/internal/ui"
)

var fuzzFormats = []string{"text", "json", "markdown", "junit"}

func fuzzCommand(e *env) *cli.Command {
	flags := append(fuzzTargetFlags(),
		&cli.DurationFlag{Name: "time", Usage: "stop after so long (default: 1m, or no bound where --execs is given)"},
		&cli.Int64Flag{Name: "execs", Usage: "stop after `N` scripts"},
		&cli.Uint64Flag{Name: "seed", Usage: "generate from `N`, so that a run can be had again (default: chosen at random, and shown)"},
		&cli.StringFlag{Name: "fail-on", Usage: "only findings of these `CLASSES` make the exit code 1: " + strings.Join(fuzz.Classes(), ",") + " (default: all)"},
		&cli.StringFlag{Name: "corpus", Usage: "keep scripts that led somewhere new in `DIR`, and begin with those that are there"},
		&cli.BoolFlag{Name: "coverage", Usage: "let the code lead that runs in the --cmd, a Go program that was built with go build -cover"},
		&cli.StringFlag{Name: "out", Usage: "write a script, a scenario and a page about each finding to `DIR`"},
		&cli.IntFlag{Name: "workers", Value: 8, Usage: "execute `N` scripts at the same time"},
		&cli.BoolFlag{Name: "light", Usage: "no bursts, no large payloads"},
		&cli.IntFlag{Name: "stop-after", Usage: "stop after `N` findings"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "say nothing while the run goes on"},
		formatFlag(fuzzFormats...), outputFlag(),
	)
	flags = append(flags, fuzzReplayFlags()...)
	flags = append(flags, fileFlags(fuzzFormats)...)
	return &cli.Command{
		Name:  "fuzz",
		Usage: "look for crashes, hangs and broken promises of a broker",
		Description: describe(`Sends a broker sequences of packets on several connections, most of them legal, some with one thing wrong, learns
			from the answers which of them lead somewhere new, and watches the broker meanwhile: that it lives, that well-behaved clients get
			what they are promised, that every answer is right, that nothing leaks. What is found is brought about again, made as small as it
			goes, and written down. Without --target or --cmd the embedded broker is fuzzed.

			With --cmd the broker is started, watched and started again, which finds most: a target that is only reached by its URL cannot be
			asked for its exit code, its memory or its stack trace. A target that is neither on this machine nor in a private network needs
			--yes. With --format json every second and every finding is a line of JSON.`,
			"mqlab fuzz --cmd 'mosquitto -p {port}' --time 5m --out findings",
			"mqlab fuzz --target mqtt://127.0.0.1:1883 --execs 20000 --seed 1 --fail-on crash,hang"),
		Flags:       flags,
		Subcommands: fuzzSubcommands(e),
		Action:      func(c *cli.Context) error { return e.fuzz(c) },
	}
}

// fuzzTargetFlags are the flags that say what is fuzzed.
func fuzzTargetFlags() []cli.Flag {
	return append(targetFlags(),
		&cli.StringFlag{Name: "cmd", Usage: "start the broker by `COMMAND`, with {port}, {ws_port} and {dir} filled in, watch it, and start it again when it dies"},
		&cli.IntFlag{Name: "pid", Usage: "the process `ID` of a --target on this machine, so that its memory can be watched"},
		&cli.StringFlag{Name: "versions", Usage: "only these `VERSIONS`: 3.1, 3.1.1, 5 (default: those that the target admits)"},
		&cli.DurationFlag{Name: "timeout", Value: 5 * time.Second, Usage: "what a well-behaved client waits for an answer"},
		&cli.BoolFlag{Name: "yes", Usage: "fuzz a target that is neither on this machine nor in a private network"},
	)
}

// fuzzReplayFlags are the flags about the treatment of findings.
func fuzzReplayFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "minimize-time", Value: 20 * time.Second, Usage: "spend so long on making the script of a finding smaller; 0 for not at all"},
		&cli.IntFlag{Name: "replays", Value: 3, Usage: "bring a finding about `N` times again"},
	}
}

// fuzzConfig is what the flags about the target say. The returned function ends what was started for it.
func (e *env) fuzzConfig(c *cli.Context) (cfg fuzz.Config, stop func(), err error) {
	stop = func() {}
	t, err := targetFrom(c)
	if err != nil {
		return cfg, stop, err
	}
	cfg = fuzz.Config{
		Target: fuzz.Target{Cmd: c.String("cmd"), URL: t.url, Dialer: transport.Dialer{TLS: t.tls}}, PID: c.Int("pid"),
		Username: t.username, Password: t.password, Patience: c.Duration("timeout"), Replays: c.Int("replays"), Out: c.String("out"),
		Minimise: c.Duration("minimize-time"),
	}
	if cfg.Minimise <= 0 {
		cfg.Minimise = -1
	}
	if cfg.Versions, err = fuzzVersions(c.String("versions")); err != nil {
		return cfg, stop, err
	}
	switch {
	case cfg.PID != 0 && cfg.Target.Cmd != "":
		return cfg, stop, usagef("--pid is for a broker that runs already; leave it out with --cmd")
	case cfg.PID != 0 && t.url == "":
		return cfg, stop, usagef("--pid needs the --target whose process it is")
	case cfg.Target.Cmd != "" || t.url != "":
		return cfg, stop, e.fuzzAllowed(c, t.url)
	}
	return e.fuzzEmbedded(cfg)
}

// fuzzAllowed refuses a target in the wide world unless the user insists.
func (e *env) fuzzAllowed(c *cli.Context, url string) error {
	if url == "" || c.Bool("yes") {
		return nil
	}
	u, err := transport.Parse(strings.NewReplacer("{port}", "1", "{ws_port}", "1").Replace(url))
	if err != nil {
		return usagef("--target: %w", err)
	}
	if u.Scheme == transport.SchemeUnix {
		return nil
	}
	near, err := fuzz.Local(e.ctx, u.Host)
	switch {
	case err != nil:
		return err
	case !near:
		return usagef("%s is neither on this machine nor in a private network, and fuzzing may bring it down; write --yes if it is yours to break", u)
	}
	return nil
}

// fuzzEmbedded takes the embedded broker for the target: in a process of its own, so that its death is seen, where this
// program can be started once more.
func (e *env) fuzzEmbedded(cfg fuzz.Config) (fuzz.Config, func(), error) {
	cfg.Name = "embedded broker"
	if e.program != "" {
		if self, err := exec.LookPath(os.Args[0]); err == nil {
			cfg.Target.Cmd = "'" + self + "' broker --listen mqtt://127.0.0.1:{port} --log-level error --sys-interval 2s"
			return cfg, func() {}, nil
		}
	}
	b := broker.New(broker.Config{})
	cfg.Dial = func(context.Context) (net.Conn, error) { return b.Dial() }
	return cfg, func() { _ = b.Close() }, nil
}

func fuzzVersions(list string) ([]codec.Version, error) {
	if list == "" {
		return nil, nil
	}
	known := map[string]codec.Version{"3.1": codec.V31, "3.1.1": codec.V4, "5": codec.V5, "5.0": codec.V5}
	var all []codec.Version
	for word := range strings.SplitSeq(list, ",") {
		v, ok := known[strings.TrimSpace(word)]
		if !ok {
			return nil, usagef("--versions: unknown version %q; known are 3.1, 3.1.1, 5", word)
		}
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all, nil
}

func (e *env) fuzz(c *cli.Context) error {
	if c.NArg() > 0 {
		return usagef("fuzz takes no argument %q; fuzz replay and fuzz minimize take the FILE of a finding", c.Args().First())
	}
	format, failOn, err := fuzzChoices(c)
	if err != nil {
		return err
	}
	cfg, stop, err := e.fuzzConfig(c)
	if err != nil {
		return err
	}
	defer stop()
	cfg.Time, cfg.Execs, cfg.Seed, cfg.FailOn = c.Duration("time"), c.Int64("execs"), c.Uint64("seed"), failOn
	cfg.Corpus, cfg.Workers, cfg.Light, cfg.StopAfter = c.String("corpus"), c.Int("workers"), c.Bool("light"), c.Int("stop-after")
	if cfg.Coverage = c.Bool("coverage"); cfg.Coverage && c.String("cmd") == "" {
		return usagef("--coverage needs the --cmd of a Go program that was built with go build -cover")
	}
	if cfg.Time < 0 || cfg.Execs < 0 || cfg.Workers < 1 || cfg.Workers > 256 {
		return usagef("--time and --execs are not negative, and --workers is from 1 to 256")
	}
	if cfg.Time == 0 && cfg.Execs == 0 {
		cfg.Time = time.Minute
	}
	view := e.fuzzView(c.Bool("quiet"), format == "json" && c.String("output") == "", cfg.Time, cfg.Execs)
	cfg.Events = view.event
	sum, err := fuzz.Run(e.ctx, cfg)
	view.end()
	if err != nil {
		return err
	}
	return e.fuzzResult(c, view, sum)
}

// fuzzResult writes what a run came to, and says whether that is fine.
func (e *env) fuzzResult(c *cli.Context, view *fuzzView, sum *fuzz.Summary) error {
	if view.lines {
		view.line("summary", sum)
		others := slices.DeleteFunc(slices.Clone(fuzzFormats), func(f string) bool { return f == "text" || c.String(f) == "" })
		for _, f := range others {
			if err := e.writeResult(c.String(f), fuzzForms(sum)[f]); err != nil {
				return err
			}
		}
	} else if err := e.writeForms(c, fuzzFormats, fuzzForms(sum), false); err != nil {
		return err
	}
	switch {
	case !sum.OK():
		return exitWith(exitNo, nil)
	case sum.Err() != nil:
		return sum.Err()
	}
	return nil
}

// fuzzChoices reads the words that stand for a format and for classes of findings.
func fuzzChoices(c *cli.Context) (format string, failOn []string, err error) {
	if format, err = oneOf("format", c.String("format"), fuzzFormats...); err != nil {
		return "", nil, err
	}
	if s := c.String("fail-on"); s != "" {
		for word := range strings.SplitSeq(s, ",") {
			class, err := oneOf("class of --fail-on", strings.TrimSpace(word), fuzz.Classes()...)
			if err != nil {
				return "", nil, err
			}
			failOn = append(failOn, class)
		}
	}
	return format, failOn, nil
}

// fuzzForms are the forms of a summary, by the names of their formats.
func fuzzForms(s *fuzz.Summary) map[string]form {
	return map[string]form{
		"text":     func(out output) error { return writeFuzzText(out, s) },
		"json":     func(out output) error { return writeJSON(out, s) },
		"markdown": func(out output) error { return s.WriteMarkdown(out) },
		"junit":    func(out output) error { return s.WriteJUnit(out) },
	}
}

// writeFuzzText writes what a run came to for people.
func writeFuzzText(out output, s *fuzz.Summary) error {
	for _, x := range s.Findings {
		if err := writeFindingText(out, x, s.Fails(x)); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%s %s\n", out.ui.Strong("target   "), ui.Printable(s.Target))
	fmt.Fprintf(out, "%s %s scripts, %s packets in %s (%s scripts, %s packets), seed %d\n", out.ui.Strong("executed "),
		ui.Count(s.Execs), ui.Count(s.Packets), ui.Duration(s.Elapsed), ui.Rate(s.Rate()), ui.Rate(float64(s.Packets)/max(s.Elapsed.Seconds(), 1e-9)), s.Seed)
	fmt.Fprintf(out, "%s %s scripts kept, %s states, %s edges\n", out.ui.Strong("learnt   "), ui.Count(int64(s.Corpus)), ui.Count(int64(s.States)), ui.Count(int64(s.Edges)))
	if s.Covered > 0 {
		fmt.Fprintf(out, "%s %s blocks of the target's code\n", out.ui.Strong("covered  "), ui.Count(int64(s.Covered)))
	}
	if s.Restarts > 0 {
		fmt.Fprintf(out, "%s %d times\n", out.ui.Strong("restarted"), s.Restarts)
	}
	if s.Stopped != "" {
		fmt.Fprintf(out, "%s %s\n", out.ui.Strong("stopped  "), ui.Printable(s.Stopped))
	}
	word := ui.Pass
	switch {
	case !s.OK():
		word = ui.Fail
	case len(s.Findings) > 0:
		word = ui.Warn
	}
	_, err := fmt.Fprintf(out, "%s %d findings, %d of them count\n", out.ui.Verdict(word), len(s.Findings), s.Failed())
	return err
}

func writeFindingText(out output, x *fuzz.Finding, fails bool) error {
	word := ui.Warn
	if fails {
		word = ui.Fail
	}
	fmt.Fprintf(out, "%s %s: %s\n", out.ui.Verdict(word), x.Oracle, ui.Printable(x.Title))
	if x.Rule != "" {
		fmt.Fprintf(out, "  rule      %s\n", x.Rule)
	}
	fmt.Fprintf(out, "  signature %s\n", ui.Printable(x.Signature))
	for _, d := range x.Detail {
		fmt.Fprintf(out, "  seen      %s\n", ui.Printable(d))
	}
	fmt.Fprintf(out, "  met       %d times, first after %s and %s scripts; replays: %s\n", x.Count, ui.Duration(x.After), ui.Count(x.Execs), x.Confirmation())
	if s := x.Best(); s != nil {
		steps := s.Describe()
		for i, line := range steps {
			if i == 12 && len(steps) > 14 {
				fmt.Fprintf(out, "    ... and %d further steps\n", len(steps)-i)
				break
			}
			fmt.Fprintf(out, "    %s\n", ui.Truncate(ui.Printable(line), out.width-4))
		}
	}
	for _, kind := range []string{"script", "scenario", "report"} {
		if f := x.Files[kind]; f != "" {
			fmt.Fprintf(out, "  %-9s %s\n", kind, out.ui.Code(f))
		}
	}
	_, err := fmt.Fprintln(out)
	return err
}
