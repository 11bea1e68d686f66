package codec

import "strings"

// fault is a departure from the standard that can be judged from one packet, its version and
// its sender. Each is declared once, here.
type fault uint8

const (
	faultNone fault = iota

	// The fixed header (2.1 and 2.2).
	faultReservedType
	faultAuthBefore5
	faultDirection
	faultFirstPacket
	faultFlags
	faultFlagsPubrel
	faultFlagsSubscribe
	faultFlagsUnsubscribe
	faultFlagsDisconnect
	faultFlagsAuth
	faultVarintLong
	faultVarintPadded
	faultFrameLength
	faultTooLarge

	// The shape of the body.
	faultTruncated
	faultSurplus
	faultSurplusAck
	faultSurplusPing
	faultTextTooLong

	// Text: for each field the fault for NUL follows the one for UTF-8.
	faultTopicUTF8
	faultTopicNUL
	faultSubscribeUTF8
	faultSubscribeNUL
	faultUnsubscribeUTF8
	faultUnsubscribeNUL
	faultClientIDUTF8
	faultClientIDNUL
	faultWillTopicUTF8
	faultWillTopicNUL
	faultUsernameUTF8
	faultUsernameNUL
	faultPropertyUTF8
	faultPropertyNUL
	faultResponseTopicUTF8
	faultResponseTopicNUL
	faultContentTypeUTF8
	faultContentTypeNUL
	faultPairUTF8
	faultPairNUL

	// Topic Names and Topic Filters (4.7, 4.8).
	faultTopicWildcard
	faultTopicEmpty
	faultWillTopicWildcard
	faultWillTopicEmpty
	faultFilterEmpty
	faultFilterHash
	faultFilterPlus
	faultShareNameEmpty
	faultShareNameWildcard
	faultShareFilterMissing

	// CONNECT (3.1).
	faultProtocolName
	faultProtocolLevel
	faultConnectReserved
	faultWillQoS3
	faultWillQoSWithoutWill
	faultWillRetainWithoutWill
	faultPasswordWithoutUsername
	faultConnectTruncated
	faultClientIDMissing
	faultWillMissing
	faultUsernameMissing
	faultPasswordMissing
	faultConnectSurplus
	faultSurplusUsername
	faultSurplusPassword
	faultClientIDEmpty
	faultClientIDLength
	faultWillPayloadUTF8

	// CONNACK (3.2).
	faultConnackFlags
	faultSessionPresentRefused
	faultConnackCode

	// PUBLISH and its acknowledgements (3.3 to 3.7).
	faultQoS3
	faultDupQoS0
	faultPacketIDZero
	faultPacketIDZeroServer
	faultPacketIDZeroAck
	faultPacketIDZeroReply
	faultSubscriptionIDFromClient
	faultResponseTopicWildcard
	faultPayloadUTF8
	faultPubackCode
	faultPubrecCode
	faultPubrelCode
	faultPubcompCode

	// SUBSCRIBE to UNSUBACK (3.8 to 3.11).
	faultNoFilters
	faultOptionsMissing
	faultSubscribeQoS3
	faultSubscribeReserved
	faultRetainHandling3
	faultNoLocalShared
	faultSubackCode
	faultSubackEmpty
	faultNoUnsubscribeFilters
	faultUnsubackCode
	faultUnsubackEmpty

	// DISCONNECT and AUTH (3.14, 3.15).
	faultDisconnectCode
	faultDisconnectSide
	faultServerSessionExpiry
	faultAuthCode
	faultAuthMethodMissing
	faultAuthShortForm
	faultAuthDataWithoutMethod

	// Properties (2.2.2).
	faultPropertyLengthMissing
	faultPropertyOverrun
	faultPropertyUnknown
	faultPropertyForeign
	faultPropertyDuplicate
	faultPropertyRange
	faultTopicAliasZero

	faultCount
)

// faultInfo is a row of the table. A rule cell lists ids: the first is the one that an Error
// names, the others are broken by the same bytes. MQTT 3.1 has no ids; it is held to the rules
// of 3.1.1 except where lax31 says that 3.1 leaves the matter open.
type faultInfo struct {
	name         string
	rule4, rule5 string
	reason       ReasonCode
	soft4, soft5 bool // Should instead of Must
	lax31        bool
	msg          string
}

func (in *faultInfo) rules(v Version) string {
	switch {
	case v == V5:
		return in.rule5
	case v == V4:
		return in.rule4
	case v == 0 && in.rule4 == in.rule5:
		return in.rule4
	}
	return ""
}

func (in *faultInfo) level(v Version) Level {
	if v == V5 && in.soft5 || v != V5 && in.soft4 || v == V31 && in.lax31 {
		return Should
	}
	return Must
}

