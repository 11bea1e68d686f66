//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mqlab/mqlab/broker"
)

// serveArg makes this program a broker, or a sink, at the address that follows it.
const serveArg = "serve"

// serve serves the embedded broker, or the sink, until the process is ended or it fails.
func serve(url string) error {
	if strings.HasPrefix(url, sinkScheme) {
		return serveSink(url)
	}
	b := broker.New(broker.Config{})
	if _, err := b.Listen(url); err != nil {
		return err
	}
	select {}
}

// server is a broker under measurement.
type server struct {
	name string
	argv func(port int, dir string) ([]string, error)
}

// embedded is the broker of this module, in a process of its own.
var embedded = server{"mqlab broker", func(port int, _ string) ([]string, error) {
	self, err := os.Executable()
	return []string{self, serveArg, fmt.Sprintf("mqtt://127.0.0.1:%d", port)}, err
}}

// mosquitto is mosquitto as shipped, but that it listens for strangers on loopback.
var mosquitto = server{"mosquitto", func(port int, dir string) ([]string, error) {
	conf := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\n", port)
	return []string{mosquittoPath(), "-c", conf}, os.WriteFile(conf, []byte(text), 0o600)
}}

// mosquittoPath is where mosquitto is installed, or "". Debian puts it where only root looks.
func mosquittoPath() string {
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// command is a broker that a shell command starts; {port} in it stands for the port.
func command(name, text string) server {
	return server{name, func(port int, _ string) ([]string, error) {
		return []string{"/bin/sh", "-c", "exec " + strings.ReplaceAll(text, "{port}", strconv.Itoa(port))}, nil
	}}
}

// process is a running broker.
type process struct {
	name string
	port int
	cmd  *exec.Cmd
	dir  string
	done chan struct{}
}

// start runs the server and waits until it accepts connections.
func (s server) start(ctx context.Context) (*process, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "mqlab-bench")
	if err != nil {
		return nil, err
	}
	argv, err := s.argv(port, dir)
	if err != nil {
		return nil, err
	}
	p := &process{name: s.name, port: port, dir: dir, done: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	for began := time.Now(); ; {
		c, err := net.DialTimeout("tcp", p.addr(), time.Second)
		if err == nil {
			return p, c.Close()
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended before it accepted a connection: %s", s.name, strings.Join(argv, " "))
		case <-ctx.Done():
			p.stop()
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Since(began) > 2*time.Minute {
			p.stop()
			return nil, fmt.Errorf("%s accepts no connection on port %d", s.name, port)
		}
	}
}

func (p *process) addr() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

// stop ends the process group that start made.
func (p *process) stop() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
	_ = os.RemoveAll(p.dir)
}

// usage is what a process and its children have taken.
type usage struct {
	cpu float64 // seconds, user and system
	rss int64   // bytes
}

// usage reads the process tree.
func (p *process) usage() (usage, error) { return treeUsage(p.cmd.Process.Pid) }

// ticks is the unit of times in /proc: USER_HZ is 100 on every Linux of today.
const ticks = 100

func treeUsage(pid int) (usage, error) {
	var u usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// The command's name is in parentheses and may hold anything.
	_, rest, ok := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 22 {
		return u, errors.New("/proc/PID/stat has another form than expected")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	pages, err3 := strconv.ParseInt(fields[21], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return u, err
	}
	u.cpu = float64(user+system) / ticks
	u.rss = pages * int64(os.Getpagesize())
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return u, err
	}
	for _, file := range children {
		list, err := os.ReadFile(file)
		if err != nil {
			continue // the thread ended
		}
		for _, text := range strings.Fields(string(list)) {
			child, err := strconv.Atoi(text)
			if err != nil {
				return u, err
			}
			if c, err := treeUsage(child); err == nil {
				u.cpu += c.cpu
				u.rss += c.rss
			}
		}
	}
	return u, nil
}

// ownCPU is the processor time of this process, in seconds.
func ownCPU() float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return float64(r.Utime.Sec+r.Stime.Sec) + float64(r.Utime.Usec+r.Stime.Usec)/1e6
}
