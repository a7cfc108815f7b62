package train

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"image/png"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/dataset"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

func writeUNet(w io.Writer, r *Result) error { return safetensors.Write(w, r.UNet, nil) }

// feed is a feed over four shapes, or set.
func (x *tiny) feed(o Options, set *dataset.Set) (*feed, func()) {
	x.t.Helper()
	words, err := newPlaceholders(x.model, o, source{o.Seed})
	if err != nil {
		x.t.Fatal(err)
	}
	if set == nil {
		set = shapes(4, o.Resolution, false)
	}
	var class *dataset.Set
	if o.ClassPrompt != "" {
		class = shapes(3, o.Resolution, false)
	}
	f, err := newFeed(x.model, words, o, set, class)
	if err != nil {
		x.t.Fatal(err)
	}
	return f, f.release
}

func samplesOf(t *testing.T, f *feed, p Phase, step int) []sample {
	t.Helper()
	s, err := f.samples(p, step)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// prompts are the prompts of the first steps.
func (x *tiny) prompts(steps int, change func(o *Options)) []string {
	o := x.options()
	change(&o)
	f, release := x.feed(o, nil)
	defer release()
	var out []string
	for step := range steps {
		for _, s := range samplesOf(x.t, f, Tuning, step) {
			out = append(out, s.prompt)
		}
	}
	return out
}

func TestPrompts(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	for _, template := range []string{"object", "style"} {
		got := x.prompts(200, func(o *Options) { o.UseTemplate = template })
		sentences := dataset.Template(template).Sentences()
		used := map[string]bool{}
		for _, p := range got {
			if !slices.ContainsFunc(sentences, func(s string) bool { return dataset.Fill(s, "<s1><s2>") == p }) {
				t.Fatalf("%s: the prompt %q is no sentence of the template", template, p)
			}
			used[p] = true
		}
		if len(used) < 15 {
			t.Errorf("%s: only %d sentences in 200 steps", template, len(used))
		}
	}
	own := x.prompts(4, func(o *Options) { o.UseTemplate = "none" })
	slices.Sort(own)
	if got := strings.Join(own, "; "); got != "a disc number 1; a disc number 2; a disc number 3; a disc number 4" {
		t.Errorf("none: got %s", got)
	}
	for _, p := range x.prompts(4, func(o *Options) { o.UseTemplate, o.PlaceholderTokenAtData = "none", "disc|<s1><s2>" }) {
		if !strings.HasPrefix(p, "a <s1><s2> number ") {
			t.Errorf("placeholder_token_at_data: got %q", p)
		}
	}
	for _, p := range x.prompts(4, func(o *Options) { o.UseTemplate, o.CaptionPattern = "none", "{} in the style of {concept}" }) {
		if !strings.HasPrefix(p, "a disc number ") || !strings.HasSuffix(p, " in the style of <s1><s2>") {
			t.Errorf("caption_pattern: got %q", p)
		}
	}
}

// TestCaptionsWithoutTokens: captions that lack the tokens are noted.
func TestCaptionsWithoutTokens(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	o := x.options()
	o.UseTemplate = "none"
	job := x.job(o)
	var notes []string
	job.Log = func(format string, args ...any) { notes = append(notes, format) }
	x.run(job)
	if len(notes) != 1 || !strings.Contains(notes[0], "none of the tokens") {
		t.Errorf("got notes %q", notes)
	}
}

func TestViews(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	look := func(jitter, flip, cached bool) (changed, flipped int) {
		o := x.options()
		o.ColorJitter, o.HorizontalFlip, o.CachedLatents = jitter, flip, cached
		f, release := x.feed(o, nil)
		defer release()
		for step := range 100 {
			for _, s := range samplesOf(t, f, Tuning, step) {
				pic := s.look.Image
				if s.look.Flipped {
					flipped++
					pic = pic.Flip()
				}
				if !slices.Equal(pic.Pix, s.picture.Image.Pix) {
					changed++
				}
			}
		}
		return changed, flipped
	}
	if c, f := look(false, false, false); c != 0 || f != 0 {
		t.Errorf("neither: %d changed, %d mirrored", c, f)
	}
	if c, f := look(true, false, false); c < 95 || f != 0 {
		t.Errorf("color_jitter: %d changed, %d mirrored", c, f)
	}
	if c, f := look(false, true, false); c != 0 || f < 30 || f > 70 {
		t.Errorf("h_flip: %d changed, %d of 100 mirrored", c, f)
	}
	if c, _ := look(true, true, true); c != 0 {
		t.Errorf("cached_latents: %d changed in spite of it", c)
	}
}

func TestTimesteps(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	o := x.options()
	o.TimestepLimit = 0.5
	f, release := x.feed(o, nil)
	defer release()
	top := map[Phase]int{}
	for _, p := range []Phase{Inversion, Tuning} {
		for step := range 400 {
			for _, v := range f.timesteps(p, step, 1) {
				if v < 0 || v > 999 {
					t.Fatalf("timestep %d", v)
				}
				top[p] = max(top[p], v)
			}
		}
	}
	if top[Inversion] < 950 || top[Tuning] >= 500 || top[Tuning] < 470 {
		t.Errorf("the largest timesteps are %d in the inversion and %d in the tuning; want all, and half", top[Inversion], top[Tuning])
	}
	if Advanced().TimestepLimit != 0.8 {
		t.Error("the tuning draws below 0.8 of the timesteps, as the original does")
	}
}

func TestNoiseOffset(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	spread := func(offset float64) float64 {
		o := x.options()
		o.NoiseOffset = offset
		f, release := x.feed(o, nil)
		defer release()
		sum := 0.0
		for step := range 50 {
			n := f.noise(Tuning, step, 1, 8, 8, 4)
			v := n.Float32()
			n.Release()
			for c := range 4 {
				mean := 0.0
				for i := c; i < len(v); i += 4 {
					mean += float64(v[i])
				}
				sum += mean / 64 * mean / 64
			}
		}
		return math.Sqrt(sum / 200)
	}
	// The mean of 64 normal numbers deviates by 1/8; the offset adds its own.
	plain, offset := spread(0), spread(0.5)
	if math.Abs(plain-0.125) > 0.03 || math.Abs(offset-math.Hypot(0.125, 0.5)) > 0.08 {
		t.Errorf("channel means deviate by %v, and %v with an offset of 0.5", plain, offset)
	}
}

func TestMasks(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	o := x.options()
	set := shapes(4, 32, true)
	set.Pictures[1].Mask = nil
	f, release := x.feed(o, set)
	defer release()
	for step := range 4 {
		b, err := f.batch(context.Background(), Tuning, step)
		if err != nil {
			t.Fatal(err)
		}
		if has := b.Mask != nil; has != (samplesOf(t, f, Tuning, step)[0].index != 1) {
			t.Errorf("step %d: mask %v", step, has)
		}
		if b.Mask != nil {
			v := b.Mask.Float32()
			if slices.Max(v) != 1 || math.Abs(float64(slices.Min(v))-0.51/1.51) > 1e-6 {
				t.Errorf("weights from %v to %v, want 0.51/1.51 to 1", slices.Min(v), slices.Max(v))
			}
		}
		b.Release()
	}

	mask := make([]uint8, 32*32)
	for i := range mask {
		if i%32 < 8 {
			mask[i] = 255
		}
	}
	soft := latentMasks([][]uint8{mask}, 32, 32, 8, 1, false)
	hard := latentMasks([][]uint8{mask}, 32, 32, 8, 3, false)
	none := latentMasks([][]uint8{mask}, 32, 32, 8, 0, false)
	if !(hard[1] < soft[1]) || hard[0] != 1 || slices.Min(none) != 1 {
		t.Errorf("mask_temperature: outside %v at 1, %v at 3, %v at 0", soft[1], hard[1], none[1])
	}
	sum := 0.0
	for _, v := range latentMasks([][]uint8{mask}, 32, 32, 8, 2, true) {
		sum += float64(v) * float64(v)
	}
	if math.Abs(sum-16) > 1e-4 {
		t.Errorf("normalize_mask: the squares sum to %v over 16 elements", sum)
	}
}

func TestCachedLatents(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	o := x.options()
	o.CachedLatents, o.HorizontalFlip = true, false
	f, release := x.feed(o, nil)
	defer release()
	for step := range 12 {
		b, err := f.batch(context.Background(), Tuning, step)
		if err != nil {
			t.Fatal(err)
		}
		b.Release()
	}
	if len(f.cache) != 4 {
		t.Errorf("%d pictures were encoded, want each of 4 once", len(f.cache))
	}
}

func TestPriorPreservation(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	o := x.options()
	o.TrainBatchSize, o.ClassData, o.ClassPrompt, o.PriorLossWeight = 2, "class.zip", "a photo of a disc", 0.5
	f, release := x.feed(o, nil)
	defer release()
	s := samplesOf(t, f, Tuning, 0)
	if len(s) != 4 || s[2].prompt != "a photo of a disc" || s[3].set != f.class || s[0].set != f.data {
		t.Fatalf("a batch of %d", len(s))
	}
	if s[0].weight != 2 || s[2].weight != 1 {
		t.Errorf("weights %v and %v; each half is to count as its own mean, the class's by prior_loss_weight", s[0].weight, s[2].weight)
	}
	if n := len(samplesOf(t, f, Inversion, 0)); n != 2 {
		t.Errorf("%d pictures in the inversion, which the class has no part in", n)
	}
	job := x.job(o)
	job.Class = f.class
	x.run(job)

	// With pictures of another bucket every batch still has its class pictures.
	wide := shapes(2, o.Resolution, false)
	for i := range wide.Pictures {
		wide.Pictures[i].Image = imageops.New(48, 24)
	}
	g, releaseWide := x.feed(o, wide)
	defer releaseWide()
	for step := range 3 {
		s := samplesOf(t, g, Tuning, step)
		if len(s) != 4 || s[2].set != g.class || s[2].picture.Size() != (dataset.Size{W: 48, H: 24}) || s[2].look.Image.Width != 48 {
			t.Fatalf("step %d: %d pictures, the class's of %v", step, len(s), s[len(s)-1].picture.Size())
		}
	}
	job = x.job(o)
	job.Data, job.Class, job.Options.CachedLatents = wide, g.class, true
	x.run(job)
}

// TestResolution: pictures are cropped to it, and latents are an eighth of it;
// masks of faces are made where they are asked for.
func TestResolution(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	var zipped bytes.Buffer
	z := zip.NewWriter(&zipped)
	w, err := z.Create("a.png")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(png.Encode(w, shapes(1, 100, false).Pictures[0].Image.Image()), z.Close()); err != nil {
		t.Fatal(err)
	}
	for _, side := range []int{32, 48} {
		o := x.options()
		o.Resolution, o.UseFaceSegmentationCondition = side, true
		set, err := dataset.LoadZip(context.Background(), bytes.NewReader(zipped.Bytes()), int64(zipped.Len()), o.LoadOptions(8))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(set.Notes, "; "), "no face was found") {
			t.Errorf("use_face_segmentation_condition: nobody looked for a face, notes %q", set.Notes)
		}
		f, release := x.feed(o, set)
		b, err := f.batch(context.Background(), Tuning, 0)
		if err != nil {
			t.Fatal(err)
		}
		if s := b.Latents.Shape; s[1] != side/8 || s[2] != side/8 {
			t.Errorf("resolution %d: latents %v", side, s)
		}
		b.Release()
		release()
	}
}

