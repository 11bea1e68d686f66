package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

const (
	// outBytes is how much is encoded ahead of the connection.
	outBytes = 32 << 10
	// keepBytes is the largest buffer that is kept for reuse.
	keepBytes = 256 << 10
	// farewell is how long DISCONNECT may take.
	farewell = time.Second
)

// link is one network connection. One goroutine reads it, one writes it and one watches its Keep Alive.
type link struct {
	c       *Client
	nc      net.Conn
	in      counter
	rd      *codec.Reader
	dec     codec.Decoder
	version codec.Version

	// What CONNACK said.
	session    Session
	keepAlive  time.Duration
	maxPacket  uint32
	receiveMax uint16
	aliasMax   uint16
	maxQoS     codec.QoS
	retain     bool
	wildcards  bool
	subIDs     bool
	shared     bool

	aliasIn  []string     // of the reader: index is the alias
	sent     atomic.Int64 // when the writer last finished a write, in nanoseconds
	pinged   atomic.Int64 // when the PINGREQ that is not answered was sent, or 0
	wake     chan struct{}
	down     chan struct{} // closed when the connection is given up
	downOnce sync.Once

	// Guarded by Client.mu.
	err      error
	out      []byte
	spare    []byte
	offset   int64 // bytes ever put into out
	fifo     fifo[item]
	waiters  fifo[*waiter]
	free     []*waiter     // for reuse
	room     chan struct{} // closed when out has been taken; nil while nobody waits
	closing  bool          // nothing may be added to out
	aliasOut map[string]uint16
	asked    map[uint16]*entry
	pub      codec.Publish // scratch
	props    codec.Properties
}

// item is a packet that waits for being encoded.
type item struct {
	kind   session.ActionKind
	dup    bool
	qos    codec.QoS
	reason codec.ReasonCode
	id     uint16
	e      *entry
	other  codec.Packet // PINGREQ and AUTH
}

// waiter waits for bytes to be written.
type waiter struct {
	upto int64
	ch   chan error
	tok  *Token
}

// counter counts bytes and notes when they came.
type counter struct {
	r     io.Reader
	bytes atomic.Uint64
	last  atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.bytes.Add(uint64(n))
		c.last.Store(time.Now().UnixNano())
	}
	return n, err
}

func newLink(c *Client, nc net.Conn) *link {
	l := &link{
		c: c, nc: nc, version: c.cfg.Version,
		maxQoS: 2, retain: true, wildcards: true, shared: true,
		wake: make(chan struct{}, 1), down: make(chan struct{}),
		asked: map[uint16]*entry{}, aliasOut: map[string]uint16{},
	}
	l.in.r = nc
	l.rd = codec.NewReader(&l.in, 0)
	l.rd.MaxSize = int(c.cfg.MaximumPacketSize)
	l.rd.Version = l.version
	l.rd.Poison = poison
	l.dec = codec.Decoder{Version: l.version, From: codec.Server}
	if l.version == codec.V5 && c.cfg.TopicAliasMaximum > 0 {
		l.aliasIn = make([]string, c.cfg.TopicAliasMaximum+1)
	}
	return l
}

// poison makes readers overwrite frames that have been used. Tests set it.
var poison bool

// fail gives the connection up; the first reason counts.
func (l *link) fail(err error) {
	l.c.mu.Lock()
	if l.err == nil {
		l.err = err
	}
	l.closing = true
	l.c.mu.Unlock()
	l.downOnce.Do(func() { close(l.down) })
	_ = l.nc.Close()
}

// end closes the connection for a reason, with DISCONNECT if there is one to send.
func (l *link) end(err error, p *codec.Disconnect) {
	l.c.mu.Lock()
	if l.closing {
		l.c.mu.Unlock()
		return
	}
	if l.err == nil {
		l.err = err
	}
	if p != nil && l.version != codec.V5 && p.Reason != codec.NormalDisconnection {
		p = nil
	}
	if p != nil {
		l.fill()
		var b []byte
		if b, err = p.AppendTo(l.out, l.version); err == nil {
			l.offset += int64(len(b) - len(l.out))
			l.out = b
		} else {
			p = nil
		}
	}
	l.closing = true
	l.c.mu.Unlock()
	if p == nil {
		l.fail(err)
		return
	}
	_ = l.nc.SetDeadline(time.Now().Add(farewell))
	poke(l.wake)
}

