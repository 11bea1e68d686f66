package main

import (
	"bytes"
	"context"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/internal/ui"
	"github.com/mqlab/mqlab/loadgen"
	"github.com/mqlab/mqlab/scenarios"
)

func TestSourceAddresses(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want string // the first, the last and how many, or a part of the error
	}{
		{"10.0.0.5", "10.0.0.5 10.0.0.5 1"},
		{"127.0.0.9/30", "127.0.0.9 127.0.0.10 2"},
		{"127.0.0.8/31", "127.0.0.8 127.0.0.9 2"},
		{"127.0.0.8/32", "127.0.0.8 127.0.0.8 1"},
		{"127.0.0.0/24", "127.0.0.1 127.0.0.254 254"},
		{"fd00::/126", "fd00:: fd00::3 4"},
		{"127.0.0.0/24 10.1.2.3", "127.0.0.1 10.1.2.3 255"},
		{"255.255.255.252/30", "255.255.255.253 255.255.255.254 2"},
		{"127.0.0.0/8", "more than 65536 addresses"},
		{"fd00::/64", "more than 65536 addresses"},
		{"localhost", "no address and no network"},
		{"127.0.0.0/33", "no address and no network"},
		{"10.0.0.0/16 10.1.0.0/24", "more than 65536"},
	} {
		got, err := sourceAddresses(strings.Fields(tt.in))
		if err != nil {
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.in, err, tt.want)
			}
			continue
		}
		text := got[0].String() + " " + got[len(got)-1].String() + " " + ui.Count(int64(len(got)))
		if text != tt.want {
			t.Errorf("%s: %s, want %s", tt.in, text, tt.want)
		}
		seen := map[netip.Addr]bool{}
		for _, a := range got {
			if seen[a] || !a.IsValid() {
				t.Errorf("%s: %s stands twice or is none", tt.in, a)
			}
			seen[a] = true
		}
	}
}

func TestParseSize(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want scenarios.Size
		ok   bool
	}{
		{"64", scenarios.Size{Fixed: 64}, true},
		{"16-1024", scenarios.Size{Min: 16, Max: 1024}, true},
		{"0-10", scenarios.Size{Min: 0, Max: 10}, true},
		{"", scenarios.Size{}, false},
		{"0", scenarios.Size{}, false},
		{"-5", scenarios.Size{}, false},
		{"10-5", scenarios.Size{}, false},
		{"5-5", scenarios.Size{}, false},
		{"1k", scenarios.Size{}, false},
		{"999999999999", scenarios.Size{}, false},
	} {
		got, err := parseSize(tt.in)
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("%q: %+v, %v", tt.in, got, err)
		}
	}
}

// configOf is the run that a command line asks for.
func configOf(t *testing.T, line string) (loadgen.Config, error) {
	t.Helper()
	e, _, _ := testEnv(t)
	c := loadCommand(e)
	var cfg loadgen.Config
	c.Action = func(ctx *cli.Context) (err error) {
		cfg, err = loadConfig(ctx)
		return err
	}
	root := &cli.Command{Name: "mqlab", Subcommands: []*cli.Command{c}}
	l, err := parseLine(root, splitWords(t, line)[1:])
	if err != nil {
		t.Fatal(err)
	}
	app := &cli.App{Name: "mqlab", Commands: root.Subcommands, HideHelp: true, DisableSliceFlagSeparator: true, ExitErrHandler: func(*cli.Context, error) {}}
	return cfg, app.RunContext(t.Context(), l.argv())
}

