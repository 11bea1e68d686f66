package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// onTerminal runs the program with a terminal of its own that answers no question, types keys when text has come, and
// returns all that was shown and the exit code.
func onTerminal(t *testing.T, text, keys string, args ...string) (shown string, code int) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 90}); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Args[0] = "mqlab"
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "CI=", "NO_COLOR=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := master.Read(buf)
		b.Write(buf[:n])
		if keys != "" && strings.Contains(b.String(), text) {
			if _, err := master.WriteString(keys); err != nil {
				t.Error(err)
			}
			keys = ""
		}
		if err != nil { // the terminal ends with the program
			break
		}
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return b.String(), exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return b.String(), 0
}

// A command that needs to know nothing of its terminal asks it nothing: not every terminal answers.
func TestTerminalIsNotAsked(t *testing.T) {
	shown, code := onTerminal(t, "", "", "version")
	if code != 0 || !strings.HasPrefix(shown, "mqlab ") || strings.Contains(shown, "\x1b") {
		t.Errorf("exit code %d, shown %q", code, shown)
	}
}

// The picture of a run stands on the terminal, a key ends the run, and the result takes the picture's place.
func TestLiveOnTerminal(t *testing.T) {
	shown, code := onTerminal(t, "1 s of 10m00s", "q", "load", "--clients", "5", "--rate", "50", "--qos", "1", "--duration", "10m", "--drain", "200ms")
	if code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(shown, "\x1b]11;?") {
		t.Error("the terminal is asked for its colour")
	}
	for _, want := range []string{"in process", "5 publishers to 1 subscriber at QoS 1, 50/s", "publish_ack", "q stops the run", "The run ended before its plan: ", "mqlab: stopped; "} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not shown:\n%s", want, shown)
		}
	}
	if i := strings.LastIndex(shown, "\x1b[?25h"); i < 0 || i > strings.LastIndex(shown, "The run ended") {
		t.Error("the cursor is not given back before the result")
	}
}
