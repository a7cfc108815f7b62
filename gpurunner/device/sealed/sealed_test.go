package sealed

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/device/devicetest"
)

func TestDevice(t *testing.T) {
	devicetest.Run(t, func() device.Device {
		d, err := New(cpu.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

func TestReachingAroundFaults(t *testing.T) {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" || runtime.GOOS == "js" || runtime.GOOS == "wasip1" {
		t.Skip("no page protection on " + runtime.GOOS)
	}
	d, err := New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	buf, err := d.Alloc(64)
	if err != nil {
		t.Fatal(err)
	}
	a := device.Array{Buf: buf, Len: 16}
	d.Fill(a, 1)
	if !faults(d.pages) {
		t.Error("device memory could be read between calls")
	}
	got := make([]byte, 64)
	d.Download(got, a)
	if got[3] != 0x3f {
		t.Errorf("Download after the fault: % x", got)
	}
}

// faults reports whether reading the first byte of each mapping faults.
func faults(p *pages) (all bool) {
	for _, m := range p.regions() {
		func() {
			defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
			defer func() { all = recover() != nil }()
			sink = m[len(m)/2]
		}()
		if !all {
			return false
		}
	}
	return all
}

var sink byte
