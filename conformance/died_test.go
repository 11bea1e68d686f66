package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/mutant"
)

// mortalBroker serves on a loopback port until it is told to end. It dies of a PUBLISH whose QoS
// bits are both set, with the last words "boom". With "deaf" it stops to listen instead; with a
// folder it notes each start there.
func mortalBroker(port string, args ...string) int {
	b := broker.New(broker.Config{})
	defer b.Close()
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	deaf := slices.Contains(args, "deaf")
	for _, dir := range args {
		if dir != "deaf" {
			f, err := os.OpenFile(filepath.Join(dir, "starts"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			_, _ = f.WriteString("x")
			_ = f.Close()
		}
	}
	p := mutant.NewProxy(func(context.Context) (net.Conn, error) { return b.Dial() }, &mutant.Hooks{
		Up: func(_ *mutant.Link, raw *mutant.Packet) {
			if len(raw.Raw) > 0 && codec.Type(raw.Raw[0]>>4) == codec.TypePublish && raw.Raw[0]&6 == 6 {
				if deaf {
					_ = l.Close()
					return
				}
				fmt.Fprintln(os.Stderr, "boom")
				os.Exit(7)
			}
		},
	})
	defer p.Close()
	go serveProxy(l, p)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
	return 0
}

// serveProxy pipes every connection through the proxy.
func serveProxy(l net.Listener, p *mutant.Proxy) {
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		go func() {
			defer nc.Close()
			up, err := p.Dial(context.Background())
			if err != nil {
				return
			}
			defer up.Close()
			go func() {
				defer up.Close()
				copyAll(up, nc)
			}()
			copyAll(nc, up)
		}()
	}
}

func copyAll(dst, src net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// mortal is the command line of a mortal broker.
func mortal(args string) string { return "'" + os.Args[0] + "' mortal-broker {port} " + args }

// TestTargetDies holds that a target which dies is started again, that the check which kills it
// is found among those that ran, and that all others get the verdict they deserve.
func TestTargetDies(t *testing.T) {
	for _, tc := range []struct{ name, args, status string }{
		{"exit", "", "ended: exit status 7"},
		{"deaf", "deaf", "accepts no connection any more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rep, err := conformance.Run(t.Context(), conformance.Config{
				Cmd: mortal(tc.args), Versions: conformance.MQTT311, Fast: true, Timeout: 3 * time.Second, Ephemeral: true,
				Run: []string{"publish/*", "ping/*", "unsubscribe/*"},
			})
			if err != nil {
				t.Fatal(err)
			}
			const culprit = "publish/qos3-refused"
			for _, c := range rep.Checks {
				switch {
				case c.Name == culprit:
					if c.Verdict != conformance.BrokerDied || !strings.Contains(c.Reason, tc.status) {
						t.Errorf("%s: %s: %s, want that the broker died: %s", c.Name, c.Verdict, c.Reason, tc.status)
					}
					if tc.name == "exit" && !strings.Contains(c.Reason, "boom") {
						t.Errorf("the reason lacks the last output: %s", c.Reason)
					}
					if len(c.Transcript) == 0 {
						t.Error("there is no transcript of the death")
					}
				case c.Verdict != conformance.Pass && c.Verdict != conformance.NotApplicable:
					t.Errorf("%s: %s: %s", c.Name, c.Verdict, c.Reason)
				}
			}
			if got := rep.Rule("MQTT-3.3.1-4", conformance.MQTT311); got == nil || got.Verdict != conformance.BrokerDied {
				t.Errorf("the rule's verdict is %+v", got)
			}
			if len(rep.Deaths) != 1 || rep.Deaths[0].Culprit != culprit+" (MQTT 3.1.1)" || !slices.Contains(rep.Deaths[0].During, rep.Deaths[0].Culprit) {
				t.Errorf("deaths: %+v", rep.Deaths)
			}
			if rep.OK() {
				t.Error("a report with a dead target is OK")
			}
		})
	}
}

// TestTargetIsRestarted holds that a check which needs it gets a new process, with the folder of
// the old one, and that the folder is gone in the end.
func TestTargetIsRestarted(t *testing.T) {
	var dir, starts string
	checks := []*conformance.Check{{
		Name: "test/restart", Rules: []string{"MQTT-3.12.4-1"}, Versions: conformance.MQTT311, Needs: conformance.CapRestart,
		Run: func(t *conformance.T) {
			old := t.Connect()
			t.Restart()
			_, ended := old.AwaitClose(t.Timeout())
			t.Judge().That(ended, "the old connection is gone", fmt.Sprint(ended))
			t.Connect().Ping()
			b, err := os.ReadFile(filepath.Join(dir, "starts"))
			t.Judge().That(err == nil, "the folder is the same", fmt.Sprint(err))
			starts = string(b)
		},
	}}
	found := filepath.Join(t.TempDir(), "link")
	// The link tells the test which folder {dir} was.
	cmd := "sh -c 'ln -s {dir} " + found + " 2>/dev/null; exec \"$0\" mortal-broker \"$1\" {dir}' " + os.Args[0] + " {port}"
	dir = found
	rep, err := conformance.Run(t.Context(), conformance.Config{Cmd: cmd, Versions: conformance.MQTT311, Checks: checks, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if c := rep.Checks[0]; c.Verdict != conformance.Pass {
		t.Errorf("%s: %s", c.Verdict, c.Reason)
	}
	if starts != "xx" || len(rep.Deaths) > 0 {
		t.Errorf("the target was started %d times and died %d times, want 2 and 0", len(starts), len(rep.Deaths))
	}
	if _, err := os.Stat(found); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of the target is still there: %v", err)
	}
}

// TestTargetDoesNotStart holds that a command which cannot serve is reported with what it says.
func TestTargetDoesNotStart(t *testing.T) {
	for _, tc := range []struct{ name, cmd, want string }{
		{"no such program", "/nowhere/broker {port}", "start the target"},
		{"ends at once", "sh -c 'echo no licence; exit 3' {port}", "exit status 3; its last output: no licence"},
		{"needs a shell", "broker -p {port} | tee log", "needs a shell"},
		{"no port", "broker", "write {port} in it"},
		{"open quotation", "broker 'a {port}", "inside of a quotation"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := conformance.Run(t.Context(), conformance.Config{Cmd: tc.cmd})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}
