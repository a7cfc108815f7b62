//go:build cuda

package cuda

import (
	"bytes"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

func TestDoctor(t *testing.T) {
	for _, typ := range []device.DType{device.F32, device.BF16, device.F16} {
		t.Run(typ.String(), func(t *testing.T) {
			var out bytes.Buffer
			if err := Doctor(&out, Options{Precision: typ, Direct: true}); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for _, want := range []string{"driver", "memory", "; for 7.5: attention, ", "optimiser      ok"} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, out.String())
				}
			}
		})
	}
}
