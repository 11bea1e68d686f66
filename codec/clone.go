package codec

import (
	"bytes"
	"slices"
	"strings"
)

// Clone returns a copy of p that shares no memory with p, its Decoder or its frame. It returns
// nil for a type that is not of this package.
func Clone(p Packet) Packet {
	switch p := p.(type) {
	case *Connect:
		q := *p
		q.ClientID = strings.Clone(p.ClientID)
		q.ProtocolName = strings.Clone(p.ProtocolName)
		q.Username = strings.Clone(p.Username)
		q.Password = bytes.Clone(p.Password)
		q.Will.Topic = strings.Clone(p.Will.Topic)
		q.Will.Payload = bytes.Clone(p.Will.Payload)
		q.Will.Props = p.Will.Props.Clone()
		q.Props = p.Props.Clone()
		return &q
	case *Connack:
		return &Connack{SessionPresent: p.SessionPresent, Reason: p.Reason, Props: p.Props.Clone()}
	case *Publish:
		return p.Clone()
	case *Puback:
		return &Puback{PacketID: p.PacketID, Reason: p.Reason, Props: p.Props.Clone()}
	case *Pubrec:
		return &Pubrec{PacketID: p.PacketID, Reason: p.Reason, Props: p.Props.Clone()}
	case *Pubrel:
		return &Pubrel{PacketID: p.PacketID, Reason: p.Reason, Props: p.Props.Clone()}
	case *Pubcomp:
		return &Pubcomp{PacketID: p.PacketID, Reason: p.Reason, Props: p.Props.Clone()}
	case *Subscribe:
		q := &Subscribe{PacketID: p.PacketID, Filters: slices.Clone(p.Filters), Props: p.Props.Clone()}
		for i := range q.Filters {
			q.Filters[i].Filter = strings.Clone(q.Filters[i].Filter)
		}
		return q
	case *Suback:
		return &Suback{PacketID: p.PacketID, Reasons: slices.Clone(p.Reasons), Props: p.Props.Clone()}
	case *Unsubscribe:
		q := &Unsubscribe{PacketID: p.PacketID, Filters: slices.Clone(p.Filters), Props: p.Props.Clone()}
		for i := range q.Filters {
			q.Filters[i] = strings.Clone(q.Filters[i])
		}
		return q
	case *Unsuback:
		return &Unsuback{PacketID: p.PacketID, Reasons: slices.Clone(p.Reasons), Props: p.Props.Clone()}
	case *Pingreq:
		return &Pingreq{}
	case *Pingresp:
		return &Pingresp{}
	case *Disconnect:
		return &Disconnect{Reason: p.Reason, Props: p.Props.Clone()}
	case *Auth:
		return &Auth{Reason: p.Reason, Props: p.Props.Clone()}
	}
	return nil
}

// Clone returns a copy that shares no memory with the Decoder or the frame.
func (p *Publish) Clone() *Publish {
	q := *p
	q.Topic = strings.Clone(p.Topic)
	q.Payload = bytes.Clone(p.Payload)
	q.Props = p.Props.Clone()
	return &q
}
