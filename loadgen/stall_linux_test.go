package loadgen

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mqlab/mqlab/scenarios"
)

// TestStall stops the broker for two seconds in the midst of the run. What fell due meanwhile waited for up to two seconds:
// a tool that counts from the moment of sending, or that offers less while nobody answers, would not show it.
func TestStall(t *testing.T) {
	t.Parallel()
	url, pid := mosquitto(t, "sys_interval 1")
	const (
		clients, rate = 10, 100
		length        = 5 * time.Second
		stall         = 2 * time.Second
	)
	w := &scenarios.Workload{
		Kind: scenarios.KindWorkload, Title: "stall", Seed: 1, Drain: 20 * time.Second,
		Clients: []scenarios.Group{{
			Name: "pubs", Count: clients,
			Publish: []scenarios.Publication{{Topic: "stall/{index}", QoS: scenarios.QoSMix{0, 1, 0}, Rate: rate}},
		}},
		Phases:     []scenarios.Phase{{Kind: "hold", For: length}},
		Thresholds: []string{"publish_ack.p99 < 500ms", "publish_ack.max < 40s", "rate >= 0.99 * offered"},
	}
	started := make(chan struct{})
	start := sync.OnceFunc(func() { close(started) })
	var stood, atMost time.Duration // the stop lasted
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-started
		before := time.Now()
		_ = syscall.Kill(pid, syscall.SIGSTOP)
		from := time.Now()
		<-time.After(stall)
		stood = time.Since(from)
		_ = syscall.Kill(pid, syscall.SIGCONT)
		atMost = time.Since(before)
	}()
	r, err := Run(t.Context(), Config{Workload: w, Target: url, PID: pid, Sys: true, Progress: func(s *Snapshot) {
		if s.Elapsed > 0 {
			start()
		}
	}})
	start()
	<-stopped
	if err != nil {
		t.Fatal(err)
	}
	const want = clients * rate * int(length/time.Second)
	value := func(metric, stat string) time.Duration {
		v, _, ok := r.Lookup(metric, stat, nil)
		if !ok {
			t.Fatalf("no %s.%s", metric, stat)
		}
		return time.Duration(v * 1e9)
	}
	if n, _, _ := r.Lookup(PublishAck, "count", nil); int(n) != want || r.Totals.Scheduled != uint64(want) {
		t.Errorf("%d scheduled, %v samples, want %d of each", r.Totals.Scheduled, n, want)
	}
	lag := value(GeneratorLag, "max")
	p99, most := value(PublishAck, "p99"), value(PublishAck, "max")
	t.Logf("stopped for %v: p50 %v, p99 %v, max %v; the generator's lag at most %v", stood, value(PublishAck, "p50"), p99, most, lag)
	if p99 < stood*85/100 {
		t.Errorf("p99 is %v, with the broker stopped for %v", p99, stood)
	}
	// How long the broker takes to catch up is for the machine to say.
	if limit := atMost + lag + 20*time.Second; most > limit {
		t.Errorf("max is %v, more than %v", most, limit)
	}
	passed := []bool{false, len(r.Generator.Limited) == 0, true}
	for i, th := range r.Thresholds {
		if th.Passed != passed[i] {
			t.Errorf("%s: passed %v (%s)", th.Text, th.Passed, th.Why)
		}
	}
	if !strings.Contains(r.Server, "mosquitto") || r.Broker.MaxRSS == 0 {
		t.Errorf("the server is %q and takes %d bytes", r.Server, r.Broker.MaxRSS)
	}
	var sum Counts
	sampled := false
	for i, s := range r.Series {
		sum.add(&s.Counts)
		sampled = sampled || len(s.Sys) > 0
		// One that the machine left out is part of the one before.
		if s.At%time.Second != 0 || i == 0 && s.At != 0 || i > 0 && s.At <= r.Series[i-1].At {
			t.Errorf("second %d begins at %v", i, s.At)
		}
	}
	if sum.Published != r.Totals.Published || sum.Scheduled != r.Totals.Scheduled || !sampled {
		t.Errorf("the series holds %+v, the totals are %+v; $SYS sampled: %v", sum, r.Totals, sampled)
	}
	// A broker that stands still is not the generator's fault, unless the machine left the generator no time either.
	if len(r.Series) < 2 || len(r.Generator.Limited) > 0 && lag < 5*time.Millisecond {
		t.Errorf("%d seconds, limited: %v", len(r.Series), r.Generator.Limited)
	}
}
