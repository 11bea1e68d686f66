package conformance_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/rules"
)

func clientCommand(args ...string) []string {
	return append([]string{os.Args[0], "flawed-client", "{port}"}, args...)
}

type clientCase struct {
	flaw, version string
	rules         []string // all that are broken
	run           string   // the checks to run; empty: all
}

// clientCases are clients, with the rules that are found broken.
var clientCases = []clientCase{
	{"none", "3.1.1", nil, ""},
	{"none", "5.0", nil, ""},
	{"persistent", "3.1.1", nil, "client/open*,client/pubrel-sent*,client/qos2-repeated*,client/nothing-of*,client/unexpected*"},
	{"persistent", "5.0", nil, "client/open*,client/pubrel-sent*,client/qos2-repeated*,client/nothing-of*,client/unexpected*"},
	{"subscribes first", "3.1.1", []string{"MQTT-3.1.0-1"}, "client/connect-first"},
	{"backwards", "3.1.1", []string{"MQTT-4.6.0-2", "MQTT-4.6.0-3", "MQTT-4.6.0-4"}, "client/*order"},
	{"backwards", "5.0", []string{"MQTT-4.6.0-2", "MQTT-4.6.0-3", "MQTT-4.6.0-4"}, "client/*order"},
	{"deaf", "3.1.1", []string{"MQTT-4.5.0-2"}, "client/qos1-acknowledged-in-order"},
	{"deaf", "5.0", []string{"MQTT-4.5.0-2"}, "client/qos1-acknowledged-in-order"},
	{"wrong name", "5.0", []string{"MQTT-3.1.2-1"}, "client/connect-first"},
	{"leaves,talks on", "3.1.1", []string{"MQTT-3.14.4-2"}, "client/disconnect-ends*"},
	{"leaves,talks on", "5.0", []string{"MQTT-3.14.4-1"}, "client/disconnect-ends*"},
	{"leaves,never closes", "3.1.1", []string{"MQTT-3.14.4-1"}, "client/disconnect-ends*"},
	{"leaves,never closes", "5.0", []string{"MQTT-3.14.4-2"}, "client/disconnect-ends*"},
	{"persistent,no second pubrec", "5.0", []string{"MQTT-4.3.3-8"}, "client/qos2-repeated*"},
	{"retains", "5.0", []string{"MQTT-3.2.2-14"}, "client/retain*"},
	{"persistent,no dup", "5.0", []string{"MQTT-3.3.1-1"}, "client/open*"},
	{"persistent,qos 1,forgets", "5.0", []string{"MQTT-3.1.2-23", "MQTT-4.3.2-3", "MQTT-4.4.0-1"}, "client/open*"},
	{"skips hello", "5.0", []string{"MQTT-3.1.0-1"}, "client/refused"},
	{"tolerant", "3.1.1", []string{"MQTT-1.5.3-1", "MQTT-1.5.3-2", "MQTT-2.2.2-2", "MQTT-3.3.1-4", "MQTT-4.8.0-1"}, "client/*-refused"},
	{"tolerant", "5.0", []string{
		"MQTT-1.5.4-1", "MQTT-1.5.4-2", "MQTT-1.5.7-1", "MQTT-3.3.1-4", "P-2.1.2-reserved-type", "P-2.1.2-wrong-direction",
		"P-2.1.4-length-mismatch", "P-2.2.2.1-property-length-overrun", "P-2.2.2.2-identifier-wrong-packet", "P-2.2.2.2-unknown-identifier",
		"P-3.1.2.11.4-client-gets-oversize", "P-3.1.2.11.7-client-gets-problem-info", "P-3.2.2.3-connack-duplicates", "P-3.2.2.3.11-wildcard-value",
		"P-3.2.2.3.12-subscription-identifiers-value", "P-3.2.2.3.13-shared-value", "P-3.2.2.3.3-receive-maximum-zero", "P-3.2.2.3.4-maximum-qos-value",
		"P-3.2.2.3.5-retain-available-value", "P-3.2.2.3.6-maximum-packet-size-zero", "P-3.2.3-no-payload", "P-3.3.2.1-empty-topic-without-alias",
		"P-3.3.2.3.8-subscription-identifier-zero", "P-3.3.4-receive-maximum-exceeded", "P-3.3.4-topic-alias-range", "P-3.3.4-topic-alias-unknown",
		"P-3.4.2.2-ack-reason-string-duplicate", "P-3.9.2.1.2-reason-string-duplicate", "P-3.12-ping-length", "P-3.14.2.2.3-reason-string-duplicate",
		"P-3.14.2.2.5-server-reference-duplicate", "P-3.14.4-receiver-closes", "P-3.15-auth-without-method",
	}, "client/*-refused,client/disconnect-obeyed"},
	{"never closes", "3.1.1", []string{"MQTT-4.8.0-1"}, "client/five*"},
	{"never closes", "5.0", []string{"P-1.5.5-five-byte-integer"}, "client/five*"},
	{"brief", "3.1.1", nil, "client/keep*"},
	{"no pings", "3.1.1", []string{"MQTT-3.1.2-23"}, "client/keep*"},
	{"no pings", "5.0", []string{"MQTT-3.1.2-20"}, "client/keep*"},
	{"own rhythm", "5.0", []string{"MQTT-3.1.2-21", "MQTT-3.2.2-21"}, "client/server-keep-alive-honoured"},
	{"wrong pubcomp", "3.1.1", []string{"MQTT-4.3.3-2"}, "client/qos2*"},
	{"any qos", "5.0", []string{"MQTT-3.2.2-11"}, "client/maximum-qos*"},
	{"any size", "5.0", []string{"MQTT-3.2.2-15"}, "client/maximum-packet*"},
	{"any quota", "5.0", []string{"MQTT-3.3.4-7", "MQTT-4.9.0-2"}, "client/receive-maximum*"},
	{"alias", "5.0", []string{"MQTT-3.2.2-18"}, "client/no-topic-alias*"},
	{"takes any session", "5.0", []string{"MQTT-3.2.2-4"}, "client/unexpected*"},
	{"persistent,no dup", "3.1.1", []string{"MQTT-3.3.1-1"}, "client/open*"},
	{"persistent,forgets", "3.1.1", []string{"MQTT-3.1.2-4", "MQTT-4.1.0-1", "MQTT-4.4.0-1"}, "client/open*"},
	{"persistent,forgets", "5.0", []string{"MQTT-3.1.2-23", "MQTT-4.4.0-1"}, "client/open*"},
	{"persistent,other id", "3.1.1", []string{"MQTT-3.1.3-2"}, "client/open*"},
	{"persistent,no pubrel again", "3.1.1", []string{"MQTT-4.4.0-1"}, "client/pubrel-sent*"},
	{"persistent,no pubrel again", "5.0", []string{"MQTT-3.1.2-23", "MQTT-4.3.3-5", "MQTT-4.4.0-1"}, "client/pubrel-sent*"},
	{"old state", "3.1.1", []string{"MQTT-3.1.2-6"}, "client/nothing-of*"},
	{"old state", "5.0", []string{"MQTT-3.1.2-4", "P-4.4-resend-after-clean"}, "client/nothing-of*"},
	{"persistent,old state", "5.0", []string{"MQTT-3.2.2-5", "P-4.4-resend-after-clean"}, "client/nothing-of*"},
	{
		"dedups qos1,remembers ids,unasked,forgets late", "3.1.1",
		[]string{"MQTT-4.1.0-2", "MQTT-4.3.2-2", "MQTT-4.3.3-2", "MQTT-4.5.0-2"},
		"client/qos?-identifier*,client/unasked*,client/late*",
	},
	{"prints twice", "3.1.1", []string{"MQTT-4.3.3-2"}, "client/qos2-repeated-on*"},
	{
		"dedups qos1,remembers ids,no pubcomp,unasked,one order,first alias,expires", "5.0",
		[]string{
			"MQTT-4.3.2-5", "MQTT-4.3.3-11", "MQTT-4.3.3-12", "MQTT-4.3.3-13", "P-2.2.2.2-order-free", "P-3.3.4-topic-alias-remap",
			"P-3.3.4-unsolicited-qos", "P-3.6.2.1-unknown-pubrel",
		},
		"client/qos?-identifier*,client/unknown-pubrel*,client/unasked*,client/properties*,client/topic-aliases*,client/expired-on-its-way",
	},
	{"persistent,prints twice,no aliases,panics", "5.0", []string{"MQTT-3.3.2-10", "MQTT-4.3.3-10", "P-3.4.4-unknown-puback"}, "client/qos2-repeated*,client/topic-aliases*,client/unknown-ack*"},
	{"keeps aliases,stuck,lingers", "5.0", []string{"MQTT-3.3.2-7", "MQTT-4.13.2-1", "P-3.4.4-unknown-puback"}, "client/topic-alias-ends*,client/unknown-ack*,client/error*"},
	{
		"window stops all,forgets late,long acks only,cuts on error,slot lost,short lives,drops expired", "5.0",
		[]string{"MQTT-3.3.4-8", "MQTT-4.1.0-1", "MQTT-4.3.3-7", "MQTT-4.9.0-3", "P-3.4.2.1-short-ack", "P-4.13.2-ack-errors", "P-4.9-quota-replenish"},
		"client/full*,client/late*,client/ack*,client/refused-message*,client/quota*,client/expired-on-its-way-out",
	},
	{"short lives", "5.0", nil, "client/full*,client/late*,client/ack*,client/refused-message*,client/quota*,client/expired*"},
	{"stays refused", "5.0", []string{"P-4.11-redirect"}, "client/refused"},
	{"skips hello", "3.1.1", []string{"MQTT-3.1.0-1"}, "client/refused"},
	{"impatient", "3.1.1", []string{"MQTT-3.1.0-1"}, "client/connack-late"},
	{"brief,deaf to silence", "5.0", []string{"P-3.1.2.10-client-pingresp-timeout", "P-3.2-client-connack-timeout"}, "client/*never"},
	{"brief,hasty", "5.0", nil, "client/*never"},
	{"qos 0,message={message}", "3.1.1", nil, "client/no-identifier*"},
	{"qos 0,identifier at qos 0,message={message}", "3.1.1", []string{"MQTT-2.3.1-5"}, "client/no-identifier*"},
	{"qos 0,identifier at qos 0,message={message}", "5.0", []string{"MQTT-2.2.1-2"}, "client/no-identifier*"},
}

