package mutant

import (
	"slices"

	"github.com/mqlab/mqlab/codec"
)

// request is a SUBSCRIBE or UNSUBSCRIBE read byte by byte, so that mutants can tell one fault
// from another.
type request struct {
	subscribe bool
	flags     byte
	id        uint16
	props     []byte
	filters   []string
	options   []byte // one for each filter of a SUBSCRIBE that has one
	overrun   bool   // the length of a filter points past the end
}

// readRequest returns nil for other packets and for those that end before the filters.
func readRequest(v codec.Version, raw []byte) *request {
	typ := codec.Type(raw[0] >> 4)
	if typ != codec.TypeSubscribe && typ != codec.TypeUnsubscribe {
		return nil
	}
	_, n := codec.Varint(raw[1:])
	if n < 1 || len(raw) < n+3 {
		return nil
	}
	b := raw[1+n:]
	r := &request{subscribe: typ == codec.TypeSubscribe, flags: raw[0] & 15, id: uint16(b[0])<<8 | uint16(b[1])}
	b = b[2:]
	if v == codec.V5 {
		size, n := codec.Varint(b)
		if n < 1 || len(b) < n+int(size) {
			return nil
		}
		r.props, b = b[n:n+int(size)], b[n+int(size):]
	}
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(b[0])<<8+int(b[1]) {
			r.overrun = true
			return r
		}
		size := 2 + int(b[0])<<8 + int(b[1])
		r.filters = append(r.filters, string(b[2:size]))
		b = b[size:]
		if r.subscribe && len(b) > 0 {
			r.options, b = append(r.options, b[0]), b[1:]
		}
	}
	return r
}

// any reports whether one of the filters is of the kind.
func (r *request) any(match func(filter string) bool) bool {
	return slices.ContainsFunc(r.filters, match)
}

// reaction is what a mutant does with a request that the broker must not see.
type reaction func(l *Link, r *request)

// ignore leaves the request without any answer; the connection goes on.
func ignore(*Link, *request) {}

// answerWith answers each filter with the code. Before 5.0 UNSUBACK has none.
func answerWith(code codec.ReasonCode) reaction {
	return func(l *Link, r *request) {
		codes := make([]codec.ReasonCode, max(1, len(r.filters)))
		for i := range codes {
			codes[i] = code
		}
		if r.subscribe {
			l.PacketToClient(&codec.Suback{PacketID: r.id, Reasons: codes})
			return
		}
		if l.Version != codec.V5 {
			codes = nil
		}
		l.PacketToClient(&codec.Unsuback{PacketID: r.id, Reasons: codes})
	}
}

// tolerate keeps requests that match from the broker and reacts to them itself.
func tolerate(match func(*request) bool, react reaction) func() *Hooks {
	return func() *Hooks {
		return &Hooks{Up: func(l *Link, p *Packet) {
			if r := readRequest(l.Version, p.Raw); r != nil && r.id != 0 && l.Connect != nil && match(r) {
				p.Drop()
				react(l, r)
			}
		}}
	}
}

// subscriptions remembers what each connection has asked for.
type subscriptions map[*Link]map[string]codec.Subscription

// up is called first in an Up hook. It returns those filters of a SUBSCRIBE that the connection
// had asked for before.
func (s subscriptions) up(l *Link, p *Packet) (again []codec.Subscription) {
	if s[l] == nil {
		s[l] = map[string]codec.Subscription{}
	}
	switch q := p.Packet.(type) {
	case *codec.Subscribe:
		for _, f := range q.Filters {
			if old, ok := s[l][f.Filter]; ok {
				again = append(again, old)
			}
		}
		for _, f := range q.Filters {
			s[l][f.Filter] = f
		}
	case *codec.Unsubscribe:
		for _, f := range q.Filters {
			delete(s[l], f)
		}
	}
	return again
}

// extras sends messages of the mutant's own to clients. Their Packet Identifiers are above all
// that the broker gets to in a test, and what clients answer to them does not reach it.
type extras map[*Link]uint16

const firstExtra = 0xF000

// send sends a copy of the message.
func (x extras) send(l *Link, p *codec.Publish) {
	q := *p
	q.Dup, q.PacketID = false, 0
	if q.QoS > 0 {
		x[l]++
		q.PacketID = firstExtra + x[l]
	}
	l.PacketToClient(&q)
}

// up is called in an Up hook; it keeps the answers to extra messages from the broker.
func (x extras) up(l *Link, p *Packet) {
	switch q := p.Packet.(type) {
	case *codec.Puback:
		if q.PacketID >= firstExtra {
			p.Drop()
		}
	case *codec.Pubrec:
		if q.PacketID >= firstExtra {
			p.Drop()
			l.PacketToClient(&codec.Pubrel{PacketID: q.PacketID})
		}
	case *codec.Pubcomp:
		if q.PacketID >= firstExtra {
			p.Drop()
		}
	}
}

// reencode passes a changed packet on, unless it is not legal: what a check breaks on purpose
// is not touched.
func (p *Packet) reencode(q codec.Packet, v codec.Version) {
	if b, err := q.AppendTo(nil, v); err == nil {
		p.Raw = b
	}
}

// legal reports whether a packet of a client is as the standard wants it.
func legal(l *Link, p *Packet) bool {
	d := codec.Decoder{Version: l.Version, From: codec.Client}
	_, err := d.Decode(p.Raw)
	return err == nil
}
