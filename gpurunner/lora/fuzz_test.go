package lora_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// microBase is as small as a base can be: one block each way, 8 channels.
func microBase(t testing.TB) *lora.Base {
	t.Helper()
	u, err := unet.ParseConfig([]byte(`{"block_out_channels": [8], "layers_per_block": 1, "norm_num_groups": 8, "cross_attention_dim": 8,
		"attention_head_dim": 2, "down_block_types": ["CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D"]}`))
	if err != nil {
		t.Fatal(err)
	}
	return lora.NewBase("micro", u, clip.Config{HiddenSize: 8, IntermediateSize: 16, Layers: 1, Heads: 2, HiddenAct: "gelu"})
}

// described makes a file of lines "key dtype d0 d1 …", and "key = value" for
// metadata. Numbers count up from zero.
func described(text string) (*safetensors.File, bool) {
	var entries []safetensors.Entry
	meta := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		if key, value, ok := strings.Cut(line, " = "); ok {
			meta[key] = value
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		n, shape := 1, []int{}
		for _, f := range fields[2:] {
			d, err := strconv.Atoi(f)
			if err != nil || d < 0 || d > 1<<10 {
				return nil, false
			}
			n *= d
			shape = append(shape, d)
		}
		dtype := safetensors.DType(fields[1])
		if n > 1<<14 || dtype.Size() == 0 {
			return nil, false
		}
		data := make([]byte, n*dtype.Size())
		for i := range data {
			data[i] = byte(i % 60)
		}
		entries = append(entries, safetensors.Entry{Info: safetensors.Info{Name: fields[0], DType: dtype, Shape: shape}, Data: data})
	}
	var out bytes.Buffer
	if safetensors.Write(&out, entries, meta) != nil {
		return nil, false
	}
	f, err := safetensors.OpenBytes("fuzz.safetensors", out.Bytes())
	return f, err == nil
}