// TestClients holds that a client that keeps the rules is accused of nothing, and that each flaw is
// found under the name of its rule. Most of the time is spent waiting, so that more run at once than
// there are processors.
func TestClients(t *testing.T) {
	t.Parallel()
	cases := clientCases
	if testing.Short() {
		cases = nil
		for i, tc := range clientCases {
			if tc.rules == nil || i%4 == 0 {
				cases = append(cases, tc)
			}
		}
	}
	room := make(chan bool, 10)
	problems := make([][]string, len(cases))
	var all sync.WaitGroup
	for i := range cases {
		all.Go(func() {
			room <- true
			defer func() { <-room }()
			problems[i] = cases[i].judge(t.Context())
		})
	}
	all.Wait()
	for i, tc := range cases {
		t.Run(tc.flaw+" "+tc.version, func(t *testing.T) {
			for _, p := range problems[i] {
				t.Error(p)
			}
		})
	}
}

// judge checks the client, a second time with more patience where the outcome is wrong.
func (tc clientCase) judge(ctx context.Context) []string {
	cfg := conformance.ClientConfig{
		Command: clientCommand(strings.Split(tc.flaw, ",")...), Timeout: 1500 * time.Millisecond, Parallel: 8, Patience: 0.5,
		Endless: 2500 * time.Millisecond, Fast: tc.run == "",
	}
	if tc.version == "5.0" {
		cfg.Command = append(cfg.Command, "v5")
	}
	least := 10 // rules that a client keeps
	if tc.run != "" {
		cfg.Run, least = strings.Split(tc.run, ","), 0
		if tc.rules == nil {
			least = 1
		}
	}
	problems := judgeClient(ctx, cfg, tc.version, tc.rules, least)
	if len(problems) > 0 {
		alone.Lock()
		defer alone.Unlock()
		cfg.Timeout, cfg.Parallel, cfg.Patience, cfg.Endless = 8*time.Second, 4, 2, 5*time.Second
		problems = judgeClient(ctx, cfg, tc.version, tc.rules, least)
	}
	return problems
}

