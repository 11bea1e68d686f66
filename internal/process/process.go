// Package process runs a program that serves on ports of this machine, watches it, and ends it with all it started.
//
// Start from Split, which cuts a command line into words, and Start. A Process tells when it ended and how, what it
// wrote last, which stack traces were among that, and what it uses of the machine. ReadTrace makes a signature of a
// trace, the same in every run. Attach watches a program that somebody else started.
//
// Nothing here knows MQTT: whether the program serves is for the caller to find out.
package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// StopTimeout is how long a program may take to end after it was asked to.
const StopTimeout = 5 * time.Second

// attachPoll is the time between two looks at a program that is not a child.
const attachPoll = 50 * time.Millisecond

// Options are how a program is run. The zero value runs it in the current folder and environment.
type Options struct {
	Env []string // added to the environment, each NAME=value
	Dir string   // current folder of the program
	// OnTrace is called for each stack trace that the program writes, once the trace is whole, from a goroutine of the
	// Process. nil: traces are only kept for Output.
	OnTrace func(Trace)
}

// Process is a program that was started or attached to. Its methods may be called from any goroutine.
type Process struct {
	cmd *exec.Cmd // nil where it was attached to
	pid int
	out *Output

	stop sync.Once
	done chan struct{} // closed once the program is gone
	quit chan struct{} // closed to end the watch of an attached program

	mu       sync.Mutex // guards the fields below
	stopping bool       // the end is our doing
	ending   Ending
}

// Ending is how a program ended.
type Ending struct {
	At     time.Time
	Status string // such as "exit status 2" or "signal: segmentation fault"
	Code   int    // exit code; -1 where a signal ended it or nobody knows
	Signal string // name of the signal, such as "segmentation fault"; ""
	Ours   bool   // Stop ended it
}

// Start runs the command. Its process group is its own, so that an interrupt of the terminal does not reach it before us
// and Stop reaches what it started.
func Start(words []string, o Options) (*Process, error) {
	if len(words) == 0 {
		return nil, errors.New("the command is empty")
	}
	p := &Process{
		cmd: exec.Command(words[0], words[1:]...), done: make(chan struct{}), quit: make(chan struct{}),
		out: &Output{OnTrace: o.OnTrace},
	}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.WaitDelay = time.Second // a child of its own may hold the pipe
	p.cmd.Dir = o.Dir
	if len(o.Env) > 0 {
		p.cmd.Env = append(os.Environ(), o.Env...)
	}
	OwnGroup(p.cmd)
	if err := p.cmd.Start(); err != nil {
		return nil, err // names the program
	}
	p.pid = p.cmd.Process.Pid
	go p.wait()
	return p, nil
}

// Attach watches a program that runs already. What it writes is not seen, and Stop leaves it alone.
func Attach(pid int) (*Process, error) {
	born, err := birth(pid)
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	p := &Process{pid: pid, out: new(Output), done: make(chan struct{}), quit: make(chan struct{})}
	go p.watch(born)
	return p, nil
}

// wait records how a child ended.
func (p *Process) wait() {
	err := p.cmd.Wait()
	e := Ending{At: time.Now(), Code: -1}
	switch st := p.cmd.ProcessState; {
	case st == nil:
		e.Status = fmt.Sprint(err)
	default:
		e.Status, e.Code = st.String(), st.ExitCode()
		if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			e.Signal = ws.Signal().String()
		}
	}
	p.out.Flush()
	p.end(e)
}

// watch looks whether a program that is not a child is still there.
func (p *Process) watch(born uint64) {
	tick := time.NewTicker(attachPoll)
	defer tick.Stop()
	for {
		select {
		case <-p.quit:
			p.end(Ending{At: time.Now(), Status: "not watched any more", Code: -1})
			return
		case <-tick.C:
			if now, err := birth(p.pid); err != nil || now != born {
				p.end(Ending{At: time.Now(), Status: "gone", Code: -1})
				return
			}
		}
	}
}

func (p *Process) end(e Ending) {
	p.mu.Lock()
	e.Ours = p.stopping
	p.ending = e
	p.mu.Unlock()
	close(p.done)
}

// Done is closed once the program is gone and all it wrote was read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Pid returns the process id.
func (p *Process) Pid() int { return p.pid }

// Ending returns how the program ended; false while it runs.
func (p *Process) Ending() (Ending, bool) {
	select {
	case <-p.done:
	default:
		return Ending{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ending, true
}

// Output returns what the program wrote.
func (p *Process) Output() *Output { return p.out }

// Sample measures the program and what it started.
func (p *Process) Sample() (Usage, error) { return Sample(p.pid) }

// Stop ends the program and what it started, gently first, and returns when it is gone. A program that was attached to
// runs on. It may be called again.
func (p *Process) Stop() {
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	if p.cmd == nil {
		p.stop.Do(func() { close(p.quit) })
		<-p.done
		return
	}
	select {
	case <-p.done:
		EndGroup(p.cmd, true) // what it started may have outlived it
		return
	default:
	}
	EndGroup(p.cmd, false)
	timer := time.NewTimer(StopTimeout)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.Kill()
	}
	EndGroup(p.cmd, true)
}

// Kill ends the program and what it started at once, and returns when it is gone.
func (p *Process) Kill() {
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	if p.cmd == nil {
		p.Stop()
		return
	}
	EndGroup(p.cmd, true)
	<-p.done
}
