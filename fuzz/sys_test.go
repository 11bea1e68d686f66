package fuzz

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

// TestLeakyBroker is no test: started with a port in the environment, it is a broker that tells under $SYS what it holds,
// and holds what it should not.
func TestLeakyBroker(t *testing.T) {
	port := os.Getenv("MQLAB_LEAKY_PORT")
	if port == "" {
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	b := broker.New(broker.Config{SysInterval: 150 * time.Millisecond})
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			_ = b.ServeConn(&leakyConn{plantedConn: plantedConn{Conn: nc}, b: b, fault: os.Getenv("MQLAB_LEAKY")})
		}()
	}
}

// leakyConn leaves a stranger on the broker for what a client sends.
type leakyConn struct {
	plantedConn
	b     *broker.Broker
	fault string
	done  bool
}

var strangers atomic.Int64

func (c *leakyConn) Read(p []byte) (int, error) {
	n, err := c.plantedConn.Read(p)
	last := len(c.seen) - 1
	if c.fault == "sessions" && !c.done && last > 1 && c.seen[0] == codec.TypeConnect && c.seen[last] == codec.TypePublish && slices.Contains(c.seen, codec.TypeSubscribe) {
		c.done = true
		c.stranger()
	}
	return n, err
}

// stranger begins a session that nobody asked for and leaves it.
func (c *leakyConn) stranger() {
	nc, err := c.b.Dial()
	if err != nil {
		return
	}
	defer nc.Close()
	hello, _ := (&codec.Connect{Version: codec.V4, ClientID: fmt.Sprintf("stranger%d", strangers.Add(1)), KeepAlive: 60}).AppendTo(nil, codec.V4)
	if _, err := nc.Write(hello); err == nil {
		_, _ = codec.NewReader(nc, 64).Next()
	}
}

func leaky(fault string) Target {
	return Target{
		Cmd: "'" + os.Args[0] + "' -test.run='^TestLeakyBroker$'", URL: "mqtt://127.0.0.1:{port}",
		Env: []string{"MQLAB_LEAKY=" + fault, "MQLAB_LEAKY_PORT={port}", "GOCOVERDIR="},
	}
}