// serve carries one connection from CONNACK to its end, and returns why it ended.
func (c *Client) serve(l *link) error {
	l.sent.Store(time.Now().UnixNano())
	l.in.last.Store(time.Now().UnixNano())
	c.mu.Lock()
	first := !c.everUp
	c.link, c.everUp = l, true
	c.clientID = l.session.ClientID
	c.stats.Connects++
	if l.session.Present {
		c.stats.Resumed++
	}
	if !c.ending {
		c.lastErr = nil
	}
	c.keepID()
	c.resume(l)
	ending := c.ending
	c.mu.Unlock()

	var loops sync.WaitGroup
	loops.Go(func() { l.fail(l.readLoop()) })
	loops.Go(l.writeLoop)
	loops.Go(l.pingLoop)
	if ending {
		l.end(ErrClosed, &codec.Disconnect{})
	}
	if first {
		close(c.connected)
	}
	c.cfg.log("connected", "client", l.session.ClientID, "session present", l.session.Present)
	if c.cfg.OnConnect != nil {
		c.tell(func() { c.cfg.OnConnect(c, l.session) })
	}
	<-l.down
	loops.Wait()

	c.mu.Lock()
	c.link = nil
	err := l.err
	c.stats.BytesReceived += l.in.bytes.Load()
	if !c.ending {
		c.lastErr = err
	}
	var lostWaiters []*waiter
	for l.waiters.len() > 0 {
		lostWaiters = append(lostWaiters, l.waiters.pop())
	}
	c.step(session.Event[*entry]{Kind: session.Disconnected})
	c.settle()
	c.mu.Unlock()
	for _, w := range lostWaiters {
		w.finish(fmt.Errorf("the connection ended before the message was written: %w", err))
	}
	c.cfg.log("connection ended", "error", err)
	if c.cfg.OnDisconnect != nil {
		c.tell(func() { c.cfg.OnDisconnect(c, err) })
	}
	return err
}

// resume starts the session on a new connection: subscriptions first, where they have to be renewed, so that
// nothing published afterwards is missed. The lock is held.
func (c *Client) resume(l *link) {
	c.acts = c.ses.Step(session.Event[*entry]{Kind: session.Connected, Link: &session.Link{
		Version: l.version, Present: l.session.Present, SendMaximum: l.receiveMax,
		ReceiveMaximum: c.cfg.ReceiveMaximum, MaxPacket: l.maxPacket,
	}}, c.now(), c.acts[:0])
	resend := append([]session.Action[*entry](nil), c.acts...)
	renew := !l.session.Present || l.version == codec.V31
	if renew {
		for _, e := range c.routes.renew(l) {
			c.step(session.Event[*entry]{Kind: session.Request, H: e})
		}
	}
	for n := c.requests.len(); n > 0; n-- {
		e := c.requests.pop()
		if e.req.over() || renew && e.req.renewal {
			continue // a renewal that an earlier connection left unanswered has just been made anew
		}
		c.step(session.Event[*entry]{Kind: session.Request, H: e})
	}
	c.apply(resend)
	if len(c.lost) > 0 {
		c.stats.Republished += uint64(len(c.lost))
		c.queue.unshift(c.lost)
		c.lost = nil
	}
	c.settle()
}

