package codec_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
)

// TestFaultTable holds that each rule a fault names is in the registry of its version, and that
// names and sentences keep the form that reports rely on.
func TestFaultTable(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range codec.FaultTable() {
		if f.Name == "" || seen[f.Name] {
			t.Errorf("the name %q is empty or taken", f.Name)
		}
		seen[f.Name] = true
		if f.Msg == "" || strings.HasSuffix(f.Msg, ".") {
			t.Errorf("%s: %q is no sentence without a full stop", f.Name, f.Msg)
		}
		for _, id := range strings.Fields(f.Rule4) {
			if !rules.Known(rules.MQTT311, id) {
				t.Errorf("%s: %s is not a rule of 3.1.1", f.Name, id)
			}
		}
		for _, id := range strings.Fields(f.Rule5) {
			if !rules.Known(rules.MQTT5, id) {
				t.Errorf("%s: %s is not a rule of 5.0", f.Name, id)
			}
		}
	}
	for _, id := range codec.PropertyRules() {
		if !rules.Known(rules.MQTT5, id) {
			t.Errorf("%s is not a rule of 5.0", id)
		}
	}
	for _, how := range codec.Breakages() {
		for _, id := range how.Raises(codec.V5) {
			if !rules.Known(rules.MQTT5, id) {
				t.Errorf("%s: %s is not a rule of 5.0", how, id)
			}
		}
	}
}

// TestTablesAgreeWithTheStandard compares the codec's tables with the fact tables.
func TestTablesAgreeWithTheStandard(t *testing.T) {
	facts := rules.Properties()
	if len(facts) != 27 {
		t.Errorf("%d properties in the fact table", len(facts))
	}
	for _, f := range facts {
		id := codec.PropID(f.ID)
		if id.String() != f.Name {
			t.Errorf("property 0x%02X is %q here and %q in the standard", f.ID, id, f.Name)
		}
		packets := strings.Join(f.Packets, ", ")
		if got, want := id.Info().Will, strings.Contains(packets, "Will Properties"); got != want {
			t.Errorf("%s: allowed in the will: %v, want %v", id, got, want)
		}
		for typ := codec.TypeConnect; typ <= codec.TypeAuth; typ++ {
			want := false
			for _, p := range f.Packets {
				want = want || p == typ.String()
			}
			if got := id.Info().Packets>>typ&1 == 1; got != want {
				t.Errorf("%s in %s: allowed is %v, want %v", id, typ, got, want)
			}
		}
	}
}

func TestErrorText(t *testing.T) {
	_, err := (&codec.Decoder{Version: codec.V4}).Decode([]byte{0x36, 5, 0, 1, 'a', 0, 1})
	want := "PUBLISH at byte 0: both QoS bits are set [MQTT-3.3.1-4]"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = (&codec.Decoder{Version: codec.V31}).Decode([]byte{0x36, 5, 0, 1, 'a', 0, 1})
	if want := "PUBLISH at byte 0: both QoS bits are set"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	var e *codec.Error
	if !errors.As(err, &e) || e.Rules() != nil {
		t.Errorf("MQTT 3.1 has no rule ids, got %q", e.Rules())
	}
}

// TestReasonCodesAgreeWithTheStandard compares which packets may carry a code, and its name.
func TestReasonCodesAgreeWithTheStandard(t *testing.T) {
	packets := map[byte]map[string]bool{}
	names := map[byte][]string{}
	for _, f := range rules.ReasonCodes() {
		if packets[f.Code] == nil {
			packets[f.Code] = map[string]bool{}
		}
		names[f.Code] = append(names[f.Code], f.Name)
		for _, p := range f.Packets {
			packets[f.Code][p] = true
		}
	}
	for c := range 256 {
		code := codec.ReasonCode(c)
		for typ := codec.TypeConnect; typ <= codec.TypeAuth; typ++ {
			want := packets[byte(c)][typ.String()]
			if got := code.AllowedIn(typ, codec.Either); got != want {
				t.Errorf("0x%02X in %s: allowed is %v, want %v", c, typ, got, want)
			}
			if want && !strings.Contains(strings.Join(names[byte(c)], "|"), code.Name(typ, codec.V5)) {
				t.Errorf("0x%02X in %s is %q here and %q in the standard", c, typ, code.Name(typ, codec.V5), names[byte(c)])
			}
		}
	}
}
