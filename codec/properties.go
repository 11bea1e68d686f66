package codec

import (
	"encoding/binary"
	"iter"
)

// PropID identifies an MQTT 5.0 property (2.2.2.2).
type PropID uint8

// The 27 properties of MQTT 5.0.
const (
	PropPayloadFormat          PropID = 0x01
	PropMessageExpiry          PropID = 0x02
	PropContentType            PropID = 0x03
	PropResponseTopic          PropID = 0x08
	PropCorrelationData        PropID = 0x09
	PropSubscriptionID         PropID = 0x0B
	PropSessionExpiry          PropID = 0x11
	PropAssignedClientID       PropID = 0x12
	PropServerKeepAlive        PropID = 0x13
	PropAuthMethod             PropID = 0x15
	PropAuthData               PropID = 0x16
	PropRequestProblemInfo     PropID = 0x17
	PropWillDelay              PropID = 0x18
	PropRequestResponseInfo    PropID = 0x19
	PropResponseInfo           PropID = 0x1A
	PropServerReference        PropID = 0x1C
	PropReasonString           PropID = 0x1F
	PropReceiveMaximum         PropID = 0x21
	PropTopicAliasMaximum      PropID = 0x22
	PropTopicAlias             PropID = 0x23
	PropMaximumQoS             PropID = 0x24
	PropRetainAvailable        PropID = 0x25
	PropUserProperty           PropID = 0x26
	PropMaximumPacketSize      PropID = 0x27
	PropWildcardAvailable      PropID = 0x28
	PropSubscriptionIDsAvail   PropID = 0x29
	PropSharedSubscriptionsAvl PropID = 0x2A
)

// Kind is the wire type of a property's value (1.5).
type Kind uint8

// The wire types of property values.
const (
	KindNone   Kind = iota
	KindByte        // Byte
	KindUint16      // Two Byte Integer
	KindUint32      // Four Byte Integer
	KindVarint      // Variable Byte Integer
	KindString      // UTF-8 Encoded String
	KindBinary      // Binary Data
	KindPair        // UTF-8 String Pair
)

// PropInfo is what the standard says of one property. Decoder, encoder, lint, fuzzer and
// documentation read the same table.
type PropInfo struct {
	ID         PropID
	Name       string
	Kind       Kind
	Packets    uint16 // bit n: allowed in packet type n
	Will       bool   // allowed in the Will Properties
	Repeatable bool   // more than once in any packet that allows it
	Min, Max   uint32 // range of integer values
}

// Info returns the table's entry; its Kind is KindNone where 5.0 defines no such property.
func (id PropID) Info() *PropInfo {
	if int(id) < len(propTable) {
		return &propTable[id]
	}
	return &propTable[0]
}

// String returns the standard's name of the property, such as "Topic Alias".
func (id PropID) String() string {
	if in := id.Info(); in.Kind != KindNone {
		return in.Name
	}
	return "unknown property"
}

const (
	pConnect  = 1 << TypeConnect
	pConnack  = 1 << TypeConnack
	pPublish  = 1 << TypePublish
	pAuth     = 1 << TypeAuth
	pDisc     = 1 << TypeDisconnect
	pSub      = 1 << TypeSubscribe
	pAcks     = 1<<TypePuback | 1<<TypePubrec | 1<<TypePubrel | 1<<TypePubcomp | 1<<TypeSuback | 1<<TypeUnsuback
	pUserProp = pConnect | pConnack | pPublish | pAcks | pSub | 1<<TypeUnsubscribe | pDisc | pAuth
	max32     = 1<<32 - 1
)

