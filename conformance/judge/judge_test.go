package judge_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
	"github.com/mqlab/mqlab/conformance/rules"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// outcome is what a case came to, over all its connections.
type outcome struct {
	findings []judge.Finding
	judged   map[judge.Key]int
	limits   []string
}

// play runs the steps. "next" begins another connection of the same book, at a later time.
func play(steps []step) outcome {
	book := &judge.Book{}
	out := outcome{judged: map[judge.Key]int{}}
	var c *judge.Conn
	finish := func() {
		if c == nil {
			return
		}
		out.findings = append(out.findings, c.Findings()...)
		out.limits = append(out.limits, c.Limits()...)
		for k, n := range c.Judged() {
			out.judged[k] += n
		}
	}
	at := epoch
	c = judge.New(book)
	for _, s := range steps {
		at = at.Add(s.at)
		switch s.what {
		case "next":
			finish()
			c = judge.New(book)
		case "assume":
			c.Assume(s.v)
		case "gap":
			c.Gap(s.from, at)
		case "end":
			c.End(at, s.from)
		case "bytes":
			c.Bytes(s.from, at, s.bytes)
		default:
			c.Packet(s.from, at, s.bytes)
		}
	}
	finish()
	return out
}

func side(s codec.Side) string {
	if s == codec.Client {
		return "client"
	}
	return "server"
}

// summary is one line per rule broken, sorted.
func summary(fs []judge.Finding) []string {
	var out []string
	for _, f := range fs {
		out = append(out, fmt.Sprintf("%s %s %s", f.Grade, f.Rule, side(f.By)))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func exchangeFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(files, func(f string) bool { return filepath.Base(f) == "packets.txt" })
}

// TestExchanges plays every exchange and compares all that was found with all that is expected.
func TestExchanges(t *testing.T) {
	for _, file := range exchangeFiles(t) {
		for _, c := range readExchanges(t, file) {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+c.name, func(t *testing.T) {
				got := play(c.steps)
				want := slices.Sorted(slices.Values(c.expect))
				if diff := cmp.Diff(want, summary(got.findings), cmp.Transformer("nil", func(s []string) string { return strings.Join(s, "\n") })); diff != "" {
					t.Errorf("%s:%d: findings (-want +got):\n%s", file, c.line, diff)
					for _, f := range got.findings {
						t.Log(f)
					}
				}
				for _, f := range got.findings {
					if f.Expected == "" || f.Actual == "" {
						t.Errorf("a finding without words: %+v", f)
					}
				}
			})
		}
	}
}

// packetCase is one line of packets.txt: a packet that breaks one rule by itself.
type packetCase struct {
	name, rule string
	line       int
	v          codec.Version
	from       codec.Side
	grade      judge.Grade
	steps      []step
}

func readPackets(t testing.TB) []packetCase {
	t.Helper()
	f, err := os.Open("testdata/packets.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []packetCase
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		head, packet, ok := strings.Cut(line, " : ")
		words := strings.Fields(head)
		if !ok || len(words) < 3 {
			t.Fatalf("packets.txt:%d: want VERSION SIDE RULE... : PACKET", n)
		}
		v := version(t, words[0])
		b, err := packetBytes(packet, v)
		if err != nil {
			t.Fatalf("packets.txt:%d: %v", n, err)
		}
		from, grade := codec.Client, judge.Fail
		if words[1] == "S" {
			from = codec.Server
		}
		hello, _ := packetBytes("connect clean id=x", v)
		welcome, _ := packetBytes("connack", v)
		var steps []step
		if first := codec.Type(b[0] >> 4); first != codec.TypeConnect {
			steps = append(steps, step{what: "packet", from: codec.Client, bytes: hello})
			if first != codec.TypeConnack {
				steps = append(steps, step{what: "packet", from: codec.Server, bytes: welcome})
			}
		}
		steps = append(steps, step{what: "packet", from: from, at: 2 * time.Second, bytes: b})
		for _, id := range words[2:] {
			if id == "warn" {
				grade = judge.Warn
				continue
			}
			out = append(out, packetCase{
				name: fmt.Sprintf("%s/%s/%s/line%d", words[0], words[1], id, n), rule: id, line: n, v: v, from: from, grade: grade, steps: steps,
			})
		}
	}
	return out
}

// TestPackets plays every single broken packet: its rule has to be named, of its sender, with its
// grade, and nothing may be held against the other side.
func TestPackets(t *testing.T) {
	for _, c := range readPackets(t) {
		t.Run(c.name, func(t *testing.T) {
			got := play(c.steps)
			found := false
			for _, f := range got.findings {
				if f.By != c.from {
					t.Errorf("a finding against the other side: %v", f)
				}
				found = found || f.Rule == c.rule && f.Grade == c.grade
			}
			if !found {
				t.Errorf("no %s of %s for % X; got %v", c.grade, c.rule, c.steps[len(c.steps)-1].bytes, summary(got.findings))
			}
		})
	}
}

// TestRules holds the table against the registry and against the exchanges: each duty is one that
// the registry knows, and is both broken and kept by at least one exchange.
func TestRules(t *testing.T) {
	broken, kept := map[judge.Key]bool{}, map[judge.Key]bool{}
	note := func(o outcome) {
		here := map[judge.Key]bool{}
		for _, f := range o.findings {
			for _, v := range f.Version.Split() {
				here[judge.Key{Version: v, Rule: f.Rule, By: f.By}] = true
			}
		}
		for k := range here {
			broken[k] = true
		}
		for k, n := range o.judged {
			if n > 0 && !here[k] {
				kept[k] = true
			}
		}
	}
	for _, file := range exchangeFiles(t) {
		for _, c := range readExchanges(t, file) {
			note(play(c.steps))
		}
	}
	for _, c := range readPackets(t) {
		note(play(c.steps))
	}
	listed := map[judge.Key]bool{}
	for _, k := range judge.Rules() {
		if listed[k] {
			t.Errorf("%v is listed twice", k)
		}
		listed[k] = true
		r, ok := rules.Lookup(k.Version, k.Rule)
		switch {
		case !ok:
			t.Errorf("MQTT %s has no rule %s", k.Version, k.Rule)
		case k.By == codec.Client && r.Subject == rules.SubjectServer, k.By == codec.Server && r.Subject == rules.SubjectClient:
			t.Errorf("%s of MQTT %s does not bind the %s", k.Rule, k.Version, side(k.By))
		}
		if !broken[k] {
			t.Errorf("no exchange breaks %s of MQTT %s by the %s", k.Rule, k.Version, side(k.By))
		}
		if !kept[k] {
			t.Errorf("no exchange keeps %s of MQTT %s by the %s", k.Rule, k.Version, side(k.By))
		}
	}
	for k := range broken {
		if !listed[k] {
			t.Errorf("a finding of a duty that is not listed: %v", k)
		}
	}
}
