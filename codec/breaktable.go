package codec

import "slices"

// textFaults returns the UTF-8 faults of the strings that badString can reach; nul 1 stands for
// those of U+0000.
func textFaults(nul fault) []fault {
	list := []fault{
		faultTopicUTF8, faultSubscribeUTF8, faultUnsubscribeUTF8, faultClientIDUTF8, faultPropertyUTF8, faultPairUTF8,
		faultResponseTopicUTF8, faultContentTypeUTF8,
	}
	for i := range list {
		list[i] += nul
	}
	return list
}

var (
	flagFaultList = []fault{
		faultFlags, faultFlagsPubrel, faultFlagsSubscribe, faultFlagsUnsubscribe, faultFlagsDisconnect, faultFlagsAuth,
	}
	truncatedFaults = []fault{faultTruncated, faultConnectTruncated}
	packetIDFaults  = []fault{faultPacketIDZero, faultPacketIDZeroServer, faultPacketIDZeroAck, faultPacketIDZeroReply}
	codeFaults      = []fault{
		faultConnackCode, faultPubackCode, faultPubrecCode, faultPubrelCode, faultPubcompCode, faultSubackCode,
		faultUnsubackCode, faultDisconnectCode, faultAuthCode,
	}
	trailingFaults = []fault{faultSurplus, faultSurplusAck, faultSurplusPing, faultConnectSurplus, faultTruncated}
)