// TestClientRulesHaveAFlaw holds that each rule that a check of clients judges can be seen to fail.
func TestClientRulesHaveAFlaw(t *testing.T) {
	type key struct {
		id string
		v  rules.Versions
	}
	broken := map[key]bool{}
	for _, tc := range clientCases {
		v, err := rules.ParseVersions(tc.version)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range tc.rules {
			broken[key{id, v}] = true
		}
	}
	for _, c := range conformance.ClientChecks() {
		for _, v := range c.Versions.Split() {
			for _, id := range c.RulesFor(v) {
				if !broken[key{id, v}] && flawless[id] == "" {
					t.Errorf("%s of %s is judged by %s, and no client breaks it", id, v, c.Name)
				}
			}
		}
	}
}

// flawless are the rules whose breach no client here shows, with the reason.
var flawless = map[string]string{}

// TestEveryClientRuleIsSeen holds that a rule whose breach a client can show is judged, or stands
// in the table of holes with the reason, and never both.
func TestEveryClientRuleIsSeen(t *testing.T) {
	type key struct {
		id string
		v  rules.Versions
	}
	holes := map[key]bool{}
	for _, h := range conformance.ClientHoles() {
		if h.Why == "" || !rules.Known(h.Version, h.Rule) {
			t.Errorf("the hole %s of %s has no reason or is no rule", h.Rule, h.Version)
		}
		holes[key{h.Rule, h.Version}] = true
	}
	for v, seers := range conformance.ClientCoverage() {
		for id, who := range seers {
			switch hole := holes[key{id, v}]; {
			case who == conformance.SeenByNobody && !hole:
				t.Errorf("%s of %s has neither a check nor a judge nor a reason", id, v)
			case who != conformance.SeenByNobody && hole:
				t.Errorf("%s of %s is judged and stands among the holes", id, v)
			}
		}
	}
}

