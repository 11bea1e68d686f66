package codec

import "unicode/utf8"

// The flags of a PUBLISH header (3.3.1).
const (
	flagRetain = 1 << 0
	flagQoS    = 3 << 1
	flagDup    = 1 << 3
)

func (p *Publish) decode(c *cursor, flags uint8) {
	p.QoS = QoS(flags >> 1 & 3)
	p.Dup = flags&flagDup != 0
	p.Retain = flags&flagRetain != 0
	p.PacketID = 0
	p.Props = Properties{}
	switch {
	case flags&flagQoS == flagQoS:
		c.fault(faultQoS3, 0) // [MQTT-3.3.1-4]
	case flags&(flagDup|flagQoS) == flagDup:
		c.fault(faultDupQoS0, 0) // [MQTT-3.3.1-2]
	}

	topicAt := c.i
	p.Topic = c.text(faultTruncated, faultTruncated)
	if seen := scanName(p.Topic); seen != 0 {
		c.badText(p.Topic, seen, topicAt, faultTopicUTF8)
		if seen&seenWildcard != 0 {
			c.fault(faultTopicWildcard, topicAt) // [MQTT-3.3.2-2]
		}
	}
	if p.Topic == "" && c.v != V5 && !c.short {
		c.fault(faultTopicEmpty, topicAt) // [MQTT-4.7.3-1]
	}
	if p.QoS > 0 {
		zero := faultPacketIDZero
		if c.from == Server {
			zero = faultPacketIDZeroServer
		}
		p.PacketID = c.id(zero)
	}
	if c.v == V5 {
		c.properties(&p.Props, TypePublish, faultPropertyLengthMissing)
		if c.from == Client && p.Props.Has(PropSubscriptionID) {
			c.property(faultSubscriptionIDFromClient, PropSubscriptionID, &p.Props, TypePublish) // [MQTT-3.3.4-6]
		}
		if p.Topic == "" && !p.Props.Has(PropTopicAlias) && !c.short {
			c.fault(faultTopicEmpty, topicAt)
		}
	}
	payloadAt := c.i
	p.Payload = c.rest()
	if c.payload && p.Props.Has(PropPayloadFormat) && p.Props.Uint(PropPayloadFormat, 0) == 1 && !utf8.Valid(p.Payload) {
		c.fault(faultPayloadUTF8, payloadAt)
	}
}
