package conformance

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/internal/ui"
)

var updateGolden = flag.Bool("update", false, "rewrite the golden files")

// golden compares with a file under testdata/reports.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "reports", name)
	if *updateGolden {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update rewrites it): %s", path, diff)
	}
}

const hostileText = `"<script>document.documentElement.dataset.pwned=1</script>" |` + "`x`\x1b[31m\u202e"

// fixedReport has every verdict, and texts from a hostile network.
func fixedReport() *Report {
	finding := func(rule string, ok bool, g Grade, actual string) Finding {
		return Finding{Rule: rule, Grade: g, OK: ok, Expected: "the connection ends", Actual: actual, Conn: "c1", At: 3 * time.Millisecond}
	}
	r := &Report{
		Format: ReportFormat, Target: "mqtt://127.0.0.1:1883", WSTarget: "ws://127.0.0.1:8080/mqtt", Versions: rules.AnyVersion,
		Started: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), Elapsed: 1500 * time.Millisecond,
		Scores: []Score{{Version: MQTT5, Axis: MalformedInput, Passed: 1, Judged: 4}},
		Better: []ExpectedFinding{{Rule: "MQTT-3.12.4-1", Version: MQTT5, Verdict: Fail, Reason: "known"}},
		Deaths: []Death{{At: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC), During: []string{"topics/a"}, Culprit: "topics/a", Status: "ended: exit status 2", Output: []string{"panic: " + hostileText}}},
		Features: []*Features{
			{Version: MQTT311, Served: true, MaximumQoS: 2, ReceiveMaximum: 65535},
			{Version: MQTT5, Served: true, Capabilities: CapQoS1 | CapRetain, MaximumQoS: 1, ReceiveMaximum: 20, TopicAliasMaximum: 10, MaximumPacketSize: 1000, ServerKeepAlive: 60},
		},
		Rules: []*RuleResult{
			{ID: "MQTT-3.3.1-4", Version: MQTT311, Section: "3.3 PUBLISH", Level: rules.LevelMust, Verdict: Fail, Reason: "expected the connection ends; got PUBLISH " + hostileText, Axis: MalformedInput, Judged: 2, Checks: []string{"publish/qos3"}},
			{ID: "MQTT-4.7.1-2", Version: MQTT311, Section: "4.7.1 Topic wildcards", Level: rules.LevelMust, Verdict: BrokerDied, Reason: "the target died", Judged: 1, Checks: []string{"topics/a"}},
			{ID: "MQTT-3.3.1-4", Version: MQTT5, Section: "3.3.1.2 QoS", Level: rules.LevelMust, Verdict: Pass, Judged: 3, Checks: []string{"publish/qos3"}},
			{ID: "MQTT-3.3.1-5", Version: MQTT5, Section: "3.3.1.3 RETAIN", Level: rules.LevelMust, Verdict: Fail, Reason: "kept nothing", Judged: 1, Checks: []string{"retained/kept"}, Expected: true, ExpectedReason: "a bridge forgets"},
			{ID: "MQTT-3.1.4-3", Version: MQTT5, Section: "3.1.4 CONNECT Actions", Level: rules.LevelMust, Verdict: Warn, Reason: "expected DISCONNECT; got none", Judged: 1, Checks: []string{"takeover/told"}},
			{ID: "MQTT-4.8.2-1", Version: MQTT5, Section: "4.8.2 Shared Subscriptions", Level: rules.LevelMust, Verdict: NotApplicable, Reason: "the target does not support shared subscriptions", Checks: []string{"shared/name"}},
			{ID: "MQTT-4.6.0-6", Version: MQTT5, Section: "4.6 Message ordering", Level: rules.LevelMust, Verdict: Inconclusive, Reason: "nothing came", Checks: []string{"ordering/all"}},
			{ID: "X-mine", Title: "mine " + hostileText, Version: MQTT5, Section: "own", Verdict: Pass, Judged: 1, Checks: []string{"extra/mine"}},
			{ID: "MQTT-3.12.4-1", Version: MQTT5, Section: "3.12.4 PINGREQ Actions", Level: rules.LevelMust, Verdict: Errored, Reason: "the check panicked: nil\nstack", Judged: 1, Checks: []string{"ping/answered"}},
		},
		Checks: []*CheckResult{
			{
				Name: "publish/qos3", Version: MQTT311, Rules: []string{"MQTT-3.3.1-4"}, Axis: MalformedInput, Verdict: Fail, Reason: "expected the connection ends; got PUBLISH " + hostileText,
				Attempts: 2, Failed: 2, Elapsed: 20 * time.Millisecond,
				Findings: []Finding{finding("MQTT-3.3.1-4", true, GradeFail, "it ended: EOF"), finding("MQTT-3.3.1-4", false, GradeFail, "PUBLISH "+hostileText)},
				Transcript: []peer.Entry{
					{At: time.Millisecond, Conn: "c1", Dir: peer.Sent, Text: "PUBLISH qos=3", Bytes: []byte{0x36, 0x06, 0, 1, 0x61, 0, 1, 0x78}, Size: 8},
					{At: 2 * time.Millisecond, Conn: "c1", Dir: peer.Received, Text: "PUBLISH " + hostileText, Bytes: bytes.Repeat([]byte{0xff}, 40), Size: 5000},
					{At: 3 * time.Millisecond, Conn: "c1", Dir: peer.Noted, Text: "fail MQTT-3.3.1-4: expected the connection ends; got PUBLISH"},
				},
				ClientBreaches: []string{"MQTT-3.3.1-4"},
			},
			{Name: "topics/a", Version: MQTT311, Rules: []string{"MQTT-4.7.1-2"}, Verdict: BrokerDied, Reason: "the target died", Elapsed: time.Second},
			{Name: "publish/qos3", Version: MQTT5, Rules: []string{"MQTT-3.3.1-4"}, Verdict: Pass, Attempts: 1, Elapsed: time.Millisecond, Findings: []Finding{finding("MQTT-3.3.1-4", true, GradeFail, "it ended: EOF"), finding("MQTT-3.3.1-4", false, GradeNote, "DISCONNECT")}},
			{Name: "retained/kept", Version: MQTT5, Rules: []string{"MQTT-3.3.1-5"}, Verdict: Fail, Reason: "kept nothing", Findings: []Finding{finding("MQTT-3.3.1-5", false, GradeFail, "nothing")}},
			{Name: "takeover/told", Version: MQTT5, Rules: []string{"MQTT-3.1.4-3"}, Verdict: Warn, Reason: "expected DISCONNECT; got none", Findings: []Finding{finding("MQTT-3.1.4-3", false, GradeWarn, "none")}},
			{Name: "shared/name", Version: MQTT5, Rules: []string{"MQTT-4.8.2-1"}, Verdict: NotApplicable, Reason: "the target does not support shared subscriptions"},
			{Name: "ordering/all", Version: MQTT5, Rules: []string{"MQTT-4.6.0-6"}, Verdict: Inconclusive, Reason: "nothing came"},
			{Name: "ping/answered", Version: MQTT5, Rules: []string{"MQTT-3.12.4-1"}, Verdict: Errored, Reason: "the check panicked: nil\nstack"},
			{Name: "extra/mine", Version: MQTT5, Rules: []string{"X-mine"}, Verdict: Pass, Attempts: 1},
			{Name: "strings/stray", Version: MQTT5, Rules: []string{"MQTT-1.5.4-1"}, Verdict: Errored, Reason: "the check judged nothing"},
		},
	}
	for _, x := range r.Rules {
		r.Counts.add(x.Verdict)
	}
	r.Counts.Error++ // the stray check
	r.Counts.Expected = 1
	return r
}

