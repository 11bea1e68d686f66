package codec

import (
	"bytes"
	"testing"
)

type benchCase struct {
	name string
	v    Version
	p    Packet
}

// benchCases are the packets of the speed comparison; sizes as in the wild.
func benchCases() []benchCase {
	payload := bytes.Repeat([]byte("x"), 64)
	five := &Publish{Topic: "sensors/line3/temperature", Payload: payload, QoS: 1, PacketID: 10}
	five.Props.SetUint(PropPayloadFormat, 1)
	five.Props.SetUint(PropMessageExpiry, 3600)
	five.Props.SetText(PropContentType, "application/json")
	five.Props.SetText(PropResponseTopic, "reply/client-1")
	five.Props.AddUser("trace", "0123456789abcdef")
	return []benchCase{
		{"publish-qos0-64B", V4, &Publish{Topic: "sensors/line3/temperature", Payload: payload}},
		{"publish-qos1-64B", V4, &Publish{Topic: "sensors/line3/temperature", Payload: payload, QoS: 1, PacketID: 10}},
		{"publish-v5-empty-properties", V5, &Publish{Topic: "sensors/line3/temperature", Payload: payload}},
		{"publish-v5-5-properties", V5, five},
		{"connect-will-credentials", V4, &Connect{
			ClientID: "bench-client-0001", CleanStart: true, KeepAlive: 60, HasWill: true, HasUsername: true, HasPassword: true,
			Will: Will{Topic: "clients/bench/state", Payload: []byte("offline"), QoS: 1}, Username: "bench", Password: []byte("secret"),
		}},
		{"subscribe-3-filters", V4, &Subscribe{PacketID: 10, Filters: []Subscription{
			{Filter: "sensors/+/line3/#", QoS: 1}, {Filter: "commands/bench-client", QoS: 2}, {Filter: "state/#"},
		}}},
		{"puback", V4, &Puback{PacketID: 10}},
		{"puback-v5", V5, &Puback{PacketID: 10}},
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, bc := range benchCases() {
		frame, err := bc.p.AppendTo(nil, bc.v)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(bc.name, func(b *testing.B) {
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			d := Decoder{Version: bc.v}
			for b.Loop() {
				f, _, err := Cut(frame, 0)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := d.Decode(f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, bc := range benchCases() {
		b.Run(bc.name, func(b *testing.B) {
			b.SetBytes(int64(bc.p.Size(bc.v)))
			b.ReportAllocs()
			buf := make([]byte, 0, 1024)
			for b.Loop() {
				var err error
				if buf, err = bc.p.AppendTo(buf[:0], bc.v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReader measures framing and decoding of a stream of small packets.
func BenchmarkReader(b *testing.B) {
	frame, err := (&Publish{Topic: "sensors/line3/temperature", Payload: make([]byte, 64)}).AppendTo(nil, V4)
	if err != nil {
		b.Fatal(err)
	}
	batch := bytes.Repeat(frame, 100)
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	src := bytes.NewReader(batch)
	r := NewReader(src, 4096)
	d := Decoder{Version: V4}
	for b.Loop() {
		src.Reset(batch)
		r.Reset(src)
		for range 100 {
			f, err := r.Next()
			if err != nil {
				b.Fatal(err)
			}
			if _, err := d.Decode(f); err != nil {
				b.Fatal(err)
			}
		}
	}
}
