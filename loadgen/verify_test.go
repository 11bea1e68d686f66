package loadgen

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/scenarios"
)

// TestLossyProxy compares what receivers found with what a proxy did.
func TestLossyProxy(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	for _, version := range []string{"3.1.1", "5.0"} {
		for qos := range 2 {
			t.Run(fmt.Sprintf("version=%s/qos=%d", version, qos), func(t *testing.T) {
				t.Parallel()
				p := newLossyProxy(t, strings.TrimPrefix(srv.URL, "mqtt://"))
				// One message more than a multiple of no period, so that the last is not held for ever.
				w := pairs(4, uint8(qos), 2000, time.Second)
				w.MQTT = version
				w.Drain = 1500 * time.Millisecond
				w.Clients[0].Target = p.url
				r := mustRun(t, Config{Workload: w, Target: srv.URL})
				log := p.done()
				if log.seen != 8000 || log.dropped == 0 || log.doubled == 0 || log.swapped == 0 || log.damaged == 0 {
					t.Fatalf("the proxy did %+v", log)
				}
				want := []LedgerRow{{
					QoS: qos, Expected: log.seen, Delivered: log.seen - log.dropped, Lost: log.dropped, Duplicated: log.doubled,
					Reordered: log.swapped, Corrupted: log.damaged,
				}}
				if diff := cmp.Diff(want, r.Ledger); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// TestEntitlement runs workloads in which receivers get different shares of what is published.
func TestEntitlement(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	const messages = 4 * 100
	pub := func(topic string, mix scenarios.QoSMix) scenarios.Group {
		return scenarios.Group{Name: "pubs", Count: 4, Publish: []scenarios.Publication{{Topic: topic, QoS: mix, Rate: 200}}}
	}
	one := scenarios.QoSMix{0, 1, 0}
	sub := func(n int, subs ...scenarios.Subscription) scenarios.Group {
		return scenarios.Group{Name: "subs", Count: n, Subscribe: subs}
	}
	for _, tc := range []struct {
		name   string
		groups []scenarios.Group
		want   []LedgerRow
	}{
		{
			"wildcard",
			[]scenarios.Group{pub("{run}/w/{index}", one), sub(3, scenarios.Subscription{Filter: "{run}/w/#", QoS: 1})},
			[]LedgerRow{{QoS: 1, Expected: 3 * messages, Delivered: 3 * messages}},
		},
		{
			"lower QoS granted",
			[]scenarios.Group{pub("{run}/l/{index}", one), sub(1, scenarios.Subscription{Filter: "{run}/l/+"})},
			[]LedgerRow{{QoS: 0, Expected: messages, Delivered: messages}},
		},
		{
			"part of the publishers",
			[]scenarios.Group{pub("{run}/p/{index}", one), sub(2, scenarios.Subscription{Filter: "{run}/p/{index}", QoS: 2})},
			[]LedgerRow{{QoS: 1, Expected: messages / 2, Delivered: messages / 2}},
		},
		{
			"shared",
			[]scenarios.Group{pub("{run}/s/{index}", one), sub(3, scenarios.Subscription{Filter: "{run}/s/#", QoS: 1, Share: "g"})},
			[]LedgerRow{{QoS: 1, Expected: messages, Delivered: messages}},
		},
		{
			"overlapping",
			[]scenarios.Group{
				pub("{run}/o/{index}", one),
				sub(1, scenarios.Subscription{Filter: "{run}/o/#", QoS: 1}, scenarios.Subscription{Filter: "{run}/o/+", QoS: 1}),
			},
			[]LedgerRow{{QoS: 1, Expected: messages, Delivered: messages}},
		},
		{
			"own messages",
			[]scenarios.Group{{
				Name: "both", Count: 4,
				Publish:   []scenarios.Publication{{Topic: "{run}/b/{index}", QoS: one, Rate: 200}},
				Subscribe: []scenarios.Subscription{{Filter: "{run}/b/#", QoS: 1}},
			}},
			[]LedgerRow{{QoS: 1, Expected: 4 * messages, Delivered: 4 * messages}},
		},
		{
			"no local",
			[]scenarios.Group{{
				Name: "both", Count: 4,
				Publish:   []scenarios.Publication{{Topic: "{run}/n/{index}", QoS: one, Rate: 200}},
				Subscribe: []scenarios.Subscription{{Filter: "{run}/n/#", QoS: 1, NoLocal: true}},
			}},
			[]LedgerRow{{QoS: 1, Expected: 3 * messages, Delivered: 3 * messages}},
		},
		{
			"nobody listens",
			[]scenarios.Group{pub("{run}/x/{index}", one), sub(1, scenarios.Subscription{Filter: "{run}/y/#", QoS: 1})},
			nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := &scenarios.Workload{
				Kind: scenarios.KindWorkload, Title: tc.name, MQTT: "5.0", Clients: tc.groups, Drain: 20 * time.Second,
				Phases: []scenarios.Phase{{Kind: "hold", For: 500 * time.Millisecond}},
			}
			r := mustRun(t, Config{Workload: w, Target: srv.URL})
			if diff := cmp.Diff(tc.want, r.Ledger); diff != "" {
				t.Error(diff)
			}
			if r.Totals.Acknowledged != messages {
				t.Errorf("%d acknowledged, want %d", r.Totals.Acknowledged, messages)
			}
		})
	}
}

// TestMixedStreams verifies messages of several topics and QoS of one publication.
func TestMixedStreams(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	w := pairs(3, 0, 1000, time.Second)
	w.Clients[0].Subscribe[0] = scenarios.Subscription{Filter: "m/{run}/{index}/+", QoS: 2}
	w.Clients[1].Publish[0].Topic, w.Clients[1].Publish[0].Topics = "m/{run}/{index}/{topic}", 7
	w.Clients[1].Publish[0].QoS = scenarios.QoSMix{0.5, 0.25, 0.25}
	w.Clients[1].Publish[0].Size = scenarios.Size{Min: 28, Max: 400}
	r := mustRun(t, Config{Workload: w, Target: srv.URL})
	var sum uint64
	for q := range 3 {
		row := ledgerOf(r, q)
		if diff := cmp.Diff(LedgerRow{QoS: q, Expected: row.Expected, Delivered: row.Expected}, row); diff != "" {
			t.Error(diff)
		}
		if share := float64(row.Expected) / 3000; share < 0.2 || share > 0.55 {
			t.Errorf("%.2f of the messages are QoS %d", share, q)
		}
		sum += row.Expected
	}
	if sum != 3000 {
		t.Errorf("%d expected, want 3,000", sum)
	}
}
