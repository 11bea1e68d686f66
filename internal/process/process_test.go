//go:build unix

package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// asChild names the environment variable that makes the test binary play the program that is watched.
const asChild = "MQLAB_TEST_CHILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(asChild); role != "" {
		os.Exit(child(role))
	}
	goleak.VerifyTestMain(m)
}

func child(role string) int {
	wait := func() {
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		fmt.Println("ready")
		<-term
	}
	switch role {
	case "exit":
		fmt.Fprintln(os.Stderr, "no licence")
		return 3
	case "panic":
		var p *struct{ n int }
		fmt.Println(p.n)
	case "serve":
		wait()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		select {}
	case "parent":
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asChild+"=serve")
		if cmd.Start() != nil {
			return 1
		}
		wait()
	}
	return 0
}

// run starts the test binary in a role and ends it with the test.
func run(t *testing.T, role string, o Options) *Process {
	t.Helper()
	o.Env = append(o.Env, asChild+"="+role)
	p, err := Start([]string{os.Args[0]}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// ready waits until the program says so.
func ready(t *testing.T, p *Process) {
	t.Helper()
	eventually(t, func() bool { return strings.Contains(p.Output().Tail(100), "ready") })
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("it does not happen")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestEnding(t *testing.T) {
	p := run(t, "exit", Options{})
	<-p.Done()
	e, ok := p.Ending()
	e.At = time.Time{}
	if diff := cmp.Diff(Ending{Status: "exit status 3", Code: 3}, e); !ok || diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"no licence"}, p.Output().Lines(8)); diff != "" {
		t.Error(diff)
	}

	p = run(t, "serve", Options{})
	ready(t, p)
	if _, ended := p.Ending(); ended {
		t.Error("it has ended before its time")
	}
	if err := syscall.Kill(p.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if e, _ := p.Ending(); e.Signal != "killed" || e.Ours {
		t.Errorf("%+v", e)
	}

	p = run(t, "serve", Options{})
	ready(t, p)
	p.Stop()
	p.Stop()
	if e, _ := p.Ending(); !e.Ours || e.Code != 0 {
		t.Errorf("%+v", e)
	}
}

func TestTraceOfAPanic(t *testing.T) {
	got := make(chan Trace, 1)
	p := run(t, "panic", Options{OnTrace: func(tr Trace) { got <- tr }})
	<-p.Done()
	const want = "go panic: runtime error: invalid memory address or nil pointer dereference in process.child < process.TestMain < main.main"
	if tr := <-got; tr.Signature() != want {
		t.Errorf("signature %q, want %q", tr.Signature(), want)
	}
	if n := len(p.Output().Traces()); n != 1 {
		t.Errorf("%d traces", n)
	}
}

// One that does not listen to SIGTERM is killed, and so is what a program started.
func TestKill(t *testing.T) {
	p := run(t, "stubborn", Options{})
	ready(t, p)
	p.Kill()
	if e, ok := p.Ending(); !ok || e.Signal != "killed" {
		t.Errorf("%+v", e)
	}

	if runtime.GOOS != "linux" {
		return
	}
	p = run(t, "parent", Options{})
	ready(t, p)
	var kids []int
	eventually(t, func() bool { kids = children(nil, p.Pid()); return len(kids) == 1 })
	u, err := p.Sample()
	if err != nil || u.Processes != 2 {
		t.Errorf("%+v, %v", u, err)
	}
	p.Stop()
	eventually(t, func() bool { _, err := birth(kids[0]); return err != nil })
}

func TestSample(t *testing.T) {
	u, err := Sample(os.Getpid())
	if runtime.GOOS != "linux" {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v", err)
		}
		return
	}
	if err != nil || u.RSS < 1<<20 || u.VmSize < u.RSS || u.FDs < 3 || u.Threads < 2 || u.Processes < 1 {
		t.Errorf("%+v, %v", u, err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if v, _ := Sample(os.Getpid()); v.FDs != u.FDs+1 || v.CPU < u.CPU {
		t.Errorf("one descriptor more: %+v, before %+v", v, u)
	}
	if _, err := Sample(1 << 30); err == nil {
		t.Error("a process that is not there was measured")
	}
}

func TestAttach(t *testing.T) {
	p := run(t, "serve", Options{})
	ready(t, p)
	a, err := Attach(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	b, err := Attach(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	b.Stop()
	if _, ended := p.Ending(); ended {
		t.Error("the end of the watch ended the program")
	}
	p.Stop()
	<-a.Done()
	if e, _ := a.Ending(); e.Status != "gone" || e.Ours {
		t.Errorf("%+v", e)
	}
	if _, err := Attach(1 << 30); err == nil {
		t.Error("attached to a process that is not there")
	}
}

func TestSplit(t *testing.T) {
	for _, tt := range []struct {
		line string
		want []string
		bad  string
	}{
		{`mosquitto -p {port} -v`, []string{"mosquitto", "-p", "{port}", "-v"}, ""},
		{`sh -c 'exec "$0"' "a b" c\ d ''`, []string{"sh", "-c", `exec "$0"`, "a b", "c d", ""}, ""},
		{`broker | tee`, nil, "needs a shell"},
		{`broker 'a`, nil, "inside of a quotation"},
		{` `, nil, "empty"},
	} {
		got, err := Split(tt.line)
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.bad == "") || err != nil && !strings.Contains(err.Error(), tt.bad) {
			t.Errorf("%s: %q, %v", tt.line, got, err)
		}
	}
	if got := Fill("a{port}b{port}", map[string]string{"{port}": "1"}); got != "a1b1" {
		t.Error(got)
	}
	if _, err := Start(nil, Options{}); err == nil {
		t.Error("an empty command was started")
	}
	if _, err := Start([]string{"/nowhere/broker"}, Options{}); err == nil || !strings.Contains(err.Error(), "/nowhere/broker") {
		t.Errorf("%v", err)
	}
}
