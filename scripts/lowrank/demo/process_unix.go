//go:build unix

package demo

import (
	"os"
	"os/exec"
	"syscall"
)

// detach keeps Ctrl-C from the service: the demo stops it itself.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func interrupt(p *os.Process) { _ = p.Signal(syscall.SIGTERM) }
