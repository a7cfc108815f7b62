package selftest_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/device/selftest"
)

// wrong is a device whose convolutions come out squared.
type wrong struct{ *cpu.Device }

func (w wrong) Conv(y, x device.Array, k device.Weight, g device.ConvGeom, low []device.Low, e device.Epilogue) {
	w.Device.Conv(y, x, k, g, low, e)
	w.Mul(y, y, y)
}

func TestRun(t *testing.T) {
	open := func(o cpu.Options) *cpu.Device {
		d, err := cpu.New(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Close)
		return d
	}
	reference := open(cpu.Options{Kernels: cpu.KernelSets()[0]})
	for _, tt := range []struct {
		name      string
		device    device.Device
		precision device.DType
		want      string
	}{
		{"OK", open(cpu.Options{}), device.F32, ""},
		{"ErrWrong", wrong{open(cpu.Options{})}, device.F32, "conv is off by"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checks, err := selftest.Run(tt.device, reference, tt.precision)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			err = selftest.Write(&out, checks)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q\n%s", err, tt.want, &out)
			}
			if n := strings.Count(out.String(), "\n"); n < 8 {
				t.Errorf("%d operations:\n%s", n, &out)
			}
		})
	}
	for _, set := range cpu.BF16Sets() {
		t.Run(set, func(t *testing.T) {
			checks, err := selftest.Run(open(cpu.Options{Precision: device.BF16, BF16: set}), reference, device.BF16)
			var out bytes.Buffer
			if werr := selftest.Write(&out, checks); err != nil || werr != nil {
				t.Errorf("%v, %v\n%s", err, werr, &out)
			}
		})
	}
}
