package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/internal/transport"
	"github.com/mqlab/mqlab/internal/ui"
	"github.com/mqlab/mqlab/scenarios"
)

func scenarioCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "scenario",
		Usage: "run and check scenario files",
		Description: describe(`A scenario is a YAML file with a conversation: packets to send and packets to expect on named
			connections. A failed conformance check can be written as one, and one can be written by hand.`,
			"mqlab scenario run qos1.yaml",
			"mqlab scenario validate qos1.yaml"),
		Subcommands: []*cli.Command{scenarioRunCommand(e), scenarioValidateCommand(e), scenarioShowCommand(e), scenarioSchemaCommand(e)},
	}
}

// exchangeFile is an exchange with the path it was read from.
type exchangeFile struct {
	path string
	*scenarios.Exchange
}

// readExchanges reads every file; the problems of all are reported together.
func readExchanges(c *cli.Context) ([]exchangeFile, error) {
	if c.NArg() == 0 {
		return nil, usagef("scenario %s needs the FILE of a scenario", c.Command.Name)
	}
	var out []exchangeFile
	var problems []string
	for _, path := range c.Args().Slice() {
		x, err := readExchange(path)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", path, err))
			continue
		}
		out = append(out, exchangeFile{path, x})
	}
	if len(problems) > 0 {
		return out, usagef("%s", strings.Join(problems, "\n"))
	}
	return out, nil
}

func readExchange(path string) (*scenarios.Exchange, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	return scenarios.LoadExchange(f)
}

func scenarioRunCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "run scenarios against a broker",
		Description: describe(`Runs each FILE and says for every step whether the broker followed it. The first step that it does not
			follow ends the scenario and makes the exit code 1. Without --target the embedded broker is used. Retained messages and
			sessions of the run are removed afterwards.`,
			"mqlab scenario run qos1.yaml",
			"mqlab scenario run --target mqtt://127.0.0.1:1883 --format json evidence/5.0-ping-answered.yaml"),
		ArgsUsage: "FILE...",
		Flags: append(targetFlags(),
			&cli.StringFlag{Name: "bad-username", Usage: "a user `NAME` that the broker refuses, for $bad_username"},
			&cli.StringFlag{Name: "bad-password", EnvVars: []string{"MQLAB_BAD_PASSWORD"}, Usage: "a `PASSWORD` that the broker refuses, for $bad_password"},
			&cli.DurationFlag{Name: "timeout", Value: 5 * time.Second, Usage: "how long expected events are waited for where the file does not say it"},
			&cli.BoolFlag{Name: "leave", Usage: "leave retained messages and sessions on the broker"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show every packet of scenarios that were followed too"},
			formatFlag("text", "json"), outputFlag(),
		),
		Action: func(c *cli.Context) error { return e.runScenarios(c) },
	}
}

// scenarioResult is one run as JSON shows it.
type scenarioResult struct {
	File string `json:"file"`
	*scenarios.Outcome
}

