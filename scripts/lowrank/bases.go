package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/models"
)

// namedBase is one --base NAME=PATH.
type namedBase struct{ name, path string }

// servedBases are the base models of a service: those of --base in their order,
// those that `lowrank base add` put into the data folder, the embedded one.
type servedBases struct {
	named []namedBase
	dir   string
}

// parseBases reads the values of --base.
func parseBases(flags []string, data string) (servedBases, error) {
	s := servedBases{dir: basesDir(data)}
	for _, f := range flags {
		name, path, ok := strings.Cut(f, "=")
		if !ok || name == "" || path == "" {
			return s, fmt.Errorf("--base %q: write it as NAME=PATH, such as sd15=./stable-diffusion-v1-5", f)
		}
		if err := checkBaseName(name); err != nil {
			return s, err
		}
		s.named = append(s.named, namedBase{name, path})
	}
	return s, nil
}

// names lists all bases, the default first.
func (s servedBases) names() []string {
	var names []string
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, n := range s.named {
		add(n.name)
	}
	if len(s.named) == 0 {
		add(embedded.Name)
	}
	for _, name := range base.Names(base.Options{Folders: []string{s.dir}}) {
		if checkBaseName(name) == nil { // not one that is on its way out
			add(name)
		}
	}
	return names
}

// Print implements models.Printer: it says which files name stands for now, without reading them: it changes
// when a base is added, removed or put in another's place.
func (s servedBases) Print(name string) string {
	places := []string{filepath.Join(s.dir, name), filepath.Join(s.dir, name+".safetensors")}
	for _, n := range s.named {
		if n.name == name {
			places = []string{n.path}
		}
	}
	text := name
	for _, path := range places {
		if info, err := os.Stat(path); err == nil {
			text += fmt.Sprintf(" %d %d", info.ModTime().UnixNano(), info.Size())
		}
	}
	return text
}

// prints is Print of all bases.
func (s servedBases) prints() string {
	var all strings.Builder
	for _, name := range s.names() {
		all.WriteString(s.Print(name) + "\n")
	}
	return all.String()
}

// Open implements models.Bases.
func (s servedBases) Open(_ context.Context, name string) (*base.Base, error) {
	for _, n := range s.named {
		if n.name == name {
			b, err := base.Open(n.path, base.Options{})
			if err != nil {
				return nil, fmt.Errorf("base %s: %w", name, err)
			}
			b.Card.Name = name
			return b, nil
		}
	}
	b, err := base.Open(name, base.Options{Folders: []string{s.dir}})
	if err != nil {
		return nil, err
	}
	b.Card.Name = name
	return b, nil
}

// catalogue reads every base's card.
func (s servedBases) catalogue(ctx context.Context) (*events.Catalogue, error) {
	var limits []events.BaseLimits
	for _, name := range s.names() {
		b, err := s.Open(ctx, name)
		if err != nil {
			return nil, err
		}
		l, err := models.Limits(b)
		if err := errors.Join(err, b.Close()); err != nil {
			return nil, fmt.Errorf("base %s: %w", name, err)
		}
		limits = append(limits, l)
	}
	return events.NewCatalogue(limits...)
}
