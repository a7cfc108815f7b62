//go:build unix

package kernel

import (
	"testing"

	"golang.org/x/sys/unix"
)

func guardedPages(t testing.TB, size int) []byte {
	t.Helper()
	page := unix.Getpagesize()
	n := (size+page-1)/page*page + page // never empty
	mem, err := unix.Mmap(-1, 0, n+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	for _, guard := range [][]byte{mem[:page], mem[page+n:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return mem[page : page+n]
}
