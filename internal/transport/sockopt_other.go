//go:build !linux

package transport

import "syscall"

func lateBind(_, _ string, _ syscall.RawConn) error { return nil }
