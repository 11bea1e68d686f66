package codec_test

import "github.com/mqlab/mqlab/codec"

// samples returns legal packets of every type: poor ones and rich ones.
func samples(v codec.Version) []codec.Packet {
	props := func(set func(p *codec.Properties)) (p codec.Properties) {
		if v == codec.V5 {
			set(&p)
		}
		return p
	}
	reason := props(func(p *codec.Properties) {
		p.SetText(codec.PropReasonString, "because")
		p.AddUser("k", "v")
		p.AddUser("k", "v")
	})
	all := []codec.Packet{
		&codec.Connect{Version: v, ClientID: "c1", CleanStart: true, KeepAlive: 60},
		&codec.Connect{
			Version: v, ClientID: "client-2", CleanStart: true, HasWill: true, HasUsername: true, HasPassword: true,
			Will: codec.Will{Topic: "w/t", Payload: []byte("gone"), QoS: 1, Retain: true, Props: props(func(p *codec.Properties) {
				p.SetUint(codec.PropWillDelay, 5)
				p.SetText(codec.PropContentType, "text/plain")
			})},
			Username: "u", Password: []byte("p"),
			Props: props(func(p *codec.Properties) {
				p.SetUint(codec.PropSessionExpiry, 60)
				p.SetUint(codec.PropReceiveMaximum, 10)
				p.SetText(codec.PropAuthMethod, "SCRAM")
				p.SetBytes(codec.PropAuthData, []byte{1, 2})
				p.AddUser("k", "v")
			}),
		},
		&codec.Connect{Version: v, ClientID: "c3", HasUsername: true, Username: "u"},
		&codec.Connack{Props: props(func(p *codec.Properties) {
			p.SetUint(codec.PropMaximumQoS, 1)
			p.SetUint(codec.PropTopicAliasMaximum, 10)
			p.SetText(codec.PropAssignedClientID, "auto-1")
		})},
		&codec.Connack{Reason: codec.ReturnNotAuthorized},
		&codec.Publish{Topic: "a/b", Payload: []byte("hello")},
		&codec.Publish{Topic: "a/b/c", QoS: 1, PacketID: 7, Retain: true, Props: props(func(p *codec.Properties) {
			p.SetUint(codec.PropPayloadFormat, 1)
			p.SetUint(codec.PropTopicAlias, 3)
			p.SetText(codec.PropResponseTopic, "r/t")
			p.SetBytes(codec.PropCorrelationData, []byte{0, 1})
			p.AddUser("k", "v")
		})},
		&codec.Publish{Topic: "a", QoS: 2, PacketID: 65535, Dup: true, Payload: make([]byte, 200)},
		&codec.Puback{PacketID: 7},
		&codec.Puback{PacketID: 7, Reason: codec.NotAuthorized, Props: reason},
		&codec.Pubrec{PacketID: 8},
		&codec.Pubrec{PacketID: 8, Props: reason},
		&codec.Pubrel{PacketID: 9},
		&codec.Pubrel{PacketID: 9, Reason: codec.PacketIDNotFound},
		&codec.Pubcomp{PacketID: 10},
		&codec.Pubcomp{PacketID: 10, Reason: codec.PacketIDNotFound, Props: reason},
		&codec.Subscribe{PacketID: 11, Filters: []codec.Subscription{{Filter: "a/+/#", QoS: 1}}},
		&codec.Subscribe{PacketID: 12, Filters: []codec.Subscription{{Filter: "a"}, {Filter: "#", QoS: 2}}, Props: props(func(p *codec.Properties) {
			p.SetUint(codec.PropSubscriptionID, 300)
		})},
		&codec.Suback{PacketID: 11, Reasons: []codec.ReasonCode{1}},
		&codec.Suback{PacketID: 12, Reasons: []codec.ReasonCode{0, 2, codec.SubackFailure}, Props: reason},
		&codec.Unsubscribe{PacketID: 13, Filters: []string{"a/+/#", "b"}},
		&codec.Unsuback{PacketID: 13, Props: reason},
		&codec.Pingreq{},
		&codec.Pingresp{},
		&codec.Disconnect{},
	}
	if v != codec.V5 {
		return all
	}
	for i, p := range all {
		switch p := p.(type) {
		case *codec.Connack:
			if p.Reason != 0 {
				p.Reason = codec.NotAuthorized
			}
		case *codec.Unsuback:
			p.Reasons = []codec.ReasonCode{codec.Success, codec.NoSubscriptionExisted}
		}
		all[i] = p
	}
	return append(all,
		&codec.Subscribe{PacketID: 14, Filters: []codec.Subscription{
			{Filter: "$share/g/a/#", QoS: 1, RetainAsPublished: true}, {Filter: "b", NoLocal: true, RetainHandling: 2},
		}},
		&codec.Disconnect{Reason: codec.ProtocolError},
		&codec.Disconnect{Reason: codec.ServerMoved, Props: props(func(p *codec.Properties) { p.SetText(codec.PropServerReference, "other") })},
		&codec.Auth{Reason: codec.ContinueAuthentication, Props: props(func(p *codec.Properties) {
			p.SetText(codec.PropAuthMethod, "SCRAM")
			p.SetBytes(codec.PropAuthData, []byte("data"))
		})},
	)
}

var versions = []codec.Version{codec.V31, codec.V4, codec.V5}
