package client

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

// inbox holds the messages that arrived and wait for their handlers.
type inbox struct {
	mu    sync.Mutex // guards list and bytes
	list  fifo[arrival]
	bytes int

	more   chan struct{} // poked when a message came
	less   chan struct{} // poked when one was taken
	paused atomic.Bool   // the reader waits for less
	over   atomic.Bool   // the reader goes on though there is no room: QoS 0 is dropped

	// Guarded by Client.mu: what the reader is stepping the session with, and what came of it.
	arriving  *codec.Publish
	violation session.Fault
}

type arrival struct {
	m   *Message
	ref uint64
	id  uint16
}

func (b *inbox) init() {
	b.more, b.less = make(chan struct{}, 1), make(chan struct{}, 1)
}

func (b *inbox) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.list.len()
}

// push adds a message. It is false where there is no room and the message may be dropped; others are bounded by
// the Receive Maximum.
func (b *inbox) push(cfg *Config, m *Message, ref uint64) bool {
	if m.QoS == 0 && b.over.Load() && b.full(cfg) {
		return false
	}
	b.mu.Lock()
	b.list.push(arrival{m, ref, b.arriving.PacketID})
	b.bytes += m.cost()
	b.mu.Unlock()
	poke(b.more)
	return true
}

func (m *Message) cost() int { return len(m.Topic) + len(m.Payload) + len(m.Props.Raw()) + 200 }

// stall is how long a full inbox stops the reader while the Server owes acknowledgements: a handler that waits
// for one would wait for ever.
const stall = time.Second

// room waits until there is room for a message more. Meanwhile the Server feels that nobody reads.
func (b *inbox) room(l *link) error {
	if !b.full(&l.c.cfg) {
		b.over.Store(false)
		return nil
	}
	if b.over.Load() && l.owed() {
		return nil
	}
	b.over.Store(false)
	b.paused.Store(true)
	defer func() {
		l.in.last.Store(time.Now().UnixNano()) // the silence was ours
		b.paused.Store(false)
	}()
	t := time.NewTimer(stall)
	defer t.Stop()
	for b.full(&l.c.cfg) {
		select {
		case <-b.less:
		case <-t.C:
			if l.owed() {
				b.over.Store(true)
				return nil
			}
			t.Reset(stall)
		case <-l.down:
			return l.reason()
		case <-l.c.stop:
			return nil
		}
	}
	return nil
}

func (b *inbox) full(cfg *Config) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.list.len() >= cfg.Inbound.Messages || b.list.len() > 0 && b.bytes >= cfg.Inbound.Bytes
}

// owed tells whether the Server has something to acknowledge.
func (l *link) owed() bool {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return l.c.pending > 0 || len(l.asked) > 0
}

func (l *link) reason() error {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return l.err
}

func (b *inbox) pop() (arrival, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.list.len() == 0 {
		return arrival{}, false
	}
	a := b.list.pop()
	b.bytes -= a.m.cost()
	return a, true
}

// deliverLoop calls handlers, one after the other.
func (c *Client) deliverLoop() {
	for {
		select {
		case <-c.stop:
			return
		default:
		}
		a, ok := c.inbox.pop()
		if !ok {
			select {
			case <-c.inbox.more:
				continue
			case <-c.stop:
				return
			}
		}
		poke(c.inbox.less)
		select { // messages of an older session can come before anybody has said who takes them
		case <-c.routes.ready():
		case <-c.stop:
			return
		}
		if c.cfg.ManualAck && a.ref != 0 {
			a.m.ack = func(r codec.ReasonCode) { c.acknowledge(a, r) }
		}
		if !c.deliver(a.m) {
			return
		}
		if !c.cfg.ManualAck && a.ref != 0 {
			c.acknowledge(a, codec.Success)
		}
	}
}

// deliver hands a message to whoever wants it. It is false when the client ended meanwhile, before the
// message was taken.
func (c *Client) deliver(m *Message) bool {
	handlers, channel := c.routes.find(m)
	if len(handlers) == 0 && !channel {
		if c.cfg.Handler != nil {
			handlers = append(handlers, c.cfg.Handler)
		} else if channel = c.routes.listening(); !channel {
			c.mu.Lock()
			c.stats.Unrouted++
			c.mu.Unlock()
			if m.ack != nil {
				m.Ack()
			}
			return true
		}
	}
	for _, h := range handlers {
		h(m)
	}
	if channel {
		select {
		case c.routes.messages() <- m:
		case <-c.stop:
			return false
		}
	}
	c.mu.Lock()
	c.stats.Received++
	c.mu.Unlock()
	return true
}

func (c *Client) acknowledge(a arrival, r codec.ReasonCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step(session.Event[*entry]{Kind: session.Ack, ID: a.id, Ref: a.ref, Reason: r})
	c.settle()
	if c.link != nil {
		poke(c.link.wake)
	}
}

// Messages returns the channel of messages that no handler takes: those of subscriptions made with a nil
// Handler, and where Config.Handler is nil the rest. It is closed when the client has ended. Once it was
// asked for, nobody receiving from it holds up delivery.
func (c *Client) Messages() <-chan *Message {
	ch, first := c.routes.listen()
	if first {
		go func() {
			<-c.finished
			close(ch)
		}()
	}
	return ch
}
