package infratest

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// LargeBytesEnv sets the size of the object in Blobs/Large. The service's limit
// is 1 GiB; an ordinary test run uses less, to be quick.
const LargeBytesEnv = "LOWRANK_LARGE_BYTES"

// largeMemory is how much the heap may grow while a large object passes, in bytes:
// a few buffers of a multipart upload, far less than the object.
const largeMemory = 48 << 20

func testBlobLarge(t *testing.T, a Adapter) {
	size := int64(96 << 20)
	if v := os.Getenv(LargeBytesEnv); v != "" {
		size = must1(strconv.ParseInt(v, 10, 64))(t)
	} else if required("large") {
		size = 1 << 30
	}
	key := unique("tests/large-")
	hash := sha256.New()
	heap := watchHeap()
	info := must1(a.Blobs.Put(t.Context(), key, io.TeeReader(&zeros{left: size}, hash), infra.PutOptions{}))(t)
	if want := hex.EncodeToString(hash.Sum(nil)); info.Size != size || info.SHA256 != want {
		t.Errorf("Put returned size %d and sha256 %s, want %d and %s", info.Size, info.SHA256, size, want)
	}
	b := must1(a.Blobs.Get(t.Context(), key, infra.GetOptions{}))(t)
	back := sha256.New()
	n := must1(io.Copy(back, b.Body))(t)
	must(t, b.Body.Close())
	if n != size || hex.EncodeToString(back.Sum(nil)) != info.SHA256 {
		t.Errorf("read %d bytes, of another content or size than the %d put", n, size)
	}
	if grown := heap(); grown > largeMemory {
		t.Errorf("the heap grew by %d MiB over an object of %d MiB, want at most %d", grown>>20, size>>20, largeMemory>>20)
	}
	must(t, a.Blobs.Delete(t.Context(), key))
}

// zeros reads as numbered blocks of 64 KiB, so that a swapped one is noticed.
type zeros struct{ left, n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left, 64<<10)
	clear(p[:n])
	p[0] = byte(z.n) | 1
	z.n++
	z.left -= n
	return int(n), nil
}

// watchHeap samples the heap in use until the returned function is called, which
// says by how much it grew at most, in bytes.
func watchHeap() (grown func() int64) {
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse)
	}
	runtime.GC()
	base := inUse()
	var highest atomic.Int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				highest.Store(max(highest.Load(), inUse()-base))
			}
		}
	}()
	return func() int64 {
		close(stop)
		<-stopped
		return highest.Load()
	}
}