// breakages is indexed by Breakage.
var breakages = [breakCount]breakInfo{
	BreakReservedType: {slug: "reserved-type", faults: []fault{faultReservedType}, apply: func(d *draft) bool {
		d.frame[0] &= 15
		return true
	}},
	BreakReservedFlag: {slug: "reserved-flag", faults: flagFaultList, apply: func(d *draft) bool {
		d.frame[0] ^= 1
		return d.t != TypePublish
	}},
	BreakVarintPadded: {slug: "varint-padded", faults: []fault{faultVarintPadded}, only5: true, apply: func(d *draft) bool {
		n := d.body()
		if n > 4 {
			return false
		}
		d.frame[n-1] |= 0x80
		d.frame = slices.Insert(d.frame, n, 0)
		return true
	}},
	BreakVarintFiveBytes: {slug: "varint-five-bytes", faults: []fault{faultVarintLong}, apply: func(d *draft) bool {
		n := d.body()
		d.frame[n-1] |= 0x80
		for ; n < 5; n++ {
			d.frame = slices.Insert(d.frame, n, 0x80)
		}
		d.frame = slices.Insert(d.frame, n, 0)
		return true
	}},
	BreakHeaderOnly: {slug: "header-only", faults: truncatedFaults, apply: func(d *draft) bool {
		return d.t != TypeDisconnect && d.t != TypeAuth && d.truncate(d.body())
	}},
	BreakTruncated: {slug: "truncated", faults: truncatedFaults, apply: func(d *draft) bool {
		return d.t != TypeDisconnect && d.t != TypeAuth && len(d.frame) > d.body()+1 && d.truncate(d.body()+1)
	}},
	BreakTrailingByte: {slug: "trailing-byte", faults: trailingFaults, apply: breakTrailing},
	BreakPacketIDZero: {slug: "packet-id-zero", faults: packetIDFaults, apply: func(d *draft) bool {
		f, ok := d.find(FieldPacketID)
		if ok {
			d.splice(f.Offset, 2, 0, 0)
		}
		return ok
	}},
	BreakReasonCode: {slug: "reason-code", faults: codeFaults, apply: func(d *draft) bool {
		if d.v == V5 {
			d.firstBlock() // a short form has no Reason Code to break
		}
		f, ok := d.find(FieldReason)
		return ok && d.set(f, 0x7F)
	}},

	BreakUTF8:         {slug: "utf8-ill-formed", faults: textFaults(0), apply: func(d *draft) bool { return d.badString("\xC3\x28") }},
	BreakSurrogate:    {slug: "utf8-surrogate", faults: textFaults(0), apply: func(d *draft) bool { return d.badString("\xED\xA0\x80") }},
	BreakOverlongUTF8: {slug: "utf8-overlong", faults: textFaults(0), apply: func(d *draft) bool { return d.badString("\xC0\x80") }},
	BreakNUL:          {slug: "utf8-nul", faults: textFaults(1), apply: func(d *draft) bool { return d.badString("a\x00b") }},

	BreakProtocolName: {slug: "protocol-name", faults: []fault{faultProtocolName}, apply: func(d *draft) bool {
		return d.replaceText(FieldProtocolName, "MQTX")
	}},
	BreakProtocolLevel: {slug: "protocol-level", faults: []fault{faultProtocolLevel}, apply: func(d *draft) bool {
		f, ok := d.find(FieldLevel)
		return ok && d.set(f, 9)
	}},
	BreakConnectReservedFlag: {slug: "connect-reserved-flag", faults: []fault{faultConnectReserved}, apply: func(d *draft) bool {
		return d.connectFlags(0, 0, flagReserved)
	}},
	BreakWillQoS3: {slug: "will-qos-3", faults: []fault{faultWillQoS3}, apply: func(d *draft) bool {
		return d.connectFlags(flagWill, 0, 3<<3)
	}},
	BreakWillQoSWithoutWill: {slug: "will-qos-without-will", faults: []fault{faultWillQoSWithoutWill}, apply: func(d *draft) bool {
		return d.connectFlags(0, flagWill, 1<<3)
	}},
	BreakWillRetainWithoutWill: {slug: "will-retain-without-will", faults: []fault{faultWillRetainWithoutWill}, apply: func(d *draft) bool {
		return d.connectFlags(0, flagWill, flagWillRetain)
	}},
	BreakWillMissing: {slug: "will-missing", faults: []fault{faultWillMissing}, apply: func(d *draft) bool {
		return d.connectFlags(0, flagWill|flagUsername|flagPassword, flagWill)
	}},
	BreakWillTopicWildcard: {slug: "will-topic-wildcard", faults: []fault{faultWillTopicWildcard}, apply: func(d *draft) bool {
		return d.replaceText(FieldWillTopic, "a/#")
	}},
	BreakWillTopicEmpty: {slug: "will-topic-empty", faults: []fault{faultWillTopicEmpty}, apply: func(d *draft) bool {
		return d.replaceText(FieldWillTopic, "")
	}},
	BreakUsernameMissing: {slug: "username-missing", faults: []fault{faultUsernameMissing}, apply: func(d *draft) bool {
		return d.v != V31 && d.connectFlags(0, flagUsername|flagPassword, flagUsername)
	}},
	BreakUsernameWithoutFlag: {slug: "username-without-flag", faults: []fault{faultSurplusUsername}, apply: func(d *draft) bool {
		f, ok := d.find(FieldConnectFlags)
		if !ok || d.at(f)&(flagUsername|flagPassword) != 0 {
			return false
		}
		d.splice(len(d.frame), 0, 0, 1, 'u')
		return true
	}},
	BreakPasswordMissing: {slug: "password-missing", faults: []fault{faultPasswordMissing}, apply: func(d *draft) bool {
		return d.v != V31 && d.connectFlags(flagUsername, flagPassword, flagPassword)
	}},
	BreakPasswordWithoutUsername: {slug: "password-without-username", faults: []fault{faultPasswordWithoutUsername}, only4: true, apply: func(d *draft) bool {
		if !d.connectFlags(0, flagUsername|flagPassword, flagPassword) {
			return false
		}
		d.splice(len(d.frame), 0, 0, 1, 'p')
		return true
	}},
	BreakClientIDEmpty: {slug: "client-id-empty", faults: []fault{faultClientIDEmpty, faultClientIDLength}, only4: true, apply: func(d *draft) bool {
		f, ok := d.find(FieldConnectFlags)
		return ok && d.set(f, d.at(f)&^flagCleanStart) && d.replaceText(FieldClientID, "")
	}},
	BreakClientIDMissing: {slug: "client-id-missing", faults: []fault{faultClientIDMissing}, apply: func(d *draft) bool {
		f, ok := d.find(FieldClientID)
		return ok && d.truncate(f.Offset)
	}},
	BreakConnackFlags: {slug: "connack-flags", faults: []fault{faultConnackFlags}, apply: func(d *draft) bool {
		f, ok := d.find(FieldAckFlags)
		return ok && d.v != V31 && d.set(f, d.at(f)|2)
	}},
	BreakSessionPresentRefused: {slug: "session-present-refused", faults: []fault{faultSessionPresentRefused}, apply: func(d *draft) bool {
		f, ok := d.find(FieldAckFlags)
		if !ok || d.v == V31 {
			return false
		}
		code := ReturnNotAuthorized
		if d.v == V5 {
			code = NotAuthorized
		}
		d.frame[f.Offset], d.frame[f.Offset+1] = 1, byte(code)
		return true
	}},

	BreakQoS3: {slug: "publish-qos-3", faults: []fault{faultQoS3}, apply: func(d *draft) bool {
		d.frame[0] |= flagQoS
		return d.t == TypePublish
	}},
	BreakDupQoS0: {slug: "publish-dup-qos-0", faults: []fault{faultDupQoS0}, apply: func(d *draft) bool {
		d.frame[0] |= flagDup
		return d.t == TypePublish && d.frame[0]&flagQoS == 0
	}},
	BreakTopicEmpty: {slug: "topic-empty", faults: []fault{faultTopicEmpty}, apply: func(d *draft) bool {
		return !d.hasProperty(PropTopicAlias) && d.replaceText(FieldTopic, "")
	}},
	BreakTopicHash: {slug: "topic-hash", faults: []fault{faultTopicWildcard}, apply: func(d *draft) bool { return d.replaceText(FieldTopic, "a/#") }},
	BreakTopicPlus: {slug: "topic-plus", faults: []fault{faultTopicWildcard}, apply: func(d *draft) bool { return d.replaceText(FieldTopic, "a/+/b") }},

	BreakNoFilters: {slug: "no-filters", faults: []fault{faultNoFilters, faultNoUnsubscribeFilters}, apply: func(d *draft) bool {
		f, ok := d.find(FieldFilter)
		return ok && d.truncate(f.Offset)
	}},
	BreakFilterEmpty:        {slug: "filter-empty", faults: []fault{faultFilterEmpty}, apply: func(d *draft) bool { return d.replaceText(FieldFilter, "") }},
	BreakFilterHash:         {slug: "filter-hash", faults: []fault{faultFilterHash}, apply: func(d *draft) bool { return d.replaceText(FieldFilter, "a/#/b") }},
	BreakFilterPlus:         {slug: "filter-plus", faults: []fault{faultFilterPlus}, apply: func(d *draft) bool { return d.replaceText(FieldFilter, "a/b+") }},
	BreakShareNameEmpty:     {slug: "share-name-empty", faults: []fault{faultShareNameEmpty}, only5: true, apply: func(d *draft) bool { return d.shared("$share//t") }},
	BreakShareNameWildcard:  {slug: "share-name-wildcard", faults: []fault{faultShareNameWildcard}, only5: true, apply: func(d *draft) bool { return d.shared("$share/g+/t") }},
	BreakShareFilterMissing: {slug: "share-filter-missing", faults: []fault{faultShareFilterMissing}, only5: true, apply: func(d *draft) bool { return d.shared("$share/g") }},
	BreakOptionsMissing: {slug: "options-missing", faults: []fault{faultOptionsMissing}, apply: func(d *draft) bool {
		return d.t == TypeSubscribe && d.truncate(len(d.frame)-1)
	}},
	BreakSubscribeQoS3:     {slug: "subscribe-qos-3", faults: []fault{faultSubscribeQoS3}, apply: func(d *draft) bool { return d.options(optionQoS) }},
	BreakSubscribeReserved: {slug: "subscribe-reserved-bits", faults: []fault{faultSubscribeReserved}, apply: func(d *draft) bool { return d.options(0x80) }},
	BreakRetainHandling3:   {slug: "retain-handling-3", faults: []fault{faultRetainHandling3}, only5: true, apply: func(d *draft) bool { return d.options(optionRetainHandling) }},
	BreakNoLocalShared: {slug: "no-local-shared", faults: []fault{faultNoLocalShared}, only5: true, apply: func(d *draft) bool {
		return d.t == TypeSubscribe && d.replaceText(FieldFilter, "$share/g/t") && d.options(optionNoLocal)
	}},

	BreakPropertyLengthMissing: {slug: "property-length-missing", faults: []fault{faultPropertyLengthMissing}, only5: true, apply: func(d *draft) bool {
		f, ok := d.find(FieldPropertyLength)
		switch d.t {
		case TypePuback, TypePubrec, TypePubrel, TypePubcomp, TypeDisconnect:
			return false // may be left out
		}
		return ok && d.truncate(f.Offset)
	}},
	BreakPropertyLengthLong:  {slug: "property-length-long", faults: []fault{faultPropertyOverrun}, only5: true, apply: breakPropertyLong},
	BreakPropertyLengthShort: {slug: "property-length-short", faults: []fault{faultPropertyOverrun}, only5: true, apply: breakPropertyShort},
	BreakPropertyUnknown:     {slug: "property-unknown", faults: []fault{faultPropertyUnknown}, only5: true, apply: func(d *draft) bool { return d.addProperty(0x04, 0) }},
	BreakPropertyForeign: {slug: "property-foreign", faults: []fault{faultPropertyForeign}, only5: true, apply: func(d *draft) bool {
		if d.t == TypeConnack {
			return d.addProperty(byte(PropTopicAlias), 0, 1)
		}
		return d.addProperty(byte(PropServerKeepAlive), 0, 60)
	}},
	BreakPropertyDuplicate: {slug: "property-duplicate", faults: []fault{faultPropertyDuplicate}, only5: true, apply: breakDuplicate},
	BreakPropertyUTF8: {slug: "property-utf8", faults: []fault{faultPairUTF8}, only5: true, apply: func(d *draft) bool {
		return d.addProperty(byte(PropUserProperty), 0, 1, 'k', 0, 1, 0xFF)
	}},
	BreakPayloadFormat2: {slug: "payload-format-2", faults: []fault{faultPropertyRange}, only5: true, apply: func(d *draft) bool {
		return d.t == TypePublish && d.addProperty(byte(PropPayloadFormat), 2)
	}},
	BreakReceiveMaximumZero: {slug: "receive-maximum-zero", faults: []fault{faultPropertyRange}, only5: true, apply: func(d *draft) bool {
		return (d.t == TypeConnect || d.t == TypeConnack) && d.addProperty(byte(PropReceiveMaximum), 0, 0)
	}},
	BreakMaximumPacketSizeZero: {slug: "maximum-packet-size-zero", faults: []fault{faultPropertyRange}, only5: true, apply: func(d *draft) bool {
		return (d.t == TypeConnect || d.t == TypeConnack) && d.addProperty(byte(PropMaximumPacketSize), 0, 0, 0, 0)
	}},
	BreakTopicAliasZero: {slug: "topic-alias-zero", faults: []fault{faultTopicAliasZero}, only5: true, apply: func(d *draft) bool {
		return d.t == TypePublish && d.addProperty(byte(PropTopicAlias), 0, 0)
	}},
	BreakSubscriptionIDZero: {slug: "subscription-id-zero", faults: []fault{faultPropertyRange}, only5: true, apply: func(d *draft) bool {
		return (d.t == TypeSubscribe || d.t == TypePublish) && d.addProperty(byte(PropSubscriptionID), 0)
	}},
	BreakSubscriptionIDFromClient: {slug: "subscription-id-from-client", faults: []fault{faultSubscriptionIDFromClient}, only5: true, apply: func(d *draft) bool {
		return d.t == TypePublish && d.addProperty(byte(PropSubscriptionID), 1)
	}},
	BreakResponseTopicWildcard: {slug: "response-topic-wildcard", faults: []fault{faultResponseTopicWildcard}, only5: true, apply: func(d *draft) bool {
		return d.t == TypePublish && d.addProperty(byte(PropResponseTopic), 0, 3, 'r', '/', '#')
	}},
	BreakRequestProblemInfo2: {slug: "request-problem-info-2", faults: []fault{faultPropertyRange}, only5: true, apply: func(d *draft) bool {
		return d.t == TypeConnect && d.addProperty(byte(PropRequestProblemInfo), 2)
	}},
	BreakRequestResponseInfo2: {slug: "request-response-info-2", faults: []fault{faultPropertyRange}, only5: true, apply: func(d *draft) bool {
		return d.t == TypeConnect && d.addProperty(byte(PropRequestResponseInfo), 2)
	}},
	BreakAuthDataWithoutMethod: {slug: "auth-data-without-method", faults: []fault{faultAuthDataWithoutMethod}, only5: true, apply: func(d *draft) bool {
		if d.t != TypeConnect {
			return false
		}
		d.removeProperty(PropAuthMethod)
		return d.addProperty(byte(PropAuthData), 0, 1, 'd')
	}},
	BreakAuthMethodMissing: {slug: "auth-method-missing", faults: []fault{faultAuthMethodMissing}, only5: true, apply: func(d *draft) bool {
		if d.t != TypeAuth {
			return false
		}
		d.removeProperty(PropAuthMethod)
		return true
	}},
	BreakServerSessionExpiry: {slug: "server-session-expiry", faults: []fault{faultServerSessionExpiry}, only5: true, apply: func(d *draft) bool {
		return d.t == TypeDisconnect && d.addProperty(byte(PropSessionExpiry), 0, 0, 0, 60)
	}},
}

