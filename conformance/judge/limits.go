package judge

import (
	"fmt"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// fitDuties holds the duties to leave out Reason String and User Property where they would push
// the packet over the receiver's Maximum Packet Size.
var fitDuties = [16][2]duty{
	codec.TypeConnack:    {dReasonStringFitsConnack, dUserPropertyFitsConnack},
	codec.TypePuback:     {dReasonStringFitsPuback, dUserPropertyFitsPuback},
	codec.TypePubrec:     {dReasonStringFitsPubrec, dUserPropertyFitsPubrec},
	codec.TypePubrel:     {dReasonStringFitsPubrel, dUserPropertyFitsPubrel},
	codec.TypePubcomp:    {dReasonStringFitsPubcomp, dUserPropertyFitsPubcomp},
	codec.TypeSuback:     {dReasonStringFitsSuback, dUserPropertyFitsSuback},
	codec.TypeUnsuback:   {dReasonStringFitsUnsuback, dUserPropertyFitsUnsuback},
	codec.TypeDisconnect: {dReasonStringFitsDisconnect, dUserPropertyFitsDisconnect},
	codec.TypeAuth:       {dReasonStringFitsAuth, dUserPropertyFitsAuth},
}

// serverSize holds the server to the client's Maximum Packet Size. CONNECT came first, so the
// server knew.
func (c *Conn) serverSize(p codec.Packet) {
	if c.v != codec.V5 || c.hello.maxSize >= codec.MaxPacketSize || c.hello.maxSize == 0 {
		return
	}
	c.sizes(server, dMaximumSizeServer, p, c.hello.maxSize)
}

// clientSize holds the client to the server's Maximum Packet Size once it knows it.
func (c *Conn) clientSize(p codec.Packet) {
	if c.v != codec.V5 || c.announce.maxSize >= codec.MaxPacketSize || c.announce.maxSize == 0 || !c.knows() {
		return
	}
	c.sizes(client, dMaximumSizeClient, p, c.announce.maxSize)
}

func (c *Conn) sizes(s side, whole duty, p codec.Packet, limit uint32) {
	ok := uint32(c.size) <= limit
	expected, actual := "", ""
	if !ok {
		expected = fmt.Sprintf("no packet above the Maximum Packet Size of %d bytes", limit)
		actual = fmt.Sprintf("%s of %d bytes", p.Type(), c.size)
		if s == client {
			c.excused[server] = true
		}
	}
	c.judge(whole, s, ok, expected, actual)
	d := fitDuties[p.Type()&15]
	if d[0] == 0 {
		return
	}
	props := properties(p)
	if props.Has(codec.PropReasonString) {
		if !c.holds(d[0], s, ok) {
			c.breach(d[0], s, Fail, expected,
				actual+" with a Reason String")
		}
	}
	if props.Has(codec.PropUserProperty) {
		if !c.holds(d[1], s, ok) {
			c.breach(d[1], s, Fail, expected,
				actual+" with a User Property")
		}
	}
}

const (
	maxAliases    = 256
	maxAliasBytes = 64 << 10
)

// aliases is what one side has mapped.
type aliases struct {
	set   idSet
	topic map[uint16]string
	bytes int
}

// resolve judges the Topic Alias of a PUBLISH and returns the topic that it stands for, "" where
// that is not known here.
func (c *Conn) resolve(s side, p *codec.Publish) string {
	if c.v != codec.V5 || !p.Props.Has(codec.PropTopicAlias) {
		if s == server && c.v == codec.V5 && c.hello.aliasMax == 0 {
			c.keep(dAliasOffServer, server)
		}
		if s == client && c.v == codec.V5 && c.announce.aliasMax == 0 && c.knows() {
			c.keep(dAliasOffClient, client)
		}
		return p.Topic
	}
	alias := uint16(p.Props.Uint(codec.PropTopicAlias, 0))
	if alias == 0 {
		return p.Topic // the decoder's finding
	}
	limit, knows := c.hello.aliasMax, true
	off, above := dAliasOffServer, dAliasMaxServer
	if s == client {
		limit, knows = c.announce.aliasMax, c.knows()
		off, above = dAliasOffClient, dAliasMaxClient
	}
	if knows {
		switch {
		case limit == 0:
			c.breach(off, s, Fail, "no Topic Alias, as the receiver's Topic Alias Maximum is 0", fmt.Sprintf("Topic Alias %d", alias))
		default:
			if !c.holds(above, s, alias <= limit) {
				c.breach(above, s, Fail, fmt.Sprintf("a Topic Alias of at most %d", limit),
					fmt.Sprintf("Topic Alias %d", alias))
			}
		}
		if alias > limit && s == client {
			c.excused[server] = true
		}
	}
	a := &c.alias[s]
	if p.Topic != "" {
		a.put(c, alias, p.Topic)
		return p.Topic
	}
	if c.whole && !c.excused[s] {
		known := a.set.has(alias)
		if !c.holds(dAliasKnown, s, known) {
			c.breach(dAliasKnown, s, Fail, "a Topic Name, or a Topic Alias that was mapped on this connection",
				fmt.Sprintf("Topic Alias %d without a mapping", alias))
		}
		if !known && s == client {
			c.excused[server] = true
		}
	}
	return a.topic[alias]
}

func (a *aliases) put(c *Conn, alias uint16, topic string) {
	a.set.add(alias)
	old, had := a.topic[alias]
	if had && old == topic {
		return
	}
	a.bytes -= len(old)
	if !had && len(a.topic) >= maxAliases || a.bytes+len(topic) > maxAliasBytes {
		delete(a.topic, alias)
		c.limit("topic aliases: more mapped than are kept; messages by alias are not matched with subscriptions")
		return
	}
	if a.topic == nil {
		a.topic = make(map[uint16]string)
	}
	a.topic[alias] = strings.Clone(topic)
	a.bytes += len(topic)
}

// idSet is a set of 16-bit numbers in pages that are made as they are needed, 8 KiB at most. Most
// connections need few of their sets, so an empty one is a pointer.
type idSet struct {
	pages *[64]*[16]uint64
}

func (s *idSet) has(id uint16) bool {
	if s.pages == nil {
		return false
	}
	p := s.pages[id>>10]
	return p != nil && p[id>>6&15]>>(id&63)&1 == 1
}

func (s *idSet) add(id uint16) {
	if s.pages == nil {
		s.pages = new([64]*[16]uint64)
	}
	p := s.pages[id>>10]
	if p == nil {
		p = new([16]uint64)
		s.pages[id>>10] = p
	}
	p[id>>6&15] |= 1 << (id & 63)
}
