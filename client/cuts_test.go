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

// cutter is a proxy whose connections last 20 to 50 ms. It returns its address.
func cutter(t *testing.T, url string) string {
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
			timer := time.AfterFunc(time.Duration(20+rand.IntN(31))*time.Millisecond, cut)
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				wg.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					timer.Stop()
					cut()
				})
			}
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

// Both ends lose their connection again and again; nothing is lost, nothing of QoS 2 comes twice.
func testCuts(t *testing.T, url string, v codec.Version, durable, ordered bool, cuts uint64) {
	ctx := within(t)
	quick := client.Reconnect{Min: time.Millisecond, Max: 4 * time.Millisecond, Stable: time.Millisecond}
	config := func(name string) client.Config {
		cfg := client.Config{Version: v, ClientID: fmt.Sprintf("cuts-%s-%d-%t", name, v, durable), SessionExpiry: time.Hour, Reconnect: quick}
		if durable {
			cfg.Store = store.Memory()
		}
		return cfg
	}
	topic := "cuts/" + config("topic").ClientID
	g := newLedger()
	scfg := config("sub")
	scfg.Handler = g.take
	scfg.Offline = true
	sub := connect(t, cutter(t, url), scfg)
	if _, err := sub.Subscribe(ctx, g.take, client.Subscription{Filter: topic, QoS: 2}); err != nil {
		t.Fatal(err)
	}
	pcfg := config("pub")
	pcfg.Offline = true
	pub := connect(t, cutter(t, url), pcfg)
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
	for n < 200 || pub.Stats().Connects < cuts || sub.Stats().Connects < cuts {
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
		if c := g.count[fmt.Sprintf("QoS 2 %d", i)]; c != 1 {
			t.Errorf("message %d of QoS 2 came %d times", i, c)
		}
	}
	if ordered {
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
				testCuts(t, srv.URL, v, durable, true, 8)
			})
		}
	}
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
	l, err := net.Listen("tcp", "127.0.0.1:0") // mosquitto cannot say which free port it took
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n", port)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	url := fmt.Sprintf("mqtt://127.0.0.1:%d", port)
	c, err := client.Connect(within(t), url, client.Config{Offline: true, Reconnect: client.Reconnect{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, c, 10_000) // waits until it listens
	if err := c.Disconnect(within(t)); err != nil {
		t.Error(err)
	}
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			// Order over a cut is judged on the embedded broker alone: here either side could have lost it.
			testCuts(t, url, v, true, false, 6)
		})
	}
}
