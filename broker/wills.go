package broker

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

// will is the Will Message of a connection (3.1.2.5).
type will struct {
	body
	delay uint32 // seconds
}

// newWill takes a Will out of a CONNECT.
func newWill(p *codec.Will) *will {
	var m message
	m.setProps(&p.Props, nil, 0)
	return &will{
		body: body{
			topic: strings.Clone(p.Topic), payload: bytes.Clone(p.Payload), props: bytes.Clone(m.props),
			expiry: m.expiry, qos: p.QoS, retain: p.Retain,
		},
		delay: p.Props.Uint(codec.PropWillDelay, 0),
	}
}

// publish returns the message to publish. Its Message Expiry Interval begins here.
func (w *will) publish(now session.Time) *body {
	b := w.body
	if b.expiry != 0 {
		seconds := binary.BigEndian.Uint32(b.props[b.expiry:])
		b.expires = now + session.Time(seconds)*session.Time(time.Second)
	}
	return &b
}
