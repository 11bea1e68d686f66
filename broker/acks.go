package broker

import (
	"encoding/binary"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

// ack processes a Client's PUBACK, PUBREC, PUBREL or PUBCOMP.
func (c *conn) ack(sc *scratch, kind session.EventKind, id uint16, reason codec.ReasonCode) error {
	s := c.sess
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn.Load() != c {
		return errStopped
	}
	sc.acts = s.flow.Step(session.Event[*delivery]{Kind: kind, ID: id, Reason: reason}, sc.now, sc.acts[:0])
	for i := range sc.acts {
		if a := &sc.acts[i]; a.Kind == session.Violation {
			return c.violation(a)
		}
	}
	s.perform(sc, c, sc.acts)
	s.pump(sc, c)
	return nil
}

// sendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP to the own buffer.
func (c *conn) sendAck(sc *scratch, t codec.Type, id uint16, reason codec.ReasonCode) {
	if c.version == codec.V5 && (reason != codec.Success || c.b.cfg.AckProperties) {
		c.sendLongAck(sc, t, id, reason)
		return
	}
	var b [4]byte
	b[0] = byte(t) << 4
	if t == codec.TypePubrel { // [MQTT-3.6.1-1]
		b[0] |= 2
	}
	b[1] = 2
	binary.BigEndian.PutUint16(b[2:], id)
	c.sendShort(sc, b[:])
}

// sendLongAck appends an acknowledgement with Reason Code and, where configured, properties.
func (c *conn) sendLongAck(sc *scratch, t codec.Type, id uint16, reason codec.ReasonCode) {
	var p codec.Packet
	var props *codec.Properties
	switch t {
	case codec.TypePuback:
		a := &codec.Puback{PacketID: id, Reason: reason}
		p, props = a, &a.Props
	case codec.TypePubrec:
		a := &codec.Pubrec{PacketID: id, Reason: reason}
		p, props = a, &a.Props
	case codec.TypePubrel:
		a := &codec.Pubrel{PacketID: id, Reason: reason}
		p, props = a, &a.Props
	default:
		a := &codec.Pubcomp{PacketID: id, Reason: reason}
		p, props = a, &a.Props
	}
	c.send(sc, p, props, "")
}

// send appends a packet to the own buffer, with the properties that AckProperties asks for.
func (c *conn) send(sc *scratch, p codec.Packet, props *codec.Properties, why string) {
	if b := c.encodeWithin(p, props, why, false); b != nil {
		c.sendShort(sc, b)
	}
}

// sendShort appends encoded bytes to the own buffer.
func (c *conn) sendShort(sc *scratch, b []byte) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return
	}
	copy(o.space(len(b)), b)
	sc.sent(len(b))
	sc.touch(c)
}

// encodeWithin encodes a packet of the Server's with Reason String and User Property where
// they are wanted, allowed and fit. always says that Request Problem Information does not bar
// them from this packet type [MQTT-3.1.2-29]. It returns nil when not even the packet itself
// is within the Client's Maximum Packet Size.
func (c *conn) encodeWithin(p codec.Packet, props *codec.Properties, why string, always bool) []byte {
	if c.version == codec.V5 && (always || !c.noProblem) && (why != "" || c.b.cfg.AckProperties) {
		bare := props.Clone()
		if why == "" {
			why = "answered by mqlab"
		}
		props.SetText(codec.PropReasonString, why)
		if c.b.cfg.AckProperties {
			withReason := props.Clone()
			props.AddUser("packet", p.Type().String())
			if p.Size(c.version) > c.maxPacket {
				*props = withReason
			}
		}
		// [MQTT-3.2.2-19] [MQTT-3.4.2-2] [MQTT-3.9.2-1] [MQTT-3.14.2-3] and their likes
		if p.Size(c.version) > c.maxPacket {
			*props = bare
		}
	}
	if p.Size(c.version) > c.maxPacket { // [MQTT-3.1.2-24]
		return nil
	}
	b, err := p.AppendTo(nil, c.version)
	if err != nil {
		c.b.log.Error("packet not encoded", "packet", p.Type(), "error", err)
		return nil
	}
	return b
}
