package codec

import (
	"fmt"
	"strings"
)

// Level says what a receiver does about a fault.
type Level uint8

// The levels.
const (
	// Must: a receiver refuses the packet.
	Must Level = iota
	// Should: the sender is at fault, yet the standard leaves it to the receiver whether to
	// take the packet, or states no reaction at all.
	Should
)

// String returns "must" or "should".
func (l Level) String() string {
	if l == Should {
		return "should"
	}
	return "must"
}

// Error is one departure from the standard found in a packet.
type Error struct {
	Packet  Type
	Version Version    // of the packet; 0 where it is not known
	Offset  int        // bytes from the start of the fixed header
	Rule    string     // rule id of the packet's version; "" where the text has no number
	Fault   string     // stable name of the fault, the same for all versions, such as "publish-qos-3"
	Reason  ReasonCode // what a version 5 peer answers with
	Level   Level
	Msg     string // one plain sentence, lower case, no full stop

	rules string
}

// Error returns the fault in one line: PUBLISH at byte 0: both QoS bits are set [MQTT-3.3.1-4].
func (e *Error) Error() string {
	s := fmt.Sprintf("%s at byte %d: %s", e.Packet, e.Offset, e.Msg)
	if e.Rule != "" {
		s += " [" + e.Rule + "]"
	}
	return s
}

// Rules returns every rule that the same departure breaks, Rule first. A bad string in a Topic
// Name, for one, breaks the rule on strings and the rule on the Topic Name.
func (e *Error) Rules() []string {
	if e.rules == "" {
		if e.Rule == "" {
			return nil
		}
		return []string{e.Rule}
	}
	return strings.Fields(e.rules)
}

// Is makes errors.Is(err, ErrPacketTooLarge) true for packets over the maximum.
func (e *Error) Is(target error) bool {
	return target == ErrPacketTooLarge && e.Reason == PacketTooLarge
}

// Errors are the faults of one packet in the order of discovery, as a Lenient Decoder returns them.
type Errors []*Error

// Error returns the faults one per line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As look at each fault.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, f := range e {
		errs[i] = f
	}
	return errs
}

// newError builds the Error of a fault. It is the only place where one is made.
func newError(f fault, t Type, v Version, offset int) *Error {
	in := &faults[f]
	e := &Error{
		Packet: t, Version: v, Offset: offset, Fault: in.name, Reason: in.reason, Level: in.level(v), Msg: in.msg,
		rules: in.rules(v),
	}
	e.Rule, _, _ = strings.Cut(e.rules, " ")
	return e
}
