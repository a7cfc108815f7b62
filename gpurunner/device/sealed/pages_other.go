//go:build !unix

package sealed

import "github.com/lowrank/lowrank/gpurunner/device/cpu"

// pages cannot lock anything here.
type pages struct{ cpu.Anonymous }

func newPages() *pages { return &pages{} }

func (*pages) lock()   {}
func (*pages) unlock() {}

func (*pages) regions() [][]byte { return nil }
