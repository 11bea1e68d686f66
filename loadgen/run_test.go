package loadgen

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/scenarios"
)

// newServer starts a broker that waits longer for slow clients than any machine makes it: nothing is dropped because
// the machine had no time for a reader.
func newServer(t *testing.T, cfg broker.Config) *brokertest.Server {
	t.Helper()
	cfg.SlowQoS0, cfg.SlowConsumer, cfg.ConnectTimeout = time.Minute, time.Minute, time.Minute
	return brokertest.NewServer(t, cfg)
}

// pairs is a workload of publishers with a subscriber each. Where all arrives, its drain ends with the last message,
// however long it may take; tests in which something does not arrive shorten it.
func pairs(n int, qos uint8, rate scenarios.Rate, d time.Duration) *scenarios.Workload {
	mix := scenarios.QoSMix{}
	mix[qos] = 1
	return &scenarios.Workload{
		Kind: scenarios.KindWorkload, Title: "pairs", Seed: 7, Drain: 20 * time.Second,
		Clients: []scenarios.Group{
			{Name: "subs", Count: n, Subscribe: []scenarios.Subscription{{Filter: "t/{run}/{index}", QoS: qos}}},
			{Name: "pubs", Count: n, Publish: []scenarios.Publication{{Topic: "t/{run}/{index}", QoS: mix, Rate: rate}}},
		},
		Phases: []scenarios.Phase{{Kind: "hold", For: d}},
	}
}

// mustRun runs a workload that has to come to a result.
func mustRun(t *testing.T, cfg Config) *Result {
	t.Helper()
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range r.Errors {
		t.Logf("error: %s: %s (%d), %d times", e.Kind, e.Reason, e.Code, e.Count)
	}
	return r
}

// ledgerOf is the row of a QoS.
func ledgerOf(r *Result, qos int) LedgerRow {
	for _, row := range r.Ledger {
		if row.QoS == qos {
			return row
		}
	}
	return LedgerRow{QoS: qos}
}

func TestRunDelivers(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	for _, version := range []string{"3.1", "3.1.1", "5.0"} {
		for qos := range 3 {
			t.Run(fmt.Sprintf("version=%s/qos=%d", version, qos), func(t *testing.T) {
				t.Parallel()
				w := pairs(10, uint8(qos), 100, 500*time.Millisecond)
				w.MQTT = version
				r := mustRun(t, Config{Workload: w, Target: srv.URL})
				const want = 10 * 50
				if r.Totals.Scheduled != want || r.Totals.Published != want || r.Totals.Received != want {
					t.Errorf("scheduled %d, published %d, received %d, want %d of each", r.Totals.Scheduled, r.Totals.Published, r.Totals.Received, want)
				}
				wantRow := LedgerRow{QoS: qos, Expected: want, Delivered: want}
				if diff := cmp.Diff([]LedgerRow{wantRow}, r.Ledger); diff != "" {
					t.Error(diff)
				}
				if len(r.Errors) > 0 {
					t.Errorf("errors: %v", r.Errors)
				}
				for _, m := range []string{ScheduleLag, EndToEnd} {
					if n, _, ok := r.Lookup(m, "count", nil); !ok || n != want {
						t.Errorf("%s has %v samples, want %d", m, n, want)
					}
				}
				if n, _, _ := r.Lookup(PublishAck, "count", nil); qos > 0 && n != want {
					t.Errorf("%s has %v samples, want %d", PublishAck, n, want)
				}
			})
		}
	}
}
