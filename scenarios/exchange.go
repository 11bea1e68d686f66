package scenarios

import (
	"fmt"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// Exchange is a script: steps on named connections, one after the other. The first step that
// reality does not follow ends it.
type Exchange struct {
	Kind    string        `yaml:"kind" doc:"always exchange" enum:"exchange"`
	Title   string        `yaml:"title" doc:"one line: what a server that keeps to the standard does"`
	About   string        `yaml:"about,omitempty" doc:"anything worth knowing, for readers"`
	Rule    string        `yaml:"rule,omitempty" doc:"the id of the rule that the exchange is about"`
	MQTT    string        `yaml:"mqtt" doc:"the protocol version of connections that name none" enum:"3.1,3.1.1,5.0"`
	Unique  string        `yaml:"unique,omitempty" doc:"letters and digits that each run replaces, wherever they occur, by others of the same length, so that Client Identifiers and topics are its own"`
	Timeout time.Duration `yaml:"timeout,omitempty" doc:"how long expected events are waited for where the step does not say it"`
	Steps   []Step        `yaml:"steps" doc:"what is done and expected, in order"`
}

// Step is one act or expectation. Exactly one of the fields Open to Close, or Ack without Open,
// says which; the others modify it.
type Step struct {
	Note string `yaml:"note,omitempty" doc:"a remark for readers"`

	Open        string        `yaml:"open,omitempty" doc:"open a network connection and give it this name"`
	Send        *Packet       `yaml:"send,omitempty" doc:"send this packet"`
	SendHex     string        `yaml:"send_hex,omitempty" doc:"send these bytes, legal or not, in one write; $password stands for the password's bytes"`
	Expect      *Packet       `yaml:"expect,omitempty" doc:"wait for a packet that has these fields; fields that are not named may be anything"`
	ExpectClose *Ending       `yaml:"expect_close,omitempty" doc:"wait until the other end closes the connection"`
	ExpectNone  *Packet       `yaml:"expect_none,omitempty" doc:"no packet with these fields is there; without for or fence: what the steps before have proven"`
	Wait        time.Duration `yaml:"wait,omitempty" doc:"do nothing for this long"`
	Close       string        `yaml:"close,omitempty" doc:"close the connection of this name"`
	Ack         string        `yaml:"ack,omitempty" doc:"whether PUBLISH, PUBREC and PUBREL are answered by themselves; alone it changes that on a connection" enum:"auto,manual"`

	Conn     string        `yaml:"conn,omitempty" doc:"the connection; may be left out where there is only one"`
	MQTT     string        `yaml:"mqtt,omitempty" doc:"with open: the protocol version of the connection" enum:"3.1,3.1.1,5.0"`
	Within   time.Duration `yaml:"within,omitempty" doc:"with expect and expect_close: how long to wait"`
	Next     bool          `yaml:"next,omitempty" doc:"with expect: the next packet of the type must be this one"`
	Optional bool          `yaml:"optional,omitempty" doc:"with expect and expect_close: go on where it does not happen"`
	For      time.Duration `yaml:"for,omitempty" doc:"with expect_none: how long to listen"`
	Fence    *Fence        `yaml:"fence,omitempty" doc:"with expect_none: first publish a marker behind what went before, and wait for it"`
	How      string        `yaml:"how,omitempty" doc:"with close: drop resets the connection as a failing network does" enum:"orderly,drop"`
}

// Ending says what the end of a connection must look like.
type Ending struct {
	Without []*Packet `yaml:"without,omitempty" doc:"packets that must not come before"`
	Reason  []Reason  `yaml:"reason,omitempty" doc:"a DISCONNECT before the end must have one of these reason codes"`
}

// Fence proves silence: what was published before the marker on the same topic and QoS by the
// same connection has arrived when the marker has.
type Fence struct {
	From  string `yaml:"from" doc:"the connection that publishes the marker"`
	Topic string `yaml:"topic" doc:"the topic; the listening connection must be subscribed to it"`
	QoS   uint8  `yaml:"qos,omitempty" doc:"0, 1 or 2"`
}

// Kind returns what the step does: the name of its field in the file. It is empty where none or
// more than one is set.
func (s *Step) Kind() string {
	kinds := s.kinds()
	if len(kinds) != 1 {
		return ""
	}
	return kinds[0]
}

func (s *Step) kinds() []string {
	var out []string
	for _, k := range []struct {
		set  bool
		name string
	}{
		{s.Open != "", "open"},
		{s.Send != nil, "send"},
		{s.SendHex != "", "send_hex"},
		{s.Expect != nil, "expect"},
		{s.ExpectClose != nil, "expect_close"},
		{s.ExpectNone != nil, "expect_none"},
		{s.Wait != 0, "wait"},
		{s.Close != "", "close"},
		{s.Ack != "" && s.Open == "", "ack"},
	} {
		if k.set {
			out = append(out, k.name)
		}
	}
	return out
}

// String returns the step in one line.
func (s *Step) String() string {
	var b strings.Builder
	if s.Conn != "" {
		b.WriteString(s.Conn + ": ")
	}
	switch s.Kind() {
	case "open":
		b.WriteString("open " + s.Open)
		if s.MQTT != "" {
			b.WriteString(" for MQTT " + s.MQTT)
		}
	case "send":
		b.WriteString("send " + s.Send.String())
	case "send_hex":
		b.WriteString("send the bytes " + shorten(s.SendHex, 60))
	case "expect":
		b.WriteString("expect " + s.Expect.String())
		if s.Next {
			b.WriteString(" next")
		}
	case "expect_close":
		b.WriteString("expect the end of the connection")
		for i, p := range s.ExpectClose.Without {
			b.WriteString([]string{" without ", " or "}[min(i, 1)] + p.String())
		}
	case "expect_none":
		b.WriteString("expect no " + s.ExpectNone.String())
	case "wait":
		fmt.Fprintf(&b, "wait %v", s.Wait)
	case "close":
		b.WriteString("close " + s.Close)
		if s.How == "drop" {
			b.WriteString(" as a failing network does")
		}
	case "ack":
		b.WriteString("acknowledgements: " + s.Ack)
	}
	if s.Optional {
		b.WriteString(" (optional)")
	}
	return b.String()
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "..."
}

// versions are the protocol versions by the names that a file may use.
var versions = map[string]codec.Version{
	"3.1": codec.V31, "3": codec.V31, "3.1.1": codec.V4, "4": codec.V4, "5": codec.V5, "5.0": codec.V5,
}

// Version returns the protocol version of connections that name none.
func (x *Exchange) Version() codec.Version { return versions[x.MQTT] }
