package loadgen

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// directSockets says that workers do input and output on sockets themselves.
const directSockets = true

// errAgain is what a socket says that has nothing to read or no room to write.
var errAgain error = syscall.EAGAIN

// dialSocket begins a connection that does not block. The socket can be written to once the poller says so.
func dialSocket(to netip.AddrPort, path string, source netip.Addr) (int, error) {
	family := unix.AF_INET
	var addr unix.Sockaddr
	switch {
	case path != "":
		family, addr = unix.AF_UNIX, &unix.SockaddrUnix{Name: path}
	case to.Addr().Is4() || to.Addr().Is4In6():
		addr = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().Unmap().As4()}
	default:
		family, addr = unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if path == "" {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1) // where it fails, arrivals are told when they are read
		if source.IsValid() {
			if err := bindSource(fd, source); err != nil {
				unix.Close(fd)
				return -1, err
			}
		}
	}
	for {
		err = unix.Connect(fd, addr)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// bindSource sets the local address and leaves the port to connect, which knows the whole tuple and can use a port again
// that is taken towards another address.
func bindSource(fd int, source netip.Addr) error {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	var addr unix.Sockaddr = &unix.SockaddrInet6{Addr: source.As16()}
	if source.Unmap().Is4() {
		addr = &unix.SockaddrInet4{Addr: source.Unmap().As4()}
	}
	return os.NewSyscallError("bind", unix.Bind(fd, addr))
}

// socketError is the error that a connection has come to.
func socketError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if n != 0 {
		return syscall.Errno(n)
	}
	return nil
}

// arrivals reads sockets that were dialled here, with the instant at which the system took in what was read last.
type arrivals struct {
	hdr     unix.Msghdr
	iov     unix.Iovec
	control [64]byte // aligned, as what is in front of it is
}

// read is readSocket with a stamp in nanoseconds of the wall clock; 0 where the system gives none.
func (a *arrivals) read(fd int, b []byte) (n int, stamp int64, err error) {
	a.iov.Base = unsafe.SliceData(b)
	a.iov.SetLen(len(b))
	a.hdr.Iov, a.hdr.Iovlen = &a.iov, 1
	a.hdr.Control = &a.control[0]
	for {
		a.hdr.SetControllen(len(a.control))
		n, _, e := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&a.hdr)), unix.MSG_DONTWAIT)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, 0, e
		}
		return int(n), a.stamp(), nil
	}
}

func (a *arrivals) stamp() int64 {
	const size = unix.SizeofCmsghdr + int(unsafe.Sizeof(unix.Timespec{}))
	if int(a.hdr.Controllen) < size {
		return 0
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&a.control[0]))
	if h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_TIMESTAMPNS {
		return 0
	}
	return (*unix.Timespec)(unsafe.Pointer(&a.control[unix.SizeofCmsghdr])).Nano()
}

// readSocket and writeSocket do not block, so the scheduler need not know of them.
func readSocket(fd int, b []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(n), nil
	}
}

func writeSocket(fd int, b []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(n), nil
	}
}

// closeSocket closes; with reset the peer sees the connection break rather than end.
func closeSocket(fd int, reset bool) {
	if reset {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(fd)
}
