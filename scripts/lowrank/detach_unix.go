//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// detach keeps a terminal's Ctrl-C from a child: the service tells it when to
// stop.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
