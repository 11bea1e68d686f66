package codec

import "fmt"

// ReasonCode is the result of an operation in MQTT 5.0 (2.4). Values below 0x80 say success.
// Before 5.0 the same type holds Connect Return codes and SUBACK return codes.
type ReasonCode uint8

// The Reason Codes of MQTT 5.0 with the names of table 2-6. Several names share 0x00.
const (
	Success                             ReasonCode = 0x00
	NormalDisconnection                 ReasonCode = 0x00
	GrantedQoS0                         ReasonCode = 0x00
	GrantedQoS1                         ReasonCode = 0x01
	GrantedQoS2                         ReasonCode = 0x02
	DisconnectWithWillMessage           ReasonCode = 0x04
	NoMatchingSubscribers               ReasonCode = 0x10
	NoSubscriptionExisted               ReasonCode = 0x11
	ContinueAuthentication              ReasonCode = 0x18
	ReAuthenticate                      ReasonCode = 0x19
	UnspecifiedError                    ReasonCode = 0x80
	MalformedPacket                     ReasonCode = 0x81
	ProtocolError                       ReasonCode = 0x82
	ImplementationSpecificError         ReasonCode = 0x83
	UnsupportedProtocolVersion          ReasonCode = 0x84
	ClientIDNotValid                    ReasonCode = 0x85
	BadUserNameOrPassword               ReasonCode = 0x86
	NotAuthorized                       ReasonCode = 0x87
	ServerUnavailable                   ReasonCode = 0x88
	ServerBusy                          ReasonCode = 0x89
	Banned                              ReasonCode = 0x8A
	ServerShuttingDown                  ReasonCode = 0x8B
	BadAuthenticationMethod             ReasonCode = 0x8C
	KeepAliveTimeout                    ReasonCode = 0x8D
	SessionTakenOver                    ReasonCode = 0x8E
	TopicFilterInvalid                  ReasonCode = 0x8F
	TopicNameInvalid                    ReasonCode = 0x90
	PacketIDInUse                       ReasonCode = 0x91
	PacketIDNotFound                    ReasonCode = 0x92
	ReceiveMaximumExceeded              ReasonCode = 0x93
	TopicAliasInvalid                   ReasonCode = 0x94
	PacketTooLarge                      ReasonCode = 0x95
	MessageRateTooHigh                  ReasonCode = 0x96
	QuotaExceeded                       ReasonCode = 0x97
	AdministrativeAction                ReasonCode = 0x98
	PayloadFormatInvalid                ReasonCode = 0x99
	RetainNotSupported                  ReasonCode = 0x9A
	QoSNotSupported                     ReasonCode = 0x9B
	UseAnotherServer                    ReasonCode = 0x9C
	ServerMoved                         ReasonCode = 0x9D
	SharedSubscriptionsNotSupported     ReasonCode = 0x9E
	ConnectionRateExceeded              ReasonCode = 0x9F
	MaximumConnectTime                  ReasonCode = 0xA0
	SubscriptionIdentifiersNotSupported ReasonCode = 0xA1
	WildcardSubscriptionsNotSupported   ReasonCode = 0xA2
)

// The Connect Return codes of MQTT 3.1 and 3.1.1 (3.1.1, 3.2.2.3).
const (
	ReturnAccepted            ReasonCode = 0
	ReturnUnacceptableVersion ReasonCode = 1
	ReturnIdentifierRejected  ReasonCode = 2
	ReturnServerUnavailable   ReasonCode = 3
	ReturnBadCredentials      ReasonCode = 4
	ReturnNotAuthorized       ReasonCode = 5
)

// SubackFailure is the SUBACK return code of 3.1.1 for a refused Subscription (3.9.3).
const SubackFailure ReasonCode = 0x80

// Failed reports whether the code says that the operation was refused (0x80 and above).
func (c ReasonCode) Failed() bool { return c >= 0x80 }

