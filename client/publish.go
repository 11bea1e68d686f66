package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/internal/topic"
)

// Publish sends a message and returns when the promise of its QoS is kept: at QoS 0 when it was written, at
// QoS 1 when PUBACK has come, at QoS 2 when PUBCOMP has. Offline, QoS 1 and 2 wait for a connection, and
// QoS 0 is ErrOffline. If the context ends first, a message of QoS 1 or 2 is still on its way: it stays
// accepted, and the error says so. A refusal is a *RefusedError.
func (c *Client) Publish(ctx context.Context, m Message) error {
	if m.QoS == 0 {
		return c.publish0(ctx, &m, nil)
	}
	t, err := c.accept(&m)
	if err != nil {
		return err
	}
	select {
	case <-t.done:
		return t.err // done orders it
	case <-ctx.Done():
		return fmt.Errorf("the message for %s is accepted and not acknowledged yet: %w", m.Topic, context.Cause(ctx))
	}
}

// PublishAsync accepts a message and returns its Token. At QoS 1 and 2 it does not block, and the error is
// ErrQueueFull where Config.Queue is used up. At QoS 0 it waits until the connection takes more bytes.
func (c *Client) PublishAsync(ctx context.Context, m Message) (*Token, error) {
	if m.QoS != 0 {
		return c.accept(&m)
	}
	t := newToken(false)
	if err := c.publish0(ctx, &m, t); err != nil {
		return nil, err
	}
	return t, nil
}

// check says what is wrong with a message before it costs anything.
func (c *Client) check(m *Message) error {
	if m.QoS > 2 {
		return fmt.Errorf("publish to %q: QoS %d is not 0, 1 or 2", m.Topic, m.QoS)
	}
	v := c.cfg.Version
	if err := topic.CheckName(m.Topic, v); err != nil {
		return fmt.Errorf("publish to %q: %w", m.Topic, err)
	}
	if v != codec.V5 || m.Props.Empty() {
		return nil
	}
	if m.Props.Has(codec.PropTopicAlias) {
		return fmt.Errorf("publish to %q: Topic Aliases are the client's own to give", m.Topic)
	}
	if m.Props.Has(codec.PropSubscriptionID) {
		return fmt.Errorf("publish to %q: a Subscription Identifier is the server's to add", m.Topic)
	}
	if _, err := (&codec.Publish{Topic: m.Topic, Props: m.Props}).AppendTo(nil, v); err != nil {
		return fmt.Errorf("publish to %q: %w", m.Topic, err)
	}
	return nil
}

// supports tells whether the Server takes such a message.
func (l *link) supports(m *Message) error {
	switch {
	case m.QoS > l.maxQoS: // [MQTT-3.2.2-11]
		return fmt.Errorf("publish to %q at QoS %d: %w, its Maximum QoS is %d", m.Topic, m.QoS, ErrUnsupported, l.maxQoS)
	case m.Retain && !l.retain: // [MQTT-3.2.2-14]
		return fmt.Errorf("publish to %q: %w: retained messages", m.Topic, ErrUnsupported)
	}
	return nil
}

func (c *Client) closedErr() error {
	switch {
	case c.dead != nil:
		return c.dead
	case c.ending:
		return ErrClosed
	}
	return nil
}

// accept takes a QoS 1 or 2 message into the queue and, with a Store, onto its way there.
func (c *Client) accept(m *Message) (*Token, error) {
	if err := c.check(m); err != nil {
		return nil, err
	}
	size := (&codec.Publish{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, PacketID: 1, Props: m.Props}).Size(c.cfg.Version)
	if size > codec.MaxPacketSize {
		return nil, fmt.Errorf("publish to %q: %w: MQTT allows %d bytes", m.Topic, ErrTooLarge, codec.MaxPacketSize)
	}
	e := &entry{size: uint32(size), cost: size + 200, tok: newToken(c.cfg.Store != nil)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.closedErr(); err != nil {
		return nil, err
	}
	if c.full(e.cost) {
		c.expire()
		if c.full(e.cost) {
			return nil, ErrQueueFull
		}
	}
	if c.link != nil && !c.link.closing {
		if err := c.link.supports(m); err != nil {
			return nil, err
		}
	}
	if c.cfg.Version == codec.V5 && m.Props.Has(codec.PropMessageExpiry) {
		e.expires = c.now() + session.Time(m.Props.Uint(codec.PropMessageExpiry, 0))*session.Time(time.Second)
	}
	c.seq++
	e.seq = c.seq
	c.pending++
	c.bytes += e.cost
	c.keep(e, m)
	c.queue.push(e)
	c.settle()
	if c.link != nil {
		poke(c.link.wake)
	}
	return e.tok, nil
}

// full tells whether a message more is too much. One always fits, whatever its size.
func (c *Client) full(cost int) bool {
	return c.pending > 0 && (c.pending >= c.cfg.Queue.Messages || c.bytes+cost > c.cfg.Queue.Bytes)
}

// expire drops messages from the queue that expired while they waited.
func (c *Client) expire() {
	now := c.now()
	for n := c.queue.len(); n > 0; n-- {
		e := c.queue.pop()
		if e.expires != 0 && now >= e.expires {
			e.tok.finish(0, ErrExpired)
			c.drop(e)
			continue
		}
		c.queue.push(e)
	}
}

func (w *waiter) finish(err error) {
	if w.tok != nil {
		w.tok.finish(0, err)
		return
	}
	w.ch <- err // has room for one, and gets one
}

// publish0 encodes a QoS 0 message straight into the connection's buffer. Without a token it waits until the
// bytes are written.
func (c *Client) publish0(ctx context.Context, m *Message, t *Token) error {
	if err := c.check(m); err != nil {
		return err
	}
	c.mu.Lock()
	l := c.link
	for {
		if err := c.closedErr(); err != nil {
			c.mu.Unlock()
			return err
		}
		if l == nil || l.closing || l != c.link {
			err := c.lastErr
			c.mu.Unlock()
			if err != nil {
				return fmt.Errorf("%w: %w", ErrOffline, err)
			}
			return ErrOffline
		}
		if len(l.out) < outBytes {
			break
		}
		if l.room == nil {
			l.room = make(chan struct{})
		}
		room := l.room
		c.mu.Unlock()
		select {
		case <-room:
		case <-l.down:
		case <-ctx.Done():
			return fmt.Errorf("publish to %s: %w", m.Topic, context.Cause(ctx))
		}
		c.mu.Lock()
	}
	before := len(l.out)
	err := l.supports(m)
	if err == nil {
		if err = l.publish(m, 0, 0, false, 0); errors.Is(err, ErrTooLarge) {
			err = fmt.Errorf("publish to %q: %w: its limit is %d bytes", m.Topic, err, l.maxPacket)
		}
	}
	if err != nil {
		c.mu.Unlock()
		return err
	}
	l.offset += int64(len(l.out) - before)
	var w *waiter
	switch n := len(l.free); {
	case t != nil:
		w = &waiter{tok: t}
	case n > 0:
		w, l.free = l.free[n-1], l.free[:n-1]
	default:
		w = &waiter{ch: make(chan error, 1)}
	}
	w.upto = l.offset
	l.waiters.push(w)
	c.mu.Unlock()
	poke(l.wake)
	if t != nil {
		return nil
	}
	select {
	case err := <-w.ch:
		c.mu.Lock()
		if len(l.free) < 64 {
			l.free = append(l.free, w)
		}
		c.mu.Unlock()
		return err
	case <-ctx.Done():
		return fmt.Errorf("the message for %s is not written yet: %w", m.Topic, context.Cause(ctx))
	}
}
