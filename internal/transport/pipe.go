package transport

import (
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// pipeLimit bounds what one direction of a pipe holds; a writer waits when it is full.
const pipeLimit = 64 << 10

// Pipe returns the two ends of an in-memory connection. Unlike net.Pipe it is buffered (64 KiB a
// direction), so two sides that write at the same time do not deadlock. Bytes written before a Close
// can still be read by the other side, which then sees io.EOF. It works inside a testing/synctest
// bubble. The ends also have CloseWrite.
func Pipe() (net.Conn, net.Conn) {
	p := newPipe("pipe", 0)
	return &p.a, &p.b
}

// pipe is both ends and both directions in one allocation.
type pipe struct {
	name   string
	id     uint64
	ab, ba half
	a, b   pipeEnd
}

func newPipe(name string, id uint64) *pipe {
	p := &pipe{name: name, id: id}
	p.ab.cond.L, p.ba.cond.L = &p.ab.mu, &p.ba.mu
	p.ab.p, p.ba.p = p, p
	p.a = pipeEnd{p: p, r: &p.ba, w: &p.ab}
	p.b = pipeEnd{p: p, r: &p.ab, w: &p.ba}
	return p
}

type pipeEnd struct {
	p    *pipe
	r, w *half
}

func (e *pipeEnd) Read(b []byte) (int, error)  { return e.r.read(b) }
func (e *pipeEnd) Write(b []byte) (int, error) { return e.w.write(b) }

// TryWrite writes as much as there is room for and does not wait.
func (e *pipeEnd) TryWrite(b []byte) (int, error) { return e.w.tryWrite(b) }

// WaitReadable blocks until a Read would not.
func (e *pipeEnd) WaitReadable() error { return e.r.wait() }

// Idle reports whether each end has read all that the other has written and waits for more.
func (e *pipeEnd) Idle() bool { return e.p.idle() }

// OnIdle has f called each time that the pipe becomes idle, by a goroutine that is about to wait for bytes. It is to be
// called before this end reads.
func (e *pipeEnd) OnIdle(f func()) {
	for _, h := range []*half{e.r, e.w} {
		h.mu.Lock()
		h.onIdle = f
		h.mu.Unlock()
	}
}

func (p *pipe) idle() bool { return p.ab.isStarved() && p.ba.isStarved() }

// Close never fails and may be called again.
func (e *pipeEnd) Close() error {
	e.w.closeWriter(true)
	e.r.closeReader()
	return nil
}

// CloseWrite ends the direction that this end writes: the other side reads io.EOF.
func (e *pipeEnd) CloseWrite() error {
	e.w.closeWriter(false)
	return nil
}

func (e *pipeEnd) LocalAddr() net.Addr  { return memAddr{e.p.name, e.p.id, e == &e.p.a} }
func (e *pipeEnd) RemoteAddr() net.Addr { return memAddr{e.p.name, e.p.id, e != &e.p.a} }

func (e *pipeEnd) SetDeadline(t time.Time) error {
	e.r.setDeadline(&e.r.readDead, t)
	e.w.setDeadline(&e.w.writeDead, t)
	return nil
}

func (e *pipeEnd) SetReadDeadline(t time.Time) error {
	e.r.setDeadline(&e.r.readDead, t)
	return nil
}

func (e *pipeEnd) SetWriteDeadline(t time.Time) error {
	e.w.setDeadline(&e.w.writeDead, t)
	return nil
}

// memAddr is the address of one end: the listener's name, or name#7 for the client of its seventh
// connection.
type memAddr struct {
	name   string
	id     uint64
	client bool
}

func (memAddr) Network() string { return SchemeMem }

func (a memAddr) String() string {
	if !a.client {
		return a.name
	}
	return a.name + "#" + strconv.FormatUint(a.id, 10)
}

// half is one direction: a ring buffer that exists only while it holds bytes. Waiting is by sync.Cond,
// also for a second writer, because a goroutine blocked on a mutex would stop a synctest bubble's clock.
type half struct {
	p                   *pipe
	mu                  sync.Mutex // guards all below
	cond                sync.Cond
	buf                 []byte // nil when empty; its length is a power of two
	head, n             int    // n bytes from head, wrapping around
	readDead, writeDead *deadline
	starved             bool // a reader waits and has not been given a byte since
	onIdle              func()
	writing             bool // a writer is inside, perhaps waiting for room
	readerClosed        bool // by the reading end
	writerClosed        bool // no more bytes will come
	writerGone          bool // the writing end was closed as a whole
}

type deadline struct {
	at      time.Time
	timer   *time.Timer
	expired bool
}

func (d *deadline) passed() bool { return d != nil && d.expired }

func (h *half) setDeadline(slot **deadline, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readerClosed || h.writerGone {
		return
	}
	d := *slot
	if d == nil {
		if t.IsZero() {
			return
		}
		d = &deadline{}
		*slot = d
	}
	d.at, d.expired = t, false
	if d.timer != nil {
		d.timer.Stop()
	}
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.expired = true
		h.cond.Broadcast()
		return
	}
	if d.timer != nil {
		d.timer.Reset(wait)
		return
	}
	d.timer = time.AfterFunc(wait, func() { h.expire(d) })
}

// expire is run by the timer. One that fired while the deadline was being moved must not end the later one.
func (h *half) expire(d *deadline) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !d.at.IsZero() && !time.Now().Before(d.at) {
		d.expired = true
		h.cond.Broadcast()
	}
}

