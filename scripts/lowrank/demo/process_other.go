//go:build !unix

package demo

import (
	"os"
	"os/exec"
)

func detach(*exec.Cmd) {}

// interrupt kills: there is no gentler way here.
func interrupt(p *os.Process) { _ = p.Kill() }
