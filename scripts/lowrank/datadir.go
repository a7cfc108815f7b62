package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/lowrank/lowrank/gpurunner/atomicfile"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/local"
)

// dataDir is the folder of --data, or the user's own when it is empty:
// $XDG_DATA_HOME/lowrank, else ~/.local/share/lowrank.
func dataDir(flag string) (string, error) {
	if flag != "" {
		return filepath.Abs(flag)
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "lowrank"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", errors.New("there is no home folder to keep data in: name a folder with --data DIR")
	}
	return filepath.Join(home, ".local", "share", "lowrank"), nil
}

// existingData is dataDir for what looks into a folder and has no reason to make
// one.
func existingData(flag string) (string, error) {
	dir, err := dataDir(flag)
	if err != nil {
		return "", err
	}
	switch info, err := os.Stat(dir); {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("there is no data folder %s: `lowrank serve` makes it; --data names another", dir)
	case err != nil:
		return "", fmt.Errorf("the data folder %s cannot be opened (%w); --data names another", dir, atomicfile.Reason(err))
	case !info.IsDir():
		return "", fmt.Errorf("%s is no folder; --data names another", dir)
	}
	return dir, nil
}

// openData opens a data folder, or makes one, and says what to do where it cannot.
func openData(ctx context.Context, dir string, o local.Options) (*local.Store, error) {
	store, err := local.Open(ctx, dir, o)
	if err == nil {
		return store, nil
	}
	if infra.KindOf(err) == infra.ErrFull {
		return nil, fmt.Errorf("no space is left for the data folder %s: free some space there, or name another folder with --data", dir)
	}
	why := atomicfile.Reason(err)
	return nil, fmt.Errorf("the data folder %s cannot be opened (%w); --data names another", dir, why)
}

const dataHelp = "folder that keeps everything (default: ~/.local/share/lowrank)"

// basesDir is where a data folder keeps base models.
func basesDir(data string) string { return filepath.Join(data, "bases") }
