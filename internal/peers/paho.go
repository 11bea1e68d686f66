package peers

import (
	"bytes"
	"errors"

	"github.com/eclipse/paho.golang/packets"

	"github.com/mqlab/mqlab/codec"
)

// Paho is the codec of paho.golang, for 5.0 alone. It has no validation.
type Paho struct{}

// Name returns "paho".
func (Paho) Name() string { return "paho" }

// Speaks reports true for 5.0.
func (Paho) Speaks(v codec.Version) bool { return v == codec.V5 }

var errSurplus = errors.New("the peer has left bytes of the frame unread")

func pahoRead(r *bytes.Reader) error {
	_, err := packets.ReadPacket(r)
	return err
}

// Decode decodes as the client does.
func (Paho) Decode(frame []byte, _ codec.Version, _ codec.Side) (Meaning, error) {
	r := bytes.NewReader(frame)
	cp, err := packets.ReadPacket(r)
	if err != nil {
		return Meaning{}, err
	}
	if r.Len() > 0 {
		return Meaning{}, errSurplus
	}
	return pahoMeaning(cp), nil
}

func pahoMeaning(cp *packets.ControlPacket) Meaning {
	m := Meaning{Type: codec.Type(cp.Type), PacketID: cp.PacketID()}
	reason := func(code byte, p *packets.Properties) {
		m.Reasons, m.Props = codesOf([]byte{code}), read(pahoFields(p))
	}
	switch p := cp.Content.(type) {
	case *packets.Connect:
		pahoConnectMeaning(&m, p)
	case *packets.Connack:
		m.SessionPresent = p.SessionPresent
		reason(p.ReasonCode, p.Properties)
	case *packets.Publish:
		m.Topic, m.Payload, m.Props = p.Topic, string(p.Payload), read(pahoFields(p.Properties))
		m.QoS, m.Dup, m.Retain = codec.QoS(p.QoS), p.Duplicate, p.Retain
	case *packets.Puback:
		reason(p.ReasonCode, p.Properties)
	case *packets.Pubrec:
		reason(p.ReasonCode, p.Properties)
	case *packets.Pubrel:
		reason(p.ReasonCode, p.Properties)
	case *packets.Pubcomp:
		reason(p.ReasonCode, p.Properties)
	case *packets.Subscribe:
		m.Props = read(pahoFields(p.Properties))
		for _, s := range p.Subscriptions {
			m.Filters = append(m.Filters, codec.Subscription{
				Filter: s.Topic, QoS: codec.QoS(s.QoS), NoLocal: s.NoLocal,
				RetainAsPublished: s.RetainAsPublished, RetainHandling: s.RetainHandling,
			})
		}
	case *packets.Suback:
		m.Reasons, m.Props = codesOf(p.Reasons), read(pahoFields(p.Properties))
	case *packets.Unsubscribe:
		m.Props = read(pahoFields(p.Properties))
		m.filters(p.Topics)
	case *packets.Unsuback:
		m.Reasons, m.Props = codesOf(p.Reasons), read(pahoFields(p.Properties))
	case *packets.Disconnect:
		reason(p.ReasonCode, p.Properties)
	case *packets.Auth:
		reason(p.ReasonCode, p.Properties)
	}
	return m
}

func pahoConnectMeaning(m *Meaning, p *packets.Connect) {
	m.Version, m.ClientID, m.KeepAlive, m.CleanStart = codec.Version(p.ProtocolVersion), p.ClientID, p.KeepAlive, p.CleanStart
	m.Props = read(pahoFields(p.Properties))
	if p.WillFlag {
		m.Will = &Will{
			Topic: p.WillTopic, Payload: string(p.WillMessage), QoS: codec.QoS(p.WillQOS), Retain: p.WillRetain,
			Props: read(pahoFields(p.WillProperties)),
		}
	}
	if p.UsernameFlag {
		m.Username = &p.Username
	}
	if p.PasswordFlag {
		s := string(p.Password)
		m.Password = &s
	}
}

// Encode encodes as the client does.
func (Paho) Encode(m Meaning, _ codec.Version) ([]byte, error) {
	var buf bytes.Buffer
	_, err := pahoPacket(m).WriteTo(&buf)
	return buf.Bytes(), err
}

