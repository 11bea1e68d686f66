package client_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/client"
	"github.com/mqlab/mqlab/client/store"
	"github.com/mqlab/mqlab/codec"
)

// cutter is a proxy that cuts a connection, often in the middle of a packet, once the client has sent from least to
// most bytes on it: however slow the machine is, as much comes through. It returns its address.
func cutter(t *testing.T, url string, least, most int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", strings.TrimPrefix(url, "mqtt://"))
			if err != nil {
				_ = in.Close()
				continue
			}
			cut := func() {
				_ = in.Close()
				_ = out.Close()
			}
			wg.Go(func() {
				_, _ = io.CopyN(out, in, int64(least+rand.IntN(most-least+1)))
				cut()
			})
			wg.Go(func() {
				_, _ = io.Copy(in, out)
				cut()
			})
		}
	})
	return "mqtt://" + l.Addr().String()
}

// ledger counts what arrived of each payload, and in which order it first did.
type ledger struct {
	mu    sync.Mutex // guards both
	count map[string]int
	order []string
	end   chan struct{}
}

func newLedger() *ledger { return &ledger{count: map[string]int{}, end: make(chan struct{})} }

func (g *ledger) take(m *client.Message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := string(m.Payload)
	if g.count[p]++; g.count[p] > 1 {
		return
	}
	g.order = append(g.order, p)
	if p == "end" {
		close(g.end)
	}
}

// ordered fails the test where numbers after the same prefix did not first come in ascending order.
func (g *ledger) ordered(t *testing.T) {
	t.Helper()
	last := map[string]int{}
	for _, p := range g.order {
		i := strings.LastIndex(p, " ")
		if i < 0 {
			continue
		}
		n, _ := strconv.Atoi(p[i+1:])
		if n <= last[p[:i]] {
			t.Errorf("%q came after number %d", p, last[p[:i]])
		}
		last[p[:i]] = n
	}
}

// cutCase says whose connections are cut how often, and what the server can be trusted with when the subscriber's are.
type cutCase struct {
	version  codec.Version
	durable  bool
	pub, sub uint64 // connections at least; 1: it is not cut
	strict   bool   // QoS 2 comes once, and everything in order
}

// Ends lose their connection again and again; nothing is lost, nothing of QoS 2 comes twice.
func testCuts(t *testing.T, url string, tc cutCase) {
	ctx := within(t)
	quick := client.Reconnect{Min: time.Millisecond, Max: 4 * time.Millisecond, Stable: time.Millisecond}
	config := func(name string) client.Config {
		id := fmt.Sprintf("%s-%d-%d-%d-%t", name, tc.version, tc.pub, tc.sub, tc.durable)
		cfg := client.Config{Version: tc.version, ClientID: id, SessionExpiry: time.Hour, Reconnect: quick}
		if tc.durable {
			cfg.Store = store.Memory()
		}
		return cfg
	}
	topic := "cuts/" + config("topic").ClientID
	g := newLedger()
	scfg := config("sub")
	scfg.Handler = g.take
	scfg.Offline = true
	subURL, pubURL := url, url
	if tc.sub > 1 {
		subURL = cutter(t, url, 80, 480) // it sends hardly more than acknowledgements
	}
	if tc.pub > 1 {
		pubURL = cutter(t, url, 80, 2500) // more than what is under way at most
	}
	sub := connect(t, subURL, scfg)
	if _, err := sub.Subscribe(ctx, g.take, client.Subscription{Filter: topic, QoS: 2}); err != nil {
		t.Fatal(err)
	}
	pcfg := config("pub")
	pcfg.Offline = true
	pub := connect(t, pubURL, pcfg)
	window := make(chan *client.Token, 20)
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		for tok := range window {
			if <-tok.Done(); tok.Err() != nil {
				failed <- tok.Err()
				return
			}
		}
	}()
	send := func(q codec.QoS, payload string) {
		tok, err := pub.PublishAsync(ctx, client.Message{Topic: topic, QoS: q, Payload: []byte(payload)})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case window <- tok:
		case err := <-failed:
			t.Fatal(err)
		case <-ctx.Done():
			t.Fatalf("no acknowledgement comes: %+v", pub.Stats())
		}
	}
	n := 0
	for n < 200 || pub.Stats().Connects < tc.pub || sub.Stats().Connects < tc.sub {
		n++
		for q := codec.QoS(1); q <= 2; q++ {
			send(q, fmt.Sprintf("QoS %d %d", q, n))
		}
	}
	close(window)
	for err := range failed {
		t.Fatal(err)
	}
	if err := pub.Disconnect(ctx); err != nil {
		t.Fatal(err)
	}
	last := connect(t, url, client.Config{})
	if err := last.Publish(ctx, client.Message{Topic: topic, QoS: 2, Payload: []byte("end")}); err != nil {
		t.Fatal(err)
	}
	wait(t, "the last message", g.end)
	if err := sub.Disconnect(ctx); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= n; i++ {
		if c := g.count[fmt.Sprintf("QoS 1 %d", i)]; c < 1 {
			t.Errorf("message %d of QoS 1 is lost", i)
		}
		if c := g.count[fmt.Sprintf("QoS 2 %d", i)]; c < 1 || c > 1 && tc.strict {
			t.Errorf("message %d of QoS 2 came %d times", i, c)
		}
	}
	if tc.strict {
		g.ordered(t)
	}
	t.Logf("%d messages of each QoS, %d and %d connections", n, pub.Stats().Connects, sub.Stats().Connects)
}

