package codec_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/packetgen"
)

// decoder returns a Decoder for a vector, which knows its version as after CONNECT.
func decoder(v packetgen.Vector, ver codec.Version, m codec.Mode) *codec.Decoder {
	return &codec.Decoder{Version: ver, From: v.From, Mode: m}
}

// TestVectors runs every wire vector through decoding, encoding and lenient decoding.
func TestVectors(t *testing.T) {
	for _, v := range packetgen.Vectors(t) {
		for _, ver := range v.Versions {
			t.Run(fmt.Sprintf("%s/%s", v.Name, ver), func(t *testing.T) {
				p, err := decoder(v, ver, codec.Strict).Decode(v.Frame)
				lp, lerr := decoder(v, ver, codec.Lenient).Decode(v.Frame)
				if v.OK {
					if err != nil {
						t.Fatalf("a legal packet is refused (%s): %v", v.Comment, err)
					}
					if lerr != nil {
						t.Errorf("lenient decoding finds faults in a legal packet: %v", lerr)
					}
					if got, want := codec.Describe(lp, ver), codec.Describe(p, ver); got != want {
						t.Errorf("lenient decoding reads another packet:\n got %s\nwant %s", got, want)
					}
					checkReencode(t, v, ver, p)
					return
				}
				var e *codec.Error
				if !errors.As(err, &e) {
					t.Fatalf("a faulty packet is taken (%s): %v", v.Comment, err)
				}
				checkFault(t, v, ver, e)
				var all codec.Errors
				if !errors.As(lerr, &all) || all[0].Fault != e.Fault && e.Level == codec.Must && !hasFault(all, e.Fault) {
					t.Errorf("lenient decoding does not find %q: %v", e.Fault, lerr)
				}
			})
		}
	}
}

func hasFault(all codec.Errors, fault string) bool {
	return slices.ContainsFunc(all, func(e *codec.Error) bool { return e.Fault == fault })
}

// checkFault compares a fault with what the vector says of it.
func checkFault(t *testing.T, v packetgen.Vector, ver codec.Version, e *codec.Error) {
	t.Helper()
	if want := v.Rules[ver]; ver != codec.V31 && len(want) > 0 && e.Rule != want[0] { // 3.1 has no rule ids
		t.Errorf("rule %q of %q, want %s (%s): %v", e.Rule, e.Rules(), want, v.Comment, e)
	}
	if v.Offset >= 0 && e.Offset != v.Offset {
		t.Errorf("offset %d, want %d (%s): %v", e.Offset, v.Offset, v.Comment, e)
	}
	if ver == codec.V5 && !slices.Contains(v.Reasons, e.Reason) {
		t.Errorf("reason %v, want one of %v (%s): %v", e.Reason, v.Reasons, v.Comment, e)
	}
	if e.Level == codec.Should && v.Level == codec.Must && ver != codec.V31 {
		t.Errorf("level should, want must (%s): %v", v.Comment, e)
	}
}

// checkReencode encodes a packet again: a canonical frame comes out as it was, any other frame
// as one that says the same.
func checkReencode(t *testing.T, v packetgen.Vector, ver codec.Version, p codec.Packet) {
	t.Helper()
	want := codec.Describe(p, ver)
	b, err := p.AppendTo(nil, ver)
	if err != nil {
		t.Fatalf("a decoded packet is refused: %v", err)
	}
	if len(b) != p.Size(ver) {
		t.Errorf("size %d, want %d", p.Size(ver), len(b))
	}
	if v.Canonical {
		if diff := cmp.Diff(v.Frame, b); diff != "" {
			t.Errorf("encoded again (-want +got):\n%s", diff)
		}
		return
	}
	again, err := decoder(v, ver, codec.Strict).Decode(b)
	if err != nil {
		t.Fatalf("encoded again and refused: %v", err)
	}
	if got := codec.Describe(again, ver); got != want {
		t.Errorf("encoded again:\n got %s\nwant %s", got, want)
	}
}

// TestFaultsHaveVectors holds that each fault of the table is raised by a vector, and that each
// vector of a fault has a legal neighbour: a vector of a legal packet that names the same rule.
func TestFaultsHaveVectors(t *testing.T) {
	raised := map[string]int{}
	var broken, legal []string
	for _, v := range packetgen.Vectors(t) {
		for _, ver := range v.Versions {
			if v.OK {
				legal = append(legal, v.Rules[ver]...)
				continue
			}
			_, err := decoder(v, ver, codec.Strict).Decode(v.Frame)
			var e *codec.Error
			if errors.As(err, &e) {
				raised[e.Fault]++
				broken = append(broken, v.Rules[ver]...)
			}
		}
	}
	for _, f := range codec.FaultTable() {
		if raised[f.Name] == 0 && !notFromOneFrame[f.Name] {
			t.Errorf("no vector raises the fault %q (%s)", f.Name, f.Msg)
		}
	}
	for _, id := range codec.PropertyRules() {
		if !slices.Contains(broken, id) {
			t.Errorf("no vector breaks %s", id)
		}
	}
	slices.Sort(broken)
	for _, id := range slices.Compact(broken) {
		if !slices.Contains(legal, id) {
			t.Errorf("%s has faulty vectors and no legal neighbour", id)
		}
	}
}

// notFromOneFrame are the faults that no frame given to a default Decoder can raise: they come
// from the Reader's limit, from encoding, from CheckPayload or from the version 0.
var notFromOneFrame = map[string]bool{
	"too-large": true, "field-too-long": true, "payload-utf8": true, "will-payload-utf8": true, "first-packet": true,
}
