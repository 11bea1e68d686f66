package codec

// Connect is the first packet of a connection (3.1.1 and 5.0, section 3.1).
type Connect struct {
	Version Version // zero encodes as the version given to AppendTo

	// ProtocolName and Level are set by a Lenient Decoder where the wire does not have those
	// that belong to Version. Encoding does not look at them.
	ProtocolName string
	Level        uint8

	ClientID   string
	KeepAlive  uint16 // seconds; 0 turns the mechanism off
	CleanStart bool   // CleanSession before 5.0

	HasWill     bool
	HasUsername bool
	HasPassword bool
	Will        Will
	Username    string
	Password    []byte

	Props Properties // empty before 5.0
}

// Will is the Will Message of a CONNECT.
type Will struct {
	Topic   string
	Payload []byte
	QoS     QoS
	Retain  bool
	Props   Properties // the Will Properties, empty before 5.0
}

// Connack answers CONNECT (section 3.2).
type Connack struct {
	SessionPresent bool
	Reason         ReasonCode // before 5.0 a Connect Return code, 0 to 5
	Props          Properties
}

// Publish carries an Application Message (section 3.3).
type Publish struct {
	Topic    string
	Payload  []byte
	PacketID uint16 // 0 at QoS 0
	QoS      QoS
	Dup      bool
	Retain   bool
	Props    Properties
}

// Puback answers a QoS 1 PUBLISH (section 3.4).
type Puback struct {
	PacketID uint16
	Reason   ReasonCode
	Props    Properties
}

// Pubrec is the first answer to a QoS 2 PUBLISH (section 3.5).
type Pubrec struct {
	PacketID uint16
	Reason   ReasonCode
	Props    Properties
}

// Pubrel answers PUBREC (section 3.6).
type Pubrel struct {
	PacketID uint16
	Reason   ReasonCode
	Props    Properties
}

// Pubcomp ends a QoS 2 exchange (section 3.7).
type Pubcomp struct {
	PacketID uint16
	Reason   ReasonCode
	Props    Properties
}

// Subscribe asks for one or more Subscriptions (section 3.8).
type Subscribe struct {
	PacketID uint16
	Filters  []Subscription
	Props    Properties
}

// Subscription is one Topic Filter of a SUBSCRIBE with its options. Before 5.0 only QoS exists.
type Subscription struct {
	Filter            string
	QoS               QoS
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    uint8 // 0 send at subscribe, 1 only for a new Subscription, 2 never
}

// Suback answers SUBSCRIBE with one code for each Topic Filter (section 3.9).
type Suback struct {
	PacketID uint16
	Reasons  []ReasonCode
	Props    Properties
}

// Unsubscribe removes Subscriptions (section 3.10).
type Unsubscribe struct {
	PacketID uint16
	Filters  []string
	Props    Properties
}

// Unsuback answers UNSUBSCRIBE (section 3.11). Reasons is empty before 5.0.
type Unsuback struct {
	PacketID uint16
	Reasons  []ReasonCode
	Props    Properties
}

// Pingreq asks for a PINGRESP (section 3.12).
type Pingreq struct{}

// Pingresp answers PINGREQ (section 3.13).
type Pingresp struct{}

// Disconnect is the last packet of a connection (section 3.14). Before 5.0 only a Client sends it.
type Disconnect struct {
	Reason ReasonCode
	Props  Properties
}

// Auth carries enhanced authentication (5.0, section 3.15).
type Auth struct {
	Reason ReasonCode
	Props  Properties
}

// Type returns TypeConnect.
func (*Connect) Type() Type { return TypeConnect }

// Type returns TypeConnack.
func (*Connack) Type() Type { return TypeConnack }

// Type returns TypePublish.
func (*Publish) Type() Type { return TypePublish }

// Type returns TypePuback.
func (*Puback) Type() Type { return TypePuback }

// Type returns TypePubrec.
func (*Pubrec) Type() Type { return TypePubrec }

// Type returns TypePubrel.
func (*Pubrel) Type() Type { return TypePubrel }

// Type returns TypePubcomp.
func (*Pubcomp) Type() Type { return TypePubcomp }

// Type returns TypeSubscribe.
func (*Subscribe) Type() Type { return TypeSubscribe }

// Type returns TypeSuback.
func (*Suback) Type() Type { return TypeSuback }

// Type returns TypeUnsubscribe.
func (*Unsubscribe) Type() Type { return TypeUnsubscribe }

// Type returns TypeUnsuback.
func (*Unsuback) Type() Type { return TypeUnsuback }

// Type returns TypePingreq.
func (*Pingreq) Type() Type { return TypePingreq }

// Type returns TypePingresp.
func (*Pingresp) Type() Type { return TypePingresp }

// Type returns TypeDisconnect.
func (*Disconnect) Type() Type { return TypeDisconnect }

// Type returns TypeAuth.
func (*Auth) Type() Type { return TypeAuth }
