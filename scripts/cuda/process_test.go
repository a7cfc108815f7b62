//go:build cuda && linux

// Package cuda tests the programs as processes on the stand-in for the driver.
// scripts/cuda/check.sh runs it.
package cuda

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// programs builds the plain program and, beside it, the CUDA build.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "lowrank-cuda-*")
	if err != nil {
		return "", err
	}
	for _, args := range [][]string{{"-tags", "cuda", "-o", filepath.Join(dir, "gpurunner-cuda")}, {"-o", filepath.Join(dir, "lowrank")}} {
		cmd := exec.Command("go", append(append([]string{"build"}, args...), "../lowrank")...)
		if args[0] == "-o" {
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return dir, fmt.Errorf("%w\n%s", err, out)
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := programs(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// lowrank is the plain program with settings of the stand-in.
func lowrank(t *testing.T, settings []string, args ...string) *exec.Cmd {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "lowrank"), args...)
	cmd.Env = append(append(os.Environ(), "HOME="+t.TempDir()), settings...)
	return cmd
}

// The plain program becomes the CUDA build, which finds the GPU and proves it;
// what keeps it from that is said in one sentence.
func TestHandover(t *testing.T) {
	for _, tt := range []struct {
		name     string
		settings []string
		args     []string
		says     []string
		fails    bool
	}{
		{"OK", nil, nil, []string{"Fake GPU", "tensor cores, bf16", "self-test"}, false},
		{"F32", nil, []string{"--precision", "f32"}, []string{"float32 multiply-adds", "off by 0,"}, false},
		{"Turing", []string{"FAKE_CUDA_SM=75"}, []string{"--precision", "f16"}, []string{"capability 7.5", "tensor cores, f16"}, false},
		{"TuringAuto", []string{"FAKE_CUDA_SM=75"}, nil, []string{"precision      computing in f32: Fake GPU has compute capability 7.5", "float32 multiply-adds"}, false},
		{"CPU", nil, []string{"--device", "cpu"}, []string{"device         cpu"}, false},
		{"NoDevice", []string{"FAKE_CUDA_NO_DEVICE=1"}, nil, []string{"using the processor: gpurunner-cuda cannot use the GPU", "device         cpu"}, false},
		{"ErrNoDevice", []string{"FAKE_CUDA_NO_DEVICE=1"}, []string{"--device", "cuda"}, []string{"gpurunner-cuda cannot use the GPU"}, true},
		{"ErrDriver", []string{"FAKE_CUDA_DRIVER=11080"}, []string{"--device", "cuda"}, []string{"CUDA 11.8", "driver 530 or later"}, true},
		{"ErrBF16", []string{"FAKE_CUDA_SM=75"}, []string{"--device", "cuda", "--precision", "bf16"}, []string{"bf16 needs 8.0; use f32 for training and f16 for drawing"}, true},
		{"ErrMemory", []string{"FAKE_CUDA_MEMORY=100000"}, []string{"--device", "cuda"}, []string{"out of memory"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := lowrank(t, tt.settings, append([]string{"doctor"}, tt.args...)...).CombinedOutput()
			if (err != nil) != tt.fails {
				t.Errorf("ended with %v", err)
			}
			for _, want := range tt.says {
				if !bytes.Contains(out, []byte(want)) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			if bytes.Contains(out, []byte("goroutine ")) {
				t.Errorf("a panic:\n%s", out)
			}
		})
	}
}