// alone is held by a client that is judged again: on a busy machine an honest one may be too slow
// for the deadlines, so a wrong outcome is believed only when it comes again with more patience.
var alone sync.Mutex

// judgeClient checks the client and returns what is wrong with the outcome.
func judgeClient(ctx context.Context, cfg conformance.ClientConfig, version string, broken []string, least int) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	rep, err := conformance.RunClient(ctx, cfg)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	passed := 0
	for _, r := range rep.Rules {
		switch {
		case r.Verdict >= conformance.Warn:
			found = append(found, r.ID)
			if !slices.Contains(broken, r.ID) {
				bad("%s: %s: %s (%v)", r.ID, r.Verdict, r.Reason, r.Checks)
			}
		case r.Verdict == conformance.Pass:
			passed++
		}
	}
	for _, id := range broken {
		if !slices.Contains(found, id) {
			bad("%s is not found broken, only %v", id, found)
		}
	}
	if passed < least {
		bad("only %d rules were judged", passed)
	}
	if rep.Versions.String() != version {
		bad("judged as MQTT %s", rep.Versions)
	}
	for _, c := range rep.Checks {
		if c.Verdict == conformance.Errored || len(problems) > 0 {
			bad("%s: %s: %s", c.Name, c.Verdict, c.Reason)
		}
	}
	return problems
}

