package codec

import "unicode/utf8"

// The protocol names of CONNECT.
const (
	nameMQTT   = "MQTT"   // 3.1.1 and 5.0
	nameMQIsdp = "MQIsdp" // 3.1
)

// The Connect Flags (3.1.2.3).
const (
	flagReserved   = 1 << 0
	flagCleanStart = 1 << 1
	flagWill       = 1 << 2
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUsername   = 1 << 7
)

func (p *Connect) decode(c *cursor) {
	*p = Connect{}
	p.protocol(c)

	flagsAt := c.i
	flags := c.u8(faultConnectTruncated)
	p.CleanStart = flags&flagCleanStart != 0
	p.HasWill = flags&flagWill != 0
	p.HasPassword = flags&flagPassword != 0
	p.HasUsername = flags&flagUsername != 0
	p.judgeFlags(c, flags, flagsAt)
	p.KeepAlive = c.u16(faultConnectTruncated)
	if c.v == V5 {
		c.properties(&p.Props, TypeConnect, faultPropertyLengthMissing)
	}

	idAt := c.i
	p.ClientID = c.text(faultClientIDMissing, faultConnectTruncated) // [MQTT-3.1.3-3]
	c.utf8(p.ClientID, idAt, faultClientIDUTF8)
	if !c.short {
		switch {
		case c.v == V31:
			if n := utf8.RuneCountInString(p.ClientID); n < 1 || n > 23 {
				c.fault(faultClientIDLength, idAt)
			}
		case c.v == V4 && p.ClientID == "" && !p.CleanStart:
			c.fault(faultClientIDEmpty, idAt) // [MQTT-3.1.3-7]
		}
	}

	if p.HasWill {
		p.Will.QoS = QoS(flags >> 3 & 3)
		p.Will.Retain = flags&flagWillRetain != 0
		p.Will.decode(c)
	}
	// MQTT 3.1 lets the Remaining Length overrule the flags of both fields.
	if p.HasUsername && c.v == V31 && c.atEnd() {
		p.HasUsername, p.HasPassword = false, false
	}
	if p.HasUsername {
		at := c.i
		p.Username = c.text(faultUsernameMissing, faultConnectTruncated)
		c.utf8(p.Username, at, faultUsernameUTF8)
	}
	if p.HasPassword && c.v == V31 && c.atEnd() {
		p.HasPassword = false
	}
	if p.HasPassword {
		p.Password = c.bytes(faultPasswordMissing, faultConnectTruncated)
	}
	if !c.atEnd() {
		c.fault(p.surplus(c.b[c.i:]), c.i)
	}
}

// protocol reads protocol name and level, which settle the version of the packet.
func (p *Connect) protocol(c *cursor) {
	at := c.i
	name := c.text(faultConnectTruncated, faultConnectTruncated)
	levelAt := c.i
	if !c.short && name != nameMQTT && name != nameMQIsdp {
		c.fault(faultProtocolName, at) // [MQTT-3.1.2-1]
	}
	level := c.u8(faultConnectTruncated)
	if c.short || c.err != nil {
		if c.v == 0 {
			c.v = V4
		}
		p.Version = c.v
		return
	}
	switch v := Version(level); {
	case name == nameMQTT && (v == V4 || v == V5), name == nameMQIsdp && v == V31:
		c.v, p.Version = v, v
		return
	case name == nameMQTT || name == nameMQIsdp:
		c.fault(faultProtocolLevel, levelAt) // [MQTT-3.1.2-2]
	}
	// Bit 7 of the level marks bridges of some implementations; the layout is that of the rest.
	switch v := Version(level & 0x7F); {
	case v >= V31 && v <= V5:
		c.v = v
	case c.v == 0:
		c.v = V4
	}
	p.Version, p.ProtocolName, p.Level = c.v, name, level
}

// judgeFlags judges the Connect Flags, which stand at the offset.
func (p *Connect) judgeFlags(c *cursor, flags byte, at int) {
	if flags&flagReserved != 0 {
		c.fault(faultConnectReserved, at) // [MQTT-3.1.2-3]
	}
	qos := flags >> 3 & 3
	switch {
	case p.HasWill && qos == 3:
		c.fault(faultWillQoS3, at)
	case !p.HasWill && qos != 0:
		c.fault(faultWillQoSWithoutWill, at)
	}
	if !p.HasWill && flags&flagWillRetain != 0 {
		c.fault(faultWillRetainWithoutWill, at)
	}
	if p.HasPassword && !p.HasUsername && c.v < V5 {
		c.fault(faultPasswordWithoutUsername, at) // [MQTT-3.1.2-22]
	}
}

func (w *Will) decode(c *cursor) {
	if c.v == V5 {
		c.properties(&w.Props, willProps, faultWillMissing)
	}
	at := c.i
	w.Topic = c.text(faultWillMissing, faultConnectTruncated) // [MQTT-3.1.2-9]
	if seen := scanName(w.Topic); seen != 0 {
		c.badText(w.Topic, seen, at, faultWillTopicUTF8)
		if seen&seenWildcard != 0 {
			c.fault(faultWillTopicWildcard, at)
		}
	}
	if w.Topic == "" && !c.short {
		c.fault(faultWillTopicEmpty, at) // [MQTT-4.7.3-1]
	}
	at = c.i + 2
	w.Payload = c.bytes(faultWillMissing, faultConnectTruncated)
	if c.payload && w.Props.Uint(PropPayloadFormat, 0) == 1 && !utf8.Valid(w.Payload) {
		c.fault(faultWillPayloadUTF8, at)
	}
}

// surplus names the fault of bytes after the last field that the flags announce. Bytes that
// have the shape of a field stand for the first one whose flag is 0.
func (p *Connect) surplus(b []byte) fault {
	if _, ok := cutText(b); ok {
		switch {
		case !p.HasUsername && !p.HasPassword:
			return faultSurplusUsername
		case p.HasUsername && !p.HasPassword:
			return faultSurplusPassword
		}
	}
	return faultConnectSurplus
}
