package paritytest

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

// recorder is a testing.TB that keeps what it is told instead of failing.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Helper()       {}
func (r *recorder) Skipped() bool { return false }
func (r *recorder) Failed() bool  { return len(r.said) > 0 }
func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}
func (r *recorder) Logf(string, ...any) {}

// answer gives the stored values themselves.
func answer(t testing.TB, c *Case) {
	for _, name := range c.Names("") {
		if c.kind.input(name) {
			continue
		}
		switch x := c.Tensor(t, name); {
		case x.F32 != nil:
			c.Compare(t, name, x.F32)
		case x.U8 != nil:
			c.CompareBytes(t, name, x.U8)
		default:
			c.CompareInts(t, name, x.I64)
		}
	}
	for _, path := range c.numbers {
		c.CompareNumbers(t, c.Numbers(t, path...), path...)
	}
}

// Every class has cases in every root, every tensor of every file belongs to a case, and each case has something
// to compare and, but for pictures, something given.
func TestEveryClass(t *testing.T) {
	for _, name := range keys(classes) {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			Each(t, name, func(t *testing.T, c *Case) {
				answer(t, c)
				if len(c.compared) == 0 {
					t.Errorf("%s %s has no output", c.Path(), c.Prefix)
				}
			})
		})
	}
}

// The embedded set holds the model of each of its cases.
func TestModelsOfCases(t *testing.T) {
	for _, root := range Roots(t) {
		for _, name := range []string{"clip", "unet", "vae", "pipelines", "pipelines/original"} {
			for _, c := range root.Cases(t, name) {
				if c.Model() == "" {
					t.Errorf("%s %s: no folder of its model", root.Name, c.Name())
				}
			}
		}
	}
}

func TestDone(t *testing.T) {
	c := Roots(t)[0].Cases(t, "vae")[0]
	t.Run("OK", func(t *testing.T) {
		r := &recorder{}
		answer(r, c)
		c.Done(r)
		if len(r.said) > 0 {
			t.Errorf("said %q", r.said)
		}
	})
	t.Run("ErrNotCompared", func(t *testing.T) {
		r := &recorder{}
		delete(c.compared, "out.mean")
		c.Done(r)
		if len(r.said) != 1 || !strings.Contains(r.said[0], "not compared: out.mean") {
			t.Errorf("said %q", r.said)
		}
	})
}

func TestCompareFinds(t *testing.T) {
	c := Roots(t)[0].Cases(t, "vae")[0]
	x := c.Tensor(t, "out.image")
	for _, tc := range []struct {
		name string
		bend func(got []float32) []float32
		want string
	}{
		{"ErrBeyond", func(got []float32) []float32 { got[7] += 1; return got }, "worst at [0 0 0 7]"},
		{"ErrNaN", func(got []float32) []float32 { got[0] = float32(math.NaN()); return got }, "got NaN"},
		{"ErrLength", func(got []float32) []float32 { return got[1:] }, "values, want"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &recorder{}
			c.Compare(r, "out.image", tc.bend(append([]float32(nil), x.F32...)))
			if len(r.said) != 1 || !strings.Contains(r.said[0], tc.want) {
				t.Errorf("said %q, want %q", r.said, tc.want)
			}
		})
	}
}

func TestDiff(t *testing.T) {
	for _, tc := range []struct {
		name      string
		want, got []float32
		tol       Tolerance
		ok        bool
	}{
		{"OKExact", []float32{1, 2}, []float32{1, 2}, Tolerance{}, true},
		{"ErrExact", []float32{1, 2}, []float32{1, 2.0000002}, Tolerance{}, false},
		{"OKRel", []float32{1, 100}, []float32{1.0005, 100}, Tolerance{Rel: 1e-5}, true},
		{"ErrRel", []float32{1, 100}, []float32{1.002, 100}, Tolerance{Rel: 1e-5}, false},
		{"OKL2", []float32{3, 4}, []float32{3, 4.002}, Tolerance{L2Rel: 5e-4}, true},
		{"ErrL2", []float32{3, 4}, []float32{3, 4.003}, Tolerance{L2Rel: 5e-4}, false},
		{"OKAbs", []float32{0}, []float32{1e-6}, Tolerance{Abs: 2e-6}, true},
		{"OKEither", []float32{0}, []float32{1e-6}, Tolerance{Rel: 1e-5, Abs: 2e-6}, true},
		{"ErrInf", []float32{1}, []float32{float32(math.Inf(1))}, Tolerance{Abs: 1}, false},
		{"OKEmpty", nil, nil, Tolerance{}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if message := Diff([]int{len(tc.want)}, tc.want, tc.got, tc.tol); (message == "") != tc.ok {
				t.Errorf("got %q", message)
			}
		})
	}
}

func TestNHWC(t *testing.T) {
	x := Tensor{Name: "x", Shape: []int{1, 2, 1, 3}, F32: []float32{1, 2, 3, 4, 5, 6}}.NHWC()
	if got, want := fmt.Sprint(x.Shape, x.F32), "[1 1 3 2] [1 4 2 5 3 6]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	y := Tensor{Shape: []int{2, 1, 3}, U8: []uint8{1, 2, 3, 4, 5, 6}}
	if got, want := fmt.Sprint(y.NHWC().Shape, y.HWC().U8), "[2 1 3] [1 4 2 5 3 6]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFullSets(t *testing.T) {
	t.Run("ErrMissing", func(t *testing.T) {
		t.Setenv("LOWRANK_PARITY", t.TempDir())
		if _, err := fullSets(); err == nil {
			t.Error("a folder without models/ was taken")
		}
	})
	t.Run("OKList", func(t *testing.T) {
		small, err := smallSet()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("LOWRANK_PARITY", small+string(os.PathListSeparator)+small)
		roots, err := fullSets()
		if err != nil || len(roots) != 2 || roots[0].Name == roots[1].Name {
			t.Errorf("got %v, %v", roots, err)
		}
	})
}
