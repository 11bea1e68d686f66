package broker

import (
	"sync"
	"time"
)

// outbuf is what waits for the socket of one connection: encoded bytes in pooled chunks.
// Whoever appends marks the connection once per batch and flushes it at the batch's end; one
// goroutine at a time writes, without the lock.
type outbuf struct {
	mu      sync.Mutex // guards all below
	chunks  [][]byte   // appended, not yet taken by a writer
	writing [][]byte   // owned by the goroutine that set busy
	size    int        // bytes in chunks and writing
	busy    bool       // somebody writes
	marked  bool       // somebody's batch will flush
	closing bool       // nothing more may be appended
	failed  bool       // the socket does not take bytes any more
	stalled int64      // since when the buffer is full, broker time; 0: it is not
	room    chan struct{}
	idle    chan struct{} // closed when a writer ends
}

// Chunk sizes. A ping costs the small one; a connection that streams settles on the large one.
const (
	smallChunk  = 512
	mediumChunk = 8 << 10
	largeChunk  = 64 << 10
)

var (
	smallChunks  = sync.Pool{New: func() any { return new([smallChunk]byte) }}
	mediumChunks = sync.Pool{New: func() any { return new([mediumChunk]byte) }}
	largeChunks  = sync.Pool{New: func() any { return new([largeChunk]byte) }}
)

func newChunk(n, have int) []byte {
	switch {
	case n <= smallChunk && have == 0:
		return smallChunks.Get().(*[smallChunk]byte)[:0]
	case n <= mediumChunk && have <= mediumChunk:
		return mediumChunks.Get().(*[mediumChunk]byte)[:0]
	case n <= largeChunk:
		return largeChunks.Get().(*[largeChunk]byte)[:0]
	}
	return make([]byte, 0, n)
}

func freeChunk(b []byte) {
	b = b[:cap(b)]
	switch len(b) {
	case smallChunk:
		smallChunks.Put((*[smallChunk]byte)(b))
	case mediumChunk:
		mediumChunks.Put((*[mediumChunk]byte)(b))
	case largeChunk:
		largeChunks.Put((*[largeChunk]byte)(b))
	}
}

// space returns n bytes at the end of the buffer for the caller to fill, all of them. The
// caller holds mu and has checked that the buffer is not closing.
func (o *outbuf) space(n int) []byte {
	o.size += n
	if k := len(o.chunks); k > 0 {
		if last := o.chunks[k-1]; cap(last)-len(last) >= n {
			o.chunks[k-1] = last[:len(last)+n]
			return last[len(last) : len(last)+n]
		}
	}
	b := newChunk(n, o.size-n)[:n]
	o.chunks = append(o.chunks, b)
	return b
}

// take moves what was appended to writing and returns it; empty means that nothing is left
// and the buffer is no longer busy. mu is held.
func (o *outbuf) take() [][]byte {
	if len(o.chunks) == 0 {
		o.busy = false
		if cap(o.chunks) > 4 {
			o.chunks, o.writing = nil, nil
		}
		if o.idle != nil {
			close(o.idle)
			o.idle = nil
		}
		return nil
	}
	o.chunks, o.writing = o.writing[:0], o.chunks
	return o.writing
}

// wrote counts n bytes as gone and wakes those who wait for room. mu is held.
func (o *outbuf) wrote(n, limit int) {
	o.size -= n
	if o.size <= limit/2 {
		o.stalled = 0
		if o.room != nil {
			close(o.room)
			o.room = nil
		}
	}
}

// shut forbids further appending and wakes those who wait for room. mu is held.
func (o *outbuf) shut() {
	o.closing = true
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// fail drops everything: the socket is gone. mu is held.
func (o *outbuf) fail() {
	o.failed = true
	for _, b := range o.chunks {
		freeChunk(b)
	}
	o.chunks, o.size = nil, 0
	o.shut()
}

// changed returns a channel that is closed once there is room or the buffer failed. mu is held.
func (o *outbuf) changed() <-chan struct{} {
	if o.room == nil {
		o.room = make(chan struct{})
	}
	return o.room
}

// flush writes what the connection's buffer holds, as far as the socket takes it at once. The
// rest is left to a writer that is started for it and ends when the buffer is empty.
func (c *conn) flush() {
	o := &c.out
	o.mu.Lock()
	o.marked = false
	if o.busy || len(o.chunks) == 0 {
		o.mu.Unlock()
		return
	}
	o.busy = true
	o.mu.Unlock()
	if (c.raw.ok() || c.try != nil) && c.drain(false) {
		return
	}
	c.b.wg.Add(1) // the caller is counted itself, so the counter is not zero here
	go func() {
		defer c.b.wg.Done()
		c.drain(true)
	}()
}

// drainRounds bounds the inline writing of one flush: other publishers may go on appending.
const drainRounds = 4

// drain writes until the buffer is empty. Without wait it gives up, reporting false, when the
// socket would block or others keep on appending. The caller has set busy.
func (c *conn) drain(wait bool) bool {
	o := &c.out
	for round := 0; ; round++ {
		o.mu.Lock()
		if len(o.writing) == 0 && len(o.take()) == 0 {
			o.mu.Unlock()
			return true
		}
		if o.failed {
			for _, b := range o.writing {
				freeChunk(b)
			}
			o.writing = nil
			o.mu.Unlock()
			continue
		}
		list := o.writing
		o.mu.Unlock()
		if !wait && round == drainRounds {
			return false
		}
		n, k, blocked, err := c.writeChunks(list, wait)
		o.mu.Lock()
		if err != nil {
			for _, b := range list[k:] {
				freeChunk(b)
			}
			o.writing = nil
			o.fail()
			o.mu.Unlock()
			c.wake()
			continue
		}
		rest := copy(list, list[k:])
		clear(list[rest:])
		o.writing = list[:rest]
		o.wrote(n, c.b.lim.outBytes)
		pump := c.pumpWanted && o.size <= c.b.lim.outBytes/2
		if pump {
			c.pumpWanted = false
		}
		o.mu.Unlock()
		if pump {
			c.b.pump(c)
		}
		if blocked {
			return false
		}
	}
}

// writeChunks writes a list of chunks. It frees the k whole ones that are gone and cuts what
// is gone off the next.
func (c *conn) writeChunks(list [][]byte, wait bool) (n, k int, blocked bool, err error) {
	for k < len(list) {
		var m int
		switch {
		case wait:
			m, err = c.nc.Write(list[k])
		case c.try != nil:
			m, err = c.try.TryWrite(list[k])
			blocked = err == nil && m < len(list[k])
		default:
			m, blocked, err = c.raw.write(list[k])
		}
		n += m
		if m < len(list[k]) {
			// The chunk keeps its place in the array it was cut from: it is not pooled again.
			list[k] = list[k][m:]
			return n, k, blocked, err
		}
		freeChunk(list[k])
		k++
	}
	return n, k, false, nil
}

// finish lets what is buffered leave, for at most the time given, and forbids more.
func (c *conn) finish(limit time.Duration) {
	o := &c.out
	o.mu.Lock()
	o.shut()
	busy := o.busy || len(o.chunks) > 0
	o.mu.Unlock()
	if !busy {
		return
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(limit))
	c.flush()
	o.mu.Lock()
	if !o.busy {
		o.mu.Unlock()
		return
	}
	if o.idle == nil {
		o.idle = make(chan struct{})
	}
	idle := o.idle
	o.mu.Unlock()
	<-idle
}
