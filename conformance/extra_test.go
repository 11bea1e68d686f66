package conformance_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/mutant"
	"github.com/mqlab/mqlab/internal/ui"
)

const extraPing = `kind: exchange
title: PINGREQ is answered
rule: X-house-ping
unique: k3x9q
mqtt: 3.1.1
steps:
  - open: c1
  - send: {type: connect, client_id: k3x9qextra}
  - expect: {type: connack, reason: success}
  - send: {type: pingreq}
  - expect: {type: pingresp}
`

func writeExtra(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestExtraTakesPart(t *testing.T) {
	broken := strings.Replace(extraPing, "{type: pingresp}", "{type: pingresp}\n  - expect: {type: publish}\n    within: 50ms", 1)
	dir := writeExtra(t, map[string]string{
		"ping.yaml": extraPing, "message.yml": strings.Replace(broken, "rule: X-house-ping\n", "", 1), "note.txt": "no scenario",
		"known.yaml": strings.Replace(extraPing, "X-house-ping", "MQTT-3.12.4-1", 1),
	})
	checks, err := conformance.LoadExtra(dir)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := conformance.Run(t.Context(), conformance.Config{Checks: checks, Timeout: 2 * time.Second, Evidence: true})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]conformance.Verdict{"X-house-ping": conformance.Pass, "X-message": conformance.Fail, "MQTT-3.12.4-1": conformance.Pass} {
		r := rep.Rule(id, conformance.MQTT311)
		if r == nil {
			t.Errorf("the report has no rule %s", id)
			continue
		}
		if r.Verdict != want {
			t.Errorf("%s: %s (%s), want %s", id, r.Verdict, r.Reason, want)
		}
	}
	if rep.OK() {
		t.Error("the report is well with a failed check")
	}
	var text bytes.Buffer
	if err := rep.WriteText(&text, ui.Plain(), conformance.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"X-message", "extra/message", "PINGREQ is answered", "nothing of the kind came"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, text.String())
		}
	}
	files, err := rep.WriteEvidence(t.TempDir())
	if err != nil || len(files) != 1 || files[0].Scenario == "" {
		t.Errorf("evidence of the failed check: %v, %v", files, err)
	}
}

func TestExtraReportsEveryBadFile(t *testing.T) {
	dir := writeExtra(t, map[string]string{"a.yaml": "kind: exchange\n", "b.yaml": "kind: nothing\n", "c.yaml": strings.Replace(extraPing, "3.1.1", "3.1", 1)})
	_, err := conformance.LoadExtra(dir)
	if err == nil {
		t.Fatal("bad files were taken")
	}
	for _, want := range []string{"a.yaml: title: it is missing", "b.yaml: kind:", "c.yaml: mqtt:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if _, err := conformance.LoadExtra(t.TempDir()); err == nil {
		t.Error("an empty folder was taken")
	}
}

// TestExtraIsWatched holds that the passive judge watches the connections of a user's own check too.
func TestExtraIsWatched(t *testing.T) {
	dir := writeExtra(t, map[string]string{"ping.yaml": strings.Replace(extraPing, "{type: pingresp}", "{type: connack}\n    optional: true\n    within: 200ms", 1)})
	checks, err := conformance.LoadExtra(dir)
	if err != nil {
		t.Fatal(err)
	}
	p := mutant.NewProxy(serve(t, broker.Config{}), &mutant.Hooks{Down: func(_ *mutant.Link, raw *mutant.Packet) {
		if _, ok := raw.Packet.(*codec.Pingresp); ok {
			raw.Set(0xD1, 0)
		}
	}})
	defer p.Close()
	rep, err := conformance.Run(t.Context(), conformance.Config{Dial: p.Dial, Checks: checks, Versions: conformance.MQTT311, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if r := rep.Rule("MQTT-2.2.2-1", conformance.MQTT311); r == nil || r.Verdict != conformance.Fail {
		t.Errorf("the reserved flag of PINGRESP was not seen: %+v, %+v", r, rep.Checks[0])
	}
	if rep.Extra != dir {
		t.Errorf("the report says that the checks come from %q, not %q", rep.Extra, dir)
	}
}