func (l *link) readLoop() error {
	for {
		if err := l.c.inbox.room(l); err != nil {
			return err
		}
		frame, err := l.rd.Next()
		if err == nil {
			err = l.receive(frame)
			if err == nil {
				continue
			}
		}
		if l.leaving() { // what comes after our DISCONNECT is of no interest
			_, _ = io.Copy(io.Discard, &l.in)
			return err
		}
		if e, ok := errors.AsType[*codec.Error](err); ok {
			err = &ProtocolError{e.Reason, e}
		}
		if e, ok := errors.AsType[*ProtocolError](err); ok {
			if l.version == codec.V5 {
				l.end(err, &codec.Disconnect{Reason: e.Reason})
				_, _ = io.Copy(io.Discard, &l.in)
			}
			return err
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("the server closed the connection: %w", err)
		}
		return err
	}
}

func (l *link) leaving() bool {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return l.closing
}

// writeLoop writes what is put into out, batch by batch.
func (l *link) writeLoop() {
	var done []*waiter
	for {
		l.c.mu.Lock()
		if !l.closing {
			l.fill()
		}
		buf, closing, upto, room := l.out, l.closing, l.offset, l.room
		l.out, l.spare, l.room = l.spare[:0], nil, nil
		l.c.mu.Unlock()
		if room != nil {
			close(room)
		}
		if len(buf) == 0 {
			l.c.mu.Lock()
			if l.spare == nil {
				l.spare = buf
			}
			l.c.mu.Unlock()
			if closing {
				// The server closes when it has read DISCONNECT. Closing first, with bytes unread, could
				// take DISCONNECT away from it.
				return
			}
			select {
			case <-l.wake:
				continue
			case <-l.down:
				return
			}
		}
		if _, err := l.nc.Write(buf); err != nil {
			l.fail(err)
			return
		}
		l.sent.Store(time.Now().UnixNano())
		l.c.mu.Lock()
		l.c.stats.BytesSent += uint64(len(buf))
		if cap(buf) <= keepBytes {
			l.spare = buf[:0]
		}
		done = done[:0]
		for l.waiters.len() > 0 && l.waiters.front().upto <= upto {
			done = append(done, l.waiters.pop())
			l.c.stats.Published++
		}
		l.c.mu.Unlock()
		for _, w := range done {
			w.finish(nil)
		}
	}
}

// fill encodes packets that wait, as far as out has room. The lock is held.
func (l *link) fill() {
	limit := len(l.out) + outBytes // bytes of QoS 0 that are there already must not starve the rest
	for l.fifo.len() > 0 && len(l.out) < limit {
		it := l.fifo.pop()
		before := len(l.out)
		var err error
		switch it.kind {
		case session.SendPublish:
			err = l.publish(&it.e.msg, it.id, it.qos, it.dup, it.e.expires)
			if err != nil {
				it.e.tok.finish(0, err)
				l.c.step(session.Event[*entry]{Kind: session.Skip, ID: it.id})
			}
		case session.SendPuback:
			l.out, _ = (&codec.Puback{PacketID: it.id, Reason: it.reason}).AppendTo(l.out, l.version)
		case session.SendPubrec:
			l.out, _ = (&codec.Pubrec{PacketID: it.id, Reason: it.reason}).AppendTo(l.out, l.version)
		case session.SendPubrel:
			l.out, _ = (&codec.Pubrel{PacketID: it.id, Reason: it.reason}).AppendTo(l.out, l.version)
		case session.SendPubcomp:
			l.out, _ = (&codec.Pubcomp{PacketID: it.id, Reason: it.reason}).AppendTo(l.out, l.version)
		case session.SendRequest:
			p := it.e.req.packet(l, it.id)
			if l.maxPacket > 0 && p.Size(l.version) > int(l.maxPacket) {
				err = fmt.Errorf("%s: %w", p.Type(), ErrTooLarge)
			} else {
				l.out, err = p.AppendTo(l.out, l.version)
			}
			if err != nil {
				delete(l.asked, it.id)
				it.e.req.finish(nil, err)
				l.c.step(session.Event[*entry]{Kind: session.Response, ID: it.id})
			}
		default:
			l.out, _ = it.other.AppendTo(l.out, l.version)
		}
		l.offset += int64(len(l.out) - before)
	}
}

