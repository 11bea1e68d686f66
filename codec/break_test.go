package codec_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/mqlab/mqlab/codec"
)

// TestBreak breaks every sample in every way that applies, and holds that a strict Decoder
// finds just the fault that the breakage announces.
func TestBreak(t *testing.T) {
	used := map[codec.Breakage]int{}
	for _, v := range versions {
		for i, p := range samples(v) {
			frame, err := p.AppendTo(nil, v)
			if err != nil {
				t.Fatalf("%s: %v", codec.Describe(p, v), err)
			}
			whole := slices.Clone(frame)
			for _, how := range codec.Breakages() {
				broken, err := codec.Break(frame, v, how)
				if err != nil {
					if !errors.Is(err, codec.ErrNotApplicable) {
						t.Errorf("%s of %x: %v", how, frame, err)
					}
					if how.Applies(frame, v) {
						t.Errorf("%s applies to %x and does not break it", how, frame)
					}
					continue
				}
				used[how]++
				t.Run(fmt.Sprintf("%s/%s/%s-%d", how, v, p.Type(), i), func(t *testing.T) {
					checkBroken(t, broken, v, how)
				})
			}
			if !slices.Equal(frame, whole) {
				t.Errorf("Break has changed its input")
			}
		}
	}
	for _, how := range codec.Breakages() {
		if used[how] == 0 {
			t.Errorf("%s applies to no sample", how)
		}
	}
	if n := len(codec.Breakages()); n < 25 {
		t.Errorf("only %d breakages", n)
	}
}

func checkBroken(t *testing.T, broken []byte, v codec.Version, how codec.Breakage) {
	t.Helper()
	d := codec.Decoder{Version: v, From: how.From()}
	_, err := d.Decode(broken)
	var e *codec.Error
	if !errors.As(err, &e) {
		t.Fatalf("%x is taken: %v", broken, err)
	}
	if !slices.Contains(how.Faults(), e.Fault) {
		t.Errorf("%x: fault %q, want one of %q", broken, e.Fault, how.Faults())
	}
	if e.Rule != "" && !slices.Contains(how.Raises(v), e.Rule) {
		t.Errorf("%x: rule %q, want one of %q", broken, e.Rule, how.Raises(v))
	}
	if how == codec.BreakVarintFiveBytes || how == codec.BreakVarintPadded {
		return
	}
	if h, n, err := codec.ParseHeader(broken); err != nil || n+h.Remaining != len(broken) {
		t.Errorf("%x: the Remaining Length does not agree with the frame", broken)
	}
}

func TestBreakSlugs(t *testing.T) {
	seen := map[string]bool{}
	for _, how := range codec.Breakages() {
		if s := how.String(); s == "" || seen[s] {
			t.Errorf("breakage %d has the name %q, which is empty or taken", how, s)
		} else {
			seen[s] = true
		}
		if len(how.Faults()) == 0 {
			t.Errorf("%s announces no fault", how)
		}
		if len(how.Raises(codec.V4)) == 0 && len(how.Raises(codec.V5)) == 0 {
			t.Errorf("%s announces no rule for any version", how)
		}
	}
	if _, err := codec.Break([]byte{0xC0, 0}, codec.V4, 0); !errors.Is(err, codec.ErrNotApplicable) {
		t.Errorf("the zero Breakage: %v", err)
	}
}
