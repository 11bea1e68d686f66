//go:build !linux && !darwin

package flawed

var reserved [][]byte

// reserve takes n bytes of addresses and touches none of them. The caller holds a lock.
func reserve(n int) { reserved = append(reserved, make([]byte, n)) }
