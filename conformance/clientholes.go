package conformance

import (
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
	"github.com/mqlab/mqlab/conformance/rules"
)

// ClientHoles returns the rules on clients that no check and no judge sees broken, and why. Every
// other rule whose breach a client can show has a check, or is seen to by the passive judge.
func ClientHoles() []Hole { return clientHoles }

var clientHoles = []Hole{
	{"MQTT-3.1.3-1", MQTT311, "the command alone knows what the client was given: fields in another order are fields with other contents"},
	{"MQTT-3.1.3-1", MQTT5, "the command alone knows what the client was given: fields in another order are fields with other contents"},
	{"MQTT-6.0.0-1", MQTT311, "the scripted server speaks TCP"},
	{"MQTT-6.0.0-1", MQTT5, "the scripted server speaks TCP"},
	{"MQTT-6.0.0-2", MQTT311, "the scripted server speaks TCP"},
	{"MQTT-6.0.0-2", MQTT5, "the scripted server speaks TCP"},
	{"MQTT-6.0.0-3", MQTT311, "the scripted server speaks TCP"},
	{"MQTT-6.0.0-3", MQTT5, "the scripted server speaks TCP"},
	{"MQTT-1.5.4-3", MQTT5, "what a client makes of U+FEFF in a string is not on the wire, unless it sends the string on"},
	{"MQTT-4.3.3-9", MQTT5, "nothing makes every client refuse a message of QoS 2"},
	{"MQTT-4.12.1-2", MQTT5, "a client begins re-authentication of itself, which no server can ask for"},
	{"P-3.2.2.3.16-server-reference", MQTT5, "a client may follow or ignore the reference, so that no behaviour breaks it"},
	{"P-3.14.2.1-short-form", MQTT5, "a server learns nothing of how a client reads its DISCONNECT: each form ends the connection"},
	{"P-4.13.1-connect-vs-other", MQTT5, "an error may be answered with or without a packet, so that no behaviour breaks it; what a DISCONNECT says is noted where one comes"},
}

// Seer says who sees whether a client keeps a rule.
type Seer uint8

// The seers.
const (
	SeenByNobody Seer = iota // the rule stands among ClientHoles
	SeenByJudge              // the passive judge, on every connection
	SeenByCheck              // a check that provokes it
)

// ClientCoverage says of every rule whose breach a client can show who sees it.
func ClientCoverage() map[rules.Versions]map[string]Seer {
	out := map[rules.Versions]map[string]Seer{MQTT311: {}, MQTT5: {}}
	for _, r := range rules.All() {
		if r.Probe.Sees(rules.ProbeClient) {
			out[r.Version][r.ID] = SeenByNobody
		}
	}
	see := func(v rules.Versions, id string, who Seer) {
		if _, ok := out[v][id]; ok {
			out[v][id] = who
		}
	}
	for _, k := range judge.Rules() {
		if k.By == codec.Client {
			see(k.Version, k.Rule, SeenByJudge)
		}
	}
	for _, c := range ClientChecks() {
		for _, v := range c.Versions.Split() {
			for _, id := range c.RulesFor(v) {
				see(v, id, SeenByCheck)
			}
		}
	}
	return out
}
