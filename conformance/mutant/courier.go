package mutant

import "github.com/mqlab/mqlab/codec"

// courier lets a mutant deliver messages to a client in the broker's place: it completes the
// broker's exchange on the client's behalf, and the client's on the broker's, with Packet
// Identifiers of its own.
type courier struct {
	links map[*Link]*courierLink
}

type courierLink struct {
	next     uint16
	ours     map[uint16]bool // towards the client, not acknowledged yet
	released map[uint16]bool // towards the broker, whose PUBREL is ours to answer
}

// firstCourierID is beyond every Packet Identifier that the broker uses in a check.
const firstCourierID = 0xE000

func newCourier() *courier { return &courier{links: map[*Link]*courierLink{}} }

func (c *courier) on(l *Link) *courierLink {
	s, ok := c.links[l]
	if !ok {
		s = &courierLink{next: firstCourierID, ours: map[uint16]bool{}, released: map[uint16]bool{}}
		c.links[l] = s
	}
	return s
}

// consume keeps a PUBLISH of the broker and acknowledges it.
func (c *courier) consume(l *Link, raw *Packet, p *codec.Publish) {
	raw.Drop()
	switch p.QoS {
	case 1:
		l.PacketToBroker(&codec.Puback{PacketID: p.PacketID})
	case 2:
		c.on(l).released[p.PacketID] = true
		l.PacketToBroker(&codec.Pubrec{PacketID: p.PacketID})
	}
}

// deliver sends a copy of the message at the QoS to the client.
func (c *courier) deliver(l *Link, p *codec.Publish, qos codec.QoS) {
	q := *p
	q.QoS, q.PacketID, q.Dup = qos, 0, false
	if qos > 0 {
		s := c.on(l)
		s.next++
		s.ours[s.next] = true
		q.PacketID = s.next
	}
	l.PacketToClient(&q)
}

// up takes the client's answers to what the courier delivered.
func (c *courier) up(l *Link, raw *Packet) {
	ours := c.on(l).ours
	switch p := raw.Packet.(type) {
	case *codec.Puback:
		if ours[p.PacketID] {
			delete(ours, p.PacketID)
			raw.Drop()
		}
	case *codec.Pubrec:
		if ours[p.PacketID] {
			raw.Drop()
			l.PacketToClient(&codec.Pubrel{PacketID: p.PacketID})
		}
	case *codec.Pubcomp:
		if ours[p.PacketID] {
			delete(ours, p.PacketID)
			raw.Drop()
		}
	}
}

// down answers the broker's PUBREL for what the courier kept.
func (c *courier) down(l *Link, raw *Packet) {
	if p, ok := raw.Packet.(*codec.Pubrel); ok && c.on(l).released[p.PacketID] {
		delete(c.on(l).released, p.PacketID)
		raw.Drop()
		l.PacketToBroker(&codec.Pubcomp{PacketID: p.PacketID})
	}
}

// heldSubscriptions is what a mutant knows of each connection's Subscriptions.
type heldSubscriptions map[*Link][]held

type held struct {
	codec.Subscription
	id uint32 // Subscription Identifier, 0 for none
}

// up notes the Subscriptions of a SUBSCRIBE.
func (s heldSubscriptions) up(l *Link, raw *Packet) {
	if p, ok := raw.Packet.(*codec.Subscribe); ok {
		for _, f := range p.Filters {
			s[l] = append(s[l], held{f, p.Props.Uint(codec.PropSubscriptionID, 0)})
		}
	}
}
