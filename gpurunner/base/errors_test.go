package base_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// copyOfEmbedded is the embedded folder on disk, to break.
func copyOfEmbedded(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, embedded.FS()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFolderErrors(t *testing.T) {
	remove := func(path string) func(string) error {
		return func(dir string) error { return os.RemoveAll(filepath.Join(dir, path)) }
	}
	write := func(path, text string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644) }
	}
	edit := func(path, key string, value any) func(string) error {
		return func(dir string) error {
			p := filepath.Join(dir, path)
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			m := map[string]any{}
			if err := json.Unmarshal(text, &m); err != nil {
				return err
			}
			m[key] = value
			if text, err = json.Marshal(m); err != nil {
				return err
			}
			return os.WriteFile(p, text, 0o644)
		}
	}
	const unet = "unet/diffusion_pytorch_model.safetensors"
	for _, c := range []struct {
		name   string
		breaks func(dir string) error
		want   string
	}{
		{"ErrNoUNet", remove("unet"), "unet/config.json is missing; a diffusers folder has"},
		{"ErrNoScheduler", remove("scheduler"), "scheduler/scheduler_config.json is missing"},
		{"ErrNoWeights", remove(unet), "unet has no weights (diffusion_pytorch_model.safetensors or diffusion_pytorch_model.fp16.safetensors)"},
		{"ErrPickle", func(dir string) error {
			return os.Rename(filepath.Join(dir, unet), filepath.Join(dir, "unet/diffusion_pytorch_model.bin"))
		}, "is a pickle, and only safetensors is read"},
		{"ErrConfigNotJSON", write("unet/config.json", "{"), "unet/config.json: unexpected end"},
		{"ErrChannels", edit("unet/config.json", "in_channels", 8), "in_channels is 8; with 4 latent channels it must be 4, or 9 for inpainting"},
		{"ErrClass", edit("unet/config.json", "_class_name", "UNet3D"), `_class_name is "UNet3D"`},
		{"ErrSchedulerClass", edit("scheduler/scheduler_config.json", "_class_name", "NoSuchScheduler"), `scheduler/scheduler_config.json: _class_name is "NoSuchScheduler"`},
		{"ErrIndexNotJSON", write("model_index.json", "{"), "model_index.json: unexpected end"},
		{"ErrIndexNoObject", write("model_index.json", "[]"), "model_index.json: json: cannot unmarshal array"},
		{"ErrRefiner", edit("unet/config.json", "addition_embed_type", "text_time"), "there is no text_encoder_2"},
		{"ErrPrediction", edit("lowrank.json", "prediction_type", "v_prediction"), `lowrank.json: prediction_type is "v_prediction", but the model's`},
		{"ErrKind", edit("lowrank.json", "kind", "sd1-inpaint"), `kind is "sd1-inpaint", but by its configuration the model is "sd1"`},
		{"ErrCard", edit("lowrank.json", "natve_size", 1), "lowrank.json: json: unknown field"},
		{"ErrIndex", func(dir string) error {
			return errors.Join(remove(unet)(dir), write("unet/diffusion_pytorch_model.safetensors.index.json", `{"weight_map": {"a": "../b"}}`)(dir))
		}, `weight "a" lies in "../b", which is no .safetensors file of this folder`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := copyOfEmbedded(t)
			if err := c.breaks(dir); err != nil {
				t.Fatal(err)
			}
			_, err := base.Open(dir, base.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, tensors ...string) string {
		p := filepath.Join(dir, name)
		var entries []safetensors.Entry
		for _, n := range tensors {
			entries = append(entries, safetensors.Entry{Info: safetensors.Info{Name: n, DType: safetensors.U8, Shape: []int{1}}, Data: []byte{0}})
		}
		if err := safetensors.WriteFile(p, entries, nil); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct{ name, ref, want string }{
		{"ErrUnknown", "nobody", `there is no base model "nobody": it is neither a path nor one of emoji-64`},
		{"ErrEmpty", "", "there is no base model"},
		{"ErrCkpt", file("old.ckpt"), "is a pickle, and only safetensors is read"},
		{"ErrOther", file("picture.png"), "neither a diffusers folder nor a .safetensors file"},
		{"ErrXL", file("xl.safetensors", "conditioner.embedders.0.x"), "a single-file checkpoint of SDXL"},
		{"ErrSD2", file("sd2.safetensors", "cond_stage_model.model.x"), "a single-file checkpoint of Stable Diffusion 2.x"},
		{"ErrLoRA", file("lora.safetensors", "lora_unet_x"), "an adapter (LoRA), not a base model"},
		{"ErrNothing", file("nothing.safetensors", "x"), "so no UNet"},
		{"ErrNoVAE", file("novae.safetensors", "model.diffusion_model.x"), "so no autoencoder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := base.Open(c.ref, base.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}

func TestDamagedWeights(t *testing.T) {
	dir := copyOfEmbedded(t)
	p := filepath.Join(dir, "vae/diffusion_pytorch_model.safetensors")
	text, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)-1] ^= 1
	if err := os.WriteFile(p, text, 0o644); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir, base.Options{})
	if err := b.Verify(t.Context()); err == nil || !strings.Contains(err.Error(), "vae/diffusion_pytorch_model.safetensors is damaged") {
		t.Errorf("got %v", err)
	}
}
