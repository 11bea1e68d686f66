package broker

import (
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

// waitForSocket holds the publisher back until the buffer of a Client that does not read has
// room again, for at most SlowQoS0 from the moment it was full, and once in a batch only: many
// such Clients must not add up to a publisher that is not served. It reports false when the
// message has to be dropped. c.out.mu is held before and after.
func (b *Broker) waitForSocket(sc *scratch, c *conn) bool {
	o := &c.out
	if o.stalled == 0 {
		o.stalled = int64(b.now())
	}
	deadline := o.stalled + int64(b.lim.slowQoS0)
	for o.size >= b.lim.outBytes {
		left := deadline - int64(b.now())
		if left <= 0 || sc.inVain || o.closing {
			return false
		}
		ch := o.changed()
		o.mu.Unlock()
		sc.inVain = b.hold(sc, ch, time.Duration(left))
		o.mu.Lock()
	}
	return !o.closing
}

// How far a queue may exceed its bounds while its Client's reader waits itself, and until the end
// of a batch whose publisher was held back long enough.
const (
	extraMsgs  = 16 << 10
	extraBytes = 4 << 20
)

// waitForQueue holds the publisher back until the full queue of a connected Client has room
// again, for at most SlowConsumer from the moment it was full; then the Client is
// disconnected. It reports whether to try again. s.mu is held before and after.
//
// Many such Clients must not add up to a publisher that is not served. So none is waited for
// before the message has been given to the others, which starts the time of all whose queues are
// full; and once the publisher was held back in vain, the queues that fill up after that give way
// to the rest of its batch. Their time runs too, and the next batch finds them.
func (b *Broker) waitForQueue(sc *scratch, s *sess, c *conn, m *message, d *delivery, qos codec.QoS) bool {
	if c == sc.owner && m.from == nil {
		// Retained messages for a Subscription of its own: they share the store's memory, and
		// waiting for the Client that is being served would not end.
		s.queue.push(d, qos)
		return false
	}
	if own := sc.owner; own != nil {
		// Set before the other's is read: of two readers that are about to wait for each other
		// at least one sees it.
		own.waiting.Store(true)
		defer own.waiting.Store(false)
	}
	if c == sc.owner || c.waiting.Load() {
		// Its acknowledgements are not read because its reader waits as well, perhaps for
		// this very publisher. Waiting would starve both, so the bound gives way by what the
		// socket buffers between the acknowledgements may hold.
		if s.queue.accepts(d, b.lim.queueMsgs+extraMsgs, b.lim.queueBytes+extraBytes) {
			s.queue.push(d, qos)
			return false
		}
	}
	if s.stalled == 0 {
		s.stalled = b.now()
		s.taken = queueMark{}
	}
	since := max(s.stalled, session.Time(c.resumed.Load())) // it was not read before
	left := since + session.Time(b.lim.slowConsumer) - b.now()
	if left <= 0 || c == sc.owner {
		s.stalled = 0
		s.mu.Unlock()
		b.stats.slowConsumers.Add(1)
		b.log.Warn("slow consumer disconnected", "client", s.id, "remote", c.nc.RemoteAddr())
		c.kick(codec.QuotaExceeded, "the client does not keep up with its messages")
		s.mu.Lock()
		return true
	}
	if sc.passing {
		sc.late = append(sc.late, late{s: s, ids: d.ids, qos: qos, retain: d.retain})
		return false
	}
	if sc.spent > 0 && s.stalled >= sc.spent && s.queue.accepts(d, b.lim.queueMsgs+extraMsgs, b.lim.queueBytes+extraBytes) {
		s.queue.push(d, qos)
		return false
	}
	if s.room == nil {
		s.room = make(chan struct{})
	}
	ch := s.room
	s.mu.Unlock()
	if b.hold(sc, ch, time.Duration(left)) {
		sc.spent = b.now()
	}
	s.mu.Lock()
	return true
}

// late is a Session whose queue was full when a message was given to the others.
type late struct {
	s      *sess
	ids    []uint32
	qos    codec.QoS
	retain bool
}

// serveLate gives the message to those whose queues were full. The time of all of them runs.
func (b *Broker) serveLate(sc *scratch, m *message) {
	for i := range sc.late {
		l := &sc.late[i]
		b.sendQoS(sc, m, l.s, l.qos, l.retain, l.ids, nil)
		*l = late{}
	}
	sc.late = sc.late[:0]
}

// progress lets waiting publishers look again once a queue has room, and starts the time of a
// slow consumer anew when an eighth of its bound was taken from it: what is left does not tell,
// since others may go on filling it. mu is held.
func (s *sess) progress(took queueMark) {
	if s.stalled == 0 {
		return
	}
	s.taken.msgs += took.msgs
	s.taken.bytes += took.bytes
	msgs, bytes := s.b.lim.queueMsgs, s.b.lim.queueBytes
	if s.queue.n <= msgs-(msgs+7)/8 && s.queue.bytes <= bytes-(bytes+7)/8 {
		s.wakeWaiters()
		return
	}
	if s.taken.msgs > msgs/8 || s.taken.bytes > bytes/8 {
		s.stalled = s.b.now()
		s.taken = queueMark{}
	}
}

// hold blocks the reader until ch is closed, at most for d, and reports whether time was up. What
// it has appended for others so far is sent first.
func (b *Broker) hold(sc *scratch, ch <-chan struct{}, d time.Duration) (inVain bool) {
	sc.flush()
	if c := sc.owner; c != nil {
		c.waiting.Store(true)
		defer func() {
			now := int64(b.now())
			c.seen.Store(now)
			c.resumed.Store(now)
			c.waiting.Store(false)
		}()
	}
	over := make(chan struct{})
	t := b.clock.AfterFunc(d, func() { close(over) })
	defer t.Stop()
	select {
	case <-ch:
	case <-over:
		return true
	case <-b.closing:
	}
	return false
}

// refuse counts a message that an offline Session's full queue does not take. s.mu is held.
func (b *Broker) refuse(s *sess) {
	b.stats.refused.Add(1)
	if !s.warned {
		s.warned = true
		b.log.Warn("queue full, messages are refused", "client", s.id, "messages", s.queue.n, "bytes", s.queue.bytes)
	}
}

// ownLimit is how long a Client may leave a full buffer of answers unread.
const ownLimit = time.Minute

// waitForOwn holds a Client back that sends but does not read its answers, until its buffer
// has room. It reports false when the connection is over.
func (c *conn) waitForOwn(sc *scratch) bool {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.size < c.b.lim.outBytes {
		return true
	}
	deadline := c.b.now() + session.Time(ownLimit)
	for o.size >= c.b.lim.outBytes && !o.closing {
		left := deadline - c.b.now()
		if left <= 0 {
			o.mu.Unlock()
			c.kick(codec.QuotaExceeded, "the client does not read its answers")
			o.mu.Lock()
			return false
		}
		ch := o.changed()
		o.mu.Unlock()
		c.b.hold(sc, ch, time.Duration(left))
		o.mu.Lock()
	}
	return !c.stopped.Load()
}
