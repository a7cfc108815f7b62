package main

import (
	"errors"
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
	if err != nil || home == "" {
		return "", errors.New("there is no home folder to keep data in: name a folder with --data DIR")
	}
	return filepath.Join(home, ".local", "share", "lowrank"), nil
}

const dataHelp = "folder that keeps everything (default: ~/.local/share/lowrank)"

// basesDir is where a data folder keeps base models.
func basesDir(data string) string { return filepath.Join(data, "bases") }