const (
	r4      = "MQTT-4.8.0-1"
	r5      = "P-2.1.4-length-mismatch"
	connect = " MQTT-3.1.4-1" // each format error of CONNECT breaks this rule too
	idZero  = "P-2.2.1-packet-id-zero"
)

var faults = [faultCount]faultInfo{
	faultReservedType:     {name: "reserved-type", rule4: r4, rule5: "P-2.1.2-reserved-type", reason: MalformedPacket, msg: "packet type 0 is reserved"},
	faultAuthBefore5:      {name: "auth-before-5", rule4: r4, rule5: "", reason: MalformedPacket, msg: "packet type 15 is reserved before version 5.0"},
	faultDirection:        {name: "wrong-direction", rule4: r4, rule5: "P-2.1.2-wrong-direction", reason: ProtocolError, msg: "this packet type never flows in this direction"},
	faultFirstPacket:      {name: "first-packet", rule4: "MQTT-3.1.0-1", rule5: "MQTT-3.1.0-1", reason: ProtocolError, msg: "a connection begins with CONNECT"},
	faultFlags:            {name: "header-flags", rule4: "MQTT-2.2.2-2 MQTT-2.2.2-1", rule5: "MQTT-2.1.3-1", reason: MalformedPacket, lax31: true, msg: "reserved header flags are not as fixed for this packet type"},
	faultFlagsPubrel:      {name: "pubrel-flags", rule4: "MQTT-3.6.1-1 MQTT-2.2.2-2 MQTT-2.2.2-1", rule5: "MQTT-3.6.1-1 MQTT-2.1.3-1", reason: MalformedPacket, msg: "header flags are not 0010"},
	faultFlagsSubscribe:   {name: "subscribe-flags", rule4: "MQTT-3.8.1-1 MQTT-2.2.2-2 MQTT-2.2.2-1", rule5: "MQTT-3.8.1-1 MQTT-2.1.3-1", reason: MalformedPacket, msg: "header flags are not 0010"},
	faultFlagsUnsubscribe: {name: "unsubscribe-flags", rule4: "MQTT-3.10.1-1 MQTT-2.2.2-2 MQTT-2.2.2-1", rule5: "MQTT-3.10.1-1 MQTT-2.1.3-1", reason: MalformedPacket, msg: "header flags are not 0010"},
	faultFlagsDisconnect:  {name: "disconnect-flags", rule4: "MQTT-3.14.1-1 MQTT-2.2.2-2 MQTT-2.2.2-1", rule5: "MQTT-3.14.1-1 MQTT-2.1.3-1", reason: MalformedPacket, lax31: true, msg: "header flags are not 0000"},
	faultFlagsAuth:        {name: "auth-flags", rule5: "MQTT-3.15.1-1 MQTT-2.1.3-1", reason: MalformedPacket, msg: "header flags are not 0000"},
	faultVarintLong:       {name: "varint-five-bytes", rule4: r4, rule5: "P-1.5.5-five-byte-integer", reason: MalformedPacket, msg: "a variable byte integer takes more than four bytes"},
	faultVarintPadded:     {name: "varint-padded", rule5: "MQTT-1.5.5-1", reason: MalformedPacket, soft4: true, soft5: true, msg: "a variable byte integer is longer than its value needs"},
	faultFrameLength:      {name: "frame-length", rule4: r4, rule5: r5, reason: MalformedPacket, msg: "Remaining Length does not agree with the bytes of the packet"},
	faultTooLarge:         {name: "too-large", reason: PacketTooLarge, msg: "the packet is larger than the maximum packet size"},

	faultTruncated:   {name: "truncated", rule4: r4, rule5: r5, reason: MalformedPacket, msg: "the packet ends inside or before this field"},
	faultSurplus:     {name: "surplus", rule4: r4, rule5: r5, reason: MalformedPacket, soft4: true, msg: "bytes follow the last field"},
	faultSurplusAck:  {name: "surplus-after-properties", rule4: r4, rule5: "P-3.2.3-no-payload " + r5, reason: MalformedPacket, soft4: true, msg: "bytes follow the last field of a packet without payload"},
	faultSurplusPing: {name: "surplus-ping", rule4: r4, rule5: "P-3.12-ping-length " + r5, reason: MalformedPacket, soft4: true, msg: "the packet has a body although its Remaining Length is always 0"},
	faultTextTooLong: {name: "field-too-long", rule4: "MQTT-4.7.3-3", rule5: "MQTT-4.7.3-3", reason: MalformedPacket, msg: "a string or binary field takes more than 65,535 bytes"},

	faultTopicUTF8:         {name: "topic-utf8", rule4: "MQTT-1.5.3-1 MQTT-3.3.2-1", rule5: "MQTT-1.5.4-1 MQTT-3.3.2-1", reason: MalformedPacket, msg: "the Topic Name is not well-formed UTF-8"},
	faultTopicNUL:          {name: "topic-nul", rule4: "MQTT-4.7.3-2 MQTT-1.5.3-2 MQTT-3.3.2-1", rule5: "MQTT-4.7.3-2 MQTT-1.5.4-2 MQTT-3.3.2-1", reason: MalformedPacket, msg: "the Topic Name holds U+0000"},
	faultSubscribeUTF8:     {name: "subscribe-filter-utf8", rule4: "MQTT-3.8.3-1 MQTT-1.5.3-1", rule5: "MQTT-3.8.3-1 MQTT-1.5.4-1", reason: MalformedPacket, msg: "a Topic Filter is not well-formed UTF-8"},
	faultSubscribeNUL:      {name: "subscribe-filter-nul", rule4: "MQTT-4.7.3-2 MQTT-1.5.3-2 MQTT-3.8.3-1", rule5: "MQTT-4.7.3-2 MQTT-1.5.4-2 MQTT-3.8.3-1", reason: MalformedPacket, msg: "a Topic Filter holds U+0000"},
	faultUnsubscribeUTF8:   {name: "unsubscribe-filter-utf8", rule4: "MQTT-3.10.3-1 MQTT-1.5.3-1", rule5: "MQTT-3.10.3-1 MQTT-1.5.4-1", reason: MalformedPacket, msg: "a Topic Filter is not well-formed UTF-8"},
	faultUnsubscribeNUL:    {name: "unsubscribe-filter-nul", rule4: "MQTT-4.7.3-2 MQTT-1.5.3-2 MQTT-3.10.3-1", rule5: "MQTT-4.7.3-2 MQTT-1.5.4-2 MQTT-3.10.3-1", reason: MalformedPacket, msg: "a Topic Filter holds U+0000"},
	faultClientIDUTF8:      {name: "client-id-utf8", rule4: "MQTT-3.1.3-4 MQTT-1.5.3-1" + connect, rule5: "MQTT-3.1.3-4 MQTT-1.5.4-1" + connect, reason: MalformedPacket, msg: "the Client Identifier is not well-formed UTF-8"},
	faultClientIDNUL:       {name: "client-id-nul", rule4: "MQTT-1.5.3-2 MQTT-3.1.3-4" + connect, rule5: "MQTT-1.5.4-2 MQTT-3.1.3-4" + connect, reason: MalformedPacket, msg: "the Client Identifier holds U+0000"},
	faultWillTopicUTF8:     {name: "will-topic-utf8", rule4: "MQTT-3.1.3-10 MQTT-1.5.3-1" + connect, rule5: "MQTT-3.1.3-11 MQTT-1.5.4-1" + connect, reason: MalformedPacket, msg: "the Will Topic is not well-formed UTF-8"},
	faultWillTopicNUL:      {name: "will-topic-nul", rule4: "MQTT-4.7.3-2 MQTT-1.5.3-2 MQTT-3.1.3-10" + connect, rule5: "MQTT-4.7.3-2 MQTT-1.5.4-2 MQTT-3.1.3-11" + connect, reason: MalformedPacket, msg: "the Will Topic holds U+0000"},
	faultUsernameUTF8:      {name: "username-utf8", rule4: "MQTT-3.1.3-11 MQTT-1.5.3-1" + connect, rule5: "MQTT-3.1.3-12 MQTT-1.5.4-1" + connect, reason: MalformedPacket, msg: "the User Name is not well-formed UTF-8"},
	faultUsernameNUL:       {name: "username-nul", rule4: "MQTT-1.5.3-2 MQTT-3.1.3-11" + connect, rule5: "MQTT-1.5.4-2 MQTT-3.1.3-12" + connect, reason: MalformedPacket, msg: "the User Name holds U+0000"},
	faultPropertyUTF8:      {name: "property-utf8", rule5: "MQTT-1.5.4-1", reason: MalformedPacket, msg: "the value is not well-formed UTF-8"},
	faultPropertyNUL:       {name: "property-nul", rule5: "MQTT-1.5.4-2", reason: MalformedPacket, msg: "the value holds U+0000"},
	faultResponseTopicUTF8: {name: "response-topic-utf8", rule5: "MQTT-3.3.2-13 MQTT-1.5.4-1", reason: MalformedPacket, msg: "the value is not well-formed UTF-8"},
	faultResponseTopicNUL:  {name: "response-topic-nul", rule5: "MQTT-1.5.4-2 MQTT-4.7.3-2 MQTT-3.3.2-13", reason: MalformedPacket, msg: "the value holds U+0000"},
	faultContentTypeUTF8:   {name: "content-type-utf8", rule5: "MQTT-3.3.2-19 MQTT-1.5.4-1", reason: MalformedPacket, msg: "the value is not well-formed UTF-8"},
	faultContentTypeNUL:    {name: "content-type-nul", rule5: "MQTT-1.5.4-2 MQTT-3.3.2-19", reason: MalformedPacket, msg: "the value holds U+0000"},
	faultPairUTF8:          {name: "user-property-utf8", rule5: "MQTT-1.5.7-1 MQTT-1.5.4-1", reason: MalformedPacket, msg: "the name or value is not well-formed UTF-8"},
	faultPairNUL:           {name: "user-property-nul", rule5: "MQTT-1.5.7-1 MQTT-1.5.4-2", reason: MalformedPacket, msg: "the name or value holds U+0000"},

	faultTopicWildcard:      {name: "topic-wildcard", rule4: "MQTT-3.3.2-2 MQTT-4.7.1-1", rule5: "MQTT-3.3.2-2 MQTT-4.7.0-1", reason: TopicNameInvalid, msg: "the Topic Name holds a wildcard"},
	faultTopicEmpty:         {name: "topic-empty", rule4: "MQTT-4.7.3-1", rule5: "P-3.3.2.1-empty-topic-without-alias MQTT-4.7.3-1", reason: ProtocolError, msg: "the Topic Name is empty and no Topic Alias stands for it"},
	faultWillTopicWildcard:  {name: "will-topic-wildcard", rule4: "MQTT-4.7.1-1", rule5: "MQTT-4.7.0-1", reason: TopicNameInvalid, msg: "the Will Topic holds a wildcard"},
	faultWillTopicEmpty:     {name: "will-topic-empty", rule4: "MQTT-4.7.3-1", rule5: "MQTT-4.7.3-1", reason: TopicNameInvalid, msg: "the Will Topic is empty"},
	faultFilterEmpty:        {name: "filter-empty", rule4: "MQTT-4.7.3-1", rule5: "MQTT-4.7.3-1", reason: TopicFilterInvalid, msg: "a Topic Filter is empty"},
	faultFilterHash:         {name: "filter-hash", rule4: "MQTT-4.7.1-2", rule5: "MQTT-4.7.1-1", reason: TopicFilterInvalid, msg: "# is not alone in the last level of a Topic Filter"},
	faultFilterPlus:         {name: "filter-plus", rule4: "MQTT-4.7.1-3", rule5: "MQTT-4.7.1-2", reason: TopicFilterInvalid, msg: "+ does not fill a whole level of a Topic Filter"},
	faultShareNameEmpty:     {name: "share-name-empty", rule5: "MQTT-4.8.2-1", reason: TopicFilterInvalid, msg: "the ShareName of a Shared Subscription is empty"},
	faultShareNameWildcard:  {name: "share-name-wildcard", rule5: "MQTT-4.8.2-2", reason: TopicFilterInvalid, msg: "the ShareName of a Shared Subscription holds a wildcard"},
	faultShareFilterMissing: {name: "share-filter-missing", rule5: "MQTT-4.8.2-2", reason: TopicFilterInvalid, msg: "no Topic Filter follows the ShareName"},

	faultProtocolName:            {name: "protocol-name", rule4: "MQTT-3.1.2-1", rule5: "MQTT-3.1.2-1", reason: UnsupportedProtocolVersion, msg: "the protocol name is neither MQTT nor MQIsdp"},
	faultProtocolLevel:           {name: "protocol-level", rule4: "MQTT-3.1.2-2", rule5: "MQTT-3.1.2-2", reason: UnsupportedProtocolVersion, msg: "the protocol level is not one that goes with the protocol name"},
	faultConnectReserved:         {name: "connect-reserved-flag", rule4: "MQTT-3.1.2-3" + connect, rule5: "MQTT-3.1.2-3" + connect, reason: MalformedPacket, lax31: true, msg: "bit 0 of the Connect Flags is set"},
	faultWillQoS3:                {name: "will-qos-3", rule4: "MQTT-3.1.2-14" + connect, rule5: "MQTT-3.1.2-12" + connect, reason: MalformedPacket, msg: "both Will QoS bits are set"},
	faultWillQoSWithoutWill:      {name: "will-qos-without-will", rule4: "MQTT-3.1.2-13 MQTT-3.1.2-11" + connect, rule5: "MQTT-3.1.2-11" + connect, reason: MalformedPacket, lax31: true, msg: "Will QoS is not 0 although the Will Flag is"},
	faultWillRetainWithoutWill:   {name: "will-retain-without-will", rule4: "MQTT-3.1.2-15 MQTT-3.1.2-11" + connect, rule5: "MQTT-3.1.2-13" + connect, reason: MalformedPacket, lax31: true, msg: "Will Retain is not 0 although the Will Flag is"},
	faultPasswordWithoutUsername: {name: "password-without-username", rule4: "MQTT-3.1.2-22" + connect, reason: MalformedPacket, msg: "the Password Flag is set without the User Name Flag"},
	faultConnectTruncated:        {name: "connect-truncated", rule4: "MQTT-3.1.4-1", rule5: "MQTT-3.1.4-1 " + r5, reason: MalformedPacket, msg: "the packet ends inside or before this field"},
	faultClientIDMissing:         {name: "client-id-missing", rule4: "MQTT-3.1.3-3" + connect, rule5: "MQTT-3.1.3-3" + connect, reason: MalformedPacket, msg: "the payload has no Client Identifier"},
	faultWillMissing:             {name: "will-missing", rule4: "MQTT-3.1.2-9" + connect, rule5: "MQTT-3.1.2-9" + connect, reason: MalformedPacket, msg: "the payload lacks a field that the Will Flag announces"},
	faultUsernameMissing:         {name: "username-missing", rule4: "MQTT-3.1.2-19" + connect, rule5: "MQTT-3.1.2-17" + connect, reason: MalformedPacket, msg: "the payload lacks the User Name that its flag announces"},
	faultPasswordMissing:         {name: "password-missing", rule4: "MQTT-3.1.2-21" + connect, rule5: "MQTT-3.1.2-19" + connect, reason: MalformedPacket, msg: "the payload lacks the Password that its flag announces"},
	faultConnectSurplus:          {name: "connect-surplus", rule4: "MQTT-3.1.4-1", rule5: "MQTT-3.1.4-1 " + r5, reason: MalformedPacket, msg: "bytes follow the last field that the Connect Flags announce"},
	faultSurplusUsername:         {name: "username-without-flag", rule4: "MQTT-3.1.2-18" + connect, rule5: "MQTT-3.1.2-16" + connect, reason: MalformedPacket, msg: "a field follows where only a User Name could stand, whose flag is 0"},
	faultSurplusPassword:         {name: "password-without-flag", rule4: "MQTT-3.1.2-20" + connect, rule5: "MQTT-3.1.2-18" + connect, reason: MalformedPacket, msg: "a field follows where only a Password could stand, whose flag is 0"},
	faultClientIDEmpty:           {name: "client-id-empty", rule4: "MQTT-3.1.3-7 MQTT-3.1.3-8", reason: ClientIDNotValid, msg: "the Client Identifier is empty although CleanSession is 0"},
	faultClientIDLength:          {name: "client-id-length", reason: ClientIDNotValid, msg: "a Client Identifier of MQTT 3.1 has 1 to 23 characters"},
	faultWillPayloadUTF8:         {name: "will-payload-utf8", rule5: "P-3.1.3.2.3-will-payload-not-utf8", reason: PayloadFormatInvalid, soft5: true, msg: "the Will Payload is marked as UTF-8 and is not"},

	faultConnackFlags:          {name: "connack-flags", rule5: "MQTT-3.2.2-1", reason: MalformedPacket, msg: "reserved bits of the Connect Acknowledge Flags are set"},
	faultSessionPresentRefused: {name: "session-present-refused", rule4: "MQTT-3.2.2-4", rule5: "MQTT-3.2.2-6", reason: ProtocolError, msg: "Session Present is 1 in a refusal"},
	faultConnackCode:           {name: "connack-code", rule4: "MQTT-3.2.2-6", rule5: "MQTT-3.2.2-8", reason: ProtocolError, msg: "the code is not one that CONNACK may carry"},

	faultQoS3:                     {name: "publish-qos-3", rule4: "MQTT-3.3.1-4", rule5: "MQTT-3.3.1-4", reason: MalformedPacket, msg: "both QoS bits are set"},
	faultDupQoS0:                  {name: "publish-dup-qos-0", rule4: "MQTT-3.3.1-2 MQTT-4.3.1-1", rule5: "MQTT-3.3.1-2 MQTT-4.3.1-1", reason: ProtocolError, soft4: true, soft5: true, msg: "DUP is set at QoS 0"},
	faultPacketIDZero:             {name: "packet-id-zero", rule4: "MQTT-2.3.1-1", rule5: "MQTT-2.2.1-3 " + idZero, reason: ProtocolError, msg: "the Packet Identifier is 0"},
	faultPacketIDZeroServer:       {name: "packet-id-zero-server", rule4: "MQTT-2.3.1-1", rule5: "MQTT-2.2.1-4 " + idZero, reason: ProtocolError, msg: "the Packet Identifier is 0"},
	faultPacketIDZeroAck:          {name: "packet-id-zero-ack", rule4: "MQTT-2.3.1-6", rule5: idZero + " MQTT-2.2.1-5", reason: ProtocolError, msg: "the Packet Identifier is 0, so that no PUBLISH can be meant"},
	faultPacketIDZeroReply:        {name: "packet-id-zero-reply", rule4: "MQTT-2.3.1-7", rule5: idZero + " MQTT-2.2.1-6", reason: ProtocolError, msg: "the Packet Identifier is 0, so that no request can be meant"},
	faultSubscriptionIDFromClient: {name: "subscription-id-from-client", rule5: "MQTT-3.3.4-6", reason: ProtocolError, msg: "a Client's PUBLISH carries a Subscription Identifier"},
	faultResponseTopicWildcard:    {name: "response-topic-wildcard", rule5: "MQTT-3.3.2-14", reason: ProtocolError, msg: "the Response Topic holds a wildcard"},
	faultPayloadUTF8:              {name: "payload-utf8", rule5: "P-3.3.2.3.2-payload-not-utf8", reason: PayloadFormatInvalid, soft5: true, msg: "the payload is marked as UTF-8 and is not"},
	faultPubackCode:               {name: "puback-code", rule5: "MQTT-3.4.2-1", reason: ProtocolError, msg: "the Reason Code is not one that PUBACK may carry"},
	faultPubrecCode:               {name: "pubrec-code", rule5: "MQTT-3.5.2-1", reason: ProtocolError, msg: "the Reason Code is not one that PUBREC may carry"},
	faultPubrelCode:               {name: "pubrel-code", rule5: "MQTT-3.6.2-1", reason: ProtocolError, msg: "the Reason Code is not one that PUBREL may carry"},
	faultPubcompCode:              {name: "pubcomp-code", rule5: "MQTT-3.7.2-1", reason: ProtocolError, msg: "the Reason Code is not one that PUBCOMP may carry"},

	faultNoFilters:            {name: "subscribe-empty", rule4: "MQTT-3.8.3-3", rule5: "MQTT-3.8.3-2", reason: ProtocolError, msg: "SUBSCRIBE has no Topic Filter"},
	faultOptionsMissing:       {name: "options-missing", rule4: "MQTT-3.8.3-3 " + r4, rule5: "P-3.8.3-options-missing " + r5, reason: MalformedPacket, msg: "no options byte follows the Topic Filter"},
	faultSubscribeQoS3:        {name: "subscribe-qos-3", rule4: "MQTT-3.8.3-4", rule5: "P-3.8.3.1-qos-3", reason: ProtocolError, msg: "the requested QoS is 3"},
	faultSubscribeReserved:    {name: "subscribe-reserved-bits", rule4: "MQTT-3.8.3-4", rule5: "MQTT-3.8.3-5", reason: MalformedPacket, lax31: true, msg: "reserved bits of the options byte are set"},
	faultRetainHandling3:      {name: "retain-handling-3", rule5: "P-3.8.3.1-retain-handling-3", reason: ProtocolError, msg: "Retain Handling is 3"},
	faultNoLocalShared:        {name: "no-local-shared", rule5: "MQTT-3.8.3-4", reason: ProtocolError, msg: "No Local is set on a Shared Subscription"},
	faultSubackCode:           {name: "suback-code", rule4: "MQTT-3.9.3-2", rule5: "MQTT-3.9.3-2", reason: ProtocolError, msg: "the code is not one that SUBACK may carry"},
	faultSubackEmpty:          {name: "suback-empty", rule4: "MQTT-3.8.4-5", rule5: "MQTT-3.8.4-6", reason: ProtocolError, msg: "SUBACK has no code"},
	faultNoUnsubscribeFilters: {name: "unsubscribe-empty", rule4: "MQTT-3.10.3-2", rule5: "MQTT-3.10.3-2", reason: ProtocolError, msg: "UNSUBSCRIBE has no Topic Filter"},
	faultUnsubackCode:         {name: "unsuback-code", rule5: "MQTT-3.11.3-2", reason: ProtocolError, msg: "the Reason Code is not one that UNSUBACK may carry"},
	faultUnsubackEmpty:        {name: "unsuback-empty", rule5: "MQTT-3.11.3-2", reason: ProtocolError, msg: "UNSUBACK has no Reason Code"},

	faultDisconnectCode:        {name: "disconnect-code", rule5: "MQTT-3.14.2-1", reason: ProtocolError, msg: "the Reason Code is not one that DISCONNECT may carry"},
	faultDisconnectSide:        {name: "disconnect-code-side", rule5: "P-3.14.2.1-sender-only-codes MQTT-3.14.2-1", reason: ProtocolError, msg: "the Reason Code is for the other side's DISCONNECT"},
	faultServerSessionExpiry:   {name: "server-session-expiry", rule5: "MQTT-3.14.2-2", reason: ProtocolError, msg: "a Server's DISCONNECT carries a Session Expiry Interval"},
	faultAuthCode:              {name: "auth-code", rule5: "MQTT-3.15.2-1", reason: ProtocolError, msg: "the Reason Code is not one that this side's AUTH may carry"},
	faultAuthMethodMissing:     {name: "auth-method-missing", rule5: "P-3.15.2.2.2-method-missing", reason: ProtocolError, msg: "AUTH has no Authentication Method"},
	faultAuthShortForm:         {name: "auth-short-form", rule5: "P-3.15.2.2.2-method-missing", reason: ProtocolError, soft5: true, msg: "AUTH has no Authentication Method: the short form is described in one place and ruled out in another"},
	faultAuthDataWithoutMethod: {name: "auth-data-without-method", rule5: "P-3.1.2.11.10-auth-data-without-method", reason: ProtocolError, msg: "Authentication Data stands without an Authentication Method"},

	faultPropertyLengthMissing: {name: "property-length-missing", rule5: "MQTT-2.2.2-1 " + r5, reason: MalformedPacket, msg: "the packet ends where a Property Length has to stand"},
	faultPropertyOverrun:       {name: "property-overrun", rule5: "P-2.2.2.1-property-length-overrun", reason: MalformedPacket, msg: "the Property Length reaches beyond the packet or cuts a property in two"},
	faultPropertyUnknown:       {name: "property-unknown", rule5: "P-2.2.2.2-unknown-identifier", reason: MalformedPacket, msg: "the property identifier is not defined"},
	faultPropertyForeign:       {name: "property-foreign", rule5: "P-2.2.2.2-identifier-wrong-packet", reason: MalformedPacket, msg: "the packet type does not allow the property"},
	faultPropertyDuplicate:     {name: "property-duplicate", reason: ProtocolError, msg: "the property stands more than once"},
	faultPropertyRange:         {name: "property-range", reason: ProtocolError, msg: "the value is out of the property's range"},
	faultTopicAliasZero:        {name: "topic-alias-zero", rule5: "MQTT-3.3.2-8 P-3.3.4-topic-alias-range", reason: TopicAliasInvalid, msg: "the Topic Alias is 0"},
}

