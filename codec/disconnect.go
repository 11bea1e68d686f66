package codec

func (p *Disconnect) decode(c *cursor) {
	*p = Disconnect{}
	if c.v == V5 && !c.atEnd() {
		at := c.i
		p.Reason = ReasonCode(c.u8(faultTruncated))
		switch {
		case p.Reason.AllowedIn(TypeDisconnect, c.from):
		case p.Reason.AllowedIn(TypeDisconnect, Either):
			c.fault(faultDisconnectSide, at)
		default:
			c.fault(faultDisconnectCode, at) // [MQTT-3.14.2-1]
		}
		if !c.atEnd() {
			c.properties(&p.Props, TypeDisconnect, faultPropertyLengthMissing)
			if c.from == Server && p.Props.Has(PropSessionExpiry) {
				c.property(faultServerSessionExpiry, PropSessionExpiry, &p.Props, TypeDisconnect) // [MQTT-3.14.2-2]
			}
		}
	}
	c.end(faultSurplusAck)
}

func (p *Auth) decode(c *cursor) {
	*p = Auth{}
	if c.atEnd() {
		if c.short {
			return
		}
		if c.from == Client { // the short form says 0x00, which is the Server's
			c.fault(faultAuthCode, c.i)
			return
		}
		c.fault(faultAuthShortForm, c.i)
		return
	}
	at := c.i
	p.Reason = ReasonCode(c.u8(faultTruncated))
	if !p.Reason.AllowedIn(TypeAuth, c.from) {
		c.fault(faultAuthCode, at) // [MQTT-3.15.2-1]
	}
	at = c.i
	c.properties(&p.Props, TypeAuth, faultPropertyLengthMissing)
	if !p.Props.Has(PropAuthMethod) && !c.short {
		c.fault(faultAuthMethodMissing, at)
	}
	c.end(faultSurplusAck)
}