// TestClientChecksAreSound holds that names are unique, that no other check has them, and that each
// id is known and binds clients.
func TestClientChecksAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range conformance.All() {
		seen[c.Name] = true
	}
	for _, c := range conformance.ClientChecks() {
		if seen[c.Name] || !strings.HasPrefix(c.Name, "client/") {
			t.Errorf("the name %s is taken, or is not that of a check of clients", c.Name)
		}
		seen[c.Name] = true
		for _, v := range c.Versions.Split() {
			for _, id := range c.RulesFor(v) {
				if r, ok := rules.Lookup(v, id); !ok || !r.Probe.Sees(rules.ProbeClient) {
					t.Errorf("%s judges %s, which MQTT %s does not have, or which no client can be seen to break", c.Name, id, v)
				}
			}
			if len(c.RulesFor(v)) == 0 {
				t.Errorf("%s judges nothing under %s", c.Name, v)
			}
		}
	}
}

func TestClientCannotBeChecked(t *testing.T) {
	for _, tc := range []struct {
		name    string
		command []string
		want    string
	}{
		{"no command", nil, "there is none"},
		{"no port", []string{"mosquitto_sub"}, "write {port} or {url}"},
		{"no such program", []string{"/nowhere/client", "{port}"}, "cannot be started"},
		{"no connection", []string{"sh", "-c", "echo no network {port}"}, "ended without a connection; its last output: no network"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := conformance.RunClient(t.Context(), conformance.ClientConfig{Command: tc.command})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// TestMosquittoClients runs real clients, version 2.0.11. What they break was held against the
// standard by hand: libmosquitto takes no notice of the flags and the length of PINGRESP, of a session
// that it did not ask for, of AUTH without a callback, of bytes behind the end of CONNACK, of a
// Subscription Identifier of 0 and of a Topic Alias that it did not announce; it hands a message over
// again when PUBREL comes again, and counts the first byte of a packet not as part of its size.
// mosquitto_sub 2.0.11 aborts on a message whose properties cannot be read.
func TestMosquittoClients(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		command []string
		version string
		known   []string // findings
		run     string   // the checks to run, those about time too; empty: all others
	}{
		{"mosquitto_sub", []string{"-t", "{topic}", "-q", "2"}, "3.1.1", []string{"MQTT-2.2.2-2", "MQTT-4.3.3-2"}, ""},
		{"mosquitto_sub", []string{"-t", "{topic}", "-q", "2", "-V", "mqttv5"}, "5.0", []string{
			"MQTT-3.2.2-4", "P-2.2.2.1-property-length-overrun", "P-2.2.2.2-unknown-identifier", "P-3.2.3-no-payload", "P-3.3.2.3.8-subscription-identifier-zero",
			"P-3.3.4-topic-alias-range", "P-3.12-ping-length", "P-3.15-auth-without-method",
		}, ""},
		{"mosquitto_sub", []string{"-t", "{topic}", "-V", "mqttv5"}, "5.0", nil, "client/server-keep-alive-honoured"},
		{"mosquitto_sub", []string{"-t", "{topic}/#", "-q", "1", "-i", "{clientid}", "-c"}, "3.1.1", []string{"MQTT-2.2.2-2"}, ""},
		{"mosquitto_pub", []string{"-t", "{topic}", "-q", "2", "-m", "{message}"}, "3.1.1", nil, ""},
		{"mosquitto_pub", []string{"-t", "{topic}", "-q", "1", "-r", "-m", "{message}", "-V", "mqttv5"}, "5.0", []string{"MQTT-3.2.2-15"}, ""},
	} {
		t.Run(fmt.Sprint(tc.name, tc.command), func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(tc.name); err != nil {
				absent(t, "%s is not installed", tc.name)
			}
			cfg := conformance.ClientConfig{Fast: true, Timeout: 2 * time.Second, Command: append([]string{tc.name, "-h", "{host}", "-p", "{port}"}, tc.command...)}
			least := 10
			if tc.run != "" {
				cfg.Fast, cfg.Run, least = false, []string{tc.run}, 1
			}
			problems := judgeClient(t.Context(), cfg, tc.version, tc.known, least)
			if len(problems) > 0 {
				alone.Lock()
				defer alone.Unlock()
				cfg.Timeout, cfg.Parallel, cfg.Patience = 8*time.Second, 4, 2
				problems = judgeClient(t.Context(), cfg, tc.version, tc.known, least)
			}
			for _, p := range problems {
				t.Error(p)
			}
		})
	}
}