var reasonNames = map[ReasonCode]string{
	0x00: "Success",
	0x01: "Granted QoS 1",
	0x02: "Granted QoS 2",
	0x04: "Disconnect with Will Message",
	0x10: "No matching subscribers",
	0x11: "No subscription existed",
	0x18: "Continue authentication",
	0x19: "Re-authenticate",
	0x80: "Unspecified error",
	0x81: "Malformed Packet",
	0x82: "Protocol Error",
	0x83: "Implementation specific error",
	0x84: "Unsupported Protocol Version",
	0x85: "Client Identifier not valid",
	0x86: "Bad User Name or Password",
	0x87: "Not authorized",
	0x88: "Server unavailable",
	0x89: "Server busy",
	0x8A: "Banned",
	0x8B: "Server shutting down",
	0x8C: "Bad authentication method",
	0x8D: "Keep Alive timeout",
	0x8E: "Session taken over",
	0x8F: "Topic Filter invalid",
	0x90: "Topic Name invalid",
	0x91: "Packet Identifier in use",
	0x92: "Packet Identifier not found",
	0x93: "Receive Maximum exceeded",
	0x94: "Topic Alias invalid",
	0x95: "Packet too large",
	0x96: "Message rate too high",
	0x97: "Quota exceeded",
	0x98: "Administrative action",
	0x99: "Payload format invalid",
	0x9A: "Retain not supported",
	0x9B: "QoS not supported",
	0x9C: "Use another server",
	0x9D: "Server moved",
	0x9E: "Shared Subscriptions not supported",
	0x9F: "Connection rate exceeded",
	0xA0: "Maximum connect time",
	0xA1: "Subscription Identifiers not supported",
	0xA2: "Wildcard Subscriptions not supported",
}

// String returns the standard's name of the code, such as "Packet Identifier not found".
// Codes that 5.0 does not define read "unknown reason code 0x05".
func (c ReasonCode) String() string {
	if s, ok := reasonNames[c]; ok {
		return s
	}
	return fmt.Sprintf("unknown reason code 0x%02X", uint8(c))
}

// Name returns the name of the code in a packet of the given type and version: 0x00 is
// "Normal disconnection" in DISCONNECT and "Granted QoS 0" in SUBACK, and CONNACK before 5.0
// has codes of its own.
func (c ReasonCode) Name(t Type, v Version) string {
	switch {
	case t == TypeConnack && v < V5:
		if int(c) < len(returnNames) {
			return returnNames[c]
		}
		return fmt.Sprintf("reserved return code 0x%02X", uint8(c))
	case t == TypeSuback && v < V5 && c == SubackFailure:
		return "Failure"
	case t == TypeSuback && c <= GrantedQoS2:
		return "Granted QoS " + string('0'+rune(c))
	case t == TypeDisconnect && c == NormalDisconnection:
		return "Normal disconnection"
	}
	return c.String()
}

var returnNames = [...]string{
	"Connection Accepted", "Unacceptable protocol version", "Identifier rejected",
	"Server unavailable", "Bad user name or password", "Not authorized",
}

// reasonUse says in which packets, and from which side, a Reason Code may stand (table 2-6 and
// the tables of section 3). A zero entry is a code that 5.0 does not define.
type reasonUse struct{ client, server uint16 } // bit n: packet type n

