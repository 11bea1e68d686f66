// Package peer is one end of a scripted MQTT connection: it sends packets or any bytes, keeps
// what arrives in a mailbox from which a script takes events in the order it needs them, and
// records both ways in a [Transcript]. Conformance checks, replayed exchanges and the fuzzer
// stand on it.
//
// Start from [New] and [Conn.Await]. Packets in events are detached copies: they belong to
// whoever took them. No protocol duty is fulfilled unless [Config.AutoAck] asks for it, and
// nothing is judged here.
package peer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// Event is one packet that arrived, or the end of the connection.
type Event struct {
	At     time.Time
	Frame  []byte         // the packet's bytes; what could not be framed when Packet is nil
	Packet codec.Packet   // nil where the type is unknown or the bytes could not be framed
	Faults []*codec.Error // departures from the standard found in the packet
	Closed error          // why no more will come: io.EOF after an orderly close. Set on the last event only
}

// Config says how a connection behaves. The zero value sends nothing by itself.
type Config struct {
	Name       string        // in the transcript
	Version    codec.Version // used to encode, and to decode until a CONNECT tells otherwise
	Remote     codec.Side    // who is at the other end: codec.Server by default
	Transcript *Transcript   // nil: nothing is recorded
	// AutoAck answers PUBLISH, PUBREL and PUBREC as their QoS demands, from the goroutine that reads.
	AutoAck bool
	// Observe, if set, is called with every frame that was sent or has arrived, and with nil at
	// the end of the connection: as Received where the other end closed it in order, else as Noted. It runs in the goroutine that sent or read and must not block.
	Observe func(dir Direction, at time.Time, frame []byte)
}

// Conn is one scripted connection. Its methods may be called from any goroutine.
type Conn struct {
	cfg Config
	nc  net.Conn

	sendMu sync.Mutex // serialises writes

	mu      sync.Mutex // guards the fields below
	autoAck bool
	inbox   []*Event
	ended   *Event        // set once no more will come
	wake    chan struct{} // closed and replaced whenever inbox or ended changes

	done chan struct{} // closed when the reading goroutine has ended
}

// ErrTimeout reports that the awaited event did not come in time.
var ErrTimeout = errors.New("nothing of the kind arrived in time")

// ErrClosed reports that the connection ended before the awaited event.
var ErrClosed = errors.New("the connection ended first")

const writeTimeout = 10 * time.Second

// New takes over nc and begins to read from it. Close ends both.
func New(nc net.Conn, cfg Config) *Conn {
	if cfg.Remote == codec.Either {
		cfg.Remote = codec.Server
	}
	c := &Conn{cfg: cfg, nc: nc, autoAck: cfg.AutoAck, wake: make(chan struct{}), done: make(chan struct{})}
	c.act(Act{Kind: ActOpen, Auto: cfg.AutoAck})
	go c.read()
	return c
}

// Name returns the connection's name in the transcript.
func (c *Conn) Name() string { return c.cfg.Name }

// Version returns the protocol version that the connection encodes for.
func (c *Conn) Version() codec.Version { return c.cfg.Version }

// AutoAck reports whether PUBLISH, PUBREC and PUBREL are answered by themselves.
func (c *Conn) AutoAck() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.autoAck
}

// SetAutoAck turns the answering of PUBLISH, PUBREC and PUBREL on or off.
func (c *Conn) SetAutoAck(on bool) {
	c.mu.Lock()
	c.autoAck = on
	c.mu.Unlock()
	c.act(Act{Kind: ActAnswers, Auto: on})
}

// Note adds a remark to the transcript.
func (c *Conn) Note(format string, args ...any) {
	c.cfg.Transcript.add(c.cfg.Name, Noted, time.Now(), nil, fmt.Sprintf(format, args...), Act{})
}

// Send encodes the packet and sends it.
func (c *Conn) Send(p codec.Packet) error {
	b, err := p.AppendTo(nil, c.cfg.Version)
	if err != nil {
		return err
	}
	return c.write(b, codec.Describe(p, c.cfg.Version), false)
}

// SendRaw sends bytes as they are, in one write.
func (c *Conn) SendRaw(b []byte) error {
	return c.write(b, describeRaw(b, c.cfg.Version), false)
}

