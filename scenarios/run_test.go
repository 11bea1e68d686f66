package scenarios_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/scenarios"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a broker for one test and returns how to reach it.
func serve(t testing.TB, cfg broker.Config) func(context.Context) (net.Conn, error) {
	t.Helper()
	b := broker.New(cfg)
	t.Cleanup(func() { _ = b.Close() })
	return func(context.Context) (net.Conn, error) { return b.Dial() }
}

func parse(t testing.TB, text string) *scenarios.Exchange {
	t.Helper()
	s, err := scenarios.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.(*scenarios.Exchange)
}

// run runs the steps behind a CONNECT under 5.0 on the connection c1.
func run(t testing.TB, steps string, cfg scenarios.RunConfig) *scenarios.Outcome {
	t.Helper()
	x := parse(t, `kind: exchange
title: a test
mqtt: 5.0
unique: q7w2e
steps:
  - open: c1
  - send: {type: connect, client_id: q7w2ec1, properties: {session_expiry_interval: 60}}
    conn: c1
  - expect: {type: connack, reason: success}
    conn: c1
`+steps)
	if cfg.Dial == nil {
		cfg.Dial = serve(t, broker.Config{})
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	out, err := scenarios.Run(t.Context(), x, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGoodFilesAreFollowed(t *testing.T) {
	files, _ := filepath.Glob("testdata/good/*.yaml")
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, err := scenarios.LoadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			x, ok := s.(*scenarios.Exchange)
			if !ok {
				return // a workload, which is not followed step by step
			}
			out, err := scenarios.Run(t.Context(), x, scenarios.RunConfig{Dial: serve(t, broker.Config{})})
			if err != nil {
				t.Fatal(err)
			}
			if d := out.Departure(); d != nil {
				t.Errorf("step %d, %s: %s", d.Number, d.Step, d.Detail)
			}
		})
	}
}

// Each expectation must be able to fail, and say why.
func TestDepartures(t *testing.T) {
	const subscribe = `  - send: {type: subscribe, id: 1, filters: [{filter: q7w2e/t, qos: 2}]}
    conn: c1
  - expect: {type: suback}
    conn: c1
`
	const publish = `  - send: {type: publish, topic: q7w2e/t, qos: 1, id: 5, payload: x, properties: {content_type: text}}
    conn: c1
`
	for _, tt := range []struct{ name, steps, want string }{
		{"missing", "  - expect: {type: pingresp}\n    within: 20ms\n", "nothing of the kind came within 20ms"},
		{"other id", publish + "  - expect: {type: puback, id: 6}\n    within: 100ms\n", "its id is 5"},
		{"other payload", subscribe + publish + "  - expect: {type: publish, payload: y}\n    within: 100ms\n", `its payload is "x"`},
		{"other flag", subscribe + publish + "  - expect: {type: publish, retain: true}\n    within: 100ms\n", "its retain is false"},
		{"other qos", subscribe + publish + "  - expect: {type: publish, qos: 2}\n    within: 100ms\n", "its qos is 1"},
		{"other reason", publish + "  - expect: {type: puback, reason: refused}\n    within: 100ms\n", "its reason is 0x"},
		{"other codes", "  - send: {type: subscribe, id: 1, filters: [{filter: a, qos: 2}]}\n  - expect: {type: suback, reasons: [0]}\n    within: 100ms\n", "its reasons are [0x02]"},
		{"property missing", subscribe + publish + "  - expect: {type: publish, with: [response_topic]}\n    within: 100ms\n", "it lacks the property response_topic"},
		{"property otherwise", subscribe + publish + "  - expect: {type: publish, properties: {content_type: json}}\n    within: 100ms\n", "its property content_type is text"},
		{"property unwanted", subscribe + publish + "  - expect: {type: publish, without: [all]}\n    within: 100ms\n", "it has the property content_type"},
		{"bytes", "  - send: {type: pingreq}\n  - expect: {type: pingresp, hex: d0 01 00}\n    within: 100ms\n", "its bytes are D0 00"},
		{"well-formed", "  - send: {type: pingreq}\n  - expect: {type: pingresp, malformed: true}\n    within: 100ms\n", "it is well-formed"},
		{"not next", subscribe + publish + strings.Replace(publish, "payload: x", "payload: z", 1) + "  - expect: {type: publish, payload: z}\n    next: true\n", `its payload is "x"`},
		{"open", "  - expect_close: {}\n    within: 20ms\n", "still open after 20ms"},
		{"answered", "  - send: {type: pingreq}\n  - expect_close: {without: [{type: pingresp}]}\n", "PINGRESP came instead"},
		{"reason of the end", "  - send_hex: 36 07 00 01 61 00 01 00 78\n  - expect_close: {reason: [0x8E]}\n", "DISCONNECT reason=0x81"},
		{"arrived", "  - send: {type: pingreq}\n  - expect_none: {type: pingresp}\n    for: 5s\n", "PINGRESP arrived"},
		{"arrived before the fence", subscribe + publish + "  - expect_none: {type: publish, payload: x}\n    fence: {from: c1, topic: q7w2e/t, qos: 1}\n", "PUBLISH topic="},
		{"no fence", "  - expect_none: {type: publish}\n    fence: {from: c1, topic: q7w2e/t, qos: 1}\n    conn: c1\n", "the marker published behind did not arrive"},
		{"reference", "  - send: {type: puback, id: $c1.publish.1}\n", "only 0 packets of the type"},
		{"end first", "  - send_hex: 36 07 00 01 61 00 01 00 78\n  - expect: {type: pingresp}\n", "the connection ended first"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := scenarios.RunConfig{}
			if tt.name == "no fence" {
				cfg.Timeout = 100 * time.Millisecond
			}
			out := run(t, tt.steps, cfg)
			d := out.Departure()
			if d == nil {
				t.Fatal("every step was followed")
			}
			if last := out.Steps[len(out.Steps)-1]; last.Number != d.Number {
				t.Errorf("it departed at step %d of %d: %s", d.Number, last.Number, d.Detail)
			}
			if out.Followed || !strings.Contains(d.Detail, tt.want) {
				t.Errorf("the detail is %q, want %q in it", d.Detail, tt.want)
			}
		})
	}
}

