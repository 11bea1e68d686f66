package broker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/internal/transport"
)

// conn is one network connection. Its reader goroutine owns what is not said to be guarded
// otherwise. While it idles it holds no buffer.
type conn struct {
	b    *Broker
	nc   net.Conn
	raw  rawIO               // plain sockets
	wait transport.Readable  // other streams that can be waited for; nil: small is used
	try  transport.TryWriter // other streams that can be written to without waiting; nil: a goroutine writes
	out  outbuf

	sc    *scratch // while bytes are at hand
	pend  []byte   // the beginning of a packet whose rest has not arrived
	need  int      // size of the packet in pend where that is too large for a scratch, else 0
	small []byte

	version  codec.Version // 0 before CONNECT
	accepted atomic.Bool   // CONNACK with success was sent
	stopped  atomic.Bool   // no further packet is processed
	waiting  atomic.Bool   // the reader is held back for another Client's sake
	sess     *sess         // nil before CONNACK
	username string
	login    *login // while CONNECT waits for enhanced authentication
	auth     *exchange
	seen     atomic.Int64 // broker time of the last bytes
	resumed  atomic.Int64 // broker time at which the reader was last held back no more
	keep     time.Duration
	timer    atomic.Pointer[timerBox]

	maxPacket  int // the Client's Maximum Packet Size
	noProblem  bool
	pumpWanted bool              // guarded by out.mu: the Session's queue waits for the buffer
	aliasIn    []string          // by alias; index 0 unused
	aliasOut   map[string]uint16 // guarded by out.mu
	aliasMax   uint16            // the Client's Topic Alias Maximum
}

type timerBox struct{ Timer }

// fault ends a connection for what the Client did.
type fault struct {
	reason codec.ReasonCode
	msg    string
	rule   string
	silent bool // neither CONNACK nor DISCONNECT
}

func (f *fault) Error() string {
	if f.rule == "" {
		return f.msg
	}
	return f.msg + " [" + f.rule + "]"
}

var (
	errLeft    = errors.New("the client disconnected")
	errStopped = errors.New("the connection was ended by the server")
)

// serve runs one connection. The calling goroutine is counted by wg.
func (b *Broker) serve(nc net.Conn) {
	c := &conn{b: b, nc: nc}
	c.raw = newRawIO(nc, c.space, c.release)
	if !c.raw.ok() {
		if w, ok := transport.WaiterFor(nc); ok {
			c.wait = w
		} else {
			c.small = make([]byte, smallRead)
		}
		c.try, _ = nc.(transport.TryWriter)
	}
	c.maxPacket = codec.MaxPacketSize
	if !b.register(c) {
		_ = nc.Close()
		return
	}
	b.stats.connections.Add(1)
	c.seen.Store(int64(b.now()))
	if d := b.lim.connect; d > 0 {
		c.setTimer(d, func() {
			if !c.accepted.Load() {
				c.stop()
			}
		})
	}
	c.end(c.readLoop())
	b.stats.connections.Add(-1)
	b.unregister(c)
}

func (c *conn) setTimer(d time.Duration, f func()) {
	box := &timerBox{c.b.after(d, f)}
	if old := c.timer.Swap(box); old != nil {
		old.Stop()
	}
}

// Sizes of the buffer of streams that cannot be waited for.
const (
	smallRead = 512
	largeRead = 16 << 10
)

func (c *conn) readLoop() error {
	for {
		n, err := c.read()
		if n > 0 {
			if err := c.arrived(n); err != nil {
				return err
			}
		}
		if c.stopped.Load() {
			return errStopped
		}
		if err != nil {
			return err
		}
	}
}

