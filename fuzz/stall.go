package fuzz

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// valve is a connection as its reader sees it, which can be shut: nothing is read then, and what the other end writes
// piles up on the way.
type valve struct {
	nc   net.Conn
	shut atomic.Pointer[chan struct{}] // closed when it opens; nil: it is open
}

// Read waits while the valve is shut. What a call that began before has got it returns all the same.
func (v *valve) Read(b []byte) (int, error) {
	for {
		shut := v.shut.Load()
		if shut == nil {
			return v.nc.Read(b)
		}
		<-*shut
	}
}

const (
	// stallWait is how long a write may take in a script in which somebody does not read: a server may well make those
	// wait who send to that one.
	stallWait = 150 * time.Millisecond
	// stallBuffer is what the system takes in for a connection that is not read.
	stallBuffer = 4 << 10
)

// stall has the connection read nothing more until it resumes or ends.
func (w *link) stall() {
	if w.nc == nil || w.stalled() {
		return
	}
	if t, ok := w.nc.(interface{ SetReadBuffer(int) error }); ok {
		_ = t.SetReadBuffer(stallBuffer)
	}
	shut := make(chan struct{})
	w.valve.shut.Store(&shut)
}

// resume has the connection read again.
func (w *link) resume() {
	if shut := w.valve.shut.Swap(nil); shut != nil {
		close(*shut)
	}
}

// stalled reports whether the connection is not read.
func (w *link) stalled() bool { return w.valve.shut.Load() != nil }

// identifier is where the Packet Identifier stands in one packet that a client sends; 0 where it has none, or where this
// is not one packet.
func identifier(b []byte) int {
	frame, rest, err := codec.Cut(b, 0)
	if frame == nil || err != nil || len(rest) > 0 {
		return 0
	}
	_, n := codec.Varint(frame[1:])
	at := 1 + n
	switch codec.Type(frame[0] >> 4) {
	case codec.TypePublish:
		if frame[0]&6 == 0 || at+2 > len(frame) {
			return 0
		}
		at += 2 + int(binary.BigEndian.Uint16(frame[at:]))
	case codec.TypePuback, codec.TypePubrec, codec.TypePubrel, codec.TypePubcomp, codec.TypeSubscribe, codec.TypeUnsubscribe:
	default:
		return 0
	}
	if at+2 > len(frame) {
		return 0
	}
	return at
}

// count writes a packet many times whose Packet Identifier at that place counts up.
func (w *link) count(b []byte, at, repeat int) {
	id := binary.BigEndian.Uint16(b[at:])
	chunk := w.x.chunk[:0]
	for n := 0; n < repeat && !w.broken; n++ {
		from := len(chunk)
		chunk = append(chunk, b...)
		binary.BigEndian.PutUint16(chunk[from+at:], id)
		if id++; id == 0 {
			id = 1
		}
		if len(chunk) >= countChunk {
			w.write(chunk)
			chunk = chunk[:0]
		}
	}
	w.write(chunk)
	if cap(chunk) <= maxChunk {
		w.x.chunk = chunk
	}
}

// countChunk is what is written at once.
const countChunk = 64 << 10