// propRule names the rule for a property fault in one packet type; Will Properties have type 0.
type propRule struct {
	packet Type
	id     PropID
}

// duplicateRules are the rules that a repeated property breaks.
var duplicateRules = map[propRule]string{
	{TypeConnect, PropSessionExpiry}:       "P-3.1.2.11.2-session-expiry-duplicate",
	{TypeConnect, PropReceiveMaximum}:      "P-3.1.2.11.3-receive-maximum-duplicate",
	{TypeConnect, PropMaximumPacketSize}:   "P-3.1.2.11.4-maximum-packet-size-duplicate",
	{TypeConnect, PropTopicAliasMaximum}:   "P-3.1.2.11.5-topic-alias-maximum-duplicate",
	{TypeConnect, PropRequestResponseInfo}: "P-3.1.2.11.6-request-response-duplicate",
	{TypeConnect, PropRequestProblemInfo}:  "P-3.1.2.11.7-request-problem-duplicate",
	{TypeConnect, PropAuthMethod}:          "P-3.1.2.11.9-auth-method-duplicate",
	{TypeConnect, PropAuthData}:            "P-3.1.2.11.10-auth-data-duplicate",
	{0, PropWillDelay}:                     "P-3.1.3.2.2-will-delay-duplicate",
	{0, PropPayloadFormat}:                 "P-3.1.3.2.3-will-payload-format-duplicate",
	{0, PropMessageExpiry}:                 "P-3.1.3.2.4-will-message-expiry-duplicate",
	{0, PropContentType}:                   "P-3.1.3.2.5-will-content-type-duplicate",
	{0, PropResponseTopic}:                 "P-3.1.3.2.6-will-response-topic-duplicate",
	{0, PropCorrelationData}:               "P-3.1.3.2.7-will-correlation-duplicate",
	{TypePublish, PropPayloadFormat}:       "P-3.3.2.3.2-payload-format-duplicate",
	{TypePublish, PropMessageExpiry}:       "P-3.3.2.3.3-message-expiry-duplicate",
	{TypePublish, PropTopicAlias}:          "P-3.3.2.3.4-topic-alias-duplicate",
	{TypePublish, PropResponseTopic}:       "P-3.3.2.3.5-response-topic-duplicate",
	{TypePublish, PropCorrelationData}:     "P-3.3.2.3.6-correlation-duplicate",
	{TypePublish, PropContentType}:         "P-3.3.2.3.9-content-type-duplicate",
	{TypePuback, PropReasonString}:         "P-3.4.2.2-ack-reason-string-duplicate",
	{TypePubrec, PropReasonString}:         "P-3.4.2.2-ack-reason-string-duplicate",
	{TypePubrel, PropReasonString}:         "P-3.4.2.2-ack-reason-string-duplicate",
	{TypePubcomp, PropReasonString}:        "P-3.4.2.2-ack-reason-string-duplicate",
	{TypeSubscribe, PropSubscriptionID}:    "P-3.8.2.1.2-subscription-identifier-duplicate",
	{TypeSuback, PropReasonString}:         "P-3.9.2.1.2-reason-string-duplicate",
	{TypeUnsuback, PropReasonString}:       "P-3.9.2.1.2-reason-string-duplicate",
	{TypeDisconnect, PropSessionExpiry}:    "P-3.14.2.2.2-session-expiry-duplicate",
	{TypeDisconnect, PropReasonString}:     "P-3.14.2.2.3-reason-string-duplicate",
	{TypeDisconnect, PropServerReference}:  "P-3.14.2.2.5-server-reference-duplicate",
	{TypeAuth, PropAuthMethod}:             "P-3.15.2.2.2-method-missing",
	{TypeAuth, PropAuthData}:               "P-3.15.2.2.3-data-duplicate",
	{TypeAuth, PropReasonString}:           "P-3.15.2.2.3-data-duplicate",
}

