package scenarios

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/internal/topic"
)

func TestParseRate(t *testing.T) {
	for in, want := range map[string]Rate{
		"10/s": 10, "600/min": 10, "1/h": 1.0 / 3600, "2.5": 2.5, "10k/s": 10_000, " 6 / m ": 0.1, "0": 0, "1e3": 1000, "1M": 1e6,
	} {
		got, err := ParseRate(in)
		if err != nil || math.Abs(float64(got-want)) > 1e-12 {
			t.Errorf("%q: %v, %v, want %v", in, float64(got), err, float64(want))
		}
		if back, err := ParseRate(got.String()); err != nil || back != got {
			t.Errorf("%q is written as %q, which is %v, %v", in, got, float64(back), err)
		}
	}
	for _, in := range []string{"", "fast", "-1", "10/d", "1/s/s", "inf", "nan", "0x10", "/s", "1_000"} {
		if got, err := ParseRate(in); err == nil {
			t.Errorf("%q is taken as %v", in, float64(got))
		}
	}
	for r, want := range map[Rate]string{1.0 / 3600: "1/h", 0.1: "6/min", 10: "10/s", 0.3333: "0.3333/s"} {
		if r.String() != want {
			t.Errorf("%v is written as %s, want %s", float64(r), r, want)
		}
	}
}

func TestParseBandwidth(t *testing.T) {
	for in, want := range map[string]Bandwidth{
		"20kbit/s": 2500, "2KB/s": 2000, "1Mbit/s": 125_000, "64KiB/s": 65_536, "100": 100, "9600bit/s": 1200, "1.5 MB/s": 1.5e6, "10Mbps": 1.25e6,
	} {
		got, err := ParseBandwidth(in)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", in, float64(got), err, float64(want))
		}
		if back, err := ParseBandwidth(got.String()); err != nil || back != got {
			t.Errorf("%q is written as %q, which is %v, %v", in, got, float64(back), err)
		}
	}
	for _, in := range []string{"", "fast", "-1", "10kbit", "kbit/s", "1 parsec/s"} {
		if got, err := ParseBandwidth(in); err == nil {
			t.Errorf("%q is taken as %v", in, float64(got))
		}
	}
}

func TestSizeForms(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		in          string
		want        Size
		least, most int
	}{
		{"64", Size{Fixed: 64}, 64, 64},
		{"{min: 16, max: 20}", Size{Min: 16, Max: 20}, 16, 20},
		{"{max: 3}", Size{Max: 3}, 0, 3},
		{"{mean: 256, deviation: 0}", Size{Mean: 256}, 256, 256},
		{"{mean: 100, deviation: 1000}", Size{Mean: 100, Deviation: 1000}, 0, MaximumSize},
	} {
		var s Size
		if err := yaml.Unmarshal([]byte(c.in), &s); err != nil || s != c.want {
			t.Errorf("%s: %+v, %v", c.in, s, err)
			continue
		}
		seen := map[int]bool{}
		for range 500 {
			n := s.Draw(random.Float64(), random.NormFloat64())
			if n < c.least || n > c.most {
				t.Fatalf("%s draws %d", c.in, n)
			}
			seen[n] = true
		}
		if all := c.most - c.least + 1; all < 10 && len(seen) != all {
			t.Errorf("%s draws %d of %d sizes", c.in, len(seen), all)
		}
		if least, most := s.Range(); least != c.least || most != c.most {
			t.Errorf("%s ranges from %d to %d", c.in, least, most)
		}
	}
	for _, in := range []string{"0", "-1", "x", "{}", "{min: 5}", "{min: 1, mean: 5}", "{deviation: 5}", "{mean: 0}", "{max: 0}", "{size: 5}", "[1]", "{max: 1.5}", "999999999999"} {
		var s Size
		if err := yaml.Unmarshal([]byte(in), &s); err == nil {
			t.Errorf("%s is taken as %+v", in, s)
		}
	}
}

