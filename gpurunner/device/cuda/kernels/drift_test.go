package kernels

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The embedded PTX was made after the last change of a source.
func TestSourcesAreCompiled(t *testing.T) {
	names, err := filepath.Glob("*.cu*")
	if err != nil || len(names) < 5 {
		t.Fatalf("%d sources (%v)", len(names), err)
	}
	slices.Sort(names)
	all := sha256.New()
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.IsDir() {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(all, "%s %x\n", name, sha256.Sum256(text))
	}
	want, err := os.ReadFile("ptx/sources.sha256")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x\n", all.Sum(nil)); got != string(want) {
		t.Error("a source changed after the PTX was made: run scripts/cuda/build.py")
	}
}

// A fresh compilation gives the embedded bytes. It fetches the compiler, so it
// runs where LOWRANK_REQUIRE has the word cuda.
func TestPTXIsOfItsSources(t *testing.T) {
	if !slices.Contains(strings.FieldsFunc(os.Getenv("LOWRANK_REQUIRE"), func(r rune) bool { return r == ',' || r == ' ' }), "cuda") {
		t.Skip("compiling the kernels needs pinned wheels from the package index: LOWRANK_REQUIRE=cuda")
	}
	out, err := exec.Command("python3", "../../../../scripts/cuda/build.py", "--check").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
