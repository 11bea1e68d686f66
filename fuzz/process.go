package fuzz

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/process"
	"github.com/mqlab/mqlab/internal/transport"
)

// Target is a program to be started and watched.
type Target struct {
	// Cmd is the command line. {port} and {ws_port} stand for free ports, {dir} for a folder of the target's own, which
	// is empty at each start.
	Cmd string
	// URL is where it serves; the placeholders may stand in it. Default: mqtt://127.0.0.1:{port}.
	URL string
	// Ready is how long it may take to answer a CONNECT. Default: 30 s.
	Ready time.Duration
	Env   []string // added to the environment, each NAME=value
	Dir   string   // its current folder
	// Dialer opens the connection that asks whether the target serves.
	Dialer transport.Dialer
}

// Death is how a target ended.
type Death struct {
	At        time.Time `json:"at"`
	Status    string    `json:"status"`           // such as "exit status 2" or "signal: segmentation fault"
	Code      int       `json:"code"`             // exit code; -1 after a signal
	Signal    string    `json:"signal,omitempty"` // such as "segmentation fault"
	Signature string    `json:"signature"`        // of its stack trace, else of its status; the same in every run
	Trace     string    `json:"trace,omitempty"`  // the stack trace as it was written
	Stderr    string    `json:"stderr,omitempty"` // the end of what it wrote
}

// String describes the end for people.
func (d Death) String() string {
	s := d.Status
	if d.Signature != "" && d.Signature != d.Status {
		s += "; " + d.Signature
	}
	return s
}

// Usage is what a target holds of the machine.
type Usage = process.Usage

// Trace is a stack trace that a target wrote, whether or not it lived on.
type Trace = process.Trace

// Process is a target that runs. Its methods may be called from any goroutine; Restart and Stop not at the same time.
type Process struct {
	target Target
	values map[string]string
	dir    string // of {dir}; removed by Stop

	mu     sync.Mutex // guards the fields below
	p      *process.Process
	url    string
	told   int // traces of p that Traces has returned
	starts int
}

// Times around the life of a target.
const (
	readyTimeout = 30 * time.Second
	readyPause   = 20 * time.Millisecond
	answerWait   = 2 * time.Second // for one CONNECT
	traceIdle    = 100 * time.Millisecond
	stderrBytes  = 8 << 10
)

// Start starts a target and waits until it answers a CONNECT of any version.
func Start(ctx context.Context, t Target) (*Process, error) {
	if !strings.Contains(t.Cmd, "{port}") && t.URL == "" {
		return nil, errors.New("nobody knows where the command serves: write {port} in it, or name its address")
	}
	if t.URL == "" {
		t.URL = "mqtt://127.0.0.1:{port}"
	}
	if t.Ready == 0 {
		t.Ready = readyTimeout
	}
	p := &Process{target: t}
	if strings.Contains(t.Cmd, "{dir}") {
		dir, err := os.MkdirTemp("", "mqlab-target-")
		if err != nil {
			return nil, fmt.Errorf("make a folder for the target: %w", err)
		}
		p.dir = dir
	}
	if err := p.choosePorts(); err != nil {
		return nil, err
	}
	if err := p.launch(ctx); err != nil {
		_ = p.Stop()
		return nil, err
	}
	return p, nil
}

// Attach watches a target of this machine that somebody else started and will stop. It cannot be restarted.
func Attach(pid int, url string) (*Process, error) {
	p, err := process.Attach(pid)
	if err != nil {
		return nil, err
	}
	return &Process{p: p, url: url, starts: 1}, nil
}

func (p *Process) choosePorts() error {
	p.values = map[string]string{"{dir}": p.dir}
	for _, name := range []string{"{port}", "{ws_port}"} {
		port, err := process.FreePort()
		if err != nil {
			return err
		}
		p.values[name] = port
	}
	return nil
}

// launch starts the program and waits until it serves.
func (p *Process) launch(ctx context.Context) error {
	words, err := process.Split(p.target.Cmd)
	if err != nil {
		return err
	}
	for i := range words {
		words[i] = process.Fill(words[i], p.values)
	}
	if p.dir != "" {
		if err := emptyFolder(p.dir); err != nil {
			return fmt.Errorf("empty the target's folder: %w", err)
		}
	}
	env := make([]string, len(p.target.Env))
	for i, e := range p.target.Env {
		env[i] = process.Fill(e, p.values)
	}
	run, err := process.Start(words, process.Options{Env: env, Dir: p.target.Dir})
	if err != nil {
		return fmt.Errorf("start the target: %w", err)
	}
	p.mu.Lock()
	p.p, p.told, p.url = run, 0, process.Fill(p.target.URL, p.values)
	p.starts++
	p.mu.Unlock()
	return p.await(ctx, run)
}

// await waits until the program answers a CONNECT.
func (p *Process) await(ctx context.Context, run *process.Process) error {
	ctx, cancel := context.WithTimeout(ctx, p.target.Ready)
	defer cancel()
	for {
		err := Answers(ctx, p.target.Dialer, p.URL())
		if err == nil {
			return nil
		}
		select {
		case <-run.Done():
			return fmt.Errorf("the command %s ended before it served: %s; its last output: %s", p.name(), p.death(run), strings.Join(run.Output().Lines(4), " | "))
		case <-ctx.Done():
			run.Stop()
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
			return fmt.Errorf("the command %s did not answer a CONNECT at %s within %v: %w; its last output: %s",
				p.name(), p.URL(), p.target.Ready, err, strings.Join(run.Output().Lines(4), " | "))
		case <-time.After(readyPause):
		}
	}
}

