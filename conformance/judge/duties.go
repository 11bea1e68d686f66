package judge

import (
	"slices"
	"strings"

	"github.com/mqlab/mqlab/conformance/rules"
)

// duty is something that is judged from more than one packet. A duty may stand for several rules
// that the same act breaks, and for other rules in each version.
type duty uint8

const (
	dFirstPacket duty = iota
	dAfterDisconnect
	dCloseAfterDisconnect
	dOnlyAuthBeforeConnack
	dLeaveUnexpectedSession
	dSecondConnect
	dConnackFirst
	dConnackOnce
	dNoDisconnectBeforeConnack
	dCleanSessionPresent
	dSessionPresentAfterEnd
	dRefusalEnds
	dRefusalIgnoresRest
	dAssignedID
	dAssignedIDUnique
	dAssignedIDUnasked
	dResponseInfo
	dProblemInfo

	dAuthUnasked
	dAuthWithoutMethod
	dAuthMethodServer
	dAuthMethodClient
	dReauthMethod
	dAuthContinueServer
	dAuthContinueClient
	dExpiryAfterZero

	dMaximumSizeServer
	dMaximumSizeClient
	dReasonStringFitsConnack
	dUserPropertyFitsConnack
	dReasonStringFitsPuback
	dUserPropertyFitsPuback
	dReasonStringFitsPubrec
	dUserPropertyFitsPubrec
	dReasonStringFitsPubrel
	dUserPropertyFitsPubrel
	dReasonStringFitsPubcomp
	dUserPropertyFitsPubcomp
	dReasonStringFitsSuback
	dUserPropertyFitsSuback
	dReasonStringFitsUnsuback
	dUserPropertyFitsUnsuback
	dReasonStringFitsDisconnect
	dUserPropertyFitsDisconnect
	dReasonStringFitsAuth
	dUserPropertyFitsAuth

	dAliasOffServer
	dAliasMaxServer
	dAliasOffClient
	dAliasMaxClient
	dAliasKnown
	dMaximumQoS
	dRetainAvailable
	dAckedAboveMaximumQoS
	dAckedRetain
	dAckedTooLarge

	dIDInUseClient
	dIDInUseServer
	dIDKeptClient
	dIDKeptServer
	dIDInUseQoS1
	dIDInUseQoS2
	dDupResend
	dDupFirstServer
	dDupFirstQoS1
	dDupFirstQoS2
	dLiveResend
	dPublishAfterPubrel
	dAckID
	dCompID
	dAckType
	dAckTypeQoS1
	dAckTypeQoS2
	dPubrelWithoutPubrec
	dPubrelAfterRefusal
	dPubackOrder
	dPubrecOrder
	dPubrelOrder
	dResendOrder
	dReceiveMaximumServer
	dReceiveMaximumClient
	dQuotaPerConnection
	dInitialQuota
	dStaleAfterClean
	dStaleAfterLoss

	dReplyID
	dSubackID
	dUnsubackID
	dOneSuback
	dOneUnsuback
	dSubackCount
	dSubackAbove
	dSubackOrder
	dUnsubackCount
	dWildcardGranted
	dSharedGranted
	dSubIDGranted

	dTopicMatch
	dDollarTopic
	dGrantedQoS
	dForeignSubID
	dMissingSubID
	dLiveRetain

	dSubAnswered
	dUnsubAnswered
	dPublishAnswered
	dPubrelAnswered
	dPingAnswered

	dKeepAlive
	dKeepAliveOverride
	dServerTimeout
	dServerTimeoutOwn
	dServerTimeoutOverride

	numDuties
)

// sides is a set of sides.
type sides uint8

const (
	byClient sides = 1 << client
	byServer sides = 1 << server
	byBoth         = byClient | byServer
)

func (s sides) has(one side) bool { return s>>one&1 == 1 }

// dutyInfo names the rules of a duty: ids separated by blanks, none where the version has no such rule.
type dutyInfo struct {
	id4, id5 string
	by       sides
}

// dutyIDs are the ids of each duty's rules under 3.1.1 and under 5.0.
var dutyIDs = func() (ids [2][numDuties][]string) {
	for d := range duties {
		ids[0][d], ids[1][d] = strings.Fields(duties[d].id4), strings.Fields(duties[d].id5)
	}
	return ids
}()

