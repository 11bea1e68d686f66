package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
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
		Usage: "run, check and show scenario files",
		Description: describe(`A scenario is a YAML file of one of two kinds. An exchange is a conversation: packets to send and packets to
			expect on named connections; a failed conformance check can be written as one. A workload describes load: groups of clients, the
			phases of a run, and thresholds; mqlab load runs it, and a library of them is built in.`,
			"mqlab scenario run qos1.yaml",
			"mqlab scenario list"),
		Subcommands: []*cli.Command{
			scenarioRunCommand(e), scenarioListCommand(e), scenarioShowCommand(e), scenarioValidateCommand(e), scenarioSchemaCommand(e),
		},
	}
}

// exchangeFile is an exchange with the path it was read from.
type exchangeFile struct {
	path string
	*scenarios.Exchange
}

// scenarioFile is a scenario with the path it was read from, or the name of a built-in workload.
type scenarioFile struct {
	path string
	scenarios.Scenario
}

// readScenarios reads every file; the problems of all are reported together. Names of built-in workloads are files too
// where builtin says so.
func readScenarios(c *cli.Context, builtin bool) ([]scenarioFile, error) {
	if c.NArg() == 0 {
		return nil, usagef("scenario %s needs the FILE of a scenario", c.Command.Name)
	}
	var out []scenarioFile
	var problems []string
	for _, path := range c.Args().Slice() {
		s, err := readScenario(path, builtin)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", path, err))
			continue
		}
		out = append(out, scenarioFile{path, s})
	}
	if len(problems) > 0 {
		return out, usagef("%s", strings.Join(problems, "\n"))
	}
	return out, nil
}

func readScenario(path string, builtin bool) (scenarios.Scenario, error) {
	if builtin && slices.Contains(scenarios.Names(), path) {
		return scenarios.ByName(path)
	}
	s, err := scenarios.LoadFile(path)
	var missing *fs.PathError
	if !errors.As(err, &missing) {
		return s, err
	}
	err = missing.Err
	if builtin && errors.Is(err, fs.ErrNotExist) && filepath.Base(path) == path && filepath.Ext(path) == "" {
		if near := closest(path, scenarios.Names()); near != "" {
			return nil, fmt.Errorf("there is no such file, and no built-in workload of that name; did you mean %s?", near)
		}
		return nil, errors.New("there is no such file, and no built-in workload of that name; mqlab scenario list shows them")
	}
	return nil, err
}

// readExchanges reads every file as readScenarios does, and refuses workloads.
func readExchanges(c *cli.Context) ([]exchangeFile, error) {
	files, err := readScenarios(c, false)
	var out []exchangeFile
	for _, f := range files {
		x, ok := f.Scenario.(*scenarios.Exchange)
		if !ok {
			return nil, usagef("%s is a workload; run it with mqlab load %s", f.path, f.path)
		}
		out = append(out, exchangeFile{f.path, x})
	}
	return out, err
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
