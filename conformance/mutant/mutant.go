// Package mutant breaks a correct broker on the wire, one rule at a time, so that the
// conformance suite can itself be tested: every [Mutant] must be killed by a check of its rule,
// and every legal mutant, which does something unusual that the standard allows, must pass.
//
// A mutant is a set of [Hooks] on a [Proxy] that stands between the suite and the baseline
// broker and is shared by all connections of a run. Start from [All] and [NewProxy].
package mutant

import (
	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/conformance/rules"
)

// Mutant is one fault, or one legal oddity, and what the suite must say of it.
type Mutant struct {
	Name     string         // slug
	Versions rules.Versions // the versions under which it breaks its rule

	// Rule is the rule that it breaks, Rule5 the one under 5.0 where the id differs. Both are
	// empty for a legal mutant.
	Rule, Rule5 string
	// Warn says that the best grade the rule allows is a warning.
	Warn bool
	// Falls are further rules that must or may get a worse verdict with it, because the same
	// bytes break them too. Falls5 are the ids under 5.0 where they differ.
	Falls, Falls5 []string
	// Legal says why the standard allows what a legal mutant does.
	Legal string

	Broker broker.Config // what the baseline must be configured to
	New    func() *Hooks // fresh state for one run
	WS     *WSHooks      // not nil: the rules about WebSocket are judged, on a WSServer with these hooks
}

// RuleFor returns the broken rule's id under one version.
func (m *Mutant) RuleFor(v rules.Versions) string {
	if v == rules.MQTT5 && m.Rule5 != "" {
		return m.Rule5
	}
	return m.Rule
}

// FallsFor returns the ids that may fall with it under one version.
func (m *Mutant) FallsFor(v rules.Versions) []string {
	if v == rules.MQTT5 && m.Falls5 != nil {
		return m.Falls5
	}
	return m.Falls
}

// Hooks is what a mutant does to the traffic. All hooks of one proxy run one at a time, so
// they may share state without locks; they must not block. Every hook may be nil.
type Hooks struct {
	// Up sees each packet of the client before the broker does, and after the broker has gone
	// too where the link is held.
	Up func(l *Link, p *Packet)
	// Down sees each packet of the broker before the client does.
	Down func(l *Link, p *Packet)
	// Gone is told that the broker has closed its end. Where it returns true the client's
	// connection is held open, and PINGREQ on it is answered unless Up drops it.
	Gone func(l *Link) bool
	// Left is told that the client has closed its end. Where it returns true the broker's end
	// stays open.
	Left func(l *Link) bool
}

// Hold is a Gone hook that keeps every connection open.
func Hold(*Link) bool { return true }

// All returns every mutant.
func All() []*Mutant {
	var out []*Mutant
	for _, chapter := range [][]Mutant{
		textMutants,
		headerMutants,
		packetIDMutants,
		pingMutants,
		disconnectMutants,
		farewellMutants,
		errorMutants,
		webSocketMutants,
		connectMutants,
		connectFlagMutants,
		connackMutants,
		clientIDMutants,
		sessionMutants,
		sessionExpiryMutants,
		redeliveryMutants,
		takeoverMutants,
		willMutants,
		keepAliveMutants,
		connectPropertyMutants,
		connackPropertyMutants,
		propertyCodeMutants,
		limitMutants,
		flowMutants,
		overrideMutants,
		authMutants,
		publishMutants,
		dupMutants,
		retainedMutants,
		overlapMutants,
		aliasMutants,
		publishPropertyMutants,
		publishFaultMutants,
		expiryMutants,
		windowMutants,
		qosMutants,
		resendMutants,
		orderingMutants,
		ackMutants,
		subscribeMutants,
		replaceMutants,
		badRequestMutants,
		unsubscribeMutants,
		topicMutants,
		sharedMutants,
		optionMutants,
	} {
		for i := range chapter {
			out = append(out, &chapter[i])
		}
	}
	return out
}
