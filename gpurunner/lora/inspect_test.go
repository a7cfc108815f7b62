package lora_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

var update = flag.Bool("update", false, "rewrite golden files")

// The report of a file of each layout, as people see it.
func TestInspect(t *testing.T) {
	sd1 := lora.Known()[0]
	xl := lora.Known()[2]
	t.Chdir(t.TempDir())
	for name, w := range map[string]struct {
		set    *lora.Set
		format lora.Format
	}{
		"original.safetensors":  {randomSet(sd1, 2, allTargets(sd1, lora.DefaultTargets)), lora.Cloneofsimo},
		"extended.safetensors":  {randomSet(sd1, 1, allTargets(sd1, lora.ExtendedTargets)), lora.Diffusers},
		"xl-kohya.safetensors":  {randomSet(xl, 1, append(everythingOf(xl, lora.UNet)[:40], xl.Targets(lora.TextEncoder2, "")...)), lora.Kohya},
		"embedding.safetensors": {&lora.Set{Name: "e", Base: sd1, Tokens: randomSet(sd1, 1, nil).Tokens}, lora.Cloneofsimo},
	} {
		if err := lora.WriteFile(name, w.set, w.format); err != nil {
			t.Fatal(err)
		}
	}
	const q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
	for name, entries := range map[string][]safetensors.Entry{
		"unused.safetensors":  {tensor32(q+".lora_down.weight", 2, 320), tensor32(q+".lora_up.weight", 320, 2), tensor32("steer\x1b[31m", 1)},
		"dora.safetensors":    {tensor32(q+".lora_down.weight", 2, 320), tensor32(q+".lora_up.weight", 320, 2), tensor32(q+".dora_scale", 320, 1)},
		"unet.safetensors":    {tensor32("conv_in.weight", 1), tensor32("down_blocks.0.resnets.0.conv1.weight", 1)},
		"vae.safetensors":     {tensor32("encoder.down_blocks.0.resnets.0.conv1.weight", 1), tensor32("decoder.conv_in.weight", 1)},
		"text.safetensors":    {tensor32("text_model.embeddings.token_embedding.weight", 2, 3)},
		"whole.safetensors":   {tensor32("model.diffusion_model.input_blocks.0.0.weight", 1), tensor32("cond_stage_model.x", 1)},
		"control.safetensors": {tensor32("controlnet_cond_embedding.conv_in.weight", 1), tensor32("conv_in.weight", 1), tensor32("down_blocks.0.x", 1)},
		"other.safetensors":   {tensor32("layer.weight", 2, 2), tensor32("layer.bias", 2)},
		"nowhere.safetensors": {tensor32("unet:0:up", 7, 1), tensor32("unet:0:down", 1, 7)},
	} {
		if err := safetensors.WriteFile(name, entries, map[string]string{"ss_output_name": "mine"}); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	files, _ := filepath.Glob("*.safetensors")
	for _, f := range files {
		report, err := lora.Inspect(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := report.Write(&out); err != nil {
			t.Fatal(err)
		}
		out.WriteString("\n")
	}
	if _, err := lora.Inspect("missing.safetensors"); err == nil {
		t.Error("no error for a missing file")
	}
	golden(t, "inspect.txt", out.String())
}

// testdata is found before TestInspect changes the folder.
var testdata, _ = filepath.Abs("testdata")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join(testdata, name)
	if *update {
		if err := os.MkdirAll(testdata, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
