//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/mqlab/mqlab/codec"
)

// sinkScheme in place of a broker's makes the served thing a sink: it takes connections and messages and acknowledges
// them, all of one read in one write, and routes nothing. What is measured against it is the client's side alone.
const sinkScheme = "sink://"

// sink is the sink as a server.
var sink = server{"sink", func(port int, _ string) ([]string, error) {
	self, err := os.Executable()
	return []string{self, serveArg, fmt.Sprintf("%s127.0.0.1:%d", sinkScheme, port)}, err
}}

type sinkConn struct {
	in, out []byte
	waits   bool // for the socket to take more
}

func serveSink(url string) error {
	at, err := netip.ParseAddrPort(strings.TrimPrefix(url, sinkScheme))
	if err != nil {
		return err
	}
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(
		unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(listener, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}),
		unix.Listen(listener, 4096),
	); err != nil {
		return err
	}
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	watch := func(op, fd int, events uint32) error {
		return unix.EpollCtl(ep, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	}
	if err := watch(unix.EPOLL_CTL_ADD, listener, unix.EPOLLIN); err != nil {
		return err
	}
	conns := map[int32]*sinkConn{}
	buf := make([]byte, 256<<10)
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(ep, events, -1)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		for _, ev := range events[:n] {
			if int(ev.Fd) == listener {
				for {
					fd, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
					if err != nil {
						break // no more, or no descriptors: the next event tries again
					}
					_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
					if err := watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
						return err
					}
					conns[int32(fd)] = &sinkConn{}
				}
				continue
			}
			c, fd := conns[ev.Fd], int(ev.Fd)
			if err := c.turn(fd, buf); err != nil {
				delete(conns, ev.Fd)
				_ = unix.Close(fd)
				continue
			}
			if waits := len(c.out) > 0; waits != c.waits {
				c.waits = waits
				set := uint32(unix.EPOLLIN)
				if waits {
					set = unix.EPOLLOUT // nothing more is read until the answers are gone
				}
				if err := watch(unix.EPOLL_CTL_MOD, fd, set); err != nil {
					return err
				}
			}
		}
	}
}

// turn reads once, answers, and writes. An error ends the connection.
func (c *sinkConn) turn(fd int, buf []byte) error {
	if len(c.out) == 0 {
		kept := copy(buf, c.in)
		n, err := unix.Read(fd, buf[kept:])
		if errors.Is(err, syscall.EAGAIN) {
			return nil
		}
		if err != nil || n == 0 {
			return errors.Join(err, errors.New("closed"))
		}
		b := buf[:kept+n]
		for {
			size, head := frameSize(b)
			if size == 0 || size > len(b) {
				break
			}
			c.answer(b[:size], head)
			b = b[size:]
		}
		c.in = append(c.in[:0], b...)
		if len(c.in) == 0 {
			c.in = nil
		}
	}
	n, err := unix.Write(fd, c.out)
	if err != nil && !errors.Is(err, syscall.EAGAIN) {
		return err
	}
	if c.out = c.out[:copy(c.out, c.out[max(n, 0):])]; len(c.out) == 0 {
		c.out = nil
	}
	return nil
}

func (c *sinkConn) answer(b []byte, head int) {
	reply := func(t codec.Type, flags byte, id []byte) {
		c.out = append(c.out, byte(t)<<4|flags, 2, id[0], id[1])
	}
	switch codec.Type(b[0] >> 4) {
	case codec.TypeConnect:
		if len(b) > head+6 && b[head+6] == byte(codec.V5) {
			c.out = append(c.out, byte(codec.TypeConnack)<<4, 3, 0, 0, 0)
			return
		}
		reply(codec.TypeConnack, 0, []byte{0, 0})
	case codec.TypePublish:
		at := head + 2 + int(binary.BigEndian.Uint16(b[head:]))
		switch b[0] >> 1 & 3 {
		case 1:
			reply(codec.TypePuback, 0, b[at:])
		case 2:
			reply(codec.TypePubrec, 0, b[at:])
		}
	case codec.TypePubrel:
		reply(codec.TypePubcomp, 0, b[2:])
	case codec.TypePingreq:
		c.out = append(c.out, byte(codec.TypePingresp)<<4, 0)
	}
}
