package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/ui"
)

func rulesCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "rules",
		Usage: "list what MQTT demands, rule by rule",
		Description: describe(`Lists the normative statements of MQTT 3.1.1 and 5.0 that checks, lint and fuzz oracles name
			by their ids: whom a rule binds, how strongly, and whose breach can be seen on the wire. Filters
			add up; a filter that takes a list lets any of its words pass. An id may stand in both versions and mean another thing in each.`,
			"mqlab rules --mqtt 5 --run 'MQTT-3.3*'",
			"mqlab rules --probe none --format json"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "mqtt", Usage: "only rules of these `VERSIONS`: 3.1.1, 5 or 3.1.1,5"},
			&cli.StringSliceFlag{Name: "run", Usage: "only ids that match `GLOB`, with * and ?; several are separated by commas"},
			&cli.StringFlag{Name: "subject", Usage: "only rules that bind these `SIDES`: server, client, both"},
			&cli.StringFlag{Name: "level", Usage: "only rules of these `LEVELS`: MUST, SHOULD, MAY"},
			&cli.StringFlag{Name: "probe", Usage: "only rules whose breach a wire test of these `SIDES` can see: server, client, both, none"},
			&cli.StringFlag{Name: "grep", Usage: "only rules whose section or wording holds `TEXT`, in any case"},
			formatFlag("text", "json", "tsv"), outputFlag(),
		},
		Subcommands: []*cli.Command{rulesShowCommand(e)},
		Action: func(c *cli.Context) error {
			format, err := oneOf("format", c.String("format"), "text", "json", "tsv")
			if err != nil {
				return err
			}
			list, err := filterRules(rules.All(), c)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return usagef("no rule passes these filters; mqlab rules without filters lists them all")
			}
			err = e.writeResult(c.String("output"), func(out output) error {
				switch format {
				case "json":
					return writeJSON(out, list)
				case "tsv":
					return writeRulesTSV(out, list)
				}
				_, err := fmt.Fprint(out, rulesTable(out.ui, out.width, list))
				return err
			})
			if err == nil && format == "text" && e.isTTY {
				fmt.Fprintf(e.stderr, "%s rules; mqlab rules show ID says all about one\n", ui.Count(int64(len(list))))
			}
			return err
		},
	}
}

func rulesShowCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "show",
		Usage: "show all that is known about rules",
		Description: describe(`Shows the whole row of each ID, in every version that has it: the rule, what a test sends, every outcome
			that passes, and what a breach looks like. The prefix MQTT- may be left out, and an ID may be
			a glob with * and ?.`,
			"mqlab rules show MQTT-3.3.1-4",
			"mqlab rules show --mqtt 5 '3.14.*' --format json"),
		ArgsUsage: "ID...",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "mqtt", Usage: "only rules of these `VERSIONS`: 3.1.1, 5 or 3.1.1,5"},
			formatFlag("text", "json", "tsv"), outputFlag(),
		},
		Action: func(c *cli.Context) error {
			format, err := oneOf("format", c.String("format"), "text", "json", "tsv")
			if err != nil {
				return err
			}
			if !c.Args().Present() {
				return usagef("rules show needs the ID of a rule, such as MQTT-3.3.1-4; mqlab rules lists them")
			}
			versions, err := versionsFlag(c)
			if err != nil {
				return err
			}
			list, err := findRules(rules.ByVersion(versions), c.Args().Slice())
			if err != nil {
				return err
			}
			return e.writeResult(c.String("output"), func(out output) error {
				switch format {
				case "json":
					return writeJSON(out, list)
				case "tsv":
					return writeRulesTSV(out, list)
				}
				for i, r := range list {
					if i > 0 {
						fmt.Fprintln(out)
					}
					fmt.Fprint(out, ruleText(out.ui, e.proseWidth(), r))
				}
				return nil
			})
		},
	}
}

func versionsFlag(c *cli.Context) (rules.Versions, error) {
	if !c.IsSet("mqtt") {
		return rules.AnyVersion, nil
	}
	v, err := rules.ParseVersions(c.String("mqtt"))
	if err != nil {
		return 0, usagef("--mqtt: %w", err)
	}
	return v, nil
}

