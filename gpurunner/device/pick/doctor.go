package pick

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/device/cuda"
)

// Doctor says what r would compute on here and proves it: on a GPU by a
// self-test beside the processor. An error says what to mend; that auto finds no
// GPU is none.
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
	dev, err := openCPU(r.Precision)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "device         %s\n", dev.Name())
	if sets := cpu.BF16Sets(); len(sets) > 0 {
		fmt.Fprintf(w, "bf16           by %s, with --precision bf16 or auto\n", sets[len(sets)-1])
	} else {
		fmt.Fprintf(w, "bf16           not here: %s\n", cpu.NoBF16)
	}
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
