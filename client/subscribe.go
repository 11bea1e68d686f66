package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
)

// request is a SUBSCRIBE or UNSUBSCRIBE and what became of it.
type request struct {
	subs    []Subscription // SUBSCRIBE, or
	filters []string       // UNSUBSCRIBE
	id      uint32         // Subscription Identifier
	done    chan struct{}
	reasons []codec.ReasonCode // from SUBACK or UNSUBACK; guarded by Client.mu until done
	text    string             // Reason String, likewise
	renewal bool

	mu   sync.Mutex // guards the rest
	got  []codec.ReasonCode
	err  error
	gone bool // answered, or nobody waits for it
}

func (r *request) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

func (r *request) finish(got []codec.ReasonCode, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.gone {
		r.gone, r.got, r.err = true, got, err
		close(r.done)
	}
}

func (r *request) packet(l *link, id uint16) codec.Packet {
	if r.filters != nil {
		return &codec.Unsubscribe{PacketID: id, Filters: r.filters}
	}
	p := &codec.Subscribe{PacketID: id, Filters: r.subs}
	if l.version == codec.V5 && l.subIDs && r.id != 0 {
		p.Props.SetUint(codec.PropSubscriptionID, r.id)
	}
	return p
}

// Subscribe asks for messages and returns when the Server has answered, with its Reason Code for each
// subscription: the granted QoS, or why not. The error is a *RefusedError if one was refused; the others hold.
// A nil Handler sends the messages to Messages. A Topic Filter that is subscribed already gets the new options
// and handler. Offline, it waits for a connection. If the context ends first the request is not taken back.
//
// Subscriptions are renewed on later connections where the Server has lost the session.
func (c *Client) Subscribe(ctx context.Context, h Handler, subs ...Subscription) ([]codec.ReasonCode, error) {
	if len(subs) == 0 {
		return nil, errors.New("subscribe: name at least one Topic Filter")
	}
	for _, s := range subs {
		if err := c.checkFilter(s.Filter); err != nil {
			return nil, fmt.Errorf("subscribe to %q: %w", s.Filter, err)
		}
		if s.QoS > 2 || s.RetainHandling > 2 {
			return nil, fmt.Errorf("subscribe to %q: QoS and Retain Handling are 0, 1 or 2", s.Filter)
		}
	}
	req := &request{subs: slices.Clone(subs), done: make(chan struct{})}
	if h == nil {
		c.routes.listen()
	}
	req.id = c.routes.add(h, req.subs)
	got, err := c.ask(ctx, req)
	if err != nil {
		if len(got) == 0 && !errors.Is(err, context.Cause(ctx)) {
			c.routes.settle(req, nil)
		}
		return nil, err
	}
	c.routes.settle(req, got)
	for i, r := range got {
		if r.Failed() {
			e := refused(codec.TypeSuback, c.cfg.Version, r, nil)
			e.About, e.ReasonString = subs[i].Filter, req.text
			return got, e
		}
	}
	return got, nil
}

// Unsubscribe ends subscriptions and returns when the Server has answered.
func (c *Client) Unsubscribe(ctx context.Context, filters ...string) error {
	if len(filters) == 0 {
		return errors.New("unsubscribe: name at least one Topic Filter")
	}
	for _, f := range filters {
		if err := c.checkFilter(f); err != nil {
			return fmt.Errorf("unsubscribe from %q: %w", f, err)
		}
	}
	c.routes.leave(filters)
	req := &request{filters: slices.Clone(filters), done: make(chan struct{})}
	got, err := c.ask(ctx, req)
	if err != nil {
		return err
	}
	c.routes.remove(filters)
	for i, r := range got {
		if r.Failed() {
			e := refused(codec.TypeUnsuback, c.cfg.Version, r, nil)
			e.About, e.ReasonString = filters[i], req.text
			return e
		}
	}
	return nil
}

func (c *Client) checkFilter(f string) error {
	if err := topic.CheckFilter(f, c.cfg.Version); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.link
	if l == nil {
		return nil
	}
	switch _, inner, shared, _ := topic.ParseShared(f); {
	case l.version != codec.V5:
	case shared && !l.shared:
		return fmt.Errorf("%w: shared subscriptions", ErrUnsupported)
	case topic.IsWild(inner) && !l.wildcards:
		return fmt.Errorf("%w: wildcards", ErrUnsupported)
	}
	return nil
}

// ask sends a request as soon as there is a connection, and waits for the answer.
func (c *Client) ask(ctx context.Context, req *request) ([]codec.ReasonCode, error) {
	c.mu.Lock()
	if err := c.closedErr(); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	c.requests.push(&entry{req: req})
	if l := c.link; l != nil && !l.closing {
		c.sendRequests()
		poke(l.wake)
	}
	c.mu.Unlock()
	select {
	case <-req.done:
	case <-ctx.Done():
		req.finish(nil, fmt.Errorf("the server has not answered yet: %w", context.Cause(ctx)))
	}
	return req.got, req.err
}

