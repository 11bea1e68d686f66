package codec_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
)

func TestDecoderTakesVersionFromConnect(t *testing.T) {
	for _, v := range versions {
		frame, err := (&codec.Connect{Version: v, ClientID: "c", CleanStart: true}).AppendTo(nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		var d codec.Decoder
		p, err := d.Decode(frame)
		if err != nil {
			t.Fatal(err)
		}
		if d.Version != v || p.(*codec.Connect).Version != v {
			t.Errorf("version %s of the decoder, %s of the packet, want %s", d.Version, p.(*codec.Connect).Version, v)
		}
	}
}

// TestRefusedConnectLeavesVersionOpen holds that only a CONNECT that is taken settles the version.
func TestRefusedConnectLeavesVersionOpen(t *testing.T) {
	frame, err := (&codec.Connect{Version: codec.V5, ClientID: "c"}).AppendTo(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	broken, err := codec.Break(frame, codec.V5, codec.BreakConnectReservedFlag)
	if err != nil {
		t.Fatal(err)
	}
	var d codec.Decoder
	_, err = d.Decode(broken)
	var e *codec.Error
	if !errors.As(err, &e) || d.Version != 0 {
		t.Fatalf("error %v, version %s", err, d.Version)
	}
	if e.Version != codec.V5 || e.Rule != "MQTT-3.1.2-3" {
		t.Errorf("the error is of version %s, rule %s", e.Version, e.Rule)
	}
}

func TestFirstPacketIsConnect(t *testing.T) {
	for _, frame := range [][]byte{{0xC0, 0}, {0x30, 3, 0, 1, 'a'}} {
		d := codec.Decoder{From: codec.Client}
		_, err := d.Decode(frame)
		var e *codec.Error
		if !errors.As(err, &e) || e.Rule != "MQTT-3.1.0-1" {
			t.Errorf("%x as first packet: %v", frame, err)
		}
	}
	d := codec.Decoder{From: codec.Server}
	if _, err := d.Decode([]byte{0x20, 2, 0, 0}); err != nil {
		t.Errorf("CONNACK of a version not known: %v", err)
	}
}

// TestShouldFaultsLeaveThePacketUsable holds the contract that lets a broker go on.
func TestShouldFaultsLeaveThePacketUsable(t *testing.T) {
	d := codec.Decoder{Version: codec.V4, From: codec.Client}
	p, err := d.Decode([]byte{0x38, 4, 0, 1, 'a', 'x'})
	var e *codec.Error
	if !errors.As(err, &e) || e.Level != codec.Should || e.Rule != "MQTT-3.3.1-2" {
		t.Fatalf("DUP at QoS 0: %v", err)
	}
	want := &codec.Publish{Topic: "a", Payload: []byte("x"), Dup: true}
	if diff := cmp.Diff(codec.Packet(want), p, equal); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A fault of Must level behind it decides.
	p, err = d.Decode([]byte{0x38, 4, 0, 1, '#', 'x'})
	if !errors.As(err, &e) || e.Level != codec.Must || p != nil {
		t.Errorf("DUP and a wildcard: %v, %v", p, err)
	}
}

func TestLenientGoesOn(t *testing.T) {
	for _, tc := range []struct {
		name   string
		v      codec.Version
		frame  []byte
		faults []string
		want   string
	}{
		{
			"several faults in one packet", codec.V4,
			[]byte{0x3E, 7, 0, 2, 'a', '#', 0, 0, 'x'},
			[]string{"publish-qos-3", "topic-wildcard", "packet-id-zero"},
			`PUBLISH topic="a#" qos=3 id=0 dup payload=1 byte "x"`,
		},
		{
			"topic cut by the end", codec.V4,
			[]byte{0x30, 5, 0, 9, 'a', 'b', 'c'},
			[]string{"truncated"},
			`PUBLISH topic="abc" qos=0 payload=0 bytes`,
		},
		{
			"captured short", codec.V4,
			[]byte{0x30, 50, 0, 1, 'a', 'b', 'c'},
			[]string{"frame-length"},
			`PUBLISH topic="a" qos=0 payload=2 bytes "bc"`,
		},
		{
			"bytes behind the packet", codec.V4,
			[]byte{0x30, 4, 0, 1, 'a', 'b', 0xC0, 0},
			[]string{"frame-length"},
			`PUBLISH topic="a" qos=0 payload=1 byte "b"`,
		},
		{
			"unknown property, payload found", codec.V5,
			[]byte{0x30, 9, 0, 1, 'a', 4, 1, 1, 0x7F, 0, 'p'},
			[]string{"property-unknown"},
			`PUBLISH topic="a" qos=0 payload=1 byte "p" props{Payload Format Indicator=1, undecodable bytes}`,
		},
		{
			"unknown protocol", codec.V4,
			[]byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'X', 9, 2, 0, 1, 0, 1, 'c'},
			[]string{"protocol-name"},
			`CONNECT version=3.1.1 name="MQTX" level=9 client="c" keep-alive=1s clean-session`,
		},
		{
			"bridge bit of the level", 0,
			[]byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 0x84, 2, 0, 1, 0, 1, 'c'},
			[]string{"protocol-level"},
			`CONNECT version=3.1.1 name="MQTT" level=132 client="c" keep-alive=1s clean-session`,
		},
		{
			"wrong direction and flags", codec.V4,
			[]byte{0x91, 3, 0, 1, 2},
			[]string{"wrong-direction", "header-flags"},
			`SUBACK id=1 reason=0x02 Granted QoS 2`,
		},
		{"reserved type", codec.V4, []byte{0x00, 0}, []string{"reserved-type"}, "no packet"},
		{"AUTH before 5.0", codec.V4, []byte{0xF0, 2, 0x18, 0}, []string{"auth-before-5", "auth-method-missing"}, `AUTH reason=0x18 Continue authentication`},
		{"header cut", codec.V4, []byte{0x30}, []string{"frame-length"}, `PUBLISH topic="" qos=0 payload=0 bytes`},
		{"nothing", codec.V4, nil, []string{"frame-length"}, "no packet"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := codec.Decoder{Version: tc.v, From: codec.Client, Mode: codec.Lenient}
			p, err := d.Decode(tc.frame)
			var all codec.Errors
			if !errors.As(err, &all) {
				t.Fatalf("no faults: %v", err)
			}
			var got []string
			for _, e := range all {
				got = append(got, e.Fault)
			}
			if diff := cmp.Diff(tc.faults, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			v := tc.v
			if v == 0 {
				v = d.Version
			}
			if got := codec.Describe(p, v); got != tc.want {
				t.Errorf("read as\n%s, want\n%s", got, tc.want)
			}
		})
	}
}

