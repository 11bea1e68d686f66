package fuzz

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/packetgen"
)

// seed adds every wire vector with its version and sender.
func seed(f *testing.F, add func(v packetgen.Vector, ver codec.Version)) {
	f.Helper()
	for _, v := range packetgen.Vectors(f) {
		for _, ver := range v.Versions {
			add(v, ver)
		}
	}
}

// wire turns fuzzed numbers into a version, which may be unknown, and a sender.
func wire(version, side byte) (codec.Version, codec.Side) {
	v := codec.Version(version % 4)
	if v > 0 {
		v += codec.V31 - 1
	}
	return v, codec.Side(side % 3)
}

func wireSeed(ver codec.Version, from codec.Side) (version, side byte) {
	return byte(ver - codec.V31 + 1), byte(from)
}

// FuzzDecode holds for any bytes: neither mode panics; a frame that strict decoding takes has no
// fault in lenient mode, and one that it refuses has that fault there; size and bytes of what
// was decoded agree when encoded again, and the result reads the same.
func FuzzDecode(f *testing.F) {
	seed(f, func(v packetgen.Vector, ver codec.Version) {
		version, side := wireSeed(ver, v.From)
		f.Add(v.Frame, version, side)
	})
	f.Fuzz(func(t *testing.T, frame []byte, version, side byte) {
		ver, from := wire(version, side)
		strict := codec.Decoder{Version: ver, From: from}
		lenient := codec.Decoder{Version: ver, From: from, Mode: codec.Lenient}
		whole := bytes.Clone(frame)
		p, err := strict.Decode(frame)
		lp, lerr := lenient.Decode(frame)
		if !bytes.Equal(whole, frame) {
			t.Fatal("decoding writes to the frame")
		}
		checkFields(t, frame, ver)
		codec.Describe(lp, lenient.Version)
		if err != nil {
			checkRefusal(t, frame, p, err, lerr)
			return
		}
		if lerr != nil {
			t.Fatalf("strict takes what lenient faults: %v", lerr)
		}
		if got, want := codec.Describe(lp, lenient.Version), codec.Describe(p, strict.Version); got != want {
			t.Fatalf("strict reads %s, lenient %s", want, got)
		}
		checkEncode(t, frame, p, strict.Version, from)
	})
}

func checkFields(t *testing.T, frame []byte, v codec.Version) {
	t.Helper()
	at := 0
	for _, fd := range codec.AppendFields(nil, frame, v) {
		if fd.Offset != at || fd.Len <= 0 {
			t.Fatalf("field %+v does not follow byte %d", fd, at)
		}
		at += fd.Len
	}
	if at != len(frame) {
		t.Fatalf("the fields cover %d of %d bytes", at, len(frame))
	}
}

func checkRefusal(t *testing.T, frame []byte, p codec.Packet, err, lerr error) {
	t.Helper()
	var e *codec.Error
	if !errors.As(err, &e) {
		t.Fatalf("strict: %T is not *Error", err)
	}
	if e.Offset < 0 || e.Offset > len(frame) || e.Msg == "" || e.Fault == "" {
		t.Fatalf("strict: %+v", e)
	}
	if (p == nil) != (e.Level == codec.Must) {
		t.Fatalf("packet %v with a fault of level %s", p, e.Level)
	}
	var all codec.Errors
	if !errors.As(lerr, &all) {
		t.Fatalf("lenient takes what strict refuses: %v", err)
	}
	// Strict stops where lenient goes on, so that both find the same fault first.
	first := slices.IndexFunc(all, func(x *codec.Error) bool { return x.Level == e.Level })
	if first < 0 || all[first].Fault != e.Fault || all[first].Offset != e.Offset {
		t.Fatalf("strict finds %v, lenient %v", e, all)
	}
}