// read waits for bytes and reads them to space().
func (c *conn) read() (int, error) {
	switch {
	case c.raw.ok():
		return c.raw.read()
	case c.wait != nil:
		c.release()
		if err := c.wait.WaitReadable(); err != nil {
			return 0, err
		}
		return c.nc.Read(c.space())
	}
	c.release()
	n, err := c.nc.Read(c.small)
	copied := 0
	for copied < n {
		k := copy(c.space(), c.small[copied:n])
		copied += k
		if copied < n {
			if err := c.arrived(k); err != nil {
				return 0, err
			}
		} else {
			n = k
			break
		}
	}
	switch {
	case n == len(c.small) && n < largeRead:
		c.small = make([]byte, 2*n)
	case n > 0 && n < len(c.small)/8 && len(c.small) > smallRead:
		c.small = make([]byte, len(c.small)/2)
	}
	return n, err
}

// space returns where to read to, borrowing a scratch where there is none.
func (c *conn) space() []byte {
	if c.sc == nil {
		sc := c.b.pool.Get().(*scratch)
		sc.dec.Version = c.version
		c.sc = sc
		if c.need == 0 {
			sc.fill = copy(sc.buf, c.pend)
			c.pend = nil
		}
	}
	if c.need == 0 {
		return c.sc.buf[c.sc.fill:]
	}
	if len(c.pend) == cap(c.pend) {
		// What is claimed is not believed: memory grows with what has arrived.
		bigger := make([]byte, len(c.pend), min(2*len(c.pend), c.need))
		copy(bigger, c.pend)
		c.pend = bigger
	}
	return c.pend[len(c.pend):cap(c.pend)]
}

// release gives the scratch back.
func (c *conn) release() {
	sc := c.sc
	if sc == nil {
		return
	}
	if c.need == 0 && sc.fill > 0 {
		c.pend = append([]byte(nil), sc.buf[:sc.fill]...)
	}
	sc.fill, sc.owner = 0, nil
	sc.msg.reset()
	c.sc = nil
	c.b.pool.Put(sc)
}

// arrived takes in n bytes that were read to space().
func (c *conn) arrived(n int) error {
	sc := c.sc
	sc.begin(c, c.b.now())
	c.seen.Store(int64(sc.now))
	sc.stats.bytesIn += n
	defer sc.settle()
	if c.need > 0 {
		c.pend = c.pend[:len(c.pend)+n]
		if len(c.pend) < c.need {
			return nil
		}
		frame := c.pend
		c.pend, c.need = nil, 0
		_, err := c.batch(sc, frame)
		return err
	}
	sc.fill += n
	rest, err := c.batch(sc, sc.buf[:sc.fill])
	if err != nil {
		sc.fill = 0
		return err
	}
	if need := frameSize(rest); need > len(sc.buf) {
		c.need = need
		c.pend = append(make([]byte, 0, min(need, 2*len(rest)+smallRead)), rest...)
		rest = nil
	}
	sc.fill = copy(sc.buf, rest)
	if !c.waitForOwn(sc) {
		return errStopped
	}
	return nil
}

// frameSize returns the size of the packet that b begins, 0 while it cannot be told.
func frameSize(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	v, n := codec.Varint(b[1:])
	if n <= 0 {
		return 0
	}
	return 1 + n + int(v)
}

// maxConnect bounds the first packet of a connection, of which nothing is known yet: all its
// fields at their longest and more than half a megabyte of User Properties.
const maxConnect = 1 << 20

// batch processes the whole packets of b, flushes every connection that got something, and
// returns the bytes left.
func (c *conn) batch(sc *scratch, b []byte) ([]byte, error) {
	defer sc.flush()
	for len(b) > 0 {
		limit := c.b.lim.maxPacket
		if c.version == 0 {
			limit = min(limit, maxConnect)
		}
		frame, rest, err := codec.Cut(b, limit)
		if err != nil {
			return nil, c.cutFault(err)
		}
		if frame == nil {
			break
		}
		if c.stopped.Load() {
			return nil, errStopped
		}
		sc.stats.packetsIn++
		err = c.packet(sc, frame)
		if c.b.poison {
			for i := range frame {
				frame[i] = 0xDB
			}
		}
		if err != nil {
			return nil, err
		}
		b = rest
	}
	return b, nil
}

