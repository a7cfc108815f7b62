package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

const dataHelp = "folder that keeps everything (default: ~/.local/share/lowrank)"

// basesDir is where a data folder keeps base models.
func basesDir(data string) string { return filepath.Join(data, "bases") }
