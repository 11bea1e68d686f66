package main

import (
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// commandLine is a command line taken apart: which command, its flags and its arguments.
type commandLine struct {
	path  []*cli.Command // from the root to the command that runs
	flags [][]string     // for each member of path, its flags with their values
	args  []string
	ended bool // "--" stood before the last arguments
	help  bool
}

// argv puts the line together again with every flag in front of the arguments: the library stops
// reading flags at the first argument, and would silently take later ones for arguments.
func (l *commandLine) argv() []string {
	var out []string
	for i, c := range l.path {
		out = append(out, c.Name)
		out = append(out, l.flags[i]...)
	}
	if l.ended {
		out = append(out, "--")
	}
	return append(out, l.args...)
}

// parseLine finds the command, its flags wherever they stand before "--", and its arguments. It refuses
// what is unknown, with the nearest known word, so that nothing on a command line is ever ignored.
func parseLine(root *cli.Command, words []string) (*commandLine, error) {
	l := &commandLine{path: []*cli.Command{root}}
	type given struct {
		name  string
		words []string
	}
	var flags []given
	for i := 0; i < len(words); i++ {
		word := words[i]
		here := l.path[len(l.path)-1]
		switch {
		case word == "--":
			l.ended = true
			l.args = append(l.args, words[i+1:]...)
			i = len(words)
		case len(word) > 1 && word[0] == '-':
			name, _, inline := strings.Cut(strings.TrimPrefix(word[1:], "-"), "=")
			switch {
			case name == "help":
				l.help = true
				continue
			case here == root && len(l.args) == 0 && word == "--version" && root.Command("version") != nil:
				l.path = append(l.path, root.Command("version")) // a habit from other programs
				continue
			}
			f := findFlag(l.path, name)
			if f == nil {
				f = flagBelow(here, name)
			}
			if f == nil {
				return nil, unknownFlag(l.path, word, name)
			}
			g := given{name, []string{word}}
			if takesValue(f) && !inline {
				if i++; i == len(words) {
					return nil, usagef("flag %s needs a value; %s --help says which", word, pathName(l.path))
				}
				g.words = append(g.words, words[i])
			}
			flags = append(flags, g)
		case len(l.args) == 0 && here.Command(word) != nil:
			l.path = append(l.path, here.Command(word))
		default:
			l.args = append(l.args, word)
		}
	}
	l.flags = make([][]string, len(l.path))
	if l.help {
		return l, nil
	}
	if err := l.checkArgs(); err != nil {
		return nil, err
	}
	// A flag may stand before the name of the subcommand it belongs to, so flags find
	// their owner when the path is known: the last command on it that has them.
	set := map[cli.Flag]bool{}
	for _, g := range flags {
		owner := len(l.path) - 1
		for owner >= 0 && findFlag(l.path[owner:owner+1], g.name) == nil {
			owner--
		}
		if owner < 0 {
			return nil, unknownFlag(l.path, g.words[0], g.name)
		}
		l.flags[owner] = append(l.flags[owner], g.words...)
		set[findFlag(l.path[owner:owner+1], g.name)] = true
	}
	for _, c := range l.path {
		for _, f := range c.Flags {
			if isRequired(f) && !set[f] && !fromEnv(f) {
				return nil, usagef("%s needs the flag %s", pathName(l.path), dashed(f.Names()[0]))
			}
		}
	}
	return l, nil
}

// checkArgs refuses arguments where the command has none: most often they are misspelt subcommands.
func (l *commandLine) checkArgs() error {
	c := l.path[len(l.path)-1]
	name := pathName(l.path)
	if len(l.args) == 0 {
		if c.Action == nil {
			return usagef("%s needs a command: %s; %s --help says what they do", name, subcommandNames(c), name)
		}
		return nil
	}
	if c.ArgsUsage != "" {
		return nil
	}
	var known []string
	for _, sub := range c.Subcommands {
		if !sub.Hidden {
			known = append(known, sub.Names()...)
		}
	}
	word := l.args[0]
	if near := closest(word, known); near != "" {
		return usagef("unknown command %q; did you mean \"%s %s\"?", word, name, near)
	}
	if c.Action == nil {
		return usagef("unknown command %q; %s --help lists the commands", word, name)
	}
	return usagef("%s takes no arguments, but got %q; %s --help says more", name, word, name)
}

func unknownFlag(path []*cli.Command, word, name string) error {
	word, _, _ = strings.Cut(word, "=")
	if name == "h" {
		return usagef("unknown flag -h; write %s --help for help", pathName(path))
	}
	known := []string{"help"}
	for _, c := range path {
		for _, f := range c.Flags {
			known = append(known, f.Names()...)
		}
	}
	if near := closest(name, known); near != "" {
		return usagef("unknown flag %s; did you mean %s?", word, dashed(near))
	}
	return usagef("unknown flag %s; %s --help lists the flags", word, pathName(path))
}

// findFlag returns the flag of the last command on the path that has one of this name, or nil.
func findFlag(path []*cli.Command, name string) cli.Flag {
	for _, c := range slices.Backward(path) {
		for _, f := range c.Flags {
			if slices.Contains(f.Names(), name) {
				return f
			}
		}
	}
	return nil
}

// flagBelow looks among the subcommands, for a flag that stands before the name of its command.
func flagBelow(c *cli.Command, name string) cli.Flag {
	for _, sub := range c.Subcommands {
		if f := findFlag([]*cli.Command{sub}, name); f != nil {
			return f
		}
		if f := flagBelow(sub, name); f != nil {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

func fromEnv(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && slices.ContainsFunc(d.GetEnvVars(), func(name string) bool { return os.Getenv(name) != "" })
}

func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func pathName(path []*cli.Command) string {
	names := make([]string, len(path))
	for i, c := range path {
		names[i] = c.Name
	}
	return strings.Join(names, " ")
}

func subcommandNames(c *cli.Command) string {
	var names []string
	for _, sub := range c.Subcommands {
		if !sub.Hidden {
			names = append(names, sub.Name)
		}
	}
	return strings.Join(names, ", ")
}
