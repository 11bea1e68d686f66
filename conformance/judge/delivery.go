package judge

import (
	"fmt"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
)

const (
	maxEntries       = 128
	maxFilterBytes   = 64 << 10
	maxRetainedTopic = 256
)

// entry is what is known of one Topic Filter that the client ever subscribed to in this session.
// Nothing is forgotten when it unsubscribes: a message may have been on its way before.
type entry struct {
	filter  string
	subID   uint32
	asked   codec.QoS // the highest
	granted codec.QoS // the highest
	ever    bool      // granted at least once
	pending int       // SUBSCRIBE packets without SUBACK
	times   int       // how often it was subscribed
	shared  bool
	live    bool // Retain As Published, or a Retain Handling other than 0: RETAIN says less
}

// bound is the highest QoS a message may have by this filter.
func (e *entry) bound() codec.QoS {
	if e.pending > 0 || !e.ever {
		return e.asked
	}
	return e.granted
}

// subscriptions are those of one session. known says that there can be no others but such as the
// server made by itself, which own says it did.
type subscriptions struct {
	entries  []entry
	bytes    int
	known    bool
	own      bool
	special  bool              // a filter begins with $: a shared subscription, or a server's extension
	retained map[uint64]uint16 // messages with RETAIN 1 by topic
}

// add notes one filter of a SUBSCRIBE and returns its index.
func (s *subscriptions) add(c *Conn, f *codec.Subscription, subID uint32) int32 {
	if strings.HasPrefix(f.Filter, "$") {
		s.special = true
	}
	at := -1
	for i := range s.entries {
		if s.entries[i].filter == f.Filter && s.entries[i].subID == subID {
			at = i
			break
		}
	}
	if at < 0 {
		if len(s.entries) >= maxEntries || s.bytes+len(f.Filter) > maxFilterBytes {
			s.known = false
			c.limit("subscriptions: more than are kept; messages are not matched with them any more")
			return -1
		}
		at = len(s.entries)
		s.bytes += len(f.Filter)
		s.entries = append(s.entries, entry{filter: strings.Clone(f.Filter), subID: subID, shared: c.v == codec.V5 && shared(f.Filter)})
	}
	e := &s.entries[at]
	e.asked = max(e.asked, f.QoS)
	e.pending++
	e.times++
	e.live = e.live || f.RetainAsPublished || f.RetainHandling != 0
	return int32(at)
}

// grant notes the code of a SUBACK.
func (s *subscriptions) grant(at int32, code codec.ReasonCode) {
	if at < 0 || int(at) >= len(s.entries) {
		return
	}
	e := &s.entries[at]
	if e.pending > 0 {
		e.pending--
	}
	if code <= codec.GrantedQoS2 {
		e.ever = true
		e.granted = max(e.granted, codec.QoS(code))
	}
}

// matches reports whether the filter matches the topic, in any reading of a filter that begins
// with $: as it stands, or with one or two levels of prefix that a server may take off.
func (e *entry) matches(name string) bool {
	if topic.Match(e.filter, name) {
		return true
	}
	if e.filter == "" || e.filter[0] != '$' {
		return false
	}
	_, rest, ok := strings.Cut(e.filter, "/")
	if ok && topic.Match(rest, name) {
		return true
	}
	_, rest, ok = strings.Cut(rest, "/")
	return ok && topic.Match(rest, name)
}

// match sums up the filters that match a topic.
type match struct {
	n      int
	bound  codec.QoS
	last   *entry
	dollar bool // none matches, but one would if the topic did not begin with $
	times  int  // SUBSCRIBE packets that retained messages may answer
	vague  bool // RETAIN 1 may have other causes than those
}

