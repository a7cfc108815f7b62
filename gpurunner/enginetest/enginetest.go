// Package enginetest runs the engine's tests over every device and kernel set
// that the machine has; with the build tag cuda, over the GPU instead. It is for
// tests only.
package enginetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Each runs test with a pool on each device: the processor with each of its
// kernel sets, freed memory full of NaN, or the GPU. What a test allocates it
// must give back.
func Each(t *testing.T, test func(t *testing.T, pool *tensor.Pool)) {
	t.Helper()
	for _, d := range devices() {
		t.Run(d.name, func(t *testing.T) { Check(t, d.open(t), test) })
	}
}

// kind is a device that tests run on. open ends the test if it fails.
type kind struct {
	name string
	open func(t testing.TB) device.Device
}

// Check runs test on dev and sees to it that all memory comes back.
func Check(t *testing.T, dev device.Device, test func(t *testing.T, pool *tensor.Pool)) {
	t.Helper()
	pool := tensor.NewPool(dev)
	before := dev.Stats().Live
	test(t, pool)
	if t.Failed() {
		return
	}
	if n := pool.Live(); n != 0 {
		t.Errorf("%d tensors were not released", n)
	}
	if after := dev.Stats().Live; after != before {
		t.Errorf("%d bytes of device memory were not given back", after-before)
	}
}

// Pool returns a pool on the machine's best kernels.
func Pool(t testing.TB) *tensor.Pool {
	t.Helper()
	all := devices()
	return tensor.NewPool(all[len(all)-1].open(t))
}

// Open returns the only .safetensors file of a model's folder as a source.
func Open(t testing.TB, dir string) nn.Source {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%s holds %d .safetensors files, want one (%v)", dir, len(files), err)
	}
	f, err := safetensors.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return nn.FromTensors(f)
}

// Read returns a file's contents.
func Read(t testing.TB, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TapName is the name under which the expected numbers keep a module's output.
func TapName(path string) string { return "tap." + strings.TrimPrefix(path, "text_model.") }
