package judge_test

import (
	"fmt"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
	"github.com/mqlab/mqlab/conformance/rules"
)

// A server grants QoS 0, and then delivers at QoS 1.
func Example() {
	at := time.Now()
	c := judge.New(nil)
	c.Packet(codec.Client, at, []byte("\x10\x0D\x00\x04MQTT\x04\x02\x00\x00\x00\x01x"))
	c.Packet(codec.Server, at, []byte("\x20\x02\x00\x00"))
	c.Packet(codec.Client, at, []byte("\x82\x06\x00\x01\x00\x01a\x00"))
	c.Packet(codec.Server, at, []byte("\x90\x03\x00\x01\x00"))
	c.Packet(codec.Server, at, []byte("\x32\x06\x00\x01a\x00\x07!"))
	c.End(at, codec.Client)

	for _, f := range c.Findings() {
		fmt.Println(f)
	}
	suback := judge.Key{Version: rules.MQTT311, Rule: "MQTT-3.8.4-2", By: codec.Server}
	fmt.Println(suback.Rule, "judged", c.Judged()[suback], "time")
	// Output:
	// fail: MQTT-3.8.4-6 (MQTT 3.1.1) by the server at packet 4: expected at most the granted QoS 0; got QoS 1 on "a"
	// MQTT-3.8.4-2 judged 1 time
}