func (c *Conn) write(b []byte, text string, auto bool) error {
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	at := time.Now()
	c.cfg.Transcript.add(c.cfg.Name, Sent, at, b, text, Act{Kind: ActSend, Frame: b, Auto: auto})
	if c.cfg.Observe != nil {
		c.cfg.Observe(Sent, at, b)
	}
	if err := c.nc.SetWriteDeadline(at.Add(writeTimeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(b)
	return err
}

// describeRaw reads the bytes as leniently as possible. Bytes that break the rules say so.
func describeRaw(b []byte, v codec.Version) string {
	d := codec.Decoder{Version: v, Mode: codec.Lenient}
	p, err := d.Decode(b)
	if p == nil {
		return fmt.Sprintf("%d raw bytes", len(b))
	}
	text := codec.Describe(p, v)
	if err != nil {
		text += " (on purpose: " + err.Error() + ")"
	}
	return text
}

// Await takes the first event that match accepts out of the mailbox, waiting for it up to the
// timeout. Other events stay for later calls. The error is ErrTimeout, or ErrClosed when the
// connection ended without such an event. match never sees the end of the connection.
func (c *Conn) Await(timeout time.Duration, match func(*Event) bool) (*Event, error) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		c.mu.Lock()
		for i, e := range c.inbox {
			if match(e) {
				c.inbox = append(c.inbox[:i], c.inbox[i+1:]...)
				c.mu.Unlock()
				c.act(Act{Kind: ActTake, Frame: e.Frame, Event: e})
				return e, nil
			}
		}
		ended, wake := c.ended, c.wake
		c.mu.Unlock()
		if ended != nil {
			return nil, ErrClosed
		}
		select {
		case <-wake:
		case <-timer.C:
			c.act(Act{Kind: ActWait, For: timeout})
			return nil, ErrTimeout
		}
	}
}

// Disturbed waits up to the timeout until an event that match accepts is in the mailbox, or the
// connection has ended, and reports whether either is the case. It takes nothing.
func (c *Conn) Disturbed(timeout time.Duration, match func(*Event) bool) bool {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		c.mu.Lock()
		found, ended, wake := slices.ContainsFunc(c.inbox, match), c.ended != nil, c.wake
		c.mu.Unlock()
		if ended && !found {
			c.act(Act{Kind: ActEnd, Auto: true})
		}
		if found || ended {
			return true
		}
		select {
		case <-wake:
		case <-timer.C:
			c.act(Act{Kind: ActWait, For: timeout})
			return false
		}
	}
}

// AwaitClose waits up to the timeout for the end of the connection and reports whether it came.
func (c *Conn) AwaitClose(timeout time.Duration) (*Event, bool) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	for {
		c.mu.Lock()
		ended, wake := c.ended, c.wake
		c.mu.Unlock()
		if ended != nil {
			c.act(Act{Kind: ActEnd})
			return ended, true
		}
		select {
		case <-wake:
		case <-timer.C:
			c.act(Act{Kind: ActWait, For: timeout})
			return nil, false
		}
	}
}

// Pending returns the events in the mailbox that match accepts, without taking them.
func (c *Conn) Pending(match func(*Event) bool) []*Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*Event
	for _, e := range c.inbox {
		if match(e) {
			out = append(out, e)
		}
	}
	return out
}

// Closed reports whether the connection has ended, and how.
func (c *Conn) Closed() (*Event, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended, c.ended != nil
}

// Close ends the connection and waits until nothing of it runs any more. It may be called again.
func (c *Conn) Close() error {
	c.act(Act{Kind: ActClose})
	return c.close()
}

func (c *Conn) close() error {
	err := c.nc.Close()
	<-c.done
	return err
}

// Drop ends the connection without any farewell, as a failing network does: over TCP with a
// reset, so that the other end notices at once.
func (c *Conn) Drop() {
	if l, ok := c.nc.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0)
	}
	c.act(Act{Kind: ActDrop})
	_ = c.close()
}

// NetConn returns the connection underneath, for what has no counterpart here.
func (c *Conn) NetConn() net.Conn { return c.nc }

