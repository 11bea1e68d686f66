// Command mqlab is a bench on which any MQTT broker, client or capture can be examined. This package
// turns command lines into calls of the instruments and their results into text; it knows no protocol.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"github.com/charmbracelet/x/term"
	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/cmd/mqlab/noquery"
	"github.com/mqlab/mqlab/internal/ui"
)

// commands are the commands of the program, in the order in which help lists them.
func commands(e *env) []*cli.Command {
	return []*cli.Command{
		conformanceCommand(e),
		loadCommand(e),
		fuzzCommand(e),
		pubCommand(e),
		subCommand(e),
		reportCommand(e),
		brokerCommand(e),
		pcapCommand(e),
		scenarioCommand(e),
		rulesCommand(e),
		helpCommand(e),
		versionCommand(e),
	}
}

func main() { os.Exit(run(os.Args, systemEnv())) }

// env is what a command knows of the world around it; tests supply another one.
type env struct {
	ctx            context.Context // ends when the user interrupts; lives as long as the program
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	isTTY          bool // stdout is a terminal
	errTTY         bool // stderr is a terminal
	width          int  // cells in a line of the terminal; 0: unknown, nothing has to be shortened

	program string // what starts this program once more; "" where it cannot be started, as in tests
}

func systemEnv() *env {
	noquery.Restore()
	e := &env{
		ctx:    context.Background(),
		stdin:  os.Stdin,
		stdout: os.Stdout, stderr: os.Stderr,
		getenv: os.Getenv,
		isTTY:  term.IsTerminal(os.Stdout.Fd()),
		errTTY: term.IsTerminal(os.Stderr.Fd()),
	}
	if file, err := os.Executable(); err == nil {
		e.program = file
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		e.width = n
	} else if w, _, err := term.GetSize(os.Stdout.Fd()); err == nil && e.isTTY {
		e.width = w
	}
	return e
}

// ui returns the styles of standard output.
func (e *env) ui() *ui.UI { return ui.New(e.stdout, e.isTTY, e.getenv) }

// proseWidth is where running text is wrapped: long lines are hard to read, however wide the terminal.
func (e *env) proseWidth() int {
	if e.width <= 0 {
		return 80
	}
	return min(max(e.width, 40), 100)
}

// run is the program: it returns the exit code and leaves nothing running.
func run(args []string, e *env) int {
	ctx, stop := signal.NotifyContext(e.ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks commands to end, with their partial result; the next one ends the program.
	defer context.AfterFunc(ctx, stop)()

	inner := *e
	inner.ctx = ctx
	return report(ctx, e.stderr, runCommand(args, &inner))
}

func runCommand(args []string, e *env) error {
	root := &cli.Command{Name: "mqlab", Subcommands: commands(e)}
	if len(args) < 2 {
		return usagef("mqlab needs a command: %s; mqlab --help says what they do", subcommandNames(root))
	}
	line, err := parseLine(root, args[1:])
	if err != nil {
		return err
	}
	if line.help {
		return printHelp(e, line.path)
	}
	disableHelpFlag()
	app := &cli.App{
		Name:     root.Name,
		Commands: root.Subcommands,
		Reader:   e.stdin, Writer: e.stdout, ErrWriter: e.stderr,
		HideHelp:                  true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // a topic or a property may hold commas
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usageError,
	}
	for _, c := range root.Subcommands {
		prepare(c)
	}
	return app.RunContext(e.ctx, line.argv())
}

// prepare takes from the library what parseLine and printHelp do instead.
func prepare(c *cli.Command) {
	c.HideHelp = true
	c.OnUsageError = usageError
	for _, sub := range c.Subcommands {
		prepare(sub)
	}
}

func usageError(c *cli.Context, err error, _ bool) error {
	return usagef("%s: %w; mqlab %s --help says more", c.Command.Name, err, c.Command.FullName())
}

// disableHelpFlag keeps the library from reading -h, which is a host to some commands, as a wish for help.
var disableHelpFlag = sync.OnceFunc(func() { cli.HelpFlag = nil })
