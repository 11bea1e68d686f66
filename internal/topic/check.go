package topic

import (
	"strings"
	"unicode/utf8"

	"github.com/mqlab/mqlab/codec"
)

// Error says why a Topic Name or Topic Filter is refused.
type Error struct {
	Rule   string           // rule id of the version; "" for MQTT 3.1, whose statements have no numbers
	Reason codec.ReasonCode // what a version 5 peer answers with
	Msg    string           // one plain sentence, lower case, no full stop
}

// Error returns the sentence, followed by the rule id in brackets where there is one.
func (e *Error) Error() string {
	if e.Rule == "" {
		return e.Msg
	}
	return e.Msg + " [" + e.Rule + "]"
}

// fault is one way to break the rules of section 4.7 or 4.8. The reason code is the one of
// the kind of string (0x8F, 0x90) unless the string itself is malformed.
type fault struct {
	rule4, rule5 string
	malformed    bool
	msg          string
}

var (
	faultEmpty   = fault{rule4: "MQTT-4.7.3-1", rule5: "MQTT-4.7.3-1", msg: "has no characters; it needs at least one"}
	faultLong    = fault{rule4: "MQTT-4.7.3-3", rule5: "MQTT-4.7.3-3", malformed: true, msg: "is longer than 65,535 bytes"}
	faultUTF8    = fault{rule4: "MQTT-1.5.3-1", rule5: "MQTT-1.5.4-1", malformed: true, msg: "is not well-formed UTF-8"}
	faultNull    = fault{rule4: "MQTT-4.7.3-2", rule5: "MQTT-4.7.3-2", malformed: true, msg: "contains the character U+0000"}
	faultWild    = fault{rule4: "MQTT-4.7.1-1", rule5: "MQTT-4.7.0-1", msg: "contains a wildcard; + and # belong in filters only"}
	faultHash    = fault{rule4: "MQTT-4.7.1-2", rule5: "MQTT-4.7.1-1", msg: "has a # that is not the whole last level"}
	faultPlus    = fault{rule4: "MQTT-4.7.1-3", rule5: "MQTT-4.7.1-2", msg: "has a + that does not fill its level"}
	faultNoShare = fault{rule5: "MQTT-4.8.2-1", msg: "has an empty ShareName; write $share/NAME/FILTER"}
	faultShare   = fault{rule5: "MQTT-4.8.2-2", msg: "has a + or # in its ShareName; write $share/NAME/FILTER"}
	faultInner   = fault{rule5: "MQTT-4.8.2-2", msg: "has no filter after its ShareName; write $share/NAME/FILTER"}
)

func (f *fault) err(what string, v codec.Version, r codec.ReasonCode) *Error {
	e := &Error{Reason: r, Msg: what + " " + f.msg}
	switch v {
	case codec.V31:
	case codec.V5:
		e.Rule = f.rule5
	default:
		e.Rule = f.rule4
	}
	if f.malformed {
		e.Reason = codec.MalformedPacket
	}
	return e
}

// CheckName returns nil for a valid Topic Name and an *Error that names the rule of the
// version otherwise. The empty name of a PUBLISH with a Topic Alias is the caller's to allow.
func CheckName(s string, v codec.Version) error {
	if codec.ValidTopicName(s) {
		return nil
	}
	f := stringFault(s)
	if f == nil {
		f = &faultWild
	}
	return f.err("topic name", v, codec.TopicNameInvalid)
}

// CheckFilter returns nil for a valid Topic Filter and an *Error that names the rule of the
// version otherwise. In version 5 a filter that begins with $share/ has to be a well-formed
// Shared Subscription; before that the prefix means nothing.
func CheckFilter(s string, v codec.Version) error {
	if v == codec.V5 {
		_, _, _, err := ParseShared(s)
		return err
	}
	if f := filterFault(s); f != nil {
		return f.err("topic filter", v, codec.TopicFilterInvalid)
	}
	return nil
}

const sharePrefix = "$share/"

// ParseShared splits the Topic Filter of a version 5 Shared Subscription, $share/NAME/FILTER,
// into ShareName and inner filter. Any other filter comes back as inner with shared false.
// Both are checked: err is nil or an *Error with the rule of version 5. The results are
// parts of filter.
func ParseShared(filter string) (group, inner string, shared bool, err error) {
	refuse := func(f *fault) *Error { return f.err("topic filter", codec.V5, codec.TopicFilterInvalid) }
	if f := stringFault(filter); f != nil {
		return "", "", false, refuse(f)
	}
	rest, shared := strings.CutPrefix(filter, sharePrefix)
	if !shared {
		if f := filterFault(filter); f != nil {
			return "", "", false, refuse(f)
		}
		return "", filter, false, nil
	}
	group, inner, _ = strings.Cut(rest, "/")
	switch {
	case group == "": // [MQTT-4.8.2-1]
		return "", "", true, refuse(&faultNoShare)
	case IsWild(group): // [MQTT-4.8.2-2]
		return "", "", true, refuse(&faultShare)
	case inner == "": // [MQTT-4.8.2-2]
		return "", "", true, refuse(&faultInner)
	}
	if f := filterFault(inner); f != nil {
		// What follows the ShareName has to be a Topic Filter: the placement rule is
		// broken by way of the rule on Shared Subscriptions.
		e := refuse(f)
		e.Rule = faultInner.rule5
		e.Msg = strings.Replace(e.Msg, "topic filter", "filter after the ShareName", 1)
		return "", "", true, e
	}
	return group, inner, true, nil
}

// stringFault returns what names and filters alike may not be, or nil.
func stringFault(s string) *fault {
	switch {
	case s == "": // [MQTT-4.7.3-1]
		return &faultEmpty
	case len(s) > maxLength: // [MQTT-4.7.3-3]
		return &faultLong
	case !utf8.ValidString(s): // [MQTT-1.5.3-1] [MQTT-1.5.4-1]
		return &faultUTF8
	case strings.IndexByte(s, 0) >= 0: // [MQTT-4.7.3-2]
		return &faultNull
	}
	return nil
}

// filterFault returns the first departure of a Topic Filter from section 4.7, or nil.
func filterFault(s string) *fault {
	if codec.ValidTopicFilter(s) {
		return nil
	}
	if f := stringFault(s); f != nil {
		return f
	}
	for level := range strings.SplitSeq(s, "/") {
		switch {
		case level != "+" && strings.IndexByte(level, '+') >= 0: // 5.0: [MQTT-4.7.1-2]
			return &faultPlus
		case strings.IndexByte(level, '#') >= 0 && (level != "#" || strings.IndexByte(s, '#') != len(s)-1): // 5.0: [MQTT-4.7.1-1]
			return &faultHash
		}
	}
	return nil
}
