//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package transport

import "syscall"

type rawWaiter struct{ rc syscall.RawConn }

func waitRaw(rc syscall.RawConn) (Readable, bool) { return rawWaiter{rc}, true }

func (w rawWaiter) WaitReadable() error { return w.rc.Read(peek) }

// peek reports whether a read would return. The poller signals edges and RawConn.Read clears the last
// one, so the socket itself has to be asked: to answer false blindly could wait for ever.
func peek(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
	return err != syscall.EAGAIN && err != syscall.EINTR
}
