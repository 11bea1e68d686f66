package main

import (
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/internal/ui"
)

//go:embed docs/*.md
var manual embed.FS

const examplesTitle = "Examples:"

// describe joins the paragraph of a command's help and its examples, of which there are at least two. Line breaks
// and indents of the source are taken out of the paragraph; an empty line starts another one.
func describe(paragraph string, examples ...string) string {
	var b strings.Builder
	for p := range strings.SplitSeq(paragraph, "\n\n") {
		b.WriteString(strings.Join(strings.Fields(p), " ") + "\n\n")
	}
	b.WriteString(examplesTitle)
	for _, x := range examples {
		b.WriteString("\n  " + x)
	}
	return b.String()
}

// description takes apart what describe joined.
func description(c *cli.Command) (paragraphs []string, examples []string) {
	text, list, _ := strings.Cut(c.Description, examplesTitle)
	for p := range strings.SplitSeq(text, "\n\n") {
		if p = strings.TrimSpace(p); p != "" {
			paragraphs = append(paragraphs, p)
		}
	}
	for x := range strings.Lines(list) {
		if x = strings.TrimSpace(x); x != "" {
			examples = append(examples, x)
		}
	}
	return paragraphs, examples
}

const about = "mqlab is a bench on which any MQTT broker, client or capture can be examined."

func helpCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "help",
		Usage: "show a page of the manual",
		Description: describe(`Shows a page of the manual, which is part of the program and needs no network. Without
			a TOPIC it lists the commands and the pages. What a single command takes is said by its own --help.`,
			"mqlab help",
			"mqlab help rules"),
		ArgsUsage: "[TOPIC]",
		Action: func(c *cli.Context) error {
			root := &cli.Command{Name: "mqlab", Subcommands: commands(e)}
			topics := manualTopics()
			switch c.Args().Len() {
			case 0:
				return printHelp(e, []*cli.Command{root})
			case 1:
			default:
				return usagef("help shows one page at a time; name one of %s", strings.Join(topics, ", "))
			}
			topic := c.Args().First()
			if slices.Contains(topics, topic) {
				page, err := manual.ReadFile("docs/" + topic + ".md")
				if err != nil {
					return err
				}
				return e.writeResult("", func(out output) error {
					_, err := fmt.Fprint(out, renderManual(out.ui, e.proseWidth(), string(page)))
					return err
				})
			}
			if cmd := root.Command(topic); cmd != nil {
				return printHelp(e, []*cli.Command{root, cmd})
			}
			known := slices.Clone(topics)
			for _, cmd := range root.Subcommands {
				known = append(known, cmd.Names()...)
			}
			if near := closest(topic, known); near != "" {
				return usagef("no page about %q; did you mean %s?", topic, near)
			}
			return usagef("no page about %q; mqlab help lists the pages", topic)
		},
	}
}

// manualTopics are the pages of the manual in alphabetical order.
func manualTopics() []string {
	entries, _ := manual.ReadDir("docs") // embedded: it is there
	topics := make([]string, len(entries))
	for i, entry := range entries {
		topics[i] = strings.TrimSuffix(entry.Name(), ".md")
	}
	return topics
}

func printHelp(e *env, path []*cli.Command) error {
	return e.writeResult("", func(out output) error {
		_, err := fmt.Fprint(out, helpText(out.ui, e.proseWidth(), path))
		return err
	})
}

