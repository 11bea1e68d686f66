package session

import "github.com/mqlab/mqlab/codec"

// EventKind names an event. Kinds named after a packet mean that the packet came in.
type EventKind uint8

// The events, with the fields of Event that each reads.
const (
	// Connected opens a connection: Link. It resends what is in flight [MQTT-4.4.0-1].
	Connected EventKind = iota + 1
	// Disconnected closes it. Packet events are ignored until the next Connected.
	Disconnected
	// Send offers a message: H, QoS, Size, Expires. Refused when Free is 0; QoS 0 is refused only while disconnected.
	Send
	// Request wants a packet identifier for a SUBSCRIBE or UNSUBSCRIBE: H.
	Request
	// Skip tells that the PUBLISH just asked for could not be sent: ID. It counts as delivered [MQTT-3.1.2-25].
	Skip
	// Ack releases the acknowledgement of a message delivered with Hold: ID, Ref (both from Deliver), Reason.
	Ack
	// Stored tells that all Persist, Forget and Clear actions up to and including ticket Ref are durable: Ref.
	Stored
	// Tick drops queued messages that expired and gives back unused memory. Once per minute is plenty.
	Tick
	// End ends the session: everything is released and forgotten.
	End

	// Publish is an inbound PUBLISH: H, QoS, ID, Hold, Reason. A Reason of 0x80 or above refuses it: it is not delivered.
	Publish
	// Puback is an inbound PUBACK: ID, Reason.
	Puback
	// Pubrec is an inbound PUBREC: ID, Reason.
	Pubrec
	// Pubrel is an inbound PUBREL: ID.
	Pubrel
	// Pubcomp is an inbound PUBCOMP: ID. Its reason code does not matter.
	Pubcomp
	// Response is an inbound SUBACK or UNSUBACK: ID.
	Response
)

// Event is one input of Step. Fields that the kind does not name are ignored.
type Event[H any] struct {
	Kind   EventKind
	QoS    codec.QoS
	Reason codec.ReasonCode
	// Hold makes the acknowledgement of an inbound QoS 1 or 2 message wait for an Ack event. Acknowledgements leave in
	// the order of the PUBLISH packets [MQTT-4.6.0-2, MQTT-4.6.0-3], so one that is held holds the later ones of its QoS.
	Hold bool
	ID   uint16
	// Size is the smallest wire size of the PUBLISH that the owner would send; 0 is never too large.
	Size uint32
	// Ref is a Deliver action's Ref in Ack, a ticket in Stored.
	Ref uint64
	// Expires is when a message that has not been sent yet is to be dropped [MQTT-3.3.2-5]; 0 is never.
	Expires Time
	// Link is read, and not kept, by Connected.
	Link *Link
	H    H
}

// ActionKind names an action.
type ActionKind uint8

// The actions, with the fields of Action that each fills.
const (
	// SendPublish sends the message: H, QoS, ID, Dup.
	SendPublish ActionKind = iota + 1
	// SendPuback acknowledges: ID, Reason. The owner may send NoMatchingSubscribers where Reason is Success.
	SendPuback
	// SendPubrec acknowledges: ID, Reason. The owner may send NoMatchingSubscribers where Reason is Success.
	SendPubrec
	// SendPubrel goes on with the handshake: ID, Reason, Dup, H. Where Dup is false the peer has just taken the message
	// over: its payload is not asked for again. Dup says "not the first", it is no bit on the wire.
	// H is zero for an identifier that the session does not know.
	SendPubrel
	// SendPubcomp ends the handshake: ID, Reason.
	SendPubcomp
	// SendRequest sends the SUBSCRIBE or UNSUBSCRIBE: ID, H.
	SendRequest
	// Deliver hands an inbound message to the application: H, QoS, ID, and Ref where Hold was set and QoS is not 0.
	Deliver
	// Discard tells that an inbound message is not delivered, being refused or a duplicate: H, QoS, ID.
	Discard
	// Persist stores a record: Stage, ID, QoS, Ref (the ticket), H for outbound stages. It replaces the record of the
	// same direction and identifier.
	Persist
	// Forget removes a record: Stage, ID, Ref (the ticket).
	Forget
	// Clear removes all records of the session: Ref (the ticket).
	Clear
	// Release ends a message or request that the session had accepted: H, ID, QoS, Cause, Reason. Exactly one for each
	// accepted Send and Request.
	Release
	// Refused gives a Send or Request back unaccepted: H, QoS.
	Refused
	// Violation tells that the peer broke the protocol: Fault, Reason to disconnect with, ID. The packet had no effect.
	Violation
)

