// Package broker is a complete MQTT 3.1, 3.1.1 and 5.0 Server that keeps everything in memory:
// the baseline that conformance, fuzzing and load tests run against, and a broker to embed in
// Go tests.
//
// Start from [New], [Broker.Listen] and [Config]; package brokertest wraps them for tests. The
// zero Config supports everything the standard allows and admits everybody. What a Config
// limits is announced in CONNACK and enforced.
//
// All methods are safe for concurrent use. Close ends every connection and returns when no
// goroutine of the Broker runs any more.
//
// Memory is bounded everywhere: see the bounds in Config. A Client that does not read costs a
// bounded buffer; publishers are held back for a bounded time before anything is dropped, and
// what is dropped is counted in [Stats] and under $SYS.
//
// Not done here: persistence across restarts, clustering, bridges.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/internal/topic"
	"github.com/mqlab/mqlab/internal/transport"
)

// ErrClosed reports use of a Broker after Close or Shutdown.
var ErrClosed = errors.New("the broker is closed")

// Broker is an MQTT Server. Make one by New.
type Broker struct {
	cfg     Config
	lim     limits
	invalid error // of the Config, reported by Listen
	log     *slog.Logger
	clock   Clock
	start   time.Time
	methods map[string]AuthMethod
	mem     *transport.Network

	subs     topic.Tree[*sess]
	retained retained
	sessions registry
	stats    counters
	pool     sync.Pool // of *scratch
	poison   bool      // overwrite frames that are done with; tests find what outlives its frame

	wg      sync.WaitGroup
	closing chan struct{}

	mu        sync.Mutex // guards all below
	closed    bool
	listeners map[*Listener]struct{}
	conns     map[*conn]struct{}
	sysTimer  Timer
}

// New makes a Broker. A Config that does not pass Validate makes one whose methods report that
// error.
func New(cfg Config) *Broker {
	b := &Broker{
		cfg:       cfg,
		lim:       cfg.limits(),
		invalid:   cfg.Validate(),
		log:       cfg.Logger,
		clock:     cfg.Clock,
		mem:       cfg.Mem,
		methods:   make(map[string]AuthMethod),
		closing:   make(chan struct{}),
		listeners: make(map[*Listener]struct{}),
		conns:     make(map[*conn]struct{}),
	}
	if b.invalid != nil {
		b.invalid = fmt.Errorf("broker configuration: %w", b.invalid)
	} else {
		for _, m := range cfg.AuthMethods {
			b.methods[m.Name()] = m
		}
	}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if b.clock == nil {
		b.clock = systemClock{}
	}
	if b.mem == nil {
		b.mem = &transport.Network{}
	}
	b.start = b.clock.Now()
	b.sessions.init()
	b.pool.New = func() any { return newScratch(b) }
	if cfg.SysInterval > 0 && b.invalid == nil {
		b.startSys()
	}
	return b
}

// now returns broker time: nanoseconds since the start, never 0.
func (b *Broker) now() session.Time {
	return 1 + session.Time(b.clock.Now().Sub(b.start))
}

// after calls f once d has passed, unless the Broker is closed by then.
func (b *Broker) after(d time.Duration, f func()) Timer {
	return b.clock.AfterFunc(d, func() {
		if b.enter() {
			defer b.wg.Done()
			f()
		}
	})
}

// enter counts a goroutine in, unless the Broker is closing.
func (b *Broker) enter() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.wg.Add(1)
	return true
}

// Listener is an address that a Broker listens on.
type Listener struct {
	l *transport.Listener
	b *Broker
}

// URL returns the address that reaches the listener, with the real port.
func (l *Listener) URL() string { return l.l.URL() }

// Addr returns the address of the socket.
func (l *Listener) Addr() net.Addr { return l.l.Addr() }

// Close stops listening. Connections that were accepted stay open.
func (l *Listener) Close() error {
	l.b.mu.Lock()
	delete(l.b.listeners, l)
	l.b.mu.Unlock()
	return l.l.Close()
}

// Listen serves an address: mqtt://host:port, mqtts, ws, wss, unix:///path or mem://name. Port
// 0 takes a free one.
func (b *Broker) Listen(url string) (*Listener, error) {
	if b.invalid != nil {
		return nil, b.invalid
	}
	cfg := transport.ListenConfig{
		Mem: b.mem,
		OnHandshakeError: func(remote net.Addr, err error) {
			b.stats.handshakes.Add(1)
			b.log.Info("handshake not completed", "remote", remote, "error", err)
		},
	}
	if cfg.TLS = b.cfg.TLSConfig; cfg.TLS == nil && b.cfg.TLS != nil {
		var err error
		if cfg.TLS, err = b.cfg.TLS.Server(); err != nil {
			return nil, err
		}
	}
	inner, err := transport.Listen(url, cfg)
	if err != nil {
		return nil, err
	}
	l := &Listener{l: inner, b: b}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		_ = inner.Close()
		return nil, ErrClosed
	}
	b.listeners[l] = struct{}{}
	b.wg.Add(1)
	b.mu.Unlock()
	go b.accept(inner)
	return l, nil
}

func (b *Broker) accept(l *transport.Listener) {
	defer b.wg.Done()
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// No file descriptors, most likely. Some will come back.
			b.log.Warn("accept", "error", err)
			pause := make(chan struct{})
			t := b.clock.AfterFunc(50*time.Millisecond, func() { close(pause) })
			select {
			case <-pause:
				continue
			case <-b.closing:
				t.Stop()
				return
			}
		}
		if b.enter() {
			go func() {
				defer b.wg.Done()
				b.serve(nc)
			}()
		} else {
			_ = nc.Close()
		}
	}
}

