package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the pages' tables anew")

// TestPages holds the tables of the pages to docs/measured.
func TestPages(t *testing.T) {
	const top = "../.."
	if *update {
		if err := run(top); err != nil {
			t.Fatal(err)
		}
	}
	files, err := pages(top)
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, f := range files {
		page, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		tables += bytes.Count(page, []byte("<!-- measured:"))
		want, err := fill(page, filepath.Join(top, "docs", "measured"))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if !bytes.Equal(page, want) {
			t.Errorf("%s: a table is not what docs/measured says; run go run ./scripts/measured", f)
		}
	}
	if tables < 2 {
		t.Errorf("%d tables in README and docs", tables)
	}
}

func TestTable(t *testing.T) {
	dir := t.TempDir()
	const text = `[
		{"name":"polls","ours":2000,"peer":500,"unit":"/s","ratio":4,"peer_name":"cog","command":"go run ./x"},
		{"name":"start","ours":0.025,"unit":"s","share_of_peak":0.5,"command":"go run ./x"}]`
	if err := os.WriteFile(filepath.Join(dir, "a.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, items, want string }{
		{"OK", "a", "| polls | 2000 /s | 500 /s (cog) | 4.00 |  | `go run ./x` |\n| start | 25 ms |  |  | 50 % | `go run ./x` |\n"},
		{"OneRow", "a/start", "---|\n| start |"},
		{"ErrNoRow", "a/stop", ""},
		{"ErrNoFile", "b", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := table(tt.items, dir)
			if (err != nil) != (tt.want == "") {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(string(got), tt.want) {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
}
