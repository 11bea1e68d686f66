//go:build unix

package broker

import (
	"io"
	"net"
	"syscall"

	"github.com/mqlab/mqlab/internal/transport"
)

// rawIO reads and writes a socket without holding a buffer while it waits and without waiting
// while it writes. The closures are made once, so that neither call allocates.
type rawIO struct {
	rc      syscall.RawConn
	onRead  func(fd uintptr) bool
	onWrite func(fd uintptr) bool

	// Read side, used by the reader alone.
	borrow func() []byte // returns where to read to
	giveUp func()        // the socket is empty: give the buffer back
	rn     int
	rerr   error

	// Write side, used by the one goroutine that has set busy.
	wbuf     []byte
	wn       int
	wblocked bool
	werr     error
}

func newRawIO(nc net.Conn, borrow func() []byte, giveUp func()) rawIO {
	rc, ok := transport.RawConn(nc)
	if !ok {
		return rawIO{}
	}
	return rawIO{rc: rc, borrow: borrow, giveUp: giveUp}
}

func (r *rawIO) ok() bool { return r.rc != nil }

// read waits until the socket has bytes and reads them to the borrowed buffer.
func (r *rawIO) read() (int, error) {
	if r.onRead == nil {
		r.onRead = r.tryRead
	}
	if err := r.rc.Read(r.onRead); err != nil {
		return 0, err
	}
	if r.rerr != nil {
		return 0, r.rerr
	}
	if r.rn == 0 {
		return 0, io.EOF
	}
	return r.rn, nil
}

func (r *rawIO) tryRead(fd uintptr) bool {
	buf := r.borrow()
	for {
		n, err := syscall.Read(int(fd), buf)
		switch err {
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			r.giveUp()
			return false
		}
		r.rn, r.rerr = max(n, 0), err
		return true
	}
}

// write writes what the socket takes at once.
func (r *rawIO) write(b []byte) (n int, blocked bool, err error) {
	if r.onWrite == nil {
		r.onWrite = r.tryWrite
	}
	r.wbuf, r.wn, r.wblocked, r.werr = b, 0, false, nil
	err = r.rc.Write(r.onWrite)
	r.wbuf = nil
	if err == nil {
		err = r.werr
	}
	return r.wn, r.wblocked, err
}

func (r *rawIO) tryWrite(fd uintptr) bool {
	for r.wn < len(r.wbuf) {
		n, err := syscall.Write(int(fd), r.wbuf[r.wn:])
		switch err {
		case nil:
			r.wn += n
		case syscall.EINTR:
		case syscall.EAGAIN:
			r.wblocked = true
			return true
		default:
			r.werr = err
			return true
		}
	}
	return true
}
