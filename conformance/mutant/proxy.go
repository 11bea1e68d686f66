package mutant

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/internal/transport"
)

// Proxy stands between the suite and a broker and lets the hooks of one mutant loose on all of
// its connections. Dial opens a connection through it; Close ends everything and waits.
type Proxy struct {
	upstream func(context.Context) (net.Conn, error)
	hooks    *Hooks

	mu     sync.Mutex // serialises hooks; guards the fields below and those of every Link
	links  []*Link
	timers []*time.Timer
	closed bool

	wg sync.WaitGroup
}

// NewProxy returns a proxy in front of what upstream opens.
func NewProxy(upstream func(context.Context) (net.Conn, error), h *Hooks) *Proxy {
	return &Proxy{upstream: upstream, hooks: h}
}

// Link is one connection through the proxy. Its fields and methods are for hooks only.
type Link struct {
	Proxy   *Proxy
	Number  int            // 1 for the first connection of the proxy
	Connect *codec.Connect // the client's CONNECT, nil before it came or where it is not readable
	Version codec.Version
	Held    bool           // the broker has gone, the client has not
	State   map[string]any // for the mutant

	up, down *flow // towards the broker, towards the client
}

// Packet is one packet on its way. Raw is what will be passed on; empty Raw drops it.
type Packet struct {
	Raw    []byte
	Packet codec.Packet // as it was read; nil where the bytes are no packet
}

// Drop keeps the packet from being passed on.
func (p *Packet) Drop() { p.Raw = nil }

// Set passes other bytes on instead.
func (p *Packet) Set(raw ...byte) { p.Raw = raw }

// Encode passes a legal packet on instead.
func (p *Packet) Encode(q codec.Packet, v codec.Version) { p.Raw = encode(q, v) }

func encode(q codec.Packet, v codec.Version) []byte {
	b, err := q.AppendTo(nil, v)
	if err != nil {
		panic("mutant: a hook encodes a packet that is not legal: " + err.Error())
	}
	return b
}

// ToClient sends bytes to the client.
func (l *Link) ToClient(raw ...byte) { l.down.write(raw) }

// ToBroker sends bytes to the broker.
func (l *Link) ToBroker(raw ...byte) { l.up.write(raw) }

// PacketToClient sends a legal packet to the client.
func (l *Link) PacketToClient(q codec.Packet) { l.down.write(encode(q, l.Version)) }

// PacketToBroker sends a legal packet to the broker.
func (l *Link) PacketToBroker(q codec.Packet) { l.up.write(encode(q, l.Version)) }

// CloseClient ends the client's connection once what was sent to it has gone out.
func (l *Link) CloseClient() { l.down.finish() }

// CloseBroker ends the broker's connection once what was sent to it has gone out.
func (l *Link) CloseBroker() { l.up.finish() }

// After runs f like a hook once d has passed, unless the proxy is closed first.
func (l *Link) After(d time.Duration, f func()) {
	p := l.Proxy
	p.wg.Add(1)
	p.timers = append(p.timers, time.AfterFunc(d, func() {
		defer p.wg.Done()
		p.mu.Lock()
		defer p.mu.Unlock()
		if !p.closed {
			f()
		}
	}))
}

// shortDelay is how late a legal mutant acts: noticeable, and far below every deadline.
const shortDelay = 150 * time.Millisecond

// Links returns every connection of the proxy, the ended ones included.
func (p *Proxy) Links() []*Link { return p.links }

// ByClientID returns the latest connection whose CONNECT carried the Client Identifier, or nil.
func (p *Proxy) ByClientID(id string) *Link {
	for i := len(p.links) - 1; i >= 0; i-- {
		if c := p.links[i].Connect; c != nil && c.ClientID == id {
			return p.links[i]
		}
	}
	return nil
}

// Detour opens a client of the proxy's own at the broker, past all hooks. Whoever opens it
// closes it.
func (p *Proxy) Detour(connect *codec.Connect) (*peer.Conn, error) {
	nc, err := p.upstream(context.Background())
	if err != nil {
		return nil, err
	}
	c := peer.New(nc, peer.Config{Name: "detour", Version: connect.Version, AutoAck: true})
	if err := c.Send(connect); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Dial opens a connection through the proxy.
func (p *Proxy) Dial(ctx context.Context) (net.Conn, error) {
	server, err := p.upstream(ctx)
	if err != nil {
		return nil, err
	}
	client, inner := transport.Pipe()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_, _, _ = client.Close(), inner.Close(), server.Close()
		return nil, net.ErrClosed
	}
	l := &Link{Proxy: p, Number: len(p.links) + 1, Version: codec.V4, State: map[string]any{}}
	l.up, l.down = newFlow(server), newFlow(inner)
	p.links = append(p.links, l)
	p.wg.Add(4)
	for _, f := range []*flow{l.up, l.down} {
		go func() {
			defer p.wg.Done()
			f.run()
		}()
	}
	go func() {
		defer p.wg.Done()
		p.pump(inner, codec.Client, l)
	}()
	go func() {
		defer p.wg.Done()
		p.pump(server, codec.Server, l)
	}()
	return client, nil
}

