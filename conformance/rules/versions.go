package rules

import (
	"fmt"
	"strings"
)

// Versions is a set of protocol versions. It is apart from the number on the wire, which the
// registry does not need. The zero value is the empty set.
type Versions uint8

// The versions that have rules.
const (
	MQTT311 Versions = 1 << iota
	MQTT5

	AnyVersion = MQTT311 | MQTT5
)

// Has reports whether every version of w is in v; an empty w is in every set.
func (v Versions) Has(w Versions) bool { return v&w == w }

// Split returns the members of v, each as a set of one, the older version first.
func (v Versions) Split() []Versions {
	var out []Versions
	for _, one := range []Versions{MQTT311, MQTT5} {
		if v.Has(one) {
			out = append(out, one)
		}
	}
	return out
}

// String returns the members separated by commas, as "3.1.1,5.0".
func (v Versions) String() string {
	names := make([]string, 0, 2)
	for _, one := range v.Split() {
		if one == MQTT311 {
			names = append(names, "3.1.1")
		} else {
			names = append(names, "5.0")
		}
	}
	return strings.Join(names, ",")
}

// MarshalText writes the form of String.
func (v Versions) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what ParseVersions reads, and the empty set.
func (v *Versions) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*v = 0
		return nil
	}
	parsed, err := ParseVersions(string(text))
	if err != nil {
		return err
	}
	*v = parsed
	return nil
}

// ParseVersions reads a list separated by commas. 3.1.1 may be written as 311 or 4, and 5.0 as 5 or 50.
func ParseVersions(list string) (Versions, error) {
	var v Versions
	for word := range strings.SplitSeq(list, ",") {
		switch strings.TrimSpace(word) {
		case "3.1.1", "311", "4":
			v |= MQTT311
		case "5.0", "5", "50":
			v |= MQTT5
		default:
			return 0, fmt.Errorf("unknown MQTT version %q: write 3.1.1, 5 or both as 3.1.1,5", strings.TrimSpace(word))
		}
	}
	return v, nil
}