// ready reports why a read need not wait: data or end (nil), or an error.
func (h *half) ready() (bool, error) {
	switch {
	case h.readerClosed:
		return true, net.ErrClosed
	case h.readDead.passed():
		return true, os.ErrDeadlineExceeded
	}
	return h.n > 0 || h.writerClosed, nil
}

func (h *half) wait() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		if ok, err := h.ready(); ok {
			h.starved = false
			return err
		}
		h.starve()
	}
}

// starve waits for whatever a reader waits for. It may return early.
func (h *half) starve() {
	if !h.starved {
		h.starved = true
		if f := h.onIdle; f != nil {
			h.mu.Unlock()
			if h.p.idle() {
				f()
			}
			h.mu.Lock()
			return
		}
	}
	h.cond.Wait()
}

func (h *half) isStarved() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.starved
}

func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		ok, err := h.ready()
		if err != nil {
			h.starved = false
			return 0, err
		}
		if ok || len(b) == 0 {
			break
		}
		h.starve()
	}
	h.starved = false
	if len(b) == 0 {
		return 0, nil
	}
	if h.n == 0 {
		return 0, io.EOF
	}
	n := min(len(b), h.n)
	first := copy(b[:n], h.buf[h.head:])
	copy(b[first:n], h.buf)
	h.head = (h.head + n) & (len(h.buf) - 1)
	h.n -= n
	if h.n == 0 {
		h.release()
	}
	if h.writing {
		h.cond.Broadcast()
	}
	return n, nil
}

// writable reports why a writer has to give up.
func (h *half) writable() error {
	switch {
	case h.writerClosed:
		return net.ErrClosed
	case h.readerClosed:
		return io.ErrClosedPipe
	case h.writeDead.passed():
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (h *half) write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.writing {
		if err := h.writable(); err != nil {
			return 0, err
		}
		h.cond.Wait()
	}
	h.writing = true
	defer h.endWrite()
	total := 0
	for {
		if err := h.writable(); err != nil {
			return total, err
		}
		if total == len(b) {
			return total, nil
		}
		if h.n == pipeLimit {
			h.cond.Wait()
			continue
		}
		total += h.put(b[total:])
	}
}

func (h *half) tryWrite(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writable(); err != nil {
		return 0, err
	}
	total := 0
	for !h.writing && total < len(b) && h.n < pipeLimit {
		total += h.put(b[total:])
	}
	return total, nil
}

func (h *half) endWrite() {
	h.writing = false
	h.cond.Broadcast()
}

// put takes in as much as fits and wakes the reader.
func (h *half) put(b []byte) int {
	if want := min(h.n+len(b), pipeLimit); want > len(h.buf) {
		h.grow(want)
	}
	n := min(len(b), len(h.buf)-h.n)
	tail := (h.head + h.n) & (len(h.buf) - 1)
	first := copy(h.buf[tail:], b[:n])
	copy(h.buf, b[first:n])
	h.n += n
	h.starved = false
	h.cond.Broadcast()
	return n
}

func (h *half) grow(want int) {
	bigger := getBuffer(want)
	first := copy(bigger, h.buf[h.head:min(h.head+h.n, len(h.buf))])
	copy(bigger[first:], h.buf[:h.n-first])
	n := h.n
	h.release()
	h.buf, h.n = bigger, n
}

func (h *half) release() {
	putBuffer(h.buf)
	h.buf, h.head, h.n = nil, 0, 0
}

// closeWriter ends the stream; whole says that the end is closed for good.
func (h *half) closeWriter(whole bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writerClosed = true
	h.writerGone = h.writerGone || whole
	if h.writeDead != nil && h.writeDead.timer != nil {
		h.writeDead.timer.Stop()
	}
	h.cond.Broadcast()
}

func (h *half) closeReader() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readerClosed = true
	if h.buf != nil {
		h.release()
	}
	if h.readDead != nil && h.readDead.timer != nil {
		h.readDead.timer.Stop()
	}
	h.cond.Broadcast()
}

// Buffers come in three sizes, so that a ping does not cost what a bulk transfer does. They are pooled
// because a direction gives its buffer back each time it is drained: without the pools each packet of
// a request-response exchange would allocate one (BenchmarkPipePingPong).
type (
	smallBuffer  [1 << 10]byte
	mediumBuffer [8 << 10]byte
	largeBuffer  [pipeLimit]byte
)

var (
	smallBuffers  = sync.Pool{New: func() any { return new(smallBuffer) }}
	mediumBuffers = sync.Pool{New: func() any { return new(mediumBuffer) }}
	largeBuffers  = sync.Pool{New: func() any { return new(largeBuffer) }}
)

func getBuffer(n int) []byte {
	switch {
	case n <= len(smallBuffer{}):
		return smallBuffers.Get().(*smallBuffer)[:]
	case n <= len(mediumBuffer{}):
		return mediumBuffers.Get().(*mediumBuffer)[:]
	}
	return largeBuffers.Get().(*largeBuffer)[:]
}

func putBuffer(b []byte) {
	switch len(b) {
	case len(smallBuffer{}):
		smallBuffers.Put((*smallBuffer)(b))
	case len(mediumBuffer{}):
		mediumBuffers.Put((*mediumBuffer)(b))
	case len(largeBuffer{}):
		largeBuffers.Put((*largeBuffer)(b))
	}
}
