package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/term"

	"github.com/mqlab/mqlab/internal/ui"
	"github.com/mqlab/mqlab/loadgen"
)

// live shows a run while it goes on: as a picture on a terminal, as a line a second elsewhere, or not at all.
type live struct {
	lines   io.Writer // nil: no lines
	program *tea.Program
	ended   chan struct{}
	quit    bool // the user stopped the run with a key; valid after end
}

// startLive prepares the view on standard error, which is where talk goes. stop ends the run early.
func (e *env) startLive(quiet bool, stop func()) *live {
	switch {
	case quiet:
		return &live{}
	case !e.errTTY || e.getenv("TERM") == "dumb" || e.getenv("TERM") == "":
		return &live{lines: e.stderr}
	}
	m := &liveModel{ui: ui.New(e.stderr, true, e.getenv), width: max(e.width, 40), stop: stop}
	options := []tea.ProgramOption{tea.WithOutput(e.stderr), tea.WithoutSignalHandler(), tea.WithInput(nil)}
	if f, ok := e.stdin.(*os.File); ok && term.IsTerminal(f.Fd()) {
		options = append(options, tea.WithInput(f))
		m.keys = true
	}
	l := &live{ended: make(chan struct{})}
	l.program = tea.NewProgram(m, options...)
	// The terminal is put in order before the program ends without waiting for the run.
	m.force = func() {
		go func() {
			l.program.Kill()
			<-l.ended
			os.Exit(exitInterrupted)
		}()
	}
	go func() {
		defer close(l.ended)
		_, _ = l.program.Run() // without a view the run is still worth its result
		l.quit = m.stopping
	}()
	return l
}

// show takes a snapshot, of which it keeps nothing.
func (l *live) show(s *loadgen.Snapshot) {
	switch {
	case l.program != nil:
		c := *s
		c.TopErrors, c.Limited, c.Sys = slices.Clone(s.TopErrors), slices.Clone(s.Limited), maps.Clone(s.Sys)
		l.program.Send(&c)
	case l.lines != nil:
		fmt.Fprintln(l.lines, loadgen.ProgressLine(s))
	}
}

// end takes the view away, so that the result may be written.
func (l *live) end() {
	if l.program != nil {
		l.program.Send(liveEnd{})
		<-l.ended
	}
}

// liveEnd tells the model that the run is over.
type liveEnd struct{}

// liveModel is the state of the picture.
type liveModel struct {
	ui       *ui.UI
	width    int
	snap     *loadgen.Snapshot
	history  loadgen.History
	keys     bool // there is a keyboard
	stopping bool
	over     bool
	stop     func()
	force    func()
}

func (m *liveModel) Init() tea.Cmd { return nil }

func (m *liveModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case *loadgen.Snapshot:
		m.snap = msg
		m.history.Add(msg)
	case tea.WindowSizeMsg:
		m.width = msg.Width
	case tea.KeyMsg:
		switch k := msg.String(); {
		case k == "ctrl+c" && m.stopping:
			m.force()
		case k == "q" || k == "ctrl+c":
			m.stopping = true
			m.stop()
		}
	case liveEnd:
		m.over = true
		return m, tea.Quit
	}
	return m, nil
}

func (m *liveModel) View() string {
	if m.over {
		return ""
	}
	if m.snap == nil {
		return "connecting\n"
	}
	foot := ""
	switch {
	case m.stopping:
		foot = "\n" + m.ui.Dim("stopping, and waiting for what is under way; ctrl+c again ends at once") + "\n"
	case m.keys:
		foot = "\n" + m.ui.Dim("q stops the run and writes its result") + "\n"
	}
	return loadgen.View(m.ui, m.snap, &m.history, m.width) + foot
}