// checkEncode encodes a packet again. The result is the frame where that is canonical, and in
// any case decodes to the same packet.
func checkEncode(t *testing.T, frame []byte, p codec.Packet, v codec.Version, from codec.Side) {
	t.Helper()
	want := codec.Describe(p, v)
	out, err := p.AppendTo(nil, v)
	if err != nil {
		t.Fatalf("%s was decoded and is refused: %v", want, err)
	}
	if len(out) != p.Size(v) {
		t.Fatalf("%s: Size says %d, %d bytes written", want, p.Size(v), len(out))
	}
	if len(out) > len(frame) {
		t.Fatalf("%x became longer: %x", frame, out)
	}
	again := codec.Decoder{Version: v, From: from}
	q, err := again.Decode(out)
	if err != nil {
		t.Fatalf("%s, encoded as %x: %v", want, out, err)
	}
	if got := codec.Describe(q, v); got != want {
		t.Fatalf("%s became %s", want, got)
	}
	twice, err := q.AppendTo(nil, v)
	if err != nil || !bytes.Equal(out, twice) {
		t.Fatalf("encoding is not stable: %x, %x (%v)", out, twice, err)
	}
	// Where nothing became shorter, only MQTT 3.1 has bits without a meaning that get lost.
	if c, ok := p.(*codec.Connect); ok {
		v = c.Version
	}
	if len(out) == len(frame) && v != codec.V31 && !bytes.Equal(out, frame) {
		t.Fatalf("%x became %x", frame, out)
	}
}

// FuzzStream holds that a Reader cuts a stream the same way however it arrives, and as Cut does.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0xC0, 0, 0x30, 3, 0, 1, 'a', 0xE0, 0}, uint16(2), uint16(3))
	seed(f, func(v packetgen.Vector, _ codec.Version) { f.Add(v.Frame, uint16(1), uint16(0)) })
	f.Fuzz(func(t *testing.T, stream []byte, chunk, limit uint16) {
		maxSize := int(limit)
		r := codec.NewReader(&chunks{b: stream, n: int(chunk%64) + 1}, int(chunk%32)+1)
		r.MaxSize, r.Poison = maxSize, true
		rest := bytes.Clone(stream)
		for {
			want, after, cutErr := codec.Cut(rest, maxSize)
			got, err := r.Next()
			if want == nil {
				if err == nil {
					t.Fatalf("the Reader cuts %x where Cut has %v", got, cutErr)
				}
				var e *codec.Error
				if errors.As(err, &e) != (cutErr != nil) {
					t.Fatalf("the Reader says %v, Cut %v", err, cutErr)
				}
				return
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("the Reader cuts %x (%v), Cut %x", got, err, want)
			}
			rest = after
		}
	})
}

// chunks returns n bytes at a time.
type chunks struct {
	b []byte
	n int
}

func (c *chunks) Read(b []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, errEnd
	}
	n := copy(b, c.b[:min(c.n, len(c.b))])
	c.b = c.b[n:]
	return n, nil
}

var errEnd = errors.New("end of the stream")

// FuzzRoundTrip builds packets from fuzzed fields and holds that what encodes also decodes, to
// a packet that encodes to the same bytes, and that a refusal leaves the buffer alone.
func FuzzRoundTrip(f *testing.F) {
	f.Add(byte(3), byte(2), "a/b", "text", []byte("payload"), []byte{0x23, 0, 1}, uint16(10), uint32(1))
	f.Add(byte(8), byte(2), "a/#", "$share/g/x", []byte{1}, []byte{0x0B, 1}, uint16(1), uint32(0x2D))
	f.Add(byte(1), byte(2), "client", "user", []byte("secret"), []byte{}, uint16(60), uint32(0x7F))
	f.Add(byte(14), byte(2), "", "", []byte{0x8E}, []byte{0x1F, 0, 1, 'r'}, uint16(0), uint32(0))
	f.Fuzz(func(t *testing.T, typ, version byte, s, s2 string, b, props []byte, n uint16, bits uint32) {
		v := codec.V31 + codec.Version(version%3)
		p := build(codec.Type(typ%16), v, s, s2, b, props, n, bits)
		if p == nil {
			return
		}
		dst := []byte("dst")
		out, err := p.AppendTo(dst, v)
		if err != nil {
			if string(out) != "dst" {
				t.Fatalf("refused, and the buffer is %q", out)
			}
			return
		}
		frame := out[len(dst):]
		if len(frame) != p.Size(v) {
			t.Fatalf("Size says %d, %d bytes written", p.Size(v), len(frame))
		}
		d := codec.Decoder{Version: v}
		q, err := d.Decode(frame)
		if err != nil {
			t.Fatalf("%x was encoded and is refused: %v", frame, err)
		}
		again, err := codec.Clone(q).AppendTo(nil, v)
		if err != nil || !bytes.Equal(again, frame) {
			t.Fatalf("%x became %x (%v)", frame, again, err)
		}
	})
}

