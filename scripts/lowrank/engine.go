package main

import (
	"os"
	"path/filepath"

	"github.com/lowrank/lowrank/gpurunner/base"
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
