//go:build cuda

package cuda

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// onFake skips a test that needs the fake driver's settings.
func onFake(t *testing.T) {
	t.Helper()
	info, err := Probe(0)
	if err == nil && info.Name != "Fake GPU" {
		t.Skip("the fake driver's faults cannot be had from a real one")
	}
}

// floats allocates n floats of zero.
func floats(t *testing.T, d *Device, n int) device.Array {
	t.Helper()
	b, err := d.Alloc(4 * n)
	if err != nil {
		t.Fatal(err)
	}
	a := device.Array{Buf: b, Len: n, Type: device.F32}
	d.Fill(a, 0)
	return a
}

// wantLost wants a failure that ends the process, and that says what.
func wantLost(t *testing.T, d *Device, what ...string) {
	t.Helper()
	err := d.Sync()
	if !errors.Is(err, ErrLost) {
		t.Fatalf("Sync: %v, want ErrLost", err)
	}
	for _, w := range what {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("Sync: %q does not say %q", err, w)
		}
	}
	if again := d.Sync(); !errors.Is(again, ErrLost) {
		t.Errorf("a second Sync: %v; a failure is for ever", again)
	}
	d.Fill(device.Array{Buf: d.fault, Len: 4, Type: device.F32}, 0) // and nothing panics
}

func TestErrOutOfBounds(t *testing.T) {
	onFake(t)
	for _, past := range []int{1, 1000, 4096} {
		d := open(t, Options{})
		y, x := floats(t, d, 100), floats(t, d, 100)
		d.launch("add", line(100+past, 256), 256, address(d.place("", "", y)), address(d.place("", "", x)), address(d.place("", "", x)), count(100+past))
		wantLost(t, d, "add", "past the end")
		d.Close()
	}
}

func TestErrOverrunWithinPage(t *testing.T) {
	onFake(t)
	// Three floats end four bytes before the guard page.
	d := open(t, Options{})
	defer d.Close()
	y, x := floats(t, d, 3), floats(t, d, 64)
	d.launch("add", line(4, 256), 256, address(d.place("", "", y)), address(d.place("", "", x)), address(d.place("", "", x)), count(4))
	wantLost(t, d, "kernel add", "around an allocation of 12 bytes")
}

func TestErrUseAfterFree(t *testing.T) {
	onFake(t)
	d := open(t, Options{})
	defer d.Close()
	y, x := floats(t, d, 100), floats(t, d, 100)
	stale := d.place("", "", x)
	d.Release(x.Buf)
	d.launch("add", line(100, 256), 256, address(d.place("", "", y)), address(stale), address(stale), count(100))
	wantLost(t, d, "add")
}

// Memory given back while kernels that use it are queued is theirs until then.
func TestReleaseWhileQueued(t *testing.T) {
	d := open(t, Options{})
	defer d.Close()
	x, y := floats(t, d, 1000), floats(t, d, 1000)
	d.Fill(x, 3)
	d.Add(y, x, x)
	d.Release(x.Buf)
	z := floats(t, d, 1000)
	d.Fill(z, 5)
	if got := read(t, d, y)[999]; got != 6 {
		t.Errorf("got %v, want 6", got)
	}
}

func TestErrLaunchFailed(t *testing.T) {
	onFake(t)
	t.Setenv("FAKE_CUDA_FAIL", "3")
	d := open(t, Options{})
	defer d.Close()
	x := floats(t, d, 10)
	for range 10 {
		d.Add(x, x, x)
	}
	wantLost(t, d, "add", "FAKE_CUDA_FAIL")
	if _, err := d.Alloc(10); !errors.Is(err, ErrLost) {
		t.Errorf("Alloc after the failure: %v, want ErrLost", err)
	}
}

