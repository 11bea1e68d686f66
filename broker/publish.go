package broker

import (
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/internal/topic"
)

// publish processes a Client's PUBLISH.
func (c *conn) publish(sc *scratch, p *codec.Publish) error {
	sc.stats.messagesIn++
	s, b := c.sess, c.b
	name := p.Topic
	if c.version == codec.V5 && p.Props.Has(codec.PropTopicAlias) {
		var err error
		if name, err = c.resolveAlias(p); err != nil {
			return err
		}
	}
	if p.QoS > b.lim.maxQoS {
		return &fault{reason: codec.QoSNotSupported, rule: "MQTT-3.2.2-11", msg: "the PUBLISH exceeds the Maximum QoS"}
	}
	if p.Retain && b.cfg.RetainUnavailable {
		return &fault{reason: codec.RetainNotSupported, rule: "MQTT-3.2.2-14", msg: "the PUBLISH is retained though retained messages are not available"}
	}
	refusal := codec.Success
	if isSys(name) || b.cfg.Authorize != nil && !b.allowed(c, Access{Action: Publish, Topic: name, QoS: p.QoS, Retain: p.Retain}) {
		refusal = codec.NotAuthorized
		b.stats.denied.Add(1)
	}
	m := &sc.msg
	m.reset()
	m.topic, m.payload, m.qos, m.retain, m.from = name, p.Payload, p.QoS, p.Retain, s
	if c.version == codec.V5 {
		sc.props = m.setProps(&p.Props, sc.props, sc.now)
	}
	if p.QoS == 0 {
		if refusal == codec.Success {
			b.route(sc, m)
		}
		return nil
	}
	return c.publishQoS(sc, m, p, refusal)
}

// publishQoS takes a QoS 1 or 2 message through the Session's delivery state.
func (c *conn) publishQoS(sc *scratch, m *message, p *codec.Publish, refusal codec.ReasonCode) error {
	s := c.sess
	s.mu.Lock()
	if s.conn.Load() != c {
		s.mu.Unlock()
		return errStopped
	}
	sc.acts = s.flow.Step(session.Event[*delivery]{
		Kind: session.Publish, QoS: p.QoS, ID: p.PacketID, Reason: refusal,
	}, sc.now, sc.acts[:0])
	s.mu.Unlock()
	matched := -1 // not looked at
	for i := range sc.acts {
		a := &sc.acts[i]
		switch a.Kind {
		case session.Deliver:
			if refusal == codec.Success {
				matched = c.b.route(sc, m)
			}
		case session.SendPuback:
			c.sendAck(sc, codec.TypePuback, a.ID, ackReason(a.Reason, matched))
		case session.SendPubrec:
			c.sendAck(sc, codec.TypePubrec, a.ID, ackReason(a.Reason, matched))
		case session.Violation:
			return c.violation(a)
		}
	}
	return nil
}

// ackReason tells a publisher that nobody subscribes.
func ackReason(r codec.ReasonCode, matched int) codec.ReasonCode {
	if r == codec.Success && matched == 0 {
		return codec.NoMatchingSubscribers
	}
	return r
}

func (c *conn) violation(a *session.Action[*delivery]) error {
	f := a.Fault()
	return &fault{reason: a.Reason, rule: f.Rule(c.version, codec.Client), msg: "the packet breaks the rules of its QoS"}
}

// resolveAlias returns the Topic Name of a PUBLISH with a Topic Alias, and keeps or replaces
// the mapping.
func (c *conn) resolveAlias(p *codec.Publish) (string, error) {
	alias := p.Props.Uint(codec.PropTopicAlias, 0)
	if alias == 0 || alias > uint32(c.b.lim.aliasIn) { // [MQTT-3.3.2-8] [MQTT-3.3.2-9]
		return "", &fault{reason: codec.TopicAliasInvalid, rule: "P-3.3.4-topic-alias-range", msg: "the Topic Alias is 0 or above the Topic Alias Maximum"}
	}
	if p.Topic != "" {
		for int(alias) >= len(c.aliasIn) {
			c.aliasIn = append(c.aliasIn, "")
		}
		if c.aliasIn[alias] != p.Topic {
			c.aliasIn[alias] = strings.Clone(p.Topic)
		}
		return p.Topic, nil
	}
	if int(alias) >= len(c.aliasIn) || c.aliasIn[alias] == "" {
		return "", &fault{reason: codec.ProtocolError, rule: "P-3.3.4-topic-alias-unknown", msg: "the Topic Alias has no Topic Name on this connection"}
	}
	return c.aliasIn[alias], nil
}

