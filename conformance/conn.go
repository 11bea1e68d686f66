package conformance

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// Conn is a connection of a check. Deliveries and the packets of QoS 1 and 2 exchanges are
// answered by themselves until [Conn.Manual].
type Conn struct {
	*peer.Conn
	t        *T
	clientID string
	ids      uint16

	client   *Client        // whose connection it is, where a client is checked
	hello    *codec.Connect // its CONNECT
	protocol []byte         // the name in it
	told     time.Time      // when CONNACK was sent
	left     time.Time      // when its DISCONNECT came

	// Of the message that openMessage has left open.
	openQoS  codec.QoS
	openLife uint32 // seconds, 0: no Message Expiry Interval
}

// ClientID returns the Client Identifier of the CONNECT that was sent.
func (c *Conn) ClientID() string { return c.clientID }

// Manual turns automatic answers off and returns the connection.
func (c *Conn) Manual() *Conn {
	c.SetAutoAck(false)
	return c
}

// NextID returns a Packet Identifier that this connection has not used.
func (c *Conn) NextID() uint16 {
	c.ids++
	return c.ids
}

// Send sends a legal packet. Where the target announces that it is too large for it, the check
// ends as not applicable.
func (c *Conn) Send(p codec.Packet) {
	if p.Type() != codec.TypeConnect {
		c.t.fitting(p.Size(c.t.Version()))
	}
	c.track(p)
	c.sent(c.Conn.Send(p))
}

// SendRaw sends bytes as they are.
func (c *Conn) SendRaw(b ...byte) { c.sent(c.Conn.SendRaw(b)) }

// SendBroken sends a legal packet broken in one named way.
func (c *Conn) SendBroken(p codec.Packet, how codec.Breakage) { c.SendRaw(c.t.Broken(p, how)...) }

// sent looks at a failed write. A target that closed the connection fails the write, and whoever
// waits for its answer sees that; everything else is a defect of the script.
func (c *Conn) sent(err error) {
	var fault *codec.Error
	if errors.As(err, &fault) {
		panic(stop{Errored, "the script sends a packet that is not legal: " + err.Error()})
	}
}

// track remembers what has to be removed from the target after the check.
func (c *Conn) track(p codec.Packet) {
	t := c.t
	t.mu.Lock()
	defer t.mu.Unlock()
	switch p := p.(type) {
	case *codec.Connect:
		c.clientID = p.ClientID
		if !p.CleanStart || p.Props.Has(codec.PropSessionExpiry) {
			t.sessions[p.ClientID] = true
		}
		if p.HasWill && p.Will.Retain {
			t.retained[p.Will.Topic] = true
		}
	case *codec.Publish:
		if p.Retain && len(p.Payload) > 0 {
			t.retained[p.Topic] = true
		}
	}
}

// Connect sends the CONNECT and returns the CONNACK.
func (c *Conn) Connect(p *codec.Connect) *codec.Connack {
	c.Send(p)
	e, err := c.Await(c.t.Timeout(), ofType(codec.TypeConnack))
	if err != nil {
		c.t.Inconclusive("%s: no CONNACK: %v", c.Name(), err)
	}
	return e.Packet.(*codec.Connack)
}

// Subscribe asks for the filters at the QoS and waits until they are granted at that QoS.
func (c *Conn) Subscribe(qos codec.QoS, filters ...string) {
	subs := make([]codec.Subscription, len(filters))
	for i, f := range filters {
		subs[i] = codec.Subscription{Filter: f, QoS: qos}
	}
	ack := c.SubscribeWith(&codec.Subscribe{Filters: subs})
	for i, r := range ack.Reasons {
		if r != codec.ReasonCode(qos) {
			c.t.lacksQoS(qos)
			if strings.ContainsAny(filters[i], "+#") {
				c.t.lacks(CapWildcard)
			}
			c.t.Inconclusive("%s: subscription to %q at QoS %d was answered with %s", c.Name(), filters[i], qos, r.Name(codec.TypeSuback, c.t.Version()))
		}
	}
}

// SubscribeWith sends the SUBSCRIBE, with a fresh Packet Identifier where it has none, and
// returns the SUBACK, whatever it says.
func (c *Conn) SubscribeWith(p *codec.Subscribe) *codec.Suback {
	if p.PacketID == 0 {
		p.PacketID = c.NextID()
	}
	c.Send(p)
	e, err := c.Await(c.t.Timeout(), func(e *peer.Event) bool {
		a, ok := e.Packet.(*codec.Suback)
		return ok && a.PacketID == p.PacketID
	})
	if err != nil {
		c.t.Inconclusive("%s: no SUBACK: %v", c.Name(), err)
	}
	ack := e.Packet.(*codec.Suback)
	if len(ack.Reasons) != len(p.Filters) {
		c.t.Inconclusive("%s: SUBACK has %d codes for %d filters", c.Name(), len(ack.Reasons), len(p.Filters))
	}
	c.t.settle()
	return ack
}

// Unsubscribe removes the filters and waits for the UNSUBACK.
func (c *Conn) Unsubscribe(filters ...string) *codec.Unsuback {
	id := c.NextID()
	c.Send(&codec.Unsubscribe{PacketID: id, Filters: filters})
	e, err := c.Await(c.t.Timeout(), func(e *peer.Event) bool {
		a, ok := e.Packet.(*codec.Unsuback)
		return ok && a.PacketID == id
	})
	if err != nil {
		c.t.Inconclusive("%s: no UNSUBACK: %v", c.Name(), err)
	}
	c.t.settle()
	return e.Packet.(*codec.Unsuback)
}

