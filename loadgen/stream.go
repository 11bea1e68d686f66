package loadgen

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/mqlab/mqlab/internal/transport"
)

const (
	streamChunk = 16 << 10
	streamFull  = 128 << 10 // unsent bytes from which nothing more is published
)

// stream is a connection that is not a socket of the worker's own: TLS, WebSocket, in-memory. One goroutine reads and
// hands the worker what came, another writes while there is something to write.
type stream struct {
	w    *worker
	c    *client
	gen  uint16
	stop context.CancelFunc
	took chan struct{} // the worker has taken a chunk
	done chan struct{} // closed by the worker

	mu      sync.Mutex // guards all below
	conn    net.Conn
	out     []byte
	writing bool
	blocked bool // the worker waits for out to drain
	closed  bool
}

var chunks = sync.Pool{New: func() any { return new([streamChunk]byte) }}

// openStream connects in the background.
func (w *worker) openStream(c *client) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(connectTimeout))
	s := &stream{w: w, c: c, gen: c.gen, stop: cancel, took: make(chan struct{}, 1), done: make(chan struct{})}
	c.io = s
	d := transport.Dialer{Timeout: -1, LocalAddr: w.p.sourceOf(c.number()), Mem: w.p.cfg.Network}
	cfg, err := c.g.tlsFor(int(c.index))
	if err != nil {
		cancel()
		w.broken(c, err)
		return
	}
	d.TLS = cfg
	url := c.g.url
	w.streams.Add(1)
	go func() {
		defer w.streams.Done()
		defer cancel()
		conn, err := d.Dial(ctx, url)
		if err != nil {
			var te *transport.Error
			if errors.As(err, &te) {
				err = errors.New(te.Why)
			}
			s.tell(func() { w.broken(c, err) })
			return
		}
		s.mu.Lock()
		s.conn = conn
		closed := s.closed
		s.mu.Unlock()
		if closed {
			conn.Close()
			return
		}
		s.tell(func() { w.opened(c) })
		s.readAll(conn)
	}()
}

// tell has the worker do something, unless the connection is not the client's any more.
func (s *stream) tell(f func()) bool {
	return s.w.box.put(func(w *worker) {
		if s.c.io == s {
			w.tick()
			f()
		}
	})
}

func (s *stream) readAll(conn net.Conn) {
	waiter, can := transport.WaiterFor(conn)
	for {
		if can {
			if err := waiter.WaitReadable(); err != nil {
				s.ended(err)
				return
			}
		}
		buf := chunks.Get().(*[streamChunk]byte)
		n, err := conn.Read(buf[:])
		if n > 0 {
			ok := s.w.box.put(func(w *worker) {
				if s.c.io == s {
					w.tick()
					w.receive(s.c, buf[:n])
				}
				s.took <- struct{}{}
			})
			if !ok {
				return
			}
			select {
			case <-s.took:
			case <-s.done:
				return // the chunk is left to the collector: the worker may still look at it
			}
		}
		chunks.Put(buf)
		if err != nil {
			s.ended(err)
			return
		}
	}
}

func (s *stream) ended(err error) {
	if errors.Is(err, io.EOF) {
		err = nil
	}
	s.tell(func() { s.w.broken(s.c, err) })
}

// write queues bytes. The worker calls it.
func (s *stream) write(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.out = append(s.out, b...)
	if !s.writing {
		s.writing = true
		s.w.streams.Add(1)
		go s.writeAll()
	}
}

func (s *stream) writeAll() {
	defer s.w.streams.Done()
	var b []byte
	for {
		s.mu.Lock()
		b, s.out = s.out, b[:0]
		conn, wake := s.conn, s.blocked
		s.blocked = false
		if len(b) == 0 {
			s.writing, s.out = false, nil
			closed := s.closed
			s.mu.Unlock()
			if closed {
				conn.Close()
			}
			return
		}
		s.mu.Unlock()
		if _, err := conn.Write(b); err != nil {
			// The reader finds out why.
			s.mu.Lock()
			s.out = nil
			s.mu.Unlock()
			b = nil
		}
		if wake {
			s.tell(func() { s.w.pump(s.c) })
		}
	}
}

// full says that more bytes wait than should; the worker is told when they have gone.
func (s *stream) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out) < streamFull {
		return false
	}
	s.blocked = true
	return true
}

// close ends the connection without waiting. What is queued is given a moment to go out.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	close(s.done)
	s.stop()
	switch {
	case s.conn == nil:
	case s.writing:
		_ = s.conn.SetWriteDeadline(time.Now().Add(250 * time.Millisecond))
	default:
		conn := s.conn
		s.w.streams.Add(1)
		go func() {
			defer s.w.streams.Done()
			conn.Close()
		}()
	}
}