var reasonUses = [256]reasonUse{
	0x00: {1<<TypePuback | 1<<TypePubrec | 1<<TypePubrel | 1<<TypePubcomp | 1<<TypeDisconnect, 1<<TypeConnack | 1<<TypePuback | 1<<TypePubrec | 1<<TypePubrel | 1<<TypePubcomp | 1<<TypeSuback | 1<<TypeUnsuback | 1<<TypeDisconnect | 1<<TypeAuth},
	0x01: {0, 1 << TypeSuback},
	0x02: {0, 1 << TypeSuback},
	0x04: {1 << TypeDisconnect, 0},
	0x10: {0, 1<<TypePuback | 1<<TypePubrec},
	0x11: {0, 1 << TypeUnsuback},
	0x18: {1 << TypeAuth, 1 << TypeAuth},
	0x19: {1 << TypeAuth, 0},
	0x80: {1<<TypePuback | 1<<TypePubrec | 1<<TypeDisconnect, 1<<TypeConnack | 1<<TypePuback | 1<<TypePubrec | 1<<TypeSuback | 1<<TypeUnsuback | 1<<TypeDisconnect},
	0x81: {1 << TypeDisconnect, 1<<TypeConnack | 1<<TypeDisconnect},
	0x82: {1 << TypeDisconnect, 1<<TypeConnack | 1<<TypeDisconnect},
	0x83: {1<<TypePuback | 1<<TypePubrec | 1<<TypeDisconnect, 1<<TypeConnack | 1<<TypePuback | 1<<TypePubrec | 1<<TypeSuback | 1<<TypeUnsuback | 1<<TypeDisconnect},
	0x84: {0, 1 << TypeConnack},
	0x85: {0, 1 << TypeConnack},
	0x86: {0, 1 << TypeConnack},
	0x87: {1<<TypePuback | 1<<TypePubrec, 1<<TypeConnack | 1<<TypePuback | 1<<TypePubrec | 1<<TypeSuback | 1<<TypeUnsuback | 1<<TypeDisconnect},
	0x88: {0, 1 << TypeConnack},
	0x89: {0, 1<<TypeConnack | 1<<TypeDisconnect},
	0x8A: {0, 1 << TypeConnack},
	0x8B: {0, 1 << TypeDisconnect},
	0x8C: {0, 1<<TypeConnack | 1<<TypeDisconnect},
	0x8D: {0, 1 << TypeDisconnect},
	0x8E: {0, 1 << TypeDisconnect},
	0x8F: {0, 1<<TypeSuback | 1<<TypeUnsuback | 1<<TypeDisconnect},
	0x90: {1<<TypePuback | 1<<TypePubrec | 1<<TypeDisconnect, 1<<TypeConnack | 1<<TypePuback | 1<<TypePubrec | 1<<TypeDisconnect},
	0x91: {1<<TypePuback | 1<<TypePubrec, 1<<TypePuback | 1<<TypePubrec | 1<<TypeSuback | 1<<TypeUnsuback},
	0x92: {1<<TypePubrel | 1<<TypePubcomp, 1<<TypePubrel | 1<<TypePubcomp},
	0x93: {1 << TypeDisconnect, 1 << TypeDisconnect},
	0x94: {1 << TypeDisconnect, 1 << TypeDisconnect},
	0x95: {1 << TypeDisconnect, 1<<TypeConnack | 1<<TypeDisconnect},
	0x96: {1 << TypeDisconnect, 1 << TypeDisconnect},
	0x97: {1<<TypePuback | 1<<TypePubrec | 1<<TypeDisconnect, 1<<TypeConnack | 1<<TypePuback | 1<<TypePubrec | 1<<TypeSuback | 1<<TypeDisconnect},
	0x98: {1 << TypeDisconnect, 1 << TypeDisconnect},
	0x99: {1<<TypePuback | 1<<TypePubrec | 1<<TypeDisconnect, 1<<TypeConnack | 1<<TypePuback | 1<<TypePubrec | 1<<TypeDisconnect},
	0x9A: {0, 1<<TypeConnack | 1<<TypeDisconnect},
	0x9B: {1 << TypeDisconnect, 1<<TypeConnack | 1<<TypeDisconnect}, // 3.3.4 has a Client use it
	0x9C: {0, 1<<TypeConnack | 1<<TypeDisconnect},
	0x9D: {0, 1<<TypeConnack | 1<<TypeDisconnect},
	0x9E: {0, 1<<TypeSuback | 1<<TypeDisconnect},
	0x9F: {0, 1<<TypeConnack | 1<<TypeDisconnect},
	0xA0: {0, 1 << TypeDisconnect},
	0xA1: {0, 1<<TypeSuback | 1<<TypeDisconnect},
	0xA2: {0, 1<<TypeSuback | 1<<TypeDisconnect},
}

// AllowedIn reports whether MQTT 5.0 defines the code for a packet type sent by the side.
func (c ReasonCode) AllowedIn(t Type, from Side) bool {
	u := reasonUses[c]
	switch from {
	case Client:
		return u.client>>t&1 == 1
	case Server:
		return u.server>>t&1 == 1
	}
	return (u.client|u.server)>>t&1 == 1
}
