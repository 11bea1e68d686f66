package conformance

import (
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/internal/ui"
)

// fixedComparison has a rule for every contrast.
func fixedComparison() *Comparison {
	a, b := fixedReport(), fixedReport()
	b.Target = "mqtt://127.0.0.1:1884"
	b.Rule("MQTT-3.3.1-4", MQTT311).Verdict = Pass
	b.Rule("MQTT-3.3.1-4", MQTT311).Reason = ""
	b.Rules = append(b.Rules[:2:2], b.Rules[3:]...) // the second report has no MQTT-3.3.1-4 of 5.0
	return Compare([]*Report{a, b}, []string{"old", ""})
}

func TestCompare(t *testing.T) {
	c := fixedComparison()
	type row struct {
		ID       string
		Version  Versions
		Contrast Contrast
	}
	var got []row
	for _, r := range c.Rules {
		got = append(got, row{r.ID, r.Version, r.Contrast})
		if len(r.Results) != 2 || r.Results[0] == nil {
			t.Errorf("%s has the results %v", r.ID, r.Results)
		}
	}
	want := []row{
		{"MQTT-3.3.1-4", MQTT311, Differs},
		{"MQTT-4.7.1-2", MQTT311, Shared},
		{"MQTT-3.1.4-3", MQTT5, Shared},
		{"MQTT-3.3.1-5", MQTT5, Shared},
		{"MQTT-3.3.1-4", MQTT5, Partly},
		{"MQTT-3.12.4-1", MQTT5, Alike},
		{"MQTT-4.6.0-6", MQTT5, Alike},
		{"MQTT-4.8.2-1", MQTT5, Alike},
		{"X-mine", MQTT5, Alike},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if c.Rules[4].Results[1] != nil {
		t.Error("a rule that a report does not have got a result")
	}
	if diff := cmp.Diff([]string{"old", "mqtt://127.0.0.1:1884"}, []string{c.Targets[0].Label, c.Targets[1].Label}); diff != "" {
		t.Error(diff)
	}
}

func TestContrast(t *testing.T) {
	cell := func(v Verdict) *ComparedCell { return &ComparedCell{Verdict: v} }
	for _, tt := range []struct {
		name  string
		cells []*ComparedCell
		want  Contrast
	}{
		{"kept and broken", []*ComparedCell{cell(Pass), cell(Fail)}, Differs},
		{"broken in two degrees", []*ComparedCell{cell(Warn), cell(Fail)}, Differs},
		{"the first not judged", []*ComparedCell{nil, cell(Pass), cell(BrokerDied)}, Differs},
		{"broken by all", []*ComparedCell{cell(Fail), cell(Fail)}, Shared},
		{"broken by the only one judged", []*ComparedCell{cell(Inconclusive), cell(Fail)}, Shared},
		{"kept by one, not judged on the other", []*ComparedCell{cell(Pass), cell(NotApplicable)}, Partly},
		{"kept by one, an error of the suite on the other", []*ComparedCell{cell(Pass), cell(Errored)}, Partly},
		{"kept by all", []*ComparedCell{cell(Pass), cell(Pass)}, Alike},
		{"judged on none", []*ComparedCell{cell(NotApplicable), cell(Inconclusive)}, Alike},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := ComparedRule{Results: tt.cells}
			if got := r.contrast(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestCompareNumbersEqualLabels(t *testing.T) {
	r := fixedReport()
	c := Compare([]*Report{r, r, r}, []string{"a", "a", "a"})
	var got []string
	for _, x := range c.Targets {
		got = append(got, x.Label)
	}
	if diff := cmp.Diff([]string{"a", "a (2)", "a (3)"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestComparisonGoldens(t *testing.T) {
	c := fixedComparison()
	golden(t, "compare.json", written(t, c.WriteJSON))
	golden(t, "compare.md", written(t, c.WriteMarkdown))
	golden(t, "compare.txt", written(t, func(w io.Writer) error { return c.WriteText(w, ui.Plain(), TextOptions{Width: 100, Verbose: true}) }))
}
