package conformance_test

import (
	"slices"
	"testing"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/mutant"
	"github.com/mqlab/mqlab/conformance/rules"
)

// TestServerReferenceIsRemarkedUpon holds that a Server Reference beside another code than those
// it belongs to is reported, and never as a breach.
func TestServerReferenceIsRemarkedUpon(t *testing.T) {
	const id = "P-3.2.2.3.16-server-reference"
	p := mutant.NewProxy(serve(t, broker.Config{}), mutant.ServerReferenceAlways())
	defer p.Close()
	rep, err := conformance.Run(t.Context(), conformance.Config{
		Dial: p.Dial, Versions: rules.MQTT5, Run: []string{id}, Ephemeral: true, Timeout: patient,
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := verdictOf(t, rep, rules.MQTT5, id); got != conformance.Pass {
		t.Errorf("%s: %s, want pass", id, got)
	}
	remarked := slices.ContainsFunc(rep.Checks, func(c *conformance.CheckResult) bool {
		return slices.ContainsFunc(c.Findings, func(f conformance.Finding) bool {
			return f.Rule == id && !f.OK && f.Grade == conformance.GradeNote
		})
	})
	if !remarked {
		t.Errorf("%s: no remark", id)
	}
}
