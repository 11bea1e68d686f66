package client

import (
	"sync"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

// Message is an Application Message, in either direction.
type Message struct {
	Topic   string
	Payload []byte
	QoS     codec.QoS
	Retain  bool
	// Dup says that a message received may have been received before (QoS 1).
	Dup bool
	// Props are the properties of version 5. Before that they are ignored.
	Props codec.Properties

	ack func(codec.ReasonCode)
}

// Handler takes a message that arrived. Handlers run one after the other, in the order of the messages.
// The message is the handler's to keep.
type Handler func(m *Message)

// Ack acknowledges a message received at QoS 1 or 2 where Config.ManualAck is set; elsewhere it does nothing.
// Acknowledgements leave in the order of the messages [MQTT-4.6.0-2], so that one which is missing holds back
// those after it.
func (m *Message) Ack() { m.Refuse(codec.Success) }

// Refuse is Ack with a Reason Code, such as 0x83, which version 5 Servers are told.
func (m *Message) Refuse(reason codec.ReasonCode) {
	if m.ack != nil {
		m.ack(reason)
	}
}

// Subscription is a Topic Filter with its options.
type Subscription = codec.Subscription

// Token is the promise of one message.
type Token struct {
	done   chan struct{}
	stored chan struct{} // nil without a Store

	mu     sync.Mutex // guards reason, err and over
	reason codec.ReasonCode
	err    error
	over   bool
}

func newToken(durable bool) *Token {
	t := &Token{done: make(chan struct{})}
	if durable {
		t.stored = make(chan struct{})
	}
	return t
}

var closedChan = func() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}()

// Done is closed when the message is acknowledged, at QoS 0 written, or has failed.
func (t *Token) Done() <-chan struct{} { return t.done }

// Stored is closed when the message is safe in the Store, so that it outlives a crash of this process.
// Without a Store it is closed from the start.
func (t *Token) Stored() <-chan struct{} {
	if t.stored == nil {
		return closedChan
	}
	return t.stored
}

// Err returns why the message failed, or nil. Before Done it is nil.
func (t *Token) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// Reason returns the Reason Code of the acknowledgement; before version 5 it is 0.
func (t *Token) Reason() codec.ReasonCode {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reason
}

// finish ends the token. A nil token, of a message that an earlier process accepted, has nobody to tell.
func (t *Token) finish(r codec.ReasonCode, err error) {
	if t == nil {
		return
	}
	t.mu.Lock()
	over := t.over
	if !over {
		t.over, t.reason, t.err = true, r, err
	}
	t.mu.Unlock()
	if !over {
		close(t.done)
	}
}

// entry is what the session holds on to: a message on its way out, or a request.
type entry struct {
	msg     Message
	tok     *Token
	req     *request // not nil: a SUBSCRIBE or UNSUBSCRIBE
	seq     uint64   // key of its record, and order of acceptance
	size    uint32   // of its PUBLISH on the wire
	cost    int      // what it takes of Config.Queue
	expires session.Time
}

// fifo is a queue that keeps its memory while it is used and gives it back when it is empty.
type fifo[T any] struct {
	list []T
	head int
}

func (f *fifo[T]) len() int { return len(f.list) - f.head }

func (f *fifo[T]) push(v T) {
	if f.head > 64 && f.head > len(f.list)/2 {
		n := copy(f.list, f.list[f.head:])
		clear(f.list[n:])
		f.list, f.head = f.list[:n], 0
	}
	f.list = append(f.list, v)
}

func (f *fifo[T]) front() T { return f.list[f.head] }

func (f *fifo[T]) pop() T {
	var zero T
	v := f.list[f.head]
	f.list[f.head] = zero
	f.head++
	if f.head == len(f.list) {
		f.head = 0
		if cap(f.list) > 1024 {
			f.list = nil
		} else {
			f.list = f.list[:0]
		}
	}
	return v
}

// unshift puts values before the first.
func (f *fifo[T]) unshift(vs []T) {
	f.list = append(append(make([]T, 0, len(vs)+f.len()), vs...), f.list[f.head:]...)
	f.head = 0
}
