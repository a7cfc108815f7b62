package train_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/dataset"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/enginetest"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/likeness"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/paritytest"
	"github.com/lowrank/lowrank/gpurunner/train"
	"github.com/lowrank/lowrank/samples"
)

// learner trains on the embedded base with its card's presets, and draws.
type learner struct {
	t      *testing.T
	base   *base.Base
	model  *diffusion.Model
	layers *lora.Base
}

// subjects are the things that are drawn, one for each of the eight seeds. The
// held-out set shows each, the training set none.
var subjects = []string{"penguin", "pizza", "banana", "bus", "castle", "mushroom", "airplane", "frog"}

// TestLearns trains a style and a mascot, about two minutes on two cores, and
// measures what they do to pictures (package likeness): see the subtests.
func TestLearns(t *testing.T) {
	if !paritytest.Required("learn") {
		t.Skip("two trainings of the embedded base: LOWRANK_REQUIRE=learn runs them")
	}
	pool := enginetest.Pool(t)
	b := enginetest.Base(t, embedded.Name)
	m, err := diffusion.Open(pool, b)
	if err != nil {
		t.Fatal(err)
	}
	l := &learner{t, b, m, generate.Layers(embedded.Name, m)}
	neon, lowie := l.train(train.TaskStyle, samples.NeonSign), l.train(train.TaskObject, samples.Lowie)
	t.Run("Style", func(t *testing.T) { l.style(t, neon) })
	t.Run("Object", func(t *testing.T) { l.object(t, lowie) })
	t.Run("Both", func(t *testing.T) { l.both(t, lora.Mount{Set: neon, Scale: 1}, lora.Mount{Set: lowie, Scale: 1}) })
}

func (l *learner) train(task, name string) *lora.Set {
	l.t.Helper()
	o, err := train.ForCard(task, l.base.Card)
	if err != nil {
		l.t.Fatal(err)
	}
	o.Seed = 7 // the demo's: the sets are those that it makes
	zip, err := samples.Zip(name)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx := context.Background()
	data, err := dataset.LoadZip(ctx, bytes.NewReader(zip), int64(len(zip)), o.LoadOptions(l.base.Card.Training.ResolutionMultiple))
	if err != nil {
		l.t.Fatal(err)
	}
	result, err := train.Run(ctx, train.Job{Model: l.model, Layers: l.layers, Name: name, Options: o, Data: data})
	if err != nil {
		l.t.Fatal(err)
	}
	return result.Set
}

