//go:build !unix

package process

import "os/exec"

func ownGroup(*exec.Cmd) {}

// endGroup ends the process: there is no gentle way here.
func endGroup(cmd *exec.Cmd, _ bool) { _ = cmd.Process.Kill() }
