package enginetest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
)

// EachBF16 runs test with each way of multiplying bf16 that processors have; one
// that this machine lacks is emulated, which is slow: heavy tests take the
// machine's own alone.
func EachBF16(t *testing.T, heavy bool, test func(t *testing.T, name string)) {
	t.Helper()
	have := cpu.BF16Sets()
	for _, name := range cpu.EmulatedBF16Sets() {
		if real := strings.TrimPrefix(name, "emulated-"); slices.Contains(have, real) {
			name = real
		}
		t.Run(name, func(t *testing.T) {
			if heavy && !slices.Contains(have, name) {
				if slices.Contains(strings.Split(os.Getenv("LOWRANK_REQUIRE"), ","), "bf16") {
					t.Fatal("this processor lacks it, and LOWRANK_REQUIRE asks for bf16")
				}
				t.Skip("this processor lacks it, and its emulation would take minutes")
			}
			test(t, name)
		})
	}
}

// BF16 opens the processor in the bf16 mode on so many threads, 0 being all, its
// freed memory full of NaN; "" is float32.
func BF16(t testing.TB, name string, threads int) *cpu.Device {
	t.Helper()
	o := cpu.Options{Threads: threads, Poison: true}
	if name != "" {
		o.Precision, o.BF16 = device.BF16, name
	}
	dev, err := cpu.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	return dev
}