// answered takes SUBACK or UNSUBACK.
func (l *link) answered(t codec.Type, id uint16, reasons []codec.ReasonCode, props *codec.Properties) error {
	c := l.c
	c.mu.Lock()
	defer poke(l.wake)
	defer c.mu.Unlock()
	e := l.asked[id]
	if e == nil {
		return nil
	}
	req := e.req
	want, count := codec.TypeSuback, len(req.subs)
	if req.filters != nil {
		want, count = codec.TypeUnsuback, len(req.filters)
		if l.version != codec.V5 {
			count = 0
		}
	}
	switch {
	case t != want:
		return protocolError(codec.ProtocolError, "%s answers a packet that needs %s", t, want)
	case len(reasons) != count: // [MQTT-3.8.4-6, MQTT-3.11.3-1]
		return protocolError(codec.ProtocolError, "%s has %d reason codes for %d topic filters", t, len(reasons), count)
	}
	delete(l.asked, id)
	req.reasons = slices.Clone(reasons)
	req.text = string([]byte(props.Text(codec.PropReasonString)))
	if req.renewal {
		c.renewed(req)
	}
	return c.response(l, id)
}

// route is one subscription and who takes its messages.
type route struct {
	sub     Subscription
	inner   string // the filter without a share prefix
	h       Handler
	id      uint32
	granted bool
	leaving bool
}

// routes are the subscriptions. Its lock may be taken under Client.mu, never the other way round.
type routes struct {
	mu     sync.Mutex // guards the rest
	list   []*route
	lastID uint32
	ch     chan *Message
	known  chan struct{} // closed when somebody takes messages
	isOpen bool
}

func (r *routes) ready() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = make(chan struct{})
		if r.isOpen {
			close(r.known)
		}
	}
	return r.known
}

// open says that there is somebody who takes messages.
func (r *routes) open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.openLocked()
}

func (r *routes) openLocked() {
	if !r.isOpen {
		r.isOpen = true
		if r.known != nil {
			close(r.known)
		}
	}
}

func (r *routes) listen() (ch chan *Message, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ch == nil {
		r.ch, first = make(chan *Message), true
	}
	r.openLocked()
	return r.ch, first
}

func (r *routes) listening() bool { return r.messages() != nil }

func (r *routes) messages() chan *Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ch
}

// add makes routes for subscriptions before they are asked for, as messages may come before SUBACK.
func (r *routes) add(h Handler, subs []Subscription) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lastID = r.lastID%codec.MaxRemainingLength + 1
	for _, s := range subs {
		inner := s.Filter
		if _, in, shared, err := topic.ParseShared(s.Filter); err == nil && shared {
			inner = in
		}
		n := &route{sub: s, inner: inner, h: h, id: r.lastID}
		if i := r.index(s.Filter); i >= 0 {
			n.granted = r.list[i].granted
			r.list[i] = n
		} else {
			r.list = append(r.list, n)
		}
	}
	r.openLocked()
	return r.lastID
}

func (r *routes) index(filter string) int {
	return slices.IndexFunc(r.list, func(x *route) bool { return x.sub.Filter == filter })
}

// settle notes what the Server granted, and forgets what it refused.
func (r *routes) settle(req *request, got []codec.ReasonCode) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, s := range req.subs {
		at := r.index(s.Filter)
		switch {
		case at < 0 || r.list[at].id != req.id:
		case i < len(got) && !got[i].Failed():
			r.list[at].granted = true
		default:
			r.list = slices.Delete(r.list, at, at+1)
		}
	}
}

func (r *routes) leave(filters []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range filters {
		if i := r.index(f); i >= 0 {
			r.list[i].leaving = true
		}
	}
}

func (r *routes) remove(filters []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range filters {
		if i := r.index(f); i >= 0 && r.list[i].leaving {
			r.list = slices.Delete(r.list, i, i+1)
		}
	}
}

// find returns the handlers of a message, and whether the channel is one of its takers. Subscription Identifiers
// tell which of several overlapping subscriptions a copy is for; an identifier of an earlier process tells nothing.
func (r *routes) find(m *Message) (handlers []Handler, channel bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	named := false
	for pass := range 2 {
		for _, x := range r.list {
			if !topic.Match(x.inner, m.Topic) {
				continue
			}
			if pass == 0 && !slices.Contains(slices.Collect(m.Props.SubscriptionIDs()), x.id) {
				continue
			}
			named = true
			if x.h == nil {
				channel = true
			} else {
				handlers = append(handlers, x.h)
			}
		}
		if named {
			break
		}
	}
	return handlers, channel
}

// renew makes the requests that put back all subscriptions into a new session. Those of one Subscribe share a
// packet, as they share an identifier.
func (r *routes) renew(l *link) []*entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*entry
	for _, x := range r.list {
		if !x.granted || x.leaving {
			continue
		}
		var req *request
		if n := len(out); n > 0 && out[n-1].req.id == x.id && len(out[n-1].req.subs) < 100 {
			req = out[n-1].req
		} else {
			req = &request{id: x.id, done: make(chan struct{}), renewal: true}
			out = append(out, &entry{req: req})
		}
		req.subs = append(req.subs, x.sub)
	}
	return out
}
