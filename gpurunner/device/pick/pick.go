package pick

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/device/cuda"
)

// Choices are the values of --device.
func Choices() []string { return []string{"auto", "cpu", "cuda"} }

// Precisions are the values of --precision: of the operands of products. auto is
// bf16 where the GPU or the processor multiplies it, else f32; f16 is for GPUs.
func Precisions() []string { return []string{"auto", "f32", "bf16", "f16"} }

// Request is what a program was asked for. The zero value is auto in everything
// but for the processor's precision, which is f32 unless another is asked for: the
// bytes that it gives are the same on every machine with AVX2.
type Request struct {
	Device    string
	Precision string
	Ordinal   int // of the GPU
}

// Program is the CUDA build that Handover looks for beside a program.
const Program = "gpurunner-cuda"

// Check refuses names that are not known, in one sentence.
func (r Request) Check() error { return r.fill() }

func (r *Request) fill() error {
	if r.Device == "" {
		r.Device = "auto"
	}
	if !slices.Contains(Choices(), r.Device) {
		return fmt.Errorf("device %q is not known; it must be auto, cpu or cuda", r.Device)
	}
	if r.Precision != "" && !slices.Contains(Precisions(), r.Precision) {
		return fmt.Errorf("precision %q is not known; it must be auto, f32, bf16 or f16", r.Precision)
	}
	return nil
}

// Open opens a device. note is told, in one sentence, why auto took the processor
// where a GPU might have been, or f32 on a GPU.
func Open(r Request, note func(string)) (device.Device, error) {
	if err := r.fill(); err != nil {
		return nil, err
	}
	if r.Device == "cpu" {
		return openCPU(r.Precision)
	}
	dev, info, err := openCUDA(r)
	if err == nil {
		if why := withoutBF16(r.Precision, info); why != "" && note != nil {
			note(why)
		}
		return dev, nil
	}
	if r.Device == "cuda" {
		return nil, err
	}
	if note != nil && !errors.Is(err, cuda.ErrNotBuilt) {
		note(fmt.Sprintf("using the processor: %v", err))
	}
	return openCPU(r.Precision)
}

func openCPU(precision string) (device.Device, error) {
	o, err := processor(precision, len(cpu.BF16Sets()) > 0)
	if err != nil {
		return nil, err
	}
	d, err := cpu.New(o)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// processor turns a name into options, bf16 saying whether the processor
// multiplies it.
func processor(precision string, bf16 bool) (o cpu.Options, err error) {
	switch precision {
	case "f16":
		return o, errors.New("precision f16 needs a GPU; a processor takes f32, bf16 or auto")
	case "bf16":
		if !bf16 {
			return o, errors.New("precision bf16: " + cpu.NoBF16)
		}
		o.Precision = device.BF16
	case "auto":
		if bf16 {
			o.Precision = device.BF16
		}
	}
	return o, nil
}

func openCUDA(r Request) (device.Device, cuda.Info, error) {
	info, err := cuda.Probe(r.Ordinal)
	if err != nil {
		return nil, info, err
	}
	dev, err := cuda.New(cuda.Options{Ordinal: r.Ordinal, Precision: precision(r.Precision, info)})
	return dev, info, err
}

// withoutBF16 says why auto took f32 on a GPU, and what draws faster there; it is
// empty where auto did not.
func withoutBF16(name string, info cuda.Info) string {
	if name != "" && name != "auto" || precision(name, info) != device.F32 {
		return ""
	}
	return fmt.Sprintf("computing in f32: %s has compute capability %d.%d, bf16 needs 8.0; a runner that only draws is faster with --precision f16",
		info.Name, info.Capability/10, info.Capability%10)
}

// precision turns a name into a type; auto is the GPU's best for training and
// drawing alike. Turing has no bf16, and f16 underflows in gradients.
func precision(name string, info cuda.Info) device.DType {
	switch name {
	case "bf16":
		return device.BF16
	case "f16":
		return device.F16
	case "", "auto":
		if info.Capability >= 80 {
			return device.BF16
		}
	}
	return device.F32
}
