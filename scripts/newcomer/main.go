// Command newcomer does what a newcomer does, and times it: clones the project into an empty folder, with an empty module cache
// and build cache, builds the program, runs its demo and the tests. Its figures go to docs/measured/newcomer.json.
//
//	go run ./scripts/newcomer -json docs/measured/newcomer.json
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "newcomer:", err)
		os.Exit(1)
	}
}

type row struct {
	Name string  `json:"name"`
	Ours float64 `json:"ours"`
	Unit string  `json:"unit"`
	// How and where it was measured.
	Command string `json:"command"`
	Machine string `json:"machine"`
}

func run() error {
	out := flag.String("json", "newcomer.json", "where the figures go")
	from := flag.String("from", ".", "the repository to clone")
	flag.Parse()
	dir, err := os.MkdirTemp("", "newcomer-*")
	if err != nil {
		return err
	}
	defer func() {
		// The module cache's files are read-only.
		_ = exec.Command("go", "clean", "-modcache").Run()
		_ = os.RemoveAll(dir)
	}()
	checkout := filepath.Join(dir, "lowrank")
	for k, v := range map[string]string{"GOMODCACHE": filepath.Join(dir, "modules"), "GOCACHE": filepath.Join(dir, "build"), "GOFLAGS": "", "LOWRANK_REQUIRE": "", "LOWRANK_PARITY": ""} {
		if err := os.Setenv(k, v); err != nil {
			return err
		}
	}
	var rows []row
	step := func(name, in string, args ...string) error {
		fmt.Println("+", strings.Join(args, " "))
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = in, os.Stdout, os.Stderr
		begin := time.Now()
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
		}
		rows = append(rows, row{Name: name, Ours: time.Since(begin).Seconds(), Unit: "s"})
		return nil
	}
	program := filepath.Join(dir, "bin", "lowrank")
	source, err := filepath.Abs(*from)
	if err != nil {
		return err
	}
	for _, s := range []struct {
		name, in string
		args     []string
	}{
		{"clone", dir, []string{"git", "clone", "--quiet", source, checkout}},
		{"download of the modules", checkout, []string{"go", "mod", "download"}},
		{"build of the program", checkout, []string{"go", "build", "-o", program, "./scripts/lowrank"}},
		{"`go run ./scripts/lowrank demo`, built", checkout, []string{"go", "run", "./scripts/lowrank", "demo", "--keep", filepath.Join(dir, "demo")}},
		{"`go test ./...`, nothing built", checkout, []string{"go", "test", "./..."}},
	} {
		if err := step(s.name, s.in, s.args...); err != nil {
			return err
		}
	}
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	rows = append(rows, row{Name: "size of the program, its base model within", Ours: float64(info.Size()) / 1e6, Unit: "MB"})
	for i := range rows {
		rows[i].Command, rows[i].Machine = "go run ./scripts/newcomer", fmt.Sprintf("%s/%s, %d threads", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	}
	b, err := json.MarshalIndent(rows, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(*out, append(b, '\n'), 0o644)
}