func TestLoadConfig(t *testing.T) {
	cfg, err := configOf(t, "mqlab load --clients 20 --subscribers 4 --rate 60/min --qos 2 --size 30-60 --duration 90s --mqtt 5.0 --window 7 --drain 2s --seed 9 "+
		"--connect-rate 100/s --threshold 'lost == 0' --pid 12 --sys --workers 3 --source 127.0.0.2 --target mqtt://me:secret@127.0.0.1:1883")
	if err != nil {
		t.Fatal(err)
	}
	w := cfg.Workload
	got := []any{
		w.ClientCount(), float64(w.Offered()), w.Duration(), w.MQTT, w.Window, w.Drain, w.Seed, float64(w.ConnectRate), w.Thresholds,
		cfg.PID, cfg.Sys, cfg.Workers, cfg.Sources, cfg.Username, cfg.Password, w.Clients[0].Publish[0].Size, w.Clients[0].Publish[0].QoS.String(), w.Clients[1].Subscribe[0].QoS,
	}
	want := []any{
		24, 1.0, 90 * time.Second, "5.0", 7, 2 * time.Second, uint64(9), 100.0,
		[]string{"lost == 0"},
		12, true, 3,
		[]netip.Addr{netip.MustParseAddr("127.0.0.2")},
		"me", "secret",
		scenarios.Size{Min: 30, Max: 60},
		"2", uint8(2),
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}

	for _, tt := range []struct {
		line    string
		clients int
		rate    float64
	}{
		{"mqlab load", 110, 1000},
		{"mqlab load --topology fan-out --clients 30 --rate 5", 31, 5},
		{"mqlab load --topology pairs --clients 30", 60, 1000},
		{"mqlab load --subscribers 0", 100, 1000},
		{"mqlab load --max --qos 1", 110, 1000},
		{"mqlab load --closed", 110, 0},
	} {
		cfg, err := configOf(t, tt.line)
		if err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		if n, r := cfg.Workload.ClientCount(), float64(cfg.Workload.Offered()); n != tt.clients || r != tt.rate {
			t.Errorf("%s: %d clients, %v/s", tt.line, n, r)
		}
	}

	if cfg, err = configOf(t, "mqlab load --max"); err != nil || !cfg.Max || cfg.Workload.Window != flatOutWindow {
		t.Errorf("flat out: %v, window %d, %v", cfg.Max, cfg.Workload.Window, err)
	}
	if cfg, err = configOf(t, "mqlab load --max --window 3"); err != nil || cfg.Workload.Window != 3 {
		t.Errorf("flat out: window %d, %v", cfg.Workload.Window, err)
	}
}

// Scaling a built-in workload changes clients and rate alike, whatever their rates are shares of.
func TestLoadScale(t *testing.T) {
	for _, name := range scenarios.Names() {
		whole, err := scenarios.ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := configOf(t, "mqlab load "+name+" --scale 0.5 --duration 10s")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		half := cfg.Workload
		if d := float64(half.Offered()) / float64(whole.Offered()); whole.Offered() > 0 && (d < .49 || d > .51) {
			t.Errorf("%s: the rate is %v of the whole", name, d)
		}
		if half.ClientCount() >= whole.ClientCount() || half.Duration() != 10*time.Second {
			t.Errorf("%s: %d clients of %d, %v", name, half.ClientCount(), whole.ClientCount(), half.Duration())
		}
	}
}

func TestLiveModel(t *testing.T) {
	stopped, forced := 0, 0
	m := &liveModel{ui: ui.Plain(), width: 80, keys: true, stop: func() { stopped++ }, force: func() { forced++ }}
	see := func(want string) {
		t.Helper()
		if got := m.View(); !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	see("connecting")
	m.Update(&loadgen.Snapshot{Title: "a title", Elapsed: time.Second, Planned: 10 * time.Second, Clients: 3})
	see("a title")
	see("q stops the run")
	m.Update(tea.WindowSizeMsg{Width: 60})
	for line := range strings.Lines(m.View()) {
		if ui.Width(strings.TrimSpace(line)) > 60 {
			t.Errorf("a line is too wide: %q", line)
		}
	}
	m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("x")})
	if stopped != 0 {
		t.Error("any key stops the run")
	}
	m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("q")})
	if stopped != 1 || forced != 0 {
		t.Errorf("q: stopped %d, forced %d", stopped, forced)
	}
	see("ctrl+c again ends at once")
	m.Update(tea.KeyMsg{Type: tea.KeyCtrlC})
	if forced != 1 {
		t.Error("a second ctrl+c does not end the program")
	}
	if _, cmd := m.Update(liveEnd{}); cmd == nil || m.View() != "" {
		t.Error("the view stays when the run is over")
	}
}

