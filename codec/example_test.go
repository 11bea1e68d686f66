package codec_test

import (
	"bytes"
	"fmt"
	"io"

	"github.com/mqlab/mqlab/codec"
)

// A stream is cut into frames by a Reader and each frame is decoded.
func Example() {
	var stream []byte
	for _, p := range []codec.Packet{
		&codec.Connect{Version: codec.V5, ClientID: "sensor-1", CleanStart: true, KeepAlive: 30},
		&codec.Publish{Topic: "hall/temperature", Payload: []byte("21.5"), QoS: 1, PacketID: 1},
		&codec.Disconnect{},
	} {
		var err error
		if stream, err = p.AppendTo(stream, codec.V5); err != nil {
			fmt.Println(err)
			return
		}
	}

	r := codec.NewReader(bytes.NewReader(stream), 0)
	d := codec.Decoder{From: codec.Client} // the version comes from CONNECT
	for {
		frame, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		p, err := d.Decode(frame)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(codec.Describe(p, d.Version))
	}
	// Output:
	// CONNECT version=5.0 client="sensor-1" keep-alive=30s clean-start
	// PUBLISH topic="hall/temperature" qos=1 id=1 payload=4 bytes "21.5"
	// DISCONNECT reason=0x00 Normal disconnection
}

// A strict Decoder names the fault, its place and its rule.
func ExampleError() {
	d := codec.Decoder{Version: codec.V4}
	_, err := d.Decode([]byte{0x36, 0x05, 0x00, 0x01, 'a', 0x00, 0x01})
	fmt.Println(err)
	// Output: PUBLISH at byte 0: both QoS bits are set [MQTT-3.3.1-4]
}

// Break makes the bytes that a conforming encoder refuses to make.
func ExampleBreak() {
	legal, err := (&codec.Publish{Topic: "a", QoS: 1, PacketID: 1}).AppendTo(nil, codec.V5)
	if err != nil {
		fmt.Println(err)
		return
	}
	broken, err := codec.Break(legal, codec.V5, codec.BreakPacketIDZero)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("% X\n% X breaks %v\n", legal, broken, codec.BreakPacketIDZero)
	// Output:
	// 32 06 00 01 61 00 01 00
	// 32 06 00 01 61 00 00 00 breaks packet-id-zero
}
