package broker_test

import (
	"fmt"
	"log"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

// A broker, and a client that speaks to it packet by packet.
func Example() {
	b := broker.New(broker.Config{MaximumQoS: broker.UpToQoS1})
	defer b.Close()
	conn, err := b.Dial()
	if err != nil {
		log.Fatal(err)
	}
	hello, err := (&codec.Connect{ClientID: "example", CleanStart: true}).AppendTo(nil, codec.V5)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := conn.Write(hello); err != nil {
		log.Fatal(err)
	}
	frame, err := codec.NewReader(conn, 0).Next()
	if err != nil {
		log.Fatal(err)
	}
	p, err := (&codec.Decoder{Version: codec.V5, From: codec.Server}).Decode(frame)
	if err != nil {
		log.Fatal(err)
	}
	k := p.(*codec.Connack)
	fmt.Println(k.Reason, "- Maximum QoS", k.Props.Uint(codec.PropMaximumQoS, 2))
	// Output: Success - Maximum QoS 1
}