func written(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b strings.Builder
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReportGoldens(t *testing.T) {
	r := fixedReport()
	for name, write := range map[string]func(io.Writer) error{
		"report.json": r.WriteJSON, "report.xml": r.WriteJUnit, "report.tap": r.WriteTAP, "report.md": r.WriteMarkdown,
		"report.txt": func(w io.Writer) error { return r.WriteText(w, ui.Plain(), TextOptions{Width: 100}) },
	} {
		t.Run(name, func(t *testing.T) {
			first := written(t, write)
			golden(t, name, first)
			if again := written(t, write); again != first {
				t.Error("the same report was written in two ways")
			}
		})
	}
}

func TestReportSurvivesJSON(t *testing.T) {
	run, err := Run(t.Context(), Config{Run: []string{"ping/*", "publish/*"}, Transcripts: true, Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]*Report{"fixed": fixedReport(), "of a run": run} {
		t.Run(name, func(t *testing.T) {
			text := written(t, want.WriteJSON)
			got, err := ReadReport(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			// What no JSON holds serves the run alone.
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(CheckResult{}, Finding{}), cmpopts.IgnoreFields(Features{}, "HasKeepAlive", "Connack"), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			if again := written(t, got.WriteJSON); again != text {
				t.Error(cmp.Diff(text, again))
			}
		})
	}
}

func TestReadReportRefuses(t *testing.T) {
	change := func(f func(map[string]any)) string {
		var m map[string]any
		if err := json.Unmarshal([]byte(written(t, fixedReport().WriteJSON)), &m); err != nil {
			t.Fatal(err)
		}
		f(m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", "", "no report in JSON"},
		{"text", "MQTT 5.0 conformance", "no report in JSON"},
		{"another format", `{"format":"mqlab-comparison/1"}`, `"mqlab-comparison/1"`},
		{"a later format", change(func(m map[string]any) { m["format"] = "mqlab-conformance/2" }), "mqlab-conformance/2"},
		{"no rule", change(func(m map[string]any) { m["rules"] = []any{nil} }), "rules[0]"},
		{"a rule of two versions", change(func(m map[string]any) { m["rules"] = []any{map[string]any{"id": "x", "mqtt": "3.1.1,5.0"}} }), "rules[0]"},
		{"no check", change(func(m map[string]any) { m["checks"] = []any{nil} }), "checks[0]"},
		{"no features", change(func(m map[string]any) { m["features"] = []any{nil} }), "features[0]"},
		{"an unknown verdict", change(func(m map[string]any) {
			m["rules"] = []any{map[string]any{"id": "x", "mqtt": "5.0", "verdict": "great"}}
		}), "great"},
		{"a bad one of several", `[{"format":"x"}]`, "report 1 of 1"},
		{"none", "[]", "0 reports"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadReport(strings.NewReader(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	if _, err := ReadReport(strings.NewReader(change(func(m map[string]any) { m["later"] = 1 }))); err != nil {
		t.Errorf("an unknown field was refused: %v", err)
	}
	one := written(t, fixedReport().WriteJSON)
	if list, err := ReadReports(strings.NewReader("[" + one + "," + one + "]")); err != nil || len(list) != 2 {
		t.Errorf("a list of two: %d reports, %v", len(list), err)
	}
}

// Each form counts the rules as the report does.
func TestFormsAgreeOnCounts(t *testing.T) {
	for _, strict := range []bool{false, true} {
		r := fixedReport()
		r.Strict = strict
		failed, skipped, errored := 2, 3, 2 // the expected breach is skipped
		if strict {
			failed++
		}
		var doc struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Errors   int `xml:"errors,attr"`
			Skipped  int `xml:"skipped,attr"`
		}
		if err := xml.Unmarshal([]byte(written(t, r.WriteJUnit)), &doc); err != nil {
			t.Fatal(err)
		}
		if doc.Tests != len(r.Rules)+1 || doc.Failures != failed || doc.Errors != errored || doc.Skipped != skipped {
			t.Errorf("strict %v: JUnit counts %+v", strict, doc)
		}
		var notOK, todo int
		for line := range strings.Lines(written(t, r.WriteTAP)) {
			switch {
			case strings.HasPrefix(line, "not ok") && strings.Contains(line, " # TODO"):
				todo++
			case strings.HasPrefix(line, "not ok"):
				notOK++
			}
		}
		if notOK != failed+errored || todo != 4-failed {
			t.Errorf("strict %v: TAP has %d points that failed and %d that are known to", strict, notOK, todo)
		}
	}
}

func TestInterruptedRunDoesNotPass(t *testing.T) {
	r := fixedReport()
	r.Interrupted = true
	if text := written(t, r.WriteTAP); !strings.Contains(text, "\nBail out! ") {
		t.Error("TAP does not say so")
	}
	if text := written(t, r.WriteJUnit); !strings.Contains(text, `type="interrupted"`) {
		t.Error("JUnit does not say so")
	}
}

func TestReplayCommand(t *testing.T) {
	x := &RuleResult{ID: "MQTT-3.3.1-4", Version: MQTT5}
	for _, tt := range []struct {
		name string
		r    Report
		want string
	}{
		{"embedded", Report{Target: embeddedTarget}, "mqlab conformance --mqtt 5.0 --run MQTT-3.3.1-4"},
		{"target", Report{Target: "mqtt://h:1", WSTarget: "ws://h:2/a b"}, "mqlab conformance --target mqtt://h:1 --ws-target 'ws://h:2/a b' --mqtt 5.0 --run MQTT-3.3.1-4"},
		{"own check", Report{Target: "mqtt://h:1", Extra: "my checks"}, "mqlab conformance --target mqtt://h:1 --extra 'my checks' --mqtt 5.0 --run X-mine"},
		{"command", Report{Target: "mqtt://h:1", Command: "it's -p {port}"}, `mqlab conformance --cmd 'it'\''s -p {port}' --mqtt 5.0 --run MQTT-3.3.1-4`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := x
			if tt.r.Extra != "" {
				x = &RuleResult{ID: "X-mine", Version: MQTT5}
			}
			if got := tt.r.replay(x); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}

type brokenWriter struct{}

var errBroken = errors.New("disk full")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWritersReportErrors(t *testing.T) {
	r := fixedReport()
	c := Compare([]*Report{r, r}, nil)
	for i, write := range []func(io.Writer) error{r.WriteJSON, r.WriteJUnit, r.WriteTAP, r.WriteMarkdown, r.WriteHTML, c.WriteJSON, c.WriteMarkdown, c.WriteHTML} {
		if err := write(brokenWriter{}); !errors.Is(err, errBroken) {
			t.Errorf("writer %d: error %v", i, err)
		}
	}
}
