package conformance

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/scenarios"
)

// Versions is the set of protocol versions that a check runs under.
type Versions = rules.Versions

// The versions that have rules.
const (
	MQTT311 = rules.MQTT311
	MQTT5   = rules.MQTT5
)

// Check is one behaviour that is provoked and judged. It runs once for each of its versions.
type Check struct {
	Name string // stable slug: chapter/behaviour

	// Rules are the ids that the expectations judge, the most important first. Rules5 are
	// the ids under 5.0 where they differ; empty means the same ids.
	Rules  []string
	Rules5 []string

	// Breaks and Breaks5 are the ids of all of the client's rules that the check breaks on purpose,
	// those included that only fall along with what it is about. Breaks5 are the ids under 5.0 where
	// they differ.
	Breaks  []string
	Breaks5 []string

	// Axis says which question the check answers where its breaches do not: with none it is about
	// behaviour, else about malformed input. Behaviour is for a check that breaks a rule only to
	// provoke what it judges.
	Axis Axis

	Versions Versions
	Needs    Capability    // absent on the target: not-applicable, not fail
	Slow     time.Duration // how long the rule itself makes the check wait, at patience 1; such rules are about time
	Races    int           // how often the check runs, because a breach shows only now and then; zero: once
	Global   bool          // the filters escape the topic prefix (#, +/x): left out by NoGlobalFilters
	Run      func(*T)

	exchange *scenarios.Exchange // what Run runs, where the check is the user's own
	folder   string              // where it was read from
}

// RulesFor returns the ids that the check judges under the version.
func (c *Check) RulesFor(v Versions) []string {
	if v == MQTT5 && len(c.Rules5) > 0 {
		return c.Rules5
	}
	return c.Rules
}

// BreaksFor returns the ids of the client's rules that the check breaks under the version.
func (c *Check) BreaksFor(v Versions) []string {
	if v == MQTT5 && len(c.Breaks5) > 0 {
		return c.Breaks5
	}
	return c.Breaks
}

// wire returns the protocol level of a version.
func wire(v Versions) codec.Version {
	if v == MQTT5 {
		return codec.V5
	}
	return codec.V4
}

// Capability is a set of features that a target may lack, or that the user must set up.
type Capability uint32

// The capabilities. Under 3.1.1 nothing is announced: what a probe at the start of the run did
// not contradict counts as there.
const (
	CapQoS1 Capability = 1 << iota
	CapQoS2
	CapRetain
	CapWildcard
	CapShared
	CapSubscriptionIDs
	CapTopicAlias    // the server takes at least one Topic Alias
	CapWebSocket     // a WebSocket address is known
	CapBadLogin      // credentials that the target refuses are known
	CapForbidden     // a topic that the target forbids is known
	CapAuthMethod    // an enhanced authentication method is known
	CapRestart       // the suite can restart the target
	CapSessionExpiry // sessions outlive their connection
)

// capabilityNames names each capability in reports, and says what is missing and how to supply it.
var capabilityNames = []struct {
	cap  Capability
	name string
	text string
}{
	{CapQoS1, "qos_1", "the target does not grant QoS 1"},
	{CapQoS2, "qos_2", "the target does not grant QoS 2"},
	{CapRetain, "retain", "the target does not support retained messages"},
	{CapWildcard, "wildcard_subscriptions", "the target does not support wildcard subscriptions"},
	{CapShared, "shared_subscriptions", "the target does not support shared subscriptions"},
	{CapSubscriptionIDs, "subscription_identifiers", "the target does not support Subscription Identifiers"},
	{CapTopicAlias, "topic_alias", "the target takes no Topic Alias (Topic Alias Maximum is 0)"},
	{CapWebSocket, "websocket", "no WebSocket address is known: name it with --ws-target"},
	{CapBadLogin, "bad_login", "no login is known that the target refuses: name it with --bad-username and --bad-password"},
	{CapForbidden, "forbidden_topic", "no topic is known that the target forbids: name it with --forbidden-topic"},
	{CapAuthMethod, "auth_method", "no enhanced authentication method is known: name it with --auth-method"},
	{CapRestart, "restart", "the suite cannot restart the target: start it with --cmd"},
	{CapSessionExpiry, "session_expiry", "the target keeps no session after the connection"},
}

// MarshalJSON writes the set as the names of its members.
func (c Capability) MarshalJSON() ([]byte, error) {
	names := []string{}
	for _, n := range capabilityNames {
		if c&n.cap != 0 {
			names = append(names, n.name)
		}
	}
	return json.Marshal(names)
}

// UnmarshalJSON reads what MarshalJSON writes. Names that are not known are left out.
func (c *Capability) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return err
	}
	*c = 0
	for _, n := range capabilityNames {
		if slices.Contains(names, n.name) {
			*c |= n.cap
		}
	}
	return nil
}

// missing says in words which of the needed capabilities are not there.
func (c Capability) missing(have Capability) string {
	for _, n := range capabilityNames {
		if c&n.cap != 0 && have&n.cap == 0 {
			return n.text
		}
	}
	return ""
}
