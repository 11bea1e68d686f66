package codec

import (
	"reflect"
	"testing"
)

// plainSeeds are frames on both sides of what counts as plain, with the flag whether they do in
// 3.1.1 and in 5.0.
var plainSeeds = []struct {
	name  string
	frame string
	v4    bool
	v5    bool
}{
	{"QoS 0", "\x30\x05\x00\x01a\x00x", true, true},
	{"QoS 0 without payload", "\x30\x03\x00\x01a", true, false}, // 5.0 lacks the Property Length
	{"retained", "\x31\x05\x00\x01a\x00x", true, true},
	{"QoS 1", "\x32\x06\x00\x01a\x00\x07\x00", true, true},
	{"QoS 2 repeated", "\x3c\x06\x00\x01a\x00\x07\x00", true, true},
	{"a topic of nine bytes", "\x30\x0c\x00\x09abcdefghi\x00", true, true},
	{"two bytes of Remaining Length", "\x30\x80\x01\x00\x01a" + zeros(125), true, true},
	{"QoS 3 [MQTT-3.3.1-4]", "\x36\x06\x00\x01a\x00\x07\x00", false, false},
	{"DUP at QoS 0 [MQTT-3.3.1-2]", "\x38\x05\x00\x01a\x00x", false, false},
	{"Packet Identifier 0", "\x32\x06\x00\x01a\x00\x00\x00", false, false},
	{"no Packet Identifier", "\x32\x03\x00\x01a", false, false},
	{"half a Packet Identifier", "\x32\x04\x00\x01a\x00", false, false},
	{"empty topic", "\x30\x03\x00\x00\x00", false, false},
	{"wildcard [MQTT-3.3.2-2]", "\x30\x05\x00\x01+\x00x", false, false},
	{"wildcard in the ninth byte", "\x30\x0c\x00\x09abcdefgh#\x00", false, false},
	{"NUL", "\x30\x05\x00\x01\x00\x00x", false, false},
	{"not ASCII", "\x30\x06\x00\x02\xc3\xa9\x00x", false, false},
	{"topic beyond the frame", "\x30\x05\x00\x09a\x00x", false, false},
	{"padded Remaining Length", "\x30\x85\x00\x00\x01a\x00x", false, false},
	{"three bytes of Remaining Length", "\x30\x80\x80\x01\x00\x01a\x00x", false, false},
	{"frame longer than its Remaining Length", "\x30\x04\x00\x01a\x00x", false, false},
	{"frame shorter than its Remaining Length", "\x30\x06\x00\x01a\x00x", false, false},
	{"properties", "\x30\x06\x00\x01a\x02\x01\x01", true, false},
	{"another type", "\x40\x05\x00\x01a\x00x", false, false},
	{"only a fixed header", "\x30\x00", false, false},
	{"three bytes", "\x30\x01\x00", false, false},
	{"long length cut", "\x30\x80\x01\x00", false, false},
}

func zeros(n int) string { return string(make([]byte, n)) }

func TestDecodePlain(t *testing.T) {
	for _, tc := range plainSeeds {
		t.Run(tc.name, func(t *testing.T) {
			for v, want := range map[Version]bool{0: false, V4: tc.v4, V5: tc.v5} {
				if got := new(Publish).decodePlain([]byte(tc.frame), v); got != want {
					t.Errorf("version %d: plain = %v, want %v", v, got, want)
				}
				samePlain(t, []byte(tc.frame), v)
			}
		})
	}
}

// samePlain holds both shortcuts to the cursor: what they accept it accepts, in the same way.
func samePlain(t *testing.T, frame []byte, v Version) {
	t.Helper()
	var fast Publish
	if !fast.decodePlain(frame, v) {
		if !reflect.DeepEqual(fast, Publish{}) {
			t.Errorf("%x is not plain and has left %+v", frame, fast)
		}
		return
	}
	for _, from := range []Side{Either, Client, Server} {
		c := cursor{b: frame, v: v, from: from, payload: true}
		flags := c.header()
		var slow Publish
		slow.decode(&c, flags)
		if c.t != TypePublish || c.result() != nil || !reflect.DeepEqual(fast, slow) {
			t.Errorf("version %s: %x reads %+v, and by the cursor %+v with %v", v, frame, fast, slow, c.result())
		}
	}
	if !fast.plain(v) {
		t.Errorf("version %s: %+v decodes as plain and does not encode so", v, fast)
	}
	if out, err := fast.AppendTo(nil, v); err != nil || string(out) != string(frame) {
		t.Errorf("version %s: %x encodes as %x, %v", v, frame, out, err)
	}
}

func FuzzPlain(f *testing.F) {
	for _, tc := range plainSeeds {
		f.Add([]byte(tc.frame), uint8(V4))
		f.Add([]byte(tc.frame), uint8(V5))
	}
	f.Fuzz(func(t *testing.T, frame []byte, v uint8) {
		samePlain(t, frame, Version(v%6))
	})
}

// FuzzPlainEncode builds any PUBLISH, legal or not: what plain accepts the cursor accepts.
func FuzzPlainEncode(f *testing.F) {
	f.Add("a", []byte("x"), uint16(0), uint8(0), false, false, []byte(nil), uint8(4))
	f.Add("a/b", []byte("x"), uint16(1), uint8(1), true, true, []byte{1, 1}, uint8(5))
	f.Add("", []byte(nil), uint16(1), uint8(2), false, false, []byte(nil), uint8(5))
	f.Add("a", []byte(nil), uint16(0), uint8(3), true, false, []byte(nil), uint8(7))
	f.Add("abcdefgh+", []byte(nil), uint16(0), uint8(0), true, false, []byte{0x23, 0, 0}, uint8(3))
	f.Fuzz(func(t *testing.T, topic string, payload []byte, id uint16, qos uint8, dup, retain bool, props []byte, v uint8) {
		p := Publish{Topic: topic, Payload: payload, PacketID: id, QoS: QoS(qos), Dup: dup, Retain: retain}
		p.Props.SetRaw(props)
		if len(topic) > MaxStringLen || !p.plain(Version(v)) {
			return
		}
		out, err := p.AppendTo(nil, Version(v))
		if err != nil {
			t.Fatalf("%+v is plain and not encoded: %v", p, err)
		}
		c := judging(out, known(Version(v)))
		flags := c.header()
		var judged Publish
		judged.decode(&c, flags)
		if err := c.first(); err != nil {
			t.Errorf("version %d: %+v is plain, and the cursor finds %v in %x", v, p, err, out)
		}
	})
}