func TestQoSMix(t *testing.T) {
	for in, want := range map[string][3]float64{
		"1": {0, 1, 0}, "{0: 70, 1: 20, 2: 10}": {0.7, 0.2, 0.1}, "{2: 5}": {0, 0, 1}, `{"0": 1, "1": 1}`: {0.5, 0.5, 0},
	} {
		var m QoSMix
		if err := yaml.Unmarshal([]byte(in), &m); err != nil || m.Shares() != want {
			t.Errorf("%s: %v, %v", in, m, err)
		}
	}
	if got := (QoSMix{}).Shares(); got != [3]float64{1, 0, 0} {
		t.Errorf("nothing said is %v", got)
	}
	for _, in := range []string{"3", "-1", "{3: 1}", "{0: -1}", "{0: 0}", "x", "[0, 1]", "{0: x}"} {
		var m QoSMix
		if err := yaml.Unmarshal([]byte(in), &m); err == nil {
			t.Errorf("%s is taken as %v", in, m)
		}
	}
}

func TestResolved(t *testing.T) {
	s, err := Parse([]byte(`
kind: workload
title: t
clients:
  - name: a
    count: 4
    publish: [{topic: "x/{each:b}", group_rate: 8/s}, {topic: y, rate: 1, payload: hi}]
    link: {cut_every: 8s}
  - {name: b, count: 3, mqtt: 3.1}
phases: [{kind: ramp, for: 1s}, {kind: ramp, for: 1s, from: 2}, {kind: storm, for: 1s}, {kind: step, for: 1s}, {kind: idle, for: 1s}, {kind: spike, for: 1s, to: 9}]
`))
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	clean := true
	back := &Reconnect{After: 100 * time.Millisecond, Max: 10 * time.Second}
	want := &Workload{
		Kind: KindWorkload, Title: "t", MQTT: "3.1.1", Model: "open", Drain: 5 * time.Second,
		Clients: []Group{
			{
				Name: "a", Count: 4, ClientID: "{run}-{group}-{index}", MQTT: "3.1.1", CleanStart: &clean, KeepAlive: time.Minute,
				Publish: []Publication{
					{Topic: "x/{each:b}", Topics: 3, QoS: QoSMix{1, 0, 0}, Rate: 2, Arrival: "even", Size: Size{Fixed: 64}},
					{Topic: "y", Topics: 1, QoS: QoSMix{1, 0, 0}, Rate: 1, Arrival: "even", Payload: "hi"},
				},
				Link: &Link{CutEvery: 8 * time.Second, CutJitter: 2 * time.Second}, Reconnect: back,
			},
			{Name: "b", Count: 3, ClientID: "{run}-{client}", MQTT: "3.1", CleanStart: &clean, KeepAlive: time.Minute, Reconnect: back},
		},
		Phases: []Phase{
			{Name: "ramp", Kind: "ramp", For: time.Second, To: 1},
			{Name: "ramp-2", Kind: "ramp", For: time.Second, From: 2, To: 1e-9},
			{Name: "storm", Kind: "storm", For: time.Second, From: 1, To: 1, Groups: []string{"a", "b"}, Share: 1},
			{Name: "step", Kind: "step", For: time.Second, From: 1, To: 1, Steps: 5},
			{Name: "idle", Kind: "idle", For: time.Second},
			{Name: "spike", Kind: "spike", For: time.Second, From: 1, To: 9},
		},
	}
	got := s.(*Workload).Resolved()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("with its defaults it is not valid: %v", err)
	}
	if after, err := s.Marshal(); err != nil || string(after) != string(before) {
		t.Errorf("Resolved changed the workload: %v %s", err, cmp.Diff(string(before), string(after)))
	}
}

func TestCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.csv")
	if err := os.WriteFile(file, []byte("\uFEFFalice,secret\n# not this one\nbob,\"with, comma\",b1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadCredentials(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Credential{{"alice", "secret", ""}, {"bob", "with, comma", "b1"}}, got); diff != "" {
		t.Error(diff)
	}
	for in, want := range map[string]string{
		"":                "there are no credentials",
		"alice\n":         "line 1 has 1 fields",
		"a,b\na,b,c,d\n":  "line 2 has 4 fields",
		"\"a,b\n":         "line 1",
		"a\x00b,secret\n": "not a text that MQTT can carry",
	} {
		if _, err := readCredentials(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error is %v, want %q in it", in, err, want)
		}
	}
}

