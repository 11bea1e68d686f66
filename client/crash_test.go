package client_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/client"
	"github.com/mqlab/mqlab/client/store"
	"github.com/mqlab/mqlab/codec"
)

// crashingPublisher is the other process of TestCrash: it publishes until it is killed, or on its last run what
// the earlier ones have left, and says which messages are safe in the store.
func crashingPublisher(url string) {
	ctx := context.Background()
	s, err := store.Open(os.Getenv("MQLAB_CRASH_STORE"))
	if err != nil {
		log.Fatal(err)
	}
	run := os.Getenv("MQLAB_CRASH_RUN")
	c, err := client.Connect(ctx, url, client.Config{ClientID: "crash", Store: s})
	if err != nil {
		log.Fatal(err)
	}
	if run == "last" {
		if err := c.Disconnect(ctx); err != nil {
			log.Fatal(err)
		}
		if err := s.Close(); err != nil {
			log.Fatal(err)
		}
		return
	}
	tokens := make(chan func(), 50)
	go func() {
		for report := range tokens {
			report()
		}
	}()
	for i := 1; ; i++ {
		for q := codec.QoS(1); q <= 2; q++ {
			payload := fmt.Sprintf("run %s QoS %d %d", run, q, i)
			tok, err := c.PublishAsync(ctx, client.Message{Topic: "crash", QoS: q, Payload: []byte(payload)})
			if err != nil {
				log.Fatal(err)
			}
			tokens <- func() {
				<-tok.Stored()
				fmt.Println(payload)
			}
		}
	}
}

// A publisher that is killed again and again loses nothing that it had accepted, and QoS 2 stays exactly once.
func TestCrash(t *testing.T) {
	srv := brokertest.NewServer(t, broker.Config{})
	ctx := within(t)
	g := newLedger()
	sub := connect(t, srv.URL, client.Config{})
	if _, err := sub.Subscribe(ctx, g.take, client.Subscription{Filter: "crash", QoS: 2}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "session")
	start := func(run string) (*exec.Cmd, *bufio.Scanner, *strings.Builder) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "MQLAB_CRASH_TARGET="+srv.URL, "MQLAB_CRASH_STORE="+file, "MQLAB_CRASH_RUN="+run)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var trouble strings.Builder
		cmd.Stderr = &trouble
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, bufio.NewScanner(out), &trouble
	}
	var safe []string
	for run := range 8 {
		cmd, lines, trouble := start(fmt.Sprint(run))
		for n := rand.IntN(200); n >= 0 && lines.Scan(); n-- {
			safe = append(safe, lines.Text())
		}
		_ = cmd.Process.Kill()
		for lines.Scan() { // what it said before it was killed counts too
			safe = append(safe, lines.Text())
		}
		_ = cmd.Wait()
		if trouble.Len() > 0 {
			t.Fatalf("run %d: %s", run, trouble)
		}
	}
	cmd, _, trouble := start("last")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("the last run: %v: %s", err, trouble)
	}
	last := connect(t, srv.URL, client.Config{})
	if err := last.Publish(ctx, client.Message{Topic: "crash", QoS: 2, Payload: []byte("end")}); err != nil {
		t.Fatal(err)
	}
	wait(t, "the last message", g.end)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(safe) < 50 {
		t.Errorf("only %d messages were safe before the crashes", len(safe))
	}
	again := 0
	for _, p := range safe {
		if g.count[p] == 0 && len(strings.Fields(p)) == 5 { // a line can be cut by the kill
			t.Errorf("%q is lost", p)
		}
	}
	for p, n := range g.count {
		if strings.Contains(p, "QoS 2") && n != 1 {
			t.Errorf("%q came %d times", p, n)
		}
		again += n - 1
	}
	g.ordered(t)
	t.Logf("%d messages safe, %d received, %d of QoS 1 again", len(safe), len(g.count), again)
}