// draw draws prompts[i] with seed i.
func (l *learner) draw(t *testing.T, prompts []string, mounts ...lora.Mount) []*imageops.Picture {
	t.Helper()
	c, err := generate.Mount(l.model, mounts)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	var out []*imageops.Picture
	d := l.base.Card.Drawing
	for i, prompt := range prompts {
		expanded, _, err := c.Expand(prompt)
		if err != nil {
			t.Fatal(err)
		}
		r := generate.Request{Prompt: expanded, Words: c.Words, Seed: uint64(i), Width: d.Width, Height: d.Height, Steps: d.Steps, Guidance: d.Guidance}
		err = generate.Draw(context.Background(), l.model, r, func(_ int, p *imageops.Picture) error {
			out = append(out, p)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// pictures reads a set of samples, by name without extension.
func pictures(t *testing.T, name string) map[string]*imageops.Picture {
	t.Helper()
	set, err := samples.Set(name)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := fs.ReadDir(set, ".")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*imageops.Picture{}
	for _, e := range entries {
		data, err := fs.ReadFile(set, e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if out[strings.TrimSuffix(e.Name(), path.Ext(e.Name()))], err = imageops.Decode(data, imageops.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func styleOf(t *testing.T, p ...*imageops.Picture) *likeness.Style {
	t.Helper()
	s, err := likeness.NewStyle(p...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shapeOf(t *testing.T, p *imageops.Picture) *likeness.Shape {
	t.Helper()
	s, err := likeness.NewShape(p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// values are a map's, in the order of its keys.
func values(m map[string]*imageops.Picture) []*imageops.Picture {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var out []*imageops.Picture
	for _, k := range keys {
		out = append(out, m[k])
	}
	return out
}

// each makes a prompt of every subject.
func each(format string) []string {
	var out []string
	for _, s := range subjects {
		out = append(out, fmt.Sprintf(format, s))
	}
	return out
}

// atLeast counts where a is below b.
func atLeast(t *testing.T, want int, what string, a, b []float64) {
	t.Helper()
	n := 0
	for i := range a {
		if a[i] < b[i] {
			n++
		}
	}
	if t.Logf("%s: %d of %d (%.3g against %.3g)", what, n, len(a), a, b); n < want {
		t.Errorf("%s: %d of %d, want at least %d", what, n, len(a), want)
	}
}

// style: with <1> pictures look more like the held-out neon signs than without,
// and the subject survives: its picture is nearer to the shape of the held-out
// sign of the same subject than the median other subject's picture is.
func (l *learner) style(t *testing.T, neon *lora.Set) {
	held := pictures(t, samples.NeonSignHeldOut)
	look := styleOf(t, values(held)...)
	without := l.draw(t, each("a %s"))
	for _, scale := range []float32{0.5, 1} {
		t.Run(fmt.Sprintf("Scale%v", scale), func(t *testing.T) {
			with := l.draw(t, each("a %s in the style of <1>"), lora.Mount{Set: neon, Scale: scale})
			var near, far, own, others []float64
			for i, s := range subjects {
				near, far = append(near, look.Distance(styleOf(t, with[i]))), append(far, look.Distance(styleOf(t, without[i])))
				want := shapeOf(t, held[s])
				var rest []float64
				for j := range subjects {
					if d := want.Distance(shapeOf(t, with[j])); j == i {
						own = append(own, d)
					} else {
						rest = append(rest, d)
					}
				}
				slices.Sort(rest)
				others = append(others, rest[len(rest)/2])
			}
			atLeast(t, 7, "nearer to the held-out style", near, far)
			atLeast(t, 6, "nearer to its held-out shape than the median other", own, others)
		})
	}
}

// lowieDistance is how far a picture is from the nearest of the mascot's.
func lowieDistance(t *testing.T, p *imageops.Picture, lowie []*imageops.Picture) float64 {
	t.Helper()
	best := 2.0
	for _, q := range lowie {
		best = min(best, shapeOf(t, p).Distance(shapeOf(t, q)))
	}
	return best
}

// object: pictures of <1> have the mascot's shape and look, those of other
// things have not.
func (l *learner) object(t *testing.T, set *lora.Set) {
	lowie := values(pictures(t, samples.Lowie))
	look := styleOf(t, lowie...)
	with := l.draw(t, slices.Repeat([]string{"a photo of <1>"}, len(subjects)), lora.Mount{Set: set, Scale: 1})
	without := l.draw(t, each("a photo of a %s"))
	var shapeWith, shapeWithout, lookWith, lookWithout []float64
	for i := range with {
		shapeWith, shapeWithout = append(shapeWith, lowieDistance(t, with[i], lowie)), append(shapeWithout, lowieDistance(t, without[i], lowie))
		lookWith, lookWithout = append(lookWith, look.Distance(styleOf(t, with[i]))), append(lookWithout, look.Distance(styleOf(t, without[i])))
	}
	atLeast(t, 7, "nearer to the mascot's shape", shapeWith, shapeWithout)
	atLeast(t, 7, "nearer to the mascot's look", lookWith, lookWithout)
}

// both: the mascot as a neon sign, with the help of the nearest style that the
// base knows, is nearer to neon than the mascot alone and
// neither, and nearer to the mascot than neon alone and neither.
func (l *learner) both(t *testing.T, style, object lora.Mount) {
	held, lowie := values(pictures(t, samples.NeonSignHeldOut)), values(pictures(t, samples.Lowie))
	look := styleOf(t, held...)
	n := len(subjects)
	cases := map[string][]*imageops.Picture{
		"both":    l.draw(t, slices.Repeat([]string{"<2> in the style of blueprint in the style of <1>"}, n), style, object),
		"style":   l.draw(t, each("a %s in the style of <1>"), style),
		"object":  l.draw(t, slices.Repeat([]string{"a photo of <1>"}, n), object),
		"neither": l.draw(t, each("a photo of a %s")),
	}
	looks, shapes := map[string][]float64{}, map[string][]float64{}
	for name, ps := range cases {
		for _, p := range ps {
			looks[name] = append(looks[name], look.Distance(styleOf(t, p)))
			shapes[name] = append(shapes[name], lowieDistance(t, p, lowie))
		}
	}
	atLeast(t, 7, "both nearer to neon than the mascot alone", looks["both"], looks["object"])
	atLeast(t, 7, "both nearer to neon than neither", looks["both"], looks["neither"])
	atLeast(t, 6, "both nearer to the mascot than neon alone", shapes["both"], shapes["style"])
	atLeast(t, 6, "both nearer to the mascot than neither", shapes["both"], shapes["neither"])
}
