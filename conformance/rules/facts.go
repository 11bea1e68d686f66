package rules

import "slices"

// ReasonCode is one meaning of a reason code of MQTT 5.0. Code 0x00 has three rows, one per meaning.
type ReasonCode struct {
	Code    byte     `json:"code"`
	Name    string   `json:"name"`
	Packets []string `json:"packets"` // packets that may carry it
	Notes   string   `json:"notes,omitempty"`
}

// Property is one property of MQTT 5.0.
type Property struct {
	ID        byte     `json:"identifier"`
	Name      string   `json:"name"`
	Type      string   `json:"type"`
	Packets   []string `json:"packets"`    // packets that may carry it, "Will Properties" among them
	MayRepeat string   `json:"may_repeat"` // "yes", "no", or a sentence where it depends on the packet
	Notes     string   `json:"values_notes,omitempty"`
}

// Term is a word that the rules use in a sense of their own.
type Term struct {
	Term    string `json:"term"`
	Meaning string `json:"meaning"`
}

// ReasonCodes returns the reason codes of MQTT 5.0 in ascending order. The result is the caller's.
func ReasonCodes() []ReasonCode {
	out := slices.Clone(load().codes)
	for i := range out {
		out[i].Packets = slices.Clone(out[i].Packets)
	}
	return out
}

// Properties returns the properties of MQTT 5.0 in ascending order. The result is the caller's.
func Properties() []Property {
	out := slices.Clone(load().properties)
	for i := range out {
		out[i].Packets = slices.Clone(out[i].Packets)
	}
	return out
}

// Terms returns the words that stimulus, pass and fail texts use in a sense of their own.
func Terms() []Term { return slices.Clone(load().terms) }