// route delivers a message to everybody who subscribes to its topic, stores it as retained
// message where it is one, and returns how many Sessions and groups it went to.
func (b *Broker) route(sc *scratch, m *message) int {
	if m.retain {
		b.retained.set(b, m) // before the lookup: a Subscription made meanwhile finds it one way or the other
	}
	r := sc.lookup(m.topic)
	n := 0
	sc.passing = true
	for i := range r.targets {
		if b.deliver(sc, m, &r.targets[i]) {
			n++
		}
	}
	sc.passing = false
	for _, sh := range r.shares {
		if b.share(sc, m, sh) {
			n++
		}
	}
	if len(sc.late) > 0 {
		b.serveLate(sc, m)
	}
	return n
}

// deliver gives a message to one Session.
func (b *Broker) deliver(sc *scratch, m *message, t *target) bool {
	if t.noLocal && m.from == t.s {
		own, ok := t.forPublisher()
		if !ok {
			return false
		}
		t = &own
	}
	qos := min(m.qos, t.qos)    // [MQTT-3.8.4-8]
	retain := m.retain && t.rap // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
	if qos == 0 {
		b.sendQoS0(sc, m, t.s.conn.Load(), retain, t.ids)
		return true
	}
	return b.sendQoS(sc, m, t.s, qos, retain, t.ids, nil)
}

// sendQoS0 gives a QoS 0 message to a connection, which may be nil.
func (b *Broker) sendQoS0(sc *scratch, m *message, c *conn, retain bool, ids []uint32) bool {
	if c == nil {
		return false
	}
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.size >= b.lim.outBytes && !b.waitForSocket(sc, c) {
		if !o.closing {
			sc.stats.droppedQoS0++
		}
		return false
	}
	if o.closing {
		return false
	}
	return c.push(sc, m, 0, 0, retain, ids)
}

// push appends a message that waited nowhere. It reports false when the message exceeds the
// Client's Maximum Packet Size [MQTT-3.1.2-24]. out.mu is held, and the buffer is not closing.
func (c *conn) push(sc *scratch, m *message, qos codec.QoS, id uint16, retain bool, ids []uint32) bool {
	if len(ids) == 0 && c.aliasMax == 0 {
		f := m.form(c.version, qos)
		if f.size > c.maxPacket {
			c.b.stats.tooLarge.Add(1)
			return false
		}
		f.put(c.out.space(f.size), m.payload, firstByte(qos, false, retain), id)
		sc.stats.messagesOut++
		sc.sent(f.size)
		sc.touch(c)
		return true
	}
	p := packet{
		topic: m.topic, payload: m.payload, props: m.props, expiry: m.expiry,
		ids: ids, id: id, qos: qos, retain: retain,
	}
	if m.expiry != 0 {
		p.left = remaining(m.expires, sc.now)
	}
	return c.pushPacket(sc, &p)
}

// pushDelivery appends a message that has waited, or goes out again.
func (c *conn) pushDelivery(sc *scratch, d *delivery, qos codec.QoS, id uint16, dup bool, now session.Time) bool {
	p := packet{
		topic: d.topic, payload: d.payload, props: d.props, expiry: d.expiry,
		ids: d.ids, id: id, qos: qos, dup: dup, retain: d.retain,
	}
	if d.expiry != 0 {
		p.left = remaining(d.expires, now)
	}
	return c.pushPacket(sc, &p)
}

// pushPacket encodes a PUBLISH of the receiver's own. sc may be nil where the caller writes
// the buffer itself.
func (c *conn) pushPacket(sc *scratch, p *packet) bool {
	name, fresh := p.topic, false
	if c.aliasMax > 0 {
		if a, ok := c.aliasOut[name]; ok {
			p.topic, p.alias = "", a
		} else if len(c.aliasOut) < int(c.aliasMax) { // [MQTT-3.1.2-26] [MQTT-3.3.2-11]
			p.alias, fresh = uint16(len(c.aliasOut)+1), true
		}
	}
	total, remaining, props := p.size(c.version)
	if total > c.maxPacket && fresh {
		p.alias, fresh = 0, false
		total, remaining, props = p.size(c.version)
	}
	if total > c.maxPacket {
		c.b.stats.tooLarge.Add(1)
		return false
	}
	if fresh {
		if c.aliasOut == nil {
			c.aliasOut = make(map[string]uint16)
		}
		c.aliasOut[strings.Clone(name)] = p.alias
	}
	dst := c.out.space(total)
	head := p.appendHead(dst[:0], c.version, remaining, props)
	copy(dst[len(head):], p.payload)
	if sc == nil {
		c.b.stats.sentMessages.Add(1)
		c.b.stats.sent.Add(1)
		c.b.stats.sentBytes.Add(uint64(total))
		return true
	}
	sc.stats.messagesOut++
	sc.sent(total)
	sc.touch(c)
	return true
}

