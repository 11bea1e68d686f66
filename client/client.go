// Package client is an MQTT 3.1, 3.1.1 and 5.0 Client that keeps its promises over links that break.
//
// Start from [Connect] and [Config]. [Client.Publish] returns when the promise of its QoS is kept,
// [Client.PublishAsync] gives a [Token] for it, [Client.Subscribe] takes a [Handler], and
// [Client.Messages] is the same as a channel. A connection that is lost is made again, with backoff and
// jitter; what was accepted at QoS 1 and 2 goes on where it stopped, and subscriptions are renewed where
// the Server has forgotten the session. With a [Store] (package client/store) that also holds for a
// process that dies at any instant.
//
// A Client speaks every transport: mqtt, mqtts, ws, wss, unix, or a connection of the caller's own. All
// methods are safe for concurrent use. Memory is bounded in both directions: see [Config.Queue] and
// [Config.Inbound]. A handler that is slow slows the Server down, and costs neither memory nor the
// connection.
//
// Ownership: what is passed to Publish may be reused when it returns, and to PublishAsync likewise. A
// [Message] that arrives belongs to whoever receives it.
//
// Not done here: choosing between several servers, and the schema of payloads.
package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/internal/transport"
)

// Client is one MQTT session with the connections that carry it. Make one by Connect, and end it by
// Disconnect or Close.
type Client struct {
	cfg   Config
	url   string
	start time.Time

	stop      chan struct{} // closed when the client is to end
	finished  chan struct{} // closed when nothing of the client runs any more
	connected chan struct{} // closed when the first connection is open
	stopOnce  sync.Once
	running   sync.WaitGroup

	// mu guards everything below. No callback runs and no connection is used under it.
	mu       sync.Mutex
	clientID string
	link     *link // nil while offline
	ses      session.Session[*entry]
	acts     []session.Action[*entry]
	queue    fifo[*entry] // accepted messages that the session has not taken yet
	lost     []*entry     // messages that a lost session gave back, to be queued again
	requests fifo[*entry] // SUBSCRIBE and UNSUBSCRIBE that wait for a connection
	pending  int          // messages accepted and not released
	bytes    int          // what they cost
	idle     chan struct{}
	seq      uint64
	orders   uint64
	everUp   bool
	ending   bool
	dead     error // why the client has ended, or nil
	lastErr  error // why it is offline, or nil
	stats    Stats

	routes routes
	inbox  inbox
	files  files
	events events
	asking asking
}

// Connect opens a connection and returns when the Server has accepted it, or with the reason why not: a
// [*RefusedError] if it was the Server's. With Config.Offline it returns at once, and the connection is
// made in the background. The context bounds Connect alone.
func Connect(ctx context.Context, url string, cfg Config) (*Client, error) {
	if err := cfg.prepare(url); err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, url: url, start: time.Now(), clientID: cfg.ClientID,
		stop: make(chan struct{}), finished: make(chan struct{}), connected: make(chan struct{}),
	}
	c.ses.Config = session.Config{Side: codec.Client, Durable: cfg.Store != nil, MaxInflight: cfg.MaxInflight}
	c.inbox.init()
	c.events.wake, c.events.stop = make(chan struct{}, 1), make(chan struct{})
	c.files.wake = make(chan struct{}, 1)
	if err := c.restore(); err != nil {
		return nil, err
	}
	if cfg.Handler != nil {
		c.routes.open()
	}
	var first *link
	if !cfg.Offline {
		var err error
		if first, err = c.dial(ctx); err != nil {
			return nil, err
		}
	}
	if cfg.Store != nil {
		c.files.done = make(chan struct{})
		go c.commitLoop()
	}
	c.running.Go(c.deliverLoop)
	c.running.Go(c.eventLoop)
	go c.run(first)
	if first != nil {
		select {
		case <-c.connected:
		case <-c.finished:
		}
	}
	return c, nil
}

// ClientID returns the Client Identifier, which the Server may have assigned.
func (c *Client) ClientID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clientID
}

// Connected tells whether a connection is open.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link != nil
}

// Done is closed when the client has ended: after Disconnect or Close, or for good reasons of the
// Server's, which Err tells.
func (c *Client) Done() <-chan struct{} { return c.finished }