// badString puts bad text in the place of the packet's first string, the protocol name aside. A
// packet without one gets a User Property.
func (d *draft) badString(s string) bool {
	for _, f := range d.fields() {
		if f.Kind == KindString && f.Prop == 0 && f.Name != FieldProtocolName {
			return d.replaceText(f.Name, s)
		}
	}
	return d.addProperty(append([]byte{byte(PropUserProperty), 0, 1, 'k'}, appendText(nil, s)...)...)
}

// connectFlags sets Connect Flags where the packet has those it needs and none of the others.
func (d *draft) connectFlags(needs, without, set byte) bool {
	f, ok := d.find(FieldConnectFlags)
	if !ok || d.at(f)&needs != needs || d.at(f)&without != 0 {
		return false
	}
	return d.set(f, d.at(f)|set)
}

// shared puts a filter of a Shared Subscription in the place of the first one.
func (d *draft) shared(filter string) bool {
	if d.t != TypeSubscribe || !d.replaceText(FieldFilter, filter) {
		return false
	}
	if f, ok := d.find(FieldOptions); ok {
		d.set(f, d.at(f)&^optionNoLocal)
	}
	return true
}

// options sets bits in the first options byte.
func (d *draft) options(bits byte) bool {
	f, ok := d.find(FieldOptions)
	return ok && d.set(f, d.at(f)|bits)
}

