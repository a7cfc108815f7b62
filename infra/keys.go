package infra

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// CheckKey says whether key can be a blob's key: 1 to MaxKey bytes of UTF-8
// without control characters, in segments divided by single slashes, none of
// them empty, "." or ".." (HTTP clients fold those away before they sign or send).
func CheckKey(key string) error {
	bad := func(why string) error {
		return &Error{Op: "blob key", Kind: ErrInvalid, Err: fmt.Errorf("%s", why)}
	}
	switch {
	case key == "":
		return bad("it is empty")
	case len(key) > MaxKey:
		return bad(fmt.Sprintf("%d bytes, the limit is %d", len(key), MaxKey))
	case !utf8.ValidString(key):
		return bad("not UTF-8")
	}
	for _, r := range key {
		if r < 0x20 || r == 0x7f {
			return bad(fmt.Sprintf("control character %#x", r))
		}
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return bad("an empty, \".\" or \"..\" segment")
		}
	}
	return nil
}

// CheckMetadata says whether m can be a blob's metadata, as PutOptions describes it.
func CheckMetadata(m map[string]string) error {
	size := 0
	for name, value := range m {
		size += len(name) + len(value)
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return &Error{Op: "blob metadata", Kind: ErrInvalid, Err: fmt.Errorf("name %q: only a-z, 0-9 and - are allowed", name)}
		}
		for i := range len(value) {
			if value[i] < 0x20 || value[i] > 0x7e {
				return &Error{Op: "blob metadata", Kind: ErrInvalid, Err: fmt.Errorf("the value of %q is not printable ASCII", name)}
			}
		}
		if strings.TrimSpace(value) != value {
			return &Error{Op: "blob metadata", Kind: ErrInvalid, Err: fmt.Errorf("the value of %q begins or ends with a space", name)}
		}
	}
	if size > MaxMetadata {
		return &Error{Op: "blob metadata", Kind: ErrTooLarge, Err: fmt.Errorf("%d bytes, the limit is %d", size, MaxMetadata)}
	}
	return nil
}
