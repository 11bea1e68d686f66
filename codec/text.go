package codec

import "unicode/utf8"

// ValidString reports whether s is an MQTT UTF-8 Encoded String: at most 65,535 bytes of
// well-formed UTF-8 without surrogates and without U+0000 (1.5.3, in 5.0 1.5.4).
func ValidString(s string) bool {
	if len(s) > 65535 || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] == 0 {
			return false
		}
	}
	return true
}

// ValidTopicName reports whether s is a Topic Name: a valid string of at least one byte
// without wildcards (4.7).
func ValidTopicName(s string) bool {
	if s == "" || !ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] == '+' || s[i] == '#' {
			return false
		}
	}
	return true
}

// ValidTopicFilter reports whether s is a Topic Filter: a valid string of at least one byte
// in which + fills a whole level and # stands alone at the end (4.7.1). The share prefix of a
// Shared Subscription is not looked at.
func ValidTopicFilter(s string) bool {
	if s == "" || !ValidString(s) {
		return false
	}
	for i := range len(s) {
		switch s[i] {
		case '+':
			if i > 0 && s[i-1] != '/' || i+1 < len(s) && s[i+1] != '/' {
				return false
			}
		case '#':
			if i > 0 && s[i-1] != '/' || i+1 < len(s) {
				return false
			}
		}
	}
	return true
}
