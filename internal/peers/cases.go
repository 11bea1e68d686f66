package peers

import (
	"bytes"
	"fmt"
	"strings"

	mochi "github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqlab/mqlab/codec"
)

// Case is one packet of the speed comparison, read or written by every implementation.
type Case struct {
	Name  string
	Goal  float64 // how many times faster than the faster peer package codec means to be
	Bytes int     // of the frame in 3.1.1, or in 5.0 where the packet exists in 5.0 alone
	Ops   []Op
}

// Op is the work of one implementation. Versions are compared with their like alone.
type Op struct {
	Impl    string // such as mochi-v5
	Version codec.Version
	Run     func() error
	Out     func() []byte // what the last Run of an encoder has written; nil for decoders
}

// Own reports whether the work is that of package codec.
func (o Op) Own() bool { return strings.HasPrefix(o.Impl, own) }

const own = "mqlab"

// sample is a packet of the comparison; sizes as in the wild.
type sample struct {
	name     string
	versions []codec.Version
	packet   codec.Packet
}

func samples() []sample {
	const topic = "sensors/line3/temperature"
	payload := bytes.Repeat([]byte("x"), 64)
	five := &codec.Publish{Topic: topic, Payload: payload, QoS: 1, PacketID: 10}
	five.Props.SetUint(codec.PropPayloadFormat, 1)
	five.Props.SetUint(codec.PropMessageExpiry, 3600)
	five.Props.SetText(codec.PropContentType, "application/json")
	five.Props.SetText(codec.PropResponseTopic, "reply/client-1")
	five.Props.AddUser("trace", "0123456789abcdef")
	both := []codec.Version{codec.V4, codec.V5}
	return []sample{
		{"publish-qos0", both, &codec.Publish{Topic: topic, Payload: payload}},
		{"publish-qos1", both, &codec.Publish{Topic: topic, Payload: payload, QoS: 1, PacketID: 10}},
		{"publish-5-properties", both[1:], five},
		{"connect-will-credentials", both, &codec.Connect{
			ClientID: "bench-client-0001", CleanStart: true, KeepAlive: 60, HasWill: true, HasUsername: true, HasPassword: true,
			Will: codec.Will{Topic: "clients/bench/state", Payload: []byte("offline"), QoS: 1}, Username: "bench", Password: []byte("secret"),
		}},
		{"subscribe-3-filters", both, &codec.Subscribe{PacketID: 10, Filters: []codec.Subscription{
			{Filter: "sensors/+/line3/#", QoS: 1}, {Filter: "commands/bench-client", QoS: 2}, {Filter: "state/#"},
		}}},
	}
}

// DecodeCases returns the packets of the comparison for reading. Reading begins at a slice that
// holds the frame, framing included, and ends at the peer's own struct.
func DecodeCases() ([]Case, error) {
	return cases(3, 4, func(c *Case, p codec.Packet, frame []byte, v codec.Version) {
		c.Ops = append(c.Ops, codecDecode(frame, v), mochiDecodeOp(frame, v))
		if (Paho{}).Speaks(v) {
			c.Ops = append(c.Ops, peerDecode(Paho{}, frame, v, pahoRead))
		}
		if (PahoMQTT{}).Speaks(v) {
			c.Ops = append(c.Ops, peerDecode(PahoMQTT{}, frame, v, pahoMQTTRead))
		}
	})
}

// EncodeCases returns the packets of the comparison for writing into a buffer that is used again.
func EncodeCases() ([]Case, error) {
	return cases(1.5, 2, func(c *Case, p codec.Packet, _ []byte, v codec.Version) {
		m := MeaningOf(p, v)
		c.Ops = append(c.Ops, codecEncode(p, v), mochiEncodeOp(m, v))
		if (Paho{}).Speaks(v) {
			cp := pahoPacket(m)
			c.Ops = append(c.Ops, peerEncode(Paho{}, v, func(buf *bytes.Buffer) error { _, err := cp.WriteTo(buf); return err }))
		}
		if (PahoMQTT{}).Speaks(v) {
			cp := pahoMQTTPacket(m, v)
			c.Ops = append(c.Ops, peerEncode(PahoMQTT{}, v, func(buf *bytes.Buffer) error { return cp.Write(buf) }))
		}
	})
}

// cases builds the cases of one direction with the goals for PUBLISH and for the rest.
func cases(goal, publish float64, add func(*Case, codec.Packet, []byte, codec.Version)) ([]Case, error) {
	var all []Case
	for _, s := range samples() {
		c := Case{Name: s.name, Goal: goal}
		if s.packet.Type() == codec.TypePublish {
			c.Goal = publish
		}
		for _, v := range s.versions {
			if connect, ok := s.packet.(*codec.Connect); ok {
				of := *connect
				of.Version = v
				s.packet = &of
			}
			frame, err := s.packet.AppendTo(nil, v)
			if err != nil {
				return nil, fmt.Errorf("%s for %s: %w", s.name, v, err)
			}
			if c.Bytes == 0 {
				c.Bytes = len(frame)
			}
			add(&c, s.packet, frame, v)
		}
		all = append(all, c)
	}
	return all, nil
}

func impl(name string, v codec.Version) string { return fmt.Sprintf("%s-v%d", name, v) }

func codecDecode(frame []byte, v codec.Version) Op {
	d := codec.Decoder{Version: v, From: codec.Client}
	return Op{Impl: impl(own, v), Version: v, Run: func() error {
		f, _, err := codec.Cut(frame, 0)
		if err != nil {
			return err
		}
		_, err = d.Decode(f)
		return err
	}}
}

// mochiDecodeOp decodes with validation, without the copy of the frame that mochi's broker
// makes, and into a fresh struct: its decoder adds to the lists that it finds.
func mochiDecodeOp(frame []byte, v codec.Version) Op {
	r := bytes.NewReader(nil)
	return Op{Impl: impl("mochi", v), Version: v, Run: func() error {
		var pk mochi.Packet
		return mochiDecode(&pk, frame, v, codec.Client, r)
	}}
}

func peerDecode(p Peer, frame []byte, v codec.Version, read func(*bytes.Reader) error) Op {
	r := bytes.NewReader(nil)
	return Op{Impl: impl(p.Name(), v), Version: v, Run: func() error {
		r.Reset(frame)
		return read(r)
	}}
}

func codecEncode(p codec.Packet, v codec.Version) Op {
	var buf []byte
	return Op{
		Impl: impl(own, v), Version: v,
		Run: func() (err error) {
			buf, err = p.AppendTo(buf[:0], v)
			return err
		},
		Out: func() []byte { return buf },
	}
}

func mochiEncodeOp(m Meaning, v codec.Version) Op {
	pk := mochiPacket(m, v)
	return peerEncode(Mochi{}, v, func(buf *bytes.Buffer) error { return mochiEncode(&pk, buf) })
}

func peerEncode(p Peer, v codec.Version, write func(*bytes.Buffer) error) Op {
	var buf bytes.Buffer
	return Op{
		Impl: impl(p.Name(), v), Version: v,
		Run: func() error {
			buf.Reset()
			return write(&buf)
		},
		Out: buf.Bytes,
	}
}
