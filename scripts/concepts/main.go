// Command concepts makes the pretrained concepts that the web page ships (functions/web/concepts): it
// fetches the openly licensed pictures that NOTICE names, trains on them with `lowrank train`, draws each
// concept's contact sheet with `lowrank generate`, and writes the index.
//
//	go run ./scripts/concepts                  # all; about two minutes each on two cores
//	go run ./scripts/concepts -only riso,comic # some
//	go run ./scripts/concepts -pictures-only   # see what would be trained on, in .cache/concepts
//
// It needs npm, for the packages that hold the pictures. The same pictures and seeds give the same files on
// one kind of machine.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

// concept is one that is made.
type concept struct {
	Slug    string         `json:"slug"`
	Name    string         `json:"name"`
	About   string         `json:"about"`
	Task    string         `json:"task"`
	Base    string         `json:"base"`
	Scale   float64        `json:"scale"`
	Input   map[string]any `json:"input"`
	Prompts []string       `json:"prompts"`
	Thanks  string         `json:"thanks"`

	seed     int
	cells    []cell   // of the contact sheet
	train    []string // flags of lowrank train
	pictures func(cache, dir string) error
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "concepts:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	only := flag.String("only", "", "slugs of those to make, separated by commas (default: all)")
	out := flag.String("out", "functions/web/concepts", "folder to write to")
	cache := flag.String("cache", ".cache/concepts", "folder for what is fetched and made on the way")
	picturesOnly := flag.Bool("pictures-only", false, "stop before training")
	sheetsOnly := flag.Bool("sheets-only", false, "draw the sheets of the concepts that are there")
	flag.Parse()
	work, err := filepath.Abs(*cache)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	lowrank := filepath.Join(work, "lowrank")
	if !*picturesOnly {
		if err := command(ctx, "go", "build", "-o", lowrank, "./scripts/lowrank"); err != nil {
			return err
		}
	}
	chosen := strings.Split(*only, ",")
	for _, slug := range chosen {
		if *only != "" && !slices.ContainsFunc(concepts, func(c concept) bool { return c.Slug == slug }) {
			return fmt.Errorf("-only %s: there is no concept of this name", slug)
		}
	}
	var made []concept
	for _, c := range concepts {
		for _, cell := range c.cells {
			c.Prompts = append(c.Prompts, cell.prompt)
		}
		file := filepath.Join(*out, c.Slug+".safetensors")
		if *only == "" || slices.Contains(chosen, c.Slug) {
			pictures := filepath.Join(work, c.Slug)
			if err := os.RemoveAll(pictures); err != nil {
				return err
			}
			if err := os.MkdirAll(pictures, 0o755); err != nil {
				return err
			}
			if err := c.pictures(work, pictures); err != nil {
				return fmt.Errorf("%s: %w", c.Slug, err)
			}
			if *picturesOnly {
				continue
			}
			if !*sheetsOnly {
				args := append([]string{"train", "--task", c.Task, "--seed", fmt.Sprint(c.seed), "--out", file, "--checkpoint", filepath.Join(work, c.Slug+".checkpoint"), "--loss-curve=false"}, c.train...)
				if err := command(ctx, lowrank, append(args, pictures)...); err != nil {
					return err
				}
			}
			if err := sheet(ctx, lowrank, work, file, filepath.Join(*out, c.Slug+".jpg"), c); err != nil {
				return fmt.Errorf("%s: %w", c.Slug, err)
			}
		}
		if _, err := os.Stat(file); err == nil {
			made = append(made, c)
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if *picturesOnly {
		return nil
	}
	index, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(*out, "index.json"), append(index, '\n'), 0o644)
}

// command runs a program in sight.
func command(ctx context.Context, name string, args ...string) error {
	fmt.Fprintln(os.Stderr, "+", name, args)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}
