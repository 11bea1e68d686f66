package codec_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/packetgen"
)

// equal compares packets by value: properties by their bytes, nil and empty slices alike.
var equal = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b codec.Properties) bool { return string(a.Raw()) == string(b.Raw()) }),
}

// TestRoundTrip holds decode(encode(p)) == p over drawn packets of all versions and senders, in
// both modes, and that a clone outlives the frame.
func TestRoundTrip(t *testing.T) {
	for _, v := range versions {
		for _, from := range []codec.Side{codec.Either, codec.Client, codec.Server} {
			rapid.Check(t, func(t *rapid.T) {
				p := packetgen.Packet(t, v, from)
				frame, err := p.AppendTo([]byte("prefix"), v)
				if err != nil {
					t.Fatalf("%s is refused: %v", codec.Describe(p, v), err)
				}
				if string(frame[:6]) != "prefix" {
					t.Fatal("encoding has changed what stood before")
				}
				frame = frame[6:]
				if len(frame) != p.Size(v) {
					t.Fatalf("%s: Size says %d, %d bytes written", codec.Describe(p, v), p.Size(v), len(frame))
				}
				for _, mode := range []codec.Mode{codec.Strict, codec.Lenient} {
					d := codec.Decoder{Version: v, From: from, Mode: mode, CheckPayload: false}
					q, err := d.Decode(frame)
					if err != nil {
						t.Fatalf("%x of %s: %v", frame, codec.Describe(p, v), err)
					}
					if diff := cmp.Diff(p, q, equal); diff != "" {
						t.Fatalf("%x (-want +got):\n%s", frame, diff)
					}
					kept := codec.Clone(q)
					again, err := q.AppendTo(nil, v)
					if err != nil || string(again) != string(frame) {
						t.Fatalf("encoded again: %x, want %x (%v)", again, frame, err)
					}
					copied := string(frame)
					for i := range frame {
						frame[i] = 0xDB
					}
					if diff := cmp.Diff(p, kept, equal); diff != "" {
						t.Fatalf("a clone shares memory with the frame (-want +got):\n%s", diff)
					}
					copy(frame, copied)
				}
			})
		}
	}
}

