package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/lowrank/lowrank/gpurunner/device/pick"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// deviceFlags adds --device and --precision.
func deviceFlags(flags *pflag.FlagSet, r *pick.Request) {
	flags.StringVar(&r.Device, "device", "auto", "what to compute on: "+strings.Join(pick.Choices(), ", ")+"; auto takes the GPU where there is one")
	flags.StringVar(&r.Precision, "precision", "", "of the operands of products: "+strings.Join(pick.Precisions(), ", ")+
		"; auto takes bf16 where it is fast (default: auto on a GPU, f32 on a processor)")
}

// deviceArgs are the flags that hand r on to another process of this program.
func deviceArgs(r pick.Request) []string {
	return []string{"--device", r.Device, "--precision", r.Precision}
}

// handOver makes this process the CUDA build where r allows it and a GPU can be
// used: call it before anything is opened.
func handOver(r pick.Request) error { return pick.Handover(pick.Program, r, note) }

// openDevice opens what r asks for.
func openDevice(r pick.Request) (*tensor.Pool, error) {
	dev, err := pick.Open(r, note)
	if err != nil {
		return nil, err
	}
	return tensor.NewPool(dev), nil
}

func note(what string) { fmt.Fprintln(os.Stderr, "lowrank:", what) }
