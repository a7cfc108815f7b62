package base

import (
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/base/embedded"
)

// someTraits are those of a small SD 1.x.
func someTraits() *traits {
	t := &traits{prediction: "epsilon"}
	t.vae.Channels = []int{4, 8, 8, 8}
	t.unet.SampleSize = 64.0
	return t
}

// cardFaults are cards with one fault each; they are seeds of FuzzCard too.
var cardFaults = []struct{ name, text, want string }{
	{"NotJSON", `nope`, "invalid character"},
	{"Trailing", `{} {}`, "something follows"},
	{"UnknownField", `{"sizes": [64]}`, `unknown field "sizes"`},
	{"KindUnknown", `{"kind": "sd3"}`, `kind is "sd3"; it must be one of [sd1`},
	{"PredictionUnknown", `{"prediction_type": "flow"}`, "it must be epsilon, v_prediction or sample"},
	{"NativeSizeZero", `{"native_size": 0}`, "native_size is 0; it must be from 8"},
	{"SizesEmpty", `{"drawing": {"sizes": []}}`, "drawing.sizes must be a list"},
	{"SizesUnsorted", `{"drawing": {"sizes": [512, 256]}}`, "ascending"},
	{"SizeOdd", `{"drawing": {"sizes": [100, 512]}}`, "drawing.sizes has 100"},
	{"DefaultNotASize", `{"drawing": {"width": 520}}`, "default size 520×512"},
	{"DefaultTooLarge", `{"drawing": {"max_pixels": 1000}}`, "above max_pixels"},
	{"StepsAboveMax", `{"drawing": {"steps": 50, "max_steps": 20}}`, "drawing.steps is 50"},
	{"GuidanceNegative", `{"drawing": {"guidance_scale": -1}}`, "guidance_scale is -1"},
	{"GuidanceText", `{"drawing": {"guidance_scale": "x"}}`, "guidance_scale"},
	{"ResolutionBelowMin", `{"training": {"resolution": 64, "min_resolution": 128}}`, "training.resolution is 64"},
	{"ResolutionNoMultiple", `{"training": {"resolution": 100}}`, "no multiple of 64"},
	{"MultipleZero", `{"training": {"resolution_multiple": 0}}`, "resolution_multiple is 0"},
	{"TaskUnknown", `{"training": {"presets": {"pet": {}}}}`, `the task "pet"`},
	{"PresetList", `{"training": {"presets": {"face": {"lora_rank": [1]}}}}`, "training.presets.face.lora_rank must be"},
	{"HashShort", `{"weights": {"unet/x": "abcd"}}`, `the SHA-256 of "unet/x"`},
	{"HashNotHex", `{"weights": {"unet/x": "` + strings.Repeat("z", 64) + `"}}`, "64 hex digits"},
}

func TestCardErrors(t *testing.T) {
	for _, c := range cardFaults {
		t.Run(c.name, func(t *testing.T) {
			card := defaultCard("x", SD1, someTraits())
			if err := card.apply([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestDefaultCards(t *testing.T) {
	for _, kind := range Kinds() {
		for _, sample := range []any{nil, 64.0, 96.0, 128.0, 16.0} {
			tr := someTraits()
			tr.unet.SampleSize = sample
			c := defaultCard("x", kind, tr)
			if err := c.validate(); err != nil {
				t.Errorf("%s, sample size %v: %v", kind, sample, err)
			}
			if n, ok := sample.(float64); ok && c.NativeSize != 8*int(n) {
				t.Errorf("%s, sample size %v: native size %d", kind, sample, c.NativeSize)
			}
		}
	}
}

func TestCardKeepsWhatItDoesNotName(t *testing.T) {
	c := defaultCard("x", SD1, someTraits())
	err := c.apply([]byte(`{"drawing": {"steps": 20}, "training": {"presets": {"style": {"lora_rank": 32}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Drawing.Steps != 20 || c.Drawing.Guidance != 7.5 || c.Drawing.Width != 512 || c.Training.TuningSteps != 1000 {
		t.Errorf("got %+v", c)
	}
	if p := c.Training.Presets["style"]; p["lora_rank"] != json.Number("32") {
		t.Errorf("preset: got %v", p)
	}
}

func FuzzCard(f *testing.F) {
	for _, c := range cardFaults {
		f.Add([]byte(c.text))
	}
	text, err := fs.ReadFile(embedded.FS(), cardFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		c := defaultCard("x", SD1, someTraits())
		if c.apply(text) != nil {
			return
		}
		if c.Drawing.Width*c.Drawing.Height > c.Drawing.MaxPixels || c.Training.Resolution%c.Training.ResolutionMultiple != 0 || !c.Kind.known() {
			t.Errorf("accepted %+v", c)
		}
	})
}

func FuzzShards(f *testing.F) {
	f.Add([]byte(`{"weight_map": {"a": "x-00001-of-00002.safetensors", "b": "y.safetensors"}}`))
	f.Add([]byte(`{"weight_map": {"a": "../../etc/passwd"}}`))
	f.Add([]byte(`{"weight_map": {"a": ""}}`))
	f.Add([]byte(`{"weight_map": []}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		files, err := shards("unet", "index", text)
		for _, name := range files {
			if rest, ok := strings.CutPrefix(name, "unet/"); err != nil || !ok || strings.ContainsAny(rest, `/\`) || !fs.ValidPath(name) {
				t.Errorf("got %q (%v)", name, err)
			}
		}
	})
}
