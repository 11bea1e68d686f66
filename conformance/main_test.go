package conformance_test

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// waiting is how many parallel tests run at a time: they wait for deadlines and for other
// programs, whatever the number of processors.
const waiting = "8"

// TestMain is the test binary, and with an argument a broker that can be made to die, or a client.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "mortal-broker" {
		os.Exit(mortalBroker(os.Args[2], os.Args[3:]...))
	}
	if len(os.Args) > 2 && os.Args[1] == "flawed-client" {
		os.Exit(flawedClient(os.Args[2], os.Args[3:]...))
	}
	// A program that was built with the race detector waits for a second at its end unless it is told
	// not to, and many are started here.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
		panic(err)
	}
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		if err := flag.Set("test.parallel", waiting); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// wanted reports whether -run asks for the test of the full name, as package testing would.
func wanted(name string) bool { return selects(flag.Lookup("test.run").Value.String(), name) }

// selects reports whether a -run pattern asks for the test of the full name: one of its
// alternatives matches level by level.
func selects(pattern, name string) bool {
	levels := strings.Split(strings.ReplaceAll(name, " ", "_"), "/")
next:
	for _, alternative := range splitPattern(pattern, '|') {
		for i, part := range splitPattern(alternative, '/') {
			if i >= len(levels) {
				break
			}
			if ok, err := regexp.MatchString(part, levels[i]); err != nil || !ok {
				continue next
			}
		}
		return true
	}
	return false
}

// splitPattern cuts a regular expression at a character where that stands outside of all
// parentheses and brackets.
func splitPattern(pattern string, at byte) []string {
	var parts []string
	begin, depth, class := 0, 0, false
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case class:
			class = c != ']'
		case c == '[':
			class = true
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == at && depth == 0:
			parts = append(parts, pattern[begin:i])
			begin = i + 1
		}
	}
	return append(parts, pattern[begin:])
}

func TestSelects(t *testing.T) {
	const name = "TestMutants/publish/puback-missing/5.0"
	for pattern, want := range map[string]bool{
		"":                                  true,
		"TestMutants":                       true,
		"TestMutants/will":                  false,
		"TestMutants/publish/pub":           true,
		"TestMutants/(will|publish)/puback": true,
		"TestMutants/(publish/puback|will)": false, // within parentheses it is part of the level
		"TestMutants/[/p]ublish/missing/5":  true,
		"TestMutants/publish/(puback-missing,|missing)$": true,
		"TestOther|TestMutants/publish":                  true,
		"TestMutants/will|TestOther/publish":             false,
		`TestMutants/publish/.*/5\.0$`:                   true,
		`TestMutants/publish/.*/5\/0$`:                   false,
	} {
		if got := selects(pattern, name); got != want {
			t.Errorf("-run %q asks for %s: %v, want %v", pattern, name, got, want)
		}
	}
	if diff := cmp.Diff([]string{"a(b/c)", "d[/]", `e\/f`, ""}, splitPattern(`a(b/c)/d[/]/e\/f/`, '/')); diff != "" {
		t.Error(diff)
	}
}
