package lora

import (
	"fmt"
	"strings"
)

// MismatchError says that a file belongs to another base model.
type MismatchError struct {
	File   string
	Reason string // the key and both shapes, or the counts
	Fits   string // the known base that the file fits, if any
}

func (e *MismatchError) Error() string {
	s := fmt.Sprintf("%s was made for another base model: %s", e.File, e.Reason)
	if e.Fits != "" {
		s += fmt.Sprintf("; it fits %s", e.Fits)
	}
	return s
}

// UnsupportedError says that a file uses algorithms that are not implemented.
// Ignoring them would change the picture, so the file is refused.
type UnsupportedError struct {
	File    string
	Modules map[string]int // algorithm → number of its layers
}

func (e *UnsupportedError) Error() string {
	var list []string
	for _, name := range sorted(e.Modules) {
		list = append(list, fmt.Sprintf("unsupported algorithm %s in %d modules", name, e.Modules[name]))
	}
	return fmt.Sprintf("%s: %s", e.File, strings.Join(list, ", "))
}

// FileError says what is wrong with a file.
type FileError struct {
	File, Reason string
}

func (e *FileError) Error() string { return e.File + ": " + e.Reason }

// shorten keeps a hostile key from filling a message.
func shorten(key string) string {
	if len(key) > 200 {
		return key[:200] + "…"
	}
	return key
}

// UnusedNote says for a log which of the file's keys found no layer, the first
// twenty by name; empty where all did.
func (s *Set) UnusedNote() string {
	const most = 20
	n := len(s.Unused)
	if n == 0 {
		return ""
	}
	var list []string
	for _, k := range s.Unused[:min(most, n)] {
		list = append(list, fmt.Sprintf("%q", shorten(k)))
	}
	note := fmt.Sprintf("%s fit nothing in this base model and are not used: %s", counted(n, "key"), strings.Join(list, ", "))
	if n == 1 {
		note = fmt.Sprintf("1 key fits nothing in this base model and is not used: %s", list[0])
	}
	if n > most {
		note += fmt.Sprintf(" and %d more, which lowrank inspect lists", n-most)
	}
	return note
}

// some lists the first few of many names.
func some(names []string) string {
	const most = 5
	var list []string
	for _, n := range names[:min(most, len(names))] {
		list = append(list, fmt.Sprintf("%q", shorten(n)))
	}
	s := strings.Join(list, ", ")
	if n := len(names) - most; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}