// Each built-in workload is valid, says why one runs it, judges something, and stays valid when it is made smaller, larger,
// shorter, faster, and other in version and size.
func TestLibrary(t *testing.T) {
	for _, w := range Library() {
		t.Run(w.Name, func(t *testing.T) {
			if len(w.About) < 150 || len(w.Thresholds) < 2 || w.Title == "" {
				t.Errorf("its title is %q, its reason has %d bytes, and it judges %d values", w.Title, len(w.About), len(w.Thresholds))
			}
			if n := w.ClientCount(); n < 100 || n > 1100 {
				t.Errorf("it has %d clients", n)
			}
			if d := w.Duration(); d > 30*time.Second && w.Name != "soak" {
				t.Errorf("it takes %v", d)
			}
			if err := w.Resolved().Validate(); err != nil {
				t.Errorf("with its defaults: %v", err)
			}
			for _, n := range []int{1, 10, 5000} {
				c, err := w.Apply(Overrides{Clients: n, Duration: 10 * time.Second, Rate: 2000, Size: Size{Fixed: 40}})
				if err != nil {
					t.Fatalf("with %d clients: %v", n, err)
				}
				largest := 0
				for _, count := range c.Counts() {
					largest = max(largest, count)
				}
				if largest != n || c.Duration() != 10*time.Second || math.Abs(float64(c.Offered()-2000)) > 1e-6 {
					t.Errorf("with %d clients for 10s at 2000/s: %d clients for %v at %s", n, largest, c.Duration(), c.Offered())
				}
			}
			one := uint8(1)
			if _, err := w.Apply(Overrides{QoS: &one}); (err != nil) != (w.Name == "qos-ladder") {
				t.Errorf("at QoS 1: %v", err)
			}
			if _, err := w.Apply(Overrides{MQTT: "5.0", Closed: true, Window: 20, Thresholds: []string{"lost == 0"}}); err != nil {
				t.Errorf("closed, under 5.0: %v", err)
			}
			if diff := cmp.Diff(w.Thresholds, mustByName(t, w.Name).Thresholds); diff != "" {
				t.Errorf("Apply changed the workload: %s", diff)
			}
		})
	}
	if _, err := ByName("telemtry-fan-in"); err == nil || !strings.Contains(err.Error(), "did you mean telemetry-fan-in?") {
		t.Errorf("a misspelt name: %v", err)
	}
	if _, err := ByName("../workload"); err == nil {
		t.Error("a path is taken as a name")
	}
}

func mustByName(t *testing.T, name string) *Workload {
	t.Helper()
	w, err := ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// deliveries counts, for one message on every topic of the workload, who receives it. Shared subscriptions count once.
func deliveries(t *testing.T, w *Workload) map[string]int {
	t.Helper()
	r := w.Resolved()
	counts := r.Counts()
	expand := func(s string, v *Vars) string {
		tmpl, err := ParseTemplate(s)
		if err != nil {
			t.Fatal(err)
		}
		return tmpl.Expand(v)
	}
	each := func(do func(g *Group, v *Vars)) {
		for i := range r.Clients {
			for n := range r.Clients[i].Count {
				do(&r.Clients[i], &Vars{Run: "r", Group: r.Clients[i].Name, Index: n, Count: r.Clients[i].Count, Counts: counts})
			}
		}
	}
	filters := map[[2]string]int{}
	each(func(g *Group, v *Vars) {
		for _, s := range g.Subscribe {
			key := [2]string{s.Share, expand(s.Filter, v)}
			filters[key]++
			if s.Share != "" {
				filters[key] = 1
			}
		}
	})
	out := map[string]int{}
	each(func(g *Group, v *Vars) {
		for _, p := range g.Publish {
			for v.Topic = range p.Topics {
				name := expand(p.Topic, v)
				for f, n := range filters {
					if topic.Match(f[1], name) {
						out[g.Name] += n
					}
				}
			}
		}
	})
	return out
}

// Every message of a built-in workload has the receivers that its description promises, whatever the size.
func TestLibraryTopicsMeet(t *testing.T) {
	want := map[string]map[string]int{
		"telemetry-fan-in":  {"devices": 20},
		"command-fan-out":   {"service": 20 + 20},
		"point-to-point":    {"senders": 20},
		"request-response":  {"callers": 20},
		"shared-work-queue": {"producers": 20 * 10 * 2},
		"retained-sync":     {"devices": 20}, // one dashboard
		"qos-ladder":        {"senders": 20},
		"churn":             {"steady": 7},
		"reconnect-storm":   {"devices": 20, "services": 20},
		"will-storm":        {},
		"constrained-link":  {"devices": 20, "services": 20},
		"soak":              {"devices": 20 + 20*3, "services": 20},
	}
	for _, w := range Library() {
		if err := w.SetClients(20); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[w.Name], deliveries(t, w)); diff != "" {
			t.Errorf("%s: %s", w.Name, diff)
		}
	}
}