// describe is the inverse, for seeds.
func describe(t testing.TB, set *lora.Set, format lora.Format) string {
	t.Helper()
	var out bytes.Buffer
	if err := lora.Write(&out, set, format); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.OpenBytes("seed", out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, i := range f.Tensors() {
		fmt.Fprintf(&text, "%s %s %s\n", i.Name, i.DType, strings.Trim(fmt.Sprint(i.Shape), "[]"))
	}
	for _, k := range sortedKeys(f.Metadata()) {
		fmt.Fprintf(&text, "%s = %s\n", k, f.Metadata()[k])
	}
	return text.String()
}

// survives: any file gives an error, or a set that can be written and read again.
func survives(t *testing.T, base *lora.Base, text string) {
	f, ok := described(text)
	if !ok {
		return
	}
	if set, err := lora.ReadAny(f, base); err == nil && set.Base == nil {
		t.Error("a set without a base")
	}
	set, err := lora.Read(f, base)
	if err != nil {
		return
	}
	for i := range set.Adapters {
		a := &set.Adapters[i]
		if a.Rank < 1 || len(a.Up) != a.Module.Out*a.Rank || len(a.Down)%a.Rank != 0 {
			t.Fatalf("%s has rank %d, %d and %d numbers", a.Module, a.Rank, len(a.Up), len(a.Down))
		}
	}
	for _, format := range lora.Formats {
		var out bytes.Buffer
		if lora.Write(&out, set, format) != nil {
			continue
		}
		g, err := safetensors.OpenBytes("again.safetensors", out.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		again, err := lora.Read(g, base)
		if err != nil {
			t.Fatalf("what was written as %s cannot be read: %v", format, err)
		}
		if format != lora.Cloneofsimo && len(again.Adapters) != len(set.Adapters) || len(again.Unused) > 0 {
			t.Fatalf("%s: %d adapters became %d, unused %q", format, len(set.Adapters), len(again.Adapters), again.Unused)
		}
	}
}

func fuzz(f *testing.F, format lora.Format, faults map[string]string) {
	base := microBase(f)
	if format != "" {
		f.Add(describe(f, randomSet(base, 2, allTargets(base, lora.ExtendedTargets)), format))
		f.Add(describe(f, randomSet(base, 1, base.Targets(lora.UNet, "")), format))
	}
	for _, name := range sortedKeys(faults) {
		f.Add(faults[name])
	}
	f.Fuzz(func(t *testing.T, text string) { survives(t, base, text) })
}

func FuzzCloneofsimo(f *testing.F) {
	fuzz(f, lora.Cloneofsimo, map[string]string{
		"number-too-large":   "unet:999999:up F16 8 1\nunet:999999:down F16 1 8",
		"number-with-zero":   "unet:00:up F16 8 1\nunet:00:down F16 1 8",
		"direction-unknown":  "unet:0:left F16 8 1",
		"gap":                "unet:1:up F16 8 1\nunet:1:down F16 1 8",
		"down-missing":       "unet:0:up F16 8 1",
		"rank-zero":          "unet:0:up F16 8 0\nunet:0:down F16 0 8",
		"second-encoder":     "text_encoder_2:0:up F16 8 1\ntext_encoder_2:0:down F16 1 8",
		"token-of-no-rows":   "<s1> F32 0 8\n<s1> = <embed>",
		"token-second":       "<s1>:text_encoder_2 F32 8",
		"token-named-second": "s1>:text_encoder_2 F32 8",
		"token-like-a-layer": "unet:0:up F32 8\nunet:0:up = <embed>",
	})
}

func FuzzDiffusers(f *testing.F) {
	const q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1."
	fuzz(f, lora.Diffusers, map[string]string{
		"processor":       q + "processor.to_q_lora.down.weight F32 1 8\n" + q + "processor.to_q_lora.up.weight F32 8 1",
		"doubled":         "unet.unet." + q + "to_q.lora.down.weight F32 1 8\nunet.unet." + q + "to_q.lora.up.weight F32 8 1",
		"named-adapter":   "base_model.model." + q + "to_q.lora_A.default.weight F32 1 8\nbase_model.model." + q + "to_q.lora_B.default.weight F32 8 1",
		"prefix-alone":    "unet. F32 1\nunet.unet. F32 1\n.lora_A.weight F32 1 1",
		"dora":            "unet." + q + "to_q.lora_magnitude_vector F32 8",
		"metadata-broken": "unet." + q + "to_q.lora_A.weight F32 1 8\nlora_adapter_metadata = {",
		"alpha-pattern":   "unet." + q + "to_q.lora_A.weight F32 1 8\nunet." + q + `to_q.lora_B.weight F32 8 1` + "\nlora_adapter_metadata = {\"unet.alpha_pattern\":{\"to_q\":1e308},\"unet.use_rslora\":1}",
		"kernel-flat":     "unet.conv_in.lora_A.weight F32 1 4\nunet.conv_in.lora_B.weight F32 8 1",
		"integers":        "unet." + q + "to_q.lora_A.weight I32 1 8\nunet." + q + "to_q.lora_B.weight I32 8 1",
	})
}

func FuzzKohya(f *testing.F) {
	const q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q."
	fuzz(f, lora.Kohya, map[string]string{
		"compvis":       "lora_unet_input_blocks_1_1_proj_in.lora_down.weight F32 1 8 1 1\nlora_unet_input_blocks_1_1_proj_in.lora_up.weight F32 8 1 1 1",
		"alpha-list":    q + "alpha F32 2",
		"alpha-integer": q + "alpha I64\n" + q + "lora_down.weight F32 1 8\n" + q + "lora_up.weight F32 8 1",
		"mid-alone":     q + "lora_mid.weight F32 1 1 1 1",
		"bundle-empty":  "bundle_emb. F32 8\nbundle_emb..x F32 8\nbundle_emb.a F32 8",
		"bundle-joined": "bundle_emb.a.emb_params F32 1 8\nbundle_emb.b.emb_params F32 1 8\nbundle_emb.ab.emb_params F32 2 8",
		"two-names":     q + "lora_down.weight F32 1 8\n" + "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_down.weight F32 1 8",
	})
}

func FuzzLyCORIS(f *testing.F) {
	const q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q."
	const c = "lora_unet_down_blocks_0_resnets_0_conv1."
	fuzz(f, "", map[string]string{
		"loha":           q + "hada_w1_a F32 8 1\n" + q + "hada_w1_b F32 1 8\n" + q + "hada_w2_a F32 8 1\n" + q + "hada_w2_b F32 1 8",
		"loha-half":      q + "hada_w1_a F32 8 1",
		"loha-one-core":  c + "hada_t1 F32 1 1 3 3\n" + c + "hada_w1_a F32 1 8\n" + c + "hada_w1_b F32 1 8\n" + c + "hada_w2_a F32 1 8\n" + c + "hada_w2_b F32 1 8",
		"lokr":           q + "lokr_w1 F32 2 4\n" + q + "lokr_w2_a F32 4 1\n" + q + "lokr_w2_b F32 1 2",
		"lokr-zero":      q + "lokr_w1 F32 0 4\n" + q + "lokr_w2 F32 2 2",
		"lokr-no-factor": q + "lokr_w1 F32 3 3\n" + q + "lokr_w2 F32 2 2",
		"lokr-tucker":    c + "lokr_w1 F32 2 2\n" + c + "lokr_w2_a F32 1 4\n" + c + "lokr_w2_b F32 1 4\n" + c + "lokr_t2 F32 1 1 3 3",
		"full":           c + "diff F32 8 8 3 3",
		"full-bias":      c + "diff F32 8 8 3 3\n" + c + "diff_b F32 8",
		"oft":            q + "oft_blocks F32 1 1 1",
		"mixed":          q + "lora_down.weight F32 1 8\n" + q + "hada_w1_a F32 8 1",
		"tucker":         c + "lora_down.weight F32 1 8 1 1\n" + c + "lora_up.weight F32 8 1 1 1\n" + c + "lora_mid.weight F32 1 1 3 3",
	})
}

func FuzzEmbedding(f *testing.F) {
	fuzz(f, "", map[string]string{
		"kohya":          "emb_params F32 2 8",
		"one-tensor":     "anything F16 8",
		"two-encoders":   "clip_l F32 1 8\nclip_g F32 1 8",
		"second-only":    "clip_g F32 1 8",
		"too-many-rows":  "emb_params F32 76 8",
		"no-dimension":   "<x> F32",
		"three-tokens":   "<a> F32 8\n<b> F32 2 8\n<a><b> F32 3 8",
		"empty-name":     "lora_embeddings. F32 8\n<> F32 8",
		"same-name":      "lora_embeddings.<a> F32 8\n<a> F32 8",
		"string-to-para": "string_to_param.* F32 1 8\nstring_to_param.x F32 1 8",
	})
}

// FuzzRead takes bytes instead: a header that only just holds.
func FuzzRead(f *testing.F) {
	base := microBase(f)
	for _, format := range lora.Formats {
		var out bytes.Buffer
		if err := lora.Write(&out, randomSet(base, 1, base.Targets(lora.TextEncoder, "")), format); err != nil {
			f.Fatal(err)
		}
		f.Add(out.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := safetensors.OpenBytes("fuzz", b)
		if err != nil {
			return
		}
		_, _ = lora.Read(file, base)
	})
}
