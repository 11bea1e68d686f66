package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/internal/ui"
)

// manyTargetFlags are the target flags of a command that takes several targets, from flags or from a file.
func manyTargetFlags() []cli.Flag {
	flags := targetFlags()
	i := slices.IndexFunc(flags, func(f cli.Flag) bool { return f.Names()[0] == "target" })
	flags[i] = &cli.StringSliceFlag{
		Name: "target", Aliases: []string{"t"},
		Usage: "a broker's `URL`: mqtt:// mqtts:// ws:// wss:// unix://; without it the embedded broker",
	}
	return append(flags,
		&cli.StringFlag{Name: "target-file", Usage: "read what is known of the target, or of several, from `FILE` (YAML); flags overrule it"},
		&cli.StringFlag{Name: "cmd", Usage: "start the broker by `COMMAND`, with {port}, {ws_port} and {dir} filled in, and start it again when it dies"},
	)
}

// conformanceConfigs turns the flags and the target file into a configuration for each target.
func (e *env) conformanceConfigs(c *cli.Context) ([]conformance.Config, error) {
	urls := c.StringSlice("target")
	var cfgs []conformance.Config
	switch file := c.String("target-file"); {
	case file != "":
		targets, err := readTargetFile(file)
		if err != nil {
			return nil, err
		}
		if len(targets) > 1 && (len(urls) > 0 || c.String("cmd") != "") || len(urls) > 1 {
			return nil, usagef("--target and --cmd overrule a target file of one target only; %s has %d", file, len(targets))
		}
		for i := range targets {
			var cfg conformance.Config
			if err := targets[i].Apply(&cfg, filepath.Dir(file), e.getenv); err != nil {
				return nil, usagef("--target-file %s: %w", file, err)
			}
			if err := conformanceConfig(c, &cfg, strings.Join(urls, "")); err != nil {
				return nil, fmt.Errorf("--target-file %s: %w", file, err)
			}
			cfgs = append(cfgs, cfg)
		}
	default:
		if len(urls) == 0 {
			urls = []string{""}
		}
		for _, url := range urls {
			var cfg conformance.Config
			if err := conformanceConfig(c, &cfg, url); err != nil {
				return nil, err
			}
			cfgs = append(cfgs, cfg)
		}
	}
	if len(cfgs) > 1 {
		for _, flag := range []string{"cmd", "baseline", "write-baseline"} {
			if c.String(flag) != "" {
				return nil, usagef("--%s is about one target, and here are %d: write it into a target file", flag, len(cfgs))
			}
		}
	}
	return cfgs, nil
}

func readTargetFile(path string) ([]conformance.Target, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usagef("read the target file: %w", err)
	}
	defer f.Close()
	targets, err := conformance.ReadTargets(f)
	if err != nil {
		return nil, usagef("read the target file %s: %s", path, oneSentence(err))
	}
	return targets, nil
}

// oneSentence joins the lines of an error that lists several problems, and leaves out the excerpt
// that follows a place in a YAML file.
func oneSentence(err error) string {
	text := strings.TrimSpace(err.Error())
	if strings.HasPrefix(text, "[") {
		text, _, _ = strings.Cut(text, "\n")
	}
	return strings.ReplaceAll(text, "\n", "; ")
}

// readBaseline sets the findings that are expected.
func readBaseline(path string, cfg *conformance.Config) error {
	f, err := os.Open(path)
	if err != nil {
		return usagef("read the expected findings: %w", err)
	}
	defer f.Close()
	if cfg.Baseline, err = conformance.ReadBaseline(f); err != nil {
		return usagef("read the expected findings %s: %s", path, oneSentence(err))
	}
	return nil
}

// runTargets runs the suite on each target in turn. Of several targets one that cannot be tested
// does not cost the others: the error comes with the reports.
func (e *env) runTargets(cfgs []conformance.Config) ([]*conformance.Report, error) {
	var reports []*conformance.Report
	var errs []error
	for _, cfg := range cfgs {
		line := ui.NewLine(e.stderr, e.errTTY)
		cfg.Events = func(ev conformance.Event) {
			line.Set(ui.New(e.stderr, e.errTTY, e.getenv).Progress(max(e.width, 60), "checks", int64(ev.Number), int64(ev.Total), ev.Check))
		}
		rep, err := conformance.Run(e.ctx, cfg)
		line.Clear()
		if err != nil {
			if len(cfgs) > 1 {
				err = fmt.Errorf("%s: %w", labelOf(cfg), err)
			}
			errs = append(errs, err)
			continue
		}
		reports = append(reports, rep)
		if e.ctx.Err() != nil {
			break
		}
	}
	return reports, errors.Join(errs...)
}

// labelOf names a target before there is a report.
func labelOf(cfg conformance.Config) string {
	for _, s := range []string{cfg.Name, cfg.Target, cfg.Cmd} {
		if s != "" {
			return s
		}
	}
	return "embedded broker"
}

// severalForms are the forms of reports on several targets: as text each report and then the
// rules side by side, as JSON the list of reports, else the comparison alone.
func severalForms(reports []*conformance.Report, verbose bool) map[string]form {
	cmp := conformance.Compare(reports, nil)
	forms := comparisonForms(cmp, verbose)
	forms["json"] = func(out output) error { return writeJSON(out, reports) }
	side := forms["text"]
	forms["text"] = func(out output) error {
		for _, r := range reports {
			if err := reportForms(r, verbose)["text"](out); err != nil {
				return err
			}
			if _, err := fmt.Fprintln(out); err != nil {
				return err
			}
		}
		return side(out)
	}
	for _, format := range []string{"junit", "tap"} {
		forms[format] = func(output) error {
			return usagef("%s holds one target: run mqlab conformance once for each, or choose another format", format)
		}
	}
	return forms
}

// writeReports writes the reports in every form that is asked for, and the findings as a list of
// expected ones.
func (e *env) writeReports(c *cli.Context, reports []*conformance.Report) error {
	var forms map[string]form
	switch len(reports) {
	case 0:
		return nil
	case 1:
		forms = reportForms(reports[0], c.Bool("verbose"))
	default:
		forms = severalForms(reports, c.Bool("verbose"))
	}
	err := e.writeForms(c, reportFormats, forms, false)
	if path := c.String("write-baseline"); path != "" {
		err = errors.Join(err, e.writeResult(path, func(out output) error { return reports[0].Baseline().Write(out) }))
	}
	return err
}

// verdictOf is the exit code of reports as an error: the worst of them.
func verdictOf(reports []*conformance.Report) error {
	if slices.ContainsFunc(reports, func(r *conformance.Report) bool { return !r.OK() }) {
		return exitWith(exitNo, nil)
	}
	return nil
}
