package train

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// childEnv makes this test binary a process that trains and can be killed; its
// value is the folder that the process works in.
const childEnv = "LOWRANK_TEST_TRAIN_CHILD"

// child trains in a process of its own, a checkpoint after every step.
func child(dir string) int {
	if err := trainIn(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func trainIn(dir string) error {
	b, err := base.Open(filepath.Join(dir, "model"), base.Options{})
	if err != nil {
		return err
	}
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		return err
	}
	m, err := diffusion.Open(tensor.NewPool(dev), b)
	if err != nil {
		return err
	}
	job := (&tiny{model: m}).everything(filepath.Join(dir, "checkpoint"))
	job.Options.MaxTrainStepsTI, job.Options.MaxTrainStepsTuning = 12, 12
	job.CheckpointEvery, job.Resume = 1, true
	r, err := Run(context.Background(), job)
	if err != nil {
		return err
	}
	return lora.WriteFile(filepath.Join(dir, "out.safetensors"), r.Set, lora.Cloneofsimo)
}

// TestKill kills a training process (SIGKILL: it has no chance to save anything)
// at random moments, starts it again each time, and wants the bytes of one that
// nobody touched. LOWRANK_REQUIRE=kill kills twenty times instead of four.
func TestKill(t *testing.T) {
	times := 4
	if paritytest.Required("kill") {
		times = 20
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	model := paritytest.Roots(t)[0].Path("models/sd15-tiny")
	folder := func() string {
		dir := t.TempDir()
		if err := os.CopyFS(filepath.Join(dir, "model"), os.DirFS(model)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	start := func(dir string) *exec.Cmd {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	whole := folder()
	began := time.Now()
	if err := start(whole).Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	want, err := os.ReadFile(filepath.Join(whole, "out.safetensors"))
	if err != nil {
		t.Fatal(err)
	}

	dir, seed := folder(), uint64(began.UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	kills, half := 0, 0
	for kills < times {
		// Early ends are as likely as late ones. A process that ends by
		// itself leaves a result, which is taken away again with its
		// checkpoint, so that every kill hits one at work.
		cmd := start(dir)
		time.Sleep(time.Duration(random.Float64() * float64(took)))
		if err := cmd.Process.Kill(); err != nil {
			t.Logf("it was done already: %v", err)
		}
		if err := cmd.Wait(); err == nil {
			compareKilled(t, dir, want, seed)
			for _, name := range []string{"out.safetensors", "checkpoint"} {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		kills++
		if left, _ := filepath.Glob(filepath.Join(dir, ".*.partial")); len(left) > 0 {
			half++
		}
	}
	if err := start(dir).Wait(); err != nil {
		t.Fatal(err)
	}
	compareKilled(t, dir, want, seed)
	t.Logf("killed %d times, %d of them while a file was written", kills, half)
}

func compareKilled(t *testing.T, dir string, want []byte, seed uint64) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, "out.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the result differs from that of a process that nobody killed (seed of the moments: %d)", seed)
	}
}
