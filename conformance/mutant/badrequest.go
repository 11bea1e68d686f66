package mutant

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/mqlab/mqlab/codec"
)

// notUTF8 reports text that is not UTF-8.
func notUTF8(s string) bool { return !utf8.ValidString(s) }

// misplaced reports the wildcard where it shares its level, or where # is not at the end.
func misplaced(wild string) func(filter string) bool {
	return func(filter string) bool {
		if strings.HasPrefix(filter, "$share/") {
			return false
		}
		levels := strings.Split(filter, "/")
		for i, level := range levels {
			if strings.Contains(level, wild) && (level != wild || wild == "#" && i < len(levels)-1) {
				return true
			}
		}
		return false
	}
}

// shareName reports a Shared Subscription whose parts match; ok is false where no slash ends the name.
func shareName(match func(name, filter string, ok bool) bool) func(filter string) bool {
	return func(filter string) bool {
		rest, shared := strings.CutPrefix(filter, "$share/")
		if !shared {
			return false
		}
		name, inner, ok := strings.Cut(rest, "/")
		return match(name, inner, ok)
	}
}

var badRequestMutants = []Mutant{{
	Name: "subscribe/reserved-flags-tolerated", Versions: both, Rule: "MQTT-3.8.1-1",
	Falls: []string{"MQTT-2.2.2-2", "MQTT-4.8.0-1"}, Falls5: []string{"MQTT-2.1.3-1", "MQTT-4.13.1-1"},
	New: tolerate(func(r *request) bool { return r.subscribe && r.flags != 2 }, ignore),
}, {
	Name: "subscribe/ill-formed-filter-tolerated", Versions: mqtt311, Rule: "MQTT-3.8.3-1",
	Falls: []string{"MQTT-1.5.3-1"},
	New:   tolerate(func(r *request) bool { return r.subscribe && r.any(notUTF8) }, ignore),
}, {
	Name: "subscribe/ill-formed-filter-refused-by-code", Versions: mqtt311, Rule: "MQTT-3.8.3-1",
	Falls: []string{"MQTT-1.5.3-1"},
	New:   tolerate(func(r *request) bool { return r.subscribe && r.any(notUTF8) }, answerWith(codec.SubackFailure)),
}, {
	Name: "subscribe/ill-formed-filter-granted", Versions: mqtt5, Rule: "MQTT-3.8.3-1", Warn: true,
	Falls5: []string{"MQTT-1.5.4-1"},
	New:    tolerate(func(r *request) bool { return r.subscribe && r.any(notUTF8) }, answerWith(codec.GrantedQoS0)),
}, {
	Name: "subscribe/overrunning-filter-tolerated", Versions: mqtt5, Rule: "MQTT-3.8.3-1",
	Falls5: []string{"MQTT-4.13.1-1", "P-2.1.4-length-mismatch"},
	New:    tolerate(func(r *request) bool { return r.subscribe && r.overrun }, ignore),
}, {
	Name: "subscribe/no-filter-tolerated", Versions: both, Rule: "MQTT-3.8.3-3", Rule5: "MQTT-3.8.3-2",
	Falls: []string{"MQTT-4.8.0-1"}, Falls5: []string{"MQTT-4.13.1-1"},
	New: tolerate(func(r *request) bool { return r.subscribe && len(r.filters) == 0 && !r.overrun }, ignore),
}, {
	Name: "subscribe/reserved-option-bits-tolerated", Versions: mqtt311, Rule: "MQTT-3.8.3-4",
	New: tolerate(hasOption(func(o byte) bool { return o > 2 }), ignore),
}, {
	Name: "subscribe/reserved-option-bits-tolerated-in-5", Versions: mqtt5, Rule: "MQTT-3.8.3-5",
	Falls5: []string{"MQTT-4.13.1-1"},
	New:    tolerate(hasOption(func(o byte) bool { return o&0xC0 != 0 }), ignore),
}, {
	Name: "subscribe/qos3-granted", Versions: mqtt5, Rule: "P-3.8.3.1-qos-3",
	Falls5: []string{"MQTT-4.13.1-1"},
	New:    tolerate(hasOption(func(o byte) bool { return o&0xC3 == 3 }), answerWith(codec.GrantedQoS2)),
}, {
	Name: "subscribe/qos3-refused-by-code", Versions: mqtt5, Legal: "a SUBACK that refuses QoS 3 on an open connection is worth a note",
	New: tolerate(hasOption(func(o byte) bool { return o&0xC3 == 3 }), answerWith(codec.UnspecifiedError)),
}, {
	Name: "subscribe/retain-handling-3-granted", Versions: mqtt5, Rule: "P-3.8.3.1-retain-handling-3",
	Falls5: []string{"MQTT-4.13.1-1"},
	New:    tolerate(hasOption(func(o byte) bool { return o&0xF0 == 0x30 }), answerWith(codec.GrantedQoS0)),
}, {
	Name: "subscribe/options-missing-tolerated", Versions: mqtt5, Rule: "P-3.8.3-options-missing",
	Falls5: []string{"MQTT-4.13.1-1"},
	New:    tolerate(func(r *request) bool { return r.subscribe && len(r.options) < len(r.filters) }, ignore),
}, {
	Name: "subscribe/identifier-zero-granted", Versions: mqtt5, Rule: "P-3.8.2.1.2-subscription-identifier-zero",
	Falls5: []string{"MQTT-4.13.1-1"},
	New: tolerate(func(r *request) bool { return r.subscribe && bytes.Equal(r.props, []byte{0x0B, 0}) },
		answerWith(codec.GrantedQoS0)),
}, {
	Name: "subscribe/two-identifiers-granted", Versions: mqtt5, Rule: "P-3.8.2.1.2-subscription-identifier-duplicate",
	Falls5: []string{"MQTT-4.13.1-1"},
	New: tolerate(func(r *request) bool {
		return r.subscribe && len(r.props) == 4 && r.props[0] == 0x0B && r.props[2] == 0x0B
	},
		answerWith(codec.GrantedQoS0)),
}, {
	Name: "subscribe/no-local-on-shared-granted", Versions: mqtt5, Rule: "MQTT-3.8.3-4",
	Falls5: []string{"MQTT-4.13.1-1"},
	New:    tolerate(noLocalShared, answerWith(codec.GrantedQoS1)),
}, {
	Name: "subscribe/no-local-on-shared-refused-by-code", Versions: mqtt5, Legal: "SUBACK may refuse No Local on a shared subscription",
	New: tolerate(noLocalShared, answerWith(codec.ImplementationSpecificError)),
}, {
	Name: "unsubscribe/reserved-flags-tolerated", Versions: both, Rule: "MQTT-3.10.1-1",
	Falls: []string{"MQTT-2.2.2-2", "MQTT-4.8.0-1"}, Falls5: []string{"MQTT-2.1.3-1", "MQTT-4.13.1-1"},
	New: tolerate(func(r *request) bool { return !r.subscribe && r.flags != 2 }, ignore),
}, {
	Name: "unsubscribe/ill-formed-filter-answered", Versions: mqtt311, Rule: "MQTT-3.10.3-1",
	Falls: []string{"MQTT-1.5.3-1"},
	New:   tolerate(func(r *request) bool { return !r.subscribe && r.any(notUTF8) }, answerWith(codec.Success)),
}, {
	Name: "unsubscribe/ill-formed-filter-acknowledged", Versions: mqtt5, Rule: "MQTT-3.10.3-1", Warn: true,
	Falls5: []string{"MQTT-1.5.4-1"},
	New:    tolerate(func(r *request) bool { return !r.subscribe && r.any(notUTF8) }, answerWith(codec.Success)),
}, {
	Name: "unsubscribe/ill-formed-filter-unknown", Versions: mqtt5, Legal: "no subscription has such a filter, which UNSUBACK may say",
	New: tolerate(func(r *request) bool {
		return !r.subscribe && r.any(func(f string) bool { return f == "\xC3\x28" || f == "\xFF" })
	}, answerWith(codec.NoSubscriptionExisted)),
}, {
	Name: "unsubscribe/overrunning-filter-tolerated", Versions: both, Rule: "MQTT-3.10.3-1",
	Falls: []string{"MQTT-4.8.0-1"}, Falls5: []string{"MQTT-4.13.1-1", "P-2.1.4-length-mismatch"},
	New: tolerate(func(r *request) bool { return !r.subscribe && r.overrun }, ignore),
}, {
	Name: "unsubscribe/no-filter-tolerated", Versions: both, Rule: "MQTT-3.10.3-2",
	Falls: []string{"MQTT-4.8.0-1"}, Falls5: []string{"MQTT-4.13.1-1"},
	New: tolerate(func(r *request) bool { return !r.subscribe && len(r.filters) == 0 && !r.overrun }, ignore),
}, {
	Name: "topics/misplaced-hash-granted", Versions: both, Rule: "MQTT-4.7.1-2", Rule5: "MQTT-4.7.1-1",
	New: tolerate(func(r *request) bool { return r.subscribe && r.any(misplaced("#")) }, answerWith(codec.GrantedQoS0)),
}, {
	Name: "topics/misplaced-hash-refused-by-code", Versions: mqtt311, Rule: "MQTT-4.7.1-2", Warn: true,
	New: tolerate(func(r *request) bool { return r.subscribe && r.any(misplaced("#")) }, answerWith(codec.SubackFailure)),
}, {
	Name: "topics/misplaced-wildcards-refused-by-code", Versions: mqtt5, Legal: "SUBACK may refuse an invalid filter with 0x8F",
	New: tolerate(func(r *request) bool { return r.subscribe && (r.any(misplaced("#")) || r.any(misplaced("+"))) },
		answerWith(codec.TopicFilterInvalid)),
}, {
	Name: "topics/misplaced-plus-granted", Versions: both, Rule: "MQTT-4.7.1-3", Rule5: "MQTT-4.7.1-2",
	New: tolerate(func(r *request) bool { return r.subscribe && r.any(misplaced("+")) }, answerWith(codec.GrantedQoS0)),
}, {
	Name: "shared/empty-share-name-granted", Versions: mqtt5, Rule: "MQTT-4.8.2-1",
	New: tolerate(func(r *request) bool {
		return r.subscribe && r.any(shareName(func(name, _ string, _ bool) bool { return name == "" }))
	}, answerWith(codec.GrantedQoS0)),
}, {
	Name: "shared/bad-share-name-granted", Versions: mqtt5, Rule: "MQTT-4.8.2-2",
	New: tolerate(func(r *request) bool {
		return r.subscribe && r.any(shareName(func(name, inner string, ok bool) bool {
			return name != "" && (!ok || inner == "" || strings.ContainsAny(name, "+#"))
		}))
	}, answerWith(codec.GrantedQoS0)),
}, {
	Name: "topics/empty-filter-granted", Versions: both, Rule: "MQTT-4.7.3-1",
	New: tolerate(func(r *request) bool { return r.subscribe && r.any(emptyFilter) }, answerWith(codec.GrantedQoS0)),
}, {
	Name: "topics/empty-filter-refused-by-code", Versions: mqtt311, Rule: "MQTT-4.7.3-1", Warn: true,
	New: tolerate(func(r *request) bool { return r.any(emptyFilter) }, answerWith(codec.SubackFailure)),
}, {
	Name: "topics/nul-in-filter-tolerated", Versions: mqtt311, Rule: "MQTT-4.7.3-2",
	Falls: []string{"MQTT-1.5.3-2"},
	New:   tolerate(func(r *request) bool { return r.any(nulInside) }, ignore),
}, {
	Name: "topics/nul-in-filter-granted", Versions: mqtt5, Rule: "MQTT-4.7.3-2", Warn: true,
	Falls5: []string{"MQTT-1.5.4-2"},
	New:    tolerate(func(r *request) bool { return r.any(nulInside) }, answerWith(codec.Success)),
}}

func emptyFilter(s string) bool { return s == "" }

func nulInside(s string) bool { return strings.Contains(s, "\x00") }

// hasOption reports a SUBSCRIBE with an options byte that matches.
func hasOption(match func(o byte) bool) func(*request) bool {
	return func(r *request) bool {
		for _, o := range r.options {
			if match(o) {
				return true
			}
		}
		return false
	}
}

// noLocalShared reports a SUBSCRIBE that sets No Local on a Shared Subscription.
func noLocalShared(r *request) bool {
	return hasOption(func(o byte) bool { return o&4 != 0 })(r) && r.any(func(f string) bool { return strings.HasPrefix(f, "$share/") })
}
