//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"github.com/mqlab/mqlab/codec"
)

// loop is a loader that costs as little as can be: one thread, one poller, packets encoded beforehand. It measures
// brokers; what it sends is legal and what it does not need to know it does not look at.
type loop struct {
	ep      int
	timer   int     // a timer that ends waits, or -1
	conns   []*conn // by descriptor
	buf     []byte
	events  [256]unix.EpollEvent
	touched []*conn

	pubs      []*conn
	sent      uint64
	delivered uint64
	latency   *hdrhistogram.Histogram
	began     time.Time
}

// payload is the size of messages: the publisher's number in the first four bytes, its clock in the next eight.
const payload = 64

type conn struct {
	fd       int
	in       []byte // the beginning of a packet
	out      []byte // what the socket did not take
	writable bool   // the poller is asked when the socket takes more
	dirty    bool

	// Of a publisher.
	index     int
	packets   [][]byte // one for each topic
	qos       byte
	next      uint16
	copies    uint64 // deliveries of each message
	sent      uint64
	acked     uint64
	delivered uint64 // over all copies
}

func newLoop() (*loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &loop{ep: ep, timer: -1, buf: make([]byte, 256<<10), latency: hdrhistogram.New(1, 60_000_000, 3), began: time.Now()}, nil
}

func (l *loop) close() {
	for _, c := range l.conns {
		if c != nil {
			_ = unix.Close(c.fd)
		}
	}
	if l.timer >= 0 {
		_ = unix.Close(l.timer)
	}
	_ = unix.Close(l.ep)
}

// dial connects, and sends CONNECT and the subscriptions; it waits for all answers.
func (l *loop) dial(addr, id string, qos codec.QoS, filters ...string) (*conn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c := &conn{fd: fd, next: 1}
	for len(l.conns) <= fd {
		l.conns = append(l.conns, nil)
	}
	l.conns[fd] = c
	to := netip.MustParseAddrPort(addr)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		return nil, fmt.Errorf("connect %s: %w", addr, err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return nil, err
	}
	out, err := (&codec.Connect{ClientID: id, CleanStart: true, KeepAlive: 600}).AppendTo(nil, codec.V4)
	if err != nil {
		return nil, err
	}
	want := 4 // CONNACK
	const batch = 500
	for n := 0; len(filters) > 0; n++ {
		some := filters[:min(batch, len(filters))]
		filters = filters[len(some):]
		s := &codec.Subscribe{PacketID: uint16(n + 1)}
		for _, f := range some {
			s.Filters = append(s.Filters, codec.Subscription{Filter: f, QoS: qos})
		}
		if out, err = s.AppendTo(out, codec.V4); err != nil {
			return nil, err
		}
		want += (&codec.Suback{PacketID: 1, Reasons: make([]codec.ReasonCode, len(some))}).Size(codec.V4)
	}
	if err := c.writeAll(out); err != nil {
		return nil, err
	}
	for got := 0; got < want; {
		n, err := unix.Read(fd, l.buf[:min(want-got, len(l.buf))])
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		if got < 4 && got+n >= 4 && l.buf[3-got] != 0 {
			return nil, fmt.Errorf("CONNACK with code %d", l.buf[3-got])
		}
		got += n
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return c, unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (c *conn) writeAll(b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(c.fd, b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// publisher makes the connection one that publishes on the topics, at random where there are several.
func (l *loop) publisher(c *conn, qos codec.QoS, copies int, topics ...string) error {
	c.index, c.qos, c.copies = len(l.pubs), byte(qos), uint64(copies)
	for _, topic := range topics {
		p := &codec.Publish{Topic: topic, QoS: qos, Payload: make([]byte, payload)}
		if qos > 0 {
			p.PacketID = 1
		}
		frame, err := p.AppendTo(nil, codec.V4)
		if err != nil {
			return err
		}
		binary.BigEndian.PutUint32(frame[len(frame)-payload:], uint32(c.index))
		c.packets = append(c.packets, frame)
	}
	l.pubs = append(l.pubs, c)
	return nil
}

// publish queues one message, stamped with the time at which it was due.
func (l *loop) publish(c *conn, due time.Duration) {
	frame := c.packets[0]
	if len(c.packets) > 1 {
		frame = c.packets[rand.IntN(len(c.packets))]
	}
	at := len(frame) - payload
	binary.BigEndian.PutUint64(frame[at+4:], uint64(due))
	if c.qos > 0 {
		binary.BigEndian.PutUint16(frame[at-2:], c.next)
		if c.next++; c.next == 0 {
			c.next = 1
		}
	}
	c.out = append(c.out, frame...)
	c.sent++
	l.sent++
	l.touch(c)
}

func (l *loop) touch(c *conn) {
	if !c.dirty {
		c.dirty = true
		l.touched = append(l.touched, c)
	}
}

// outstanding is how many messages are not acknowledged, or not delivered to all.
func (c *conn) outstanding() uint64 {
	done := c.delivered / max(c.copies, 1)
	if c.qos > 0 {
		done = min(done, c.acked)
	}
	return c.sent - done
}

// flush writes what was queued.
func (l *loop) flush() error {
	for _, c := range l.touched {
		c.dirty = false
		if c.writable {
			continue
		}
		if err := l.write(c); err != nil {
			return err
		}
	}
	l.touched = l.touched[:0]
	return nil
}

func (l *loop) write(c *conn) error {
	b := c.out
	for len(b) > 0 {
		n, err := unix.Write(c.fd, b)
		if errors.Is(err, syscall.EAGAIN) {
			break
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		b = b[n:]
	}
	c.out = c.out[:copy(c.out, b)]
	if wants := len(c.out) > 0; wants != c.writable {
		c.writable = wants
		ev := &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.fd)}
		if wants {
			ev.Events |= unix.EPOLLOUT
		}
		return unix.EpollCtl(l.ep, unix.EPOLL_CTL_MOD, c.fd, ev)
	}
	return nil
}

// tick makes poll return this often.
func (l *loop) tick(every time.Duration) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return err
	}
	l.timer = fd
	ts := unix.NsecToTimespec(every.Nanoseconds())
	if err := unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: ts, Value: ts}, nil); err != nil {
		return err
	}
	return unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// poll waits for at most the time given, and reads and answers what there is. It reports whether anything came.