// ids returns the rules of the duty. The slice is shared.
func (d duty) ids(v rules.Versions) []string {
	if v == rules.MQTT5 {
		return dutyIDs[1][d]
	}
	return dutyIDs[0][d]
}

var duties = [numDuties]dutyInfo{
	dFirstPacket:               {"MQTT-3.1.0-1", "MQTT-3.1.0-1", byClient},
	dAfterDisconnect:           {"MQTT-3.14.4-2", "MQTT-3.14.4-1", byBoth},
	dCloseAfterDisconnect:      {"MQTT-3.14.4-1", "MQTT-3.14.4-2", byBoth},
	dOnlyAuthBeforeConnack:     {"", "MQTT-3.1.2-30", byClient},
	dLeaveUnexpectedSession:    {"", "MQTT-3.2.2-4", byClient},
	dSecondConnect:             {"MQTT-3.1.0-2", "MQTT-3.1.0-2", byServer},
	dConnackFirst:              {"MQTT-3.2.0-1", "MQTT-3.2.0-1", byServer},
	dConnackOnce:               {"", "MQTT-3.2.0-2", byServer},
	dNoDisconnectBeforeConnack: {"", "MQTT-3.14.0-1", byServer},
	dCleanSessionPresent:       {"MQTT-3.2.2-1", "MQTT-3.2.2-2", byServer},
	dSessionPresentAfterEnd:    {"MQTT-3.2.2-3", "MQTT-3.2.2-3 P-3.1.2.11.2-session-expiry-absent", byServer},
	dRefusalEnds:               {"MQTT-3.2.2-5", "MQTT-3.2.2-7", byServer},
	dRefusalIgnoresRest:        {"MQTT-3.1.4-5", "MQTT-3.1.4-6", byServer},
	dAssignedID:                {"", "MQTT-3.1.3-6 MQTT-3.1.3-7 MQTT-3.2.2-16", byServer},
	dAssignedIDUnique:          {"", "MQTT-3.1.3-6 MQTT-3.2.2-16", byServer},
	dAssignedIDUnasked:         {"", "P-3.2.2.3.7-assigned-id-use", byServer},
	dResponseInfo:              {"", "MQTT-3.1.2-28", byServer},
	dProblemInfo:               {"", "MQTT-3.1.2-29", byServer},

	dAuthUnasked:        {"", "MQTT-4.12.0-6", byServer},
	dAuthWithoutMethod:  {"", "MQTT-4.12.0-7", byClient},
	dAuthMethodServer:   {"", "MQTT-4.12.0-5", byServer},
	dAuthMethodClient:   {"", "MQTT-4.12.0-5", byClient},
	dReauthMethod:       {"", "MQTT-4.12.1-1", byClient},
	dAuthContinueServer: {"", "MQTT-4.12.0-2", byServer},
	dAuthContinueClient: {"", "MQTT-4.12.0-3", byClient},
	dExpiryAfterZero:    {"", "P-3.14.2.2.2-session-expiry-after-zero", byClient},

	dMaximumSizeServer:          {"", "MQTT-3.1.2-24", byServer},
	dMaximumSizeClient:          {"", "MQTT-3.2.2-15", byClient},
	dReasonStringFitsConnack:    {"", "MQTT-3.2.2-19", byServer},
	dUserPropertyFitsConnack:    {"", "MQTT-3.2.2-20", byServer},
	dReasonStringFitsPuback:     {"", "MQTT-3.4.2-2", byBoth},
	dUserPropertyFitsPuback:     {"", "MQTT-3.4.2-3", byBoth},
	dReasonStringFitsPubrec:     {"", "MQTT-3.5.2-2", byBoth},
	dUserPropertyFitsPubrec:     {"", "MQTT-3.5.2-3", byBoth},
	dReasonStringFitsPubrel:     {"", "MQTT-3.6.2-2", byBoth},
	dUserPropertyFitsPubrel:     {"", "MQTT-3.6.2-3", byBoth},
	dReasonStringFitsPubcomp:    {"", "MQTT-3.7.2-2", byBoth},
	dUserPropertyFitsPubcomp:    {"", "MQTT-3.7.2-3", byBoth},
	dReasonStringFitsSuback:     {"", "MQTT-3.9.2-1", byServer},
	dUserPropertyFitsSuback:     {"", "MQTT-3.9.2-2", byServer},
	dReasonStringFitsUnsuback:   {"", "MQTT-3.11.2-1", byServer},
	dUserPropertyFitsUnsuback:   {"", "MQTT-3.11.2-2", byServer},
	dReasonStringFitsDisconnect: {"", "MQTT-3.14.2-3", byBoth},
	dUserPropertyFitsDisconnect: {"", "MQTT-3.14.2-4", byBoth},
	dReasonStringFitsAuth:       {"", "MQTT-3.15.2-2", byBoth},
	dUserPropertyFitsAuth:       {"", "MQTT-3.15.2-3", byBoth},

	dAliasOffServer:       {"", "MQTT-3.1.2-27", byServer},
	dAliasMaxServer:       {"", "MQTT-3.1.2-26 MQTT-3.3.2-11", byServer},
	dAliasOffClient:       {"", "MQTT-3.2.2-18", byClient},
	dAliasMaxClient:       {"", "MQTT-3.2.2-17 MQTT-3.3.2-9", byClient},
	dAliasKnown:           {"", "P-3.3.4-topic-alias-unknown", byBoth},
	dMaximumQoS:           {"", "MQTT-3.2.2-11", byClient},
	dRetainAvailable:      {"", "MQTT-3.2.2-14", byClient},
	dAckedAboveMaximumQoS: {"", "P-3.2.2.3.4-publish-above-maximum-qos", byServer},
	dAckedRetain:          {"", "P-3.2.2.3.5-retain-not-supported", byServer},
	dAckedTooLarge:        {"", "P-3.2.2.3.6-packet-too-large", byServer},

	dIDInUseClient:        {"MQTT-2.3.1-2", "MQTT-2.2.1-3", byClient},
	dIDInUseServer:        {"MQTT-2.3.1-4", "MQTT-2.2.1-4", byServer},
	dIDKeptClient:         {"MQTT-2.3.1-3", "", byClient},
	dIDKeptServer:         {"MQTT-2.3.1-4", "", byServer},
	dIDInUseQoS1:          {"MQTT-4.3.2-1", "MQTT-4.3.2-1", byBoth},
	dIDInUseQoS2:          {"MQTT-4.3.3-1", "MQTT-4.3.3-1", byBoth},
	dDupResend:            {"MQTT-3.3.1-1", "MQTT-3.3.1-1", byBoth},
	dDupFirstServer:       {"MQTT-3.3.1-3", "MQTT-3.3.1-3", byServer},
	dDupFirstQoS1:         {"MQTT-4.3.2-1", "MQTT-4.3.2-2", byBoth},
	dDupFirstQoS2:         {"MQTT-4.3.3-1", "MQTT-4.3.3-2", byBoth},
	dLiveResend:           {"", "MQTT-4.4.0-1", byBoth},
	dPublishAfterPubrel:   {"MQTT-4.3.3-1", "MQTT-4.3.3-6", byBoth},
	dAckID:                {"MQTT-2.3.1-6", "MQTT-2.2.1-5", byBoth},
	dCompID:               {"MQTT-4.3.3-2", "MQTT-2.2.1-5", byBoth},
	dAckType:              {"MQTT-3.3.4-1", "MQTT-3.3.4-1", byBoth},
	dAckTypeQoS1:          {"", "MQTT-4.3.2-4", byBoth},
	dAckTypeQoS2:          {"", "MQTT-4.3.3-8", byBoth},
	dPubrelWithoutPubrec:  {"", "MQTT-4.3.3-3", byBoth},
	dPubrelAfterRefusal:   {"", "MQTT-4.3.3-4 MQTT-4.4.0-2", byBoth},
	dPubackOrder:          {"MQTT-4.6.0-2", "MQTT-4.6.0-2", byClient},
	dPubrecOrder:          {"MQTT-4.6.0-3", "MQTT-4.6.0-3", byClient},
	dPubrelOrder:          {"MQTT-4.6.0-4", "MQTT-4.6.0-4", byClient},
	dResendOrder:          {"MQTT-4.6.0-1", "MQTT-4.6.0-1", byClient},
	dReceiveMaximumServer: {"", "MQTT-3.3.4-9 MQTT-4.9.0-2", byServer},
	dReceiveMaximumClient: {"", "MQTT-3.3.4-7 MQTT-4.9.0-2", byClient},
	dQuotaPerConnection:   {"", "P-4.9-quota-per-connection", byBoth},
	dInitialQuota:         {"", "MQTT-4.9.0-1", byBoth},
	dStaleAfterClean:      {"MQTT-3.1.2-6", "MQTT-3.1.2-4 P-4.4-resend-after-clean", byBoth},
	dStaleAfterLoss:       {"", "MQTT-3.2.2-5", byClient},

	dReplyID:         {"MQTT-2.3.1-7", "MQTT-2.2.1-6", byServer},
	dSubackID:        {"MQTT-3.8.4-2", "MQTT-3.8.4-2", byServer},
	dUnsubackID:      {"MQTT-3.10.4-4", "MQTT-3.10.4-5", byServer},
	dOneSuback:       {"MQTT-3.8.4-4", "MQTT-3.8.4-5", byServer},
	dOneUnsuback:     {"MQTT-3.10.4-6", "MQTT-3.10.4-6", byServer},
	dSubackCount:     {"MQTT-3.8.4-5", "MQTT-3.8.4-6", byServer},
	dSubackAbove:     {"MQTT-3.8.4-5", "MQTT-3.8.4-7", byServer},
	dSubackOrder:     {"MQTT-3.9.3-1", "MQTT-3.9.3-1", byServer},
	dUnsubackCount:   {"", "MQTT-3.11.3-2", byServer},
	dWildcardGranted: {"", "P-3.2.2.3.11-wildcard-not-supported", byServer},
	dSharedGranted:   {"", "P-3.2.2.3.13-shared-not-supported", byServer},
	dSubIDGranted:    {"", "P-3.2.2.3.12-subscription-identifiers-not-supported", byServer},

	dTopicMatch:   {"MQTT-3.3.2-3", "MQTT-3.3.2-3", byServer},
	dDollarTopic:  {"MQTT-4.7.2-1", "MQTT-4.7.2-1", byServer},
	dGrantedQoS:   {"MQTT-3.8.4-6", "MQTT-3.8.4-8", byServer},
	dForeignSubID: {"", "P-3.3.4-foreign-subscription-identifier", byServer},
	dMissingSubID: {"", "MQTT-3.3.4-3", byServer},
	dLiveRetain:   {"MQTT-3.3.1-9", "MQTT-3.3.1-12", byServer},

	dSubAnswered:     {"MQTT-3.8.4-1", "MQTT-3.8.4-1", byServer},
	dUnsubAnswered:   {"MQTT-3.10.4-4", "MQTT-3.10.4-4", byServer},
	dPublishAnswered: {"MQTT-3.3.4-1", "MQTT-3.3.4-1", byServer},
	dPubrelAnswered:  {"MQTT-4.3.3-2", "MQTT-4.3.3-11", byServer},
	dPingAnswered:    {"MQTT-3.12.4-1", "MQTT-3.12.4-1", byServer},

	dKeepAlive:             {"MQTT-3.1.2-23", "MQTT-3.1.2-20", byClient},
	dKeepAliveOverride:     {"", "MQTT-3.1.2-21 MQTT-3.2.2-21", byClient},
	dServerTimeout:         {"MQTT-3.1.2-24", "MQTT-3.1.2-22", byServer},
	dServerTimeoutOwn:      {"", "MQTT-3.2.2-22", byServer},
	dServerTimeoutOverride: {"", "P-3.2.2.3.14-keepalive-override", byServer},
}

// Rules returns every duty that the judge can judge, 3.1.1 before 5.0, in the order of the
// documents. The slice is the caller's.
func Rules() []Key {
	seen := make(map[Key]bool)
	add := func(v rules.Versions, id string, by sides) {
		r, _ := rules.Lookup(v, id)
		for s := client; s <= server; s++ {
			// A duty may bind both sides in one version and one side in the other.
			if by.has(s) && (r.Subject == rules.SubjectBoth || (r.Subject == rules.SubjectServer) == (s == server)) {
				seen[Key{v, id, s.wire()}] = true
			}
		}
	}
	for i := range duties {
		for _, v := range rules.AnyVersion.Split() {
			for _, id := range duty(i).ids(v) {
				add(v, id, duties[i].by)
			}
		}
	}
	for _, r := range packetRules {
		add(r.version, r.id, r.by)
	}
	out := make([]Key, 0, len(seen))
	for k := range seen {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b Key) int {
		if a.Version != b.Version {
			return int(a.Version) - int(b.Version)
		}
		if c := rules.Compare(a.Rule, b.Rule); c != 0 {
			return c
		}
		return int(a.By) - int(b.By)
	})
	return out
}
