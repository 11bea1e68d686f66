package codec

// Decoder turns frames into packets. It owns one struct of each packet type and fills it anew,
// so that a packet is valid until the next call of Decode and until the frame's buffer is
// reused, whichever comes first; [Clone] detaches it. The zero Decoder is strict, judges only
// what binds both sides, and takes the version from the first CONNECT it sees. A Decoder is
// for one goroutine.
type Decoder struct {
	Version Version // 0: taken from CONNECT
	From    Side    // who sent the frames
	Mode    Mode
	// CheckPayload judges payloads that are marked as UTF-8, which the standard leaves to the
	// receiver. A bad one is a fault of Should level.
	CheckPayload bool

	connect     Connect
	connack     Connack
	publish     Publish
	puback      Puback
	pubrec      Pubrec
	pubrel      Pubrel
	pubcomp     Pubcomp
	subscribe   Subscribe
	suback      Suback
	unsubscribe Unsubscribe
	unsuback    Unsuback
	pingreq     Pingreq
	pingresp    Pingresp
	disconnect  Disconnect
	auth        Auth
}

// Decode decodes a frame that holds exactly one packet.
//
// In Strict mode the first fault of Must level ends the work: the packet is nil and the error
// an [*Error]. Where there are only faults of Should level the packet is complete and returned
// together with the first of them, so that a caller may go on with it.
//
// In Lenient mode the packet is decoded as far as the bytes allow; all faults are returned as
// [Errors]. It is nil only where the packet type is not defined.
func (d *Decoder) Decode(frame []byte) (Packet, error) {
	if len(frame) > 0 {
		switch Type(frame[0] >> 4) {
		case TypePublish:
			if d.publish.decodePlain(frame, d.Version) {
				return &d.publish, nil
			}
		case TypeConnect:
			if d.From != Server && d.connect.decodePlain(frame) {
				if d.Version == 0 {
					d.Version = d.connect.Version
				}
				return &d.connect, nil
			}
		case TypeSubscribe:
			if d.From != Server && d.subscribe.decodePlain(frame, d.Version) {
				return &d.subscribe, nil
			}
		}
	}
	return d.judge(frame)
}

// judge decodes a frame by the cursor, which finds its faults.
func (d *Decoder) judge(frame []byte) (Packet, error) {
	c := cursor{b: frame, v: d.Version, from: d.From, lenient: d.Mode == Lenient, payload: d.CheckPayload}
	flags := c.header()
	if c.err != nil {
		return nil, c.err
	}
	p := d.body(&c, flags)
	if c.err != nil {
		return nil, c.err
	}
	return p, c.result()
}

// body decodes what follows the fixed header.
func (d *Decoder) body(c *cursor, flags uint8) Packet {
	switch c.t {
	case TypePublish:
		d.publish.decode(c, flags)
		return &d.publish
	case TypePuback:
		d.puback.decode(c)
		return &d.puback
	case TypePubrec:
		d.pubrec.decode(c)
		return &d.pubrec
	case TypePubrel:
		d.pubrel.decode(c)
		return &d.pubrel
	case TypePubcomp:
		d.pubcomp.decode(c)
		return &d.pubcomp
	case TypeConnect:
		d.connect.decode(c)
		if d.Version == 0 && c.err == nil {
			d.Version = d.connect.Version
		}
		return &d.connect
	case TypeConnack:
		d.connack.decode(c)
		return &d.connack
	case TypeSubscribe:
		d.subscribe.decode(c)
		return &d.subscribe
	case TypeSuback:
		d.suback.decode(c)
		return &d.suback
	case TypeUnsubscribe:
		d.unsubscribe.decode(c)
		return &d.unsubscribe
	case TypeUnsuback:
		d.unsuback.decode(c)
		return &d.unsuback
	case TypePingreq:
		c.end(faultSurplusPing)
		return &d.pingreq
	case TypePingresp:
		c.end(faultSurplusPing)
		return &d.pingresp
	case TypeDisconnect:
		d.disconnect.decode(c)
		return &d.disconnect
	case TypeAuth:
		d.auth.decode(c)
		return &d.auth
	}
	return nil
}
