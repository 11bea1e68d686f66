package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/loadgen"
)

// reportFormats are the forms of a conformance report. The first is the default.
var reportFormats = []string{"text", "json", "junit", "tap", "markdown", "html"}

// compareFormats are the forms of a comparison, of either kind. The first is the default.
var compareFormats = []string{"text", "json", "markdown", "html"}

// showFormats are the forms of a saved result of any kind.
var showFormats = []string{"text", "json", "csv", "junit", "tap", "markdown", "html"}

func reportCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "report",
		Usage: "show saved results again, or several side by side",
		Description: describe(`What mqlab conformance --json FILE or mqlab load --json FILE has saved holds everything: show writes it in any
			other form, compare sets several of one kind side by side. The target is not asked again.`,
			"mqlab report show report.json --html report.html",
			"mqlab report compare mosquitto.json emqx.json"),
		Subcommands: []*cli.Command{reportShowCommand(e), reportCompareCommand(e)},
	}
}

func reportShowCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "show",
		Usage: "write a saved result in another form",
		Description: describe(`Writes the conformance report or the load result in FILE, a dash for standard input, as text or in another form, as
			the run itself would have done. Flags such as --html write further forms into files in one go; when only those are
			asked for, nothing goes to standard output. The exit code says whether it could be written, not what the result says.`,
			"mqlab report show report.json --format markdown",
			"mqlab report show report.json --html report.html",
			"mqlab report show load.json --csv seconds.csv --hgrm percentiles"),
		ArgsUsage: "FILE",
		Flags: append(fileFlags(showFormats),
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show every check that the report has a transcript of"},
			&cli.StringFlag{Name: "hgrm", Usage: "write the percentiles of a load result to `FILE`.hgrm, or one file for each metric to a folder"},
			formatFlag(showFormats...), outputFlag()),
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return usagef("report show needs one FILE, which mqlab conformance --json FILE or mqlab load --json FILE has written")
			}
			s, err := e.readSaved(c.Args().First())
			if err != nil {
				return err
			}
			if s.load != nil {
				if err := refuseForms(c, "a load result", loadFormats); err != nil {
					return err
				}
				return errors.Join(e.writeForms(c, loadFormats, loadForms(s.load), true, "hgrm"), writePercentiles(c.String("hgrm"), s.load))
			}
			if err := refuseForms(c, "a conformance report", reportFormats); err != nil {
				return err
			}
			if c.IsSet("hgrm") {
				return usagef("--hgrm: a conformance report holds no percentiles")
			}
			if n := len(s.reports); n != 1 {
				return usagef("%s holds %d reports; mqlab report compare shows them side by side", c.Args().First(), n)
			}
			return e.writeForms(c, reportFormats, reportForms(s.reports[0], c.Bool("verbose")), true)
		},
	}
}

// refuseForms refuses the forms that this kind of result does not have.
func refuseForms(c *cli.Context, kind string, formats []string) error {
	for _, f := range showFormats {
		if !slices.Contains(formats, f) && (c.String("format") == f || c.String(f) != "") {
			return usagef("%s has no form %q; it has %s", kind, f, strings.Join(formats, ", "))
		}
	}
	return nil
}

func reportCompareCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "compare",
		Usage: "set saved results side by side",
		Description: describe(`Sets the results in each FILE side by side, all of one kind. Conformance reports are compared rule by rule: the rules
			on which the targets differ first, then those that all of them break; text shows the other rules with --verbose only. Load
			results are compared figure by figure, with ratios to the first of them. Targets go by their names or, where they have none, by
			the names of the files; --label overrules both, once for each target in their order.`,
			"mqlab report compare old.json new.json",
			"mqlab report compare old.json new.json --label before --label after --html compare.html"),
		ArgsUsage: "FILE...",
		Flags: append(fileFlags(compareFormats),
			&cli.StringSliceFlag{Name: "label", Usage: "call the next target `NAME`; may be repeated"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show the rules on which all agree as well"},
			formatFlag(compareFormats...), outputFlag()),
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return usagef("report compare needs files that mqlab conformance --json FILE or mqlab load --json FILE has written")
			}
			var reports []*conformance.Report
			var loads []*loadgen.Result
			var labels []string
			for _, file := range c.Args().Slice() {
				s, err := e.readSaved(file)
				if err != nil {
					return err
				}
				base := ""
				if file != "-" {
					base = strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
				}
				if s.load != nil {
					loads = append(loads, s.load)
					labels = append(labels, base)
				}
				for _, r := range s.reports {
					label := r.Name
					if label == "" && len(s.reports) == 1 {
						label = base
					}
					reports = append(reports, r)
					labels = append(labels, label)
				}
				if len(reports) > 0 && len(loads) > 0 {
					return usagef("%s is of another kind than the files before it: conformance reports and load results cannot be compared with one another", file)
				}
			}
			n := len(reports) + len(loads)
			if n < 2 {
				return usagef("report compare needs two reports or more; mqlab report show shows a single one")
			}
			given := c.StringSlice("label")
			if len(given) > n {
				return usagef("there are %d labels for %d reports", len(given), n)
			}
			copy(labels, given)
			if len(loads) > 0 {
				return e.writeForms(c, compareFormats, loadComparisonForms(loadgen.Compare(loads, labels)), true)
			}
			return e.writeForms(c, compareFormats, comparisonForms(conformance.Compare(reports, labels), c.Bool("verbose")), true)
		},
	}
}

// saved is what a file holds: conformance reports or a load result.
type saved struct {
	reports []*conformance.Report
	load    *loadgen.Result
}

// readSaved reads a file, or standard input, and finds out what it holds.
func (e *env) readSaved(file string) (saved, error) {
	in := e.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return saved{}, usagef("read the report: %w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return saved{}, fmt.Errorf("read the report %s: %w", file, err)
	}
	var s saved
	var head struct {
		Format string `json:"format"`
	}
	// What is no object, or has no format, is told by the reader of reports.
	if json.Unmarshal(text, &head) == nil && strings.HasPrefix(head.Format, "mqlab-load/") {
		s.load, err = loadgen.ReadResult(bytes.NewReader(text))
	} else {
		s.reports, err = conformance.ReadReports(bytes.NewReader(text))
	}
	if err != nil {
		return saved{}, usagef("read the report %s: %w", file, err)
	}
	return s, nil
}

func loadComparisonForms(c *loadgen.Comparison) map[string]form {
	return map[string]form{
		"text":     func(out output) error { return c.WriteText(out, out.ui, out.width) },
		"json":     func(out output) error { return c.WriteJSON(out) },
		"markdown": func(out output) error { return c.WriteMarkdown(out) },
		"html":     func(out output) error { return c.WriteHTML(out) },
	}
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
	names := map[string]string{"json": "JSON", "csv": "CSV, one line a second,", "junit": "JUnit XML", "tap": "TAP", "markdown": "Markdown", "html": "a self-contained HTML page"}
	var flags []cli.Flag
	for _, f := range formats {
		if f != "text" {
			flags = append(flags, &cli.StringFlag{Name: f, Usage: "write the result as " + names[f] + " to `FILE` as well"})
		}
	}
	return flags
}

// writeForms writes the result as --format and --output say, and into the files that fileFlags name. With
// quiet, those files are all that is written where nothing asks for more; so are the files that others, the names of further flags, ask for.
func (e *env) writeForms(c *cli.Context, formats []string, forms map[string]form, quiet bool, others ...string) error {
	format, err := oneOf("format", c.String("format"), formats...)
	if err != nil {
		return err
	}
	var errs []error // one file that cannot be written must not cost the others
	files := 0
	for _, name := range others {
		if c.String(name) != "" {
			files++
		}
	}
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