// Cause is why a message was released.
type Cause uint8

// The causes.
const (
	// Done: the peer completed the handshake. A Reason of 0x80 or above, from PUBACK or PUBREC, says that it refused the
	// message. At QoS 0: sent.
	Done Cause = iota + 1
	// Expired: the message expired before it was first sent.
	Expired
	// TooLarge: the message exceeds the peer's Maximum Packet Size.
	TooLarge
	// Lost: the session ended without the peer's acknowledgement. A message may be published anew.
	Lost
	// Settled: the session ended after PUBREC; the peer has the message, publishing it anew would duplicate it.
	Settled
)

// Stage is how far a record's message has come, and its direction.
type Stage uint8

// The stages.
const (
	// Published is an outbound message whose PUBLISH is not acknowledged.
	Published Stage = iota + 1
	// Released is an outbound QoS 2 message after PUBREC: only its PUBREL is sent again.
	Released
	// Received is an inbound QoS 2 identifier that waits for PUBREL.
	Received
	// Accepted is an inbound QoS 1 message. The session needs no record of it; its PUBACK waits for the ticket, so that an
	// owner that stores the message itself can do so first.
	Accepted
)

// Action is one output of Step. Fields that the kind does not name are zero.
type Action[H any] struct {
	Kind   ActionKind
	QoS    codec.QoS
	Reason codec.ReasonCode
	Dup    bool
	ID     uint16
	Cause  Cause
	Detail uint8 // a Stage or a Fault, see the methods
	Ref    uint64
	H      H
}

// Stage is the stage of a Persist or Forget action.
func (a Action[H]) Stage() Stage { return Stage(a.Detail) }

// Fault is what a Violation action complains about.
func (a Action[H]) Fault() Fault { return Fault(a.Detail) }

// Fault is a way in which the peer broke the protocol.
type Fault uint8

// The faults.
const (
	// QoSMismatch is a PUBACK for a QoS 2 message or a PUBREC for a QoS 1 message.
	QoSMismatch Fault = iota + 1
	// ReceiveMaximumExceeded is a QoS 1 or 2 PUBLISH beyond the Receive Maximum this side announced.
	ReceiveMaximumExceeded
	// PacketIDZero is a QoS 1 or 2 PUBLISH with packet identifier 0.
	PacketIDZero
	// InvalidQoS is a PUBLISH with QoS 3.
	InvalidQoS
	// PublishAfterPubrel is a QoS 2 PUBLISH whose PUBREL has been sent already.
	PublishAfterPubrel
)

// Rule is the id of the rule that the fault breaks, for a peer that speaks version v and is the given side.
func (f Fault) Rule(v codec.Version, peer codec.Side) string {
	five := v == codec.V5
	switch f {
	case QoSMismatch:
		return "MQTT-3.3.4-1"
	case ReceiveMaximumExceeded:
		if peer == codec.Server {
			return "MQTT-3.3.4-9"
		}
		return "MQTT-3.3.4-7"
	case PacketIDZero:
		switch {
		case !five:
			return "MQTT-2.3.1-1"
		case peer == codec.Server:
			return "MQTT-2.2.1-4"
		}
		return "MQTT-2.2.1-3"
	case InvalidQoS:
		return "MQTT-3.3.1-4"
	case PublishAfterPubrel:
		if five {
			return "MQTT-4.3.3-6"
		}
		return "MQTT-4.3.3-1"
	}
	return ""
}

// Reason is the reason code a 5.0 peer disconnects with.
func (f Fault) Reason() codec.ReasonCode {
	switch f {
	case ReceiveMaximumExceeded:
		return codec.ReceiveMaximumExceeded
	case InvalidQoS, PacketIDZero:
		return codec.MalformedPacket
	}
	return codec.ProtocolError
}
