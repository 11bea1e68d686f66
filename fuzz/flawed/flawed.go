// Package flawed serves the baseline broker with a flaw in front of it that only a sequence of packets brings about: the
// bench on which the fuzzer is measured. Start from All and Serve; bench/ is the command that runs the fuzzer on each.
//
// It is for tests and that command alone: nothing of it is in mqlab.
package flawed

import (
	"errors"
	"net"
	"sync"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/fuzz"
)

// Flaw is one fault.
type Flaw struct {
	Name  string
	About string // what brings it about, and what happens then
	// Packets is the length of the shortest sequence that brings it about.
	Packets int
	// Oracles are those that may notice it, the best first.
	Oracles []fuzz.Oracle

	hooks func(*Server) hooks
}

// Lookup returns the flaw of the name.
func Lookup(name string) (Flaw, bool) {
	for _, f := range All() {
		if f.Name == name {
			return f, true
		}
	}
	return Flaw{}, false
}

// hooks is what a flaw does to the traffic. Each may be nil. They run on the goroutines of the connections, several at a
// time.
type hooks struct {
	// up sees each packet of a client; p is nil where it cannot be decoded. What it returns is passed on.
	up func(l *link, p codec.Packet, frame []byte) []byte
	// down sees each packet of the broker.
	down func(l *link, p codec.Packet, frame []byte) []byte
	// left is told that the client has gone. Where it returns true its socket is never closed.
	left func(l *link) bool
}

// Server serves a broker with a flaw.
type Server struct {
	b *broker.Broker
	l net.Listener
	h hooks

	mu    sync.Mutex // guards the fields below
	links map[*link]bool
	done  bool
	wg    sync.WaitGroup
}

// link is one connection of a client, and the one to the broker behind it.
type link struct {
	s              *Server
	client, broker net.Conn
	version        codec.Version
	id             string // Client Identifier
	connects       int    // CONNECT packets seen

	mu    sync.Mutex // guards writes to the client, and notes
	notes map[string]int
}

// Serve serves the flaw on the listener until Close.
func Serve(l net.Listener, f Flaw) *Server {
	s := &Server{b: broker.New(broker.Config{}), l: l, links: map[*link]bool{}}
	s.h = f.hooks(s)
	s.wg.Go(s.accept)
	return s
}

// Close ends all that the flaw has left alive. A deadlock is a deadlock: then Close does not return.
func (s *Server) Close() error {
	s.mu.Lock()
	s.done = true
	for l := range s.links {
		_ = l.client.Close()
		_ = l.broker.Close()
	}
	s.mu.Unlock()
	_ = s.l.Close()
	err := s.b.Close()
	s.wg.Wait()
	return err
}

func (s *Server) accept() {
	for {
		nc, err := s.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		up, err := s.b.Dial()
		if err != nil {
			_ = nc.Close()
			return
		}
		l := &link{s: s, client: nc, broker: up, version: codec.V4, notes: map[string]int{}}
		s.mu.Lock()
		if s.done {
			_, _ = nc.Close(), up.Close()
			s.mu.Unlock()
			return
		}
		s.links[l] = true
		s.mu.Unlock()
		s.wg.Go(l.run)
	}
}

// run carries packets both ways until one side ends.
func (l *link) run() {
	down := make(chan struct{})
	go func() {
		defer close(down)
		l.carry(l.broker, codec.Server, l.s.h.down, l.toClient)
		// The rest of the client's packets go nowhere, as with a broker that has closed.
		l.finish()
	}()
	l.carry(l.client, codec.Client, l.s.h.up, func(b []byte) error { _, err := l.broker.Write(b); return err })
	keep := l.s.h.left != nil && l.s.h.left(l)
	_ = l.broker.Close()
	<-down
	if !keep {
		_ = l.client.Close()
		l.s.mu.Lock()
		delete(l.s.links, l)
		l.s.mu.Unlock()
	}
}

// finish tells the client that the broker has closed, and lets what it still sends run dry.
func (l *link) finish() {
	if c, ok := l.client.(interface{ CloseWrite() error }); ok && l.s.h.left != nil {
		_ = c.CloseWrite()
		return
	}
	_ = l.client.Close()
}

func (l *link) toClient(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.client.Write(b)
	return err
}

// note counts an event of the connection and returns how often it was there.
func (l *link) note(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes[what]++
	return l.notes[what]
}

func (l *link) noted(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.notes[what]
}

func (l *link) forget(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.notes, what)
}

// carry cuts what one side sends into packets, shows them to the hook, and passes on what that returns. What cannot be
// cut is passed on as it is.
func (l *link) carry(from net.Conn, side codec.Side, hook func(*link, codec.Packet, []byte) []byte, to func([]byte) error) {
	var (
		buf []byte
		out []byte
		raw bool
		tmp = make([]byte, 16<<10)
		dec = codec.Decoder{From: side}
	)
	for {
		n, err := from.Read(tmp)
		buf = append(buf, tmp[:n]...)
		out = out[:0]
		for !raw && len(buf) > 0 {
			frame, rest, cerr := codec.Cut(buf, 0)
			if cerr != nil {
				raw = true
				break
			}
			if frame == nil {
				break
			}
			out = append(out, l.look(&dec, frame, side, hook)...)
			buf = rest
		}
		if raw {
			out, buf = append(out, buf...), nil
		}
		if len(buf) == 0 {
			buf = nil
		}
		if len(out) > 0 && to(out) != nil {
			return
		}
		if err != nil {
			if len(buf) > 0 {
				_ = to(buf) // half a packet
			}
			return
		}
	}
}

func (l *link) look(dec *codec.Decoder, frame []byte, side codec.Side, hook func(*link, codec.Packet, []byte) []byte) []byte {
	if side == codec.Server {
		dec.Version = l.version
	}
	p, err := dec.Decode(frame)
	if err != nil {
		p = nil
	}
	if c, ok := p.(*codec.Connect); ok {
		l.mu.Lock()
		if l.connects++; l.connects == 1 {
			l.version, l.id = c.Version, string(append([]byte(nil), c.ClientID...))
		}
		l.mu.Unlock()
	}
	if hook == nil {
		return frame
	}
	return hook(l, p, frame)
}

// encode returns a packet in the version of the connection.
func (l *link) encode(p codec.Packet) []byte {
	b, err := p.AppendTo(nil, l.version)
	if err != nil {
		panic(err) // a fault of the flaw
	}
	return b
}
