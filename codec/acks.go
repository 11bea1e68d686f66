package codec

// ack decodes the body that PUBACK, PUBREC, PUBREL and PUBCOMP share. From 5.0 on the Reason
// Code and the properties may be left out (3.4.2.1).
func (c *cursor) ack(id *uint16, reason *ReasonCode, props *Properties, badCode fault) {
	*reason, *props = Success, Properties{}
	*id = c.id(faultPacketIDZeroAck)
	if c.v == V5 && !c.atEnd() {
		at := c.i
		*reason = ReasonCode(c.u8(faultTruncated))
		if !reason.AllowedIn(c.t, c.from) {
			c.fault(badCode, at)
		}
		if !c.atEnd() {
			c.properties(props, c.t, faultPropertyLengthMissing)
		}
	}
	c.end(faultSurplusAck)
}

func (p *Puback) decode(c *cursor)  { c.ack(&p.PacketID, &p.Reason, &p.Props, faultPubackCode) }
func (p *Pubrec) decode(c *cursor)  { c.ack(&p.PacketID, &p.Reason, &p.Props, faultPubrecCode) }
func (p *Pubrel) decode(c *cursor)  { c.ack(&p.PacketID, &p.Reason, &p.Props, faultPubrelCode) }
func (p *Pubcomp) decode(c *cursor) { c.ack(&p.PacketID, &p.Reason, &p.Props, faultPubcompCode) }
