package fuzz

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqlab/mqlab/broker"
)

// FuzzBroker has the fuzzer choose a script, which runs against the baseline broker in memory and in a bubble, where
// waiting costs no time and a deadlock is noticed as such. The broker has to survive; what it sends has to be legal,
// on every connection; bystanders get what they are promised; connections that have to be closed are; and nothing of
// the broker is left at the end.
func FuzzBroker(f *testing.F) {
	g := NewGenerator(1, GenConfig{Light: true})
	for range 40 {
		b := make([]byte, 200)
		for i := range b {
			b[i] = byte(g.main.pcg.Uint64())
		}
		f.Add(b, uint8(g.main.pcg.Uint64()))
	}
	f.Fuzz(func(t *testing.T, choices []byte, config uint8) {
		s := FromBytes(choices)
		synctest.Test(t, func(t *testing.T) { runInMemory(t, s, limited(config)) })
	})
}

// limited is one of several capability sets.
func limited(bits uint8) broker.Config {
	on := func(i int) bool { return bits>>i&1 == 1 }
	c := broker.Config{AckProperties: on(0), NoOutboundAliases: on(1)}
	if on(2) {
		c.ReceiveMaximum, c.MaxInflight = 2, 2
	}
	if on(3) {
		c.TopicAliasMaximum = 2
	}
	if on(4) {
		c.MaximumPacketSize = 4096
	}
	if on(5) {
		c.QueueMessages, c.MaxRetained, c.MaxSubscriptions = 4, 8, 4
	}
	if on(6) {
		c.SharedUnavailable, c.SubscriptionIDsUnavailable = true, true
	}
	if on(7) {
		c.SessionExpiryMaximum, c.ServerKeepAlive = 5*time.Second, 30*time.Second
	}
	return c
}

// runInMemory runs the script against a broker with the configuration and lets every oracle speak.
func runInMemory(t *testing.T, s *Script, cfg broker.Config) {
	b := broker.New(cfg)
	ctx := t.Context()
	dial := func(context.Context) (net.Conn, error) { return b.Dial() }
	g, err := openGuard(ctx, dial, "", "", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if tr := g.round(time.Minute); tr != nil {
		t.Fatalf("before the script: %s %v", tr.title, tr.detail)
	}
	sound := cfg.MaxRetained == 0 // else the script may have used up what the probe needs
	x := newExecutor(dial)
	x.closeWait = time.Minute
	res := x.run(ctx, s)
	if res.dialErr != nil {
		t.Errorf("the broker took no connection: %v", res.dialErr)
	}
	for _, tr := range res.troubles {
		t.Errorf("%s: %s: %s %q", tr.oracle, tr.signature, tr.title, tr.detail)
	}
	if tr := g.round(time.Minute); tr != nil {
		t.Errorf("bystanders: %s: %s %q", tr.signature, tr.title, tr.detail)
	}
	if tr := g.probe(ctx, time.Minute); tr != nil && sound {
		t.Errorf("a fresh connection: %s: %s %q", tr.signature, tr.title, tr.detail)
	}
	for _, tr := range g.findings() {
		t.Errorf("bystanders: %s: %s: %s", tr.oracle, tr.signature, tr.title)
	}
	g.close()
	synctest.Wait()
	if n := b.Stats().Connections; n != 0 {
		t.Errorf("%d connections outlive their clients", n)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Logf("the script:\n%s", s.Text())
	}
}
