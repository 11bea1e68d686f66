package scenarios

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseThreshold(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Threshold
	}{
		{"publish_ack.p99 < 50ms", Threshold{Left: Term{"publish_ack", "p99", nil}, Op: "<", Factor: 1, Number: 0.05, Unit: UnitSeconds}},
		{" end_to_end.p99.99<=1.5s ", Threshold{Left: Term{"end_to_end", "p99.99", nil}, Op: "<=", Factor: 1, Number: 1.5, Unit: UnitSeconds}},
		{"lost == 0", Threshold{Left: Term{"lost", "", nil}, Op: "==", Factor: 1, Unit: UnitCount}},
		{"duplicated{qos=2} == 0", Threshold{Left: Term{"duplicated", "", map[string]string{"qos": "2"}}, Op: "==", Factor: 1, Unit: UnitCount}},
		{`errors{kind=connect, reason="not authorized"} <= 1k`, Threshold{Left: Term{"errors", "", map[string]string{"kind": "connect", "reason": "not authorized"}}, Op: "<=", Factor: 1, Number: 1000, Unit: UnitCount}},
		{"rate >= 0.99 * offered", Threshold{Left: Term{"rate", "", nil}, Op: ">=", Factor: 0.99, Right: &Term{Metric: "offered"}, Unit: UnitPerSecond}},
		{"rate{group=a} > 99%*offered{group=a}", Threshold{
			Left: Term{"rate", "", map[string]string{"group": "a"}}, Op: ">", Factor: 0.99, Unit: UnitPerSecond,
			Right: &Term{"offered", "", map[string]string{"group": "a"}},
		}},
		{"published == scheduled", Threshold{Left: Term{"published", "", nil}, Op: "==", Factor: 1, Right: &Term{Metric: "scheduled"}, Unit: UnitCount}},
		{"rate != 10k/s", Threshold{Left: Term{"rate", "", nil}, Op: "!=", Factor: 1, Number: 10_000, Unit: UnitPerSecond}},
		{"connect.count >= 1000", Threshold{Left: Term{"connect", "count", nil}, Op: ">=", Factor: 1, Number: 1000, Unit: UnitCount}},
		{"delivered_ratio >= 99.9%", Threshold{Left: Term{"delivered_ratio", "", nil}, Op: ">=", Factor: 1, Number: 0.999, Unit: UnitRatio}},
		{"broker_rss < 1GB", Threshold{Left: Term{"broker_rss", "max", nil}, Op: "<", Factor: 1, Number: 1e9, Unit: UnitBytes}},
		{"broker_cpu.max < 1.5", Threshold{Left: Term{"broker_cpu", "max", nil}, Op: "<", Factor: 1, Number: 1.5, Unit: UnitCores}},
	} {
		t.Run(c.in, func(t *testing.T) {
			got, err := ParseThreshold(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&c.want, got, cmpopts.IgnoreUnexported(Threshold{}), cmpopts.EquateApprox(1e-12, 0)); diff != "" {
				t.Error(diff)
			}
			if got.String() != strings.TrimSpace(c.in) {
				t.Errorf("String is %q", got)
			}
		})
	}
}

func TestParseThresholdErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "column 1: there is the end where a metric belongs"},
		{"publsh_ack.p99 < 50ms", `column 1: "publsh_ack" is no metric, did you mean publish_ack?`},
		{"zzzzzz < 1", "there are connect, subscribe"},
		{"publish_ack < 50ms", "column 1: publish_ack is a distribution: say which value of it, such as publish_ack.p99"},
		{"publish_ack.p9x < 50ms", `column 13: publish_ack has no "p9x"`},
		{"publish_ack.p101 < 50ms", `publish_ack has no "p101"`},
		{"publish_ack.p0 < 50ms", `publish_ack has no "p0"`},
		{"publish_ack.pN < 50ms", `column 13: publish_ack has no "p"`},
		{"publish_ack. < 50ms", "column 12: nothing stands behind the point"},
		{"lost.p99 == 0", "column 6: lost is one number"},
		{"lost{group=a} == 0", "column 6: lost can be narrowed by qos, not by \"group=a} == 0\""},
		{"lost{qos=3} == 0", "column 10: a QoS is 0, 1 or 2"},
		{"lost{qos=1,qos=2} == 0", "qos stands twice"},
		{"lost{qos 1} == 0", "where = belongs"},
		{"lost{qos=1 == 0", "column 10: the brace is not closed"},
		{"errors{kind=} == 0", "kind has no value"},
		{`errors{kind="x == 0`, "the quoted text is not closed"},
		{`errors{kind="x"; == 0`, "a comma or the closing brace"},
		{"broker_cpu{qos=1} < 1", "broker_cpu cannot be narrowed"},
		{"lost = 0", "column 6: equality is written =="},
		{"lost 0", "one of < <= > >= == !="},
		{"lost ==", "column 8: there is the end where a number or a metric belongs"},
		{"lost == 5ms", "column 9: lost is compared with 5ms, but it is a number"},
		{"publish_ack.p99 < 50", "column 19: publish_ack is compared with 50, but it is a time: write it as 50ms"},
		{"publish_ack.p99 < 5x", `"5x" is not a number with a unit`},
		{"rate > 1 * lost", "column 12: lost is a number"},
		{"rate > 5ms * offered", "a factor is a plain number"},
		{"rate > 0.9 * 5", "where a metric belongs"},
		{"lost == 0 && rate > 1", `column 11: "&& rate > 1" is too much`},
		{"delivered_ratio > 1.2.3", "is not a number"},
		{strings.Repeat("x", 2000), "longer than"},
	} {
		_, err := ParseThreshold(c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want %q in it", shorten(c.in, 60), err, c.want)
		}
	}
}

