package judge

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
)

// alwaysFail are rules whose breach by the sender is certain although the receiver may let it pass,
// for which reason the decoder calls it a fault of Should level.
var alwaysFail = []string{"MQTT-1.5.5-1", "MQTT-3.3.1-2", "MQTT-4.3.1-1"}

// answeredInKind are faults by which a server may merely mirror what a client's own fault asked for.
var answeredInKind = []string{"packet-id-zero-ack", "packet-id-zero-reply", "suback-empty", "unsuback-empty"}

// layoutFaults leave open where a field of the packet ends.
var layoutFaults = []string{
	"truncated", "connect-truncated", "frame-length", "varint-five-bytes", "property-overrun", "property-length-missing",
	"property-unknown", "options-missing", "reserved-type", "auth-before-5",
}

// layoutRules311 names the rule of 3.1.1 that a packet breaks which is cut short, or whose fixed
// length is wrong: the version has no rule on length in general.
var layoutRules311 = [16]string{
	codec.TypeConnack: "MQTT-3.1.4-4", codec.TypePublish: "MQTT-3.3.2-1",
	codec.TypePuback: "MQTT-2.3.1-6", codec.TypePubrec: "MQTT-2.3.1-6", codec.TypePubrel: "MQTT-2.3.1-6",
	codec.TypeSuback: "MQTT-2.3.1-7", codec.TypeUnsuback: "MQTT-3.10.4-4", codec.TypePingresp: "MQTT-3.12.4-1",
}

// faults judges what the decoder found in one packet and reports whether its fields can be relied on.
func (c *Conn) faults(from side, p codec.Packet, t codec.Type, faults codec.Errors) (sound bool) {
	sound = true
	must := false
	for _, f := range faults {
		if slices.Contains(layoutFaults, f.Fault) {
			sound = false
		}
		must = must || f.Level == codec.Must
		if from == server && c.excused[server] && slices.Contains(answeredInKind, f.Fault) {
			continue
		}
		if (f.Fault == "disconnect-code" || f.Fault == "disconnect-code-side") && tolerated(from, p) {
			continue
		}
		c.fault(from, p, t, f)
	}
	if must {
		if t == codec.TypeConnect && c.phase == awaiting {
			c.hello.blur()
		}
		c.excused[from.other()] = true
	}
	return sound
}

