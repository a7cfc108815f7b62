package main

import (
	"fmt"
	"strconv"
	"strings"
)

// parseSize reads "512x768" (width by height) or "512" (both).
func parseSize(s string) (width, height int, err error) {
	w, h, both := strings.Cut(strings.ToLower(s), "x")
	if !both {
		h = w
	}
	if width, err = strconv.Atoi(w); err == nil {
		height, err = strconv.Atoi(h)
	}
	if err != nil || width <= 0 || height <= 0 {
		return 0, 0, fmt.Errorf("--size %q: write it as WIDTHxHEIGHT, such as 512x768", s)
	}
	return width, height, nil
}