// ServeConn serves one connection and returns when it has ended. The Broker closes it.
func (b *Broker) ServeConn(nc net.Conn) error {
	if b.invalid != nil {
		_ = nc.Close()
		return b.invalid
	}
	if !b.enter() {
		_ = nc.Close()
		return ErrClosed
	}
	defer b.wg.Done()
	b.serve(nc)
	return nil
}

// Dial opens an in-memory connection to the Broker.
func (b *Broker) Dial() (net.Conn, error) {
	if b.invalid != nil {
		return nil, b.invalid
	}
	if !b.enter() {
		return nil, ErrClosed
	}
	client, server := transport.Pipe()
	go func() {
		defer b.wg.Done()
		b.serve(server)
	}()
	return client, nil
}

// Close disconnects every Client, in version 5 with Reason Code 0x8B (Server shutting down),
// and returns when nothing of the Broker runs any more. It may be called again.
func (b *Broker) Close() error {
	b.shutdown(codec.ServerShuttingDown, "")
	b.wg.Wait()
	return nil
}

// Shutdown stops accepting, tells version 5 Clients where to go (0x9C with ServerReference
// where one is configured, else 0x8B), and waits for all goroutines until ctx is done.
func (b *Broker) Shutdown(ctx context.Context) error {
	if ref := b.cfg.ServerReference; ref != "" {
		b.shutdown(codec.UseAnotherServer, ref)
	} else {
		b.shutdown(codec.ServerShuttingDown, "")
	}
	done := make(chan struct{})
	go func() {
		b.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		b.mu.Lock()
		for c := range b.conns {
			_ = c.nc.Close()
		}
		b.mu.Unlock()
		<-done
		return ctx.Err()
	}
}

func (b *Broker) shutdown(reason codec.ReasonCode, reference string) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.closed = true
	b.wg.Add(1) // so that flushing may start writers while another Close waits
	defer b.wg.Done()
	close(b.closing)
	listeners := make([]*Listener, 0, len(b.listeners))
	for l := range b.listeners {
		listeners = append(listeners, l)
	}
	conns := make([]*conn, 0, len(b.conns))
	for c := range b.conns {
		conns = append(conns, c)
	}
	if b.sysTimer != nil {
		b.sysTimer.Stop()
	}
	b.mu.Unlock()
	for _, l := range listeners {
		_ = l.l.Close()
	}
	for _, c := range conns {
		c.kickRef(reason, "the server is shutting down", reference)
	}
	b.sessions.stopTimers()
}

// register counts a connection in; false when the Broker is closing.
func (b *Broker) register(c *conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.conns[c] = struct{}{}
	return true
}

func (b *Broker) unregister(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, c)
}

// counters are the Broker's statistics. Batches add to them once.
type counters struct {
	received, receivedBytes, receivedMessages atomic.Uint64
	sent, sentBytes, sentMessages             atomic.Uint64
	droppedQoS0, refused, expired, tooLarge   atomic.Uint64
	slowConsumers, handshakes, denied         atomic.Uint64
	connects, connections, errors             atomic.Int64
}

// Stats is a snapshot of a Broker's statistics.
type Stats struct {
	Connections   int `json:"connections"`    // open, with CONNACK sent or not
	Sessions      int `json:"sessions"`       // connected or kept
	Subscriptions int `json:"subscriptions"`  //
	Retained      int `json:"retained"`       // messages
	RetainedBytes int `json:"retained_bytes"` // topics, payloads and properties
	// Counts since the start.
	Connects         uint64 `json:"connects"`          // accepted CONNECT packets
	PacketsReceived  uint64 `json:"packets_received"`  //
	PacketsSent      uint64 `json:"packets_sent"`      //
	BytesReceived    uint64 `json:"bytes_received"`    //
	BytesSent        uint64 `json:"bytes_sent"`        //
	MessagesReceived uint64 `json:"messages_received"` // PUBLISH packets from Clients
	MessagesSent     uint64 `json:"messages_sent"`     // PUBLISH packets to Clients
	DroppedQoS0      uint64 `json:"dropped_qos0"`      // QoS 0 copies for Clients that do not read
	Refused          uint64 `json:"refused"`           // QoS 1 and 2 copies for Sessions whose queue is full
	Expired          uint64 `json:"expired"`           // copies whose Message Expiry Interval passed
	TooLarge         uint64 `json:"too_large"`         // copies above a Client's Maximum Packet Size
	SlowConsumers    uint64 `json:"slow_consumers"`    // Clients disconnected because their queue stayed full
	Denied           uint64 `json:"denied"`            // PUBLISH and SUBSCRIBE requests refused by Authorize
	ProtocolErrors   uint64 `json:"protocol_errors"`   // connections closed for what the Client sent
}

// Stats returns the statistics. Counts of a batch in progress may be missing.
func (b *Broker) Stats() Stats {
	s := &b.stats
	n, size := b.retained.len()
	return Stats{
		Connections:      int(s.connections.Load()),
		Sessions:         b.sessions.len(),
		Subscriptions:    b.subs.Len(),
		Retained:         n,
		RetainedBytes:    int(size),
		Connects:         uint64(s.connects.Load()),
		PacketsReceived:  s.received.Load(),
		PacketsSent:      s.sent.Load(),
		BytesReceived:    s.receivedBytes.Load(),
		BytesSent:        s.sentBytes.Load(),
		MessagesReceived: s.receivedMessages.Load(),
		MessagesSent:     s.sentMessages.Load(),
		DroppedQoS0:      s.droppedQoS0.Load(),
		Refused:          s.refused.Load(),
		Expired:          s.expired.Load(),
		TooLarge:         s.tooLarge.Load(),
		SlowConsumers:    s.slowConsumers.Load(),
		Denied:           s.denied.Load(),
		ProtocolErrors:   uint64(s.errors.Load()),
	}
}
