package conformance_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/internal/ui"
)

// states returns what a report says of each feature under one version.
func states(t *testing.T, rep *conformance.FeatureReport, version string) map[string]conformance.Feature {
	t.Helper()
	i := slices.IndexFunc(rep.Versions, func(v conformance.VersionFeatures) bool { return v.Version == version })
	if i < 0 || !rep.Versions[i].Served {
		t.Fatalf("MQTT %s is not served: %+v", version, rep.Versions)
	}
	out := map[string]conformance.Feature{}
	for _, f := range rep.Versions[i].Features {
		out[f.Name] = f
	}
	return out
}

// TestProbe holds that what the broker is configured to is what a probe finds, and that all
// else is found to be there.
func TestProbe(t *testing.T) {
	type limits map[string]int64
	for _, tc := range []struct {
		name    string
		cfg     broker.Config
		absent  map[string][]string // by version
		limits  map[string]limits
		payload int
	}{
		{"defaults", broker.Config{}, nil, map[string]limits{
			"3.1.1": {"Topic Name length": 65535, "Client Identifier length": 65535, "payload size": 5000},
			"5.0":   {"Topic Name length": 65535, "payload size": 5000, "topic aliases from the client": 64},
		}, 5000},
		{"little", broker.Config{
			MaximumQoS: broker.UpToQoS1, RetainUnavailable: true, WildcardUnavailable: true, SharedUnavailable: true,
			SubscriptionIDsUnavailable: true, TopicAliasMaximum: -1, NoOutboundAliases: true, MaximumPacketSize: 1000,
			SessionExpiryMaximum: -1, EmptyClientIDRefused: true,
		}, map[string][]string{
			"3.1.1": {"QoS 2", "retained messages", "wildcard +", "wildcard #", "session kept", "empty Client Identifier"},
			"5.0": {
				"QoS 2", "retained messages", "wildcard +", "wildcard #", "shared subscriptions", "subscription identifiers",
				"topic aliases from the client", "topic aliases from the server", "session kept", "empty Client Identifier",
			},
		}, nil, 100_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rep, err := conformance.Probe(t.Context(), conformance.Config{Broker: tc.cfg, Timeout: 5 * time.Second}, tc.payload)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range []string{"3.1", "3.1.1", "5.0"} {
				for name, f := range states(t, rep, v) {
					want := conformance.Yes
					if v == "3.1" {
						continue // what it has besides is the same code
					}
					if slices.Contains(tc.absent[v], name) {
						want = conformance.No
					}
					if name == "shared subscriptions" && v != "5.0" || name == "message expiry" && tc.cfg.RetainUnavailable {
						continue
					}
					if f.State != want {
						t.Errorf("MQTT %s: %s: %s (%s), want %s", v, name, f.State, f.Detail, want)
					}
					if limit := tc.limits[v][name]; limit != 0 && f.Limit != limit {
						t.Errorf("MQTT %s: %s: limit %d, want %d", v, name, f.Limit, limit)
					}
				}
			}
			five := states(t, rep, "5.0")
			if f := five["QoS 1"]; f.Min <= 0 || f.Median < f.Min {
				t.Errorf("QoS 1: at best %v, median %v", f.Min, f.Median)
			}
			if f := five["Keep Alive of 2 s"]; f.Duration < 2*time.Second {
				t.Errorf("Keep Alive: ended after %v", f.Duration)
			}
			if limit := int64(tc.cfg.MaximumPacketSize); limit > 0 && (five["payload size"].Limit >= limit || five["payload size"].Limit < limit-100) {
				t.Errorf("payload size: %+v with packets up to %d", five["payload size"], limit)
			}
			b, err := json.Marshal(rep)
			if err != nil {
				t.Fatal(err)
			}
			var again conformance.FeatureReport
			if err := json.Unmarshal(b, &again); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(rep, &again); diff != "" {
				t.Errorf("JSON loses something: %s", diff)
			}
		})
	}
}

func TestFeatureText(t *testing.T) {
	rep := &conformance.FeatureReport{Target: "mqtt://x", Versions: []conformance.VersionFeatures{
		{Version: "3.1", Evidence: "CONNECT was refused"},
		{Version: "3.1.1", Served: true, Features: []conformance.Feature{
			{Name: "QoS 0", State: conformance.Yes, Min: time.Millisecond, Median: 2 * time.Millisecond},
			{Name: "payload size", State: conformance.Yes, Limit: 1000, AtLeast: true},
			{Name: "wildcard +", State: conformance.No, Detail: "refused\x1b"},
		}},
		{Version: "5.0", Served: true, Announced: []conformance.Announced{{Name: "Maximum QoS", Value: 1}, {Name: "Receive Maximum", Value: 65535, Default: true}}, Features: []conformance.Feature{
			{Name: "payload size", State: conformance.Yes, Limit: 900},
			{Name: "Keep Alive of 2 s", State: conformance.Yes, Duration: 3 * time.Second},
		}},
	}}
	var b bytes.Buffer
	if err := rep.WriteText(&b, ui.Plain(), 100); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1000 or more", "up to 900", "yes, after 3", "2.00 ms", "not served: CONNECT was refused",
		"CONNACK announces: Maximum QoS 1", "not announced, so that it stands for: Receive Maximum 65535", "wildcard +: refused",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("the text holds a control character of the target")
	}
}