// publish encodes a message into out. The lock is held. The caller counts the bytes.
func (l *link) publish(m *Message, id uint16, qos codec.QoS, dup bool, expires session.Time) error {
	p := &l.pub
	*p = codec.Publish{Topic: m.Topic, Payload: m.Payload, PacketID: id, QoS: qos, Dup: dup, Retain: m.Retain}
	defer func() { *p = codec.Publish{} }()
	var fresh uint16
	if l.version == codec.V5 {
		p.Props = m.Props
		if expires != 0 { // what is left of the interval, where the message had to wait
			left := (expires - l.c.now() + 5e8) / 1e9
			if left < session.Time(m.Props.Uint(codec.PropMessageExpiry, 0)) {
				p.Props = m.Props.Clone()
				p.Props.SetUint(codec.PropMessageExpiry, uint32(max(1, left)))
			}
		}
		fresh = l.alias(p)
	}
	if l.maxPacket > 0 && p.Size(l.version) > int(l.maxPacket) {
		return ErrTooLarge
	}
	out, err := p.AppendTo(l.out, l.version)
	if err != nil {
		return err
	}
	l.out = out
	if fresh != 0 {
		l.aliasOut[m.Topic] = fresh
	}
	return nil
}

// alias replaces a Topic Name that has been sent before, or adds an alias for the next time and returns it.
func (l *link) alias(p *codec.Publish) uint16 {
	if l.aliasMax == 0 || len(p.Topic) < 6 {
		return 0
	}
	props := p.Props
	n, known := l.aliasOut[p.Topic]
	if !known {
		if len(l.aliasOut) >= int(l.aliasMax) {
			return 0
		}
		n = uint16(len(l.aliasOut) + 1)
	}
	if props.Empty() {
		l.props.Reset()
		l.props.SetUint(codec.PropTopicAlias, uint32(n))
		p.Props = l.props
	} else {
		p.Props = props.Clone()
		p.Props.SetUint(codec.PropTopicAlias, uint32(n))
	}
	if known {
		p.Topic = "" // [MQTT-3.3.2-8]
		return 0
	}
	if l.maxPacket > 0 && p.Size(l.version) > int(l.maxPacket) {
		p.Props = props
		return 0
	}
	return n
}

// pingLoop sends PINGREQ in time and gives the connection up when nothing answers it.
func (l *link) pingLoop() {
	if l.keepAlive <= 0 {
		return
	}
	interval := l.keepAlive - min(l.keepAlive/4, 2*time.Second)
	patience := l.c.cfg.PingTimeout
	if patience == 0 {
		patience = min(l.keepAlive, 10*time.Second)
	}
	t := time.NewTimer(interval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-l.down:
			return
		}
		now := time.Now().UnixNano()
		if asked := l.pinged.Load(); asked != 0 {
			if l.c.inbox.paused.Load() { // nobody looks for the answer now
				l.pinged.Store(now)
				asked = now
			}
			// Bytes of another packet are a sign of life as well: on a slow link PINGRESP waits behind it.
			if quiet := time.Duration(now - max(asked, l.in.last.Load())); quiet >= patience {
				l.fail(fmt.Errorf("%w: nothing came for %s", ErrDead, patience))
				return
			}
		}
		// Sending alone does not show that the peer is there, so silence of either side counts.
		due := min(l.sent.Load(), l.in.last.Load()) + int64(interval)
		if l.pinged.Load() != 0 {
			due = l.sent.Load() + int64(interval)
		}
		if now >= due {
			l.c.mu.Lock()
			if !l.closing {
				l.fifo.push(item{other: &codec.Pingreq{}})
			}
			l.c.mu.Unlock()
			if l.pinged.Load() == 0 {
				l.pinged.Store(now)
			}
			poke(l.wake)
			due = now + int64(interval)
		}
		next := time.Duration(due - now)
		if asked := l.pinged.Load(); asked != 0 {
			next = min(next, max(time.Duration(max(asked, l.in.last.Load())-now)+patience, time.Millisecond))
		}
		t.Reset(next)
	}
}
