package peers

import (
	"bytes"
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqlab/mqlab/codec"
)

// Mochi is the codec of the mochi broker, for all versions.
type Mochi struct{}

// Name returns "mochi".
func (Mochi) Name() string { return "mochi" }

// Speaks reports true for every version.
func (Mochi) Speaks(codec.Version) bool { return true }

// Decode decodes as the broker does, its Validate functions included.
func (Mochi) Decode(frame []byte, v codec.Version, from codec.Side) (Meaning, error) {
	var pk packets.Packet
	if err := mochiDecode(&pk, frame, v, from, bytes.NewReader(nil)); err != nil {
		return Meaning{}, err
	}
	return mochiMeaning(&pk), nil
}

// mochiDecode cuts and decodes a frame. The reader is the caller's, so that a benchmark does
// not charge mochi for it.
func mochiDecode(pk *packets.Packet, frame []byte, v codec.Version, from codec.Side, r *bytes.Reader) error {
	if len(frame) < 2 {
		return fmt.Errorf("mochi: a frame of %d bytes", len(frame))
	}
	pk.ProtocolVersion = byte(v)
	if err := pk.FixedHeader.Decode(frame[0]); err != nil {
		return err
	}
	r.Reset(frame[1:])
	n, size, err := packets.DecodeLength(r)
	if err != nil {
		return err
	}
	pk.FixedHeader.Remaining = n
	if len(frame) < 1+size+n {
		return fmt.Errorf("mochi: a frame of %d bytes with a Remaining Length of %d", len(frame), n)
	}
	if err := mochiBody(pk, frame[1+size:1+size+n]); err != nil {
		return err
	}
	if code := mochiValidate(pk, from); code != packets.CodeSuccess {
		return code
	}
	return nil
}

func mochiBody(pk *packets.Packet, b []byte) error {
	switch pk.FixedHeader.Type {
	case packets.Connect:
		return pk.ConnectDecode(b)
	case packets.Connack:
		return pk.ConnackDecode(b)
	case packets.Publish:
		return pk.PublishDecode(b)
	case packets.Puback:
		return pk.PubackDecode(b)
	case packets.Pubrec:
		return pk.PubrecDecode(b)
	case packets.Pubrel:
		return pk.PubrelDecode(b)
	case packets.Pubcomp:
		return pk.PubcompDecode(b)
	case packets.Subscribe:
		return pk.SubscribeDecode(b)
	case packets.Suback:
		return pk.SubackDecode(b)
	case packets.Unsubscribe:
		return pk.UnsubscribeDecode(b)
	case packets.Unsuback:
		return pk.UnsubackDecode(b)
	case packets.Pingreq:
		return pk.PingreqDecode(b)
	case packets.Pingresp:
		return pk.PingrespDecode(b)
	case packets.Disconnect:
		return pk.DisconnectDecode(b)
	case packets.Auth:
		return pk.AuthDecode(b)
	}
	return packets.ErrNoValidPacketAvailable
}

// mochiValidate runs the validation that mochi has. It judges what a broker receives, hence
// only packets of clients.
func mochiValidate(pk *packets.Packet, from codec.Side) packets.Code {
	if !pk.ReasonCodeValid() {
		return packets.ErrProtocolViolationInvalidReason
	}
	if from != codec.Client {
		return packets.CodeSuccess
	}
	switch pk.FixedHeader.Type {
	case packets.Connect:
		return pk.ConnectValidate()
	case packets.Publish:
		return pk.PublishValidate(65535)
	case packets.Subscribe:
		return pk.SubscribeValidate()
	case packets.Unsubscribe:
		return pk.UnsubscribeValidate()
	case packets.Auth:
		return pk.AuthValidate()
	}
	return packets.CodeSuccess
}