// breakTrailing appends a byte where the packet has no payload to take it.
func breakTrailing(d *draft) bool {
	switch d.t {
	case TypePublish, TypeSuback:
		return false
	case TypeUnsuback:
		if d.v == V5 {
			return false
		}
	default:
		if d.v == V5 {
			d.firstBlock() // a short form would take the byte for a Reason Code
		}
	}
	d.splice(len(d.frame), 0, 0xFF)
	return true
}

// breakPropertyLong makes the Property Length reach one byte beyond the packet.
func breakPropertyLong(d *draft) bool {
	b, ok := d.firstBlock()
	if !ok {
		return false
	}
	rest := len(d.frame) - b.length.Offset - b.length.Len
	d.splice(b.length.Offset, b.length.Len, AppendVarint(nil, uint32(rest+1))...)
	return true
}

// breakPropertyShort makes the Property Length cut the last property in two, which is a User
// Property of the packet's or one that is put there.
func breakPropertyShort(d *draft) bool {
	if !d.addProperty(byte(PropUserProperty), 0, 1, 'k', 0, 1, 'v') {
		return false
	}
	b, ok := d.firstBlock()
	if ok {
		n := b.end - b.length.Offset - b.length.Len
		d.splice(b.length.Offset, b.length.Len, AppendVarint(nil, uint32(n-1))...)
	}
	return ok
}

