package transport

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gobwas/ws"
)

// closeGrace bounds how long Close waits to get a close frame out to a peer that does not read.
const closeGrace = 250 * time.Millisecond

// errCloseSent is what Write returns after the closing handshake began.
var errCloseSent = errors.New("WebSocket: no data may follow a close frame")

// WSConn is a WebSocket connection that carries MQTT as a byte stream: one Write is one binary frame,
// Read joins whatever frames arrive [MQTT-6.0.0-2]. Pings and close frames are answered while somebody
// reads. All methods may be called concurrently, and a deadline that passes in the middle of a frame
// loses nothing. It holds no buffer while idle.
//
// ReadFrame and WriteFrame give access to single frames instead; a connection is read either way, not both.
type WSConn struct {
	conn     net.Conn
	client   bool
	protocol string
	header   http.Header

	rmu    sync.Mutex // serialises readers, guards the next four
	pre    []byte     // bytes that came right behind the handshake
	parser frameParser
	rerr   error // ends all reading
	frame  *partialFrame

	// wlock is held by whoever writes. It is a channel because waiting on a mutex would stop the clock of
	// a synctest bubble. It guards the fields up to cmu.
	wlock     chan struct{}
	out       []byte // rest of a header or control frame; goes before anything else
	wleft     uint64 // payload bytes that the last data frame still owes
	wmask     [4]byte
	wpos      int
	closeSent bool

	cmu        sync.Mutex // guards all below and calls of conn.SetWriteDeadline
	pong       []byte     // body of a pong to send
	pongDue    bool
	closing    []byte // body of a close frame to send
	closeDue   bool   // it waits to be sent
	closeBegun bool   // it was sent or waits
	flushing   bool   // a goroutine is sending these
	closed     bool
	closeDone  chan struct{} // made by the first Close, closed when it is through
	closeErr   error         // what that one returned
	closeCode  int
	closeText  string

	maxFrame int
	wg       sync.WaitGroup
}

func newWSConn(conn net.Conn, client bool, pre []byte) *WSConn {
	c := &WSConn{conn: conn, client: client, wlock: make(chan struct{}, 1), maxFrame: DefaultMaxFrame}
	c.parser.server = !client
	if len(pre) > 0 {
		c.pre = append([]byte(nil), pre...)
	}
	return c
}

// Subprotocol returns what the server selected, empty if nothing.
func (c *WSConn) Subprotocol() string { return c.protocol }

// Header returns what the peer sent in the handshake: at the client the response, at the server the
// request if ListenConfig.KeepHeader asked for it. It is not to be modified.
func (c *WSConn) Header() http.Header { return c.header }

// NetConn returns the connection beneath the framing. Bytes written to it go out as they are.
func (c *WSConn) NetConn() net.Conn { return c.conn }

// CloseStatus returns code and reason of the peer's close frame; the code is 0 if none came or it had none.
func (c *WSConn) CloseStatus() (code int, reason string) {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	return c.closeCode, c.closeText
}

