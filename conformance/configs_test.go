package conformance_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/conformance"
)

type configuration struct {
	name  string
	cfg   broker.Config
	short bool // judged where time is short, too
}

// configurations are capability sets that the standard allows a broker to announce, one
// restriction at a time.
var configurations = []configuration{
	{"defaults", broker.Config{}, false},
	{"QoS 0 only", broker.Config{MaximumQoS: broker.UpToQoS0}, false},
	{"QoS up to 1", broker.Config{MaximumQoS: broker.UpToQoS1}, false},
	{"no retained messages", broker.Config{RetainUnavailable: true}, false},
	{"no wildcards", broker.Config{WildcardUnavailable: true}, false},
	{"no shared subscriptions", broker.Config{SharedUnavailable: true}, false},
	{"no subscription identifiers", broker.Config{SubscriptionIDsUnavailable: true}, false},
	{"no topic aliases", broker.Config{TopicAliasMaximum: -1, NoOutboundAliases: true}, true},
	{"Receive Maximum 1", broker.Config{ReceiveMaximum: 1}, true},
	{"Maximum Packet Size 128", broker.Config{MaximumPacketSize: 128}, false},
	{"Server Keep Alive 5 s", broker.Config{ServerKeepAlive: 5 * time.Second}, false}, // a slow machine must not be silent for longer
	{"properties on every acknowledgement", broker.Config{AckProperties: true}, true},
	{"sessions end with the connection", broker.Config{SessionExpiryMaximum: -1}, false},
	{"empty Client Identifiers refused", broker.Config{EmptyClientIDRefused: true}, false},
}

// TestBaselineConfigurations holds that nothing is said against the baseline broker, and nothing
// stays undecided, whatever it announces: what it does not support is not applicable. Nor do the
// checks as clients break anything that they do not declare. Several configurations are judged at
// a time. On a busy machine an honest broker may then miss a deadline, so one that does not come
// out clean is judged again, alone and with more patience, before that is believed.
func TestBaselineConfigurations(t *testing.T) {
	t.Parallel()
	type outcome struct {
		rep *conformance.Report
		err error
	}
	judge := func(cfg broker.Config, timeout time.Duration, patience float64) outcome {
		rep, err := conformance.Run(t.Context(), conformance.Config{Broker: cfg, Timeout: timeout, Patience: patience})
		return outcome{rep, err}
	}
	slots := make(chan struct{}, 7)
	var outcomes []chan outcome
	configurations := configurations
	if testing.Short() {
		configurations = slices.DeleteFunc(slices.Clone(configurations), func(c configuration) bool { return !c.short })
	}
	for _, c := range configurations {
		ch := make(chan outcome, 1)
		outcomes = append(outcomes, ch)
		if wanted(t.Name() + "/" + strings.ReplaceAll(c.name, " ", "_")) {
			go func() {
				slots <- struct{}{}
				ch <- judge(c.cfg, 10*time.Second, 1)
				<-slots
			}()
		}
	}
	declared := map[string]*conformance.Check{}
	for _, c := range conformance.All() {
		declared[c.Name] = c
	}
	for i, c := range configurations {
		t.Run(c.name, func(t *testing.T) {
			out := <-outcomes[i]
			if out.err == nil && !clean(out.rep) {
				out = judge(c.cfg, 2*patient, 3)
			}
			if out.err != nil {
				t.Fatal(out.err)
			}
			for _, x := range out.rep.Checks {
				for _, id := range x.ClientBreaches {
					if !slices.Contains(declared[x.Name].BreaksFor(x.Version), id) {
						t.Errorf("%s under %s breaks %s of the client's rules without a word in Breaks", x.Name, x.Version, id)
					}
				}
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

// clean reports whether every check passed or did not apply.
func clean(rep *conformance.Report) bool {
	c := rep.Counts
	return c.Warn+c.Fail+c.BrokerDied+c.Error == 0 && !slices.ContainsFunc(rep.Checks, func(x *conformance.CheckResult) bool {
		return x.Verdict != conformance.Pass && x.Verdict != conformance.NotApplicable
	})
}