func (s *subscriptions) match(name string) (m match) {
	for i := range s.entries {
		e := &s.entries[i]
		if !e.matches(name) {
			if name[0] == '$' && (e.filter[0] == '+' || e.filter[0] == '#') && topic.Match(e.filter, "_"+name[1:]) {
				m.dollar = true
			}
			continue
		}
		m.n++
		m.last = e
		m.bound = max(m.bound, e.bound())
		m.times += e.times
		m.vague = m.vague || e.live || e.shared
	}
	return m
}

// serverPublish judges a server's PUBLISH.
func (c *Conn) serverPublish(p *codec.Publish) {
	name := c.resolve(server, p)
	if p.QoS > 0 {
		c.publish(server, p, name)
	}
	if !c.subs.known || name == "" || !c.can(server) || c.phase != up {
		return
	}
	if len(c.subs.entries) == 0 || c.subs.own {
		// The server sends what the client never asked for: it has subscriptions of its own
		// making, which cannot be known.
		c.subs.own = true
		return
	}
	m := c.subs.match(name)
	if m.n == 0 {
		if m.dollar {
			c.breach(dDollarTopic, server, Fail, "no topic that begins with $ by a filter that begins with a wildcard", quote(name))
			return
		}
		c.breach(dTopicMatch, server, Fail, "a topic that one of the client's filters matches", quote(name))
		return
	}
	c.keep(dTopicMatch, server)
	if name[0] == '$' {
		c.keep(dDollarTopic, server)
	}
	if p.QoS > m.bound && p.QoS <= 2 {
		c.breach(dGrantedQoS, server, Fail, fmt.Sprintf("at most the granted QoS %d", m.bound), fmt.Sprintf("QoS %d on %s", p.QoS, quote(name)))
	} else {
		c.keep(dGrantedQoS, server)
	}
	if p.Retain && p.QoS > 0 && !p.Dup {
		c.retained(name, m)
	}
	if c.v == codec.V5 {
		c.subscriptionIDs(p, name, m)
	}
}

// retained judges the number of messages with RETAIN 1 on one topic: a subscription brings one at
// most, so that a further one must come from a subscription that existed before.
func (c *Conn) retained(name string, m match) {
	if m.vague || !c.announce.fresh {
		return
	}
	s := &c.subs
	h := message(name, nil)
	if _, ok := s.retained[h]; !ok && len(s.retained) >= maxRetainedTopic {
		c.limit("retained messages: on more topics than are counted")
		return
	}
	if s.retained == nil {
		s.retained = make(map[uint64]uint16)
	}
	if s.retained[h] < 1<<15 {
		s.retained[h]++
	}
	n := int(s.retained[h])
	if !c.holds(dLiveRetain, server, n <= m.times) {
		c.breach(dLiveRetain, server, Fail, "RETAIN 0 on messages for existing subscriptions",
			fmt.Sprintf("RETAIN 1 on message %d on %s, subscribed to %d times", n, quote(name), m.times))
	}
}

// subscriptionIDs judges the Subscription Identifiers of a message.
func (c *Conn) subscriptionIDs(p *codec.Publish, name string, m match) {
	if c.announce.noSubIDs {
		return
	}
	if !p.Props.Has(codec.PropSubscriptionID) {
		if m.n == 1 && m.last.subID != 0 && m.last.times == 1 && m.last.pending == 0 && m.last.ever && c.announce.fresh {
			c.breach(dMissingSubID, server, Fail, fmt.Sprintf("Subscription Identifier %d", m.last.subID), "none on "+quote(name))
		}
		return
	}
	for id := range p.Props.SubscriptionIDs() {
		ok := id == 0 // the decoder's finding
		for i := range c.subs.entries {
			e := &c.subs.entries[i]
			if e.subID == id && e.matches(name) {
				ok = true
				break
			}
		}
		if !ok {
			c.breach(dForeignSubID, server, Fail, "Subscription Identifiers of the client's matching subscriptions only", fmt.Sprintf("%d on %s", id, quote(name)))
			return
		}
	}
	c.keep(dForeignSubID, server)
	if m.n == 1 {
		c.keep(dMissingSubID, server)
	}
}
