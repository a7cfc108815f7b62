//go:build !unix

package cpu

import "unsafe"

// Anonymous is memory of the Go heap, where nothing else is at hand.
type Anonymous struct{}

var _ Pages = Anonymous{}

// Map implements Pages.
func (Anonymous) Map(size int) (p []byte, err error) {
	words := make([]uint64, size/8+16)
	p = unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	skip := -int(uintptr(unsafe.Pointer(&p[0]))) & 63
	return p[skip : skip+size : skip+size], nil
}

// Unmap implements Pages.
func (Anonymous) Unmap([]byte) {}
