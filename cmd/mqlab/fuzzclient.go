package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/fuzz"
)

func fuzzClientCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "client",
		Usage: "look for crashes of a client",
		Description: describe(`Plays the broker for a client that --cmd starts again whenever it has ended: answers as the standard demands, but for an edit
			here and there, sends it messages for as long as it stays, and watches that the client neither dies nor hangs nor spins nor takes much
			memory nor breaks a rule. {host}, {port} and {topic} in the command stand for the broker and for a topic on which it publishes. That a
			client gives up a connection is its right. What led it to do something new is kept, and gone on with.

			With --replay the script of a finding is run again instead; the exit code is 1 where it comes back.`,
			"mqlab fuzz client --cmd 'mosquitto_sub -h {host} -p {port} -t {topic}' --time 2m --out findings",
			"mqlab fuzz client --cmd 'mqlab sub -h {host} -p {port} -t {topic}' --workers 2 --corpus scripts --time 1s",
			"mqlab fuzz client --cmd 'mosquitto_sub -h {host} -p {port} -t {topic}' --replay findings/died-1f0a93c2.txt"),
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "cmd", Usage: "start the client by `COMMAND`, with {host}, {port} and {topic} filled in"},
			&cli.StringFlag{Name: "replay", Usage: "run the script in `FILE` instead of new ones"},
			&cli.DurationFlag{Name: "time", Usage: "stop after so long (default: 1m, or no bound where --execs is given)"},
			&cli.Int64Flag{Name: "execs", Usage: "stop after `N` exchanges with the client"},
			&cli.IntFlag{Name: "workers", Value: 4, Usage: "play with `N` clients at once"},
			&cli.StringFlag{Name: "corpus", Usage: "keep scripts that led to something new in `DIR`, and begin with those that are there"},
			&cli.Uint64Flag{Name: "seed", Usage: "generate from `N` (default: chosen at random, and shown)"},
			&cli.StringFlag{Name: "fail-on", Usage: "only findings of these `CLASSES` make the exit code 1 (default: all)"},
			&cli.StringFlag{Name: "out", Usage: "write a script and a page about each finding to `DIR`"},
			&cli.DurationFlag{Name: "timeout", Value: 5 * time.Second, Usage: "how long the client may take to connect"},
			&cli.IntFlag{Name: "stop-after", Usage: "stop after `N` findings"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "say nothing while the run goes on"},
			formatFlag(fuzzFormats...), outputFlag(),
		}, append(fuzzReplayFlags(), fileFlags(fuzzFormats)...)...),
		Action: func(c *cli.Context) error { return e.fuzzClient(c) },
	}
}

func (e *env) fuzzClient(c *cli.Context) error {
	if c.String("cmd") == "" {
		return usagef("fuzz client needs --cmd, which starts the client")
	}
	if c.NArg() > 0 {
		return usagef("fuzz client takes no argument %q; quote the whole command for --cmd", c.Args().First())
	}
	format, failOn, err := fuzzChoices(c)
	if err != nil {
		return err
	}
	cfg := fuzz.ClientConfig{
		Cmd: c.String("cmd"), Seed: c.Uint64("seed"), Time: c.Duration("time"), Execs: c.Int64("execs"), Patience: c.Duration("timeout"),
		Workers: c.Int("workers"), Corpus: c.String("corpus"), Minimise: c.Duration("minimize-time"), Replays: c.Int("replays"), Out: c.String("out"), FailOn: failOn, StopAfter: c.Int("stop-after"),
	}
	if cfg.Minimise <= 0 {
		cfg.Minimise = -1
	}
	if cfg.Time == 0 && cfg.Execs == 0 {
		cfg.Time = time.Minute
	}
	if file := c.String("replay"); file != "" {
		s, err := readFuzzScript(file)
		if err != nil {
			return err
		}
		found, err := fuzz.ReplayClient(e.ctx, cfg, s)
		if err != nil {
			return err
		}
		if err := writeFindings(e, c, found); err != nil {
			return err
		}
		if len(found) > 0 {
			return exitWith(exitNo, nil)
		}
		return nil
	}
	view := e.fuzzView(c.Bool("quiet"), format == "json" && c.String("output") == "", cfg.Time, cfg.Execs)
	cfg.Events = view.event
	sum, err := fuzz.RunClient(e.ctx, cfg)
	view.end()
	if err != nil {
		return err
	}
	return e.fuzzResult(c, view, sum)
}
