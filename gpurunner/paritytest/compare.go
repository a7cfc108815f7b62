package paritytest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
)

// Compare holds got, in the stored tensor's layout, against the output called name, at the tolerance of its class.
func (c *Case) Compare(t testing.TB, name string, got []float32) {
	t.Helper()
	want := c.output(t, name)
	c.compare(t, want, got, c.kind.tolerance(c, name))
}

// CompareNHWC is Compare for a channels-last result: a stored [N,C,H,W] is turned to [N,H,W,C] first, and tensors of lower
// rank are compared as they are.
func (c *Case) CompareNHWC(t testing.TB, name string, got []float32) {
	t.Helper()
	want := c.output(t, name).NHWC()
	c.compare(t, want, got, c.kind.tolerance(c, name))
}

// CompareWithin is Compare at a tolerance of the caller's: for half precision, or a device whose arithmetic
// differs. The reason belongs beside the call.
func (c *Case) CompareWithin(t testing.TB, name string, got []float32, tol Tolerance) {
	t.Helper()
	c.compare(t, c.output(t, name), got, tol)
}

// CompareAllowing is Compare where each element may lie a distance of its own further off. The reason belongs beside
// the call.
func (c *Case) CompareAllowing(t testing.TB, name string, got []float32, further []float64) {
	t.Helper()
	want := c.output(t, name)
	c.compare(t, want, Nearer(want.F32, got, further), c.kind.tolerance(c, name))
}

// Nearer moves each element of got towards want, by a distance of its own at most.
func Nearer(want, got []float32, by []float64) []float32 {
	if len(want) != len(got) || len(by) != len(got) {
		return got
	}
	out := make([]float32, len(got))
	for i, w := range want {
		d := float64(got[i]) - float64(w)
		out[i] = w + float32(math.Copysign(math.Max(math.Abs(d)-by[i], 0), d))
		if math.IsNaN(d) || math.IsInf(d, 0) {
			out[i] = got[i]
		}
	}
	return out
}

// CompareBytes holds a picture or mask against a uint8 output in the stored layout.
func (c *Case) CompareBytes(t testing.TB, name string, got []uint8) {
	t.Helper()
	want := c.output(t, name)
	if want.U8 == nil {
		t.Fatalf("%s: %s is %s, not U8", c.file.path, name, want.DType)
	}
	if message := diffBytes(want, got, c.kind.tolerance(c, name)); message != "" {
		t.Errorf("%s: %s: %s", c.file.path, name, message)
	}
}

// CompareInts holds integers against an int64 output, exactly.
func (c *Case) CompareInts(t testing.TB, name string, got []int64) {
	t.Helper()
	want := c.output(t, name)
	if len(got) != len(want.I64) {
		t.Errorf("%s: %s: got %d integers, want %v", c.file.path, name, len(got), want.Shape)
		return
	}
	for i, w := range want.I64 {
		if got[i] != w {
			t.Errorf("%s: %s%v: got %d, want %d", c.file.path, name, index(want.Shape, i), got[i], w)
			return
		}
	}
}

// CompareNumbers holds got against the number, or list of numbers, at a path of Meta.
func (c *Case) CompareNumbers(t testing.TB, got []float64, path ...string) {
	t.Helper()
	label := strings.Join(path, ".")
	want := c.Numbers(t, path...)
	c.compared["json:"+label] = true
	if len(got) != len(want) {
		t.Errorf("%s: json %s: got %d numbers, want %d", c.file.path, label, len(got), len(want))
		return
	}
	group := 0.0
	for n, p := range c.numbers {
		if p[0] == path[0] {
			for _, v := range c.Numbers(t, c.numbers[n]...) {
				group = math.Max(group, math.Abs(v))
			}
		}
	}
	if message := diff(nil, want, got, c.kind.tolerance(c, label), func() float64 { return group }); message != "" {
		t.Errorf("%s: json %s: %s", c.file.path, label, message)
	}
}

// Numbers returns the number, or list of numbers, at a path of Meta; a missing one fails the test. Indexes of lists
// are written as text.
func (c *Case) Numbers(t testing.TB, path ...string) []float64 {
	t.Helper()
	var v any = c.Meta
	for _, p := range path {
		switch below := v.(type) {
		case map[string]any:
			v = below[p]
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i < 0 || i >= len(below) {
				t.Fatalf("%s: json: no element %q in %v", c.file.path, p, path)
			}
			v = below[i]
		default:
			v = nil
		}
	}
	if n := numbersOf(v); n != nil {
		return n
	}
	t.Fatalf("%s: json: no number at %v", c.file.path, path)
	return nil
}

