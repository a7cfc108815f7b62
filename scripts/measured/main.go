package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "measured:", err)
		os.Exit(1)
	}
}

// run writes the pages below top anew.
func run(top string) error {
	files, err := pages(top)
	if err != nil {
		return err
	}
	for _, f := range files {
		old, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		page, err := fill(old, filepath.Join(top, "docs", "measured"))
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		if bytes.Equal(page, old) {
			continue
		}
		if err := os.WriteFile(f, page, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pages are the files that may hold tables.
func pages(top string) ([]string, error) {
	docs, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	return append(docs, filepath.Join(top, "README.md")), err
}

// row is one of the list that scripts/bench and scripts/newcomer write.
type row struct {
	Name  string  `json:"name"`
	Ours  float64 `json:"ours"`
	Peer  float64 `json:"peer"`
	Unit  string  `json:"unit"`
	Ratio float64 `json:"ratio"`
	Share float64 `json:"share_of_peak"`
	With  string  `json:"peer_name"`
	// Command makes it again.
	Command string `json:"command"`
}

var block = regexp.MustCompile(`(?s)(<!-- measured: ([^>]*?) -->\n).*?(<!-- /measured -->)`)

// fill puts the tables of a page between its markers.
func fill(page []byte, dir string) ([]byte, error) {
	var failed error
	filled := block.ReplaceAllFunc(page, func(found []byte) []byte {
		m := block.FindSubmatch(found)
		t, err := table(string(m[2]), dir)
		if err != nil {
			failed = err
			return found
		}
		return bytes.Join([][]byte{m[1], t, m[3]}, nil)
	})
	return filled, failed
}

// table is the Markdown table of the rows that items ask for.
func table(items, dir string) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("\n| what | lowrank | its peer | times better | of peak | command |\n|---|---:|---:|---:|---:|---|\n")
	for item := range strings.SplitSeq(items, ";") {
		name, prefix, _ := strings.Cut(strings.TrimSpace(item), "/")
		text, err := os.ReadFile(filepath.Join(dir, name+".json"))
		if err != nil {
			return nil, err
		}
		var rows []row
		if err := json.Unmarshal(text, &rows); err != nil {
			return nil, fmt.Errorf("%s.json: %w", name, err)
		}
		found := false
		for _, r := range rows {
			if !strings.HasPrefix(r.Name, prefix) {
				continue
			}
			found = true
			peer, ratio, share := "", "", ""
			if r.With != "" {
				peer, ratio = fmt.Sprintf("%s (%s)", amount(r.Peer, r.Unit), r.With), fmt.Sprintf("%.2f", r.Ratio)
			}
			if r.Share > 0 {
				share = fmt.Sprintf("%.0f %%", 100*r.Share)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | `%s` |\n", r.Name, amount(r.Ours, r.Unit), peer, ratio, share, r.Command)
		}
		if !found {
			return nil, fmt.Errorf("%s.json has no row %q", name, prefix)
		}
	}
	b.WriteString("\n")
	return b.Bytes(), nil
}

// amount writes a value with three digits.
func amount(v float64, unit string) string {
	switch {
	case unit == "s" && v < 1e-3:
		v, unit = v*1e6, "µs"
	case unit == "s" && v < 1:
		v, unit = v*1e3, "ms"
	case unit == "B":
		v, unit = v/1e9, "GB"
	}
	digits := fmt.Sprintf("%.3g", v)
	if v >= 1000 {
		digits = fmt.Sprintf("%.0f", v)
	}
	return strings.TrimSpace(digits + " " + unit)
}