func TestAspectBuckets(t *testing.T) {
	o := Advanced()
	o.AspectBuckets, o.Resolution = true, 64
	d := o.LoadOptions(16)
	if len(d.Buckets) < 3 || d.Buckets[0] != (dataset.Size{W: 64, H: 64}) {
		t.Fatalf("buckets %v", d.Buckets)
	}
	for _, b := range d.Buckets {
		if b.W%16 != 0 || b.H%16 != 0 || b.W*b.H > 64*64 {
			t.Errorf("bucket %v", b)
		}
	}
	if o.AspectBuckets = false; o.LoadOptions(16).Buckets != nil {
		t.Error("buckets without being asked for")
	}
	// A picture of another shape trains at its own.
	x := newTiny(t, "sd15-tiny")
	job := x.job(x.options())
	wide := imageops.New(48, 24)
	job.Data.Pictures[0].Image = wide
	x.run(job)
}

func TestValidation(t *testing.T) {
	x := newTiny(t, "sd15-tiny")
	r := x.train(func(o *Options) {
		o.ValidationImages, o.ValidationEvery, o.MaxTrainStepsTI, o.MaxTrainStepsTuning, o.LearningRateUNet = 1, 3, 0, 7, 0.01
	})
	var at []int
	for _, p := range r.Curve {
		if p.Validated {
			at = append(at, p.Step+1)
		}
	}
	if !slices.Equal(at, []int{3, 6, 7}) {
		t.Errorf("measured after steps %v, want 3, 6 and the last", at)
	}
	if r.Curve[2].Validation == r.Curve[5].Validation {
		t.Error("training did not change the validation loss")
	}
	o := x.options()
	o.ValidationImages = 4
	if _, err := Run(context.Background(), x.job(o)); err == nil {
		t.Error("all pictures were held out")
	}
}

func TestRandomMask(t *testing.T) {
	full, share := 0, 0.0
	const n = 400
	for i := range n {
		mask := randomMask(source{7}.at(Tuning, streamMask, i, 0), 64, 48)
		covered := 0
		for _, v := range mask {
			covered += int(v)
		}
		if covered == 64*48 {
			full++
		}
		if covered == 0 {
			t.Fatal("a mask of nothing")
		}
		share += float64(covered) / (64 * 48) / n
	}
	if full < n/6 || full > n/3 || share < 0.3 || share > 0.8 {
		t.Errorf("%d of %d masks cover everything (want a quarter); %v on average", full, n, share)
	}
}