// propTable is indexed by PropID.
var propTable = [...]PropInfo{
	PropPayloadFormat:          {PropPayloadFormat, "Payload Format Indicator", KindByte, pPublish, true, false, 0, 1},
	PropMessageExpiry:          {PropMessageExpiry, "Message Expiry Interval", KindUint32, pPublish, true, false, 0, max32},
	PropContentType:            {PropContentType, "Content Type", KindString, pPublish, true, false, 0, 0},
	PropResponseTopic:          {PropResponseTopic, "Response Topic", KindString, pPublish, true, false, 0, 0},
	PropCorrelationData:        {PropCorrelationData, "Correlation Data", KindBinary, pPublish, true, false, 0, 0},
	PropSubscriptionID:         {PropSubscriptionID, "Subscription Identifier", KindVarint, pPublish | pSub, false, false, 1, MaxRemainingLength},
	PropSessionExpiry:          {PropSessionExpiry, "Session Expiry Interval", KindUint32, pConnect | pConnack | pDisc, false, false, 0, max32},
	PropAssignedClientID:       {PropAssignedClientID, "Assigned Client Identifier", KindString, pConnack, false, false, 0, 0},
	PropServerKeepAlive:        {PropServerKeepAlive, "Server Keep Alive", KindUint16, pConnack, false, false, 0, 65535},
	PropAuthMethod:             {PropAuthMethod, "Authentication Method", KindString, pConnect | pConnack | pAuth, false, false, 0, 0},
	PropAuthData:               {PropAuthData, "Authentication Data", KindBinary, pConnect | pConnack | pAuth, false, false, 0, 0},
	PropRequestProblemInfo:     {PropRequestProblemInfo, "Request Problem Information", KindByte, pConnect, false, false, 0, 1},
	PropWillDelay:              {PropWillDelay, "Will Delay Interval", KindUint32, 0, true, false, 0, max32},
	PropRequestResponseInfo:    {PropRequestResponseInfo, "Request Response Information", KindByte, pConnect, false, false, 0, 1},
	PropResponseInfo:           {PropResponseInfo, "Response Information", KindString, pConnack, false, false, 0, 0},
	PropServerReference:        {PropServerReference, "Server Reference", KindString, pConnack | pDisc, false, false, 0, 0},
	PropReasonString:           {PropReasonString, "Reason String", KindString, pConnack | pAcks | pDisc | pAuth, false, false, 0, 0},
	PropReceiveMaximum:         {PropReceiveMaximum, "Receive Maximum", KindUint16, pConnect | pConnack, false, false, 1, 65535},
	PropTopicAliasMaximum:      {PropTopicAliasMaximum, "Topic Alias Maximum", KindUint16, pConnect | pConnack, false, false, 0, 65535},
	PropTopicAlias:             {PropTopicAlias, "Topic Alias", KindUint16, pPublish, false, false, 1, 65535},
	PropMaximumQoS:             {PropMaximumQoS, "Maximum QoS", KindByte, pConnack, false, false, 0, 1},
	PropRetainAvailable:        {PropRetainAvailable, "Retain Available", KindByte, pConnack, false, false, 0, 1},
	PropUserProperty:           {PropUserProperty, "User Property", KindPair, pUserProp, true, true, 0, 0},
	PropMaximumPacketSize:      {PropMaximumPacketSize, "Maximum Packet Size", KindUint32, pConnect | pConnack, false, false, 1, max32},
	PropWildcardAvailable:      {PropWildcardAvailable, "Wildcard Subscription Available", KindByte, pConnack, false, false, 0, 1},
	PropSubscriptionIDsAvail:   {PropSubscriptionIDsAvail, "Subscription Identifiers Available", KindByte, pConnack, false, false, 0, 1},
	PropSharedSubscriptionsAvl: {PropSharedSubscriptionsAvl, "Shared Subscription Available", KindByte, pConnack, false, false, 0, 1},
}

// Property is one property as it stands on the wire. Only the fields of its Kind are set.
// Key and Value of a decoded property view the frame.
type Property struct {
	ID    PropID
	Int   uint32 // KindByte, KindUint16, KindUint32, KindVarint
	Key   string // KindPair
	Value []byte // KindString, KindBinary, KindPair
}

// Properties holds the properties of one packet as the bytes that stand on the wire, without
// the Property Length in front: decoding borrows them, encoding copies them, and order and
// repeats survive. The zero value is empty and ready for the setters, which replace a value
// that is already set (User Property and Subscription Identifier are added).
//
// Setters do not judge: AppendTo of the packet refuses a property that the packet type does
// not allow, a value out of range, or an ill-formed string.
type Properties struct {
	raw []byte
	has uint64 // bit n: property n is present
	own bool   // raw belongs to this value and may be written to
}

// Has reports whether the property is present.
func (p *Properties) Has(id PropID) bool { return p.has>>(id&63)&1 == 1 }

// Empty reports whether there is no property.
func (p *Properties) Empty() bool { return len(p.raw) == 0 }

// Raw returns the wire form without the Property Length. The caller must not change it.
func (p *Properties) Raw() []byte { return p.raw }

// Reset removes every property and keeps an owned buffer for reuse.
func (p *Properties) Reset() {
	if p.own {
		*p = Properties{raw: p.raw[:0], own: true}
		return
	}
	*p = Properties{}
}

// SetRaw makes b, the wire form without the Property Length, the properties. It borrows b.
// Bytes after the first property that cannot be parsed are kept but not visible to getters.
func (p *Properties) SetRaw(b []byte) {
	*p = Properties{raw: b}
	for pr, ok := range p.All() {
		if !ok {
			return
		}
		p.has |= 1 << (pr.ID & 63)
	}
}

// All yields the properties in wire order. A property that cannot be parsed ends the sequence
// with ok false.
func (p *Properties) All() iter.Seq2[Property, bool] {
	return func(yield func(Property, bool) bool) {
		b := p.raw
		for len(b) > 0 {
			pr, n := parseProperty(b)
			if n == 0 {
				yield(pr, false)
				return
			}
			if !yield(pr, true) {
				return
			}
			b = b[n:]
		}
	}
}

// Lookup returns the first property with the identifier.
func (p *Properties) Lookup(id PropID) (Property, bool) {
	if !p.Has(id) {
		return Property{}, false
	}
	for b := p.raw; len(b) > 0; {
		pr, n := parseProperty(b)
		if n == 0 {
			break
		}
		if pr.ID == id {
			return pr, true
		}
		b = b[n:]
	}
	return Property{}, false
}

// Uint returns the integer value of the property, or def where it is absent.
func (p *Properties) Uint(id PropID, def uint32) uint32 {
	if pr, ok := p.Lookup(id); ok {
		return pr.Int
	}
	return def
}