// TestFindsSessions holds that sessions which nobody can end are found by what the broker says under $SYS, with the
// numbers, and by as few packets as it takes.
func TestFindsSessions(t *testing.T) {
	t.Parallel()
	f, err := newFuzzer(t.Context(), Config{
		Target: leaky("sessions"), Seed: 1, Workers: 1, Light: true, Minimise: 2 * time.Second, Replays: 1, Resources: time.Millisecond,
		Events: func(e Event) {
			if e.Note != "" {
				t.Log(e.Note)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.stop)
	f.started, f.fatal = time.Now(), func(error) {}
	f.sysOpen(t.Context())
	g := NewGenerator(1, GenConfig{Prefix: "w0", Light: true})
	for _, _, known := f.sys.mon.next(time.Now()); !known; _, _, known = f.sys.mon.next(time.Now()) {
		if !f.sys.mon.heard(t.Context(), time.Now(), 20*time.Second) {
			t.Fatal("nothing is heard under $SYS")
		}
	}
	for n := 0; len(f.order) == 0; n++ {
		if n == 40 {
			t.Fatalf("the leak is not found in %d scripts", f.execs.Load())
		}
		for range 40 {
			s := g.Next()
			f.execs.Add(1)
			f.ring(0).add(s, f.execs.Load())
			f.left.note(s)
			f.replay.run(t.Context(), s)
		}
		f.weighSys(t.Context())
	}
	x := f.order[0]
	if x.Oracle != OracleLeak || x.Signature != "sessions" || x.Warn || x.Confirmed != 1 || x.Tried != 1 || len(x.Detail) != 2 || !strings.Contains(x.Detail[0], "$SYS/broker/clients/total") {
		t.Errorf("%s %s, confirmed by %d of %d replays, warn %t: %q", x.Oracle, x.Signature, x.Confirmed, x.Tried, x.Warn, x.Detail)
	}
	if n := x.Best().Packets(); n > 12 {
		t.Errorf("it takes %d packets:\n%s", n, x.Best().Text())
	}
	t.Logf("after %d scripts in %v: %q\n%s", x.Execs, x.After, x.Detail, x.Best().Text())
}

// TestNoLeak holds that a sound broker that says what it holds is not accused, although scripts leave sessions
// and messages on it.
func TestNoLeak(t *testing.T) {
	t.Parallel()
	sum, err := Run(t.Context(), Config{
		Target: leaky(""), Seed: 2, Time: 3 * time.Second, Workers: 4, Light: true, Resources: 400 * time.Millisecond,
		Events: func(e Event) {
			if e.Note != "" {
				t.Log(e.Note)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range sum.Findings {
		t.Errorf("%s %s: %s\n%s\n%s", x.Oracle, x.Signature, x.Title, strings.Join(x.Detail, "\n"), x.Best().Text())
	}
}

func TestSysMessages(t *testing.T) {
	m := &sysMonitor{values: map[string]int64{}, round: map[string]bool{}, news: make(chan struct{}, 1), born: time.Unix(0, 0)}
	at := func(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }
	for _, x := range []struct {
		ms          int
		topic, text string
		retained    bool
	}{
		{5, "$SYS/broker/version", "mosquitto version 2.0.11", true},
		{6, "$SYS/broker/clients/total", "7", true},
		{7, "$SYS/broker/heap/current", "33752 bytes", true},
		{9000, "$SYS/broker/clients/a/connected", "1", false},
		{9500, "$SYS/broker/uptime", "10 seconds", false},
		{9501, "$SYS/broker/clients/total", "8", false},
		{19500, "$SYS/broker/uptime", "20 seconds", false},
		{19510, "$SYS/broker/clients/connected", "many", false},
		{19520, "$SYS/brokers/n1/stats/retained/count", "3", false},
		{19530, "$SYS/brokers/n2/stats/retained/count", "4", false},
	} {
		m.take(x.topic, x.text, x.retained, at(x.ms))
	}
	if next, interval, ok := m.next(at(20000)); !ok || !next.Equal(at(29500)) || interval != 10*time.Second {
		t.Errorf("the next round at %v, every %v", next, interval)
	}
	type reading struct {
		N  int64
		At string
	}
	got := map[string]reading{}
	for i := range quantities {
		if n, at, ok := m.value(&quantities[i]); ok {
			got[quantities[i].signature] = reading{n, at}
		}
	}
	want := map[string]reading{
		"sessions": {8, "$SYS/broker/clients/total"}, "heap under $SYS": {33752, "$SYS/broker/heap/current"},
		"retained messages": {7, "$SYS/brokers/+/stats/retained/count"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !m.plain("$SYS/broker/clients/total") {
		t.Error("mosquitto is not known")
	}
}

// TestCountsVisits holds that a number which never goes down is told from a leak.
func TestCountsVisits(t *testing.T) {
	t.Parallel()
	b := broker.New(broker.Config{SysInterval: 100 * time.Millisecond})
	t.Cleanup(func() { _ = b.Close() })
	f, err := newFuzzer(t.Context(), Config{Dial: func(context.Context) (net.Conn, error) { return b.Dial() }, Name: "embedded", Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.stop)
	ever := quantity{gauge{signature: "clients ever", show: count}, []string{"$SYS/broker/clients/accepted"}}
	if !f.countsVisits(t.Context(), &ever) {
		t.Error("what counts every client is taken for what is there")
	}
	for i := range quantities[:4] {
		if f.countsVisits(t.Context(), &quantities[i]) {
			t.Errorf("%s are taken for what ever came", quantities[i].signature)
		}
	}
}
