package broker_test

import (
	"fmt"
	"testing"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

var versions = []codec.Version{codec.V31, codec.V4, codec.V5}

// each runs a test for every version.
func each(t *testing.T, f func(t *testing.T, v codec.Version)) {
	for _, v := range versions {
		t.Run(v.String(), func(t *testing.T) { f(t, v) })
	}
}

func TestDeliveryPerQoS(t *testing.T) {
	each(t, func(t *testing.T, v codec.Version) {
		srv := newServer(t, broker.Config{})
		sub := dial(t, srv.URL, v)
		sub.send(&codec.Connect{ClientID: "sub", CleanStart: true})
		sub.connack()
		pub := dial(t, srv.URL, v)
		pub.send(&codec.Connect{ClientID: "pub", CleanStart: true})
		pub.connack()
		sub.subscribe("a/+", 2)
		for qos := codec.QoS(0); qos <= 2; qos++ {
			id := uint16(0)
			if qos > 0 {
				id = 7
			}
			payload := []byte(fmt.Sprintf("at %d", qos))
			pub.send(&codec.Publish{Topic: "a/b", Payload: payload, QoS: qos, PacketID: id})
			got := sub.recv().(*codec.Publish)
			if got.Topic != "a/b" || string(got.Payload) != string(payload) || got.QoS != qos || got.Dup || got.Retain {
				t.Fatalf("received %+v", got)
			}
			switch qos {
			case 1:
				pub.expect(&codec.Puback{PacketID: 7})
				sub.send(&codec.Puback{PacketID: got.PacketID})
			case 2:
				pub.expect(&codec.Pubrec{PacketID: 7})
				pub.send(&codec.Pubrel{PacketID: 7})
				pub.expect(&codec.Pubcomp{PacketID: 7})
				sub.send(&codec.Pubrec{PacketID: got.PacketID})
				sub.expect(&codec.Pubrel{PacketID: got.PacketID})
				sub.send(&codec.Pubcomp{PacketID: got.PacketID})
			}
		}
		sub.fence()
		sub.send(&codec.Disconnect{})
		sub.closed()
	})
}