// resultOf answers from a table.
func resultOf(values map[string]float64) Lookup {
	return func(name, stat string, labels map[string]string) (float64, Unit, bool) {
		x, ok := values[(&Term{name, stat, labels}).String()]
		_, unit, _ := metric(name).stat(stat)
		return x, unit, ok
	}
}

func TestThresholdEval(t *testing.T) {
	result := resultOf(map[string]float64{
		"publish_ack.p99": 0.012345, "lost": 0, "lost{qos=1}": 3, "rate": 990, "offered": 1000, "delivered_ratio": 0.9999999,
		"broker_rss.max": 5e6, "broker_cpu.mean": 0.251, "end_to_end.p50": math.NaN(), "connect.count": 100, "connects": 100,
	})
	for _, c := range []struct {
		in     string
		passed bool
		left   float64
		why    string
	}{
		{"publish_ack.p99 < 50ms", true, 0.012345, "publish_ack.p99 is 12.345ms, which is below 50ms"},
		{"publish_ack.p99 < 12ms", false, 0.012345, "publish_ack.p99 is 12.345ms, which is not below 12ms"},
		{"lost == 0", true, 0, "lost is 0, which is equal to 0"},
		{"lost{qos=1} <= 2", false, 3, "lost{qos=1} is 3, which is not at most 2"},
		{"rate >= 0.99 * offered", true, 990, "rate is 990/s, which is at least 0.99 * offered, which is 990/s"},
		{"rate >= offered", false, 990, "rate is 990/s, which is not at least offered, which is 1000/s"},
		{"delivered_ratio >= 100%", false, 0.9999999, "delivered_ratio is 99.9999%, which is not at least 100%"},
		{"broker_rss < 4MB", false, 5e6, "broker_rss.max is 5000000 bytes, which is not below 4MB"},
		{"broker_cpu > 0.25", true, 0.251, "broker_cpu.mean is 0.25 cores, which is above 0.25"},
		{"connect.count == connects", true, 100, "connect.count is 100, which is equal to connects, which is 100"},
		{"connects != 100", false, 100, "connects is 100, which is not other than 100"},
		{"request.p99 < 1s", false, 0, "nothing was measured for request.p99"},
		{"end_to_end.p50 != 1s", false, 0, "nothing was measured for end_to_end.p50"},
		{"lost < 1 * dropped", false, 0, "nothing was measured for dropped"},
	} {
		t.Run(c.in, func(t *testing.T) {
			th, err := ParseThreshold(c.in)
			if err != nil {
				t.Fatal(err)
			}
			passed, left, why, err := th.Eval(result)
			if err != nil || passed != c.passed || left != c.left || why != c.why {
				t.Errorf("%v, %v, %q, %v; want %v, %v, %q", passed, left, why, err, c.passed, c.left, c.why)
			}
		})
	}
	th, err := ParseThreshold("lost == 0")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := th.Eval(nil); err == nil {
		t.Error("no result is no error")
	}
	wrong := func(string, string, map[string]string) (float64, Unit, bool) { return 1, UnitSeconds, true }
	if passed, _, _, err := th.Eval(wrong); err == nil || passed {
		t.Error("another unit is no error")
	}
}

// The table is sound: each metric can be named in a threshold, by each of its values and labels.
func TestMetricsCanBeNamed(t *testing.T) {
	numbers := map[Unit]string{UnitSeconds: "1s", UnitCount: "1", UnitPerSecond: "1/s", UnitBytes: "1KiB", UnitRatio: "1%", UnitCores: "1"}
	for _, m := range Metrics() {
		if m.Doc == "" {
			t.Errorf("%s is not described", m.Name)
		}
		stats := m.Stats
		if m.Stat != "" || len(stats) == 0 {
			stats = append([]string{""}, stats...)
		}
		for _, s := range stats {
			s = strings.Replace(s, "pN", "p99.9", 1)
			number := numbers[m.Unit]
			if s == "count" {
				number = "1"
			}
			text := m.Name
			if s != "" {
				text += "." + s
			}
			var labels []string
			for _, l := range m.Labels {
				labels = append(labels, l+"=1")
			}
			if len(labels) > 0 {
				text += "{" + strings.Join(labels, ",") + "}"
			}
			if _, err := ParseThreshold(text + " < " + number); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}

// What is read means the same when its parts are written anew, and errors name a column.
func FuzzThreshold(f *testing.F) {
	for _, s := range []string{
		"publish_ack.p99 < 50ms", "duplicated{qos=2} == 0", "rate >= 0.99 * offered", `errors{kind=connect,reason="x, y"} <= 1k`,
		"delivered_ratio >= 99.9%", "broker_rss < 1GiB", "lost = 0", "published == scheduled",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		th, err := ParseThreshold(s)
		if err != nil {
			if len(s) <= maxThreshold && !strings.HasPrefix(err.Error(), "column ") {
				t.Errorf("the error names no column: %v", err)
			}
			return
		}
		again, err := ParseThreshold(th.String())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(th, again, cmpopts.IgnoreUnexported(Threshold{})); diff != "" {
			t.Error(diff)
		}
		passed, left, why, err := th.Eval(func(name, stat string, _ map[string]string) (float64, Unit, bool) {
			_, unit, _ := metric(name).stat(stat)
			return 1, unit, true
		})
		if err != nil || left != 1 || why == "" {
			t.Errorf("%v, %v, %q, %v", passed, left, why, err)
		}
	})
}
