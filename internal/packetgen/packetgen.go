// Package packetgen makes MQTT packets for tests: [Packet] draws legal ones at random, and
// [Vectors] loads the wire vectors of package codec. It imports the testing libraries and is
// for tests alone.
package packetgen

import (
	"strings"

	"pgregory.net/rapid"

	"github.com/mqlab/mqlab/codec"
)

// Packet draws a legal packet of any type that the version has and the side may send.
func Packet(t *rapid.T, v codec.Version, from codec.Side) codec.Packet {
	types := []codec.Type{
		codec.TypePublish, codec.TypePuback, codec.TypePubrec, codec.TypePubrel, codec.TypePubcomp,
	}
	if from != codec.Server {
		types = append(types, codec.TypeConnect, codec.TypeSubscribe, codec.TypeUnsubscribe, codec.TypePingreq)
	}
	if from != codec.Client {
		types = append(types, codec.TypeConnack, codec.TypeSuback, codec.TypeUnsuback, codec.TypePingresp)
	}
	if from != codec.Server || v == codec.V5 {
		types = append(types, codec.TypeDisconnect)
	}
	if v == codec.V5 {
		types = append(types, codec.TypeAuth)
	}
	return OfType(t, rapid.SampledFrom(types).Draw(t, "type"), v, from)
}

// OfType draws a legal packet of the type.
func OfType(t *rapid.T, typ codec.Type, v codec.Version, from codec.Side) codec.Packet {
	g := gen{t: t, v: v, from: from}
	switch typ {
	case codec.TypeConnect:
		return g.connect()
	case codec.TypeConnack:
		p := &codec.Connack{Reason: g.reason(typ)}
		p.SessionPresent = v != codec.V31 && p.Reason == codec.Success && g.bool()
		p.Props = g.props(typ)
		return p
	case codec.TypePublish:
		return g.publish()
	case codec.TypePuback:
		return &codec.Puback{PacketID: g.id(), Reason: g.reason(typ), Props: g.props(typ)}
	case codec.TypePubrec:
		return &codec.Pubrec{PacketID: g.id(), Reason: g.reason(typ), Props: g.props(typ)}
	case codec.TypePubrel:
		return &codec.Pubrel{PacketID: g.id(), Reason: g.reason(typ), Props: g.props(typ)}
	case codec.TypePubcomp:
		return &codec.Pubcomp{PacketID: g.id(), Reason: g.reason(typ), Props: g.props(typ)}
	case codec.TypeSubscribe:
		return g.subscribe()
	case codec.TypeSuback:
		return &codec.Suback{PacketID: g.id(), Reasons: g.reasons(typ), Props: g.props(typ)}
	case codec.TypeUnsubscribe:
		return &codec.Unsubscribe{PacketID: g.id(), Filters: rapid.SliceOfN(rapid.Custom(g.drawFilter), 1, 4).Draw(t, "filters"), Props: g.props(typ)}
	case codec.TypeUnsuback:
		p := &codec.Unsuback{PacketID: g.id(), Props: g.props(typ)}
		if v == codec.V5 {
			p.Reasons = g.reasons(typ)
		}
		return p
	case codec.TypePingreq:
		return &codec.Pingreq{}
	case codec.TypePingresp:
		return &codec.Pingresp{}
	case codec.TypeDisconnect:
		return &codec.Disconnect{Reason: g.reason(typ), Props: g.props(typ)}
	case codec.TypeAuth:
		return &codec.Auth{Reason: g.reason(typ), Props: g.props(typ)}
	}
	panic("packetgen: no such packet type")
}

// gen draws the parts of packets for one version and sender.
type gen struct {
	t    *rapid.T
	v    codec.Version
	from codec.Side
}

func (g gen) bool() bool { return rapid.Bool().Draw(g.t, "bool") }

func (g gen) id() uint16 { return rapid.Uint16Min(1).Draw(g.t, "id") }

func (g gen) qos() codec.QoS { return codec.QoS(rapid.IntRange(0, 2).Draw(g.t, "qos")) }

func (g gen) bytes(name string) []byte {
	return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(g.t, name)
}

// letters favours what topics are made of, with some characters of two to four bytes.
var (
	letters      = []rune("abcABC019 $_-é世\U0001F680\uFEFF")
	topicLetters = []rune("abcABC019 $_-é世\U0001F680\uFEFF//")
	textLetters  = []rune("abcABC019 $_-é世\U0001F680\uFEFF/+#\x01")
)

func (g gen) text(name string) string {
	return rapid.StringOfN(rapid.SampledFrom(textLetters), 0, 24, -1).Draw(g.t, name)
}

// topic draws a Topic Name of at least one character.
func (g gen) topic() string {
	return rapid.StringOfN(rapid.SampledFrom(topicLetters), 1, 24, -1).Draw(g.t, "topic")
}

// drawFilter draws a Topic Filter, at times one of a Shared Subscription.
func (g gen) drawFilter(t *rapid.T) string {
	level := rapid.OneOf(
		rapid.Just("+"), rapid.StringOfN(rapid.SampledFrom(letters), 0, 6, -1),
	)
	levels := rapid.SliceOfN(level, 1, 5).Draw(t, "levels")
	s := levels[0]
	for _, l := range levels[1:] {
		s += "/" + l
	}
	switch rapid.IntRange(0, 5).Draw(t, "shape") {
	case 0:
		s += "/#"
	case 1:
		s = "#"
	}
	// "$share/" would turn what follows into a ShareName.
	if s == "" || strings.HasPrefix(s, "$share/") {
		s = "a"
	}
	if g.v == codec.V5 && rapid.IntRange(0, 4).Draw(t, "shared") == 0 {
		s = "$share/group/" + s
	}
	return s
}

