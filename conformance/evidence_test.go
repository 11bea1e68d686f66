package conformance_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/mutant"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/scenarios"
)

// sampled are mutants of all chapters whose evidence is worked out, written and tried.
var sampled = []string{
	"connect/second-connect-tolerated", "connack/missing", "publish/qos3-tolerated", "publish/puback-missing", "publish/pubrec-for-qos1",
	"qos/zero-sent-twice", "subscribe/suback-twice", "unsubscribe/unanswered", "retained/not-kept", "session/subscription-lost",
	"session/clean-start-ignored", "will/never-published", "will/payload-changed", "ping/unanswered", "header/puback-flags-set",
	"strings/ill-formed-tolerated", "disconnect/flags-tolerated", "packetid/zero-answered", "topics/plus-spans-levels",
	"shared/copy-for-two-members", "takeover/older-connection-stays", "clientid/missing-tolerated", "options/no-local-ignored",
	"ordering/swapped-at-qos1", "properties/user-properties-sorted",
}

func dialMutant(t *testing.T, m *mutant.Mutant) func(context.Context) (net.Conn, error) {
	t.Helper()
	b := broker.New(m.Broker)
	t.Cleanup(func() { _ = b.Close() })
	p := mutant.NewProxy(func(context.Context) (net.Conn, error) { return b.Dial() }, m.New())
	t.Cleanup(p.Close)
	return p.Dial
}

// evidenceOf runs the checks of the mutant's rule and writes the evidence. There is none where the
// checks did not find the breach in time.
func evidenceOf(t *testing.T, m *mutant.Mutant, cfg conformance.Config) (*conformance.Report, []conformance.EvidenceFile) {
	t.Helper()
	v := m.Versions.Split()[0]
	for _, c := range conformance.All() {
		if c.Slow == 0 && slices.Contains(c.RulesFor(v), m.RuleFor(v)) {
			cfg.Checks = append(cfg.Checks, c)
		}
	}
	cfg.Dial, cfg.Versions, cfg.Evidence, cfg.Broker = dialMutant(t, m), v, true, m.Broker
	rep, err := conformance.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	files, err := rep.WriteEvidence(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return rep, files
}

func mutantNamed(t *testing.T, name string) *mutant.Mutant {
	t.Helper()
	all := mutant.All()
	i := slices.IndexFunc(all, func(m *mutant.Mutant) bool { return m.Name == name })
	if i < 0 {
		t.Fatalf("there is no mutant %s", name)
	}
	return all[i]
}

// patience is how long what must happen is waited for, and again where the outcome is wrong: on a
// busy machine a check may not be able to tell in a short time.
var patience = []time.Duration{2 * time.Second, 6 * time.Second, patient}

// Every exchange that is written for a mutant fails on it and passes on the baseline broker, and
// every capture shows the packets of the transcript to another dissector.
func TestEvidenceTellsMutantsFromTheBaseline(t *testing.T) {
	t.Parallel()
	tshark := findTshark(t)
	names := sampled
	if testing.Short() {
		names = slices.DeleteFunc(slices.Clone(sampled), func(name string) bool { return slices.Index(sampled, name)%4 != 0 })
	}
	// They mostly wait, so many run at a time, whatever -parallel says.
	slots := make(chan struct{}, 16)
	var all sync.WaitGroup
	defer all.Wait()
	for _, name := range names {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			t.Run(name, func(t *testing.T) {
				m := mutantNamed(t, name)
				var problems []string
				for _, timeout := range patience {
					if problems = judgeEvidence(t, m, timeout, tshark); len(problems) == 0 {
						return
					}
				}
				for _, p := range problems {
					t.Error(p)
				}
			})
		})
	}
}

// judgeEvidence works out the evidence of a mutant and returns what is wrong with it.
func judgeEvidence(t *testing.T, m *mutant.Mutant, timeout time.Duration, tshark string) (problems []string) {
	t.Helper()
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	rep, files := evidenceOf(t, m, conformance.Config{Timeout: timeout})
	if len(files) == 0 {
		bad("the breach has no evidence")
	}
	for _, f := range files {
		if f.Scenario == "" || f.Why != "" {
			bad("%s: %s", f.Check, f.Why)
			continue
		}
		x := loadExchange(t, f.Scenario)
		b := broker.New(m.Broker)
		good := replay(t, x, timeout, func(context.Context) (net.Conn, error) { return b.Dial() })
		_ = b.Close()
		if d := good.Departure(); d != nil {
			bad("%s: the baseline departs at step %d, %s: %s", f.Check, d.Number, d.Step, d.Detail)
		}
		if out := replay(t, x, timeout, dialMutant(t, m)); out.Followed {
			bad("%s: the mutant follows it", f.Check)
		}
		if tshark != "" {
			compareCapture(t, tshark, f.Capture, rep.Check(f.Check, f.Version).Transcript)
		}
	}
	return problems
}

func loadExchange(t *testing.T, path string) *scenarios.Exchange {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	x, err := scenarios.LoadExchange(file)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func replay(t *testing.T, x *scenarios.Exchange, timeout time.Duration, dial func(context.Context) (net.Conn, error)) *scenarios.Outcome {
	t.Helper()
	out, err := scenarios.Run(t.Context(), x, scenarios.RunConfig{Dial: dial, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func findTshark(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal("tshark is not installed")
	}
	return path
}

// compareCapture holds what tshark reads against the transcript. Packets that are broken on
// purpose are left out with what follows them on their connection: what a dissector makes of them is its own affair.
func compareCapture(t *testing.T, tshark, file string, entries []peer.Entry) {
	t.Helper()
	var want []string
	for _, e := range entries {
		if e.Dir == peer.Noted {
			continue
		}
		if strings.Contains(e.Text, "(") || e.Size > len(e.Bytes) {
			return
		}
		want = append(want, strconv.Itoa(int(e.Bytes[0]>>4)))
	}
	cmd := exec.Command(tshark, "-r", file, "-Y", "mqtt || _ws.malformed || tcp.analysis.flags", "-T", "fields", "-E", "aggregator=/s", "-e", "mqtt.msgtype", "-e", "_ws.malformed")
	cmd.Stderr = io.Discard
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, strings.Fields(string(out))); diff != "" {
		t.Errorf("tshark reads other packet types than the transcript has (-want +got): %s", diff)
	}
}

// Neither exchange nor capture shows a password, and both can be replayed with it.
func TestEvidenceKeepsSecrets(t *testing.T) {
	t.Parallel()
	const password = "correct-horse"
	m := mutantNamed(t, "ping/unanswered")
	_, files := evidenceOf(t, m, conformance.Config{Username: "alice", Password: password, Timeout: 2 * time.Second})
	if len(files) == 0 {
		t.Fatal("the breach has no evidence")
	}
	for _, f := range files {
		for _, path := range []string{f.Scenario, f.Capture} {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), password) || strings.Contains(string(text), hex.EncodeToString([]byte(password))) {
				t.Errorf("%s shows the password", filepath.Base(path))
			}
		}
		text, _ := os.ReadFile(f.Scenario)
		if !strings.Contains(string(text), "password: $password") || !strings.Contains(string(text), "username: $username") {
			t.Errorf("%s has no placeholders", filepath.Base(f.Scenario))
		}
	}
}
