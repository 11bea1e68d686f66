package judge

import (
	"strings"

	"github.com/mqlab/mqlab/conformance/rules"
)

// class is a kind of packet for which a set of rules is at stake. A sound packet is counted under
// each of its classes.
type class uint8

const (
	clText  class = iota // packets that hold a string
	clFlags              // packets with fixed header flags
	clID                 // SUBSCRIBE, UNSUBSCRIBE and PUBLISH above QoS 0
	clAck                // PUBACK to PUBCOMP
	clReply              // SUBACK and UNSUBACK
	clWill               // CONNECT with a Will
	clNoWill
	clNoUsername
	clUsername
	clNoPassword
	clPassword
	clConnect
	clConnack
	clRefusal // CONNACK with a code other than 0
	clQoS0
	clPublish
	clPubrel
	clSubscribe
	clSuback
	clUnsubscribe
	clUnsuback
	clPingresp
	clFilter    // SUBSCRIBE and UNSUBSCRIBE
	clTopic     // Topic Names and Topic Filters
	clAny       // every packet
	clPair      // packets with a User Property
	clProps     // packets with a Property Length
	clNoPayload // packets that end with their properties
	clAlias
	clResponseTopic
	clContentType
	clPayloadFormat
	clMessageExpiry
	clCorrelation
	clSubscriptionID
	clPuback
	clPubrec
	clPubcomp
	clPing // PINGREQ and PINGRESP
	clDisconnect
	clAuth
	clSharedFilter

	numClasses
)

// packetRule is a rule that one packet alone can break, judged by the decoder. The decoder also
// names rules that bind the receiver of a broken packet; those are not in the table.
type packetRule struct {
	version rules.Versions
	id      string
	by      sides
	class   class
}

var packetRules = buildPacketRules()

// packetRuleKeys finds the table's rows by duty.
var packetRuleKeys = indexPacketRules()

