package fuzz

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
)

// reported are findings with everything in them that could hurt a page.
func reported() *Summary {
	script := &Script{Version: codec.V5, Steps: []Step{
		{Op: Open},
		{Op: Send, Bytes: []byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 0}},
		{Op: Settle, Gap: 50 * time.Millisecond},
		{Op: Send, Bytes: []byte{0x82, 6, 0, 1, 0, 0, 1, 'a'}, Edit: "cut off at the options"},
	}}
	long := script.Clone()
	long.Steps = append(long.Steps, Step{Op: Send, Bytes: []byte{0xC0, 0}, Repeat: 100}, Step{Op: Churn, Size: 8, Repeat: 20, Bytes: []byte{0xC0, 0}})
	return &Summary{
		Target: "broker -p {port}", Seed: 42, Versions: []codec.Version{codec.V4, codec.V5}, Started: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		Elapsed: 61500 * time.Millisecond, Execs: 123456, Packets: 1, Corpus: 77, States: 900, Edges: 1, Restarts: 2,
		FailOn: []string{"crash", "rule"},
		Findings: []*Finding{
			{
				Oracle: OracleDied, Signature: "go panic: index out of range in packets.(*Packet).SubscribeDecode", State: "connected",
				Title: "SUBSCRIBE without options | panics <b>", Detail: []string{"exit status 2"}, Script: long, Minimal: script,
				Stderr: "panic: runtime error\n```\n" + strings.Repeat("x", reportStderr) + "\nend", Target: "broker -p {port}",
				Seed: 42, Execs: 310, After: 1234567 * time.Microsecond, At: time.Date(2026, 3, 4, 5, 6, 8, 0, time.UTC), Count: 3, Confirmed: 3, Tried: 3,
				Files: map[string]string{"script": "out/died 1.txt", "scenario": "out/died 1.yaml", "report": "out/died 1.md"},
			},
			{Oracle: OracleRule, Signature: "MQTT-3.8.4-1", Rule: "MQTT-3.8.4-1", Script: script, Target: "mqtt://127.0.0.1:1883", Files: map[string]string{"script": "a.txt"}, Tried: 3},
			{Oracle: OracleRule, Signature: "MQTT-3.3.1-4", Rule: "MQTT-3.3.1-4", Warn: true, Script: script, Target: "mqtt://127.0.0.1:1883"},
			{Oracle: OracleHang, Signature: "fresh", Target: "mqtt://127.0.0.1:1883"},
		},
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "report", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update rewrites it): %s", file, diff)
	}
}

func TestReports(t *testing.T) {
	s := reported()
	for name, write := range map[string]func(*strings.Builder) error{
		"summary.md": func(b *strings.Builder) error { return s.WriteMarkdown(b) },
		"junit.xml":  func(b *strings.Builder) error { return s.WriteJUnit(b) },
		"died.md":    func(b *strings.Builder) error { return s.Findings[0].WriteMarkdown(b) },
		"rule.md":    func(b *strings.Builder) error { return s.Findings[1].WriteMarkdown(b) },
		"clean.md": func(b *strings.Builder) error {
			return (&Summary{Target: "mqtt://h", Stopped: "interrupted"}).WriteMarkdown(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.String())
			if strings.HasSuffix(name, ".xml") {
				if err := xml.Unmarshal([]byte(b.String()), new(struct{ XMLName xml.Name })); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestSummaryFails(t *testing.T) {
	s := reported()
	if s.OK() || s.Failed() != 2 {
		t.Errorf("%d of 4 fail, want the crash and the rule", s.Failed())
	}
	s.FailOn = []string{"delivery"}
	if !s.OK() {
		t.Error("a class that was not selected fails the run")
	}
	s.FailOn = nil
	if s.Failed() != 3 {
		t.Errorf("%d fail, want all but the warning", s.Failed())
	}
	if r := s.Rate(); r < 2007 || r > 2008 {
		t.Errorf("%v scripts/s", r)
	}
	if r := new(Summary).Rate(); r != 0 {
		t.Errorf("%v scripts/s of an empty run", r)
	}
}

// Keys and slugs tell findings apart by what they are, not by when they were found.
func TestFindingIdentity(t *testing.T) {
	f := *reported().Findings[0]
	g := f
	g.At, g.Execs, g.Stderr, g.Title, g.Script = time.Time{}, 9, "", "", nil
	if f.Key() != g.Key() || f.Slug() != g.Slug() {
		t.Error("the same trouble has two identities")
	}
	for _, change := range []func(*Finding){
		func(f *Finding) { f.Oracle = OracleHang },
		func(f *Finding) { f.Signature += "x" },
		func(f *Finding) { f.State = "" },
	} {
		h := f
		change(&h)
		if h.Key() == f.Key() || h.Slug() == f.Slug() {
			t.Errorf("%s is not told apart", h.Key())
		}
	}
	b, err := json.Marshal(f)
	if err != nil || strings.Contains(string(b), "Steps") || !strings.Contains(string(b), `"after_ns":1234567000`) {
		t.Errorf("%s, %v", b, err)
	}
}

func TestOracles(t *testing.T) {
	if diff := cmp.Diff([]string{"crash", "hang", "leak", "delivery", "rule"}, Classes()); diff != "" {
		t.Error(diff)
	}
	for _, o := range Oracles() {
		if !slices.Contains(Classes(), o.Class()) || o.Says() == string(o) {
			t.Errorf("%s has class %q and says %q", o, o.Class(), o.Says())
		}
	}
	if Oracle("x").Class() != "" || Oracle("x").Says() != "x" {
		t.Error("an unknown oracle has a class")
	}
}