func (e *env) runScenarios(c *cli.Context) error {
	format, err := oneOf("format", c.String("format"), "text", "json")
	if err != nil {
		return err
	}
	t, err := targetFrom(c)
	if err != nil {
		return err
	}
	files, err := readExchanges(c)
	if err != nil {
		return err
	}
	cfg := scenarios.RunConfig{
		Timeout: c.Duration("timeout"), Username: t.username, Password: t.password,
		BadUsername: c.String("bad-username"), BadPassword: c.String("bad-password"), Leave: c.Bool("leave"),
	}
	if t.url == "" {
		b := broker.New(broker.Config{})
		defer b.Close()
		cfg.Dial = func(context.Context) (net.Conn, error) { return b.Dial() }
	} else {
		d := &transport.Dialer{TLS: t.tls, Timeout: cfg.Timeout}
		cfg.Dial = func(ctx context.Context) (net.Conn, error) { return d.Dial(ctx, t.url) }
	}
	var results []scenarioResult
	var failed error
	departed := false
	for _, f := range files {
		out, err := scenarios.Run(e.ctx, f.Exchange, cfg)
		if err != nil {
			failed = fmt.Errorf("%s: %w", f.path, err)
			break
		}
		departed = departed || !out.Followed
		results = append(results, scenarioResult{f.path, out})
	}
	err = e.writeResult(c.String("output"), func(out output) error {
		if format == "json" {
			return writeJSON(out, append([]scenarioResult{}, results...))
		}
		for _, r := range results {
			if _, err := fmt.Fprint(out, outcomeText(out, r, c.Bool("verbose"))); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return err
	case departed:
		return exitWith(exitNo, nil)
	}
	return nil
}

// outcomeText shows the steps of a run, and where the broker departed what went over the wire.
func outcomeText(out output, r scenarioResult, verbose bool) string {
	var b strings.Builder
	u := out.ui
	verdict := ui.Pass
	if !r.Followed {
		verdict = ui.Fail
	}
	fmt.Fprintf(&b, "%s %s: %s\n", u.Verdict(verdict), u.Strong(r.File), r.Title)
	for _, s := range r.Steps {
		mark := map[scenarios.Status]string{scenarios.Followed: "  ", scenarios.Departed: "! ", scenarios.Passed: "- ", scenarios.Skipped: "? "}[s.Status]
		if r.Followed && !verbose && s.Status == scenarios.Followed {
			continue
		}
		line := fmt.Sprintf("  %s%3d %-8s %s", mark, s.Number, s.Status, ui.Printable(s.Step))
		if out.width > 0 {
			line = ui.Truncate(line, out.width)
		}
		b.WriteString(line + "\n")
		if s.Detail != "" {
			b.WriteString(ui.Wrap(ui.Printable(s.Detail), out.width, 17) + "\n")
		}
		if s.Note != "" && s.Status == scenarios.Departed {
			b.WriteString(ui.Wrap("note: "+ui.Printable(s.Note), out.width, 17) + "\n")
		}
	}
	if !r.Followed || verbose {
		b.WriteString("  " + u.Dim("on the wire") + "\n")
		for _, x := range r.Transcript {
			arrow := map[string]string{"sent": "->", "received": "<-", "note": "--"}[string(x.Dir)]
			line := fmt.Sprintf("    %9s %-6s %s %s", x.At.Round(time.Millisecond/10), x.Conn, arrow, ui.Printable(x.Text))
			if out.width > 0 {
				line = ui.Truncate(line, out.width)
			}
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func scenarioValidateCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "validate",
		Usage: "say what is wrong with scenario files",
		Description: describe(`Reads each FILE and reports every problem with its place. Nothing is sent.`,
			"mqlab scenario validate qos1.yaml",
			"mqlab scenario validate evidence/5.0-ping-answered.yaml qos1.yaml"),
		ArgsUsage: "FILE...",
		Action: func(c *cli.Context) error {
			files, err := readExchanges(c)
			werr := e.writeResult("", func(out output) error {
				for _, f := range files {
					if _, err := fmt.Fprintf(out, "%s: an exchange of %d steps under MQTT %s\n", f.path, len(f.Steps), f.Version()); err != nil {
						return err
					}
				}
				return nil
			})
			return errors.Join(err, werr)
		},
	}
}

func scenarioShowCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "show",
		Usage: "show what scenario files do, step by step",
		Description: describe(`Shows each FILE in words: what it is about and what its steps do. Nothing is sent.`,
			"mqlab scenario show qos1.yaml",
			"mqlab scenario show evidence/5.0-ping-answered.yaml qos1.yaml"),
		ArgsUsage: "FILE...",
		Action: func(c *cli.Context) error {
			files, err := readExchanges(c)
			if err != nil {
				return err
			}
			return e.writeResult("", func(out output) error {
				for _, f := range files {
					if _, err := fmt.Fprint(out, exchangeText(out, f)); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func exchangeText(out output, f exchangeFile) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", out.ui.Heading(f.Title))
	about := []string{f.path, "MQTT " + f.Version().String()}
	if f.Rule != "" {
		about = append(about, f.Rule)
	}
	fmt.Fprintf(&b, "%s\n", out.ui.Dim(strings.Join(about, ", ")))
	if f.About != "" {
		b.WriteString(ui.Wrap(ui.Printable(strings.ReplaceAll(strings.TrimSpace(f.About), "\n", " ")), out.width, 0) + "\n")
	}
	for i := range f.Steps {
		line := fmt.Sprintf("  %3d %s", i+1, ui.Printable(f.Steps[i].String()))
		if out.width > 0 {
			line = ui.Truncate(line, out.width)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func scenarioSchemaCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "schema",
		Usage: "write the JSON Schema of scenario files",
		Description: describe(`Writes the JSON Schema of the file format. An editor that knows it completes and checks scenarios as they are written.`,
			"mqlab scenario schema",
			"mqlab scenario schema --output exchange.schema.json"),
		Flags: []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			return e.writeResult(c.String("output"), func(out output) error {
				_, err := out.Write(scenarios.Schema())
				return err
			})
		},
	}
}

// evidenceFlags are the flags of conformance that have to do with scenarios.
func evidenceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "evidence", Usage: "write every failed check to the folder `DIR`: as a scenario that can be replayed, and as a capture"},
		&cli.StringFlag{Name: "extra", Usage: "run the exchange scenarios in the folder `DIR` as checks of your own too"},
	}
}

// evidenceConfig reads those flags.
func evidenceConfig(c *cli.Context, cfg *conformance.Config) error {
	cfg.Evidence = c.String("evidence") != ""
	if dir := c.String("extra"); dir != "" {
		checks, err := conformance.LoadExtra(dir)
		if err != nil {
			return usagef("--extra: %w", err)
		}
		if cfg.Checks == nil {
			cfg.Checks = conformance.All()
		}
		cfg.Checks = append(cfg.Checks, checks...)
	}
	return nil
}

// writeEvidence writes what --evidence asks for, each of several targets to a folder of its own,
// and says on standard error what there is.
func (e *env) writeEvidence(c *cli.Context, reports []*conformance.Report) error {
	root := c.String("evidence")
	if root == "" {
		return nil
	}
	for i, r := range reports {
		dir := root
		if len(reports) > 1 {
			dir = filepath.Join(root, fmt.Sprintf("target-%d", i+1))
		}
		files, err := r.WriteEvidence(dir)
		if err != nil {
			return err
		}
		replayable := 0
		for _, f := range files {
			if f.Why == "" {
				replayable++
				continue
			}
			fmt.Fprintf(e.stderr, "mqlab: evidence of %s under MQTT %s: %s\n", f.Check, f.Version, f.Why)
		}
		fmt.Fprintf(e.stderr, "mqlab: evidence of %d failed checks in %s, %d as scenarios that tell the target from the baseline broker\n", len(files), dir, replayable)
	}
	return nil
}
