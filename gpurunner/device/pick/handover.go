package pick

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/lowrank/lowrank/gpurunner/device/cuda"
)

// probeEnv makes a CUDA build describe its GPU, as JSON, and end.
const probeEnv = "LOWRANK_CUDA_PROBE"

// probeTime is what a driver may take to start.
const probeTime = 30 * time.Second

// ErrNoDriver says that there is no NVIDIA driver.
var ErrNoDriver = errors.New("no NVIDIA driver is installed here; use --device cpu, or install driver 530 or later")

// system is what a handover looks at. Tests replace it.
type system struct {
	exists  func(path string) bool
	self    func() (string, error)
	probe   func(binary string) (cuda.Info, error)
	replace func(binary string, args, env []string) error
	built   bool // this is a CUDA build
}

// Handover replaces the running program by its CUDA build of that name, beside
// it, where r allows it and the GPU can be used; it returns nil where this
// program is to go on. With --device cuda an obstacle is an error; with auto it
// goes to note.
func Handover(name string, r Request, note func(string)) error {
	return handover(system{exists: exists, self: os.Executable, probe: probe, replace: replace, built: built}, name, r, note)
}

func handover(s system, name string, r Request, note func(string)) error {
	if err := r.fill(); err != nil {
		return err
	}
	if s.built || r.Device == "cpu" {
		return nil
	}
	err := obstacle(s, name)
	if err == nil {
		binary, _ := beside(s, name)
		err = s.replace(binary, os.Args, os.Environ())
	}
	switch {
	case err == nil:
		return nil
	case r.Device == "cuda":
		return err
	case note != nil && !errors.Is(err, ErrNoDriver):
		note(fmt.Sprintf("using the processor: %v", err))
	}
	return nil
}

// obstacle says what keeps the CUDA build from running.
func obstacle(s system, name string) error {
	if !driverFound(s) {
		return ErrNoDriver
	}
	binary, err := beside(s, name)
	if err != nil {
		return err
	}
	if !s.exists(binary) {
		return fmt.Errorf("there is an NVIDIA driver, but no %s beside this program to use it", filepath.Base(binary))
	}
	_, err = s.probe(binary)
	return err
}

func beside(s system, name string) (string, error) {
	self, err := s.self()
	if err != nil {
		return "", err
	}
	if resolved, err := filepath.EvalSymlinks(self); err == nil {
		self = resolved
	}
	return filepath.Join(filepath.Dir(self), name), nil
}

// driverFound looks for the driver's library, or, as that may lie anywhere, for
// its device nodes. The CUDA build then shows whether it opens.
func driverFound(s system) bool {
	if runtime.GOOS != "linux" {
		return false
	}
	if s.exists("/dev/nvidiactl") || s.exists("/dev/dxg") {
		return true
	}
	folders := filepath.SplitList(os.Getenv("LD_LIBRARY_PATH"))
	folders = append(folders, "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/lib64", "/usr/local/nvidia/lib64",
		"/usr/local/nvidia/lib", "/usr/local/cuda/compat", "/usr/lib/wsl/lib", "/run/opengl-driver/lib")
	for _, dir := range folders {
		if dir != "" && s.exists(filepath.Join(dir, "libcuda.so.1")) {
			return true
		}
	}
	return false
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// probe asks a CUDA build what it can use. One without a driver dies before its
// main; that is why this is a process.
func probe(binary string) (cuda.Info, error) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = append(os.Environ(), probeEnv+"=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if ctx.Err() != nil {
		return cuda.Info{}, fmt.Errorf("the GPU's driver did not answer within %v", probeTime)
	}
	if err != nil {
		why := strings.TrimSpace(errs.String() + out.String())
		if i := strings.IndexByte(why, '\n'); i >= 0 {
			why = why[:i]
		}
		return cuda.Info{}, fmt.Errorf("%s cannot use the GPU: %s (%w)", filepath.Base(binary), why, err)
	}
	var info cuda.Info
	if err := json.Unmarshal(out.Bytes(), &info); err != nil {
		return info, fmt.Errorf("%s answered something else than a GPU's description: %w", filepath.Base(binary), err)
	}
	return info, nil
}