// Err returns why the client has ended, ErrClosed after Disconnect and Close. While it has not ended Err
// returns why it is offline, or nil.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead != nil {
		return c.dead
	}
	return c.lastErr
}

// quiet tells whether nothing accepted is unacknowledged and nothing waits for the Store. The lock is held.
func (c *Client) quiet() bool {
	f := &c.files
	return c.pending == 0 && f.stored >= f.ticket && len(f.ops) == 0 && !f.busy
}

// checkQuiet releases those who wait for that. The lock is held.
func (c *Client) checkQuiet() {
	if c.idle != nil && c.quiet() {
		close(c.idle)
		c.idle = nil
	}
}

// Flush waits until every message accepted at QoS 1 or 2 is acknowledged and the Store is up to date, or
// until the context or the client ends.
func (c *Client) Flush(ctx context.Context) error {
	c.mu.Lock()
	if c.quiet() {
		c.mu.Unlock()
		return nil
	}
	if c.dead != nil {
		defer c.mu.Unlock()
		return c.dead
	}
	if c.idle == nil {
		c.idle = make(chan struct{})
	}
	idle := c.idle
	c.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-c.finished:
		return c.Err()
	case <-ctx.Done():
		c.mu.Lock()
		n := c.pending
		c.mu.Unlock()
		return fmt.Errorf("wait for %d messages to be acknowledged: %w", n, context.Cause(ctx))
	}
}

// Disconnect waits until everything accepted is acknowledged, or the context ends, and then ends the
// connection with a normal DISCONNECT: no Will is published. It returns when nothing of the client runs
// any more, with an error if messages were left unacknowledged; with a Store they are kept there.
//
// Like Close it must not be called from within a Handler, for whose end it waits.
func (c *Client) Disconnect(ctx context.Context) error {
	return c.DisconnectWith(ctx, codec.Disconnect{})
}

// DisconnectWith is Disconnect with a Reason Code and properties of version 5, such as a Session Expiry
// Interval of its own, or 0x04 for having the Will published. Before version 5 a reason of 0x04 closes
// the connection without DISCONNECT, which has the same effect.
func (c *Client) DisconnectWith(ctx context.Context, p codec.Disconnect) error {
	err := c.Flush(ctx)
	if errors.Is(err, ErrClosed) {
		<-c.finished
		return nil
	}
	c.end(ErrClosed, &p)
	<-c.finished
	return err
}

// Close ends the client without waiting for acknowledgements. DISCONNECT is sent if the connection takes
// it within a moment. Messages that wait in a Store are kept. Close returns when nothing of the client
// runs any more; it may be called again.
func (c *Client) Close() error {
	c.end(ErrClosed, &codec.Disconnect{})
	<-c.finished
	return nil
}

// end makes the client end for the given reason; the first one counts.
func (c *Client) end(reason error, p *codec.Disconnect) {
	c.mu.Lock()
	if c.dead == nil && !c.ending {
		c.ending = true
		c.lastErr = reason
	}
	l := c.link
	c.mu.Unlock()
	c.stopOnce.Do(func() { close(c.stop) })
	if l != nil {
		l.end(reason, p)
	}
}

// run carries connections one after the other until the client ends.
func (c *Client) run(l *link) {
	defer close(c.finished)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-c.stop
		cancel()
	}()
	var reason error
	for attempt := 0; ; {
		if l != nil {
			opened := time.Now()
			reason = c.serve(l)
			if time.Since(opened) >= c.cfg.Reconnect.Stable {
				attempt = 0 // a connection that dies young does not start the backoff anew
			}
		}
		if c.stopping() || fatal(reason) || l != nil && c.cfg.Reconnect.Off {
			break
		}
		if l != nil || attempt > 0 {
			if !c.sleep(c.cfg.Reconnect.delay(attempt)) {
				break
			}
		}
		attempt++
		var err error
		if l, err = c.dial(ctx); err != nil {
			reason = err
			c.note(err)
			if fatal(err) || c.cfg.Reconnect.Attempts > 0 && attempt >= c.cfg.Reconnect.Attempts {
				break
			}
		}
	}
	c.shut(reason)
	cancel()
	c.stopOnce.Do(func() { close(c.stop) })
	close(c.events.stop)
	c.running.Wait()
	if c.cfg.Store != nil {
		poke(c.files.wake)
		<-c.files.done
	}
}

