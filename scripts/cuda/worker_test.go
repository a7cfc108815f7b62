//go:build cuda && linux

package cuda

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A job that does not fit says what to lower, and the same runner takes the next.
func TestErrOutOfMemory(t *testing.T) {
	s := serve(t, t.TempDir(), "", []string{"FAKE_CUDA_MEMORY=33554432"}, "--precision", "f32")
	large := s.ended(s.draw(128))
	if large.Status != "failed" || !strings.Contains(large.Error, "a picture of 128×128 does not fit into the device's memory: lower width and height") {
		t.Errorf("%s, %q", large.Status, large.Error)
	}
	small := s.ended(s.draw(64))
	if small.Status != "succeeded" || !strings.Contains(small.Logs, "Peak memory: 0.02 GiB on cuda sm_86 f32") {
		t.Errorf("%s, %q, log %q", small.Status, small.Error, small.Logs)
	}
	if strings.Contains(s.log.String(), "a runner ended") {
		t.Error("the runner ended")
	}
}

// A base model that does not fit is called that, whatever the job.
func TestErrBaseTooLarge(t *testing.T) {
	s := serve(t, t.TempDir(), "", []string{"FAKE_CUDA_MEMORY=2000000"})
	for _, j := range []job{s.draw(64), s.train(1)} {
		if j = s.ended(j); j.Status != "failed" || !strings.Contains(j.Error, "does not fit into the device's memory: use a smaller base model") ||
			!strings.HasPrefix(j.Error, "the base model's ") {
			t.Errorf("%s, %q", j.Status, j.Error)
		}
	}
	if strings.Contains(s.log.String(), "panic") || strings.Contains(s.log.String(), "a runner ended") {
		t.Error("a runner panicked or ended")
	}
}

// A training that does not fit, in bf16.
func TestErrOutOfMemoryTraining(t *testing.T) {
	s := serve(t, t.TempDir(), "", []string{"FAKE_CUDA_MEMORY=100000000"})
	large := s.ended(s.train(32))
	if large.Status != "failed" || !strings.Contains(large.Error, "train_batch_size 32 at resolution 64 does not fit into the device's memory: lower train_batch_size or resolution") {
		t.Errorf("%s, %q", large.Status, large.Error)
	}
	small := s.ended(s.train(1))
	if small.Status != "succeeded" || !strings.Contains(small.Logs, "GiB on cuda sm_86 bf16") || strings.Contains(small.Logs, "Peak memory: 0.00") {
		t.Errorf("%s, %q, log %q", small.Status, small.Error, small.Logs)
	}
	if strings.Contains(s.log.String(), "a runner ended") {
		t.Error("the runner ended")
	}
}

// A GPU that falls off the bus ends its runner, with a line that says so, and the
// job comes again in the next.
func TestErrLost(t *testing.T) {
	s := serve(t, t.TempDir(), "", []string{"FAKE_CUDA_FAIL=200:" + filepath.Join(t.TempDir(), "failed")}, "--precision", "f32")
	begun := time.Now()
	if j := s.ended(s.draw(64)); j.Status != "succeeded" {
		t.Errorf("%s, %q", j.Status, j.Error)
	}
	t.Logf("drawn after %v", time.Since(begun))
	for _, want := range []string{"the device failed; its job goes back to the queue and this runner ends", "the GPU no longer answers", "exit status 1", "a runner ended and is started again"} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// A runner that cannot have the GPU ends with one line that says why, and leaves the
// job in its queue, for one that can.
func TestErrCannotStart(t *testing.T) {
	dir, token := t.TempDir(), ""
	var waiting job
	for _, tt := range []struct {
		name, precision string
		setting         string
		says            string
	}{
		{"ErrNoDriver", "f32", "LD_LIBRARY_PATH=", "lowrank: no NVIDIA driver is installed here; use --device cpu, or install driver 530 or later"},
		{"ErrDriver", "f32", "FAKE_CUDA_DRIVER=11080", "the driver's interface is CUDA 11.8; the kernels need 12.1, driver 530 or later"},
		{"ErrNoDevice", "f32", "FAKE_CUDA_NO_DEVICE=1", "gpurunner-cuda cannot use the GPU"},
		{"ErrBF16", "bf16", "FAKE_CUDA_SM=75", "Fake GPU has compute capability 7.5, bf16 needs 8.0; use f32 for training and f16 for drawing"},
		{"ErrMemory", "f32", "FAKE_CUDA_MEMORY=100", "out of memory"},
	} {
		if _, err := os.Stat("/dev/nvidiactl"); err == nil && tt.name == "ErrNoDriver" {
			continue // this machine has one
		}
		s := serve(t, dir, token, []string{tt.setting}, "--precision", tt.precision)
		if token = s.token; waiting.ID == "" {
			waiting = s.draw(64)
		}
		s.wait(`(a runner ended and is started again" queue=predictions err="exit status 1)`)
		s.stop()
		lines := 0
		for line := range strings.Lines(s.log.String()) {
			if strings.Contains(line, tt.says) {
				lines++
			}
		}
		if lines == 0 || strings.Contains(s.log.String(), "goroutine ") {
			t.Errorf("%s: the log does not say %q in a line, or it has a stack:\n%s", tt.name, tt.says, s.log)
		}
	}
	s := serve(t, dir, token, nil, "--precision", "f32")
	if j := s.ended(s.get(waiting)); j.Status != "succeeded" {
		t.Errorf("with a GPU: %s, %q", j.Status, j.Error)
	}
}

// A GPU without bf16 computes in f32, which the log says once.
func TestTuring(t *testing.T) {
	s := serve(t, t.TempDir(), "", []string{"FAKE_CUDA_SM=75"})
	j := s.ended(s.draw(64))
	if j.Status != "succeeded" || !strings.Contains(j.Logs, "on cuda sm_75 f32") {
		t.Errorf("%s, %q, log %q", j.Status, j.Error, j.Logs)
	}
	const says = "computing in f32: Fake GPU has compute capability 7.5, bf16 needs 8.0"
	if n := strings.Count(s.log.String(), says); n != 2 { // of the runner that draws and of that which trains
		t.Errorf("the log says %q %d times, want 2", says, n)
	}
}