// helpText is the help of the last command on the path; a path of the root alone gives that of the program.
func helpText(u *ui.UI, width int, path []*cli.Command) string {
	var b strings.Builder
	c := path[len(path)-1]
	name := pathName(path)
	if len(path) == 1 {
		fmt.Fprintf(&b, "%s\n\n", ui.Wrap(about, width, 0))
	} else {
		fmt.Fprintf(&b, "%s\n\n", ui.Wrap(u.Strong(name)+" - "+c.Usage, width, 0))
	}

	usage := name
	if len(c.Flags) > 0 {
		usage += " [flags]"
	}
	if subcommandNames(c) != "" && c.Action == nil {
		usage += " COMMAND"
	}
	if c.ArgsUsage != "" {
		usage += " " + c.ArgsUsage
	}
	fmt.Fprintf(&b, "%s\n%s\n", u.Heading("Usage"), ui.Wrap(usage, width, 2))
	if subcommandNames(c) != "" && c.Action != nil {
		fmt.Fprintf(&b, "%s\n", ui.Wrap(name+" COMMAND", width, 2))
	}

	paragraphs, examples := description(c)
	for _, p := range paragraphs {
		fmt.Fprintf(&b, "\n%s\n", ui.Wrap(p, width, 0))
	}

	var subs [][2]string
	for _, sub := range c.Subcommands {
		if !sub.Hidden {
			subs = append(subs, [2]string{strings.Join(sub.Names(), ", "), sub.Usage})
		}
	}
	writePairs(&b, u, width, "Commands", subs)
	writePairs(&b, u, width, "Flags", flagPairs(c))
	if len(examples) > 0 {
		fmt.Fprintf(&b, "\n%s\n", u.Heading("Examples"))
		for _, x := range examples {
			fmt.Fprintf(&b, "  %s\n", u.Code(x)) // not wrapped: it is there to be copied
		}
	}
	if len(path) == 1 {
		fmt.Fprintf(&b, "\n%s\n%s\n", u.Heading("Manual"),
			ui.Wrap("mqlab help TOPIC, with a TOPIC of "+strings.Join(manualTopics(), ", "), width, 2))
		var codes [][2]string
		for _, x := range exitCodes {
			codes = append(codes, [2]string{strconv.Itoa(x.code), x.meaning})
		}
		writePairs(&b, u, width, "Exit codes", codes)
		fmt.Fprintf(&b, "\n%s\n", ui.Wrap("mqlab COMMAND --help says what a command takes.", width, 0))
	}
	return b.String()
}

// writePairs writes words on the left and what they mean, wrapped, on the right.
func writePairs(b *strings.Builder, u *ui.UI, width int, title string, pairs [][2]string) {
	if len(pairs) == 0 {
		return
	}
	left := 0
	for _, p := range pairs {
		left = max(left, ui.Width(p[0]))
	}
	left = min(left, width/2) + 4
	fmt.Fprintf(b, "\n%s\n", u.Heading(title))
	for _, p := range pairs {
		text := strings.TrimLeft(ui.Wrap(p[1], width, left), " ")
		head := "  " + p[0]
		if ui.Width(head)+2 > left { // too long to share a line with its text
			fmt.Fprintf(b, "%s\n%s\n", u.Code(head), strings.Repeat(" ", left)+text)
			continue
		}
		fmt.Fprintf(b, "%s%s\n", u.Code(head), strings.Repeat(" ", left-ui.Width(head))+text)
	}
}

func flagPairs(c *cli.Command) [][2]string {
	var pairs [][2]string
	for _, f := range c.Flags {
		if v, ok := f.(cli.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		d, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		names := make([]string, len(f.Names()))
		for i, n := range f.Names() {
			names[i] = dashed(n)
		}
		// Short names first, as people look for them.
		slices.SortStableFunc(names, func(a, b string) int { return min(len(a), 3) - min(len(b), 3) })
		head, text := strings.Join(names, ", "), d.GetUsage()
		if d.TakesValue() {
			value := "VALUE"
			if before, rest, ok := strings.Cut(text, "`"); ok {
				if quoted, after, ok := strings.Cut(rest, "`"); ok {
					value, text = quoted, before+quoted+after
				}
			}
			head += " " + value
			if def := d.GetDefaultText(); def != "" && def != `""` && !isRequired(f) {
				text += " (default " + strings.Trim(def, `"`) + ")"
			}
		}
		if s, ok := f.(cli.DocGenerationSliceFlag); ok && s.IsSliceFlag() {
			text += "; may be repeated"
		}
		if isRequired(f) {
			text += " (required)"
		}
		for _, name := range d.GetEnvVars() {
			text += " [$" + name + "]"
		}
		pairs = append(pairs, [2]string{head, text})
	}
	return pairs
}

func isRequired(f cli.Flag) bool {
	r, ok := f.(cli.RequiredFlag)
	return ok && r.IsRequired()
}