// filterRules keeps what passes every filter of the command line. A filter that is not given lets all pass.
func filterRules(list []rules.Rule, c *cli.Context) ([]rules.Rule, error) {
	versions, err := versionsFlag(c)
	if err != nil {
		return nil, err
	}
	subjects, err := wordsFlag(c, "subject", rules.Subjects())
	if err != nil {
		return nil, err
	}
	levels, err := wordsFlag(c, "level", rules.Levels())
	if err != nil {
		return nil, err
	}
	probes, err := wordsFlag(c, "probe", rules.Probes())
	if err != nil {
		return nil, err
	}
	var globs []string
	for _, g := range c.StringSlice("run") {
		globs = append(globs, strings.Split(g, ",")...)
	}
	text := strings.ToLower(c.String("grep"))
	return slices.DeleteFunc(list, func(r rules.Rule) bool {
		return !versions.Has(r.Version) ||
			!slices.Contains(subjects, r.Subject) || !slices.Contains(levels, r.Level) || !slices.Contains(probes, r.Probe) ||
			len(globs) > 0 && !slices.ContainsFunc(globs, func(g string) bool { return rules.Match(strings.TrimSpace(g), r.ID) }) ||
			!strings.Contains(strings.ToLower(r.Section+"\n"+r.Text), text)
	}), nil
}

// wordsFlag reads a flag that holds known words separated by commas; all of them when it is not given.
func wordsFlag[T ~string](c *cli.Context, name string, known []T) ([]T, error) {
	if !c.IsSet(name) {
		return known, nil
	}
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = string(k)
	}
	var out []T
	for word := range strings.SplitSeq(c.String(name), ",") {
		k, err := oneOf(name, strings.TrimSpace(word), names...)
		if err != nil {
			return nil, err
		}
		out = append(out, T(k))
	}
	return out, nil
}

// findRules returns the rules that the ids name, in the order of the ids, and each only once.
func findRules(list []rules.Rule, ids []string) ([]rules.Rule, error) {
	var out []rules.Rule
	for _, id := range ids {
		found := false
		for _, r := range list {
			if !rules.Match(id, r.ID) && !rules.Match("MQTT-"+id, r.ID) {
				continue
			}
			found = true
			if !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
		if found {
			continue
		}
		var known []string
		for _, r := range list {
			known = append(known, r.ID)
		}
		if near := closest(id, known); near != "" {
			return nil, usagef("no rule %q in these versions; did you mean %s?", id, near)
		}
		return nil, usagef("no rule %q in these versions; mqlab rules lists them", id)
	}
	return out, nil
}

func rulesTable(u *ui.UI, width int, list []rules.Rule) string {
	// The id is never shortened: it is what one copies.
	columns := []ui.Column{{Title: "MQTT"}, {Title: "ID"}, {Title: "BINDS"}, {Title: "LEVEL"}, {Title: "PROBE"}, {Title: "RULE", Flex: true, Min: 20}}
	rows := make([][]string, len(list))
	for i, r := range list {
		rows[i] = []string{r.Version.String(), r.ID, string(r.Subject), string(r.Level), string(r.Probe), r.Text}
	}
	return u.Table(width, columns, rows)
}

// ruleText is all about one rule, wrapped to width.
func ruleText(u *ui.UI, width int, r rules.Rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  MQTT %s, section %s\n", u.Strong(r.ID), r.Version, r.Section)
	fmt.Fprintf(&b, "binds %s, %s, breach visible for: %s\n", r.Subject, r.Level, r.Probe)
	const indent = 10
	for _, part := range []struct{ name, text string }{
		{"Rule", r.Text},
		{"Send", r.Stimulus},
		{"Pass", r.Pass},
		{"Fail", r.Fail},
		{"No probe", r.WhyNone},
	} {
		if part.text == "" {
			continue
		}
		fmt.Fprintf(&b, "%s%s\n", u.Code(ui.Pad(part.name, indent)), strings.TrimLeft(ui.Wrap(part.text, width, indent), " "))
	}
	return b.String()
}

func writeRulesTSV(out output, list []rules.Rule) error {
	if _, err := fmt.Fprintln(out, strings.Join([]string{"mqtt", "id", "section", "subject", "level", "probe", "rule", "stimulus", "pass", "fail", "why_none"}, "\t")); err != nil {
		return err
	}
	for _, r := range list {
		// The registry holds no tabs and no line breaks, so cells need no quoting.
		row := []string{r.Version.String(), r.ID, r.Section, string(r.Subject), string(r.Level), string(r.Probe), r.Text, r.Stimulus, r.Pass, r.Fail, r.WhyNone}
		if _, err := fmt.Fprintln(out, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return nil
}
