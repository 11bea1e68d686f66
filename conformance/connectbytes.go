package conformance

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// connectBytes is a CONNECT laid out field by field, so that a check can spoil one of them.
// Fields of the payload hold their length prefix; an empty one is left out, whatever the flags say.
type connectBytes struct {
	first        byte
	name         []byte
	level, flags byte
	keepAlive    []byte
	props        []byte // with the Property Length; nil before 5.0
	clientID     []byte
	willProps    []byte
	willTopic    []byte
	willPayload  []byte
	username     []byte
	password     []byte
	surplus      []byte
}

// The Connect Flags.
const (
	connectReserved   = 0x01
	connectClean      = 0x02
	connectWill       = 0x04
	connectWillQoS1   = 0x08
	connectWillQoS2   = 0x10
	connectWillRetain = 0x20
	connectPassword   = 0x40
	connectUsername   = 0x80
)

// field returns a string or binary value with its length in front.
func field(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// connectBytes lays out the CONNECT that Connect sends.
func (t *T) connectBytes(edits ...func(*codec.Connect)) *connectBytes {
	p := t.ConnectPacket(edits...)
	b := &connectBytes{
		first: 0x10, name: field("MQTT"), level: byte(t.Version()),
		keepAlive: binary.BigEndian.AppendUint16(nil, p.KeepAlive), clientID: field(p.ClientID),
	}
	if t.V5() {
		b.props = append(codec.AppendVarint(nil, uint32(len(p.Props.Raw()))), p.Props.Raw()...)
	}
	if p.CleanStart {
		b.flags |= connectClean
	}
	if p.HasUsername {
		b.flags |= connectUsername
		b.username = field(p.Username)
	}
	if p.HasPassword {
		b.flags |= connectPassword
		b.password = field(string(p.Password))
	}
	return b
}

// will fills in the fields of a Will, and sets none of its flags.
func (b *connectBytes) will(topic, payload string) {
	if b.props != nil {
		b.willProps = []byte{0}
	}
	b.willTopic, b.willPayload = field(topic), field(payload)
}

// anonymous takes the credentials out.
func (b *connectBytes) anonymous() {
	b.flags &^= connectUsername | connectPassword
	b.username, b.password = nil, nil
}

// emptyPayload takes every field of the payload out and leaves the flags alone.
func (b *connectBytes) emptyPayload() {
	b.clientID, b.willProps, b.willTopic, b.willPayload = nil, nil, nil, nil
	b.username, b.password, b.surplus = nil, nil, nil
}

// encode puts the fields behind a fixed header whose Remaining Length is right.
func (b *connectBytes) encode() []byte {
	body := bytes.Join([][]byte{
		b.name,
		{b.level, b.flags},
		b.keepAlive, b.props, b.clientID,
		b.willProps, b.willTopic, b.willPayload, b.username, b.password, b.surplus,
	}, nil)
	return connectFrame(b.first, body)
}

// connectFrame puts a fixed header with the right Remaining Length in front of a body.
func connectFrame(first byte, body []byte) []byte {
	return append(codec.AppendVarint([]byte{first}, uint32(len(body))), body...)
}

// connectCase is a CONNECT that is spoilt in one way.
type connectCase struct {
	what  string
	spoil func(*connectBytes)
}

// refusesEach sends each spoilt CONNECT on a connection of its own, all at the same time, and
// judges that each connection ends without a CONNACK that accepts.
func refusesEach(t *T, x *Expectation, cases ...connectCase) {
	for i, c := range sendEach(t, cases) {
		c.Note("%s", cases[i].what)
		x.RefusesConnect(c)
		if !t.findings[len(t.findings)-1].OK {
			return
		}
	}
}

// sendEach sends each spoilt CONNECT on a connection of its own.
func sendEach(t *T, cases []connectCase) []*Conn {
	conns := make([]*Conn, len(cases))
	for i, k := range cases {
		b := t.connectBytes()
		k.spoil(b)
		conns[i] = t.Open()
		conns[i].SendRaw(b.encode()...)
	}
	return conns
}

// connectOutcome is what became of a CONNECT.
type connectOutcome struct {
	ack   *codec.Connack // nil: none came
	frame []byte         // the bytes of ack
	ended bool
}

// accepted reports whether a CONNACK with code 0 came.
func (o connectOutcome) accepted() bool { return o.ack != nil && o.ack.Reason == codec.Success }

// refusedWith reports whether a CONNACK with the code came.
func (o connectOutcome) refusedWith(code codec.ReasonCode) bool {
	return o.ack != nil && o.ack.Reason == code && code != codec.Success
}

// describe says in words what happened.
func (o connectOutcome) describe(v codec.Version) string {
	var parts []string
	if o.ack == nil {
		parts = append(parts, "no CONNACK")
	} else {
		parts = append(parts, codec.Describe(o.ack, v))
	}
	if o.ended {
		parts = append(parts, "the connection ended")
	} else {
		parts = append(parts, "the connection is open")
	}
	return strings.Join(parts, ", ")
}

// outcome waits for the CONNACK, or for the end of the connection, and after a CONNACK that
// refuses for the end too. It takes nothing out of the mailbox.
func (c *Conn) outcome() connectOutcome {
	c.Disturbed(c.t.Timeout(), ofType(codec.TypeConnack))
	var o connectOutcome
	for _, e := range c.Pending(ofType(codec.TypeConnack)) {
		o.ack, o.frame = e.Packet.(*codec.Connack), e.Frame
		break
	}
	if o.accepted() {
		return o
	}
	_, o.ended = c.Closed()
	if o.ack != nil && !o.ended {
		_, o.ended = c.AwaitClose(c.t.Timeout())
	}
	return o
}

// try sends a CONNECT on a connection of its own and returns what became of it.
func (t *T) try(connect []byte) (*Conn, connectOutcome) {
	c := t.Open()
	c.SendRaw(connect...)
	return c, c.outcome()
}

// tryAgain is try for a CONNECT whose silent refusal would count against the target. A
// connection that is dropped once may have met a limit of the target's, so a plain CONNECT has
// to be accepted in between, and the CONNECT to be dropped twice.
func (t *T) tryAgain(connect []byte) (*Conn, connectOutcome) {
	c, o := t.try(connect)
	if o.ack == nil && o.ended {
		t.Connect().Disconnect()
		c, o = t.try(connect)
	}
	return c, o
}

// policyRefusal reports whether the code of a CONNACK points to load, access rules or
// configuration rather than to the CONNECT itself.
func (t *T) policyRefusal(code codec.ReasonCode) bool {
	if !t.V5() {
		return code >= codec.ReturnServerUnavailable && code <= codec.ReturnNotAuthorized
	}
	switch code {
	case codec.UnspecifiedError, codec.ImplementationSpecificError, codec.BadUserNameOrPassword, codec.NotAuthorized,
		codec.ServerUnavailable, codec.ServerBusy, codec.Banned, codec.BadAuthenticationMethod, codec.PacketTooLarge,
		codec.QuotaExceeded, codec.UseAnotherServer, codec.ServerMoved, codec.ConnectionRateExceeded:
		return true
	}
	return false
}

// anyPacket matches everything that arrives.
func anyPacket(*peer.Event) bool { return true }