func TestCheckPayload(t *testing.T) {
	publish := []byte{0x30, 8, 0, 1, 'a', 2, 1, 1, 0xFF, 0xFE}
	will := (&codec.Connect{Version: codec.V5, ClientID: "c", HasWill: true, Will: codec.Will{Topic: "w", Payload: []byte{0xFF}}})
	will.Will.Props.SetUint(codec.PropPayloadFormat, 1)
	connect, err := will.AppendTo(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		frame  []byte
		rule   string
		offset int
	}{
		{"PUBLISH", publish, "P-3.3.2.3.2-payload-not-utf8", 8},
		{"will", connect, "P-3.1.3.2.3-will-payload-not-utf8", len(connect) - 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := codec.Decoder{Version: codec.V5}
			if _, err := d.Decode(tc.frame); err != nil {
				t.Errorf("the check is optional and was not asked for: %v", err)
			}
			d.CheckPayload = true
			p, err := d.Decode(tc.frame)
			var e *codec.Error
			if !errors.As(err, &e) || e.Rule != tc.rule || e.Level != codec.Should || e.Reason != codec.PayloadFormatInvalid || e.Offset != tc.offset || p == nil {
				t.Errorf("got %v", err)
			}
			d.CheckPayload = false
		})
	}
	legal := slices.Clone(publish)
	legal[8], legal[9] = 'o', 'k'
	d := codec.Decoder{Version: codec.V5, CheckPayload: true}
	if _, err := d.Decode(legal); err != nil {
		t.Errorf("a payload that is UTF-8: %v", err)
	}
}

// TestDecoderIsReused holds that nothing of one packet shows in the next.
func TestDecoderIsReused(t *testing.T) {
	for _, v := range versions {
		d := codec.Decoder{Version: v}
		for range 2 {
			for _, p := range samples(v) {
				frame, err := p.AppendTo(nil, v)
				if err != nil {
					t.Fatal(err)
				}
				got, err := d.Decode(frame)
				if err != nil {
					t.Fatal(err)
				}
				fresh := codec.Decoder{Version: v}
				want, err := fresh.Decode(frame)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got, equal); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
		}
	}
}

func TestErrorsUnwrap(t *testing.T) {
	d := codec.Decoder{Version: codec.V4, Mode: codec.Lenient}
	_, err := d.Decode([]byte{0x3E, 7, 0, 2, 'a', '#', 0, 0, 'x'})
	var e *codec.Error
	if !errors.As(err, &e) || e.Fault != "publish-qos-3" {
		t.Errorf("the first fault is %v", e)
	}
	want := "PUBLISH at byte 0: both QoS bits are set [MQTT-3.3.1-4]\n" +
		"PUBLISH at byte 2: the Topic Name holds a wildcard [MQTT-3.3.2-2]\n" +
		"PUBLISH at byte 6: the Packet Identifier is 0 [MQTT-2.3.1-1]"
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestUnsubscribeLeavesShareNamesAlone holds that no rule on Shared Subscriptions is held
// against a request to remove one that cannot exist.
func TestUnsubscribeLeavesShareNamesAlone(t *testing.T) {
	for _, filter := range []string{"$share/", "$share/g", "$share//t", "$share/g/t", "$share/#"} {
		frame, err := (&codec.Unsubscribe{PacketID: 1, Filters: []string{filter}}).AppendTo(nil, codec.V5)
		if err != nil {
			t.Errorf("UNSUBSCRIBE %q: %v", filter, err)
			continue
		}
		d := codec.Decoder{Version: codec.V5, From: codec.Client}
		if _, err := d.Decode(frame); err != nil {
			t.Errorf("UNSUBSCRIBE %q: %v", filter, err)
		}
	}
}
