//go:build linux || darwin

package flawed

import "syscall"

// reserve takes n bytes of addresses and touches none of them.
func reserve(n int) {
	_, _ = syscall.Mmap(-1, 0, n, syscall.PROT_READ, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}
