package enginetest

import (
	"testing"

	"github.com/lowrank/lowrank/gpurunner/base"
)

// Base opens a base model that is closed when the test ends.
func Base(t testing.TB, ref string) *base.Base {
	t.Helper()
	b, err := base.Open(ref, base.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// Weights opens the weights of one part of a base model, under today's names.
func Weights(t testing.TB, ref, part string) *base.Weights {
	t.Helper()
	w, err := Base(t, ref).Part(part)
	if err != nil {
		t.Fatal(err)
	}
	return w
}
