package loadgen

import (
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/scenarios"
)

// Messages too small to carry a proof are not waited for: beside larger ones of the same streams none counts as lost.
func TestSmallMessagesAreNotLost(t *testing.T) {
	srv := newServer(t, broker.Config{})
	w := &scenarios.Workload{
		Kind: scenarios.KindWorkload, Title: "small and large", Seed: 1, Drain: 20 * time.Second,
		Clients: []scenarios.Group{
			{Name: "from", Count: 4, Publish: []scenarios.Publication{{
				Topic: "small/{run}/{index}", QoS: scenarios.QoSMix{1, 1, 1}, Rate: 100, Count: 50, Size: scenarios.Size{Mean: proofSize + 4, Deviation: 8},
			}}},
			{Name: "to", Count: 1, Subscribe: []scenarios.Subscription{{Filter: "small/{run}/#", QoS: 2}}},
		},
		Phases: []scenarios.Phase{{Kind: "hold", For: 2 * time.Second}},
	}
	r, err := Run(t.Context(), Config{Workload: w.Resolved(), Target: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	var sum LedgerRow
	for _, row := range r.Ledger {
		sum.Delivered += row.Delivered
		sum.Lost += row.Lost
		sum.Unsettled += row.Unsettled
		sum.Unverified += row.Unverified
	}
	if sum.Lost > 0 || sum.Unsettled > 0 || sum.Unverified == 0 || sum.Delivered == 0 || sum.Delivered+sum.Unverified != 200 {
		t.Errorf("of 200 messages %+v", sum)
	}
}