func (c *conn) cutFault(err error) error {
	if errors.Is(err, codec.ErrPacketTooLarge) {
		return &fault{reason: codec.PacketTooLarge, rule: "MQTT-3.2.2-15", msg: "the packet exceeds the server's Maximum Packet Size"}
	}
	return c.decodeFault(err)
}

// decodeFault turns what a decoder complains about into the end of the connection.
func (c *conn) decodeFault(err error) error {
	f := &fault{reason: codec.MalformedPacket, msg: err.Error()}
	var e *codec.Error
	if errors.As(err, &e) {
		f.reason, f.rule, f.msg = e.Reason, e.Rule, e.Packet.String()+": "+e.Msg
	}
	return f
}

// packet processes one packet.
func (c *conn) packet(sc *scratch, frame []byte) error {
	if c.version == 0 {
		if codec.Type(frame[0]>>4) != codec.TypeConnect { // [MQTT-3.1.0-1]
			return &fault{silent: true, msg: "the first packet is not CONNECT"}
		}
		return c.connect(sc, frame)
	}
	p, err := sc.dec.Decode(frame)
	if err != nil && !tolerable(err) || p == nil {
		return c.decodeFault(err)
	}
	if c.sess == nil {
		return c.beforeConnack(sc, p)
	}
	switch p := p.(type) {
	case *codec.Publish:
		return c.publish(sc, p)
	case *codec.Puback:
		return c.ack(sc, session.Puback, p.PacketID, p.Reason)
	case *codec.Pubrec:
		return c.ack(sc, session.Pubrec, p.PacketID, p.Reason)
	case *codec.Pubrel:
		return c.ack(sc, session.Pubrel, p.PacketID, p.Reason)
	case *codec.Pubcomp:
		return c.ack(sc, session.Pubcomp, p.PacketID, p.Reason)
	case *codec.Subscribe:
		return c.subscribe(sc, p)
	case *codec.Unsubscribe:
		return c.unsubscribe(sc, p)
	case *codec.Pingreq:
		c.sendShort(sc, pingresp) // [MQTT-3.12.4-1]
	case *codec.Disconnect:
		return c.disconnected(p)
	case *codec.Auth:
		return c.reauth(sc, p)
	case *codec.Connect: // [MQTT-3.1.0-2]
		return &fault{reason: codec.ProtocolError, rule: "MQTT-3.1.0-2", msg: "a second CONNECT"}
	default:
		return &fault{reason: codec.ProtocolError, msg: p.Type().String() + " is not a client's packet"}
	}
	return nil
}

// tolerable reports whether a packet may be processed in spite of what the decoder found:
// nobody is cut for breaking a recommendation.
func tolerable(err error) bool {
	var e *codec.Error
	return errors.As(err, &e) && e.Level != codec.Must
}

var pingresp = []byte{byte(codec.TypePingresp) << 4, 0}

// disconnected handles the Client's DISCONNECT.
func (c *conn) disconnected(p *codec.Disconnect) error {
	s := c.sess
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.version == codec.V5 && p.Props.Has(codec.PropSessionExpiry) {
		want := p.Props.Uint(codec.PropSessionExpiry, 0)
		if s.expiry == 0 && want != 0 {
			return &fault{reason: codec.ProtocolError, rule: "P-3.14.2.2.2-session-expiry-after-zero", msg: "DISCONNECT sets a Session Expiry Interval though CONNECT had none"}
		}
		if s.conn.Load() == c {
			s.expiry = min(want, c.b.lim.expiryMax)
		}
	}
	if p.Reason == codec.NormalDisconnection && s.conn.Load() == c { // [MQTT-3.14.4-3]
		s.will = nil
	}
	return errLeft
}

// stop makes the reader end the connection without a word to the Client.
func (c *conn) stop() {
	c.stopped.Store(true)
	c.wake()
}

// wake ends a read that waits. What follows never reads again for its content.
func (c *conn) wake() {
	c.stopped.Store(true)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
}

