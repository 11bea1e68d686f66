package topic

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
)

func TestFaultsNameKnownRules(t *testing.T) {
	for _, f := range []*fault{
		&faultEmpty, &faultLong, &faultUTF8, &faultNull, &faultWild, &faultHash, &faultPlus,
		&faultNoShare, &faultShare, &faultInner,
	} {
		if f.rule4 != "" && !rules.Known(rules.MQTT311, f.rule4) {
			t.Errorf("%q: 3.1.1 has no rule %s", f.msg, f.rule4)
		}
		if !rules.Known(rules.MQTT5, f.rule5) {
			t.Errorf("%q: 5.0 has no rule %s", f.msg, f.rule5)
		}
	}
}

func TestCheckName(t *testing.T) {
	long := strings.Repeat("a", 65536)
	tests := []struct {
		name         string
		rule4, rule5 string
		reason       codec.ReasonCode
	}{
		{name: "a"},
		{name: "/"},
		{name: " "},
		{name: "$SYS/x"},
		{name: "$share//x"},
		{name: long[1:]},
		{"", "MQTT-4.7.3-1", "MQTT-4.7.3-1", codec.TopicNameInvalid},
		{long, "MQTT-4.7.3-3", "MQTT-4.7.3-3", codec.MalformedPacket},
		{"\xc3\x28", "MQTT-1.5.3-1", "MQTT-1.5.4-1", codec.MalformedPacket},
		{"a\xed\xa0\x80", "MQTT-1.5.3-1", "MQTT-1.5.4-1", codec.MalformedPacket},
		{"\xc0\x80", "MQTT-1.5.3-1", "MQTT-1.5.4-1", codec.MalformedPacket},
		{"a\x00b", "MQTT-4.7.3-2", "MQTT-4.7.3-2", codec.MalformedPacket},
		{"a/+", "MQTT-4.7.1-1", "MQTT-4.7.0-1", codec.TopicNameInvalid},
		{"a#", "MQTT-4.7.1-1", "MQTT-4.7.0-1", codec.TopicNameInvalid},
	}
	for _, tt := range tests {
		checkError(t, tt.name, CheckName(tt.name, codec.V31), tt.reason, "")
		checkError(t, tt.name, CheckName(tt.name, codec.V4), tt.reason, tt.rule4)
		checkError(t, tt.name, CheckName(tt.name, codec.V5), tt.reason, tt.rule5)
	}
}

func TestCheckFilter(t *testing.T) {
	const (
		hash4, hash5 = "MQTT-4.7.1-2", "MQTT-4.7.1-1"
		plus4, plus5 = "MQTT-4.7.1-3", "MQTT-4.7.1-2"
	)
	tests := []struct {
		filter       string
		rule4, rule5 string
	}{
		{filter: "#"},
		{filter: "a/#"},
		{filter: "/#"},
		{filter: "+"},
		{filter: "+/a/#"},
		{filter: "/+"},
		{filter: "a/+/b"},
		{filter: "a//b"},
		{filter: "$SYS/#"},
		{filter: "$share"},
		{filter: "$sharex/y"},
		{"", "MQTT-4.7.3-1", "MQTT-4.7.3-1"},
		{"a#", hash4, hash5},
		{"a/#/b", hash4, hash5},
		{"#/a", hash4, hash5},
		{"##", hash4, hash5},
		{"a/b#", hash4, hash5},
		{"#/#", hash4, hash5},
		{"#/", hash4, hash5},
		{"a/#b", hash4, hash5},
		{"a+", plus4, plus5},
		{"+a", plus4, plus5},
		{"a/b+/c", plus4, plus5},
		{"++", plus4, plus5},
		{"+#", plus4, plus5},
	}
	for _, tt := range tests {
		checkError(t, tt.filter, CheckFilter(tt.filter, codec.V31), codec.TopicFilterInvalid, "")
		checkError(t, tt.filter, CheckFilter(tt.filter, codec.V4), codec.TopicFilterInvalid, tt.rule4)
		checkError(t, tt.filter, CheckFilter(tt.filter, codec.V5), codec.TopicFilterInvalid, tt.rule5)
		if got, want := CheckFilter(tt.filter, codec.V4) == nil, codec.ValidTopicFilter(tt.filter); got != want {
			t.Errorf("%q: valid %v, codec says %v", tt.filter, got, want)
		}
	}
	for _, bad := range []string{"\xff/#", "a/\xed\xa0\x80"} {
		checkError(t, bad, CheckFilter(bad, codec.V4), codec.MalformedPacket, "MQTT-1.5.3-1")
		checkError(t, bad, CheckFilter(bad, codec.V5), codec.MalformedPacket, "MQTT-1.5.4-1")
	}
	checkError(t, "a\x00", CheckFilter("a\x00", codec.V4), codec.MalformedPacket, "MQTT-4.7.3-2")
	// Before version 5 a share prefix means nothing.
	checkError(t, "$share//x", CheckFilter("$share//x", codec.V4), 0, "")
	checkError(t, "$share//x", CheckFilter("$share//x", codec.V5), codec.TopicFilterInvalid, "MQTT-4.8.2-1")
}