// Text returns the string value of the property, "" where it is absent. It views the frame.
func (p *Properties) Text(id PropID) string {
	pr, _ := p.Lookup(id)
	return viewString(pr.Value)
}

// Bytes returns the binary value of the property, nil where it is absent. It views the frame.
func (p *Properties) Bytes(id PropID) []byte {
	pr, _ := p.Lookup(id)
	return pr.Value
}

// UserProperties yields the User Properties in order. The strings view the frame.
func (p *Properties) UserProperties() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		if !p.Has(PropUserProperty) {
			return
		}
		for pr, ok := range p.All() {
			if ok && pr.ID == PropUserProperty && !yield(pr.Key, viewString(pr.Value)) {
				return
			}
		}
	}
}

// SubscriptionIDs yields the Subscription Identifiers in order.
func (p *Properties) SubscriptionIDs() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		if !p.Has(PropSubscriptionID) {
			return
		}
		for pr, ok := range p.All() {
			if ok && pr.ID == PropSubscriptionID && !yield(pr.Int) {
				return
			}
		}
	}
}

// SetUint sets a property of an integer kind.
func (p *Properties) SetUint(id PropID, v uint32) {
	if id == PropSubscriptionID {
		p.begin(id)
	} else {
		p.replace(id)
	}
	switch id.Info().Kind {
	case KindByte:
		p.raw = append(p.raw, byte(v))
	case KindUint16:
		p.raw = binary.BigEndian.AppendUint16(p.raw, uint16(v))
	case KindUint32:
		p.raw = binary.BigEndian.AppendUint32(p.raw, v)
	case KindVarint:
		p.raw = AppendVarint(p.raw, v)
	default:
		panic("codec: SetUint on " + id.String())
	}
}

// SetText sets a property of string kind. A string beyond 65,535 bytes is cut there.
func (p *Properties) SetText(id PropID, s string) {
	if id.Info().Kind != KindString {
		panic("codec: SetText on " + id.String())
	}
	p.replace(id)
	p.raw = appendText(p.raw, s)
}

// SetBytes sets a property of binary kind. Data beyond 65,535 bytes is cut there.
func (p *Properties) SetBytes(id PropID, b []byte) {
	if id.Info().Kind != KindBinary {
		panic("codec: SetBytes on " + id.String())
	}
	p.replace(id)
	p.raw = appendText(p.raw, viewString(b))
}

// AddUser adds a User Property after those already there.
func (p *Properties) AddUser(name, value string) {
	p.begin(PropUserProperty)
	p.raw = appendText(appendText(p.raw, name), value)
}

// Remove deletes every property with the identifier.
func (p *Properties) Remove(id PropID) {
	if !p.Has(id) {
		return
	}
	kept := make([]byte, 0, len(p.raw))
	for b := p.raw; len(b) > 0; {
		pr, n := parseProperty(b)
		if n == 0 {
			kept = append(kept, b...)
			break
		}
		if pr.ID != id {
			kept = append(kept, b[:n]...)
		}
		b = b[n:]
	}
	p.raw, p.own = kept, true
	p.has &^= 1 << (id & 63)
}

// Clone returns a copy that shares no memory.
func (p *Properties) Clone() Properties {
	if len(p.raw) == 0 {
		return Properties{}
	}
	return Properties{raw: append([]byte(nil), p.raw...), has: p.has, own: true}
}

func (p *Properties) replace(id PropID) {
	p.Remove(id)
	p.begin(id)
}

// begin writes the identifier, detaching from a borrowed frame first.
func (p *Properties) begin(id PropID) {
	if !p.own {
		p.raw = append(make([]byte, 0, len(p.raw)+32), p.raw...)
		p.own = true
	}
	p.has |= 1 << (id & 63)
	p.raw = append(p.raw, byte(id))
}

// parseProperty reads the property at the start of b without judging its value. n is 0 when
// the identifier is unknown or the bytes run out.
func parseProperty(b []byte) (pr Property, n int) {
	pr.ID = PropID(b[0])
	switch pr.ID.Info().Kind {
	case KindByte:
		if len(b) >= 2 {
			pr.Int = uint32(b[1])
			return pr, 2
		}
	case KindUint16:
		if len(b) >= 3 {
			pr.Int = uint32(binary.BigEndian.Uint16(b[1:]))
			return pr, 3
		}
	case KindUint32:
		if len(b) >= 5 {
			pr.Int = binary.BigEndian.Uint32(b[1:])
			return pr, 5
		}
	case KindVarint:
		if v, m := Varint(b[1:]); m > 0 {
			pr.Int = v
			return pr, 1 + m
		}
	case KindString, KindBinary:
		if v, ok := cutText(b[1:]); ok {
			pr.Value = v
			return pr, 3 + len(v)
		}
	case KindPair:
		if k, ok := cutText(b[1:]); ok {
			if v, ok := cutText(b[3+len(k):]); ok {
				pr.Key, pr.Value = viewString(k), v
				return pr, 5 + len(k) + len(v)
			}
		}
	}
	return pr, 0
}
