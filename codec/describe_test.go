package codec_test

import (
	"strings"
	"testing"

	"github.com/mqlab/mqlab/codec"
)

func TestDescribe(t *testing.T) {
	withAlias := &codec.Publish{Topic: "a/b", Payload: []byte("abc"), QoS: 1, PacketID: 10}
	withAlias.Props.SetUint(codec.PropTopicAlias, 1)
	auth := &codec.Auth{Reason: codec.ContinueAuthentication}
	auth.Props.SetText(codec.PropAuthMethod, "SCRAM")
	auth.Props.SetBytes(codec.PropAuthData, []byte("secret"))
	for _, tc := range []struct {
		v    codec.Version
		p    codec.Packet
		want string
	}{
		{codec.V5, withAlias, `PUBLISH topic="a/b" qos=1 id=10 payload=3 bytes "abc" props{Topic Alias=1}`},
		{codec.V4, &codec.Publish{Topic: "a", Payload: []byte{0xFF, 0}, Retain: true}, `PUBLISH topic="a" qos=0 retain payload=2 bytes ff00`},
		{codec.V4, &codec.Publish{Topic: "a\n", Payload: []byte(strings.Repeat("é", 40))}, `PUBLISH topic="a\n" qos=0 payload=80 bytes "` + strings.Repeat("é", 24) + `"...`},
		{codec.V4, &codec.Publish{Topic: "a", Payload: []byte("x" + strings.Repeat("é", 40))}, `PUBLISH topic="a" qos=0 payload=81 bytes "x` + strings.Repeat("é", 23) + `"...`},
		{codec.V4, &codec.Connect{ClientID: "c", CleanStart: true, KeepAlive: 60, HasUsername: true, Username: "u", HasPassword: true, Password: []byte("secret"), HasWill: true, Will: codec.Will{Topic: "w", Payload: []byte("p"), QoS: 2, Retain: true}}, `CONNECT version=3.1.1 client="c" keep-alive=60s clean-session user="u" password=6 bytes will{topic="w" qos=2 retain payload=1 byte "p"}`},
		{codec.V4, &codec.Connack{SessionPresent: true}, `CONNACK session-present reason=0x00 Connection Accepted`},
		{codec.V4, &codec.Connack{Reason: 5}, `CONNACK reason=0x05 Not authorized`},
		{codec.V5, &codec.Puback{PacketID: 1, Reason: codec.NoMatchingSubscribers}, `PUBACK id=1 reason=0x10 No matching subscribers`},
		{codec.V4, &codec.Puback{PacketID: 1}, `PUBACK id=1`},
		{codec.V5, &codec.Subscribe{PacketID: 2, Filters: []codec.Subscription{{Filter: "a/#", QoS: 1, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}, {Filter: "b"}}}, `SUBSCRIBE id=2 "a/#" qos=1 no-local retain-as-published retain-handling=2 "b" qos=0`},
		{codec.V4, &codec.Suback{PacketID: 2, Reasons: []codec.ReasonCode{1, 0x80}}, `SUBACK id=2 reason=0x01 Granted QoS 1 reason=0x80 Failure`},
		{codec.V4, &codec.Unsubscribe{PacketID: 3, Filters: []string{"a", "b"}}, `UNSUBSCRIBE id=3 "a" "b"`},
		{codec.V5, &codec.Unsuback{PacketID: 3, Reasons: []codec.ReasonCode{0x11}}, `UNSUBACK id=3 reason=0x11 No subscription existed`},
		{codec.V4, &codec.Pingreq{}, `PINGREQ`},
		{codec.V4, &codec.Disconnect{}, `DISCONNECT`},
		{codec.V5, &codec.Disconnect{}, `DISCONNECT reason=0x00 Normal disconnection`},
		{codec.V5, auth, `AUTH reason=0x18 Continue authentication props{Authentication Method="SCRAM", Authentication Data=6 bytes}`},
		{codec.V4, nil, `no packet`},
	} {
		if got := codec.Describe(tc.p, tc.v); got != tc.want {
			t.Errorf("got  %s\nwant %s", got, tc.want)
		}
	}
}
