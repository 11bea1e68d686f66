package loadgen

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/scenarios"
)

// TestPhases runs every kind of phase in turn and counts what falls due in each.
func TestPhases(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	const d = 200 * time.Millisecond
	w := pairs(10, 1, 100, d)
	zero := uint8(0)
	w.Phases = []scenarios.Phase{
		{Kind: "ramp", For: d},
		{Kind: "hold", For: d},
		{Kind: "step", For: d, From: 1, To: 3, Steps: 3},
		{Kind: "spike", For: d, To: 4},
		{Kind: "idle", For: d},
		{Name: "lower", Kind: "hold", For: d, QoS: &zero},
	}
	r := mustRun(t, Config{Workload: w, Target: srv.URL, Workers: 3})
	// 200 messages are due in a phase at factor 1; the spike's mean factor is 1 + 3 * 0.9.
	want := map[string]uint64{"ramp": 100, "hold": 200, "step": 400, "spike": 740, "idle": 0, "lower": 200}
	for _, ph := range r.Phases {
		if got := ph.Counts.Scheduled; got+10 < want[ph.Name] || got > want[ph.Name]+10 {
			t.Errorf("%s: %d scheduled, want about %d", ph.Name, got, want[ph.Name])
		}
		if ph.Counts.Scheduled != ph.Counts.Published {
			t.Errorf("%s: %d scheduled, %d published", ph.Name, ph.Counts.Scheduled, ph.Counts.Published)
		}
		if n, _, _ := r.Lookup(PublishAck, "count", map[string]string{"phase": ph.Name}); ph.Name != "lower" && uint64(n) != ph.Counts.Published {
			t.Errorf("%s: %v acknowledged, want %d", ph.Name, n, ph.Counts.Published)
		}
	}
	low := r.Phases[5].Counts.Published
	total := r.Totals.Published
	if diff := cmp.Diff([]LedgerRow{{QoS: 0, Expected: low, Delivered: low}, {QoS: 1, Expected: total - low, Delivered: total - low}}, r.Ledger); diff != "" {
		t.Error(diff)
	}
}

// comings is a workload in which clients go and come back, each once: how fast they are does not matter.
func comings(ph scenarios.Phase, clean bool) *scenarios.Workload {
	w := pairs(20, 1, 50, 300*time.Millisecond)
	w.MQTT = "5.0"
	if clean {
		w.Drain = time.Second
	}
	w.Phases = []scenarios.Phase{{Kind: "hold", For: 300 * time.Millisecond}, ph, {Name: "after", Kind: "hold", For: 500 * time.Millisecond}}
	for i := range w.Clients {
		w.Clients[i].CleanStart = &clean
		w.Clients[i].SessionExpiry = time.Minute
		w.Clients[i].Reconnect = &scenarios.Reconnect{After: 20 * time.Millisecond}
	}
	return w
}

func TestComingAndGoing(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	overWS := srv.Listen("ws://127.0.0.1:0/mqtt")
	for _, tc := range []struct {
		name   string
		phase  scenarios.Phase
		clean  bool
		events uint64 // connections beyond the first
		ws     bool
	}{
		{"storm", scenarios.Phase{Kind: "storm", For: 300 * time.Millisecond}, false, 40, false},
		{"storm at a rate", scenarios.Phase{Kind: "storm", For: 500 * time.Millisecond, Rate: 100}, false, 40, false},
		{"storm of some", scenarios.Phase{Kind: "storm", For: 300 * time.Millisecond, Groups: []string{"subs"}}, true, 20, false},
		{"churn", scenarios.Phase{Kind: "churn", For: 500 * time.Millisecond, Rate: 80}, false, 40, false},
		{"abrupt churn", scenarios.Phase{Kind: "churn", For: 500 * time.Millisecond, Rate: 80, Abrupt: true}, true, 40, false},
		{"takeover", scenarios.Phase{Kind: "takeover", For: 500 * time.Millisecond, Rate: 80}, false, 40, false},
		{"takeover over WebSocket", scenarios.Phase{Kind: "takeover", For: 500 * time.Millisecond, Rate: 80}, false, 40, true},
		{"storm over WebSocket", scenarios.Phase{Kind: "storm", For: 300 * time.Millisecond}, false, 40, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := comings(tc.phase, tc.clean)
			target := srv.URL
			if tc.ws {
				target = overWS
			}
			r := mustRun(t, Config{Workload: w, Target: target, Workers: 2})
			if got := r.Totals.Connects - 40; got != tc.events {
				t.Errorf("%d connections beyond the first, want %d", got, tc.events)
			}
			if len(r.Errors) > 0 || r.Totals.Disconnects > 0 {
				t.Errorf("%d ended against the run's wish: %v", r.Totals.Disconnects, r.Errors)
			}
			row := ledgerOf(r, 1)
			if row.Expected != r.Totals.Scheduled || row.Delivered+row.Unsettled != row.Expected || row.Lost > 0 {
				t.Errorf("%d scheduled, %+v", r.Totals.Scheduled, row)
			}
			if !tc.clean && row.Unsettled > 0 {
				t.Errorf("%d unsettled with sessions that go on", row.Unsettled)
			}
		})
	}
}

func TestClosedModel(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	w := pairs(4, 1, 1, time.Minute) // ended by the count
	w.Model, w.Window = "closed", 8
	w.Clients[1].Publish[0].Rate = 0
	w.Clients[1].Publish[0].Count = 500
	r := mustRun(t, Config{Workload: w, Target: srv.URL})
	if r.Model != "closed" || r.Totals.Published != 2000 {
		t.Errorf("model %s, %d published, want 2,000", r.Model, r.Totals.Published)
	}
	if diff := cmp.Diff([]LedgerRow{{QoS: 1, Expected: 2000, Delivered: 2000}}, r.Ledger); diff != "" {
		t.Error(diff)
	}
	for _, s := range r.Series {
		if s.Inflight > 4*8 {
			t.Errorf("%d under way, the windows are 8", s.Inflight)
		}
	}
}

