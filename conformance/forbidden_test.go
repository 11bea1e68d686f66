package conformance_test

import (
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/mutant"
)

// TestForbiddenTopic holds that either allowed answer to a PUBLISH that is not authorised
// passes, and that silence does not [MQTT-3.3.5-2]. The suite judges it only where the user
// names a forbidden topic, so the mutants' common run cannot.
func TestForbiddenTopic(t *testing.T) {
	const forbidden = "mqlab/forbidden"
	onForbidden := func(react func(l *mutant.Link)) *mutant.Hooks {
		return &mutant.Hooks{Up: func(l *mutant.Link, raw *mutant.Packet) {
			if p, ok := raw.Packet.(*codec.Publish); ok && p.Topic == forbidden {
				raw.Drop()
				react(l)
			}
		}}
	}
	cases := []struct {
		name  string
		hooks *mutant.Hooks
		want  conformance.Verdict
	}{
		{"MQTT-3.3.5-2 acknowledged", &mutant.Hooks{}, conformance.Pass},
		{"MQTT-3.3.5-2 connection ended", onForbidden((*mutant.Link).CloseBroker), conformance.Pass},
		{"MQTT-3.3.5-2 neither", onForbidden(func(*mutant.Link) {}), conformance.Fail},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := mutant.NewProxy(serve(t, broker.Config{}), c.hooks)
			defer p.Close()
			rep, err := conformance.Run(t.Context(), conformance.Config{
				Dial: p.Dial, Versions: conformance.MQTT311, Run: []string{"MQTT-3.3.5-2"},
				ForbiddenTopic: forbidden, Timeout: time.Second, Ephemeral: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := rep.Checks[0]; got.Verdict != c.want {
				t.Errorf("%s: %s, want %s", got.Verdict, got.Reason, c.want)
			}
		})
	}
}
