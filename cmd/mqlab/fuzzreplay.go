package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/fuzz"
	"github.com/mqlab/mqlab/internal/ui"
)

// fuzzSubcommands are the commands about what was found, and about what else can be fuzzed.
func fuzzSubcommands(e *env) []*cli.Command {
	return []*cli.Command{fuzzReplayCommand(e), fuzzMinimizeCommand(e), fuzzShowCommand(e), fuzzImportCommand(e), fuzzClientCommand(e), fuzzSelfCommand(e)}
}

// fuzzScript reads the script that is the command's only argument.
func fuzzScript(c *cli.Context) (*fuzz.Script, error) {
	if c.NArg() != 1 {
		return nil, usagef("fuzz %s needs the FILE of one script", c.Command.Name)
	}
	return readFuzzScript(c.Args().First())
}

func readFuzzScript(file string) (*fuzz.Script, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, usagef("read the script: %w", err)
	}
	defer f.Close()
	s, err := fuzz.ReadScript(f)
	if err != nil {
		return nil, usagef("%s: %w", file, err)
	}
	return s, nil
}

func fuzzReplayCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "replay",
		Usage: "run the script of a finding again",
		Description: describe(`Runs a script, each time on a fresh start of a broker that --cmd starts, and looks with every oracle. The exit code is
			1 where the trouble that the file names comes back, or any where it names none, and 0 where it does not: a fixed bug stays fixed.`,
			"mqlab fuzz replay findings/died-1f0a93c2.txt --cmd 'mosquitto -p {port}'",
			"mqlab fuzz replay findings/died-1f0a93c2.txt --target mqtt://127.0.0.1:1883 --replays 1"),
		ArgsUsage: "FILE",
		Flags: append(fuzzTargetFlags(),
			&cli.IntFlag{Name: "replays", Value: 3, Usage: "run it `N` times"},
			&cli.StringFlag{Name: "out", Usage: "write a script, a scenario and a page about what comes back to `DIR`"},
			formatFlag("text", "json"), outputFlag(),
		),
		Action: func(c *cli.Context) error {
			s, cfg, stop, err := e.fuzzAgain(c)
			if err != nil {
				return err
			}
			defer stop()
			found, err := fuzz.Replay(e.ctx, cfg, s)
			if err != nil {
				return err
			}
			if err := writeFindings(e, c, found); err != nil {
				return err
			}
			for _, x := range found {
				if s.Oracle == "" && !x.Warn || s.Oracle == x.Oracle && s.Signature == x.Signature || s.Oracle == fuzz.OracleHang && x.Oracle == fuzz.OracleHang {
					return exitWith(exitNo, nil)
				}
			}
			return nil
		},
	}
}

// fuzzAgain is what replay and minimize begin with: the script, and the target to run it on until stop.
func (e *env) fuzzAgain(c *cli.Context) (s *fuzz.Script, cfg fuzz.Config, stop func(), err error) {
	if s, err = fuzzScript(c); err != nil {
		return nil, cfg, nil, err
	}
	if _, err = oneOf("format", c.String("format"), "text", "json"); err != nil {
		return nil, cfg, nil, err
	}
	cfg, stop, err = e.fuzzConfig(c)
	return s, cfg, stop, err
}

// writeFindings writes what came back, or that nothing did.
func writeFindings(e *env, c *cli.Context, found []*fuzz.Finding) error {
	if found == nil {
		found = []*fuzz.Finding{}
	}
	return e.writeForms(c, []string{"text", "json"}, map[string]form{
		"json": func(out output) error { return writeJSON(out, found) },
		"text": func(out output) error {
			for _, x := range found {
				if err := writeFindingText(out, x, !x.Warn); err != nil {
					return err
				}
			}
			if len(found) == 0 {
				_, err := fmt.Fprintf(out, "%s nothing came back\n", out.ui.Verdict(ui.Pass))
				return err
			}
			return nil
		},
	}, false)
}

func fuzzMinimizeCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "minimize",
		Usage: "make the script of a finding smaller",
		Description: describe(`Leaves out connections, packets, repetitions, fields and bytes of a script for as long as the same trouble comes back,
			confirms what is left on fresh starts and writes it. The exit code is 1 where the trouble came back, 0 where it did not.`,
			"mqlab fuzz minimize findings/died-1f0a93c2.txt --cmd 'mosquitto -p {port}' --out small",
			"mqlab fuzz minimize findings/died-1f0a93c2.txt --cmd 'mosquitto -p {port}' --minimize-time 5m"),
		ArgsUsage: "FILE",
		Flags: append(append(fuzzTargetFlags(), fuzzReplayFlags()...),
			&cli.StringFlag{Name: "out", Usage: "write the script, a scenario and a page about it to `DIR`"},
			formatFlag("text", "json"), outputFlag(),
		),
		Action: func(c *cli.Context) error {
			s, cfg, stop, err := e.fuzzAgain(c)
			if err != nil {
				return err
			}
			defer stop()
			x, err := fuzz.MinimiseFinding(e.ctx, cfg, s)
			if err != nil {
				return err
			}
			if x == nil {
				return writeFindings(e, c, nil)
			}
			if err := writeFindings(e, c, []*fuzz.Finding{x}); err != nil {
				return err
			}
			return exitWith(exitNo, nil)
		},
	}
}

func fuzzShowCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "show",
		Usage: "say in words what a script does",
		Description: describe(`Lists the steps of a script: connections, packets, what was edited about them. Nothing is sent. With --format script the
			file is written again with each packet explained beside its bytes.`,
			"mqlab fuzz show findings/died-1f0a93c2.txt",
			"mqlab fuzz show corpus/0a2b4c6d8e0f1a3b.txt --format script"),
		ArgsUsage: "FILE",
		Flags:     []cli.Flag{formatFlag("text", "script"), outputFlag()},
		Action: func(c *cli.Context) error {
			s, err := fuzzScript(c)
			if err != nil {
				return err
			}
			return e.writeForms(c, []string{"text", "script"}, map[string]form{
				"script": func(out output) error { _, err := fmt.Fprint(out, s.Text()); return err },
				"text": func(out output) error {
					if s.Oracle != "" {
						fmt.Fprintf(out, "brings about %s: %s\n", s.Oracle, ui.Printable(s.Signature))
					}
					fmt.Fprintf(out, "MQTT %s, %d steps\n", s.Version, len(s.Steps))
					for _, line := range s.Describe() {
						if _, err := fmt.Fprintf(out, "  %s\n", ui.Truncate(ui.Printable(line), max(out.width-2, 0))); err != nil {
							return err
						}
					}
					return nil
				},
			}, false)
		},
	}
}
