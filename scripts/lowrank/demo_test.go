package main

import (
	"bytes"
	"flag"
	"image"
	"image/png"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/likeness"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/samples"
	"github.com/lowrank/lowrank/scripts/lowrank/demo"
)

var updateSheet = flag.Bool("update", false, "replace docs/contact-sheet.png by the demo's")

// TestDemo runs the demo and measures the pictures of its sheet as the training tests measure theirs: with the style they look more
// like the held-out signs than without, and keep their subjects; the mascot's have his shape; those of both are nearly as near to
// neon as the style's, and nearer to the mascot.
func TestDemo(t *testing.T) {
	if !paritytest.Required("demo") {
		t.Skip("a minute or two: LOWRANK_REQUIRE=demo runs it")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "lowrank")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	res, err := demo.Run(t.Context(), demo.Options{Binary: binary, Dir: filepath.Join(dir, "demo"), Out: t.Output(), Write: writeFile, Progress: func(string, int, int, int) {}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range res.Parts {
		t.Logf("%s: %.1f s", p.Name, p.Took.Seconds())
	}
	if *updateSheet {
		sheet, err := os.ReadFile(res.Sheet)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("../../docs/contact-sheet.png", sheet, 0o644); err != nil {
			t.Fatal(err)
		}
	}

	neon, lowie := sampleStyle(t, samples.NeonSignHeldOut), sampleShapes(t, samples.Lowie)
	without, style, mascot, both := res.Pictures.Without, res.Pictures.Style, res.Pictures.Mascot, res.Pictures.Both
	if len(style) != 8 || len(without) != 8 || len(mascot) != 8 || len(both) != 8 {
		t.Fatalf("%d, %d, %d, %d pictures, want 8 of each", len(without), len(style), len(mascot), len(both))
	}
	count := func(what string, least int, ok func(i int) bool) {
		t.Helper()
		n := 0
		for i := range 8 {
			if ok(i) {
				n++
			}
		}
		if t.Logf("%s: %d of 8", what, n); n < least {
			t.Errorf("%s: %d of 8, want at least %d", what, n, least)
		}
	}
	toNeon := func(m image.Image) float64 { return neon.Distance(styleOf(t, m)) }
	toLowie := func(m image.Image) float64 {
		s, best := shapeOf(t, m), 2.0
		for _, l := range lowie {
			best = min(best, s.Distance(l))
		}
		return best
	}
	middle := func(all []image.Image, f func(image.Image) float64) float64 {
		var v []float64
		for _, m := range all {
			v = append(v, f(m))
		}
		slices.Sort(v)
		return (v[3] + v[4]) / 2
	}
	count("nearer to the style with the concept than without", 8, func(i int) bool { return toNeon(style[i]) < toNeon(without[i]) })
	count("nearer to its subject drawn without than the median other", 6, func(i int) bool {
		want := shapeOf(t, without[i])
		var others []float64
		for j := range style {
			if j != i {
				others = append(others, want.Distance(shapeOf(t, style[j])))
			}
		}
		slices.Sort(others)
		return want.Distance(shapeOf(t, style[i])) < others[len(others)/2]
	})
	other := middle(without, toLowie)
	count("nearer to the mascot's shape than other things are", 7, func(i int) bool { return toLowie(mascot[i]) < other })
	// Dark alone is no neon: a quarter of the way leaves out the mascot dimmed.
	tubes, alone, neonAlone := middle(style, toNeon), middle(mascot, toNeon), middle(style, toLowie)
	t.Logf("from neon: the style %.1f, the mascot %.1f; both:", tubes, alone)
	for i := range both {
		t.Logf("%d: %.1f from neon, %.2f from the mascot", i, toNeon(both[i]), toLowie(both[i]))
	}
	count("both: at most a quarter of the way from the style to the mascot alone", 7, func(i int) bool { return toNeon(both[i]) < tubes+(alone-tubes)/4 })
	count("both: nearer to the mascot than the style alone", 6, func(i int) bool { return toLowie(both[i]) < neonAlone })
}

// sampled are the pictures of a set of samples.
func sampled(t *testing.T, name string) []*imageops.Picture {
	t.Helper()
	set, err := samples.Set(name)
	if err != nil {
		t.Fatal(err)
	}
	files, err := fs.ReadDir(set, ".")
	if err != nil {
		t.Fatal(err)
	}
	var all []*imageops.Picture
	for _, f := range files {
		data, err := fs.ReadFile(set, f.Name())
		if err != nil {
			t.Fatal(err)
		}
		p, err := imageops.Decode(data, imageops.Options{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

func sampleStyle(t *testing.T, name string) *likeness.Style {
	t.Helper()
	s, err := likeness.NewStyle(sampled(t, name)...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sampleShapes(t *testing.T, name string) []*likeness.Shape {
	t.Helper()
	var all []*likeness.Shape
	for _, p := range sampled(t, name) {
		s, err := likeness.NewShape(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

// picture is what the service drew, as the engine reads pictures.
func picture(t *testing.T, m image.Image) *imageops.Picture {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	p, err := imageops.Decode(b.Bytes(), imageops.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func styleOf(t *testing.T, m image.Image) *likeness.Style {
	t.Helper()
	s, err := likeness.NewStyle(picture(t, m))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shapeOf(t *testing.T, m image.Image) *likeness.Shape {
	t.Helper()
	s, err := likeness.NewShape(picture(t, m))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