// rangeRules are the rules that a value out of range breaks.
var rangeRules = map[propRule]string{
	{TypeConnect, PropReceiveMaximum}:         "P-3.1.2.11.3-receive-maximum-zero",
	{TypeConnect, PropMaximumPacketSize}:      "P-3.1.2.11.4-maximum-packet-size-zero",
	{TypeConnect, PropRequestResponseInfo}:    "P-3.1.2.11.6-request-response-value",
	{TypeConnect, PropRequestProblemInfo}:     "P-3.1.2.11.7-request-problem-value",
	{0, PropPayloadFormat}:                    "P-3.1.3.2.3-will-payload-format-value",
	{TypeConnack, PropReceiveMaximum}:         "P-3.2.2.3.3-receive-maximum-zero",
	{TypeConnack, PropMaximumQoS}:             "P-3.2.2.3.4-maximum-qos-value",
	{TypeConnack, PropRetainAvailable}:        "P-3.2.2.3.5-retain-available-value",
	{TypeConnack, PropMaximumPacketSize}:      "P-3.2.2.3.6-maximum-packet-size-zero",
	{TypeConnack, PropWildcardAvailable}:      "P-3.2.2.3.11-wildcard-value",
	{TypeConnack, PropSubscriptionIDsAvail}:   "P-3.2.2.3.12-subscription-identifiers-value",
	{TypeConnack, PropSharedSubscriptionsAvl}: "P-3.2.2.3.13-shared-value",
	{TypePublish, PropPayloadFormat}:          "P-3.3.2.3.2-payload-format-value",
	{TypePublish, PropSubscriptionID}:         "P-3.3.2.3.8-subscription-identifier-zero",
	{TypeSubscribe, PropSubscriptionID}:       "P-3.8.2.1.2-subscription-identifier-zero",
}

// propertyError completes the Error of a property fault with the property's name and the rule
// for this packet. Will Properties are told by will.
func propertyError(f fault, id PropID, t Type, will bool, offset int) *Error {
	e := newError(f, t, V5, offset)
	key := propRule{t, id}
	if will {
		key.packet = 0
	}
	switch f {
	case faultPropertyDuplicate:
		e.rules = duplicateRules[key]
		if t == TypeConnack {
			e.rules = "P-3.2.2.3-connack-duplicates"
		}
		e.Rule = e.rules
	case faultPropertyRange:
		e.rules = rangeRules[key]
		e.Rule = e.rules
		if id == PropPayloadFormat {
			e.Reason = MalformedPacket
		}
	}
	if id.Info().Kind != KindNone {
		e.Msg = id.String() + ": " + e.Msg
	}
	if t == TypeConnect && e.Reason == MalformedPacket && !strings.HasSuffix(e.rules, connect) {
		e.rules += connect
	}
	return e
}
