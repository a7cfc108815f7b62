//go:build !unix

package kernel

import "testing"

// guardedPages has no unmapped pages on this system.
func guardedPages(t testing.TB, size int) []byte { return make([]byte, size+1) }
