package loadgen

import (
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/scenarios"
)

// TestLink holds that nothing comes through a link faster than it allows.
func TestLink(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	for _, tc := range []struct {
		name  string
		link  scenarios.Link
		least time.Duration // of end_to_end at the given quantile
		stat  string
	}{
		{"delay", scenarios.Link{Delay: 30 * time.Millisecond}, 30 * time.Millisecond, "min"},
		{"jitter", scenarios.Link{Delay: 10 * time.Millisecond, Jitter: 20 * time.Millisecond}, 10 * time.Millisecond, "min"},
		// 50 messages of about 83 bytes in half a second are 8,300 bytes a second. At half of that the last one leaves
		// half a second late.
		{"bandwidth", scenarios.Link{Up: 4150}, 300 * time.Millisecond, "max"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := pairs(2, 1, 100, 500*time.Millisecond)
			w.Clients[1].Link = &tc.link
			r := mustRun(t, Config{Workload: w, Target: srv.URL})
			if diff := cmp.Diff([]LedgerRow{{QoS: 1, Expected: 100, Delivered: 100}}, r.Ledger); diff != "" {
				t.Error(diff)
			}
			v, _, _ := r.Lookup(EndToEnd, tc.stat, nil)
			if got := time.Duration(v * 1e9); got < tc.least {
				t.Errorf("end_to_end.%s is %v, want %v at least", tc.stat, got, tc.least)
			}
		})
	}
}

// TestHalfOpen lets connections fall silent before they break.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	w := pairs(5, 1, 200, 800*time.Millisecond)
	w.MQTT = "5.0"
	clean := false
	for i := range w.Clients {
		g := &w.Clients[i]
		g.CleanStart, g.SessionExpiry = &clean, time.Minute
		g.Link = &scenarios.Link{CutEvery: 150 * time.Millisecond, HalfOpen: 50 * time.Millisecond, CutFor: 20 * time.Millisecond}
	}
	r := mustRun(t, Config{Workload: w, Target: srv.URL})
	row := ledgerOf(r, 1)
	if want := (LedgerRow{QoS: 1, Expected: 800, Delivered: 800, Duplicated: row.Duplicated}); row != want {
		t.Errorf("got %+v, want %+v", row, want)
	}
	if r.Totals.Connects < 20 || r.Totals.Disconnects > 0 {
		t.Errorf("%d connections, %d ended against the run's wish", r.Totals.Connects, r.Totals.Disconnects)
	}
}

// TestRetained tells what the server kept from what it passes on.
func TestRetained(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	for _, asPublished := range []bool{false, true} {
		w := pairs(5, 1, 100, 500*time.Millisecond)
		w.MQTT, w.Drain = "5.0", time.Second
		w.Clients[1].Publish[0].Retain = true
		w.Clients[0].Subscribe[0].RetainAsPublished = asPublished
		w.Phases = append(w.Phases, scenarios.Phase{Kind: "storm", For: 500 * time.Millisecond, Groups: []string{"subs"}})
		r := mustRun(t, Config{Workload: w, Target: srv.URL})
		row := ledgerOf(r, 1)
		if row.Expected != 500 || row.Delivered+row.Unsettled != 500 || row.Lost+row.Corrupted+row.Unexpected+row.Reordered > 0 {
			t.Errorf("retain as published %v: %+v", asPublished, row)
		}
		// With Retain As Published the kept message, which was published meanwhile, is the first of the new session.
		if !asPublished && row.Unverified != 5 || row.Duplicated > 0 {
			t.Errorf("retain as published %v: %d kept messages, want 5; %d duplicates", asPublished, row.Unverified, row.Duplicated)
		}
	}
}

// TestSizes holds what an idle client and the account of a stream take.
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(client{}); n > 640 {
		t.Errorf("a client takes %d bytes", n)
	}
	if n := unsafe.Sizeof(entry{}); n != 80 {
		t.Errorf("an account's entry takes %d bytes, reckoned are 80", n)
	}
	var a account
	for i := range uint64(1000) {
		e := a.add(i)
		for seq := range uint64(100) {
			e.Record(seq, 1)
		}
	}
	if n := a.bytes(); n > 1000*160 {
		t.Errorf("1,000 streams whose messages came in order take %d bytes", n)
	}
}