// build makes a packet, legal or not, from fuzzed fields.
func build(t codec.Type, v codec.Version, s, s2 string, b, props []byte, n uint16, bits uint32) codec.Packet {
	var pr codec.Properties
	pr.SetRaw(props)
	on := func(i int) bool { return bits>>i&1 == 1 }
	qos := codec.QoS(bits >> 8)
	var reason codec.ReasonCode
	var reasons []codec.ReasonCode
	for _, c := range b {
		reason = codec.ReasonCode(c)
		reasons = append(reasons, reason)
	}
	switch t {
	case codec.TypeConnect:
		return &codec.Connect{
			Version: v, ClientID: s, KeepAlive: n, CleanStart: on(0), HasWill: on(1), HasUsername: on(2), HasPassword: on(3),
			Will: codec.Will{Topic: s2, Payload: b, QoS: qos, Retain: on(4)}, Username: s2, Password: b, Props: pr,
		}
	case codec.TypeConnack:
		return &codec.Connack{SessionPresent: on(0), Reason: reason, Props: pr}
	case codec.TypePublish:
		return &codec.Publish{Topic: s, Payload: b, PacketID: n, QoS: qos, Dup: on(0), Retain: on(1), Props: pr}
	case codec.TypePuback:
		return &codec.Puback{PacketID: n, Reason: reason, Props: pr}
	case codec.TypePubrec:
		return &codec.Pubrec{PacketID: n, Reason: reason, Props: pr}
	case codec.TypePubrel:
		return &codec.Pubrel{PacketID: n, Reason: reason, Props: pr}
	case codec.TypePubcomp:
		return &codec.Pubcomp{PacketID: n, Reason: reason, Props: pr}
	case codec.TypeSubscribe:
		return &codec.Subscribe{PacketID: n, Props: pr, Filters: []codec.Subscription{
			{Filter: s, QoS: qos, NoLocal: on(0), RetainAsPublished: on(1), RetainHandling: uint8(bits >> 16)}, {Filter: s2},
		}}
	case codec.TypeSuback:
		return &codec.Suback{PacketID: n, Reasons: reasons, Props: pr}
	case codec.TypeUnsubscribe:
		return &codec.Unsubscribe{PacketID: n, Filters: []string{s, s2}, Props: pr}
	case codec.TypeUnsuback:
		return &codec.Unsuback{PacketID: n, Reasons: reasons, Props: pr}
	case codec.TypePingreq:
		return &codec.Pingreq{}
	case codec.TypePingresp:
		return &codec.Pingresp{}
	case codec.TypeDisconnect:
		return &codec.Disconnect{Reason: reason, Props: pr}
	case codec.TypeAuth:
		return &codec.Auth{Reason: reason, Props: pr}
	}
	return nil
}

// FuzzBreak holds that any legal frame, broken in any way that applies, is refused with a fault
// that the breakage announces. Frames that are not legal may be broken into anything.
func FuzzBreak(f *testing.F) {
	seed(f, func(v packetgen.Vector, ver codec.Version) {
		version, _ := wireSeed(ver, v.From)
		for _, how := range []codec.Breakage{codec.BreakReservedFlag, codec.BreakPropertyDuplicate, codec.BreakUTF8} {
			f.Add(v.Frame, version, byte(how))
		}
	})
	all := codec.Breakages()
	f.Fuzz(func(t *testing.T, frame []byte, version, breakage byte) {
		ver, _ := wire(version, 0)
		how := all[int(breakage)%len(all)]
		broken, err := codec.Break(frame, ver, how)
		legal := codec.Decoder{Version: ver, From: how.From()}
		if _, derr := legal.Decode(frame); derr != nil || err != nil {
			return
		}
		d := codec.Decoder{Version: legal.Version, From: how.From()}
		_, err = d.Decode(broken)
		var e *codec.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: %x became %x, which is taken", how, frame, broken)
		}
		if !slices.Contains(how.Faults(), e.Fault) {
			t.Fatalf("%s: %x became %x with the fault %q, want one of %q", how, frame, broken, e.Fault, how.Faults())
		}
	})
}
