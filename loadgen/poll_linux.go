package loadgen

import (
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller waits for sockets and for wake, with timeouts to the nanosecond. Sockets are watched by edges: one registration
// for the life of a connection, and no call to change what is waited for.
type poller struct {
	fd, wakeFD int
	events     [256]unix.EpollEvent
	coarse     bool // the system has no epoll_pwait2
	woken      atomic.Bool
}

const wakeToken = ^uint64(0)

// event is what the poller saw of a socket.
type event struct {
	token             uint64
	readable, closing bool
	writable          bool
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &poller{fd: fd, wakeFD: wake}
	if err := p.control(unix.EPOLL_CTL_ADD, wake, unix.EPOLLIN, wakeToken); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// prepare makes timeouts of the calling thread exact: the system otherwise adds 50 us to let them fall together.
func (p *poller) prepare() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

func (p *poller) control(op, fd int, events uint32, token uint64) error {
	ev := unix.EpollEvent{Events: events}
	*(*uint64)(unsafe.Pointer(&ev.Fd)) = token // Fd and Pad are the 64 bits of epoll_data
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, op, fd, &ev))
}

func (p *poller) add(fd int, token uint64) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET, token)
}

// wait calls f for each event, after at most timeout nanoseconds; never waits for an event.
func (p *poller) wait(timeout int64, f func(event)) error {
	n, err := p.collect(timeout)
	if err == unix.EINTR {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("epoll_pwait2", err)
	}
	for i := range n {
		ev := &p.events[i]
		token := *(*uint64)(unsafe.Pointer(&ev.Fd))
		if token == wakeToken {
			var b [8]byte
			_, _ = unix.Read(p.wakeFD, b[:])
			p.woken.Store(false)
			continue
		}
		f(event{
			token:    token,
			readable: ev.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0,
			closing:  ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0,
			writable: ev.Events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0,
		})
	}
	return nil
}

func (p *poller) collect(timeout int64) (int, error) {
	if timeout <= 0 {
		// Without a wait the call returns at once: the scheduler need not know of it.
		n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), 0, 0, 0)
		return result(n, e)
	}
	if !p.coarse {
		var ts *unix.Timespec
		if timeout != never {
			t := unix.NsecToTimespec(timeout)
			ts = &t
		}
		n, _, e := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)),
			uintptr(unsafe.Pointer(ts)), 0, 0)
		if e != unix.ENOSYS && e != unix.EPERM {
			return result(n, e)
		}
		p.coarse = true
	}
	ms := -1
	if timeout != never {
		ms = int(min(timeout/1e6+1, 1<<30))
	}
	return unix.EpollWait(p.fd, p.events[:], ms)
}

func result(n uintptr, e unix.Errno) (int, error) {
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// wake ends a wait. It may be called from any goroutine.
func (p *poller) wake() {
	if p.woken.Swap(true) {
		return
	}
	_, _ = unix.Write(p.wakeFD, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

func (p *poller) close() {
	unix.Close(p.wakeFD)
	unix.Close(p.fd)
}

// threadCPU is the processor time of the calling thread in nanoseconds.
func threadCPU() int64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
