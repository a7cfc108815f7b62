package pick

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cuda"
)

func TestHandover(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there are CUDA builds for Linux only")
	}
	const driver, library = "/dev/nvidiactl", "/usr/lib64/libcuda.so.1"
	binary := filepath.Join("/opt/app", "gpurunner-cuda")
	broken := errors.New("the GPU is on fire")
	for _, tt := range []struct {
		name     string
		device   string
		files    []string
		probe    error
		built    bool
		replaced bool
		note     string
		want     string // of the error
	}{
		{name: "OK", files: []string{driver, library, binary}, replaced: true},
		{name: "CUDA", device: "cuda", files: []string{driver, library, binary}, replaced: true},
		{name: "CPU", device: "cpu", files: []string{driver, library, binary}},
		{name: "Built", files: []string{driver, library, binary}, built: true},
		{name: "NoDriver", files: []string{binary}},
		{name: "Library", files: []string{library, binary}, replaced: true},
		{name: "Nodes", files: []string{driver, binary}, replaced: true},
		{name: "NoBinary", files: []string{driver}, note: "no gpurunner-cuda beside"},
		{name: "NoGPU", files: []string{driver, library, binary}, probe: broken, note: "on fire"},
		{name: "ErrNoDriver", device: "cuda", files: []string{binary}, want: "no NVIDIA driver"},
		{name: "ErrNoBinary", device: "cuda", files: []string{driver, library}, want: "no gpurunner-cuda beside"},
		{name: "ErrNoGPU", device: "cuda", files: []string{driver, library, binary}, probe: broken, want: "on fire"},
		{name: "ErrDevice", device: "gpu", want: `device "gpu" is not known`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("LD_LIBRARY_PATH", "")
			replaced, note := false, ""
			s := system{
				exists: func(path string) bool {
					for _, f := range tt.files {
						if f == path {
							return true
						}
					}
					return false
				},
				self:    func() (string, error) { return "/opt/app/gpurunner", nil },
				probe:   func(string) (cuda.Info, error) { return cuda.Info{}, tt.probe },
				replace: func(string, []string, []string) error { replaced = true; return nil },
				built:   tt.built,
			}
			err := handover(s, "gpurunner-cuda", Request{Device: tt.device}, func(n string) { note = n })
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if replaced != tt.replaced {
				t.Errorf("replaced: %v, want %v", replaced, tt.replaced)
			}
			if tt.note == "" && note != "" || !strings.Contains(note, tt.note) {
				t.Errorf("note %q, want %q", note, tt.note)
			}
		})
	}
}

// A program that is no CUDA build, or dies, is an obstacle with its own words.
func TestProbe(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the stand-ins are shell scripts")
	}
	for name, tt := range map[string]struct{ script, want string }{
		"OK":         {`echo '{"Name":"A GPU","Capability":89}'`, ""},
		"ErrDies":    {`echo 'libcuda.so.1: cannot open' >&2; exit 127`, "cannot open"},
		"ErrNotJSON": {`echo hello`, "something else"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "gpurunner-cuda")
			if err := os.WriteFile(path, []byte("#!/bin/sh\n[ -n \"$"+probeEnv+"\" ] || exit 9\n"+tt.script+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			info, err := probe(path)
			if tt.want == "" && (err != nil || info.Capability != 89) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%+v, %v; want error %q", info, err, tt.want)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	for _, tt := range []struct{ device, precision, want string }{
		{"cpu", "", ""}, {"cpu", "auto", ""}, {"cpu", "f16", "f16 needs a GPU"}, {"gpu", "", "must be auto, cpu or cuda"}, {"", "f8", "must be auto, f32, bf16 or f16"},
	} {
		d, err := Open(Request{Device: tt.device, Precision: tt.precision}, nil)
		if tt.want == "" && (err != nil || !strings.HasPrefix(d.Name(), "cpu")) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("Open(%q, %q): %v", tt.device, tt.precision, err)
		}
	}
	if !built {
		if _, err := Open(Request{Device: "cuda"}, nil); !errors.Is(err, cuda.ErrNotBuilt) {
			t.Errorf("Open of cuda in a plain build: %v", err)
		}
		if d, err := Open(Request{}, nil); err != nil || !strings.HasPrefix(d.Name(), "cpu") {
			t.Errorf("Open of auto in a plain build: %v", err)
		}
	}
}

// The processor's default is f32, whatever it has.
func TestProcessor(t *testing.T) {
	for _, tt := range []struct {
		precision string
		bf16      bool
		want      device.DType
		err       string
	}{
		{"", true, device.F32, ""}, {"f32", true, device.F32, ""}, {"auto", true, device.BF16, ""}, {"bf16", true, device.BF16, ""},
		{"", false, device.F32, ""}, {"auto", false, device.F32, ""}, {"bf16", false, device.F32, "neither AMX nor AVX512-BF16"},
		{"f16", true, device.F32, "needs a GPU"},
	} {
		o, err := processor(tt.precision, tt.bf16)
		if o.Precision != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q, bf16 %v: %v, %v; want %v, %q", tt.precision, tt.bf16, o.Precision, err, tt.want, tt.err)
		}
	}
}

func TestPrecision(t *testing.T) {
	for _, tt := range []struct {
		name       string
		capability int
		want       device.DType
	}{
		{"auto", 75, device.F32}, {"auto", 80, device.BF16}, {"auto", 90, device.BF16},
		{"f32", 90, device.F32}, {"f16", 75, device.F16}, {"bf16", 75, device.BF16}, // which New refuses
	} {
		info := cuda.Info{Capability: tt.capability}
		if got := precision(tt.name, info); got != tt.want {
			t.Errorf("%s on %d: %v, want %v", tt.name, tt.capability, got, tt.want)
		}
		if said := withoutBF16(tt.name, info); (said != "") != (tt.name == "auto" && tt.want == device.F32) {
			t.Errorf("%s on %d: it says %q", tt.name, tt.capability, said)
		}
	}
}
