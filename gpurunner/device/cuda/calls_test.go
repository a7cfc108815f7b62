//go:build cuda

package cuda

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// Calls is how often the stand-in for the driver was asked to launch a kernel,
// recordings of them included, and a graph.
type Calls struct{ Kernels, Graphs int }

// Replays reports whether c is a step that took eager launches when it was not
// replayed: a graph for every 256 operations, of which few are no kernels, and less
// than a graph's worth besides.
func (c Calls) Replays(eager Calls) bool {
	return c.Graphs > 0 && c.Graphs <= eager.Kernels/chunkOps+2 && c.Kernels < leastOps && eager.Graphs == 0
}

// CountCalls counts from here on; the function it returns gives what came since it
// was called last. On a real GPU ok is false.
func CountCalls(t *testing.T) func() (c Calls, ok bool) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "calls")
	t.Setenv("FAKE_CUDA_CALLS", path)
	read := func() (c Calls, ok bool) {
		b, err := os.ReadFile(path)
		if err != nil || len(b) != 16 {
			return c, false
		}
		return Calls{int(binary.NativeEndian.Uint64(b)), int(binary.NativeEndian.Uint64(b[8:]))}, true
	}
	var last Calls
	return func() (Calls, bool) {
		now, ok := read()
		since := Calls{now.Kernels - last.Kernels, now.Graphs - last.Graphs}
		last = now
		return since, ok
	}
}
