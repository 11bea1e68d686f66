package conformance_test

import (
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/conformance"
)

// configurations are capability sets that the standard allows a broker to announce, one
// restriction at a time.
var configurations = []struct {
	name string
	cfg  broker.Config
}{
	{"defaults", broker.Config{}},
	{"QoS 0 only", broker.Config{MaximumQoS: broker.UpToQoS0}},
	{"QoS up to 1", broker.Config{MaximumQoS: broker.UpToQoS1}},
	{"no retained messages", broker.Config{RetainUnavailable: true}},
	{"no wildcards", broker.Config{WildcardUnavailable: true}},
	{"no shared subscriptions", broker.Config{SharedUnavailable: true}},
	{"no subscription identifiers", broker.Config{SubscriptionIDsUnavailable: true}},
	{"no topic aliases", broker.Config{TopicAliasMaximum: -1, NoOutboundAliases: true}},
	{"Receive Maximum 1", broker.Config{ReceiveMaximum: 1}},
	{"Maximum Packet Size 128", broker.Config{MaximumPacketSize: 128}},
	{"Server Keep Alive 2 s", broker.Config{ServerKeepAlive: 2 * time.Second}},
	{"properties on every acknowledgement", broker.Config{AckProperties: true}},
	{"sessions end with the connection", broker.Config{SessionExpiryMaximum: -1}},
	{"empty Client Identifiers refused", broker.Config{EmptyClientIDRefused: true}},
}

// TestBaselineConfigurations holds that nothing is said against the baseline broker, and nothing
// stays undecided, whatever it announces: what it does not support is not applicable.
func TestBaselineConfigurations(t *testing.T) {
	type outcome struct {
		rep *conformance.Report
		err error
	}
	var outcomes []chan outcome
	for _, c := range configurations {
		ch := make(chan outcome, 1)
		outcomes = append(outcomes, ch)
		if !wanted(c.name) {
			continue
		}
		go func() {
			rep, err := conformance.Run(t.Context(), conformance.Config{Broker: c.cfg, Timeout: 10 * time.Second})
			ch <- outcome{rep, err}
		}()
	}
	for i, c := range configurations {
		t.Run(c.name, func(t *testing.T) {
			out := <-outcomes[i]
			if out.err != nil {
				t.Fatal(out.err)
			}
			for _, x := range out.rep.Checks {
				if x.Verdict != conformance.Pass && x.Verdict != conformance.NotApplicable {
					t.Errorf("%s under %s: %s: %s", x.Name, x.Version, x.Verdict, x.Reason)
					for _, e := range x.Transcript {
						t.Logf("  %8.3fs %s %s %s", e.At.Seconds(), e.Conn, e.Dir, e.Text)
					}
				}
			}
			for _, r := range out.rep.Rules {
				if r.Verdict >= conformance.Warn {
					t.Errorf("%s of %s: %s: %s", r.ID, r.Version, r.Verdict, r.Reason)
				}
			}
			t.Logf("%d checks, %v: %+v", len(out.rep.Checks), out.rep.Elapsed.Round(time.Millisecond), out.rep.Counts)
		})
	}
}