func mochiMeaning(pk *packets.Packet) Meaning {
	m := Meaning{Type: codec.Type(pk.FixedHeader.Type), PacketID: pk.PacketID, Props: read(mochiFields(&pk.Properties))}
	five := pk.ProtocolVersion == 5
	switch m.Type {
	case codec.TypeConnect:
		mochiConnectMeaning(&m, pk)
	case codec.TypeConnack:
		m.SessionPresent, m.Reasons = pk.SessionPresent, codesOf([]byte{pk.ReasonCode})
	case codec.TypePublish:
		m.Topic, m.Payload = pk.TopicName, string(pk.Payload)
		m.QoS, m.Dup, m.Retain = codec.QoS(pk.FixedHeader.Qos), pk.FixedHeader.Dup, pk.FixedHeader.Retain
	case codec.TypePuback, codec.TypePubrec, codec.TypePubrel, codec.TypePubcomp, codec.TypeDisconnect, codec.TypeAuth:
		if five {
			m.Reasons = codesOf([]byte{pk.ReasonCode})
		}
	case codec.TypeSuback, codec.TypeUnsuback:
		m.Reasons = codesOf(pk.ReasonCodes)
	case codec.TypeSubscribe, codec.TypeUnsubscribe:
		for _, f := range pk.Filters {
			m.Filters = append(m.Filters, codec.Subscription{
				Filter: f.Filter, QoS: codec.QoS(f.Qos), NoLocal: f.NoLocal,
				RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling,
			})
		}
	}
	return m
}

func mochiConnectMeaning(m *Meaning, pk *packets.Packet) {
	c := &pk.Connect
	m.Version, m.ClientID, m.KeepAlive, m.CleanStart = codec.Version(pk.ProtocolVersion), c.ClientIdentifier, c.Keepalive, c.Clean
	if c.WillFlag {
		m.Will = &Will{
			Topic: c.WillTopic, Payload: string(c.WillPayload), QoS: codec.QoS(c.WillQos), Retain: c.WillRetain,
			Props: read(mochiFields(&c.WillProperties)),
		}
	}
	if c.UsernameFlag {
		s := string(c.Username)
		m.Username = &s
	}
	if c.PasswordFlag {
		s := string(c.Password)
		m.Password = &s
	}
}

// Encode encodes as the broker does.
func (Mochi) Encode(m Meaning, v codec.Version) ([]byte, error) {
	pk := mochiPacket(m, v)
	var buf bytes.Buffer
	err := mochiEncode(&pk, &buf)
	return buf.Bytes(), err
}

func mochiEncode(pk *packets.Packet, buf *bytes.Buffer) error {
	switch pk.FixedHeader.Type {
	case packets.Connect:
		return pk.ConnectEncode(buf)
	case packets.Connack:
		return pk.ConnackEncode(buf)
	case packets.Publish:
		return pk.PublishEncode(buf)
	case packets.Puback:
		return pk.PubackEncode(buf)
	case packets.Pubrec:
		return pk.PubrecEncode(buf)
	case packets.Pubrel:
		return pk.PubrelEncode(buf)
	case packets.Pubcomp:
		return pk.PubcompEncode(buf)
	case packets.Subscribe:
		return pk.SubscribeEncode(buf)
	case packets.Suback:
		return pk.SubackEncode(buf)
	case packets.Unsubscribe:
		return pk.UnsubscribeEncode(buf)
	case packets.Unsuback:
		return pk.UnsubackEncode(buf)
	case packets.Pingreq:
		return pk.PingreqEncode(buf)
	case packets.Pingresp:
		return pk.PingrespEncode(buf)
	case packets.Disconnect:
		return pk.DisconnectEncode(buf)
	case packets.Auth:
		return pk.AuthEncode(buf)
	}
	return packets.ErrNoValidPacketAvailable
}