// TestEncodeRefuses holds that encoding refuses what the standard forbids, with the fault that
// decoding would find, and leaves the buffer alone.
func TestEncodeRefuses(t *testing.T) {
	long := string(make([]byte, 65536))
	one := func(set func(p *codec.Properties)) (p codec.Properties) { set(&p); return p }
	for _, tc := range []struct {
		name string
		v    codec.Version
		p    codec.Packet
		want string // fault
	}{
		{"QoS 3", codec.V4, &codec.Publish{Topic: "a", QoS: 3, PacketID: 1}, "publish-qos-3"},
		{"QoS 7 does not spill into other flags", codec.V4, &codec.Publish{Topic: "a", QoS: 7, PacketID: 1}, "publish-qos-3"},
		{"DUP at QoS 0", codec.V4, &codec.Publish{Topic: "a", Dup: true}, "publish-dup-qos-0"},
		{"packet id 0", codec.V5, &codec.Publish{Topic: "a", QoS: 1}, "packet-id-zero"},
		{"wildcard in a name", codec.V5, &codec.Publish{Topic: "a/#"}, "topic-wildcard"},
		{"empty topic", codec.V4, &codec.Publish{}, "topic-empty"},
		{"empty topic without alias", codec.V5, &codec.Publish{}, "topic-empty"},
		{"topic of 65,536 bytes", codec.V5, &codec.Publish{Topic: long}, "field-too-long"},
		{"property of another packet", codec.V5, &codec.Publish{Topic: "a", Props: one(func(p *codec.Properties) { p.SetUint(codec.PropReceiveMaximum, 1) })}, "property-foreign"},
		{"alias 0", codec.V5, &codec.Publish{Topic: "a", Props: one(func(p *codec.Properties) { p.SetUint(codec.PropTopicAlias, 0) })}, "topic-alias-zero"},
		{"raw bytes that are no property", codec.V5, &codec.Publish{Topic: "a", Props: one(func(p *codec.Properties) { p.SetRaw([]byte{0x7F}) })}, "property-unknown"},
		{"raw properties that are cut", codec.V5, &codec.Publish{Topic: "a", Props: one(func(p *codec.Properties) { p.SetRaw([]byte{0x02, 0}) })}, "property-overrun"},
		{"no filter", codec.V4, &codec.Subscribe{PacketID: 1}, "subscribe-empty"},
		{"bad filter", codec.V4, &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "a#"}}}, "filter-hash"},
		{"requested QoS 5", codec.V5, &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "a", QoS: 5}}}, "subscribe-qos-3"},
		{"retain handling 9", codec.V5, &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "a", RetainHandling: 9}}}, "retain-handling-3"},
		{"no local on a shared subscription", codec.V5, &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "$share/g/a", NoLocal: true}}}, "no-local-shared"},
		{"second filter of 65,536 bytes", codec.V5, &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "a"}, {Filter: long}}}, "field-too-long"},
		{"no filter to remove", codec.V4, &codec.Unsubscribe{PacketID: 1}, "unsubscribe-empty"},
		{"filter of 65,536 bytes", codec.V4, &codec.Unsubscribe{PacketID: 1, Filters: []string{long}}, "field-too-long"},
		{"suback without codes", codec.V5, &codec.Suback{PacketID: 1}, "suback-empty"},
		{"suback code of 5.0 in 3.1.1", codec.V4, &codec.Suback{PacketID: 1, Reasons: []codec.ReasonCode{codec.NotAuthorized}}, "suback-code"},
		{"unsuback without codes", codec.V5, &codec.Unsuback{PacketID: 1}, "unsuback-empty"},
		{"connack code 6 in 3.1.1", codec.V4, &codec.Connack{Reason: 6}, "connack-code"},
		{"session present in a refusal", codec.V5, &codec.Connack{SessionPresent: true, Reason: codec.NotAuthorized}, "session-present-refused"},
		{"password alone in 3.1.1", codec.V4, &codec.Connect{ClientID: "c", HasPassword: true}, "password-without-username"},
		{"empty client id with a kept session", codec.V4, &codec.Connect{}, "client-id-empty"},
		{"client id of 24 characters in 3.1", codec.V31, &codec.Connect{ClientID: "123456789012345678901234"}, "client-id-length"},
		{"will QoS 3", codec.V4, &codec.Connect{ClientID: "c", HasWill: true, Will: codec.Will{Topic: "w", QoS: 3}}, "will-qos-3"},
		{"will without topic", codec.V5, &codec.Connect{ClientID: "c", HasWill: true}, "will-topic-empty"},
		{"password of 65,536 bytes", codec.V5, &codec.Connect{ClientID: "c", HasPassword: true, Password: []byte(long)}, "field-too-long"},
		{"level 6", codec.V5, &codec.Connect{Version: 6, ClientID: "c"}, "protocol-level"},
		{"reason code of another packet", codec.V5, &codec.Pubrel{PacketID: 1, Reason: codec.QuotaExceeded}, "pubrel-code"},
		{"ack of id 0", codec.V4, &codec.Puback{}, "packet-id-zero-ack"},
		{"auth before 5.0", codec.V4, &codec.Auth{}, "auth-before-5"},
		{"auth without method", codec.V5, &codec.Auth{Reason: codec.ContinueAuthentication}, "auth-method-missing"},
		{"auth in the short form", codec.V5, &codec.Auth{}, "auth-short-form"},
		{"disconnect with a code of CONNACK", codec.V5, &codec.Disconnect{Reason: codec.Banned}, "disconnect-code"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := tc.p.AppendTo([]byte("dst"), tc.v)
			var e *codec.Error
			if !errors.As(err, &e) || e.Fault != tc.want {
				t.Errorf("error %v, want the fault %q", err, tc.want)
			}
			if string(out) != "dst" {
				t.Errorf("the buffer became %q", out)
			}
		})
	}
}

// TestTooLargeToEncode holds that a body beyond the protocol's maximum is refused before any
// memory is taken for it.
func TestTooLargeToEncode(t *testing.T) {
	payload := make([]byte, codec.MaxRemainingLength)
	p := &codec.Publish{Topic: "a", Payload: payload}
	if _, err := p.AppendTo(nil, codec.V4); !errors.Is(err, codec.ErrPacketTooLarge) {
		t.Errorf("a packet beyond 256 MiB: %v", err)
	}
}

// TestFieldsThatAVersionLacks holds that encoding for an older version leaves out what that
// version has no place for.
func TestFieldsThatAVersionLacks(t *testing.T) {
	p := &codec.Publish{Topic: "a", Payload: []byte("x")}
	p.Props.SetUint(codec.PropMessageExpiry, 5)
	got, err := p.AppendTo(nil, codec.V4)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]byte{0x30, 4, 0, 1, 'a', 'x'}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
