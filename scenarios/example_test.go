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
