package codec_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
)

func TestVarint(t *testing.T) {
	for _, tc := range []struct {
		v    uint32
		wire []byte
	}{
		{0, []byte{0}},
		{127, []byte{0x7F}},
		{128, []byte{0x80, 1}},
		{16383, []byte{0xFF, 0x7F}},
		{16384, []byte{0x80, 0x80, 1}},
		{2097151, []byte{0xFF, 0xFF, 0x7F}},
		{2097152, []byte{0x80, 0x80, 0x80, 1}},
		{codec.MaxRemainingLength, []byte{0xFF, 0xFF, 0xFF, 0x7F}},
	} {
		if diff := cmp.Diff(tc.wire, codec.AppendVarint(nil, tc.v)); diff != "" {
			t.Errorf("%d (-want +got):\n%s", tc.v, diff)
		}
		if got := codec.VarintSize(tc.v); got != len(tc.wire) {
			t.Errorf("VarintSize(%d) = %d, want %d", tc.v, got, len(tc.wire))
		}
		if v, n := codec.Varint(append(tc.wire, 0xFF)); v != tc.v || n != len(tc.wire) {
			t.Errorf("Varint(%x) = %d, %d", tc.wire, v, n)
		}
		for cut := range tc.wire {
			if _, n := codec.Varint(tc.wire[:cut]); n != 0 {
				t.Errorf("Varint(%x) has length %d", tc.wire[:cut], n)
			}
		}
	}
	if _, n := codec.Varint([]byte{0x80, 0x80, 0x80, 0x80, 0}); n != -1 {
		t.Errorf("five bytes have length %d", n)
	}
	if v, n := codec.Varint([]byte{0x85, 0}); v != 5 || n != 2 {
		t.Errorf("a padded 5 reads as %d of %d bytes", v, n)
	}
}

func TestParseHeader(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   []byte
		want codec.Header
		n    int
	}{
		{"nothing", nil, codec.Header{}, 0},
		{"type alone", []byte{0x30}, codec.Header{}, 0},
		{"length cut", []byte{0x30, 0x80}, codec.Header{Type: codec.TypePublish}, 0},
		{"QoS 2, DUP, 300 bytes", []byte{0x3C, 0xAC, 2}, codec.Header{Type: codec.TypePublish, Flags: 12, Remaining: 300}, 3},
		{"largest", []byte{0xE0, 0xFF, 0xFF, 0xFF, 0x7F}, codec.Header{Type: codec.TypeDisconnect, Remaining: codec.MaxRemainingLength}, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h, n, err := codec.ParseHeader(tc.in)
			if err != nil || n != tc.n {
				t.Errorf("length %d, want %d (%v)", n, tc.n, err)
			}
			if diff := cmp.Diff(tc.want, h); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if n > 0 && h.QoS() != codec.QoS(tc.in[0]>>1&3) {
				t.Errorf("QoS %d", h.QoS())
			}
		})
	}
	_, _, err := codec.ParseHeader([]byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1})
	var e *codec.Error
	if !errors.As(err, &e) || e.Reason != codec.MalformedPacket || e.Offset != 1 {
		t.Errorf("five bytes: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{codec.V31.String() + codec.V4.String() + codec.V5.String() + codec.Version(9).String(), "3.13.1.15.0unknown"},
		{codec.TypePubrel.String(), "PUBREL"},
		{codec.Type(0).String(), "reserved"},
		{codec.Must.String() + codec.Should.String(), "mustshould"},
		{codec.PropTopicAlias.String(), "Topic Alias"},
		{codec.PropID(0x7F).String(), "unknown property"},
		{codec.ReasonCode(0x92).String(), "Packet Identifier not found"},
		{codec.ReasonCode(0x7E).String(), "unknown reason code 0x7E"},
		{codec.ReasonCode(0x10).Name(codec.TypeConnack, codec.V4), "reserved return code 0x10"},
	} {
		if tc.got != tc.want {
			t.Errorf("%q, want %q", tc.got, tc.want)
		}
	}
	if codec.NoMatchingSubscribers.Failed() || !codec.NotAuthorized.Failed() {
		t.Error("Failed mistakes a success for a failure, or the reverse")
	}
}