func TestFencesAtEveryQoS(t *testing.T) {
	for _, qos := range []string{"0", "1", "2"} {
		for _, ack := range []string{"auto", "manual"} {
			out := run(t, `  - ack: `+ack+`
    conn: c1
  - send: {type: subscribe, id: 1, filters: [{filter: q7w2e/t, qos: `+qos+`}]}
  - expect: {type: suback}
  - expect_none: {type: publish}
    fence: {from: c1, topic: q7w2e/t, qos: `+qos+`}
  - expect_none: {type: puback}
  - expect_none: {type: pubcomp}
`, scenarios.RunConfig{})
			if d := out.Departure(); d != nil {
				t.Errorf("QoS %s, %s: step %d: %s", qos, ack, d.Number, d.Detail)
			}
		}
	}
}

func TestStepsBehindADepartureAreSkipped(t *testing.T) {
	out := run(t, "  - expect: {type: pingresp}\n    within: 10ms\n    optional: true\n  - expect: {type: pingresp}\n    within: 10ms\n  - wait: 1h\n", scenarios.RunConfig{})
	var got []scenarios.Status
	for _, s := range out.Steps {
		got = append(got, s.Status)
	}
	want := []scenarios.Status{scenarios.Followed, scenarios.Followed, scenarios.Followed, scenarios.Passed, scenarios.Departed, scenarios.Skipped}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("statuses (-want +got): %s", diff)
	}
}

// Every run has names of its own, in fields and in bytes, and leaves nothing behind.
func TestRunsAreApart(t *testing.T) {
	dial := serve(t, broker.Config{})
	steps := `  - send: {type: publish, topic: q7w2e/r, retain: true, payload: kept}
    conn: c1
  - send_hex: 82 0d 00 01 00 00 07 71 37 77 32 65 2f 72 00
    conn: c1
  - expect: {type: suback, reasons: [0]}
    conn: c1
  - expect: {type: publish, topic: q7w2e/r, payload: kept, retain: true}
    conn: c1
`
	for range 2 {
		if d := run(t, steps, scenarios.RunConfig{Dial: dial, Unique: "abcde"}).Departure(); d != nil {
			t.Fatalf("step %d: %s", d.Number, d.Detail)
		}
	}
	// The session and the retained message of the runs before are gone.
	x := parse(t, `kind: exchange
title: nothing is left
mqtt: 5.0
steps:
  - open: c1
  - send: {type: connect, client_id: abcdec1, clean_start: false}
  - expect: {type: connack, session_present: false}
  - send: {type: subscribe, id: 1, filters: [{filter: abcde/r}]}
  - expect: {type: suback}
  - expect_none: {type: publish}
    fence: {from: c1, topic: abcde/r}
`)
	out, err := scenarios.Run(t.Context(), x, scenarios.RunConfig{Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	if d := out.Departure(); d != nil {
		t.Errorf("step %d, %s: %s", d.Number, d.Step, d.Detail)
	}
	if _, err := scenarios.Run(t.Context(), parse(t, "kind: exchange\ntitle: t\nmqtt: 5\nunique: abcde\nsteps: [{open: c1}]\n"), scenarios.RunConfig{Dial: dial, Unique: "abc"}); err == nil {
		t.Error("a unique text of another length was taken")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	x := parse(t, "kind: exchange\ntitle: t\nmqtt: 5.0\nsteps:\n  - open: c1\n  - expect: {type: connack}\n    within: 1h\n")
	if _, err := scenarios.Run(ctx, x, scenarios.RunConfig{Dial: serve(t, broker.Config{ConnectTimeout: -1})}); err == nil {
		t.Error("the run did not end with its context")
	}
}

func TestSendStepKeepsBytesAndSecrets(t *testing.T) {
	cfg := scenarios.RunConfig{Username: "alice", Password: "horse!"}
	connect, err := (&codec.Connect{Version: codec.V5, ClientID: "c", CleanStart: true, HasUsername: true, Username: "alice", HasPassword: true, Password: []byte("horse!")}).AppendTo(nil, codec.V5)
	if err != nil {
		t.Fatal(err)
	}
	s := scenarios.SendStep(connect, codec.V5, cfg)
	if s.Send == nil || *s.Send.Username != "$username" || *s.Send.Password != "$password" {
		t.Errorf("CONNECT became %s", s.String())
	}
	publish, err := (&codec.Publish{Topic: "horse!", Payload: []byte("x")}).AppendTo(nil, codec.V5)
	if err != nil {
		t.Fatal(err)
	}
	if s := scenarios.SendStep(publish, codec.V5, cfg); s.SendHex != "300a0006 $password 0078" {
		t.Errorf("a PUBLISH with the password in its topic became %s", s.String())
	}
	if s := scenarios.SendStep([]byte{0x36, 6, 0, 1, 'a', 0, 1, 'x'}, codec.V4, cfg); s.SendHex != "3606000161000178" {
		t.Errorf("an illegal packet became %s", s.String())
	}
}
