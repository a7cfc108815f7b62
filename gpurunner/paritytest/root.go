package paritytest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Root is one folder of expected numbers.
type Root struct {
	Name string // "small" for the embedded set, else "full" or the folder's base name
	Dir  string // holds models/, clip/, unet/, …
}

// Required reports whether LOWRANK_REQUIRE, a comma list of feature words, names the feature: a test that would
// skip for lack of it must fail instead.
func Required(feature string) bool {
	return slices.Contains(strings.FieldsFunc(os.Getenv("LOWRANK_REQUIRE"), func(r rune) bool { return r == ',' || r == ' ' }), feature)
}

// Roots returns every set there is: the embedded one first, then those of LOWRANK_PARITY, or the one beside the
// repository. A folder that LOWRANK_PARITY names and that is missing fails the test.
func Roots(t testing.TB) []Root {
	t.Helper()
	small, err := smallSet()
	if err != nil {
		t.Fatalf("paritytest: the embedded set cannot be unpacked: %v", err)
	}
	roots := []Root{{Name: "small", Dir: small}}
	full, err := fullSets()
	if err != nil {
		t.Fatal(err)
	}
	if len(full) == 0 && Required("parity") {
		t.Fatal("paritytest: LOWRANK_REQUIRE asks for parity, but LOWRANK_PARITY is not set and there is no ../shared/parity/data beside the repository")
	}
	return append(roots, full...)
}

func fullSets() ([]Root, error) {
	var roots []Root
	if list := os.Getenv("LOWRANK_PARITY"); list != "" {
		for _, dir := range filepath.SplitList(list) {
			dir, err := filepath.Abs(dir)
			if err != nil {
				return nil, err
			}
			if _, err := os.Stat(filepath.Join(dir, "models")); err != nil {
				return nil, fmt.Errorf("paritytest: LOWRANK_PARITY names %s, which holds no models/ folder: %w", dir, err)
			}
			name := "full"
			if len(roots) > 0 {
				name = fmt.Sprintf("full%d", len(roots)+1)
			}
			roots = append(roots, Root{Name: name, Dir: dir})
		}
		return roots, nil
	}
	repo, err := repositoryRoot()
	if err != nil {
		return nil, nil // a test binary run away from its sources has the embedded set only
	}
	dir := filepath.Join(repo, "..", "shared", "parity", "data")
	if _, err := os.Stat(filepath.Join(dir, "models")); err != nil {
		return nil, nil
	}
	return []Root{{Name: "full", Dir: dir}}, nil
}

// repositoryRoot walks up from the working directory, which go test sets to the package's folder.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("paritytest: no go.mod above the working directory")
		}
		dir = up
	}
}

// Path is the file or folder at a slash path below the root.
func (r Root) Path(rel string) string { return filepath.Join(r.Dir, filepath.FromSlash(rel)) }

// Has reports whether the root holds the file or folder. The embedded set holds a part of the models.
func (r Root) Has(rel string) bool {
	_, err := os.Stat(r.Path(rel))
	return err == nil
}

// Models lists the names below models/ that are whole pipelines: those with a UNet's configuration.
func (r Root) Models(t testing.TB) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(r.Dir, "models", "*", "unet", "config.json"))
	if err != nil || len(found) == 0 {
		t.Fatalf("paritytest: no models below %s: %v", r.Dir, err)
	}
	var names []string
	for _, f := range found {
		names = append(names, filepath.Base(filepath.Dir(filepath.Dir(f))))
	}
	return names
}

// JSON decodes a file below the root.
func (r Root) JSON(t testing.TB, rel string, into any) {
	t.Helper()
	data, err := os.ReadFile(r.Path(rel))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", r.Path(rel), err)
	}
}