// lockedBuffer is a terminal that may be written to by two goroutines.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestLive(t *testing.T) {
	snap := &loadgen.Snapshot{Title: "a title", Elapsed: time.Second, Planned: 10 * time.Second, TopErrors: []loadgen.ErrorCount{{Reason: "x"}}}
	run := func(tty, quiet bool, term string) string {
		e, _, _ := testEnv(t)
		var out lockedBuffer
		e.stderr, e.errTTY = &out, tty
		e.getenv = func(name string) string { return map[string]string{"TERM": term}[name] }
		l := e.startLive(quiet, func() { t.Error("the run is stopped") })
		l.show(snap)
		l.end()
		if l.quit {
			t.Error("the user is said to have stopped the run")
		}
		return out.String()
	}
	if got := run(false, false, "xterm"); !strings.HasPrefix(got, "1 s running: ") {
		t.Errorf("in a log: %q", got)
	}
	if got := run(true, false, "dumb"); !strings.HasPrefix(got, "1 s running: ") {
		t.Errorf("on a dumb terminal: %q", got)
	}
	if got := run(true, true, "xterm"); got != "" {
		t.Errorf("though quiet: %q", got)
	}
	if got := run(true, false, "xterm"); !strings.Contains(got, "\x1b") {
		t.Errorf("on a terminal: %q", got)
	}
}

// watcher calls seen once the text has been written.
type watcher struct {
	lockedBuffer
	text string
	seen func()
}

func (w *watcher) Write(p []byte) (int, error) {
	n, err := w.lockedBuffer.Write(p)
	if strings.Contains(w.String(), w.text) {
		w.seen()
	}
	return n, err
}

// An interrupt ends the run early, and what was measured until then is written.
func TestLoadInterrupted(t *testing.T) {
	e, stdout, _ := testEnv(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	e.ctx = ctx
	log := &watcher{text: "1 s hold: ", seen: cancel}
	e.stderr = log
	file := filepath.Join(t.TempDir(), "result.json")
	code := run(strings.Fields("mqlab load --clients 5 --rate 50 --qos 1 --duration 10m --drain 200ms --json "+file), e)
	if code != exitInterrupted {
		t.Errorf("exit code %d: %s", code, log)
	}
	if !strings.Contains(stdout.String(), "The run ended before its plan: ") {
		t.Errorf("the result does not say so: %s", stdout)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := loadgen.ReadResult(f)
	if err != nil {
		t.Fatal(err)
	}
	if r.Stopped == "" || r.Totals.Published == 0 || len(r.Series) == 0 || r.Elapsed > time.Minute {
		t.Errorf("stopped %q after %v, %d published, %d seconds", r.Stopped, r.Elapsed, r.Totals.Published, len(r.Series))
	}
	if !strings.Contains(log.String(), "in this process: its work counts as the generator's") {
		t.Errorf("nothing says where the broker runs: %s", log)
	}
}

func TestServeMetrics(t *testing.T) {
	e, _, stderr := testEnv(t)
	m := new(loadgen.Metrics)
	m.Update(&loadgen.Snapshot{Title: "x"})
	stop, err := e.serveMetrics("127.0.0.1:0", m)
	if err != nil {
		t.Fatal(err)
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(stderr.String()), "metrics on ")
	if !ok {
		t.Fatalf("it says %q", stderr)
	}
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("it answers %s", res.Status)
	}
	stop()
	if _, err := e.serveMetrics("256.0.0.1:http-not", m); err == nil {
		t.Error("an impossible address is taken")
	}
}
