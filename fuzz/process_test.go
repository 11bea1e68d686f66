package fuzz

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/internal/transport"
)

// childEnv names the environment variable that makes the test binary play a target. Its value says which.
const childEnv = "MQLAB_FUZZ_TARGET"

// playTarget is the main function of a target. It serves on the port in its environment: in some roles it goes wrong
// when the first byte of a connection is 0xF0.
func playTarget(role string) int {
	if role == "exits" {
		fmt.Fprintln(os.Stderr, "no licence")
		return 3
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("MQLAB_FUZZ_PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if dir := os.Getenv("MQLAB_FUZZ_DIR"); dir != "" {
		old, _ := filepath.Glob(filepath.Join(dir, "*"))
		fmt.Fprintln(os.Stderr, "found", len(old))
		_ = os.WriteFile(filepath.Join(dir, "state"), nil, 0o600)
	}
	b := broker.New(broker.Config{})
	go func() {
		n := 0
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			if n++; role == "fragile" && n == 3 && !hadRun() {
				os.Exit(4)
			}
			go serveFlawed(b, nc, role)
		}
	}()
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
	return 0
}

// onceEnv names the environment variable with the name of a file that says that a target has run before.
const onceEnv = "MQLAB_FUZZ_ONCE"

// hadRun reports whether it was called in another run of the target, and leaves word of this one.
func hadRun() bool {
	_, err := os.Stat(os.Getenv(onceEnv))
	_ = os.WriteFile(os.Getenv(onceEnv), nil, 0o600)
	return err == nil
}

func serveFlawed(b *broker.Broker, nc net.Conn, role string) {
	p := &peeked{Conn: nc}
	if _, err := nc.Read(p.first[:]); err == nil && p.first[0] == 0xF0 {
		if role == "slowly" {
			fmt.Fprintf(os.Stderr, "panic: late\n\ngoroutine 7 [running]:\nexample.com/planted.slowly(0xc0)\n\t/x.go:1 +0x1\n\n")
			time.AfterFunc(100*time.Millisecond, func() { os.Exit(5) })
			return
		}
		if role == "recovers" {
			defer func() {
				fmt.Fprintln(os.Stderr, "panic:", recover())
				fmt.Fprintf(os.Stderr, "\ngoroutine 7 [running]:\n%s(0xc0)\n\t/x.go:1 +0x1\n", "example.com/planted.recovered")
			}()
		}
		plant(nil)
	}
	_ = b.ServeConn(p)
}

// plant is the fault.
func plant(m map[string]int) { m["a"]++ }

// peeked gives back the byte that was looked at.
type peeked struct {
	net.Conn
	first [1]byte
	given bool
}

func (p *peeked) Read(b []byte) (int, error) {
	if !p.given && len(b) > 0 {
		p.given = true
		b[0] = p.first[0]
		return 1, nil
	}
	return p.Conn.Read(b)
}

// played is a Target that this test binary plays.
func played(role string) Target {
	return Target{
		Cmd: "'" + os.Args[0] + "' {port} {dir}", Ready: 20 * time.Second,
		Env: []string{childEnv + "=" + role, "MQLAB_FUZZ_PORT={port}", "MQLAB_FUZZ_DIR={dir}"},
	}
}

func startPlayed(t *testing.T, role string) *Process {
	t.Helper()
	p, err := Start(t.Context(), played(role))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	return p
}

// poke sends the byte that sets the fault off.
func poke(t *testing.T, p *Process) {
	t.Helper()
	nc, err := new(transport.Dialer).Dial(t.Context(), p.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte{0xF0}); err != nil {
		t.Fatal(err)
	}
}

