//go:build unix

package sealed

import (
	"slices"
	"sync"

	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"golang.org/x/sys/unix"
)

// pages maps memory that lock makes inaccessible.
type pages struct {
	mu     sync.Mutex
	mapped [][]byte
}

var _ cpu.Pages = (*pages)(nil)

func newPages() *pages { return &pages{} }

// Map implements cpu.Pages.
func (p *pages) Map(size int) ([]byte, error) {
	m, err := cpu.Anonymous{}.Map(size)
	if err == nil {
		p.mu.Lock()
		p.mapped = append(p.mapped, m)
		p.mu.Unlock()
	}
	return m, err
}

// Unmap implements cpu.Pages.
func (p *pages) Unmap(m []byte) {
	p.mu.Lock()
	p.mapped = slices.DeleteFunc(p.mapped, func(o []byte) bool { return &o[0] == &m[0] })
	p.mu.Unlock()
	cpu.Anonymous{}.Unmap(m)
}

func (p *pages) lock()   { p.protect(unix.PROT_NONE) }
func (p *pages) unlock() { p.protect(unix.PROT_READ | unix.PROT_WRITE) }

func (p *pages) protect(how int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.mapped {
		if err := unix.Mprotect(m, how); err != nil {
			panic("sealed: " + err.Error())
		}
	}
}

// regions lists what is mapped.
func (p *pages) regions() [][]byte { return p.mapped }
