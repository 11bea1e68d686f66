package codec

import (
	"reflect"
	"testing"
)

// rareSeeds are frames on both sides of what counts as plain.
var rareSeeds = []struct {
	name  string
	frame string
	v     Version
	plain bool
}{
	{"CONNECT", "\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a", V4, true},
	{"CONNECT of 5.0", "\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a", V5, true},
	{"CONNECT with everything", "\x10\x19\x00\x04MQTT\x04\xf6\x00\x00\x00\x01a\x00\x01w\x00\x00\x00\x01u\x00\x02pw", V4, true},
	{"CONNECT of 5.0 with everything", "\x10\x1b\x00\x04MQTT\x05\xf6\x00\x00\x00\x00\x01a\x00\x00\x01w\x00\x00\x00\x01u\x00\x02pw", V5, true},
	{"CONNECT of 3.1", "\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01a", V31, false},
	{"CONNECT of level 6", "\x10\x0d\x00\x04MQTT\x06\x02\x00\x00\x00\x01a", V4, false},
	{"CONNECT with properties", "\x10\x13\x00\x04MQTT\x05\x02\x00\x00\x05\x11\x00\x00\x00\x01\x00\x01a", V5, false},
	{"CONNECT with Will Properties", "\x10\x19\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x01a\x05\x18\x00\x00\x00\x01\x00\x01w\x00\x00", V5, false},
	{"reserved flag [MQTT-3.1.2-3]", "\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01a", V4, false},
	{"Will QoS 3", "\x10\x12\x00\x04MQTT\x04\x1e\x00\x00\x00\x01a\x00\x01w\x00\x00", V4, false},
	{"Will QoS without Will", "\x10\x0d\x00\x04MQTT\x04\x0a\x00\x00\x00\x01a", V4, false},
	{"Will Retain without Will", "\x10\x0d\x00\x04MQTT\x04\x22\x00\x00\x00\x01a", V4, false},
	{"empty Will Topic", "\x10\x11\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x00\x00\x00", V4, false},
	{"wildcard in the Will Topic", "\x10\x12\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x01#\x00\x00", V4, false},
	{"password without user name [MQTT-3.1.2-22]", "\x10\x11\x00\x04MQTT\x04\x42\x00\x00\x00\x01a\x00\x02pw", V4, false},
	{"password without user name of 5.0", "\x10\x12\x00\x04MQTT\x05\x42\x00\x00\x00\x00\x01a\x00\x02pw", V5, true},
	{"no Client Identifier and no clean session", "\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00", V4, false},
	{"no Client Identifier", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", V4, true},
	{"NUL in the Client Identifier", "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01\x00", V4, false},
	{"user name not ASCII", "\x10\x11\x00\x04MQTT\x04\x82\x00\x00\x00\x01a\x00\x02\xc3\xa9", V4, false},
	{"user name missing", "\x10\x0d\x00\x04MQTT\x04\x82\x00\x00\x00\x01a", V4, false},
	{"surplus byte", "\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x01ax", V4, false},
	{"CONNECT cut short", "\x10\x0a\x00\x04MQTT\x04\x02\x00\x00", V4, false},
	{"header flags", "\x11\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a", V4, false},
	{"two bytes of Remaining Length", "\x10\x8c\x01\x00\x04MQTT\x04\x02\x00\x00\x00\x80" + letters(128), V4, true},

	{"SUBSCRIBE", "\x82\x06\x00\x01\x00\x01a\x01", V4, true},
	{"SUBSCRIBE of 5.0", "\x82\x07\x00\x01\x00\x00\x01a\x2e", V5, true},
	{"wildcards", "\x82\x0e\x00\x01\x00\x03a/#\x00\x00\x03+/b\x02", V4, true},
	{"wildcard inside a level", "\x82\x07\x00\x01\x00\x02a#\x00", V4, false},
	{"no filter", "\x82\x02\x00\x01", V4, false},
	{"empty filter", "\x82\x05\x00\x01\x00\x00\x01", V4, false},
	{"no options byte", "\x82\x05\x00\x01\x00\x01a", V4, false},
	{"Packet Identifier 0", "\x82\x06\x00\x00\x00\x01a\x01", V4, false},
	{"QoS 3", "\x82\x06\x00\x01\x00\x01a\x03", V4, false},
	{"options of 5.0 in 3.1.1", "\x82\x06\x00\x01\x00\x01a\x04", V4, false},
	{"Retain Handling 3", "\x82\x07\x00\x01\x00\x00\x01a\x30", V5, false},
	{"reserved options", "\x82\x07\x00\x01\x00\x00\x01a\x41", V5, false},
	{"shared", "\x82\x0f\x00\x01\x00\x00\x0a$share/g/a\x01", V5, false},
	{"Subscription Identifier", "\x82\x09\x00\x01\x02\x0b\x01\x00\x01a\x01", V5, false},
	{"header flags of SUBSCRIBE", "\x80\x06\x00\x01\x00\x01a\x01", V4, false},
}

func letters(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(i%26)
	}
	return string(b)
}