func (l *loop) poll(wait time.Duration) (bool, error) {
	n, err := unix.EpollWait(l.ep, l.events[:], int(wait.Milliseconds()))
	if errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, ev := range l.events[:n] {
		if int(ev.Fd) == l.timer {
			_, _ = unix.Read(l.timer, l.buf[:8])
			continue
		}
		c := l.conns[ev.Fd]
		if ev.Events&unix.EPOLLOUT != 0 {
			if err := l.write(c); err != nil {
				return false, err
			}
		}
		if ev.Events&^uint32(unix.EPOLLOUT) != 0 {
			if err := l.read(c); err != nil {
				return false, err
			}
		}
	}
	return n > 0, nil
}

func (l *loop) read(c *conn) error {
	kept := copy(l.buf, c.in)
	n, err := unix.Read(c.fd, l.buf[kept:])
	if errors.Is(err, syscall.EAGAIN) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if n == 0 {
		return errors.New("the broker closed a connection")
	}
	b := l.buf[:kept+n]
	now := time.Duration(-1) // the clock is read once a batch
	for {
		size, head := frameSize(b)
		if size == 0 || size > len(b) {
			break
		}
		if b[0]>>4 == byte(codec.TypePublish) && now < 0 {
			now = time.Since(l.began)
		}
		l.packet(c, b[:size], head, now)
		b = b[size:]
	}
	c.in = append(c.in[:0], b...)
	return nil
}

// frameSize returns the size of the packet at the start of b and of its fixed header, 0 while they cannot be told.
func frameSize(b []byte) (size, head int) {
	for i, shift := 1, 0; i < len(b) && i <= 4; i, shift = i+1, shift+7 {
		size |= int(b[i]&0x7f) << shift
		if b[i] < 0x80 {
			return size + i + 1, i + 1
		}
	}
	return 0, 0
}

func (l *loop) packet(c *conn, b []byte, head int, now time.Duration) {
	switch codec.Type(b[0] >> 4) {
	case codec.TypePublish:
		body := b[len(b)-payload:]
		if i := binary.BigEndian.Uint32(body); int(i) < len(l.pubs) {
			l.pubs[i].delivered++
		}
		l.delivered++
		_ = l.latency.RecordValue((now - time.Duration(binary.BigEndian.Uint64(body[4:]))).Microseconds())
		if qos := b[0] >> 1 & 3; qos > 0 {
			at := head + 2 + int(binary.BigEndian.Uint16(b[head:]))
			answer := byte(codec.TypePuback) << 4
			if qos == 2 {
				answer = byte(codec.TypePubrec) << 4
			}
			c.out = append(c.out, answer, 2, b[at], b[at+1])
			l.touch(c)
		}
	case codec.TypePuback, codec.TypePubcomp:
		c.acked++
	case codec.TypePubrec:
		c.out = append(c.out, byte(codec.TypePubrel)<<4|2, 2, b[2], b[3])
		l.touch(c)
	case codec.TypePubrel:
		c.out = append(c.out, byte(codec.TypePubcomp)<<4, 2, b[2], b[3])
		l.touch(c)
	}
}