func TestQuick(t *testing.T) {
	for _, c := range []struct {
		name      string
		o         QuickOptions
		title     string
		delivered int
	}{
		{"nothing said", QuickOptions{}, "100 publishers to 10 subscribers at QoS 0, 1000/s", 100},
		{"few", QuickOptions{Clients: 3, QoS: 2, Rate: 5}, "3 publishers to 1 subscriber at QoS 2, 5/s", 3},
		{"odd", QuickOptions{Clients: 7, Subscribers: 3}, "7 publishers to 3 subscribers at QoS 0, 1000/s", 7},
		{"more subscribers than publishers", QuickOptions{Clients: 2, Subscribers: 5}, "2 publishers to 5 subscribers at QoS 0, 1000/s", 2},
		{"fan-out", QuickOptions{Topology: FanOut, Clients: 50}, "1 publisher to 50 subscribers at QoS 0, 1000/s", 50},
		{"pairs", QuickOptions{Topology: Pairs, Clients: 50}, "50 publishers to 50 subscribers at QoS 0, 1000/s", 50},
		{"pairs on own topics", QuickOptions{Topology: Pairs, Clients: 5, Topic: "x/{index:03}/{client}"}, "5 publishers to 5 subscribers at QoS 0, 1000/s", 5},
		{"own topic", QuickOptions{Clients: 20, Topic: "site/{index:/5}/{group}/t"}, "20 publishers to 1 subscriber at QoS 0, 1000/s", 20},
		{"own topic, shared", QuickOptions{Clients: 20, Topic: "site/{index}", Subscribers: 4}, "20 publishers to 4 subscribers at QoS 0, 1000/s", 20},
		{"one topic", QuickOptions{Clients: 20, Topic: "all"}, "20 publishers to 1 subscriber at QoS 0, 1000/s", 20},
		{"alone", QuickOptions{Clients: 20, NoSubscribers: true}, "20 publishers to 0 subscribers at QoS 0, 1000/s", 0},
		{"closed", QuickOptions{Clients: 20, Closed: true, Window: 5, QoS: 1, MQTT: "5.0", Size: Size{Fixed: 8}}, "20 publishers to 2 subscribers at QoS 1, as fast as they are acknowledged", 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := Quick(c.o)
			if err := w.Validate(); err != nil {
				t.Fatal(err)
			}
			if w.Title != c.title || w.Duration() != 10*time.Second {
				t.Errorf("it is %q for %v", w.Title, w.Duration())
			}
			if got := deliveries(t, w)["publishers"]; got != c.delivered {
				t.Errorf("%d deliveries of a message on each topic, want %d", got, c.delivered)
			}
			wantRate := Rate(1000)
			if c.o.Rate != 0 {
				wantRate = c.o.Rate
			}
			if c.o.Closed {
				wantRate = 0
			}
			if got := w.Offered(); got != wantRate {
				t.Errorf("it offers %s", got)
			}
		})
	}
}

func TestResizeErrors(t *testing.T) {
	w := Quick(QuickOptions{Closed: true})
	for name, err := range map[string]error{
		"rate: in the closed model":            w.SetRate(5),
		"clients: 0 is not":                    w.SetClients(0),
		"qos: 3 is not":                        w.SetQoS(3),
		"duration: 0s is not":                  w.SetDuration(0),
		`mqtt: "6" is not`:                     w.SetVersion("6"),
		"rate: the workload publishes nothing": (&Workload{}).SetRate(5),
		"rate: -1/s is not":                    w.SetRate(-1),
		"qos: the phases of this workload set": mustByName(t, "qos-ladder").SetQoS(1),
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("the error is %v, want %q in it", err, name)
		}
	}
	if _, err := w.Apply(Overrides{Clients: -1, Rate: 5, MQTT: "9"}); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not all problems are reported: %v", err)
	}
}
