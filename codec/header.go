package codec

// Header is the fixed header of a packet (2.2, in 5.0 2.1).
type Header struct {
	Type      Type
	Flags     uint8 // the lower four bits of the first byte
	Remaining int   // bytes that follow the fixed header
}

// QoS returns the QoS bits of a PUBLISH header. The value 3 is malformed.
func (h Header) QoS() QoS { return QoS(h.Flags >> 1 & 3) }

// ParseHeader reads the fixed header at the start of b and returns its length in bytes. The
// length is 0 when b ends inside the header. A Remaining Length of more than four bytes is an
// [*Error]; one that is longer than its value needs is not, as 3.1.1 does not forbid it.
func ParseHeader(b []byte) (h Header, n int, err error) {
	if len(b) < 2 {
		return Header{}, 0, nil
	}
	h.Type, h.Flags = Type(b[0]>>4), b[0]&15
	v, m := Varint(b[1:])
	switch {
	case m < 0:
		return h, 0, newError(faultVarintLong, h.Type, 0, 1)
	case m == 0:
		return h, 0, nil
	}
	h.Remaining = int(v)
	return h, 1 + m, nil
}

// requiredFlags holds the header flags of each packet type; PUBLISH has flags of its own.
var requiredFlags = [16]uint8{TypePubrel: 2, TypeSubscribe: 2, TypeUnsubscribe: 2}

// flagFaults names the fault for wrong header flags.
var flagFaults = [16]fault{
	TypeConnect: faultFlags, TypeConnack: faultFlags, TypePuback: faultFlags, TypePubrec: faultFlags,
	TypePubrel: faultFlagsPubrel, TypePubcomp: faultFlags, TypeSubscribe: faultFlagsSubscribe, TypeSuback: faultFlags,
	TypeUnsubscribe: faultFlagsUnsubscribe, TypeUnsuback: faultFlags, TypePingreq: faultFlags, TypePingresp: faultFlags,
	TypeDisconnect: faultFlagsDisconnect, TypeAuth: faultFlagsAuth,
}

// Senders says which sides send each packet type (5.0, table 2-1): bit Client, bit Server.
const (
	fromClient = 1 << Client
	fromServer = 1 << Server
)

// sendersOf returns the sides that may send a packet type.
func sendersOf(t Type, v Version) uint8 {
	switch t {
	case TypeConnect, TypeSubscribe, TypeUnsubscribe, TypePingreq:
		return fromClient
	case TypeConnack, TypeSuback, TypeUnsuback, TypePingresp:
		return fromServer
	case TypeDisconnect:
		if v < V5 {
			return fromClient
		}
	}
	return fromClient | fromServer
}
