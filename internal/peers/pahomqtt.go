package peers

import (
	"bytes"
	"fmt"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/mqlab/mqlab/codec"
)

// PahoMQTT is the codec of paho.mqtt.golang, for 3.1 and 3.1.1.
type PahoMQTT struct{}

// Name returns "paho.mqtt".
func (PahoMQTT) Name() string { return "paho.mqtt" }

// Speaks reports true for versions before 5.0.
func (PahoMQTT) Speaks(v codec.Version) bool { return v != codec.V5 }

// Decode decodes as the client does and validates a CONNECT, the one packet that it can validate.
func (PahoMQTT) Decode(frame []byte, _ codec.Version, _ codec.Side) (Meaning, error) {
	r := bytes.NewReader(frame)
	cp, err := pahoMQTTPacketFrom(r)
	if err != nil {
		return Meaning{}, err
	}
	if r.Len() > 0 {
		return Meaning{}, errSurplus
	}
	return pahoMQTTMeaning(cp), nil
}

func pahoMQTTPacketFrom(r *bytes.Reader) (packets.ControlPacket, error) {
	cp, err := packets.ReadPacket(r)
	if err != nil {
		return nil, err
	}
	if c, ok := cp.(*packets.ConnectPacket); ok {
		if code := c.Validate(); code != packets.Accepted {
			return nil, fmt.Errorf("paho.mqtt: CONNECT refused with code %d", code)
		}
	}
	return cp, nil
}

func pahoMQTTRead(r *bytes.Reader) error {
	_, err := pahoMQTTPacketFrom(r)
	return err
}

func pahoMQTTMeaning(cp packets.ControlPacket) Meaning {
	m := Meaning{PacketID: cp.Details().MessageID}
	switch p := cp.(type) {
	case *packets.ConnectPacket:
		m.Type = codec.Type(p.MessageType)
		m.Version, m.ClientID, m.KeepAlive, m.CleanStart = codec.Version(p.ProtocolVersion), p.ClientIdentifier, p.Keepalive, p.CleanSession
		if p.WillFlag {
			m.Will = &Will{Topic: p.WillTopic, Payload: string(p.WillMessage), QoS: codec.QoS(p.WillQos), Retain: p.WillRetain}
		}
		if p.UsernameFlag {
			m.Username = &p.Username
		}
		if p.PasswordFlag {
			s := string(p.Password)
			m.Password = &s
		}
	case *packets.ConnackPacket:
		m.Type = codec.Type(p.MessageType)
		m.SessionPresent, m.Reasons = p.SessionPresent, codesOf([]byte{p.ReturnCode})
	case *packets.PublishPacket:
		m.Type = codec.Type(p.MessageType)
		m.Topic, m.Payload, m.QoS, m.Dup, m.Retain = p.TopicName, string(p.Payload), codec.QoS(p.Qos), p.Dup, p.Retain
	case *packets.PubackPacket:
		m.Type = codec.Type(p.MessageType)
	case *packets.PubrecPacket:
		m.Type = codec.Type(p.MessageType)
	case *packets.PubrelPacket:
		m.Type = codec.Type(p.MessageType)
	case *packets.PubcompPacket:
		m.Type = codec.Type(p.MessageType)
	case *packets.SubscribePacket:
		m.Type = codec.Type(p.MessageType)
		for i, t := range p.Topics {
			m.Filters = append(m.Filters, codec.Subscription{Filter: t, QoS: codec.QoS(p.Qoss[i])})
		}
	case *packets.SubackPacket:
		m.Type, m.Reasons = codec.Type(p.MessageType), codesOf(p.ReturnCodes)
	case *packets.UnsubscribePacket:
		m.Type = codec.Type(p.MessageType)
		m.filters(p.Topics)
	case *packets.UnsubackPacket:
		m.Type = codec.Type(p.MessageType)
	case *packets.PingreqPacket:
		m.Type = codec.Type(p.MessageType)
	case *packets.PingrespPacket:
		m.Type = codec.Type(p.MessageType)
	case *packets.DisconnectPacket:
		m.Type = codec.Type(p.MessageType)
	}
	return m
}

// Encode encodes as the client does.
func (PahoMQTT) Encode(m Meaning, v codec.Version) ([]byte, error) {
	p := pahoMQTTPacket(m, v)
	if p == nil {
		return nil, fmt.Errorf("paho.mqtt: no packet type %s", m.Type)
	}
	var buf bytes.Buffer
	err := p.Write(&buf)
	return buf.Bytes(), err
}

func pahoMQTTPacket(m Meaning, v codec.Version) packets.ControlPacket {
	cp := packets.NewControlPacket(byte(m.Type))
	switch p := cp.(type) {
	case *packets.ConnectPacket:
		p.ProtocolName, p.ProtocolVersion = "MQTT", byte(v)
		if v == codec.V31 {
			p.ProtocolName = "MQIsdp"
		}
		p.ClientIdentifier, p.Keepalive, p.CleanSession = m.ClientID, m.KeepAlive, m.CleanStart
		if w := m.Will; w != nil {
			p.WillFlag, p.WillTopic, p.WillMessage, p.WillQos, p.WillRetain = true, w.Topic, []byte(w.Payload), byte(w.QoS), w.Retain
		}
		if m.Username != nil {
			p.UsernameFlag, p.Username = true, *m.Username
		}
		if m.Password != nil {
			p.PasswordFlag, p.Password = true, []byte(*m.Password)
		}
	case *packets.ConnackPacket:
		p.SessionPresent, p.ReturnCode = m.SessionPresent, m.reason()
	case *packets.PublishPacket:
		p.TopicName, p.Payload, p.MessageID = m.Topic, []byte(m.Payload), m.PacketID
		p.Qos, p.Dup, p.Retain = byte(m.QoS), m.Dup, m.Retain
	case *packets.PubackPacket:
		p.MessageID = m.PacketID
	case *packets.PubrecPacket:
		p.MessageID = m.PacketID
	case *packets.PubrelPacket:
		p.MessageID = m.PacketID
	case *packets.PubcompPacket:
		p.MessageID = m.PacketID
	case *packets.SubscribePacket:
		p.MessageID = m.PacketID
		for _, f := range m.Filters {
			p.Topics, p.Qoss = append(p.Topics, f.Filter), append(p.Qoss, byte(f.QoS))
		}
	case *packets.SubackPacket:
		p.MessageID, p.ReturnCodes = m.PacketID, bytesOf(m.Reasons)
	case *packets.UnsubscribePacket:
		p.MessageID = m.PacketID
		for _, f := range m.Filters {
			p.Topics = append(p.Topics, f.Filter)
		}
	case *packets.UnsubackPacket:
		p.MessageID = m.PacketID
	}
	return cp
}
