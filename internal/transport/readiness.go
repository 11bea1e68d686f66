package transport

import (
	"net"
	"syscall"
)

// Readable is a connection that can be waited for without holding a buffer. WaitReadable returns nil
// when a Read finds bytes or the end of the stream, and an error when the connection was closed here or
// its read deadline has passed. Over WebSocket the bytes may turn out to be a control frame only, so that
// the Read after it waits. One goroutine reads and waits; neither allocates.
type Readable interface {
	WaitReadable() error
}

// WaiterFor returns how to wait for the connection: for TCP, Unix and in-memory connections, and for
// WebSocket over these. It is false for TLS, which holds decrypted bytes back, and where the operating
// system has no such call.
func WaiterFor(c net.Conn) (Readable, bool) {
	switch c := c.(type) {
	case *pipeEnd:
		return c, true
	case *WSConn:
		under, ok := WaiterFor(c.conn)
		if !ok {
			return nil, false
		}
		return wsWaiter{c, under}, true
	}
	rc, ok := RawConn(c)
	if !ok {
		return nil, false
	}
	return waitRaw(rc)
}

// TryWriter is a connection that can be written to without waiting. TryWrite writes as much as there is room for: less
// than all is no error.
type TryWriter interface {
	TryWrite(b []byte) (int, error)
}

// Idler is a connection that knows whether anything is under way on it. Idle reports whether each side has read all that
// the other has written and waits for more. OnIdle, to be called before anything is read, has f called each time that
// this becomes so, by a goroutine that f must not hold up. Connections in memory are of this kind.
type Idler interface {
	Idle() bool
	OnIdle(f func())
}

// RawConn returns the socket beneath a plain TCP or Unix connection. It is false where the stream is not
// the socket's own: WebSocket, TLS, in-memory.
func RawConn(c net.Conn) (syscall.RawConn, bool) {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn:
		rc, err := c.(syscall.Conn).SyscallConn()
		return rc, err == nil
	}
	return nil, false
}

type wsWaiter struct {
	c     *WSConn
	under Readable
}

func (w wsWaiter) WaitReadable() error {
	if w.c.buffered() {
		return nil
	}
	return w.under.WaitReadable()
}
