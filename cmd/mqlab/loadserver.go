package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/broker"
)

// embedded is the broker that is loaded where no target is named.
type embedded struct {
	url  string
	pid  int // 0: in this process
	stop func()
}

func (s *embedded) String() string {
	if s.pid == 0 {
		return s.url + " in this process: its work counts as the generator's"
	}
	return fmt.Sprintf("%s in process %d", s.url, s.pid)
}

// embeddedServer starts the broker, in a process of its own where the program can be started once more: what broker and
// generator take of the machine is told apart then.
func (e *env) embeddedServer() (*embedded, error) {
	if e.program == "" {
		b := broker.New(broker.Config{})
		l, err := b.Listen("mqtt://127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start the embedded broker: %w", err), b.Close())
		}
		return &embedded{url: l.URL(), stop: func() { _ = b.Close() }}, nil
	}
	cmd := exec.Command(e.program, "load", "server")
	cmd.Args[0] = "mqlab"
	cmd.Stderr = e.stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the embedded broker: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("start the embedded broker: %w", err)
	}
	stop := func() {
		_ = hold.Close() // which ends it
		timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		stop()
		return nil, fmt.Errorf("start the embedded broker: it said %q and no address", line)
	}
	return &embedded{url: url, pid: cmd.Process.Pid, stop: stop}, nil
}

// loadServerCommand is the other end of embeddedServer. It outlives an interrupt, which a terminal sends to both
// processes: the run that is being ended still needs its broker. It ends with its standard input, however the run ends.
func loadServerCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:   "server",
		Usage:  "serve one run of mqlab load",
		Hidden: true,
		Description: describe("Runs the in-memory broker until its standard input ends. mqlab load starts it where no target is named.",
			"mqlab load server",
			"mqlab load server --listen mqtt://127.0.0.1:0"),
		Flags: []cli.Flag{&cli.StringFlag{Name: "listen", Value: "mqtt://127.0.0.1:0", Usage: "listen on `URL`"}},
		Action: func(c *cli.Context) error {
			b := broker.New(broker.Config{})
			defer b.Close()
			l, err := b.Listen(c.String("listen"))
			if err != nil {
				return fmt.Errorf("--listen: %w", err)
			}
			fmt.Fprintf(e.stdout, "listening on %s\n", l.URL())
			_, _ = io.Copy(io.Discard, e.stdin)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), time.Second)
			defer cancel()
			_ = b.Shutdown(ctx) // what is still connected is the run's, which is over
			return errStopped
		},
	}
}