func buildPacketRules() []packetRule {
	var out []packetRule
	add := func(v rules.Versions, ids string, by sides, cl class) {
		for id := range strings.FieldsSeq(ids) {
			out = append(out, packetRule{v, id, by, cl})
		}
	}
	four := func(ids string, by sides, cl class) { add(rules.MQTT311, ids, by, cl) }
	five := func(ids string, by sides, cl class) { add(rules.MQTT5, ids, by, cl) }

	four("MQTT-1.5.3-1 MQTT-1.5.3-2", byBoth, clText)
	four("MQTT-2.2.2-1", byBoth, clFlags)
	four("MQTT-2.3.1-1", byBoth, clID)
	four("MQTT-2.3.1-6", byBoth, clAck)
	four("MQTT-2.3.1-7", byServer, clReply)
	four("MQTT-3.1.2-9", byClient, clWill)
	four("MQTT-3.1.2-11 MQTT-3.1.2-13 MQTT-3.1.2-15", byClient, clNoWill)
	four("MQTT-3.1.2-14", byClient, clWill)
	four("MQTT-3.1.2-18", byClient, clNoUsername)
	four("MQTT-3.1.2-19", byClient, clUsername)
	four("MQTT-3.1.2-20", byClient, clNoPassword)
	four("MQTT-3.1.2-21", byClient, clPassword)
	four("MQTT-3.1.2-22", byClient, clNoUsername)
	four("MQTT-3.1.3-3 MQTT-3.1.3-4", byClient, clConnect)
	four("MQTT-3.1.3-7", byClient, clConnect)
	four("MQTT-3.1.3-10", byClient, clWill)
	four("MQTT-3.1.3-11", byClient, clUsername)
	four("MQTT-3.1.4-4", byServer, clConnack)
	four("MQTT-3.2.2-4", byServer, clRefusal)
	four("MQTT-3.2.2-6", byServer, clConnack)
	four("MQTT-3.3.1-2 MQTT-4.3.1-1", byBoth, clQoS0)
	four("MQTT-3.3.1-4 MQTT-3.3.2-1 MQTT-3.3.2-2 MQTT-4.7.1-1", byBoth, clPublish)
	four("MQTT-3.6.1-1", byBoth, clPubrel)
	four("MQTT-3.8.1-1 MQTT-3.8.3-1 MQTT-3.8.3-3", byClient, clSubscribe)
	four("MQTT-3.8.4-5 MQTT-3.9.3-2", byServer, clSuback)
	four("MQTT-3.10.1-1 MQTT-3.10.3-1 MQTT-3.10.3-2", byClient, clUnsubscribe)
	four("MQTT-3.10.4-4", byServer, clUnsuback)
	four("MQTT-3.12.4-1", byServer, clPingresp)
	four("MQTT-4.7.1-2 MQTT-4.7.1-3", byClient, clFilter)
	four("MQTT-4.7.3-1 MQTT-4.7.3-2", byBoth, clTopic)

	five("MQTT-1.5.4-1 MQTT-1.5.4-2", byBoth, clText)
	five("MQTT-1.5.5-1 P-1.5.5-five-byte-integer P-2.1.4-length-mismatch", byBoth, clAny)
	five("P-2.1.2-reserved-type P-2.1.2-wrong-direction", byBoth, clAny)
	five("MQTT-1.5.7-1", byBoth, clPair)
	five("MQTT-2.1.3-1", byBoth, clFlags)
	five("MQTT-2.2.1-3", byClient, clID)
	five("MQTT-2.2.1-4", byServer, clID)
	five("MQTT-2.2.1-5", byBoth, clAck)
	five("MQTT-2.2.1-6", byServer, clReply)
	five("MQTT-2.2.2-1", byBoth, clProps)
	five("P-2.2.2.1-property-length-overrun P-2.2.2.2-unknown-identifier P-2.2.2.2-identifier-wrong-packet", byBoth, clProps)
	five("MQTT-3.1.2-9 MQTT-3.1.2-12 MQTT-3.1.3-11", byClient, clWill)
	five("MQTT-3.1.2-11 MQTT-3.1.2-13", byClient, clNoWill)
	five("MQTT-3.1.2-16", byClient, clNoUsername)
	five("MQTT-3.1.2-17 MQTT-3.1.3-12", byClient, clUsername)
	five("MQTT-3.1.2-18", byClient, clNoPassword)
	five("MQTT-3.1.2-19", byClient, clPassword)
	five("MQTT-3.1.3-3 MQTT-3.1.3-4", byClient, clConnect)
	five("P-3.1.2.11.2-session-expiry-duplicate P-3.1.2.11.3-receive-maximum-duplicate "+
		"P-3.1.2.11.3-receive-maximum-zero P-3.1.2.11.4-maximum-packet-size-duplicate "+
		"P-3.1.2.11.4-maximum-packet-size-zero P-3.1.2.11.5-topic-alias-maximum-duplicate "+
		"P-3.1.2.11.6-request-response-duplicate P-3.1.2.11.6-request-response-value "+
		"P-3.1.2.11.7-request-problem-duplicate P-3.1.2.11.7-request-problem-value "+
		"P-3.1.2.11.9-auth-method-duplicate P-3.1.2.11.10-auth-data-without-method "+
		"P-3.1.2.11.10-auth-data-duplicate", byClient, clConnect)
	five("P-3.1.3.2.2-will-delay-duplicate P-3.1.3.2.3-will-payload-format-duplicate "+
		"P-3.1.3.2.3-will-payload-format-value P-3.1.3.2.3-will-payload-not-utf8 "+
		"P-3.1.3.2.4-will-message-expiry-duplicate P-3.1.3.2.5-will-content-type-duplicate "+
		"P-3.1.3.2.6-will-response-topic-duplicate P-3.1.3.2.7-will-correlation-duplicate", byClient, clWill)
	five("MQTT-3.2.2-1 MQTT-3.2.2-8", byServer, clConnack)
	five("MQTT-3.2.2-6", byServer, clRefusal)
	five("P-3.2.2.3-connack-duplicates P-3.2.2.3.3-receive-maximum-zero P-3.2.2.3.4-maximum-qos-value "+
		"P-3.2.2.3.5-retain-available-value P-3.2.2.3.6-maximum-packet-size-zero P-3.2.2.3.11-wildcard-value "+
		"P-3.2.2.3.12-subscription-identifiers-value P-3.2.2.3.13-shared-value", byServer, clConnack)
	five("P-3.2.3-no-payload", byServer, clNoPayload)
	five("MQTT-3.3.1-2 MQTT-4.3.1-1", byBoth, clQoS0)
	five("MQTT-3.3.1-4 MQTT-3.3.2-1 MQTT-3.3.2-2 MQTT-4.7.0-1 P-3.3.2.1-empty-topic-without-alias", byBoth, clPublish)
	five("MQTT-3.3.2-8 P-3.3.2.3.4-topic-alias-duplicate P-3.3.4-topic-alias-range", byBoth, clAlias)
	five("MQTT-3.3.2-13 MQTT-3.3.2-14 P-3.3.2.3.5-response-topic-duplicate", byBoth, clResponseTopic)
	five("MQTT-3.3.2-19 P-3.3.2.3.9-content-type-duplicate", byBoth, clContentType)
	five("MQTT-3.3.4-6", byClient, clPublish)
	five("P-3.3.2.3.2-payload-format-value P-3.3.2.3.2-payload-format-duplicate", byBoth, clPayloadFormat)
	five("P-3.3.2.3.2-payload-not-utf8", byClient, clPayloadFormat)
	five("P-3.3.2.3.3-message-expiry-duplicate", byBoth, clMessageExpiry)
	five("P-3.3.2.3.6-correlation-duplicate", byBoth, clCorrelation)
	five("P-3.3.2.3.8-subscription-identifier-zero", byServer, clSubscriptionID)
	five("MQTT-3.4.2-1", byBoth, clPuback)
	five("MQTT-3.5.2-1", byBoth, clPubrec)
	five("MQTT-3.6.1-1 MQTT-3.6.2-1", byBoth, clPubrel)
	five("MQTT-3.7.2-1", byBoth, clPubcomp)
	five("P-3.4.2.2-ack-reason-string-duplicate", byBoth, clAck)
	five("MQTT-3.8.1-1 MQTT-3.8.3-1 MQTT-3.8.3-2 MQTT-3.8.3-4 P-3.8.2.1.2-subscription-identifier-zero "+
		"P-3.8.2.1.2-subscription-identifier-duplicate P-3.8.3-options-missing P-3.8.3.1-qos-3 "+
		"P-3.8.3.1-retain-handling-3", byClient, clSubscribe)
	five("MQTT-3.8.4-6 MQTT-3.9.3-2", byServer, clSuback)
	five("P-3.9.2.1.2-reason-string-duplicate", byServer, clReply)
	five("MQTT-3.10.1-1 MQTT-3.10.3-1 MQTT-3.10.3-2", byClient, clUnsubscribe)
	five("MQTT-3.11.3-2", byServer, clUnsuback)
	five("P-3.12-ping-length", byBoth, clPing)
	five("MQTT-3.14.1-1 MQTT-3.14.2-1 P-3.14.2.1-sender-only-codes P-3.14.2.2.3-reason-string-duplicate", byBoth, clDisconnect)
	five("MQTT-3.14.2-2 P-3.14.2.2.5-server-reference-duplicate", byServer, clDisconnect)
	five("P-3.14.2.2.2-session-expiry-duplicate", byClient, clDisconnect)
	five("MQTT-3.15.1-1 MQTT-3.15.2-1 P-3.15.2.2.2-method-missing P-3.15.2.2.3-data-duplicate", byBoth, clAuth)
	five("MQTT-4.7.1-1 MQTT-4.7.1-2", byClient, clFilter)
	five("MQTT-4.7.3-1 MQTT-4.7.3-2", byBoth, clTopic)
	five("MQTT-4.8.2-1 MQTT-4.8.2-2", byClient, clSharedFilter)
	return out
}

func indexPacketRules() map[Key]bool {
	m := make(map[Key]bool)
	for _, r := range packetRules {
		for s := client; s <= server; s++ {
			if r.by.has(s) {
				m[Key{r.version, r.id, s.wire()}] = true
			}
		}
	}
	return m
}
