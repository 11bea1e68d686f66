//go:build unix

package process

import (
	"os/exec"
	"syscall"
)

// OwnGroup gives the command a process group of its own, so that it and its children can be ended together, and a
// terminal's interrupt does not reach it before us.
func OwnGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// EndGroup asks the group to end, or makes it.
func EndGroup(cmd *exec.Cmd, now bool) {
	sig := syscall.SIGTERM
	if now {
		sig = syscall.SIGKILL
	}
	if syscall.Kill(-cmd.Process.Pid, sig) != nil {
		_ = cmd.Process.Signal(sig)
	}
}
