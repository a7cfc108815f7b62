// Package layers holds the project's imports to the map in docs/design.md.
package layers

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/lowrank/lowrank/"

// may says what the packages below a folder may import of the project; the
// longest folder that fits counts. A test file may also import what only tests
// need.
var may = map[string][]string{
	"events":               {"events"},
	"infra":                {"events", "infra"},
	"functions":            {"events", "infra", "functions"},
	"gpurunner":            {"gpurunner"},
	"gpurunner/worker":     {"events", "infra", "gpurunner/worker"},
	"gpurunner/inputs":     {"events", "infra", "gpurunner/worker", "gpurunner/inputs"},
	"gpurunner/models":     {"events", "infra", "gpurunner"},
	"gpurunner/container":  {"events", "infra", "gpurunner"},
	"samples":              {},
	"scripts":              {"events", "infra", "functions", "gpurunner", "samples", "scripts"},
	"scripts/lowrank/demo": {"samples"},
}

// notEngine are the parts of the runner that know the service; the engine below
// gpurunner does not.
var notEngine = []string{"gpurunner/worker", "gpurunner/inputs", "gpurunner/models", "gpurunner/container"}

// testsMay are for test files only.
var testsMay = []string{"samples", "functions/api/apitest"}

func TestImports(t *testing.T) {
	root := filepath.Join("..", "..")
	files := 0
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		dir := path.Dir(rel)
		if strings.HasPrefix(dir, "scripts/kernels") {
			return nil // a module of its own
		}
		files++
		allowed, known := rule(dir)
		if !known {
			t.Errorf("%s lies in a folder that the map does not have", rel)
			return nil
		}
		if strings.HasSuffix(p, "_test.go") {
			allowed = append(append([]string{}, allowed...), testsMay...)
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			name, ours := strings.CutPrefix(strings.Trim(imp.Path.Value, `"`), module)
			if !ours || below(name, []string{dir}) {
				continue
			}
			if !below(name, allowed) {
				t.Errorf("%s imports %s, which is not below any of %v", rel, name, allowed)
			}
			if below(dir, []string{"gpurunner"}) && !below(dir, notEngine) && dir != "gpurunner" && below(name, notEngine) {
				t.Errorf("%s is of the engine and imports %s", rel, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
}

// rule finds the longest folder of may that dir lies in.
func rule(dir string) ([]string, bool) {
	for d := dir; d != "."; d = path.Dir(d) {
		if allowed, ok := may[d]; ok {
			return allowed, true
		}
	}
	return nil, false
}

func below(name string, folders []string) bool {
	for _, f := range folders {
		if name == f || strings.HasPrefix(name, f+"/") {
			return true
		}
	}
	return false
}
