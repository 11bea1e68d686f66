package transport

import "syscall"

// ipBindAddressNoPort is IP_BIND_ADDRESS_NO_PORT, absent from package syscall.
const ipBindAddressNoPort = 24

// lateBind lets the kernel choose the source port at connect, per destination, and not at bind: without
// it one source address is used up after some 28,000 connections to any number of targets. A kernel
// that does not know the option still connects.
func lateBind(_, _ string, rc syscall.RawConn) error {
	return rc.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1)
	})
}