// shut marks the client as ended and releases everybody who waits for something.
func (c *Client) shut(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		reason = c.lastErr
	}
	if reason == nil {
		reason = ErrClosed
	}
	c.ending, c.dead = true, reason
	lost := reason
	if c.cfg.Store != nil {
		lost = fmt.Errorf("the message is kept in the store: %w", reason)
	}
	for r := range c.ses.All() {
		if r.H != nil {
			r.H.tok.finish(0, lost)
		}
	}
	for c.queue.len() > 0 {
		c.queue.pop().tok.finish(0, lost)
	}
	for c.requests.len() > 0 {
		c.requests.pop().req.finish(nil, reason)
	}
	c.pending, c.bytes = 0, 0
	c.asking.fail(reason)
}

func (c *Client) stopping() bool {
	select {
	case <-c.stop:
		return true
	default:
		return false
	}
}

func (c *Client) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.stop:
		return false
	}
}

// note keeps why the client is offline, and tells.
func (c *Client) note(err error) {
	c.mu.Lock()
	c.stats.Failures++
	if !c.ending {
		c.lastErr = err
	}
	c.mu.Unlock()
	c.cfg.log("no connection", "error", err)
	c.tell(func() {
		if c.cfg.OnError != nil {
			c.cfg.OnError(err)
		}
	})
}

// now is the session's clock.
func (c *Client) now() session.Time { return session.Time(time.Since(c.start)) + 1 }

// poke wakes the owner of a channel of capacity 1.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// events are calls of the user's callbacks that wait for their turn. They run one after the other on a
// goroutine of their own, so that one that blocks stops nothing else.
type events struct {
	mu   sync.Mutex // guards list
	list []func()
	wake chan struct{}
	stop chan struct{} // closed when nothing more will be told
}

func (c *Client) tell(f func()) {
	c.events.mu.Lock()
	c.events.list = append(c.events.list, f)
	c.events.mu.Unlock()
	poke(c.events.wake)
}

func (c *Client) eventLoop() {
	for {
		c.events.mu.Lock()
		list := c.events.list
		c.events.list = nil
		c.events.mu.Unlock()
		for _, f := range list {
			f()
		}
		if len(list) > 0 {
			continue
		}
		select {
		case <-c.events.wake:
		case <-c.events.stop:
			c.events.mu.Lock()
			n := len(c.events.list)
			c.events.mu.Unlock()
			if n == 0 {
				return
			}
		}
	}
}

// Stats are counts since Connect, and the present state.
type Stats struct {
	Connected     bool   `json:"connected"`
	Connects      uint64 `json:"connects"`       // connections that the Server accepted
	Resumed       uint64 `json:"resumed"`        // of these, with the session still there
	Failures      uint64 `json:"failures"`       // attempts that failed
	Pending       int    `json:"pending"`        // messages accepted at QoS 1 and 2 and not acknowledged
	PendingBytes  int    `json:"pending_bytes"`  //
	Undelivered   int    `json:"undelivered"`    // messages received that wait for a handler
	Published     uint64 `json:"published"`      // messages acknowledged, at QoS 0 handed to the connection
	Received      uint64 `json:"received"`       // messages handed over to a handler or channel
	Unrouted      uint64 `json:"unrouted"`       // messages that no handler wanted
	Dropped       uint64 `json:"dropped"`        // messages of QoS 0 for which there was no room while acknowledgements were due
	Republished   uint64 `json:"republished"`    // messages sent anew because the Server had lost the session
	BytesSent     uint64 `json:"bytes_sent"`     //
	BytesReceived uint64 `json:"bytes_received"` //
}

// Stats returns a snapshot.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Connected = c.link != nil
	s.Pending, s.PendingBytes = c.pending, c.bytes
	s.Undelivered = c.inbox.len()
	if c.link != nil {
		s.BytesReceived += c.link.in.bytes.Load()
	}
	return s
}

// Target returns the address as it is shown to people, without credentials.
func (c *Client) Target() string { return transport.Redact(c.url) }
