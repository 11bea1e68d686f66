package client

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

// sendRequests gives waiting requests to the session. The lock is held.
func (c *Client) sendRequests() {
	for n := c.requests.len(); n > 0; n-- {
		if e := c.requests.pop(); !e.req.over() {
			c.step(session.Event[*entry]{Kind: session.Request, H: e})
		}
	}
	c.settle()
}

// response ends the request of the identifier. The lock is held.
func (c *Client) response(l *link, id uint16) error {
	return c.event(l, session.Event[*entry]{Kind: session.Response, ID: id})
}

// renewed looks at the answer to a renewed subscription, for which no call waits. The lock is held.
func (c *Client) renewed(req *request) {
	for i, r := range req.reasons {
		if !r.Failed() {
			continue
		}
		e := refused(codec.TypeSuback, c.cfg.Version, r, nil)
		e.About, e.ReasonString = req.subs[i].Filter, req.text
		err := fmt.Errorf("a subscription could not be renewed: %w", e)
		c.tell(func() {
			c.cfg.log("subscription lost", "error", err)
			if c.cfg.OnError != nil {
				c.cfg.OnError(err)
			}
		})
	}
	c.routes.settle(req, req.reasons)
}

// asking is the state of Request: where answers go, and who waits for which.
type asking struct {
	setup   sync.Mutex // held while the Response Topic is subscribed; guards topic
	topic   string
	mu      sync.Mutex // guards the rest
	waiting map[string]chan *Message
	last    uint64
	err     error
}

func (a *asking) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = err
	for _, ch := range a.waiting {
		close(ch)
	}
	a.waiting = nil
}

// Request publishes a message with a Response Topic and Correlation Data and waits for the answer (version 5).
// Responders use Respond, or publish to the Response Topic with the Correlation Data they were given.
func (c *Client) Request(ctx context.Context, m Message) (*Message, error) {
	if c.cfg.Version != codec.V5 {
		return nil, fmt.Errorf("a request needs version 5, and this client speaks %s", c.cfg.Version)
	}
	to, err := c.responseTopic(ctx)
	if err != nil {
		return nil, err
	}
	a := &c.asking
	answer := make(chan *Message, 1)
	a.mu.Lock()
	if a.err != nil {
		defer a.mu.Unlock()
		return nil, a.err
	}
	a.last++
	id := string(binary.BigEndian.AppendUint64(nil, a.last))
	if a.waiting == nil {
		a.waiting = map[string]chan *Message{}
	}
	a.waiting[id] = answer
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.waiting, id)
		a.mu.Unlock()
	}()
	m.Props = m.Props.Clone()
	m.Props.SetText(codec.PropResponseTopic, to)
	m.Props.SetBytes(codec.PropCorrelationData, []byte(id))
	if err := c.Publish(ctx, m); err != nil {
		return nil, err
	}
	select {
	case got, ok := <-answer:
		if !ok {
			return nil, c.Err()
		}
		return got, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("nobody answered the request to %s: %w", m.Topic, context.Cause(ctx))
	}
}

// responseTopic subscribes, the first time, to a topic that is this client's alone.
func (c *Client) responseTopic(ctx context.Context) (string, error) {
	a := &c.asking
	a.setup.Lock()
	defer a.setup.Unlock()
	if a.topic != "" {
		return a.topic, nil
	}
	c.mu.Lock()
	prefix := "mqlab/response/"
	if c.link != nil {
		if info := c.link.session.Props.Text(codec.PropResponseInfo); info != "" {
			prefix = info + "/"
		}
	}
	c.mu.Unlock()
	name := prefix + rand.Text()
	_, err := c.Subscribe(ctx, func(m *Message) {
		id := string(m.Props.Bytes(codec.PropCorrelationData))
		a.mu.Lock()
		ch := a.waiting[id]
		delete(a.waiting, id)
		a.mu.Unlock()
		if ch != nil {
			ch <- m // has room for one, and is not known any more
		}
		m.Ack()
	}, Subscription{Filter: name, QoS: 1})
	if err != nil {
		return "", fmt.Errorf("subscribe to answers: %w", err)
	}
	a.topic = name
	return name, nil
}

// Respond publishes the answer to a message that asks for one, at the message's QoS. It may be called from a
// Handler.
func (c *Client) Respond(ctx context.Context, to *Message, payload []byte) error {
	m := Message{Topic: to.Props.Text(codec.PropResponseTopic), Payload: payload, QoS: to.QoS}
	if m.Topic == "" {
		return errors.New("the message asks for no answer: it has no Response Topic")
	}
	if to.Props.Has(codec.PropCorrelationData) {
		m.Props.SetBytes(codec.PropCorrelationData, to.Props.Bytes(codec.PropCorrelationData))
	}
	return c.Publish(ctx, m)
}
