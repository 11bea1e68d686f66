//go:build !linux

package process

import (
	"errors"
	"fmt"
	"os"
)

// Sample measures a process and its descendants. Only Linux tells enough of them.
func Sample(int) (Usage, error) {
	return Usage{}, fmt.Errorf("measure a process on this system: %w", errors.ErrUnsupported)
}

// birth reports whether there is such a process.
func birth(pid int) (uint64, error) {
	p, err := os.FindProcess(pid)
	if err != nil {
		return 0, err
	}
	return 0, p.Release()
}
