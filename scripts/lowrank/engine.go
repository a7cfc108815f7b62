package main

import (
	"os"
	"path/filepath"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// openBase opens a base model by name, folder or file.
func openBase(ref string) (*base.Base, error) {
	return base.Open(ref, base.Options{Folders: baseFolders()})
}

// baseFolders are where base models are looked for by name.
func baseFolders() []string {
	if dir := os.Getenv("LOWRANK_BASES"); dir != "" {
		return filepath.SplitList(dir)
	}
	return nil
}

// openDevice opens the machine's processor.
func openDevice() (*tensor.Pool, error) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		return nil, err
	}
	return tensor.NewPool(dev), nil
}
