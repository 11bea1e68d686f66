package loadgen_test

import (
	"context"
	"fmt"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/loadgen"
	"github.com/mqlab/mqlab/scenarios"
)

func ExampleRun() {
	b := broker.New(broker.Config{})
	defer b.Close()
	l, err := b.Listen("mqtt://127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	w := &scenarios.Workload{
		Kind: scenarios.KindWorkload, Title: "two sensors and their display",
		Clients: []scenarios.Group{
			{Name: "display", Count: 1, Subscribe: []scenarios.Subscription{{Filter: "{run}/sensor/+", QoS: 1}}},
			{Name: "sensors", Count: 2, Publish: []scenarios.Publication{{Topic: "{run}/sensor/{index}", QoS: scenarios.QoSMix{0, 1, 0}, Rate: 50}}},
		},
		Phases:     []scenarios.Phase{{Kind: "hold", For: 200 * time.Millisecond}},
		Thresholds: []string{"lost == 0"},
	}
	r, err := loadgen.Run(context.Background(), loadgen.Config{Workload: w, Target: l.URL()})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Totals.Published, "published,", r.Totals.Acknowledged, "acknowledged,", r.Totals.Received, "received")
	fmt.Println(r.Thresholds[0].Text, r.Thresholds[0].Passed)
	// Output:
	// 20 published, 20 acknowledged, 20 received
	// lost == 0 true
}
