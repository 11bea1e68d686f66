//go:build !unix

package process

import "os/exec"

// OwnGroup does nothing here.
func OwnGroup(*exec.Cmd) {}

// EndGroup ends the process: there is no gentle way here.
func EndGroup(cmd *exec.Cmd, _ bool) { _ = cmd.Process.Kill() }