// numbersOf returns a number or a non-empty list of numbers, else nil.
func numbersOf(v any) []float64 {
	switch v := v.(type) {
	case float64:
		return []float64{v}
	case []any:
		var out []float64
		for _, e := range v {
			f, ok := e.(float64)
			if !ok {
				return nil
			}
			out = append(out, f)
		}
		return out
	}
	return nil
}

// output returns an expected tensor and remembers that it is compared.
func (c *Case) output(t testing.TB, name string) Tensor {
	t.Helper()
	want := c.Tensor(t, name)
	if c.kind.input(name) {
		t.Fatalf("%s: %s is an input, not an output", c.file.path, name)
	}
	c.compared[name] = true
	return want
}

func (c *Case) compare(t testing.TB, want Tensor, got []float32, tol Tolerance) {
	t.Helper()
	if want.F32 == nil && want.Len() > 0 {
		t.Fatalf("%s: %s is %s, not a floating type", c.file.path, want.Name, want.DType)
	}
	if message := diff(want.Shape, want.F32, got, tol, func() float64 { return c.largestGradient(t) }); message != "" {
		t.Errorf("%s: %s: %s", c.file.path, want.Name, message)
	}
}

// largestGradient is the largest absolute value among the file's gradients.
func (c *Case) largestGradient(t testing.TB) float64 {
	t.Helper()
	if c.largest == 0 {
		for _, name := range c.names {
			if strings.HasPrefix(name, "grad.") || strings.Contains(name, ".grad.") {
				for _, v := range c.Tensor(t, name).F32 {
					c.largest = math.Max(c.largest, math.Abs(float64(v)))
				}
			}
		}
	}
	return c.largest
}

// Diff compares two slices of one shape at a tolerance, and says what is wrong, or "". OfLargestGradient needs a
// file and is ignored.
func Diff(shape []int, want, got []float32, tol Tolerance) string {
	return diff(shape, want, got, tol, func() float64 { return 0 })
}

func diff[F float32 | float64](shape []int, want, got []F, tol Tolerance, largest func() float64) string {
	if len(got) != len(want) {
		return fmt.Sprintf("got %d values, want %d of shape %v", len(got), len(want), shape)
	}
	var worst, top, sum, norm float64
	at := 0
	for i, w := range want {
		d := math.Abs(float64(got[i]) - float64(w))
		if math.IsNaN(d) || math.IsInf(d, 0) {
			return fmt.Sprintf("at %v: got %v, want %v", index(shape, i), got[i], w)
		}
		if d > worst {
			worst, at = d, i
		}
		top = math.Max(top, math.Abs(float64(w)))
		sum += d * d
		norm += float64(w) * float64(w)
	}
	switch {
	case worst == 0,
		tol.Rel > 0 && worst <= tol.Rel*top,
		tol.L2Rel > 0 && math.Sqrt(sum) <= tol.L2Rel*math.Sqrt(norm),
		tol.Abs > 0 && worst <= tol.Abs,
		tol.OfLargestGradient > 0 && worst <= tol.OfLargestGradient*largest():
		return ""
	}
	return fmt.Sprintf("beyond %v: max abs %.3g, rel %.3g, L2 rel %.3g; worst at %v: got %v, want %v",
		tol, worst, ratio(worst, top), ratio(math.Sqrt(sum), math.Sqrt(norm)), index(shape, at), got[at], want[at])
}

func diffBytes(want Tensor, got []uint8, tol Tolerance) string {
	if len(got) != len(want.U8) {
		return fmt.Sprintf("got %d values, want shape %v", len(got), want.Shape)
	}
	worst, at, off := 0, 0, 0
	for i, w := range want.U8 {
		d := int(got[i]) - int(w)
		if d < 0 {
			d = -d
		}
		if d > 0 {
			off++
		}
		if d > worst {
			worst, at = d, i
		}
	}
	if worst <= tol.Levels && float64(off) <= tol.Share*float64(len(got)) {
		return ""
	}
	return fmt.Sprintf("beyond %v: %d of %d values differ; worst at %v: got %d, want %d", tol, off, len(got), index(want.Shape, at), got[at], want.U8[at])
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return math.Inf(1)
	}
	return a / b
}

// index turns a flat position into one per dimension.
func index(shape []int, flat int) []int {
	if len(shape) == 0 {
		return []int{flat}
	}
	at := make([]int, len(shape))
	for i := len(shape) - 1; i >= 0; i-- {
		at[i] = flat % shape[i]
		flat /= shape[i]
	}
	return at
}