func TestErrOutOfMemory(t *testing.T) {
	onFake(t)
	t.Setenv("FAKE_CUDA_MEMORY", "1048576")
	d := open(t, Options{})
	defer d.Close()
	b, err := d.Alloc(700 << 10)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Alloc(700 << 10)
	if !errors.Is(err, device.ErrOutOfMemory) || !strings.Contains(err.Error(), "MiB are free") {
		t.Fatalf("Alloc of more than there is: %v", err)
	}
	if err := d.Sync(); err != nil {
		t.Errorf("and then Sync: %v; running out of memory poisons nothing", err)
	}
	d.Release(b)
	if b, err = d.Alloc(700 << 10); err != nil {
		t.Fatalf("after Release: %v", err)
	}
	d.Release(b)
	// Inside an operation it comes out of Sync, without ErrLost.
	x := floats(t, d, 200<<10)
	out := floats(t, d, 1)
	g := device.ConvGeom{N: 1, H: 64, W: 64, C: 20, O: 2, KH: 1, KW: 1, Stride: 1, UpH: 128, UpW: 128}
	w, err := d.Freeze(device.HostWeight{Type: device.F32, Shape: []int{2, 20, 1, 1}, Data: make([]byte, 160)})
	if err != nil {
		t.Fatal(err)
	}
	d.ConvBack(x.Slice(0, 64*64*20), x.Slice(0, 128*128*2), w, g, 0)
	if err := d.Sync(); !errors.Is(err, device.ErrOutOfMemory) || errors.Is(err, ErrLost) {
		t.Errorf("Sync after an operation without room: %v", err)
	}
	if err := d.Sync(); err != nil {
		t.Errorf("a second Sync: %v; the next job may fit", err)
	}
	d.Thaw(w)
	d.Release(out.Buf)
}

func TestErrUnusable(t *testing.T) {
	onFake(t)
	for _, tt := range []struct {
		name, variable, value string
		o                     Options
		want                  string
	}{
		{"ErrDriver", "FAKE_CUDA_DRIVER", "11080", Options{}, "driver 530"},
		{"ErrCapability", "FAKE_CUDA_SM", "70", Options{}, "need 7.5"},
		{"ErrBF16", "FAKE_CUDA_SM", "75", Options{Precision: device.BF16}, "bf16 needs 8.0"},
		{"ErrOrdinal", "", "", Options{Ordinal: 3}, "number 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.variable != "" {
				t.Setenv(tt.variable, tt.value)
			}
			_, err := Open(tt.o)
			if !errors.Is(err, ErrUnusable) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Open: %v, want ErrUnusable with %q", err, tt.want)
			}
		})
	}
	if _, err := Open(Options{Precision: device.I32}); err == nil {
		t.Error("Open in i32: no error")
	}
}

func TestErrRow(t *testing.T) {
	d := open(t, Options{})
	defer d.Close()
	table, y := floats(t, d, 12), floats(t, d, 3)
	b, err := d.Alloc(4)
	if err != nil {
		t.Fatal(err)
	}
	ids := device.Array{Buf: b, Len: 1, Type: device.I32}
	d.Upload(ids, []byte{4, 0, 0, 0})
	d.Gather(y.Matrix(1, 3), table.Matrix(4, 3), ids)
	if err := d.Sync(); err == nil || !strings.Contains(err.Error(), "row 4 of a table of 4 rows") {
		t.Errorf("Sync: %v", err)
	}
	if err := d.Sync(); err != nil {
		t.Errorf("a second Sync: %v", err)
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	d := open(t, Options{})
	defer d.Close()
	for name, args := range map[string][]arg{
		"ErrCount": {address(0)},
		"ErrSize":  {address(0), address(0), address(0), whole(1)},
		"ErrFloat": {address(0), address(0), whole(0)},
	} {
		kernel := "add"
		if name == "ErrFloat" {
			kernel = "clip_factor"
		}
		t.Run(name, func(t *testing.T) {
			defer func() {
				if r, _ := recover().(string); !strings.Contains(r, "kernel "+kernel) {
					t.Errorf("recovered %q", r)
				}
			}()
			d.launch(kernel, grid{1, 1, 1}, 32, args...)
		})
	}
}

func TestCancel(t *testing.T) {
	d := open(t, Options{})
	defer d.Close()
	ctx, cancel := context.WithCancel(context.Background())
	d.Bind(ctx)
	cancel()
	x := floats(t, d, 10)
	d.Add(x, x, x)
	if err := d.Sync(); !errors.Is(err, context.Canceled) {
		t.Errorf("Sync: %v", err)
	}
}
