package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqlab/mqlab/conformance"
)

// A real broker is run as its users run it, and every finding must be one that was held against
// the standard by hand and stands in testdata/known with the reason.

// absent skips the test where a real peer is missing, and fails it where it has to be there.
func absent(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// freePorts returns n consecutive ports that were free a moment ago.
func freePorts(t *testing.T, n int) int {
	t.Helper()
next:
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		first := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i))
			if err != nil {
				continue next
			}
			_ = l.Close()
		}
		return first
	}
	t.Fatal("no free ports")
	return 0
}

// start runs a broker until the test ends and waits until it accepts connections.
func start(t *testing.T, port int, wait time.Duration, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		default:
			<-ended
		}
	})
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = nc.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended at once: %v\n%s", name, err, log.String())
		case <-deadline.C:
			t.Fatalf("%s does not listen on port %d after %v", name, port, wait)
		case <-retry.C:
		}
	}
}

// compare runs the suite and holds the report against the known findings.
func compare(t *testing.T, known string, cfg conformance.Config) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "known", known+".yaml"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("no findings are known of %s: run the suite, judge each finding, and write testdata/known/%s.yaml", known, known)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	base, err := conformance.ReadBaseline(f)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Timeout = 8 * time.Second
	rep, err := conformance.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	d := base.Compare(rep)
	for _, x := range d.Unexpected {
		t.Errorf("not among the known findings: %s of %s: %s: %s (%s)", x.ID, x.Version, x.Verdict, x.Reason, strings.Join(x.Checks, ", "))
	}
	for _, x := range d.Better {
		t.Errorf("known as broken, and found kept: %s of %s: %s", x.Rule, x.Version, x.Reason)
	}
	t.Log(rep.Summary())
}

func TestMosquitto(t *testing.T) {
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if _, err := os.Stat("/usr/sbin/mosquitto"); err != nil {
			absent(t, "mosquitto is not installed")
		}
		program = "/usr/sbin/mosquitto"
	}
	help, _ := exec.Command(program, "-h").CombinedOutput() // its exit code is not zero
	m := regexp.MustCompile(`version (\S+)`).FindSubmatch(help)
	if m == nil {
		t.Fatalf("mosquitto does not tell its version: %s", help)
	}
	port := freePorts(t, 2)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nlistener %d 127.0.0.1\nprotocol websockets\nallow_anonymous true\npersistence false\n", port, port+1)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, port, 10*time.Second, program, "-c", conf)
	compare(t, "mosquitto-"+string(m[1]), conformance.Config{
		Target: fmt.Sprintf("mqtt://127.0.0.1:%d", port), WSTarget: fmt.Sprintf("ws://127.0.0.1:%d", port+1),
	})
}

// TestOtherBrokers runs the brokers for which MQLAB_BROKERS names a folder of start scripts.
func TestOtherBrokers(t *testing.T) {
	scripts := os.Getenv("MQLAB_BROKERS")
	if scripts == "" {
		t.Skip("MQLAB_BROKERS does not name a folder of scripts that start brokers")
	}
	for _, b := range []struct {
		script, known string
		versions      conformance.Versions
	}{
		{"aedes", "aedes-1.2.0", conformance.MQTT311},
		{"mochi", "mochi-2.7.9", conformance.MQTT311 | conformance.MQTT5},
		{"rabbitmq", "rabbitmq-3.10.8", conformance.MQTT311},
	} {
		t.Run(b.script, func(t *testing.T) {
			path := filepath.Join(scripts, b.script+".sh")
			if _, err := os.Stat(path); err != nil {
				t.Skipf("%s is not there", path)
			}
			if _, err := os.Stat(filepath.Join("testdata", "known", b.known+".yaml")); err != nil {
				t.Skipf("no findings are known of %s", b.known)
			}
			port := freePorts(t, 2)
			start(t, port, 2*time.Minute, "bash", path, fmt.Sprint(port))
			compare(t, b.known, conformance.Config{Target: fmt.Sprintf("mqtt://127.0.0.1:%d", port), Versions: b.versions})
		})
	}
}