func mochiPacket(m Meaning, v codec.Version) packets.Packet {
	pk := packets.Packet{
		ProtocolVersion: byte(v),
		FixedHeader:     packets.FixedHeader{Type: byte(m.Type), Qos: byte(m.QoS), Dup: m.Dup, Retain: m.Retain},
		PacketID:        m.PacketID, TopicName: m.Topic, Payload: []byte(m.Payload),
		SessionPresent: m.SessionPresent, ReasonCode: m.reason(), ReasonCodes: bytesOf(m.Reasons),
		// Without it mochi leaves out three properties, as it may where the client has not asked for them.
		Mods: packets.Mods{AllowResponseInfo: true},
	}
	switch m.Type {
	case codec.TypePubrel, codec.TypeSubscribe, codec.TypeUnsubscribe:
		pk.FixedHeader.Qos = 1 // the fixed flags of these types
	}
	for _, f := range m.Filters {
		pk.Filters = append(pk.Filters, packets.Subscription{
			Filter: f.Filter, Qos: byte(f.QoS), NoLocal: f.NoLocal,
			RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling,
		})
	}
	write(mochiFields(&pk.Properties), m.Props)
	if m.Type != codec.TypeConnect {
		return pk
	}
	c := &pk.Connect
	c.ProtocolName = []byte("MQTT")
	if v == codec.V31 {
		c.ProtocolName = []byte("MQIsdp")
	}
	c.ClientIdentifier, c.Keepalive, c.Clean = m.ClientID, m.KeepAlive, m.CleanStart
	if w := m.Will; w != nil {
		c.WillFlag, c.WillTopic, c.WillPayload = true, w.Topic, []byte(w.Payload)
		c.WillQos, c.WillRetain = byte(w.QoS), w.Retain
		write(mochiFields(&c.WillProperties), w.Props)
	}
	if m.Username != nil {
		c.UsernameFlag, c.Username = true, []byte(*m.Username)
	}
	if m.Password != nil {
		c.PasswordFlag, c.Password = true, []byte(*m.Password)
	}
	return pk
}

func mochiFields(p *packets.Properties) []field {
	return []field{
		flagged(codec.PropPayloadFormat, &p.PayloadFormat, &p.PayloadFormatFlag),
		plain(codec.PropMessageExpiry, &p.MessageExpiryInterval),
		text(codec.PropContentType, &p.ContentType),
		text(codec.PropResponseTopic, &p.ResponseTopic),
		data(codec.PropCorrelationData, &p.CorrelationData),
		list(codec.PropSubscriptionID, &p.SubscriptionIdentifier),
		flagged(codec.PropSessionExpiry, &p.SessionExpiryInterval, &p.SessionExpiryIntervalFlag),
		text(codec.PropAssignedClientID, &p.AssignedClientID),
		flagged(codec.PropServerKeepAlive, &p.ServerKeepAlive, &p.ServerKeepAliveFlag),
		text(codec.PropAuthMethod, &p.AuthenticationMethod),
		data(codec.PropAuthData, &p.AuthenticationData),
		flagged(codec.PropRequestProblemInfo, &p.RequestProblemInfo, &p.RequestProblemInfoFlag),
		plain(codec.PropWillDelay, &p.WillDelayInterval),
		plain(codec.PropRequestResponseInfo, &p.RequestResponseInfo),
		text(codec.PropResponseInfo, &p.ResponseInfo),
		text(codec.PropServerReference, &p.ServerReference),
		text(codec.PropReasonString, &p.ReasonString),
		plain(codec.PropReceiveMaximum, &p.ReceiveMaximum),
		plain(codec.PropTopicAliasMaximum, &p.TopicAliasMaximum),
		flagged(codec.PropTopicAlias, &p.TopicAlias, &p.TopicAliasFlag),
		flagged(codec.PropMaximumQoS, &p.MaximumQos, &p.MaximumQosFlag),
		flagged(codec.PropRetainAvailable, &p.RetainAvailable, &p.RetainAvailableFlag),
		pairs(&p.User,
			func(u packets.UserProperty) (string, string) { return u.Key, u.Val },
			func(k, v string) packets.UserProperty { return packets.UserProperty{Key: k, Val: v} }),
		plain(codec.PropMaximumPacketSize, &p.MaximumPacketSize),
		flagged(codec.PropWildcardAvailable, &p.WildcardSubAvailable, &p.WildcardSubAvailableFlag),
		flagged(codec.PropSubscriptionIDsAvail, &p.SubIDAvailable, &p.SubIDAvailableFlag),
		flagged(codec.PropSharedSubscriptionsAvl, &p.SharedSubAvailable, &p.SharedSubAvailableFlag),
	}
}
