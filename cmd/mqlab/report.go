package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/conformance"
)

// The forms of a conformance report and of a comparison. The first is the default.
var (
	reportFormats  = []string{"text", "json", "junit", "tap", "markdown", "html"}
	compareFormats = []string{"text", "json", "markdown", "html"}
)

func reportCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "report",
		Usage: "show saved conformance reports again, or several side by side",
		Description: describe(`A report that mqlab conformance --json FILE has saved holds everything: show writes it in any other form,
			compare sets several of them side by side. The target is not asked again.`,
			"mqlab report show report.json --html report.html",
			"mqlab report compare mosquitto.json emqx.json"),
		Subcommands: []*cli.Command{reportShowCommand(e), reportCompareCommand(e)},
	}
}

func reportShowCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "show",
		Usage: "write a saved conformance report in another form",
		Description: describe(`Writes the report in FILE, a dash for standard input, as text or in another form, as the run itself would have done.
			Flags such as --html write further forms into files in one go; when only those are
			asked for, nothing goes to standard output. The exit code says whether it could be written, not what the report says.`,
			"mqlab report show report.json --format markdown",
			"mqlab report show report.json --html report.html"),
		ArgsUsage: "FILE",
		Flags: append(fileFlags(reportFormats),
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show every check that the report has a transcript of"},
			formatFlag(reportFormats...), outputFlag()),
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return usagef("report show needs one FILE, which mqlab conformance --json FILE has written")
			}
			list, err := e.readReports(c.Args().First())
			if err != nil {
				return err
			}
			if len(list) != 1 {
				return usagef("%s holds %d reports; mqlab report compare shows them side by side", c.Args().First(), len(list))
			}
			return e.writeForms(c, reportFormats, reportForms(list[0], c.Bool("verbose")), true)
		},
	}
}

func reportCompareCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "compare",
		Usage: "set saved conformance reports side by side, rule by rule",
		Description: describe(`Sets the reports in each FILE side by side: the rules on which the targets differ first, then those that all
			of them break. Targets go by their names or, where they have none, by the names of the files; --label overrules
			both, once for each target in their order. Text shows the other rules with --verbose only.`,
			"mqlab report compare old.json new.json",
			"mqlab report compare old.json new.json --label before --label after --html compare.html"),
		ArgsUsage: "FILE...",
		Flags: append(fileFlags(compareFormats),
			&cli.StringSliceFlag{Name: "label", Usage: "call the next target `NAME`; may be repeated"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show the rules on which all agree as well"},
			formatFlag(compareFormats...), outputFlag()),
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return usagef("report compare needs files that mqlab conformance --json FILE has written")
			}
			var reports []*conformance.Report
			var labels []string
			for _, file := range c.Args().Slice() {
				list, err := e.readReports(file)
				if err != nil {
					return err
				}
				for _, r := range list {
					label := r.Name
					if label == "" && len(list) == 1 && file != "-" {
						label = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
					}
					reports = append(reports, r)
					labels = append(labels, label)
				}
			}
			if len(reports) < 2 {
				return usagef("report compare needs two reports or more; mqlab report show shows a single one")
			}
			given := c.StringSlice("label")
			if len(given) > len(reports) {
				return usagef("there are %d labels for %d reports", len(given), len(reports))
			}
			copy(labels, given)
			cmp := conformance.Compare(reports, labels)
			return e.writeForms(c, compareFormats, comparisonForms(cmp, c.Bool("verbose")), true)
		},
	}
}

// readReports reads the reports of a file, or of standard input.
func (e *env) readReports(file string) ([]*conformance.Report, error) {
	in := e.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usagef("read the report: %w", err)
		}
		defer f.Close()
		in = f
	}
	list, err := conformance.ReadReports(in)
	if err != nil {
		return nil, usagef("read the report %s: %w", file, err)
	}
	return list, nil
}

// form writes a result in one form.
type form func(output) error

// reportForms are the forms of one report, by the names of their formats.
func reportForms(r *conformance.Report, verbose bool) map[string]form {
	return map[string]form{
		"text": func(out output) error {
			return r.WriteText(out, out.ui, conformance.TextOptions{Width: out.width, Verbose: verbose})
		},
		"json":     func(out output) error { return r.WriteJSON(out) },
		"junit":    func(out output) error { return r.WriteJUnit(out) },
		"tap":      func(out output) error { return r.WriteTAP(out) },
		"markdown": func(out output) error { return r.WriteMarkdown(out) },
		"html":     func(out output) error { return r.WriteHTML(out) },
	}
}

func comparisonForms(c *conformance.Comparison, verbose bool) map[string]form {
	return map[string]form{
		"text": func(out output) error {
			return c.WriteText(out, out.ui, conformance.TextOptions{Width: out.width, Verbose: verbose})
		},
		"json":     func(out output) error { return c.WriteJSON(out) },
		"markdown": func(out output) error { return c.WriteMarkdown(out) },
		"html":     func(out output) error { return c.WriteHTML(out) },
	}
}

// fileFlags are the flags that write further forms of a result into files, one for each format but text.
func fileFlags(formats []string) []cli.Flag {
	names := map[string]string{"json": "JSON", "junit": "JUnit XML", "tap": "TAP", "markdown": "Markdown", "html": "a self-contained HTML page"}
	var flags []cli.Flag
	for _, f := range formats {
		if f != "text" {
			flags = append(flags, &cli.StringFlag{Name: f, Usage: "write the result as " + names[f] + " to `FILE` as well"})
		}
	}
	return flags
}

// writeForms writes the result as --format and --output say, and into the files that fileFlags name. With
// quiet, those files are all that is written where nothing asks for more.
func (e *env) writeForms(c *cli.Context, formats []string, forms map[string]form, quiet bool) error {
	format, err := oneOf("format", c.String("format"), formats...)
	if err != nil {
		return err
	}
	var errs []error // one file that cannot be written must not cost the others
	files := 0
	for _, f := range formats {
		path := ""
		if f != "text" {
			path = c.String(f)
		}
		if path == "" {
			continue
		}
		files++
		errs = append(errs, e.writeResult(path, forms[f]))
	}
	if quiet && files > 0 && !c.IsSet("format") && !c.IsSet("output") {
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, e.writeResult(c.String("output"), forms[format]))...)
}
