package codec

import (
	"errors"
	"io"
)

// defaultBuffer is the size of a Reader's buffer where none is asked for.
const defaultBuffer = 4096

// Reader cuts whole packets out of a byte stream. It reads as much as is there at once, keeps
// it in one buffer, and returns frames that view it. The buffer doubles only as bytes arrive,
// so that a length claimed by a peer costs no memory before its bytes do, and shrinks again
// after a large packet. A Reader is for one goroutine.
type Reader struct {
	// MaxSize is the largest packet in bytes, fixed header included; 0 allows what the
	// protocol does. A larger one is refused as soon as its length has been read.
	MaxSize int
	// Version of the stream, so that a fault names the rule of that version. May be 0.
	Version Version
	// Poison overwrites a frame when the next one is asked for. Tests use it to find packets
	// that outlive their frame.
	Poison bool

	r          io.Reader
	buf        []byte
	start, end int // the bytes of buf that have arrived and are not yet returned
	last       int // where the frame begins that was returned last
	size       int
	err        error // of the io.Reader, due when the buffered packets are used up
}

// NewReader returns a Reader whose buffer holds size bytes while no packet is larger. A size
// of 0 stands for 4096 bytes. Nothing is allocated before the first call of Next.
func NewReader(r io.Reader, size int) *Reader {
	rd := &Reader{size: size}
	rd.Reset(r)
	return rd
}

// Reset makes the Reader start afresh on r with the same settings.
func (r *Reader) Reset(rd io.Reader) {
	if r.size <= 0 {
		r.size = defaultBuffer
	}
	r.r, r.start, r.end, r.last, r.err = rd, 0, 0, 0, nil
	r.shrink()
}

// Next returns the next whole packet. The frame is valid until the next call of Next or Reset.
//
// At the end of the stream the error is io.EOF between two packets and io.ErrUnexpectedEOF
// inside one. A Remaining Length of more than four bytes, and a packet larger than MaxSize, is
// an [*Error]; errors.Is tells the latter by [ErrPacketTooLarge]. After such an error the
// stream cannot be cut any further and Next returns it again.
func (r *Reader) Next() ([]byte, error) {
	if r.Poison {
		for i := r.last; i < r.start; i++ {
			r.buf[i] = 0xDB
		}
	}
	for {
		need, err := frameLen(r.buf[r.start:r.end], r.MaxSize, r.Version)
		if err != nil {
			return nil, err
		}
		if need > 0 && need <= r.end-r.start {
			r.last = r.start
			r.start += need
			return r.buf[r.last:r.start:r.start], nil
		}
		if r.err != nil {
			if r.err == io.EOF && r.end > r.start {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, r.err
		}
		r.fill(need)
	}
}

// More reports whether Next would return at once, with a packet or an error, without reading.
func (r *Reader) More() bool {
	need, err := frameLen(r.buf[r.start:r.end], r.MaxSize, r.Version)
	return err != nil || need > 0 && need <= r.end-r.start
}

// Buffered returns the bytes that have been read and are not part of a packet returned so far.
// They are valid until the next call of Next.
func (r *Reader) Buffered() []byte { return r.buf[r.start:r.end] }

// fill reads once. need is the size of the packet under way, 0 while it is not known.
func (r *Reader) fill(need int) {
	if r.start == r.end {
		r.start, r.end, r.last = 0, 0, 0
		r.shrink()
	}
	if r.buf == nil {
		r.buf = make([]byte, r.size)
	}
	if r.end == len(r.buf) || need > len(r.buf)-r.start && r.start > 0 {
		r.makeRoom(need)
	}
	for range maxEmptyReads {
		n, err := r.r.Read(r.buf[r.end:])
		if n < 0 || n > len(r.buf)-r.end {
			r.err = errors.New("codec: the io.Reader returned an impossible count")
			return
		}
		r.end += n
		r.err = err
		if n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}

// maxEmptyReads bounds reads that return neither bytes nor an error.
const maxEmptyReads = 100

// makeRoom moves what has arrived to the front of the buffer and, where that is full, doubles
// it, but never beyond what the packet under way needs.
func (r *Reader) makeRoom(need int) {
	have := r.end - r.start
	to := r.buf
	if have == len(r.buf) {
		n := 2 * len(r.buf)
		if need > 0 {
			n = min(n, max(need, r.size))
		}
		to = make([]byte, max(n, have+1))
	}
	copy(to, r.buf[r.start:r.end])
	r.buf, r.start, r.end, r.last = to, 0, have, 0
}

// shrink lets a buffer go that a large packet has left behind.
func (r *Reader) shrink() {
	if len(r.buf) > 4*r.size {
		r.buf = nil
	}
}

// Cut returns the packet at the start of b and the bytes after it. The frame is nil while b
// does not hold a whole packet. Errors are those of [Reader.Next]; maxSize 0 allows what the
// protocol does.
func Cut(b []byte, maxSize int) (frame, rest []byte, err error) {
	n, err := frameLen(b, maxSize, 0)
	if err != nil || n == 0 || n > len(b) {
		return nil, b, err
	}
	return b[:n:n], b[n:], nil
}

// frameLen returns the size of the packet at the start of b, 0 while its length is not known.
func frameLen(b []byte, maxSize int, v Version) (int, error) {
	var n int
	if len(b) >= 2 && b[1] < 0x80 {
		n = 2 + int(b[1])
	} else {
		h, m, err := ParseHeader(b)
		if err != nil {
			return 0, newError(faultVarintLong, h.Type, v, 1)
		}
		if m == 0 {
			return 0, nil
		}
		n = m + h.Remaining
	}
	if maxSize > 0 && n > maxSize {
		return 0, newError(faultTooLarge, Type(b[0]>>4), v, 1)
	}
	return n, nil
}