// name returns the program's name for errors.
func (p *Process) name() string {
	if words, err := process.Split(p.target.Cmd); err == nil {
		return words[0]
	}
	return p.target.Cmd
}

// URL returns where the target serves. A restart may change it.
func (p *Process) URL() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.url
}

// Pid returns the process id of the target that runs, or ran last.
func (p *Process) Pid() int { return p.current().Pid() }

// Starts returns how often it was started.
func (p *Process) Starts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}

func (p *Process) current() *process.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.p
}

// Done is closed once the target that runs at the time of the call is gone.
func (p *Process) Done() <-chan struct{} { return p.current().Done() }

// Died returns how the target ended; false while it runs, and after Stop.
func (p *Process) Died() (Death, bool) {
	run := p.current()
	if e, ended := run.Ending(); !ended || e.Ours {
		return Death{}, false
	}
	return p.death(run), true
}

// death describes a program that has ended.
func (p *Process) death(run *process.Process) Death {
	e, _ := run.Ending()
	d := Death{At: e.At, Status: e.Status, Code: e.Code, Signal: e.Signal, Signature: e.Status, Stderr: run.Output().Tail(stderrBytes)}
	if traces := run.Output().Traces(); len(traces) > 0 {
		last := traces[len(traces)-1]
		d.Signature, d.Trace = last.Signature(), last.Text
	}
	return d
}

// Traces returns the stack traces that were written since the last call: a runtime that catches what goes wrong in a
// connection lives on after them.
func (p *Process) Traces() []Trace {
	run := p.current()
	run.Output().FlushIdle(traceIdle)
	all := run.Output().Traces()
	p.mu.Lock()
	defer p.mu.Unlock()
	if run != p.p {
		return nil
	}
	fresh := all[min(p.told, len(all)):]
	p.told = len(all)
	return fresh
}

// Stderr returns the end of what the target wrote.
func (p *Process) Stderr() string { return p.current().Output().Tail(stderrBytes) }

// Sample measures the target and what it started. Off Linux the error is errors.ErrUnsupported.
func (p *Process) Sample() (Usage, error) { return p.current().Sample() }

// Restart starts the target afresh, with an empty folder, and waits until it serves. It serves where it did before,
// unless the port cannot be had again.
func (p *Process) Restart(ctx context.Context) error {
	if p.target.Cmd == "" {
		return errors.New("the target was not started here: start it again by hand")
	}
	p.current().Kill()
	err := p.launch(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	p.current().Kill()
	if perr := p.choosePorts(); perr != nil {
		return err
	}
	return p.launch(ctx)
}

// Stop ends a target that was started here and removes its folder. It may be called again.
func (p *Process) Stop() error {
	if run := p.current(); run != nil {
		run.Stop()
	}
	if p.dir == "" {
		return nil
	}
	return os.RemoveAll(p.dir)
}

// errNobody reports that nothing accepts a connection.
var errNobody = errors.New("nobody accepts a connection")

// Answers reports whether something answers a CONNECT at the address, of any version and whatever it says.
func Answers(ctx context.Context, d transport.Dialer, address string) error {
	var err error
	for _, v := range []codec.Version{codec.V4, codec.V5, codec.V31} {
		if err = answers(ctx, d, address, v); err == nil || errors.Is(err, errNobody) {
			return err
		}
	}
	return err
}

func answers(ctx context.Context, d transport.Dialer, address string, v codec.Version) error {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	nc, err := d.Dial(ctx, address)
	if err != nil {
		return fmt.Errorf("%w: %w", errNobody, err)
	}
	defer nc.Close()
	if selfConnected(nc) {
		return errNobody
	}
	deadline, _ := ctx.Deadline()
	if err := nc.SetDeadline(deadline); err != nil {
		return err
	}
	hello, err := (&codec.Connect{Version: v, ClientID: "mqlabprobe", CleanStart: true, KeepAlive: 30}).AppendTo(nil, v)
	if err != nil {
		return err
	}
	if _, err := nc.Write(hello); err != nil {
		return err
	}
	frame, err := codec.NewReader(nc, 256).Next()
	if err != nil {
		return fmt.Errorf("no answer to a CONNECT: %w", err)
	}
	if codec.Type(frame[0]>>4) != codec.TypeConnack {
		return fmt.Errorf("the answer to a CONNECT is %s", codec.Type(frame[0]>>4))
	}
	return nil
}

// selfConnected reports whether a TCP connection is one to itself: a dial to a port that nobody listens on may be given
// that very port, and then what is written comes back.
func selfConnected(nc net.Conn) bool {
	local, ok := nc.LocalAddr().(*net.TCPAddr)
	remote, ok2 := nc.RemoteAddr().(*net.TCPAddr)
	return ok && ok2 && local.Port == remote.Port && local.IP.Equal(remote.IP)
}

// emptyFolder removes what is in a folder.
func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
