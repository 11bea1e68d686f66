package codec

func (p *Connack) decode(c *cursor) {
	*p = Connack{}
	flagsAt := c.i
	flags := c.u8(faultTruncated)
	if c.v != V31 { // the byte is not used in MQTT 3.1
		p.SessionPresent = flags&1 != 0
		if flags > 1 {
			c.fault(faultConnackFlags, flagsAt) // [MQTT-3.2.2-1]
		}
	}
	codeAt := c.i
	p.Reason = ReasonCode(c.u8(faultTruncated))
	switch {
	case c.short:
	case c.v < V5 && p.Reason > ReturnNotAuthorized, c.v == V5 && !p.Reason.AllowedIn(TypeConnack, Server):
		c.fault(faultConnackCode, codeAt)
	case p.SessionPresent && p.Reason != Success:
		c.fault(faultSessionPresentRefused, flagsAt)
	}
	if c.v == V5 {
		c.properties(&p.Props, TypeConnack, faultPropertyLengthMissing)
	}
	c.end(faultSurplusAck)
}
