package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("there is no data folder %s: `lowrank serve` makes it; --data names another", dir)
	}
	return dir, nil
}

// openData opens a data folder, or makes one, and says what to do where it cannot.
func openData(ctx context.Context, dir string, o local.Options) (*local.Store, error) {
	store, err := local.Open(ctx, dir, o)
	if err == nil {
		return store, nil
	}
	why := reason(err)
	if infra.KindOf(err) == infra.ErrFull {
		why = infra.ErrFull
	}
	return nil, fmt.Errorf("the data folder %s cannot be opened (%w); --data names another", dir, why)
}

const dataHelp = "folder that keeps everything (default: ~/.local/share/lowrank)"

// basesDir is where a data folder keeps base models.
func basesDir(data string) string { return filepath.Join(data, "bases") }