// Close ends every connection and waits until nothing of the proxy runs.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	for _, l := range p.links {
		l.up.abort()
		l.down.abort()
	}
	for _, t := range p.timers {
		if t.Stop() {
			p.wg.Done()
		}
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// pump reads one side of a link packet by packet, lets the hook see each, and passes it on.
// Once bytes cannot be cut into packets, everything that follows is passed as it comes.
func (p *Proxy) pump(from net.Conn, side codec.Side, l *Link) {
	var buf []byte
	chunk := make([]byte, 1024)
	uncut := false
	for {
		n, err := from.Read(chunk)
		buf = append(buf, chunk[:n]...)
		for len(buf) > 0 {
			frame, rest, cutErr := buf, buf[len(buf):], error(nil)
			if !uncut {
				frame, rest, cutErr = codec.Cut(buf, codec.MaxPacketSize)
			}
			if cutErr != nil {
				uncut = true
				continue
			}
			if frame == nil {
				break
			}
			p.pass(side, l, append([]byte(nil), frame...))
			buf = append(buf[:0], rest...)
		}
		if err != nil {
			p.end(side, l)
			return
		}
	}
}

func (p *Proxy) pass(side codec.Side, l *Link, frame []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	out, hook := l.up, p.hooks.Up
	if side == codec.Server {
		out, hook = l.down, p.hooks.Down
	}
	pkt := &Packet{Raw: frame}
	opening := side == codec.Client && l.Connect == nil
	if hook != nil || opening { // otherwise nobody looks into it
		d := codec.Decoder{Version: l.Version, From: side, Mode: codec.Lenient}
		if opening {
			d.Version = 0
		}
		if q, _ := d.Decode(frame); q != nil {
			pkt.Packet = codec.Clone(q)
		}
	}
	if c, ok := pkt.Packet.(*codec.Connect); ok && opening {
		l.Connect = c
		if c.Version != 0 {
			l.Version = c.Version
		}
	}
	if hook != nil {
		hook(l, pkt)
	}
	if len(pkt.Raw) == 0 {
		return
	}
	if side == codec.Client && l.Held {
		if pkt.Raw[0]>>4 == byte(codec.TypePingreq) {
			l.ToClient(0xD0, 0)
		}
		return
	}
	out.write(pkt.Raw)
}

// end passes the end of one side on to the other, unless the hooks keep it.
func (p *Proxy) end(side codec.Side, l *Link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if side == codec.Server {
		l.up.abort()
		if !p.closed && p.hooks.Gone != nil && p.hooks.Gone(l) {
			l.Held = true
			return
		}
		l.down.finish()
		return
	}
	l.down.abort()
	if !p.closed && p.hooks.Left != nil && p.hooks.Left(l) {
		return
	}
	l.up.finish()
}

// flow writes to one connection from a queue of its own, so that hooks never block.
type flow struct {
	nc net.Conn

	mu    sync.Mutex // guards the fields below
	queue []byte
	done  bool
	wake  chan struct{} // capacity 1
}

func newFlow(nc net.Conn) *flow { return &flow{nc: nc, wake: make(chan struct{}, 1)} }

func (f *flow) write(b []byte) {
	f.mu.Lock()
	if !f.done {
		f.queue = append(f.queue, b...)
	}
	f.mu.Unlock()
	f.poke()
}

// finish closes the connection after what is queued has gone out.
func (f *flow) finish() {
	f.mu.Lock()
	f.done = true
	f.mu.Unlock()
	f.poke()
}

// abort closes the connection at once.
func (f *flow) abort() {
	f.finish()
	_ = f.nc.Close()
}

func (f *flow) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *flow) run() {
	for range f.wake {
		f.mu.Lock()
		b, done := f.queue, f.done
		f.queue = nil
		f.mu.Unlock()
		if len(b) > 0 {
			if _, err := f.nc.Write(b); err != nil {
				// The reading side of the same connection reports its end.
				b = nil
			}
		}
		if done {
			_ = f.nc.Close()
			return
		}
	}
}
