package atomicfile_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/atomicfile"
)

// TestWrite: the whole file or the one before, and nothing beside it.
func TestWrite(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name, folder string
		write        func(w io.Writer) error
		want, err    string
		of           bool // the error is one of the file system
	}{
		{"OK", "", func(w io.Writer) error { _, err := fmt.Fprint(w, "new"); return err }, "new", "", false},
		{"ErrWriter", "", func(w io.Writer) error { fmt.Fprint(w, "half"); return broken }, "old", ": broken", false},
		{"ErrFile", "", func(io.Writer) error { return &fs.PathError{Op: "write", Path: "temporary", Err: broken} }, "old", ": broken", true},
		{"ErrFolder", "none", func(io.Writer) error { return nil }, "", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, tt.folder, "x")
			if tt.folder == "" {
				if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := atomicfile.Write(path, 0o640, tt.write)
			var of *fs.PathError
			if (err != nil) != strings.HasPrefix(tt.name, "Err") || err != nil && (!strings.Contains(err.Error(), path+": ") || !strings.HasSuffix(err.Error(), tt.err)) || errors.As(err, &of) != tt.of {
				t.Errorf("got %v", err)
			}
			if err != nil && (strings.Contains(err.Error(), "temporary") || strings.Contains(err.Error(), ".partial")) {
				t.Errorf("it names a temporary file: %v", err)
			}
			if tt.folder != "" {
				return
			}
			if text, err := os.ReadFile(path); err != nil || string(text) != tt.want {
				t.Errorf("the file holds %q, %v; want %q", text, err, tt.want)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}