func (c *Conn) read() {
	defer close(c.done)
	r := codec.NewReader(c.nc, 0)
	d := codec.Decoder{Version: c.cfg.Version, From: c.cfg.Remote, Mode: codec.Lenient}
	for {
		frame, err := r.Next()
		at := time.Now()
		if err != nil {
			c.end(at, frame, err)
			return
		}
		e := &Event{At: at, Frame: append([]byte(nil), frame...)}
		p, err := d.Decode(e.Frame)
		if p != nil {
			e.Packet = codec.Clone(p)
		}
		var faults codec.Errors
		if errors.As(err, &faults) {
			e.Faults = faults
		}
		c.cfg.Transcript.add(c.cfg.Name, Received, at, e.Frame, describe(e, d.Version), Act{Kind: ActArrived, Frame: e.Frame, Event: e})
		if c.cfg.Observe != nil {
			c.cfg.Observe(Received, at, e.Frame)
		}
		c.mu.Lock()
		auto := c.autoAck
		c.inbox = append(c.inbox, e)
		c.notify()
		c.mu.Unlock()
		if auto {
			c.answer(e.Packet)
		}
	}
}

func describe(e *Event, v codec.Version) string {
	text := fmt.Sprintf("%d bytes that are no packet", len(e.Frame))
	if e.Packet != nil {
		text = codec.Describe(e.Packet, v)
	}
	for _, f := range e.Faults {
		text += " (" + f.Error() + ")"
	}
	return text
}

// end records why nothing more will come. A frame that the Reader refused is kept as an event
// of its own, so that a script sees that something did arrive.
func (c *Conn) end(at time.Time, rest []byte, err error) {
	var fault *codec.Error
	if errors.As(err, &fault) {
		e := &Event{At: at, Frame: append([]byte(nil), rest...), Faults: []*codec.Error{fault}}
		c.cfg.Transcript.add(c.cfg.Name, Received, at, e.Frame, describe(e, c.cfg.Version), Act{Kind: ActArrived, Frame: e.Frame, Event: e})
		c.mu.Lock()
		c.inbox = append(c.inbox, e)
		c.mu.Unlock()
	}
	text := "connection ended"
	switch {
	case errors.Is(err, net.ErrClosed):
		text = "we closed the connection"
	case errors.Is(err, io.EOF):
		text = "the other end closed the connection"
	default:
		text = "connection ended: " + err.Error()
	}
	c.cfg.Transcript.add(c.cfg.Name, Noted, at, nil, text, Act{Kind: ActOver, Auto: errors.Is(err, io.EOF)})
	if c.cfg.Observe != nil {
		by := Noted
		if errors.Is(err, io.EOF) {
			by = Received
		}
		c.cfg.Observe(by, at, nil)
	}
	c.mu.Lock()
	c.ended = &Event{At: at, Closed: err}
	c.notify()
	c.mu.Unlock()
	// Without a reader the other end's writes would stall it; a refused frame ends the connection.
	if fault != nil {
		_ = c.nc.Close()
	}
}

// notify wakes everyone who waits. The caller holds c.mu.
func (c *Conn) notify() {
	close(c.wake)
	c.wake = make(chan struct{})
}

// answer fulfils the QoS duties of a receiver, and a sender's answer to PUBREC. A failing write
// shows as the end of the connection.
func (c *Conn) answer(p codec.Packet) {
	switch p := p.(type) {
	case *codec.Publish:
		switch p.QoS {
		case 1:
			c.reply(&codec.Puback{PacketID: p.PacketID})
		case 2:
			c.reply(&codec.Pubrec{PacketID: p.PacketID})
		}
	case *codec.Pubrec:
		if !p.Reason.Failed() {
			c.reply(&codec.Pubrel{PacketID: p.PacketID})
		}
	case *codec.Pubrel:
		c.reply(&codec.Pubcomp{PacketID: p.PacketID})
	}
}

// reply sends an automatic answer.
func (c *Conn) reply(p codec.Packet) {
	if b, err := p.AppendTo(nil, c.cfg.Version); err == nil {
		_ = c.write(b, codec.Describe(p, c.cfg.Version), true)
	}
}