// checkError wants no error where the reason is zero or, outside version 3.1, the rule is empty.
func checkError(t *testing.T, s string, err error, reason codec.ReasonCode, rule string) {
	t.Helper()
	if err == nil {
		if rule != "" {
			t.Errorf("%.40q is accepted, want %s", s, rule)
		}
		return
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%.40q: error of type %T", s, err)
	}
	if e.Rule != rule || e.Reason != reason {
		t.Errorf("%.40q: %v, reason %#x; want rule %q, reason %#x", s, err, e.Reason, rule, reason)
	}
	if rule != "" && !strings.HasSuffix(err.Error(), "["+rule+"]") {
		t.Errorf("%.40q: message %q does not end in its rule", s, err)
	}
}

func TestParseShared(t *testing.T) {
	type result struct {
		Group, Inner string
		Shared       bool
		Rule         string
	}
	tests := map[string]result{
		"a/b":                {Inner: "a/b"},
		"$share":             {Inner: "$share"},
		"$SHARE/g/t":         {Inner: "$SHARE/g/t"},
		"$share/g/t":         {"g", "t", true, ""},
		"$share/g//finance":  {"g", "/finance", true, ""},
		"$share/g/#":         {"g", "#", true, ""},
		"$share/g/+/x":       {"g", "+/x", true, ""},
		"$share/$x/$SYS/#":   {"$x", "$SYS/#", true, ""},
		"$share/g//":         {"g", "/", true, ""},
		"$share/":            {Shared: true, Rule: "MQTT-4.8.2-1"},
		"$share//t":          {Shared: true, Rule: "MQTT-4.8.2-1"},
		"$share/g":           {Shared: true, Rule: "MQTT-4.8.2-2"},
		"$share/g/":          {Shared: true, Rule: "MQTT-4.8.2-2"},
		"$share/a+/t":        {Shared: true, Rule: "MQTT-4.8.2-2"},
		"$share/#/t":         {Shared: true, Rule: "MQTT-4.8.2-2"},
		"$share/+":           {Shared: true, Rule: "MQTT-4.8.2-2"},
		"$share/g/a#":        {Shared: true, Rule: "MQTT-4.8.2-2"},
		"$share/g/#/a":       {Shared: true, Rule: "MQTT-4.8.2-2"},
		"a+":                 {Rule: "MQTT-4.7.1-2"},
		"":                   {Rule: "MQTT-4.7.3-1"},
		"$share/g\x00/t":     {Rule: "MQTT-4.7.3-2"},
		"$share/g/\xed\xa0a": {Rule: "MQTT-1.5.4-1"},
	}
	for filter, want := range tests {
		group, inner, shared, err := ParseShared(filter)
		got := result{Group: group, Inner: inner, Shared: shared}
		var e *Error
		if errors.As(err, &e) {
			got.Rule = e.Rule
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", filter, diff)
		}
		if (CheckFilter(filter, codec.V5) == nil) != (err == nil) {
			t.Errorf("%q: CheckFilter and ParseShared differ", filter)
		}
	}
}
