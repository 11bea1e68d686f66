package codec

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// shownBytes is how much of a payload Describe shows.
const shownBytes = 48

// Describe returns a packet in one readable line, as transcripts show it:
//
//	PUBLISH topic="a/b" qos=1 id=10 payload=3 bytes "abc" props{Topic Alias=1}
//
// Passwords and Authentication Data are given by their length alone.
func Describe(p Packet, v Version) string {
	if p == nil {
		return "no packet"
	}
	d := describer{v: v}
	d.WriteString(p.Type().String())
	switch p := p.(type) {
	case *Connect:
		d.connect(p)
	case *Connack:
		d.flag(p.SessionPresent, "session-present")
		d.reason(p.Reason, TypeConnack)
		d.props(&p.Props)
	case *Publish:
		d.publish(p)
	case *Puback:
		d.ack(TypePuback, p.PacketID, p.Reason, &p.Props)
	case *Pubrec:
		d.ack(TypePubrec, p.PacketID, p.Reason, &p.Props)
	case *Pubrel:
		d.ack(TypePubrel, p.PacketID, p.Reason, &p.Props)
	case *Pubcomp:
		d.ack(TypePubcomp, p.PacketID, p.Reason, &p.Props)
	case *Subscribe:
		fmt.Fprintf(&d, " id=%d", p.PacketID)
		for i := range p.Filters {
			d.subscription(&p.Filters[i])
		}
		d.props(&p.Props)
	case *Suback:
		d.codes(TypeSuback, p.PacketID, p.Reasons)
		d.props(&p.Props)
	case *Unsubscribe:
		fmt.Fprintf(&d, " id=%d", p.PacketID)
		for _, f := range p.Filters {
			fmt.Fprintf(&d, " %q", f)
		}
		d.props(&p.Props)
	case *Unsuback:
		d.codes(TypeUnsuback, p.PacketID, p.Reasons)
		d.props(&p.Props)
	case *Disconnect:
		if v == V5 {
			d.reason(p.Reason, TypeDisconnect)
		}
		d.props(&p.Props)
	case *Auth:
		d.reason(p.Reason, TypeAuth)
		d.props(&p.Props)
	}
	return d.String()
}

type describer struct {
	strings.Builder
	v Version
}

func (d *describer) flag(on bool, name string) {
	if on {
		d.WriteString(" " + name)
	}
}

func (d *describer) reason(r ReasonCode, t Type) {
	fmt.Fprintf(d, " reason=0x%02X %s", uint8(r), r.Name(t, d.v))
}

func (d *describer) connect(p *Connect) {
	v := p.wire(d.v)
	d.v = v
	fmt.Fprintf(d, " version=%s", v)
	if p.ProtocolName != "" || p.Level != 0 {
		fmt.Fprintf(d, " name=%q level=%d", p.ProtocolName, p.Level)
	}
	fmt.Fprintf(d, " client=%q keep-alive=%ds", p.ClientID, p.KeepAlive)
	if v == V5 {
		d.flag(p.CleanStart, "clean-start")
	} else {
		d.flag(p.CleanStart, "clean-session")
	}
	if p.HasUsername {
		fmt.Fprintf(d, " user=%q", p.Username)
	}
	if p.HasPassword {
		fmt.Fprintf(d, " password=%d bytes", len(p.Password))
	}
	if p.HasWill {
		fmt.Fprintf(d, " will{topic=%q qos=%d", p.Will.Topic, p.Will.QoS)
		d.flag(p.Will.Retain, "retain")
		d.payload(p.Will.Payload)
		d.props(&p.Will.Props)
		d.WriteString("}")
	}
	d.props(&p.Props)
}

func (d *describer) publish(p *Publish) {
	fmt.Fprintf(d, " topic=%q qos=%d", p.Topic, p.QoS)
	if p.QoS > 0 {
		fmt.Fprintf(d, " id=%d", p.PacketID)
	}
	d.flag(p.Dup, "dup")
	d.flag(p.Retain, "retain")
	d.payload(p.Payload)
	d.props(&p.Props)
}

func (d *describer) ack(t Type, id uint16, r ReasonCode, props *Properties) {
	fmt.Fprintf(d, " id=%d", id)
	if d.v == V5 {
		d.reason(r, t)
	}
	d.props(props)
}

func (d *describer) codes(t Type, id uint16, codes []ReasonCode) {
	fmt.Fprintf(d, " id=%d", id)
	for _, r := range codes {
		d.reason(r, t)
	}
}

func (d *describer) subscription(s *Subscription) {
	fmt.Fprintf(d, " %q qos=%d", s.Filter, s.QoS)
	d.flag(s.NoLocal, "no-local")
	d.flag(s.RetainAsPublished, "retain-as-published")
	if s.RetainHandling != 0 {
		fmt.Fprintf(d, " retain-handling=%d", s.RetainHandling)
	}
}

func (d *describer) payload(b []byte) {
	unit := "bytes"
	if len(b) == 1 {
		unit = "byte"
	}
	fmt.Fprintf(d, " payload=%d %s", len(b), unit)
	if len(b) > 0 {
		d.WriteString(" " + preview(b))
	}
}

// preview shows the start of a payload: quoted if it is text, else in hexadecimal.
func preview(b []byte) string {
	shown, more := b, ""
	if len(b) > shownBytes {
		more = "..."
		shown = b[:shownBytes]
		// Do not judge, or show, a character that the limit cuts in two.
		for i := 0; i < utf8.UTFMax-1 && !utf8.Valid(shown); i++ {
			shown = shown[:len(shown)-1]
		}
		if !utf8.Valid(shown) {
			shown = b[:shownBytes]
		}
	}
	if utf8.Valid(shown) {
		return strconv.Quote(string(shown)) + more
	}
	return fmt.Sprintf("%x", b[:len(shown)]) + more
}

func (d *describer) props(p *Properties) {
	if p.Empty() {
		return
	}
	d.WriteString(" props{")
	first := true
	for pr, ok := range p.All() {
		if !first {
			d.WriteString(", ")
		}
		first = false
		if !ok {
			d.WriteString("undecodable bytes")
			break
		}
		d.WriteString(pr.ID.String())
		switch pr.ID.Info().Kind {
		case KindString:
			fmt.Fprintf(d, "=%q", pr.Value)
		case KindPair:
			fmt.Fprintf(d, " %q=%q", pr.Key, pr.Value)
		case KindBinary:
			if pr.ID == PropAuthData {
				fmt.Fprintf(d, "=%d bytes", len(pr.Value))
			} else {
				d.WriteString("=" + preview(pr.Value))
			}
		default:
			fmt.Fprintf(d, "=%d", pr.Int)
		}
	}
	d.WriteString("}")
}