func TestFlatOut(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	for qos := range uint8(3) {
		w := pairs(4, qos, 1, time.Minute) // ended by the count, which its schedule would not reach
		w.Clients[1].Publish[0].Count = 500
		r := mustRun(t, Config{Workload: w, Target: srv.URL, Max: true})
		row := ledgerOf(r, int(qos))
		if r.Model != "max" || r.Totals.Published != 2000 {
			t.Errorf("qos %d: model %s, %d published, want 2,000", qos, r.Model, r.Totals.Published)
		}
		if want := (LedgerRow{QoS: int(qos), Expected: r.Totals.Published, Delivered: r.Totals.Published}); row != want {
			t.Errorf("got %+v, want %+v", row, want)
		}
	}
}

func TestRequestResponse(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	for qos := range uint8(3) {
		to := "{run}/answer/{index}"
		w := &scenarios.Workload{
			Kind: scenarios.KindWorkload, Title: "requests", MQTT: "5.0", Drain: 20 * time.Second,
			Clients: []scenarios.Group{
				{Name: "servers", Count: 2, Subscribe: []scenarios.Subscription{{Filter: "{run}/ask/#", QoS: 2, Share: "servers"}}, Respond: &scenarios.Respond{QoS: qos}},
				{
					Name: "askers", Count: 4, Subscribe: []scenarios.Subscription{{Filter: "{run}/answer/{index}", QoS: 2}},
					Publish: []scenarios.Publication{{Topic: "{run}/ask/{index}", QoS: scenarios.QoSMix{0, 1, 0}, Rate: 100, Properties: &scenarios.Properties{ResponseTopic: &to}}},
				},
			},
			Phases: []scenarios.Phase{{Kind: "hold", For: 300 * time.Millisecond}},
		}
		r := mustRun(t, Config{Workload: w, Target: srv.URL})
		if n, _, _ := r.Lookup(Request, "count", nil); n != 120 {
			t.Errorf("qos %d: %v answers, want 120", qos, n)
		}
		if diff := cmp.Diff([]LedgerRow{{QoS: 1, Expected: 120, Delivered: 120}}, r.Ledger); diff != "" {
			t.Error(diff)
		}
	}
}

// TestPayloads verifies messages whose payload is the user's.
func TestPayloads(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	for _, tc := range []struct {
		name, version, payload string
		size                   int
		proven                 bool
	}{
		{"user property", "5.0", `{"t": {float:18:24:1}, "n": {seq}, "at": "{timestamp}"}`, 0, true},
		{"in the text", "3.1.1", `{"t": {float:18:24:1}, "proof": "{proof}"}`, 0, true},
		{"without proof", "3.1.1", `{"t": {float:18:24:1}}`, 0, false},
		{"constant", "5.0", "on", 0, true},
		{"small", "5.0", "", 4, true},
		{"too small", "3.1.1", "", 4, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := pairs(2, 1, 100, 300*time.Millisecond)
			w.MQTT, w.NoVerify = tc.version, tc.name == "too small"
			w.Clients[1].Publish[0].Payload = tc.payload
			w.Clients[1].Publish[0].Size.Fixed = tc.size
			r := mustRun(t, Config{Workload: w, Target: srv.URL})
			want := LedgerRow{QoS: 1, Expected: 60, Delivered: 60}
			if !tc.proven {
				want = LedgerRow{QoS: 1, Unverified: 60}
			}
			if diff := cmp.Diff([]LedgerRow{want}, r.Ledger); diff != "" {
				t.Error(diff)
			}
			if quiet := len(r.Generator.Notes) == 0; quiet != (tc.proven || w.NoVerify) {
				t.Errorf("notes: %v", r.Generator.Notes)
			}
		})
	}
}

// TestLimits has the server refuse what it does not support.
func TestLimits(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{MaximumQoS: broker.UpToQoS1, MaximumPacketSize: 200, ReceiveMaximum: 2})
	w := pairs(2, 1, 100, 300*time.Millisecond)
	w.MQTT = "5.0"
	w.Clients[1].Publish = append(w.Clients[1].Publish, scenarios.Publication{Topic: "t/{run}/{index}", QoS: scenarios.QoSMix{0, 0, 1}, Rate: 50})
	w.Clients[1].Publish = append(w.Clients[1].Publish, scenarios.Publication{Topic: "t/{run}/{index}", QoS: scenarios.QoSMix{0, 1, 0}, Rate: 50, Size: scenarios.Size{Fixed: 1000}})
	r := mustRun(t, Config{Workload: w, Target: srv.URL})
	if r.Totals.Scheduled != 120 || r.Totals.Published != 60 || r.Totals.Dropped != 60 {
		t.Errorf("scheduled %d, published %d, dropped %d, want 120, 60, 60", r.Totals.Scheduled, r.Totals.Published, r.Totals.Dropped)
	}
	if diff := cmp.Diff([]LedgerRow{{QoS: 1, Expected: 60, Delivered: 60}}, r.Ledger); diff != "" {
		t.Error(diff)
	}
	if len(r.Errors) != 2 || r.Totals.Disconnects > 0 {
		t.Errorf("errors %v, %d connections ended", r.Errors, r.Totals.Disconnects)
	}
}