func TestCuts(t *testing.T) {
	srv := brokertest.NewServer(t, broker.Config{})
	for _, v := range versions {
		for _, durable := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/durable=%t", v, durable), func(t *testing.T) {
				t.Parallel()
				testCuts(t, srv.URL, cutCase{v, durable, 8, 8, true})
			})
		}
	}
}

// startMosquitto starts the program on a free port. The program cannot say which one it took, so a port is looked for
// beforehand, and another one where somebody else was quicker.
func startMosquitto(t *testing.T, program string) (url string) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		_ = l.Close()
		text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n", addr[strings.LastIndexByte(addr, ':')+1:])
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, "-c", conf)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		over := make(chan struct{})
		go func() { defer close(over); _ = cmd.Wait() }()
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-over
		})
		for {
			nc, err := net.Dial("tcp", addr)
			if err == nil {
				_ = nc.Close()
			}
			select {
			case <-over:
			case <-within(t).Done():
				t.Fatalf("mosquitto does not listen: %v", err)
			case <-time.After(10 * time.Millisecond):
				if err != nil {
					continue
				}
				return "mqtt://" + addr
			}
			break // it ended: the port was taken
		}
	}
	t.Fatal("mosquitto does not start")
	return ""
}

func TestMosquitto(t *testing.T) {
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
		if _, err := os.Stat(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal("mosquitto is not installed")
			}
			t.Skip("mosquitto is not installed")
		}
	}
	url := startMosquitto(t, program)
	c, err := client.Connect(within(t), url, client.Config{Offline: true, Reconnect: client.Reconnect{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c, 10_000) // waits until it listens
	if err := c.Disconnect(within(t)); err != nil {
		t.Error(err)
	}
	for _, v := range versions {
		t.Run(v.String()+"/publisher", func(t *testing.T) {
			t.Parallel()
			testCuts(t, url, cutCase{v, true, 8, 1, true})
		})
		t.Run(v.String()+"/subscriber", func(t *testing.T) {
			t.Parallel()
			// mosquitto 2.0 repeats the PUBLISH of a message, as a new one to its receiver, when a connection ends before
			// it has repeated the PUBREL, and mixes what it repeats with what has waited.
			testCuts(t, url, cutCase{v, true, 1, 6, false})
		})
	}
}