func TestRarePlain(t *testing.T) {
	for _, tc := range rareSeeds {
		t.Run(tc.name, func(t *testing.T) {
			d := Decoder{Version: tc.v, From: Client}
			if got := rarePlain(&d, []byte(tc.frame)) != nil; got != tc.plain {
				t.Errorf("plain = %v, want %v", got, tc.plain)
			}
			sameRare(t, []byte(tc.frame), tc.v)
		})
	}
}

// rarePlain returns the CONNECT or SUBSCRIBE that a Decoder reads by its shortcut, else nil.
func rarePlain(d *Decoder, frame []byte) Packet {
	if d.From == Server || len(frame) == 0 {
		return nil
	}
	if d.connect.decodePlain(frame) || d.subscribe.decodePlain(frame, d.Version) {
		if p, err := d.Decode(frame); err == nil {
			return p
		}
	}
	return nil
}

// sameRare holds the shortcuts to the cursor: what they accept it accepts, in the same way, and
// an encoder that takes its own shortcut writes the same bytes.
func sameRare(t *testing.T, frame []byte, v Version) {
	t.Helper()
	for _, from := range []Side{Either, Client, Server} {
		for _, mode := range []Mode{Strict, Lenient} {
			d := Decoder{Version: v, From: from, Mode: mode, CheckPayload: true}
			d.connect.ProtocolName, d.connect.Username, d.connect.Will.Topic = "left", "from", "before"
			fast := rarePlain(&d, frame)
			if fast == nil {
				continue
			}
			slow := Decoder{Version: v, From: from, Mode: mode}
			c := cursor{b: frame, v: v, from: from, lenient: mode == Lenient, payload: true}
			p := slow.body(&c, c.header())
			if c.result() != nil || !reflect.DeepEqual(fast, p) || d.Version != slow.Version {
				t.Errorf("%x reads %+v of %s, and by the cursor %+v of %s with %v", frame, fast, d.Version, p, slow.Version, c.result())
			}
			if out, err := fast.AppendTo(nil, v); err != nil || string(out) != string(frame) {
				t.Errorf("%x encodes as %x, %v", frame, out, err)
			}
		}
	}
}

func FuzzRarePlain(f *testing.F) {
	for _, tc := range rareSeeds {
		f.Add([]byte(tc.frame), uint8(tc.v))
	}
	f.Fuzz(func(t *testing.T, frame []byte, v uint8) { sameRare(t, frame, Version(v%6)) })
}

// FuzzRarePlainEncode builds any CONNECT and SUBSCRIBE: what plain accepts the cursor accepts.
func FuzzRarePlainEncode(f *testing.F) {
	f.Add("id", "w", "user", []byte("pw"), uint8(0xF6), uint8(1), uint16(7), "a/+", uint8(1), []byte(nil), uint8(4))
	f.Add("", "", "", []byte(nil), uint8(0), uint8(3), uint16(0), "a+", uint8(0x31), []byte{0x11, 0, 0, 0, 1}, uint8(5))
	f.Add("\x00", "#", "é", []byte(nil), uint8(0x40), uint8(0), uint16(1), "$share/g/a", uint8(4), []byte(nil), uint8(5))
	f.Fuzz(func(t *testing.T, id, will, user string, password []byte, flags, qos uint8, pid uint16, filter string, o uint8, props []byte, v uint8) {
		if max(len(id), len(will), len(user), len(password), len(filter)) > 1000 {
			return
		}
		cn := Connect{
			ClientID: id, CleanStart: flags&flagCleanStart != 0, HasWill: flags&flagWill != 0,
			HasUsername: flags&flagUsername != 0, HasPassword: flags&flagPassword != 0, Username: user, Password: password,
			Will: Will{Topic: will, Payload: password, QoS: QoS(qos), Retain: flags&flagWillRetain != 0},
		}
		cn.Props.SetRaw(props)
		sub := Subscribe{PacketID: pid, Filters: []Subscription{{
			Filter: filter, QoS: QoS(o & 7), NoLocal: o&8 != 0, RetainAsPublished: o&16 != 0, RetainHandling: o >> 5,
		}, {Filter: will, QoS: QoS(qos)}}}
		for _, p := range []Packet{&cn, &sub} {
			out, err := p.AppendTo(nil, Version(v))
			if err != nil {
				continue
			}
			d := Decoder{Version: known(Version(v))}
			c := judging(out, d.Version)
			d.body(&c, c.header())
			if err := c.first(); err != nil {
				t.Errorf("version %d: %+v was encoded, and the cursor finds %v in %x", v, p, err, out)
			}
		}
	})
}
