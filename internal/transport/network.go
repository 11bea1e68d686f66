package transport

import (
	"context"
	"net"
	"strconv"
	"sync"
	"syscall"
)

// memBacklog is how many dialled connections wait for Accept before Dial waits too.
const memBacklog = 1024

// Network is a set of in-memory listeners by name. The zero value is ready. Dialer and ListenConfig that
// share one reach each other by mem://name addresses; separate Networks do not meet.
type Network struct {
	mu        sync.Mutex // guards all below
	listeners map[string]*memListener
	names     uint64
	conns     uint64
}

// Listen opens a listener under the name; an empty name is replaced by an unused one.
func (n *Network) Listen(name string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name == "" {
		n.names++
		if auto := "auto-" + strconv.FormatUint(n.names, 10); n.listeners[auto] == nil {
			name = auto
		}
	}
	if n.listeners[name] != nil {
		return nil, syscall.EADDRINUSE
	}
	l := &memListener{net: n, name: name}
	l.cond.L = &l.mu
	if n.listeners == nil {
		n.listeners = map[string]*memListener{}
	}
	n.listeners[name] = l
	return l, nil
}

// Dial connects to the listener of that name. It waits only while the listener's backlog is full.
func (n *Network) Dial(ctx context.Context, name string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	l := n.listeners[name]
	n.conns++
	id := n.conns
	n.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	p := newPipe(name, id)
	if err := l.enqueue(ctx, &p.b); err != nil {
		return nil, err
	}
	return &p.a, nil
}

type memListener struct {
	net    *Network
	name   string
	mu     sync.Mutex // guards all below
	cond   sync.Cond
	queue  []*pipeEnd
	closed bool
}

func (l *memListener) enqueue(ctx context.Context, c *pipeEnd) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= memBacklog {
		stop := context.AfterFunc(ctx, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.cond.Broadcast()
		})
		defer stop()
	}
	for {
		if l.closed {
			return syscall.ECONNREFUSED
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(l.queue) < memBacklog {
			break
		}
		l.cond.Wait()
	}
	l.queue = append(l.queue, c)
	l.cond.Broadcast()
	return nil
}

func (l *memListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.cond.Wait()
	}
	if l.closed {
		return nil, net.ErrClosed
	}
	c := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	if len(l.queue) == 0 {
		l.queue = nil
	}
	l.cond.Broadcast()
	return c, nil
}

// Close ends Accept and closes the connections that nobody accepted.
func (l *memListener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	left := l.queue
	l.queue = nil
	l.cond.Broadcast()
	l.mu.Unlock()
	for _, c := range left {
		c.Close()
	}
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	delete(l.net.listeners, l.name)
	return nil
}

func (l *memListener) Addr() net.Addr { return memAddr{name: l.name} }