func pahoPacket(m Meaning) *packets.ControlPacket {
	cp := &packets.ControlPacket{FixedHeader: packets.FixedHeader{Type: byte(m.Type)}}
	props := &packets.Properties{}
	write(pahoFields(props), m.Props)
	switch m.Type {
	case codec.TypeConnect:
		cp.Content = pahoConnect(m, props)
	case codec.TypeConnack:
		cp.Content = &packets.Connack{SessionPresent: m.SessionPresent, ReasonCode: m.reason(), Properties: props}
	case codec.TypePublish:
		cp.Content = &packets.Publish{
			Topic: m.Topic, Payload: []byte(m.Payload), PacketID: m.PacketID, QoS: byte(m.QoS),
			Duplicate: m.Dup, Retain: m.Retain, Properties: props,
		}
	case codec.TypePuback:
		cp.Content = &packets.Puback{PacketID: m.PacketID, ReasonCode: m.reason(), Properties: props}
	case codec.TypePubrec:
		cp.Content = &packets.Pubrec{PacketID: m.PacketID, ReasonCode: m.reason(), Properties: props}
	case codec.TypePubrel:
		cp.Flags = 2
		cp.Content = &packets.Pubrel{PacketID: m.PacketID, ReasonCode: m.reason(), Properties: props}
	case codec.TypePubcomp:
		cp.Content = &packets.Pubcomp{PacketID: m.PacketID, ReasonCode: m.reason(), Properties: props}
	case codec.TypeSubscribe:
		cp.Flags = 2
		s := &packets.Subscribe{PacketID: m.PacketID, Properties: props}
		for _, f := range m.Filters {
			s.Subscriptions = append(s.Subscriptions, packets.SubOptions{
				Topic: f.Filter, QoS: byte(f.QoS), NoLocal: f.NoLocal,
				RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling,
			})
		}
		cp.Content = s
	case codec.TypeSuback:
		cp.Content = &packets.Suback{PacketID: m.PacketID, Reasons: bytesOf(m.Reasons), Properties: props}
	case codec.TypeUnsubscribe:
		cp.Flags = 2
		u := &packets.Unsubscribe{PacketID: m.PacketID, Properties: props}
		for _, f := range m.Filters {
			u.Topics = append(u.Topics, f.Filter)
		}
		cp.Content = u
	case codec.TypeUnsuback:
		cp.Content = &packets.Unsuback{PacketID: m.PacketID, Reasons: bytesOf(m.Reasons), Properties: props}
	case codec.TypePingreq:
		cp.Content = &packets.Pingreq{}
	case codec.TypePingresp:
		cp.Content = &packets.Pingresp{}
	case codec.TypeDisconnect:
		cp.Content = &packets.Disconnect{ReasonCode: m.reason(), Properties: props}
	case codec.TypeAuth:
		cp.Content = &packets.Auth{ReasonCode: m.reason(), Properties: props}
	}
	return cp
}

func pahoConnect(m Meaning, props *packets.Properties) *packets.Connect {
	c := &packets.Connect{
		ProtocolName: "MQTT", ProtocolVersion: 5, Properties: props, WillProperties: &packets.Properties{},
		ClientID: m.ClientID, KeepAlive: m.KeepAlive, CleanStart: m.CleanStart,
	}
	if w := m.Will; w != nil {
		c.WillFlag, c.WillTopic, c.WillMessage, c.WillQOS, c.WillRetain = true, w.Topic, []byte(w.Payload), byte(w.QoS), w.Retain
		write(pahoFields(c.WillProperties), w.Props)
	}
	if m.Username != nil {
		c.UsernameFlag, c.Username = true, *m.Username
	}
	if m.Password != nil {
		c.PasswordFlag, c.Password = true, []byte(*m.Password)
	}
	return c
}

func pahoFields(p *packets.Properties) []field {
	return []field{
		option(codec.PropPayloadFormat, &p.PayloadFormat),
		option(codec.PropMessageExpiry, &p.MessageExpiry),
		text(codec.PropContentType, &p.ContentType),
		text(codec.PropResponseTopic, &p.ResponseTopic),
		data(codec.PropCorrelationData, &p.CorrelationData),
		option(codec.PropSubscriptionID, &p.SubscriptionIdentifier),
		option(codec.PropSessionExpiry, &p.SessionExpiryInterval),
		text(codec.PropAssignedClientID, &p.AssignedClientID),
		option(codec.PropServerKeepAlive, &p.ServerKeepAlive),
		text(codec.PropAuthMethod, &p.AuthMethod),
		data(codec.PropAuthData, &p.AuthData),
		option(codec.PropRequestProblemInfo, &p.RequestProblemInfo),
		option(codec.PropWillDelay, &p.WillDelayInterval),
		option(codec.PropRequestResponseInfo, &p.RequestResponseInfo),
		text(codec.PropResponseInfo, &p.ResponseInfo),
		text(codec.PropServerReference, &p.ServerReference),
		text(codec.PropReasonString, &p.ReasonString),
		option(codec.PropReceiveMaximum, &p.ReceiveMaximum),
		option(codec.PropTopicAliasMaximum, &p.TopicAliasMaximum),
		option(codec.PropTopicAlias, &p.TopicAlias),
		option(codec.PropMaximumQoS, &p.MaximumQOS),
		option(codec.PropRetainAvailable, &p.RetainAvailable),
		pairs(&p.User,
			func(u packets.User) (string, string) { return u.Key, u.Value },
			func(k, v string) packets.User { return packets.User{Key: k, Value: v} }),
		option(codec.PropMaximumPacketSize, &p.MaximumPacketSize),
		option(codec.PropWildcardAvailable, &p.WildcardSubAvailable),
		option(codec.PropSubscriptionIDsAvail, &p.SubIDAvailable),
		option(codec.PropSharedSubscriptionsAvl, &p.SharedSubAvailable),
	}
}