// duplicated is a property that each packet type may carry once.
var duplicated = [16][]byte{
	TypeConnect: {byte(PropSessionExpiry), 0, 0, 0, 60}, TypeConnack: {byte(PropReasonString), 0, 1, 'r'},
	TypePublish: {byte(PropMessageExpiry), 0, 0, 0, 60}, TypePuback: {byte(PropReasonString), 0, 1, 'r'},
	TypePubrec: {byte(PropReasonString), 0, 1, 'r'}, TypePubrel: {byte(PropReasonString), 0, 1, 'r'},
	TypePubcomp: {byte(PropReasonString), 0, 1, 'r'}, TypeSubscribe: {byte(PropSubscriptionID), 1},
	TypeSuback: {byte(PropReasonString), 0, 1, 'r'}, TypeUnsuback: {byte(PropReasonString), 0, 1, 'r'},
	TypeDisconnect: {byte(PropReasonString), 0, 1, 'r'}, TypeAuth: {byte(PropReasonString), 0, 1, 'r'},
}

// breakDuplicate repeats the first property that may stand only once, or puts two there.
func breakDuplicate(d *draft) bool {
	b, ok := d.firstBlock()
	if !ok {
		return false
	}
	for _, p := range b.props {
		if !repeatable(p.Prop, d.t) {
			d.spliceBlock(b, p.Offset, 0, slices.Clone(d.frame[p.Offset:p.Offset+p.Len])...)
			return true
		}
	}
	raw := duplicated[d.t]
	if raw == nil {
		return false
	}
	d.spliceBlock(b, b.length.Offset+b.length.Len, 0, slices.Concat(raw, raw)...)
	return true
}
