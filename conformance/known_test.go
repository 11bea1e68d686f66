package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// freePorts returns the first of n consecutive ports that were free a moment ago. They lie below
// those that the system hands out by itself, so that no connection takes one before the broker does.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	const lowest, highest = 20_100, 32_000
next:
	for range 200 {
		first := lowest + rand.IntN(highest-lowest-n)
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

// start runs a broker and waits until it accepts connections. stop ends it and waits.
func start(ctx context.Context, port int, wait time.Duration, name string, args ...string) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = func() {
		cancel()
		<-ended
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what a script has left behind
	}
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = nc.Close()
			return stop, nil
		}
		select {
		case err := <-ended:
			ended <- err
			stop()
			return nil, fmt.Errorf("%s %s ended before it listened: %v\n%s", name, strings.Join(args, " "), err, log.String())
		case <-deadline.C:
			stop()
			return nil, fmt.Errorf("%s %s does not listen on port %d after %v\n%s", name, strings.Join(args, " "), port, wait, log.String())
		case <-retry.C:
		}
	}
}

// known returns the findings that are known of a broker, or nil where there is no such list.
func known(name string) (*conformance.Baseline, error) {
	f, err := os.Open(filepath.Join("testdata", "known", name+".yaml"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return conformance.ReadBaseline(f)
}

// compare runs the suite and returns what the report says otherwise than the known findings: a
// finding that is not among them, and one of them that was found kept or not judged at all.
func compare(ctx context.Context, base *conformance.Baseline, cfg conformance.Config) (problems []string, summary string) {
	cfg.Timeout = 8 * time.Second
	rep, err := conformance.Run(ctx, cfg)
	if err != nil {
		return []string{err.Error()}, ""
	}
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	d := base.Compare(rep)
	for _, x := range d.Unexpected {
		bad("not among the known findings: %s of %s: %s: %s", x.ID, x.Version, x.Verdict, x.Reason)
		for _, name := range x.Checks {
			c := rep.Check(name, x.Version)
			if c == nil || c.Verdict < conformance.Warn {
				continue
			}
			lines := []string{name}
			for _, e := range c.Transcript {
				lines = append(lines, fmt.Sprintf("  %8.3fs %s %s %s", e.At.Seconds(), e.Conn, e.Dir, e.Text))
			}
			problems = append(problems, strings.Join(lines, "\n"))
		}
	}
	for _, x := range d.Better {
		bad("known as broken, and found kept: %s of %s: %s", x.Rule, x.Version, x.Reason)
	}
	for _, f := range base.Findings {
		if x := rep.Rule(f.Rule, f.Version); x == nil || x.Verdict < conformance.Pass {
			bad("known as broken, and not judged: %s of %s: %s", f.Rule, f.Version, f.Reason)
		}
	}
	return problems, rep.Summary()
}

// without returns the checks of the suite but those with the names.
func without(t *testing.T, names ...string) []*conformance.Check {
	t.Helper()
	all := conformance.All()
	rest := slices.DeleteFunc(slices.Clone(all), func(c *conformance.Check) bool { return slices.Contains(names, c.Name) })
	if len(rest)+len(names) != len(all) {
		t.Fatalf("not every one of %q is a check", names)
	}
	return rest
}

func TestMosquitto(t *testing.T) {
	t.Parallel()
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
	name := "mosquitto-" + string(m[1])
	base, err := known(name)
	if err != nil {
		t.Fatal(err)
	}
	if base == nil {
		absent(t, "no findings are known of %s: run the suite, judge each finding, and write testdata/known/%s.yaml", name, name)
	}
	port := freePorts(t, 2)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nlistener %d 127.0.0.1\nprotocol websockets\nallow_anonymous true\npersistence false\n", port, port+1)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	stop, err := start(t.Context(), port, 10*time.Second, program, "-c", conf)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	problems, summary := compare(t.Context(), base, conformance.Config{
		Target: fmt.Sprintf("mqtt://127.0.0.1:%d", port), WSTarget: fmt.Sprintf("ws://127.0.0.1:%d", port+1),
	})
	for _, p := range problems {
		t.Error(p)
	}
	t.Log(summary)
}

// TestOtherBrokers runs the brokers for which MQLAB_BROKERS names a folder of start scripts, but
// those that MQLAB_SKIP_BROKERS lists. A script may have to install its broker first. They mostly
// wait, so all run at the same time.
func TestOtherBrokers(t *testing.T) {
	scripts := os.Getenv("MQLAB_BROKERS")
	if scripts == "" {
		t.Skip("MQLAB_BROKERS does not name a folder of scripts that start brokers")
	}
	t.Parallel()
	const installing = 4 * time.Minute
	brokers := []struct {
		script, known string
		cfg           conformance.Config
	}{
		{"aedes", "aedes-1.2.0", conformance.Config{}},
		// The check that is left out crashes the process, as the list of findings says.
		{"mochi", "mochi-2.7.9", conformance.Config{Checks: without(t, "subscribe/options-missing-refused")}},
		{"rabbitmq", "rabbitmq-3.10.8", conformance.Config{Username: "guest", Password: "guest"}},
	}
	type verdict struct {
		name     string
		problems []string
		summary  string
	}
	port := freePorts(t, 2*len(brokers))
	var verdicts []chan verdict
	for i, b := range brokers {
		path := filepath.Join(scripts, b.script+".sh")
		if _, err := os.Stat(path); err != nil || !wanted(t.Name()+"/"+b.script) || slices.Contains(strings.Split(os.Getenv("MQLAB_SKIP_BROKERS"), ","), b.script) {
			continue
		}
		done := make(chan verdict, 1)
		verdicts = append(verdicts, done)
		go func() {
			v := verdict{name: b.script}
			defer func() { done <- v }()
			base, err := known(b.known)
			if err != nil || base == nil {
				v.problems = []string{fmt.Sprintf("the findings of %s cannot be read: %v", b.known, err)}
				return
			}
			at := port + 2*i
			stop, err := start(t.Context(), at, installing, "bash", path, fmt.Sprint(at))
			if err != nil {
				v.problems = []string{err.Error()}
				return
			}
			defer stop()
			b.cfg.Target = fmt.Sprintf("mqtt://127.0.0.1:%d", at)
			v.problems, v.summary = compare(t.Context(), base, b.cfg)
		}()
	}
	for _, done := range verdicts {
		v := <-done
		t.Run(v.name, func(t *testing.T) {
			for _, p := range v.problems {
				t.Error(p)
			}
			t.Log(v.summary)
		})
	}
}
