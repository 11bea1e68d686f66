package codec

import "strings"

// The options byte of a Topic Filter in SUBSCRIBE (5.0, 3.8.3.1). Before 5.0 only the QoS exists.
const (
	optionQoS               = 3
	optionNoLocal           = 1 << 2
	optionRetainAsPublished = 1 << 3
	optionRetainHandling    = 3 << 4
	optionsReserved5        = 3 << 6
	optionsReserved4        = 0xFC
)

func (p *Subscribe) decode(c *cursor) {
	p.Filters, p.Props = p.Filters[:0], Properties{}
	p.PacketID = c.id(faultPacketIDZero)
	if c.v == V5 {
		c.properties(&p.Props, TypeSubscribe, faultPropertyLengthMissing)
	}
	if c.atEnd() && !c.short {
		c.fault(faultNoFilters, c.i) // [MQTT-3.8.3-3], in 5.0 [MQTT-3.8.3-2]
	}
	for !c.atEnd() {
		at := c.i
		s := Subscription{Filter: c.text(faultTruncated, faultTruncated)}
		c.filter(s.Filter, at, faultSubscribeUTF8)
		at = c.i
		o := c.u8(faultOptionsMissing)
		s.QoS = QoS(o & optionQoS)
		if c.v == V5 {
			s.NoLocal = o&optionNoLocal != 0
			s.RetainAsPublished = o&optionRetainAsPublished != 0
			s.RetainHandling = o & optionRetainHandling >> 4
		}
		if o > 2 {
			c.options(o, s.Filter, at)
		}
		if !c.dry {
			p.Filters = append(p.Filters, s)
		}
	}
}

// options judges the options byte at the offset.
func (c *cursor) options(o byte, filter string, at int) {
	if o&optionQoS == 3 {
		c.fault(faultSubscribeQoS3, at)
	}
	if c.v != V5 {
		if o&optionsReserved4 != 0 {
			c.fault(faultSubscribeReserved, at) // [MQTT-3.8.3-4]
		}
		return
	}
	if o&optionsReserved5 != 0 {
		c.fault(faultSubscribeReserved, at) // [MQTT-3.8.3-5]
	}
	if o&optionRetainHandling == optionRetainHandling {
		c.fault(faultRetainHandling3, at)
	}
	if o&optionNoLocal != 0 && strings.HasPrefix(filter, sharePrefix) {
		c.fault(faultNoLocalShared, at) // [MQTT-3.8.3-4]
	}
}

func (p *Suback) decode(c *cursor) {
	p.Props = Properties{}
	p.PacketID = c.id(faultPacketIDZeroReply)
	if c.v == V5 {
		c.properties(&p.Props, TypeSuback, faultPropertyLengthMissing)
	}
	at := c.i
	p.Reasons = c.codes()
	for i, r := range p.Reasons {
		if r <= GrantedQoS2 || r == SubackFailure || c.v == V5 && r.AllowedIn(TypeSuback, Server) {
			continue
		}
		c.fault(faultSubackCode, at+i) // [MQTT-3.9.3-2]
	}
	if len(p.Reasons) == 0 && !c.short {
		c.fault(faultSubackEmpty, at)
	}
}

func (p *Unsubscribe) decode(c *cursor) {
	p.Filters, p.Props = p.Filters[:0], Properties{}
	p.PacketID = c.id(faultPacketIDZero)
	if c.v == V5 {
		c.properties(&p.Props, TypeUnsubscribe, faultPropertyLengthMissing)
	}
	if c.atEnd() && !c.short {
		c.fault(faultNoUnsubscribeFilters, c.i) // [MQTT-3.10.3-2]
	}
	for !c.atEnd() {
		at := c.i
		s := c.text(faultTruncated, faultTruncated)
		c.filter(s, at, faultUnsubscribeUTF8)
		if !c.dry {
			p.Filters = append(p.Filters, s)
		}
	}
}

func (p *Unsuback) decode(c *cursor) {
	p.Reasons, p.Props = nil, Properties{}
	p.PacketID = c.id(faultPacketIDZeroReply)
	if c.v != V5 {
		c.end(faultSurplus)
		return
	}
	c.properties(&p.Props, TypeUnsuback, faultPropertyLengthMissing)
	at := c.i
	p.Reasons = c.codes()
	for i, r := range p.Reasons {
		if !r.AllowedIn(TypeUnsuback, Server) {
			c.fault(faultUnsubackCode, at+i) // [MQTT-3.11.3-2]
		}
	}
	if len(p.Reasons) == 0 && !c.short {
		c.fault(faultUnsubackEmpty, at)
	}
}
