//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package transport

import "syscall"

func waitRaw(syscall.RawConn) (Readable, bool) { return nil, false }
