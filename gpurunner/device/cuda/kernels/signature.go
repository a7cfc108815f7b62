package kernels

import (
	"fmt"
	"strconv"
	"strings"
)

// Signature is how a kernel is called.
type Signature struct {
	Params  []Param
	Threads int // that a block must not exceed
}

// Param is one argument of a kernel.
type Param struct {
	Size  int // 4 or 8 bytes
	Float bool
}

const entryMark = ".visible .entry "

// Version returns the version of PTX that a module is written in, 81 for 8.1.
func Version(ptx string) (int, error) {
	_, rest, found := strings.Cut(ptx, "\n.version ")
	if !found {
		return 0, fmt.Errorf("no .version")
	}
	line, _, _ := strings.Cut(rest, "\n")
	major, minor, _ := strings.Cut(strings.TrimSpace(line), ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	if err1 != nil || err2 != nil || b > 9 {
		return 0, fmt.Errorf(".version %q", line)
	}
	return 10*a + b, nil
}

// Signatures reads the entries of a module's PTX.
func Signatures(ptx string) (map[string]Signature, error) {
	entries := map[string]Signature{}
	parts := strings.Split(ptx, entryMark)
	for _, p := range parts[1:] {
		name, rest, found := strings.Cut(p, "(")
		params, rest, found2 := strings.Cut(rest, ")")
		directives, _, found3 := strings.Cut(rest, "{")
		if !found || !found2 || !found3 {
			return nil, fmt.Errorf("an entry is cut short")
		}
		s := Signature{Threads: 1024}
		for _, line := range strings.Split(params, ",") {
			line = strings.TrimSpace(line)
			if line == "" {
				continue
			}
			param, err := parseParam(line)
			if err != nil {
				return nil, fmt.Errorf("entry %s: %w", name, err)
			}
			s.Params = append(s.Params, param)
		}
		if _, n, found := strings.Cut(directives, ".maxntid "); found {
			n, _, _ = strings.Cut(n, ",")
			n, _, _ = strings.Cut(n, "\n")
			threads, err := strconv.Atoi(strings.TrimSpace(n))
			if err != nil {
				return nil, fmt.Errorf("entry %s: .maxntid %q", name, n)
			}
			s.Threads = threads
		}
		entries[strings.TrimSpace(name)] = s
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("no entries")
	}
	return entries, nil
}

// parseParam reads ".param .u64 name".
func parseParam(line string) (Param, error) {
	f := strings.Fields(line)
	if len(f) == 3 && f[0] == ".param" {
		switch f[1] {
		case ".u64", ".s64", ".b64":
			return Param{Size: 8}, nil
		case ".u32", ".s32", ".b32":
			return Param{Size: 4}, nil
		case ".f32":
			return Param{Size: 4, Float: true}, nil
		}
	}
	return Param{}, fmt.Errorf("argument %q is neither 4 nor 8 bytes", line)
}
