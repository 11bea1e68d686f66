package mutant

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

// WSHooks is what a mutant does to WebSocket. The zero value follows the rules.
type WSHooks struct {
	// Subprotocol chooses from what the client offers, "" for none. nil chooses mqtt.
	Subprotocol func(offered []string) string
	// TakeText serves text frames like binary ones.
	TakeText bool
	// WholePackets loses what does not begin and end with its frame.
	WholePackets bool
	// CloseCode is sent when a text frame ends the connection; 0 sends no close frame.
	CloseCode uint16
	// Out makes frames of bytes for the client. nil makes one binary frame.
	Out func(b []byte) []transport.Frame
}

var webSocketMutants = []Mutant{{
	Name: "websocket/text-frames-served", Versions: both, Rule: "MQTT-6.0.0-1",
	New: harmless, WS: &WSHooks{TakeText: true},
}, {
	Name: "websocket/text-frames-sent", Versions: both, Rule: "MQTT-6.0.0-1",
	New: harmless, WS: &WSHooks{Out: func(b []byte) []transport.Frame {
		return []transport.Frame{{Opcode: transport.OpText, Fin: true, Payload: b}}
	}},
}, {
	Name: "websocket/text-frame-answered-by-close-1003", Versions: both, Legal: "any close code may come first, or none",
	New: harmless, WS: &WSHooks{CloseCode: transport.CloseUnsupported},
}, {
	Name: "websocket/frames-taken-for-packets", Versions: both, Rule: "MQTT-6.0.0-2",
	New: harmless, WS: &WSHooks{WholePackets: true},
}, {
	Name: "websocket/frames-of-one-byte", Versions: both, Legal: "a server may split its packets over frames",
	New: harmless, WS: &WSHooks{Out: func(b []byte) []transport.Frame {
		var out []transport.Frame
		for i := range b {
			out = append(out, transport.Frame{Opcode: transport.OpBinary, Fin: true, Payload: b[i : i+1]})
		}
		return out
	}},
}, {
	Name: "websocket/fragmented-messages", Versions: both, Legal: "a server may fragment its messages",
	New: harmless, WS: &WSHooks{Out: func(b []byte) []transport.Frame {
		return []transport.Frame{{Opcode: transport.OpBinary, Payload: b[:1]}, {Opcode: transport.OpContinuation, Fin: true, Payload: b[1:]}}
	}},
}, {
	Name: "websocket/ping-frames", Versions: both, Legal: "control frames are no data frames",
	New: harmless, WS: &WSHooks{Out: func(b []byte) []transport.Frame {
		return []transport.Frame{{Opcode: transport.OpPing, Fin: true, Payload: []byte("still there?")}, {Opcode: transport.OpBinary, Fin: true, Payload: b}}
	}},
}, {
	Name: "websocket/no-subprotocol", Versions: both, Rule: "MQTT-6.0.0-4",
	New: harmless, WS: &WSHooks{Subprotocol: func([]string) string { return "" }},
}, {
	Name: "websocket/other-subprotocol", Versions: both, Rule: "MQTT-6.0.0-4",
	New: harmless, WS: &WSHooks{Subprotocol: func([]string) string { return "mqttv3.1" }},
}, {
	Name: "websocket/first-subprotocol", Versions: mqtt311, Rule: "MQTT-6.0.0-4",
	New: harmless, WS: &WSHooks{Subprotocol: func(offered []string) string {
		if len(offered) == 0 {
			return ""
		}
		return offered[0]
	}},
}}

// harmless is for mutants that leave the packets alone.
func harmless() *Hooks { return &Hooks{} }

// WSServer offers over WebSocket what an upstream serves as a byte stream, in the way that its
// hooks say. Close ends everything and waits.
type WSServer struct {
	hooks    *WSHooks
	upstream func(context.Context) (net.Conn, error)
	listener *transport.Listener

	mu     sync.Mutex // guards the fields below
	conns  []net.Conn
	closed bool

	wg sync.WaitGroup
}

// ServeWS listens on a loopback port.
func ServeWS(upstream func(context.Context) (net.Conn, error), h *WSHooks) (*WSServer, error) {
	l, err := transport.Listen("ws://127.0.0.1:0/mqtt", transport.ListenConfig{Subprotocol: h.Subprotocol})
	if err != nil {
		return nil, fmt.Errorf("listen for WebSocket: %w", err)
	}
	s := &WSServer{hooks: h, upstream: upstream, listener: l}
	s.wg.Go(s.accept)
	return s, nil
}

// URL returns the address to connect to.
func (s *WSServer) URL() string { return s.listener.URL() }

// Close ends every connection and waits until nothing of the server runs.
func (s *WSServer) Close() {
	_ = s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *WSServer) accept() {
	for {
		nc, err := s.listener.Accept()
		if err != nil {
			return
		}
		client := nc.(*transport.WSConn)
		server, err := s.upstream(context.Background())
		if err != nil || !s.keep(client.NetConn(), server) {
			_ = client.NetConn().Close()
			continue
		}
		s.wg.Go(func() {
			s.up(client, server)
			_ = server.Close()
		})
		s.wg.Go(func() {
			s.down(client, server)
			_ = client.NetConn().Close()
		})
	}
}

// keep notes connections for Close to end, and reports false where that has been.
func (s *WSServer) keep(conns ...net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	s.conns = append(s.conns, conns...)
	return true
}

// up passes the client's data frames on until one ends the connection.
func (s *WSServer) up(client *transport.WSConn, server net.Conn) {
	for {
		f, err := client.ReadFrame()
		if err != nil {
			return
		}
		switch f.Opcode {
		case transport.OpClose:
			return
		case transport.OpPing:
			_ = client.WriteFrame(transport.Frame{Opcode: transport.OpPong, Fin: true, Payload: f.Payload})
		case transport.OpText:
			if !s.hooks.TakeText {
				if code := s.hooks.CloseCode; code != 0 {
					_ = client.WriteFrame(transport.Frame{Opcode: transport.OpClose, Fin: true, Payload: []byte{byte(code >> 8), byte(code)}})
				}
				return
			}
			fallthrough
		case transport.OpBinary, transport.OpContinuation:
			if s.hooks.WholePackets {
				f.Payload = wholePackets(f.Payload)
			}
			if _, err := server.Write(f.Payload); err != nil {
				return
			}
		}
	}
}

// down passes what the server sends on.
func (s *WSServer) down(client *transport.WSConn, server net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := server.Read(buf)
		if n > 0 {
			frames := []transport.Frame{{Opcode: transport.OpBinary, Fin: true, Payload: buf[:n]}}
			if s.hooks.Out != nil {
				frames = s.hooks.Out(buf[:n])
			}
			for _, f := range frames {
				if client.WriteFrame(f) != nil {
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// wholePackets returns the packets that b begins with, without what is left of another.
func wholePackets(b []byte) []byte {
	rest := b
	for len(rest) > 0 {
		frame, behind, err := codec.Cut(rest, codec.MaxPacketSize)
		if err != nil || frame == nil {
			break
		}
		rest = behind
	}
	return b[:len(b)-len(rest)]
}