// LocalAddr is that of the connection beneath.
func (c *WSConn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr is that of the connection beneath.
func (c *WSConn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// SetReadDeadline ends a waiting Read at t. Reading can go on after it was moved.
func (c *WSConn) SetReadDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// SetWriteDeadline ends a waiting Write at t. A Write that follows continues the frame that was cut.
func (c *WSConn) SetWriteDeadline(t time.Time) error {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.conn.SetWriteDeadline(t)
}

// SetDeadline sets both.
func (c *WSConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *WSConn) buffered() bool { return len(c.pre) > 0 || c.rerr != nil }

// Read returns payload of binary frames. A close frame reads as io.EOF, see CloseStatus; a breach of the
// protocol is a *FrameError, and the peer is sent a close frame with its code.
func (c *WSConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.rmu.Lock()
	defer c.rmu.Unlock()
	for {
		if c.rerr != nil {
			return 0, c.rerr
		}
		raw, err := c.readRaw(p)
		n, perr := c.parser.parse(p[:raw], c.onControl)
		switch {
		case perr != nil:
			c.rerr = perr
			if perr != io.EOF { //nolint:errorlint // set bare by onControl
				c.stageClose(closeBody(perr))
			}
		case err != nil && !isTimeout(err):
			c.rerr = c.parser.endOfStream(err)
			err = c.rerr
		}
		if n > 0 {
			return n, nil
		}
		if perr == nil && err != nil {
			return 0, err
		}
	}
}

func (c *WSConn) readRaw(p []byte) (int, error) {
	if len(c.pre) == 0 {
		return c.conn.Read(p)
	}
	n := copy(p, c.pre)
	if c.pre = c.pre[n:]; len(c.pre) == 0 {
		c.pre = nil
	}
	return n, nil
}

func (c *WSConn) onControl(op Opcode, body []byte) error {
	switch op {
	case OpPing:
		c.stagePong(body)
	case OpClose:
		code, text, err := closeStatus(body)
		if err != nil {
			return err
		}
		c.cmu.Lock()
		c.closeCode, c.closeText = code, text
		c.cmu.Unlock()
		c.stageClose(append([]byte(nil), body[:min(2, len(body))]...))
		return io.EOF
	}
	return nil
}

// stagePong has a pong sent by a goroutine of its own, for a reader that waits for room to write while
// its peer does the same would never end. Of several pings the last is answered, as RFC 6455 permits.
func (c *WSConn) stagePong(body []byte) {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	if c.closed || c.closeBegun {
		return
	}
	c.pong, c.pongDue = append(c.pong[:0], body...), true
	c.startFlush()
}

func (c *WSConn) stageClose(body []byte) {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	if c.closed || c.closeBegun {
		return
	}
	c.closing, c.closeDue, c.closeBegun = body, true, true
	c.startFlush()
}

func (c *WSConn) startFlush() {
	if c.flushing {
		return
	}
	c.flushing = true
	c.wg.Go(c.flush)
}

func (c *WSConn) flush() {
	c.wlock <- struct{}{}
	defer func() { <-c.wlock }()
	for {
		c.cmu.Lock()
		// Inside a data frame no other may start: the Write that ends it sends what waits.
		if c.wleft > 0 || !c.pongDue && !c.closeDue {
			c.flushing = false
			c.cmu.Unlock()
			return
		}
		c.cmu.Unlock()
		if c.sendControl() != nil {
			c.cmu.Lock()
			c.flushing = false
			c.cmu.Unlock()
			return
		}
	}
}

// sendControl writes the control frames that wait. The caller holds wlock and no frame is cut.
func (c *WSConn) sendControl() error {
	if err := c.flushOut(); err != nil {
		return err
	}
	c.cmu.Lock()
	if c.pongDue {
		c.out = c.appendControl(c.out, OpPong, c.pong)
		c.pongDue = false
	}
	if c.closeDue {
		c.out = c.appendControl(c.out, OpClose, c.closing)
		c.closeDue, c.closeSent = false, true
	}
	c.cmu.Unlock()
	return c.flushOut()
}

func (c *WSConn) appendControl(dst []byte, op Opcode, body []byte) []byte {
	h := frameHeader{op: op, fin: true, masked: c.client, n: uint64(len(body))}
	if h.masked {
		h.mask = newMask()
	}
	dst = append(appendHeader(dst, h), body...)
	if h.masked {
		ws.Cipher(dst[len(dst)-len(body):], h.mask, 0)
	}
	return dst
}

func (c *WSConn) flushOut() error {
	if len(c.out) == 0 {
		return nil
	}
	n, err := c.conn.Write(c.out)
	c.out = c.out[:copy(c.out, c.out[n:])]
	return err
}

// scratchSize is how much of a frame is masked or joined with its header at a time.
const scratchSize = 16 << 10

// scratches are pooled because a write buffer per connection would cost more than all the rest of an
// idle one (BenchmarkWSWrite).
var scratches = sync.Pool{New: func() any { return new([scratchSize]byte) }}

// Write sends p as one binary frame. After an error the count says how many bytes of p went out; a
// further Write continues that frame, so the stream is what it would be on TCP.
func (c *WSConn) Write(p []byte) (int, error) {
	c.wlock <- struct{}{}
	defer func() { <-c.wlock }()
	if err := c.mayWrite(); err != nil {
		return 0, err
	}
	total := 0
	for len(p) > 0 {
		var n int
		var err error
		if c.wleft == 0 {
			n, err = c.startFrame(p)
		} else {
			n, err = c.writePayload(p[:min(uint64(len(p)), c.wleft)])
		}
		total += n
		p = p[n:]
		if err != nil {
			return total, err
		}
		if c.wleft > 0 {
			continue
		}
		// The data went out: what becomes of a control frame is the caller's concern only if more follows.
		err = c.sendControl()
		switch {
		case len(p) == 0:
		case err != nil:
			return total, err
		case c.closeSent:
			return total, errCloseSent
		}
	}
	return total, nil
}

func (c *WSConn) mayWrite() error {
	c.cmu.Lock()
	closed := c.closed
	c.cmu.Unlock()
	switch {
	case closed:
		return net.ErrClosed
	case c.closeSent:
		return errCloseSent
	}
	return c.flushOut()
}

// startFrame writes the header of a frame that holds all of p, and the first part of p with it.
func (c *WSConn) startFrame(p []byte) (int, error) {
	h := frameHeader{op: OpBinary, fin: true, masked: c.client, n: uint64(len(p))}
	if h.masked {
		h.mask = newMask()
	}
	c.wmask, c.wpos, c.wleft = h.mask, 0, h.n
	s := scratches.Get().(*[scratchSize]byte)
	defer scratches.Put(s)
	b := appendHeader(s[:0], h)
	size := len(b)
	n := copy(s[size:], p)
	b = s[:size+n]
	if h.masked {
		ws.Cipher(b[size:], h.mask, 0)
	}
	sent, err := c.conn.Write(b)
	if sent < size {
		c.out = append(c.out, b[sent:size]...)
		return 0, err
	}
	c.sent(sent - size)
	return sent - size, err
}

// writePayload writes more of the current frame.
func (c *WSConn) writePayload(p []byte) (int, error) {
	if !c.client {
		n, err := c.conn.Write(p)
		c.sent(n)
		return n, err
	}
	s := scratches.Get().(*[scratchSize]byte)
	defer scratches.Put(s)
	b := s[:copy(s[:], p)]
	ws.Cipher(b, c.wmask, c.wpos)
	n, err := c.conn.Write(b)
	c.sent(n)
	return n, err
}

func (c *WSConn) sent(n int) {
	c.wpos = (c.wpos + n) & 3
	c.wleft -= uint64(n)
}

// newMask is unpredictable to whoever controls the payload, which is all that masking is for.
func newMask() (m [4]byte) {
	binary.LittleEndian.PutUint32(m[:], rand.Uint32())
	return m
}

// Close sends a close frame if the peer takes it within a quarter of a second, and closes the connection
// without waiting for the answer: a peer that gives one may find the socket closed. It may be called again.
func (c *WSConn) Close() error {
	c.cmu.Lock()
	if c.closed {
		done := c.closeDone
		c.cmu.Unlock()
		<-done
		return c.closeErr
	}
	c.closed, c.closeDone = true, make(chan struct{})
	defer close(c.closeDone)
	if !c.closeBegun {
		c.closing, c.closeDue, c.closeBegun = closeBody(nil), true, true
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(closeGrace))
	c.cmu.Unlock()
	c.wlock <- struct{}{}
	if c.wleft == 0 {
		_ = c.sendControl()
	}
	<-c.wlock
	c.closeErr = c.conn.Close()
	c.wg.Wait()
	return c.closeErr
}
