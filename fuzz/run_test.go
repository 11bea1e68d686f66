package fuzz

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

// TestPlantedBroker is no test: started with a port in the environment, it is a broker with a planted fault.
func TestPlantedBroker(t *testing.T) {
	port := os.Getenv("MQLAB_PLANTED_PORT")
	if port == "" {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	b := broker.New(broker.Config{})
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		go func() { _ = b.ServeConn(&plantedConn{Conn: nc, fault: os.Getenv("MQLAB_PLANTED")}) }()
	}
}

// plantedConn sees what a client sends before the broker does.
type plantedConn struct {
	net.Conn
	fault string
	part  []byte
	seen  []codec.Type
}

func (p *plantedConn) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	p.part = append(p.part, b[:n]...)
	for {
		frame, rest, cerr := codec.Cut(p.part, 0)
		if frame == nil || cerr != nil {
			return n, err
		}
		p.seen = append(p.seen, codec.Type(frame[0]>>4))
		p.look(frame)
		p.part = append([]byte(nil), rest...)
	}
}

func (p *plantedConn) look(frame []byte) {
	last := len(p.seen) - 1
	switch p.fault {
	case "panic": // UNSUBSCRIBE after SUBSCRIBE after CONNECT
		if p.seen[0] == codec.TypeConnect && p.seen[last] == codec.TypeUnsubscribe && slices.Contains(p.seen, codec.TypeSubscribe) {
			panic("planted: no such node")
		}
	case "hang": // a second CONNECT stops the world
		if last > 0 && p.seen[last] == codec.TypeConnect {
			time.Sleep(time.Hour)
		}
	}
}

// planted is a target with a planted fault.
func planted(fault string) Target {
	return Target{
		Cmd: "'" + os.Args[0] + "' -test.run='^TestPlantedBroker$'", URL: "mqtt://127.0.0.1:{port}",
		Env: []string{"MQLAB_PLANTED=" + fault, "MQLAB_PLANTED_PORT={port}", "GOCOVERDIR="},
	}
}

// TestFindsPanic holds that a planted panic is found, confirmed on fresh starts, and made as small as it is.
func TestFindsPanic(t *testing.T) {
	dir := t.TempDir()
	sum, err := Run(t.Context(), Config{
		Target: planted("panic"), Seed: 1, Execs: 20_000, Time: 20 * time.Second, Workers: 4, Light: true, StopAfter: 1, Minimise: 5 * time.Second, Replays: 2, Out: dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(sum.Findings) != 1 {
		t.Fatalf("%d findings, want 1: %+v", len(sum.Findings), sum)
	}
	x := sum.Findings[0]
	if x.Oracle != OracleDied || !strings.Contains(x.Signature, "planted") || !strings.Contains(x.Stderr, "plantedConn") {
		t.Errorf("%s %q: %s", x.Oracle, x.Signature, x.Stderr)
	}
	if x.Confirmed != 2 || x.Tried != 2 || x.Minimal == nil {
		t.Fatalf("confirmed by %d of %d replays, minimal %v", x.Confirmed, x.Tried, x.Minimal)
	}
	var types []string
	for _, st := range x.Minimal.Steps {
		if st.Op == Send {
			types = append(types, codec.Type(st.Bytes[0]>>4).String())
		}
	}
	if got := fmt.Sprint(types); got != "[CONNECT SUBSCRIBE UNSUBSCRIBE]" || len(x.Minimal.Steps) != 4 {
		t.Errorf("the smallest script is\n%s", x.Minimal.Text())
	}
	if !sum.OK() == (sum.Failed() == 0) || sum.OK() {
		t.Error("a run with a dead target is fine")
	}
	t.Logf("%s after %d scripts in %v\n%s", x.Title, x.Execs, x.After, x.Minimal.Text())
}

// TestNothingGraveOnMosquitto holds that a real broker is accused of nothing that it was not seen to do: it neither dies
// nor hangs nor leaks nor fails bystanders. What it answers breaks some rules, each of which was held against the
// standard by hand.
func TestNothingGraveOnMosquitto(t *testing.T) {
	if _, err := exec.LookPath("mosquitto"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("mosquitto is not installed")
		}
		t.Skip("mosquitto is not installed")
	}
	known, err := os.ReadFile(filepath.Join("..", "conformance", "testdata", "known", "mosquitto-2.0.11.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	sum, err := Run(t.Context(), Config{Target: Target{Cmd: "mosquitto -p {port}"}, Seed: 5, Time: 3 * time.Second, Workers: 4, Minimise: time.Second, Replays: 1})
	if err != nil {
		t.Fatal(err)
	}
	judged := []string{
		"MQTT-3.1.2-24", // CONNACK ignores the Maximum Packet Size, which no check of the suite can ask of every broker
		"",              // what is malformed in a way that has no number: Payload Format Indicators and Response Topics are passed on unseen
	}
	for _, x := range sum.Findings {
		if x.Warn || x.Class() == "rule" && (slices.Contains(judged, x.Rule) || strings.Contains(string(known), "rule: "+x.Rule+"\n")) {
			continue
		}
		t.Errorf("%s %s: %s\n%s\n%s", x.Oracle, x.Signature, x.Title, strings.Join(x.Detail, "\n"), x.Best().Text())
	}
	t.Logf("%d scripts, %d packets, %d findings", sum.Execs, sum.Packets, len(sum.Findings))
	if sum.Execs < 50 {
		t.Errorf("only %d scripts", sum.Execs)
	}
}

// TestNothingOnBroker holds that the embedded broker is accused of nothing.
func TestNothingOnBroker(t *testing.T) {
	mem, _ := embedded(t)
	sum, err := Run(t.Context(), Config{Dial: mem, Name: "embedded", Seed: 3, Time: 3 * time.Second, Workers: 4})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range sum.Findings {
		t.Errorf("%s %s: %s\n%s\n%s", x.Oracle, x.Signature, x.Title, strings.Join(x.Detail, "\n"), x.Best().Text())
	}
	t.Logf("%d scripts, %d packets, corpus %d, %d states, %d edges in %v", sum.Execs, sum.Packets, sum.Corpus, sum.States, sum.Edges, sum.Elapsed)
	if sum.Execs < 100 || sum.States < 50 || sum.Corpus < 20 {
		t.Errorf("%+v", sum)
	}
}
