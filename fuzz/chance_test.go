package fuzz

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestHeld holds that a connection stays open until its place is needed, and that what a script does at the same time it
// still does.
func TestHeld(t *testing.T) {
	s, err := ReadScript(strings.NewReader(scriptMagic + `
version 5.0
c0 open
c0 send c000
c0 drop
c0 open
c1 open
c0 send d000
c0 close
c1 send e000
pause 1ms
c0 open
c0 open
c0 send f000
c1 send 3000
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	h := held(s)
	for _, st := range h.Steps {
		line := fmt.Sprintf("c%d %s", st.Conn, st.Op)
		if len(st.Bytes) > 0 {
			line += fmt.Sprintf(" %x", st.Bytes[0])
		}
		got = append(got, line)
	}
	want := []string{
		"c0 open", "c0 send c0", "c1 open", "c2 open", "c1 send d0", "c2 send e0", "c0 pause", "c3 open", "c0 open", "c0 send f0", "c2 send 30",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(s.Steps) != 13 {
		t.Error("the original was changed")
	}
}

// TestStorm holds that each connection that begins well is made many times, one of a kind, and sends what it sent.
func TestStorm(t *testing.T) {
	s, err := ReadScript(strings.NewReader(scriptMagic + `
version 5.0
c0 open
c0 send 1000
c1 open
c1 send c000
c0 send d000
c0 drop
c0 open
c0 send 1000
c0 drip 1 1ms d000
c1 open
c1 send 1001
c1 send 61*4000
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, st := range storm(s).Steps {
		got = append(got, fmt.Sprintf("%s %d %d %x", st.Op, st.Size, st.Repeat, st.Bytes))
	}
	if diff := cmp.Diff([]string{"churn 6 8 1000d000", "churn 6 8 1001"}, got); diff != "" {
		t.Error(diff)
	}
	if storm(&Script{Steps: s.Steps[2:4]}) != nil || storm(nil) != nil {
		t.Error("a storm of nothing")
	}
}

// TestCapped holds that numbers are bounded in copies.
func TestCapped(t *testing.T) {
	all := []*Script{{Steps: []Step{{Op: Send, Repeat: 300}, {Op: Send}}}, {Steps: []Step{{Op: Send, Repeat: 3}}}}
	got := capped(all, 8)
	if got[0].Steps[0].Repeat != 8 || got[0].Steps[1].Repeat != 0 || got[1] != all[1] || all[0].Steps[0].Repeat != 300 {
		t.Errorf("%+v of %+v", got[0], all[0])
	}
}