// fault records one fault under every rule that binds its sender.
func (c *Conn) fault(from side, p codec.Packet, t codec.Type, f *codec.Error) {
	ids := f.Rules()
	if c.rv == rules.MQTT311 {
		if id := layoutRules311[t&15]; id != "" && (f.Fault == "truncated" || f.Fault == "frame-length" ||
			(f.Fault == "surplus" || f.Fault == "surplus-ping") && (t == codec.TypeUnsuback || t == codec.TypePingresp)) {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		if !packetRuleKeys[Key{c.rv, id, from.wire()}] {
			continue
		}
		c.record(c.rv, id, from, c.grade(from, id, f), "a "+t.String()+" that keeps the rule", describe(p, f))
	}
}

// describe words a fault, with the place in the packet and the code where one is at fault.
func describe(p codec.Packet, f *codec.Error) string {
	s := fmt.Sprintf("at byte %d %s", f.Offset, f.Msg)
	if !strings.Contains(f.Fault, "code") {
		return s
	}
	switch p := p.(type) {
	case *codec.Connack:
		return fmt.Sprintf("%s: 0x%02X", s, uint8(p.Reason))
	case *codec.Puback:
		return fmt.Sprintf("%s: 0x%02X", s, uint8(p.Reason))
	case *codec.Pubrec:
		return fmt.Sprintf("%s: 0x%02X", s, uint8(p.Reason))
	case *codec.Pubrel:
		return fmt.Sprintf("%s: 0x%02X", s, uint8(p.Reason))
	case *codec.Pubcomp:
		return fmt.Sprintf("%s: 0x%02X", s, uint8(p.Reason))
	case *codec.Suback:
		return fmt.Sprintf("%s: %v", s, p.Reasons)
	case *codec.Unsuback:
		return fmt.Sprintf("%s: %v", s, p.Reasons)
	case *codec.Disconnect:
		return fmt.Sprintf("%s: 0x%02X", s, uint8(p.Reason))
	case *codec.Auth:
		return fmt.Sprintf("%s: 0x%02X", s, uint8(p.Reason))
	}
	return s
}

// grade weighs a fault of a sender by the registry.
func (c *Conn) grade(from side, id string, f *codec.Error) Grade {
	if r, ok := rules.Lookup(c.rv, id); ok && r.Level != rules.LevelMust {
		return Warn
	}
	switch {
	case from == server && id == "MQTT-3.3.2-14": // it also has to pass the property on unchanged
		return Warn
	case slices.Contains(alwaysFail, id):
		return Fail
	case f.Level == codec.Should && c.rv == rules.MQTT5:
		return Warn
	}
	return Fail
}

// tolerated reports whether the code of a DISCONNECT is one that the text names in one place and
// leaves out in another.
func tolerated(from side, p codec.Packet) bool {
	d, ok := p.(*codec.Disconnect)
	return ok && (d.Reason == codec.QoSNotSupported || d.Reason == codec.BadAuthenticationMethod && from == server)
}

// tally counts a sound packet under its classes.
func (c *Conn) tally(from side, p codec.Packet) {
	n := &c.tallies[from]
	n[clAny]++
	if p.Type() != codec.TypePublish {
		n[clFlags]++
	}
	v5 := c.v == codec.V5
	switch p := p.(type) {
	case *codec.Publish:
		n[clPublish]++
		n[clText]++
		n[clTopic]++
		if p.QoS == 0 {
			n[clQoS0]++
		} else {
			n[clID]++
		}
		if v5 {
			n[clProps]++
			if !p.Props.Empty() {
				n.publishProps(&p.Props)
			}
		}
	case *codec.Puback:
		n[clPuback]++
		n.ack(&p.Props)
	case *codec.Pubrec:
		n[clPubrec]++
		n.ack(&p.Props)
	case *codec.Pubrel:
		n[clPubrel]++
		n.ack(&p.Props)
	case *codec.Pubcomp:
		n[clPubcomp]++
		n.ack(&p.Props)
	case *codec.Subscribe:
		n[clSubscribe]++
		n[clText]++
		n[clTopic]++
		n[clFilter]++
		n[clID]++
		n[clProps]++
		n.pair(&p.Props)
		for i := range p.Filters {
			if shared(p.Filters[i].Filter) {
				n[clSharedFilter]++
				break
			}
		}
	case *codec.Unsubscribe:
		n[clUnsubscribe]++
		n[clText]++
		n[clTopic]++
		n[clFilter]++
		n[clID]++
		n[clProps]++
		n.pair(&p.Props)
	case *codec.Suback:
		n[clSuback]++
		n[clReply]++
		n[clProps]++
		n.strings(&p.Props)
	case *codec.Unsuback:
		n[clUnsuback]++
		n[clReply]++
		n[clProps]++
		n.strings(&p.Props)
	case *codec.Pingreq:
		n[clPing]++
	case *codec.Pingresp:
		n[clPing]++
		n[clPingresp]++
	case *codec.Connack:
		n[clConnack]++
		n[clNoPayload]++
		n[clProps]++
		n.strings(&p.Props)
		if p.Reason != codec.Success {
			n[clRefusal]++
		}
	case *codec.Disconnect:
		n[clDisconnect]++
		n[clNoPayload]++
		n.strings(&p.Props)
	case *codec.Auth:
		n[clAuth]++
		n[clNoPayload]++
		n[clProps]++
		n.strings(&p.Props)
	case *codec.Connect:
		n.connect(p)
	}
}

// counts is what tally counts into.
type counts [numClasses]uint32

func (n *counts) ack(props *codec.Properties) {
	n[clAck]++
	n[clNoPayload]++
	if !props.Empty() {
		n[clProps]++
		n.strings(props)
	}
}

// strings counts the properties of a packet whose only strings are properties.
func (n *counts) strings(props *codec.Properties) {
	if !props.Empty() {
		n[clText]++
		n.pair(props)
	}
}

func (n *counts) pair(props *codec.Properties) {
	if props.Has(codec.PropUserProperty) {
		n[clPair]++
	}
}

func (n *counts) publishProps(props *codec.Properties) {
	n.pair(props)
	for _, x := range [...]struct {
		id codec.PropID
		cl class
	}{
		{codec.PropTopicAlias, clAlias},
		{codec.PropResponseTopic, clResponseTopic},
		{codec.PropContentType, clContentType},
		{codec.PropPayloadFormat, clPayloadFormat},
		{codec.PropMessageExpiry, clMessageExpiry},
		{codec.PropCorrelationData, clCorrelation},
		{codec.PropSubscriptionID, clSubscriptionID},
	} {
		if props.Has(x.id) {
			n[x.cl]++
		}
	}
}

func (n *counts) connect(p *codec.Connect) {
	n[clConnect]++
	n[clText]++
	n[clProps]++
	n.pair(&p.Props)
	count := func(has bool, yes, no class) {
		if has {
			n[yes]++
		} else {
			n[no]++
		}
	}
	count(p.HasWill, clWill, clNoWill)
	count(p.HasUsername, clUsername, clNoUsername)
	count(p.HasPassword, clPassword, clNoPassword)
	if p.HasWill {
		n[clTopic]++
	}
}
