// Package codec reads and writes the Control Packets of MQTT 3.1, 3.1.1 and 5.0.
//
// Start from [Reader], which cuts whole packets out of a byte stream, [Decoder], which turns
// one such frame into a typed packet, and the packet types themselves ([*Connect] to [*Auth]),
// which append their wire form to a caller's buffer.
//
// Memory: a decoded packet belongs to its Decoder and its strings and slices view the frame.
// Both are valid until the next call; [Clone] detaches a packet from either. Encoding appends
// to a slice of the caller's. In steady state nothing allocates.
//
// Not done here: sessions, matching of Topic Filters, and input or output of any kind beyond
// reading from an io.Reader.
package codec

import "errors"

// Version is the protocol level as it stands on the wire in CONNECT.
type Version uint8

// The protocol levels. The zero Version means "not known yet": a Decoder takes it from CONNECT.
const (
	V31 Version = 3 // MQTT 3.1, protocol name MQIsdp
	V4  Version = 4 // MQTT 3.1.1
	V5  Version = 5 // MQTT 5.0
)

// String returns the version as people write it: "3.1", "3.1.1" or "5.0".
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V4:
		return "3.1.1"
	case V5:
		return "5.0"
	}
	return "unknown"
}

// Type is the Control Packet type of the fixed header's upper four bits (3.1.1 and 5.0, 2.1.2).
type Type uint8

// The fifteen Control Packet types. Zero is reserved and never valid.
const (
	TypeConnect     Type = 1
	TypeConnack     Type = 2
	TypePublish     Type = 3
	TypePuback      Type = 4
	TypePubrec      Type = 5
	TypePubrel      Type = 6
	TypePubcomp     Type = 7
	TypeSubscribe   Type = 8
	TypeSuback      Type = 9
	TypeUnsubscribe Type = 10
	TypeUnsuback    Type = 11
	TypePingreq     Type = 12
	TypePingresp    Type = 13
	TypeDisconnect  Type = 14
	TypeAuth        Type = 15
)

var typeNames = [16]string{
	"reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
}

// String returns the standard's name of the packet type, such as "PUBLISH".
func (t Type) String() string { return typeNames[t&15] }

// QoS is a Quality of Service level: 0 at most once, 1 at least once, 2 exactly once.
// The value 3 is malformed wherever it appears.
type QoS uint8

// Side says who sent a packet: some rules bind the client or the server alone.
type Side uint8

// The sides. Either applies only the rules that bind both.
const (
	Either Side = iota
	Client
	Server
)

// Mode chooses what a Decoder does with a fault.
type Mode uint8

const (
	// Strict stops at the first fault.
	Strict Mode = iota
	// Lenient collects every fault and decodes as far as the bytes allow, for dissection.
	Lenient
)

// MaxRemainingLength is the largest value a Remaining Length field can hold, in bytes.
const MaxRemainingLength = 268_435_455

// MaxPacketSize is the largest MQTT Control Packet: fixed header and Remaining Length, in bytes.
const MaxPacketSize = MaxRemainingLength + 5

// ErrPacketTooLarge reports a frame larger than the Reader's or the peer's maximum.
var ErrPacketTooLarge = errors.New("packet is larger than the maximum packet size")

// Packet is one MQTT Control Packet. The concrete types are *Connect to *Auth.
type Packet interface {
	// Type returns the Control Packet type.
	Type() Type
	// Size returns the exact number of bytes AppendTo would append for the version.
	Size(v Version) int
	// AppendTo appends the wire form for the version. It refuses what the standard
	// forbids; on error dst is returned unchanged.
	AppendTo(dst []byte, v Version) ([]byte, error)
}
