package loadgen

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mosquitto starts the broker on a free port of the loopback, without a limit on queued messages: by default it may drop
// what it has queued for a client that was cut.
func mosquitto(t *testing.T, more ...string) (url string, pid int) {
	t.Helper()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		if bin = "/usr/sbin/mosquitto"; os.Getenv("CI") == "" {
			if _, err := os.Stat(bin); err != nil {
				t.Skip("mosquitto is not installed")
			}
		}
	}
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	for range 5 { // it cannot say which free port it took, and somebody may be quicker than it is
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().(*net.TCPAddr)
		l.Close()
		text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true\nlog_type error\n%s\n", addr.Port, strings.Join(more, "\n"))
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(bin, "-c", conf)
		cmd.Stderr = t.Output()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		go func() { defer close(over); _ = cmd.Wait() }()
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-over
		})
		if listens(t, addr.String(), over) {
			return "mqtt://" + addr.String(), cmd.Process.Pid
		}
	}
	t.Fatal("mosquitto does not start")
	return "", 0
}

// listens waits until somebody listens at the address. It is false when the program ended before.
func listens(t *testing.T, addr string, over <-chan struct{}) bool {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		select {
		case <-over:
			return false
		case <-deadline:
			t.Fatalf("mosquitto does not listen: %v", err)
		case <-time.After(10 * time.Millisecond):
			if err == nil {
				return true
			}
		}
	}
}