// kick ends the connection from the Server's side, in version 5 by a DISCONNECT.
func (c *conn) kick(reason codec.ReasonCode, why string) { c.kickRef(reason, why, "") }

func (c *conn) kickRef(reason codec.ReasonCode, why, reference string) {
	c.sayDisconnect(reason, why, reference)
	c.flush()
	c.wake()
}

// sayDisconnect appends a DISCONNECT where one may be sent, and nothing after it [MQTT-3.14.4-1].
func (c *conn) sayDisconnect(reason codec.ReasonCode, why, reference string) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closing {
		return
	}
	if c.accepted.Load() && c.version == codec.V5 { // [MQTT-3.14.0-1]
		d := codec.Disconnect{Reason: reason}
		if reference != "" {
			d.Props.SetText(codec.PropServerReference, reference)
		}
		if b := c.encodeWithin(&d, &d.Props, why, true); b != nil {
			copy(o.space(len(b)), b)
			c.b.stats.sent.Add(1)
			c.b.stats.sentBytes.Add(uint64(len(b)))
		}
	}
	o.shut()
}

const (
	// finishLimit is how long a closing connection may take to send what is buffered.
	finishLimit = time.Second
	// lingerLimit is how long a socket is read after its end was sent, so that unread bytes
	// do not turn the close into a reset that overtakes the last packet.
	lingerLimit = 250 * time.Millisecond
)

// end closes the connection for the reason that ended the read loop.
func (c *conn) end(err error) {
	var f *fault
	mine := errors.Is(err, errStopped) || c.stopped.Load()
	if errors.As(err, &f) {
		mine = true
		c.b.stats.errors.Add(1)
		if c.b.log.Enabled(context.Background(), slog.LevelInfo) { // the arguments cost more than the call
			c.b.log.Info("connection closed", "client", c.clientID(), "remote", c.nc.RemoteAddr(), "reason", f.reason, "error", f)
		}
		if !f.silent {
			c.sayDisconnect(f.reason, f.Error(), "")
		}
	}
	c.stopped.Store(true)
	if t := c.timer.Swap(nil); t != nil {
		t.Stop()
	}
	if c.sess != nil {
		c.sess.detach(c)
	}
	c.release()
	c.finish(finishLimit)
	if mine && c.wait == nil {
		c.linger()
	}
	_ = c.nc.Close()
}

func (c *conn) linger() {
	w, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || w.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerLimit))
	var sink [512]byte
	for total := 0; total < 1<<20; {
		n, err := c.nc.Read(sink[:])
		if err != nil {
			return
		}
		total += n
	}
}

func (c *conn) clientID() string {
	if c.sess == nil {
		return ""
	}
	return c.sess.id
}

// keepAlive arms the Keep Alive timer. It is moved only when it fires, so that reading costs
// one store.
func (c *conn) keepAlive(seconds uint16) {
	if seconds == 0 {
		if t := c.timer.Swap(nil); t != nil {
			t.Stop()
		}
		return
	}
	c.keep = time.Duration(seconds) * 1500 * time.Millisecond // [MQTT-3.1.2-22] [MQTT-3.1.2-24]
	c.setTimer(c.keep, c.checkKeepAlive)
}

func (c *conn) checkKeepAlive() {
	if c.stopped.Load() {
		return
	}
	quiet := time.Duration(int64(c.b.now()) - c.seen.Load())
	if c.waiting.Load() {
		quiet = 0 // unread bytes are not silence
	}
	c.trim()
	if left := c.keep - quiet; left > 0 {
		c.setTimer(left, c.checkKeepAlive)
		return
	}
	c.kick(codec.KeepAliveTimeout, "nothing was received for one and a half times the Keep Alive")
}

// trim lets the Session give back memory that a burst has left behind.
func (c *conn) trim() {
	s := c.sess
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn.Load() == c {
		s.flow.Step(session.Event[*delivery]{Kind: session.Tick}, c.b.now(), nil)
	}
}
