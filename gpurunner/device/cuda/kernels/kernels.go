// Package kernels holds the CUDA kernels: their sources, for reading, and the
// PTX made of them, embedded.
//
// Each .cu file is a family and becomes a module of its own, loaded when one of
// its kernels is first used. ptx/FAMILY_75.ptx runs from compute capability 7.5
// on; a family with more variants is used in the highest that the GPU has.
// scripts/cuda/build.py writes them, and a check in CI compares the bytes.
//
// cubin may hold machine code, FAMILY_86.cubin for 8.6 to 8.9, so that a fresh container
// compiles nothing: scripts/cuda/build.py --cubins. It is not kept in the
// repository.
package kernels

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed ptx/*.ptx cubin
var files embed.FS

// Module is a family of kernels for one architecture.
type Module struct {
	Family  string
	Arch    int // lowest compute capability, ten times
	PTX     string
	Entries map[string]Signature
}

// Modules returns every embedded module.
var Modules = sync.OnceValue(func() []Module {
	names, _ := fs.Glob(files, "ptx/*.ptx")
	var all []Module
	for _, name := range names {
		family, arch, err := split(name, ".ptx")
		if err != nil {
			panic(err)
		}
		text, _ := files.ReadFile(name)
		m := Module{Family: family, Arch: arch, PTX: string(text)}
		if m.Entries, err = Signatures(m.PTX); err != nil {
			panic(fmt.Sprintf("kernels: %s: %v", name, err))
		}
		all = append(all, m)
	}
	return all
})

// For returns the module of each family for a GPU of that compute capability:
// the highest that is not above it. Families with none are absent.
func For(capability int) map[string]Module {
	best := map[string]Module{}
	for _, m := range Modules() {
		if m.Arch <= capability && m.Arch > best[m.Family].Arch {
			best[m.Family] = m
		}
	}
	return best
}

// Machine returns a family's machine code for a GPU of that compute capability, or
// nil: that for 8.6 runs on 8.7 too, not on 9.0.
func Machine(family string, capability int) []byte { return machine(files, family, capability) }

func machine(files fs.FS, family string, capability int) []byte {
	for c := capability; c >= capability/10*10; c-- {
		if code, err := fs.ReadFile(files, fmt.Sprintf("cubin/%s_%d.cubin", family, c)); err == nil {
			return code
		}
	}
	return nil
}

// split reads FAMILY_ARCH.
func split(name, ext string) (family string, arch int, err error) {
	base := strings.TrimSuffix(path.Base(name), ext)
	i := strings.LastIndexByte(base, '_')
	if i < 0 {
		return "", 0, fmt.Errorf("kernels: %s is not named FAMILY_ARCH%s", name, ext)
	}
	arch, err = strconv.Atoi(base[i+1:])
	return base[:i], arch, err
}