// sendQoS gives a QoS 1 or 2 message to a Session: to its socket where the window and the
// buffer have room, else to its queue.
func (b *Broker) sendQoS(sc *scratch, m *message, s *sess, qos codec.QoS, retain bool, ids []uint32, share *topic.Share[*sess]) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.ended {
			return false
		}
		c := s.conn.Load()
		if c != nil && c.stopped.Load() {
			c = nil
		}
		if c != nil && s.queue.n == 0 && s.flow.Free() > 0 {
			if done, ok := b.sendNow(sc, m, s, c, qos, retain, ids, share); done {
				return ok
			}
		}
		d := m.hold(retain, ids, share)
		if s.queue.accepts(d, b.lim.queueMsgs, b.lim.queueBytes) {
			s.queue.push(d, qos)
			return true
		}
		if c != nil && b.waitForQueue(sc, s, c, m, d, qos) {
			continue
		}
		if c == nil {
			b.refuse(s)
		}
		return true
	}
}

// sendNow sends a message at once; done is false when the socket's buffer is full. s.mu is
// held, nothing is queued, and the window has room.
func (b *Broker) sendNow(sc *scratch, m *message, s *sess, c *conn, qos codec.QoS, retain bool, ids []uint32, share *topic.Share[*sess]) (done, ok bool) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return false, false
	}
	if o.size >= b.lim.outBytes {
		c.pumpWanted = true
		return false, false
	}
	var d *delivery
	if s.keeps() || share != nil {
		d = m.hold(retain, ids, share)
	}
	sc.fan = s.flow.Step(session.Event[*delivery]{Kind: session.Send, QoS: qos, H: d}, sc.now, sc.fan[:0])
	id := sc.fan[0].ID
	if !c.push(sc, m, qos, id, retain, ids) { // [MQTT-3.1.2-25]
		sc.fan = s.flow.Step(session.Event[*delivery]{Kind: session.Skip, ID: id}, sc.now, sc.fan[:0])
	}
	return true, true
}

// pump moves messages from the queue to the socket, as far as window and buffer have room.
// s.mu is held. sc may be nil, see pushPacket.
func (s *sess) pump(sc *scratch, c *conn) {
	if s.queue.n == 0 {
		return
	}
	b := s.b
	now := b.now()
	var room [4]session.Action[*delivery]
	acts := room[:0]
	var took queueMark
	o := &c.out
	o.mu.Lock()
	for s.queue.n > 0 && s.flow.Free() > 0 && !o.closing {
		if o.size >= b.lim.outBytes {
			c.pumpWanted = true
			break
		}
		w := s.queue.pop()
		took.msgs++
		took.bytes += w.d.size()
		if w.d.expired(now) { // [MQTT-3.3.2-5]
			b.stats.expired.Add(1)
			continue
		}
		kept := w.d
		if !s.keeps() && w.d.share == nil {
			kept = nil
		}
		acts = s.flow.Step(session.Event[*delivery]{Kind: session.Send, QoS: w.qos, H: kept}, now, acts[:0])
		if id := acts[0].ID; !c.pushDelivery(sc, w.d, w.qos, id, false, now) {
			acts = s.flow.Step(session.Event[*delivery]{Kind: session.Skip, ID: id}, now, acts[:0])
		}
	}
	o.mu.Unlock()
	s.progress(took)
}

// pump goes on with a Session whose connection's buffer has drained. The caller writes the
// buffer afterwards.
func (b *Broker) pump(c *conn) {
	s := c.sess
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn.Load() == c {
		s.pump(nil, c)
	}
}

// perform carries out the actions of a Session on its own connection. s.mu is held.
func (s *sess) perform(sc *scratch, c *conn, acts []session.Action[*delivery]) {
	for i := range acts {
		switch a := &acts[i]; a.Kind {
		case session.SendPublish:
			o := &c.out
			o.mu.Lock()
			sent := o.closing || a.H != nil && c.pushDelivery(sc, a.H, a.QoS, a.ID, a.Dup, sc.now) // [MQTT-3.3.1-1]
			o.mu.Unlock()
			if !sent {
				sc.fan = s.flow.Step(session.Event[*delivery]{Kind: session.Skip, ID: a.ID}, sc.now, sc.fan[:0])
			}
		case session.SendPubrel:
			c.sendAck(sc, codec.TypePubrel, a.ID, a.Reason)
		case session.SendPubcomp:
			c.sendAck(sc, codec.TypePubcomp, a.ID, a.Reason)
		}
	}
}