func (g gen) connect() codec.Packet {
	p := &codec.Connect{
		Version: g.v, ClientID: rapid.StringOfN(rapid.SampledFrom(letters), 1, 23, -1).Draw(g.t, "client id"),
		KeepAlive: rapid.Uint16().Draw(g.t, "keep alive"), CleanStart: g.bool(), Props: g.props(codec.TypeConnect),
	}
	if g.v == codec.V5 || g.v == codec.V4 && p.CleanStart {
		if g.bool() {
			p.ClientID = ""
		}
	}
	if p.HasWill = g.bool(); p.HasWill {
		p.Will = codec.Will{Topic: g.topic(), Payload: g.bytes("will payload"), QoS: g.qos(), Retain: g.bool(), Props: g.props(0)}
	}
	if p.HasUsername = g.bool(); p.HasUsername {
		p.Username = g.text("user name")
	}
	if p.HasPassword = g.bool() && (p.HasUsername || g.v == codec.V5); p.HasPassword {
		p.Password = g.bytes("password")
	}
	return p
}

func (g gen) publish() codec.Packet {
	p := &codec.Publish{Topic: g.topic(), Payload: g.bytes("payload"), QoS: g.qos(), Retain: g.bool(), Props: g.props(codec.TypePublish)}
	if p.QoS > 0 {
		p.PacketID, p.Dup = g.id(), g.bool()
	}
	if p.Props.Has(codec.PropTopicAlias) && g.bool() {
		p.Topic = ""
	}
	return p
}

func (g gen) subscribe() codec.Packet {
	p := &codec.Subscribe{PacketID: g.id(), Props: g.props(codec.TypeSubscribe)}
	p.Filters = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) codec.Subscription {
		s := codec.Subscription{Filter: g.drawFilter(t), QoS: codec.QoS(rapid.IntRange(0, 2).Draw(t, "qos"))}
		if g.v == codec.V5 {
			s.NoLocal = rapid.Bool().Draw(t, "no local") && !strings.HasPrefix(s.Filter, "$share/")
			s.RetainAsPublished = rapid.Bool().Draw(t, "retain as published")
			s.RetainHandling = uint8(rapid.IntRange(0, 2).Draw(t, "retain handling"))
		}
		return s
	}), 1, 4).Draw(g.t, "filters")
	return p
}

// codes returns the Reason Codes that the version and the side may put into the packet type.
func (g gen) codes(typ codec.Type) []codec.ReasonCode {
	if g.v != codec.V5 {
		switch typ {
		case codec.TypeConnack:
			return []codec.ReasonCode{0, 1, 2, 3, 4, 5}
		case codec.TypeSuback:
			return []codec.ReasonCode{0, 1, 2, codec.SubackFailure}
		}
		return []codec.ReasonCode{0}
	}
	var codes []codec.ReasonCode
	for c := range 256 {
		if codec.ReasonCode(c).AllowedIn(typ, g.from) {
			codes = append(codes, codec.ReasonCode(c))
		}
	}
	return codes
}

func (g gen) reason(typ codec.Type) codec.ReasonCode {
	return rapid.SampledFrom(g.codes(typ)).Draw(g.t, "reason")
}

func (g gen) reasons(typ codec.Type) []codec.ReasonCode {
	return rapid.SliceOfN(rapid.SampledFrom(g.codes(typ)), 1, 5).Draw(g.t, "reasons")
}

// props draws properties that the packet type allows; type 0 stands for the Will Properties.
func (g gen) props(typ codec.Type) codec.Properties {
	var p codec.Properties
	if g.v != codec.V5 {
		return p
	}
	for id := codec.PropID(1); id <= codec.PropSharedSubscriptionsAvl; id++ {
		in := id.Info()
		allowed := typ == 0 && in.Will || typ != 0 && in.Packets>>typ&1 == 1
		switch {
		case in.Kind == codec.KindNone || !allowed,
			id == codec.PropSubscriptionID && typ == codec.TypePublish && g.from == codec.Client,
			id == codec.PropSessionExpiry && typ == codec.TypeDisconnect && g.from == codec.Server:
			continue
		}
		must := typ == codec.TypeAuth && id == codec.PropAuthMethod
		if must || rapid.IntRange(0, 3).Draw(g.t, "has property") == 0 {
			g.prop(&p, id, in)
		}
	}
	if typ == codec.TypeConnect && p.Has(codec.PropAuthData) && !p.Has(codec.PropAuthMethod) {
		p.SetText(codec.PropAuthMethod, "PLAIN")
	}
	return p
}

func (g gen) prop(p *codec.Properties, id codec.PropID, in *codec.PropInfo) {
	switch in.Kind {
	case codec.KindString:
		if id == codec.PropResponseTopic {
			p.SetText(id, g.topic())
			return
		}
		p.SetText(id, g.text(in.Name))
	case codec.KindBinary:
		p.SetBytes(id, g.bytes(in.Name))
	case codec.KindPair:
		for range rapid.IntRange(1, 3).Draw(g.t, "user properties") {
			p.AddUser(g.text("name"), g.text("value"))
		}
	default:
		p.SetUint(id, rapid.Uint32Range(in.Min, in.Max).Draw(g.t, in.Name))
	}
}
