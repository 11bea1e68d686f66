package client_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/client"
)

// A client that publishes to itself, on a broker in the same process.
func Example() {
	b := broker.New(broker.Config{})
	defer b.Close()
	ctx := context.Background()
	c, err := client.Connect(ctx, "embedded", client.Config{
		Dial: func(context.Context) (net.Conn, error) { return b.Dial() },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if _, err := c.Subscribe(ctx, nil, client.Subscription{Filter: "lamp/+", QoS: 2}); err != nil {
		log.Fatal(err)
	}
	if err := c.Publish(ctx, client.Message{Topic: "lamp/7", QoS: 2, Payload: []byte("on")}); err != nil {
		log.Fatal(err)
	}
	m := <-c.Messages()
	fmt.Printf("%s is %s\n", m.Topic, m.Payload)
	// Output: lamp/7 is on
}

func ExampleClient_Request() {
	b := broker.New(broker.Config{})
	defer b.Close()
	ctx := context.Background()
	c, err := client.Connect(ctx, "embedded", client.Config{
		Dial: func(context.Context) (net.Conn, error) { return b.Dial() },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	double := func(m *client.Message) {
		if err := c.Respond(ctx, m, append(m.Payload, m.Payload...)); err != nil {
			log.Print(err)
		}
	}
	if _, err := c.Subscribe(ctx, double, client.Subscription{Filter: "double", QoS: 1}); err != nil {
		log.Fatal(err)
	}
	answer, err := c.Request(ctx, client.Message{Topic: "double", QoS: 1, Payload: []byte("ha")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", answer.Payload)
	// Output: haha
}
