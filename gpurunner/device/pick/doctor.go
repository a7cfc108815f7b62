package pick

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/device/cuda"
	"github.com/lowrank/lowrank/gpurunner/device/selftest"
)

// Doctor says what r would compute on here and proves it by a self-test: a GPU
// beside the processor, a processor beside the portable kernels. An error says
// what to mend; that auto finds no GPU is none.
func Doctor(w io.Writer, r Request) error {
	if err := r.fill(); err != nil {
		return err
	}
	fmt.Fprintf(w, "system         %s/%s, %d processors\n", runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	if r.Device != "cpu" {
		err := doctorCUDA(w, r)
		if err == nil || r.Device == "cuda" {
			return err
		}
		if !errors.Is(err, cuda.ErrUnusable) && !errors.Is(err, cuda.ErrNotBuilt) {
			return err // it is there, and computes wrong
		}
		if errors.Is(err, cuda.ErrNotBuilt) {
			err = ErrNoDriver
			if driverFound(system{exists: exists}) {
				err = cuda.ErrNotBuilt
			}
		}
		fmt.Fprintf(w, "GPU            none is used: %v\n", err)
	}
	o, err := processor(r.Precision, len(cpu.BF16Sets()) > 0)
	if err != nil {
		return err
	}
	dev, err := cpu.New(o)
	if err != nil {
		return err
	}
	defer dev.Close()
	fmt.Fprintf(w, "device         %s\n", dev.Name())
	if sets := cpu.BF16Sets(); len(sets) > 0 {
		fmt.Fprintf(w, "bf16           by %s, with --precision bf16 or auto\n", sets[len(sets)-1])
	} else {
		fmt.Fprintf(w, "bf16           not here: %s\n", cpu.NoBF16)
	}
	return doctorCPU(w, dev, o.Precision)
}

func doctorCPU(w io.Writer, dev *cpu.Device, precision device.DType) error {
	reference, err := cpu.New(cpu.Options{Kernels: cpu.KernelSets()[0]})
	if err != nil {
		return err
	}
	defer reference.Close()
	begin := time.Now()
	checks, err := selftest.Run(dev, reference, precision)
	if err != nil {
		return err
	}
	if err := selftest.Write(w, checks); err != nil {
		return fmt.Errorf("this processor computes wrong with its own kernels (%w): report it, and set LOWRANK_CPU=%s meanwhile", err, cpu.KernelSets()[0])
	}
	fmt.Fprintf(w, "self-test      %v\n", time.Since(begin).Round(time.Millisecond))
	return nil
}

func doctorCUDA(w io.Writer, r Request) error {
	info, err := cuda.Probe(r.Ordinal)
	if err != nil {
		return err
	}
	if why := withoutBF16(r.Precision, info); why != "" {
		fmt.Fprintf(w, "precision      %s\n", why)
	}
	return cuda.Doctor(w, cuda.Options{Ordinal: r.Ordinal, Precision: precision(r.Precision, info)})
}