func TestProcessDies(t *testing.T) {
	t.Parallel()
	p := startPlayed(t, "dies")
	if _, died := p.Died(); died {
		t.Error("it is dead before its time")
	}
	poke(t, p)
	<-p.Done()
	d, died := p.Died()
	const want = "go panic: assignment to entry in nil map in fuzz.plant < fuzz.serveFlawed"
	if !died || d.Code != 2 || d.Signature != want {
		t.Errorf("%t %+v, want %s", died, d, want)
	}
	if !strings.Contains(d.Trace, "goroutine ") || !strings.Contains(d.Stderr, "found 0") {
		t.Errorf("trace %q\noutput %q", d.Trace, d.Stderr)
	}
	first := d.Signature
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, died := p.Died(); died || p.Starts() != 2 || strings.Contains(p.Stderr(), "found 1") {
		t.Errorf("after a restart: died %t, %d starts, %s", died, p.Starts(), p.Stderr())
	}
	poke(t, p)
	<-p.Done()
	if d, _ := p.Died(); d.Signature != first {
		t.Errorf("the second death is %q, the first was %q", d.Signature, first)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// A target that has written a trace and is about to end has died of it.
func TestTraceAndDeath(t *testing.T) {
	for role, want := range map[string]struct {
		title   string
		lingers time.Duration
	}{
		"slowly":   {"the target died: exit status 5", time.Minute},
		"recovers": {"the target writes a stack trace and lives on", time.Millisecond},
	} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			f := &fuzzer{proc: startPlayed(t, role), lingers: want.lingers}
			if d := f.dead(); d != nil {
				t.Fatal(d.title)
			}
			poke(t, f.proc)
			deadline := time.After(time.Minute)
			var got *trouble
			for got == nil {
				select {
				case <-deadline:
					t.Fatalf("nothing was seen in %q", f.proc.Stderr())
				case <-time.After(5 * time.Millisecond):
					got = f.dead()
				}
			}
			if !strings.HasPrefix(got.title, want.title) || got.oracle != OracleDied {
				t.Errorf("%s %s, want %s", got.oracle, got.title, want.title)
			}
		})
	}
}

// A target that dies of an ordinary client the first time is started again.
func TestFragileTarget(t *testing.T) {
	t.Parallel()
	target := played("fragile")
	target.Env = append(target.Env, onceEnv+"="+filepath.Join(t.TempDir(), "once"))
	f, err := newFuzzer(t.Context(), Config{Target: target, Workers: 1, Patience: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer f.stop()
	if n := f.proc.Starts(); n != 2 {
		t.Errorf("%d starts, want 2", n)
	}
}

// A target that writes a trace and lives on is not dead, and its trace is told once.
func TestProcessRecovers(t *testing.T) {
	t.Parallel()
	p := startPlayed(t, "recovers")
	poke(t, p)
	var got []Trace
	deadline := time.After(20 * time.Second)
	for len(got) == 0 {
		select {
		case <-deadline:
			t.Fatalf("no trace in %q", p.Stderr())
		case <-time.After(10 * time.Millisecond):
			got = p.Traces()
		}
	}
	if got[0].Signature() != "go panic: assignment to entry in nil map in planted.recovered" {
		t.Errorf("%s", got[0].Signature())
	}
	if again := p.Traces(); len(again) != 0 {
		t.Errorf("told again: %+v", again)
	}
	if _, died := p.Died(); died {
		t.Error("it counts as dead")
	}
	if err := Answers(t.Context(), transport.Dialer{}, p.URL()); err != nil {
		t.Error(err)
	}
	if u, err := p.Sample(); runtime.GOOS == "linux" && (err != nil || u.RSS == 0 || u.FDs < 4) {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestAttached(t *testing.T) {
	t.Parallel()
	p := startPlayed(t, "dies")
	a, err := Attach(p.Pid(), p.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop() }()
	if err := a.Restart(t.Context()); err == nil {
		t.Error("a target of somebody else's was restarted")
	}
	poke(t, p)
	<-a.Done()
	if d, died := a.Died(); !died || d.Signature != "gone" {
		t.Errorf("%t %+v", died, d)
	}
}

func TestProcessDoesNotStart(t *testing.T) {
	t.Parallel()
	silent := played("dies")
	silent.Cmd, silent.Ready = "sleep 60 {port}", 300*time.Millisecond
	exits := played("exits")
	for _, tt := range []struct {
		name string
		t    Target
		want string
	}{
		{"no port", Target{Cmd: "broker"}, "write {port} in it"},
		{"no program", Target{Cmd: "/nowhere/broker {port}"}, "/nowhere/broker"},
		{"shell", Target{Cmd: "broker {port} | tee"}, "needs a shell"},
		{"exits", exits, "exit status 3; its last output: no licence"},
		{"silent", silent, "did not answer a CONNECT"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Start(t.Context(), tt.t)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, silent); !errors.Is(err, context.Canceled) {
		t.Errorf("after an interrupt: %v", err)
	}
}