// Publish publishes and completes the exchange of its QoS. The edits change the PUBLISH first.
func (c *Conn) Publish(topic string, qos codec.QoS, payload string, edits ...func(*codec.Publish)) {
	p := &codec.Publish{Topic: topic, QoS: qos, Payload: []byte(payload)}
	for _, edit := range edits {
		edit(p)
	}
	c.PublishPacket(p)
}

// PublishPacket sends the PUBLISH, with a fresh Packet Identifier where it needs one, completes
// the exchange of its QoS, and returns the Reason Code of PUBACK or PUBREC.
func (c *Conn) PublishPacket(p *codec.Publish) codec.ReasonCode {
	if p.QoS > 0 && p.PacketID == 0 {
		p.PacketID = c.NextID()
	}
	c.Send(p)
	var reason codec.ReasonCode
	switch p.QoS {
	case 1:
		reason = c.awaitAck(codec.TypePuback, p.PacketID, p)
	case 2:
		reason = c.awaitAck(codec.TypePubrec, p.PacketID, p)
		if !reason.Failed() {
			// With automatic answers PUBREL went out from the reading goroutine.
			if !c.AutoAck() {
				c.Send(&codec.Pubrel{PacketID: p.PacketID})
			}
			c.awaitAck(codec.TypePubcomp, p.PacketID, p)
		}
	}
	c.t.settle()
	return reason
}

// Retained is an edit for Publish: the message is to be retained.
func Retained(p *codec.Publish) { p.Retain = true }

// awaitAck waits for the acknowledgement; the PUBLISH that asked for it may say why none comes.
func (c *Conn) awaitAck(typ codec.Type, id uint16, asked ...*codec.Publish) codec.ReasonCode {
	e, err := c.Await(c.t.Timeout(), func(e *peer.Event) bool {
		t, got, _ := ackOf(e)
		return t == typ && got == id
	})
	if err != nil {
		for _, p := range asked {
			c.t.lacksQoS(p.QoS)
			if p.Retain {
				c.t.lacks(CapRetain)
			}
		}
		c.t.Inconclusive("%s: no %s for Packet Identifier %d: %v", c.Name(), typ, id, err)
	}
	_, _, reason := ackOf(e)
	return reason
}

// ackOf returns type, Packet Identifier and Reason Code of one of the four acknowledgements.
func ackOf(e *peer.Event) (codec.Type, uint16, codec.ReasonCode) {
	switch p := e.Packet.(type) {
	case *codec.Puback:
		return codec.TypePuback, p.PacketID, p.Reason
	case *codec.Pubrec:
		return codec.TypePubrec, p.PacketID, p.Reason
	case *codec.Pubrel:
		return codec.TypePubrel, p.PacketID, p.Reason
	case *codec.Pubcomp:
		return codec.TypePubcomp, p.PacketID, p.Reason
	}
	return 0, 0, 0
}

// Ping sends PINGREQ and waits for the PINGRESP.
func (c *Conn) Ping() {
	c.Send(&codec.Pingreq{})
	if _, err := c.Await(c.t.Timeout(), ofType(codec.TypePingresp)); err != nil {
		c.t.Inconclusive("%s: no PINGRESP: %v", c.Name(), err)
	}
}

// Disconnect sends DISCONNECT, waits a moment for the target to close, and closes.
func (c *Conn) Disconnect() {
	c.Send(&codec.Disconnect{})
	c.AwaitClose(c.t.Grace())
	_ = c.Close()
}

// Take returns the next event that match accepts, or nil when none came within d.
func (c *Conn) Take(d time.Duration, match func(*peer.Event) bool) *peer.Event {
	e, err := c.Await(d, match)
	if err != nil {
		return nil
	}
	return e
}

// Messages returns the PUBLISH packets on the topic that arrived and were not taken yet.
// An empty topic means any topic of this check.
func (c *Conn) Messages(topic string) []*codec.Publish {
	var out []*codec.Publish
	for _, e := range c.Pending(onTopic(topic)) {
		out = append(out, e.Packet.(*codec.Publish))
	}
	return out
}

// ofType matches packets of the type.
func ofType(typ codec.Type) func(*peer.Event) bool {
	return func(e *peer.Event) bool { return e.Packet != nil && e.Packet.Type() == typ }
}

// onTopic matches PUBLISH on the topic; the empty topic matches every PUBLISH.
func onTopic(topic string) func(*peer.Event) bool {
	return func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && (topic == "" || p.Topic == topic)
	}
}

// withPayload matches PUBLISH on the topic with the payload.
func withPayload(topic, payload string) func(*peer.Event) bool {
	return func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && p.Topic == topic && string(p.Payload) == payload
	}
}

// describeEvents lists events for a finding.
func describeEvents(es []*peer.Event, v codec.Version) string {
	if len(es) == 0 {
		return "nothing"
	}
	var parts []string
	for i, e := range es {
		if i == 4 {
			parts = append(parts, fmt.Sprintf("and %d more", len(es)-i))
			break
		}
		if e.Packet == nil {
			parts = append(parts, fmt.Sprintf("%d bytes that are no packet", len(e.Frame)))
			continue
		}
		parts = append(parts, codec.Describe(e.Packet, v))
	}
	return strings.Join(parts, ", ")
}
