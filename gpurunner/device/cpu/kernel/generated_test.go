package kernel

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestGenerated writes the assembly anew and compares the bytes. It needs the
// generator's modules and a minute, so it runs only where LOWRANK_REQUIRE
// names generate, as in CI.
func TestGenerated(t *testing.T) {
	if !slices.Contains(strings.Split(os.Getenv("LOWRANK_REQUIRE"), ","), "generate") {
		t.Skip("needs the modules of scripts/kernels and a minute: set LOWRANK_REQUIRE=generate")
	}
	dir, tool := t.TempDir(), filepath.Join(t.TempDir(), "kernels.exe")
	build := exec.Command("go", "build", "-o", tool, ".")
	build.Dir = filepath.FromSlash("../../../../scripts/kernels")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the generator: %v\n%s", err, out)
	}
	if out, err := exec.Command(tool, "-dir", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	made, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, path := range made {
		name := filepath.Base(path)
		known[name] = true
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what scripts/kernels writes: run it again", name)
		}
	}
	here, err := filepath.Glob("*.s")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range here {
		if !known[name] {
			t.Errorf("%s is written by no generator", name)
		}
	}
}
