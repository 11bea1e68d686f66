package scenarios_test

import (
	"context"
	"fmt"
	"net"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/scenarios"
)

func Example() {
	s, err := scenarios.Parse([]byte(`
kind: exchange
title: PINGREQ is answered
mqtt: 3.1.1
steps:
  - open: c1
  - send: {type: connect, client_id: example}
  - expect: {type: connack, reason: success}
  - send: {type: pingreq}
  - expect: {type: pingresp}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	b := broker.New(broker.Config{})
	defer b.Close()
	out, err := scenarios.Run(context.Background(), s.(*scenarios.Exchange), scenarios.RunConfig{
		Dial: func(context.Context) (net.Conn, error) { return b.Dial() },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, step := range out.Steps {
		fmt.Println(step.Number, step.Status, step.Step)
	}
	// Output:
	// 1 followed open c1
	// 2 followed send CONNECT client="example"
	// 3 followed expect CONNACK reason=success
	// 4 followed send PINGREQ
	// 5 followed expect PINGRESP
}

func ExampleQuick() {
	w := scenarios.Quick(scenarios.QuickOptions{Clients: 30, Rate: 600, QoS: 1})
	if err := w.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(w.Title)
	for _, g := range w.Resolved().Clients {
		for _, p := range g.Publish {
			fmt.Println(g.Count, g.Name, "publish", p.Topic, "each", p.Rate)
		}
		for _, s := range g.Subscribe {
			fmt.Println(g.Count, g.Name, "subscribe", s.Filter)
		}
	}
	// Output:
	// 30 publishers to 3 subscribers at QoS 1, 600/s
	// 30 publishers publish mqlab/{run}/{peer:subscribers}/{index} each 20/s
	// 3 subscribers subscribe mqlab/{run}/{index}/+
}

func ExampleParseTemplate() {
	t, err := scenarios.ParseTemplate(`{"device": "{group}-{index:03}", "n": {seq}, "limits": {"low": 1}}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	v := scenarios.Vars{Group: "valve", Index: 7}
	for v.Seq = range 2 {
		fmt.Println(t.Expand(&v))
	}
	// Output:
	// {"device": "valve-007", "n": 0, "limits": {"low": 1}}
	// {"device": "valve-007", "n": 1, "limits": {"low": 1}}
}

func ExampleParseThreshold() {
	t, err := scenarios.ParseThreshold("publish_ack.p99 < 50ms")
	if err != nil {
		fmt.Println(err)
		return
	}
	passed, _, why, err := t.Eval(func(metric, stat string, labels map[string]string) (float64, scenarios.Unit, bool) {
		return 0.0734, scenarios.UnitSeconds, true
	})
	fmt.Println(passed, err)
	fmt.Println(why)
	// Output:
	// false <nil>
	// publish_ack.p99 is 73.4ms, which is not below 50ms
}
