"""Write a folder of real size with random weights, in the layout of the hub's repositories:

    python realsize.py --what sd15|sd21|sdxl --out DIR [--dtype f16|bf16|f32] [--variant fp16] [--seed N]

For the test "every key of a real checkpoint's layout is found, none is left over" and for benchmarks; no weights of
anybody are needed. The names and shapes come from diffusers' and transformers' own classes, built without memory; the
numbers are normal with a spread of 1/sqrt(fan in), so activations stay in range also in half precision. The
tokenizer is CLIP's real one. SD 1.5 takes 2.1 GB of disk in f16, SDXL 6.9 GB, memory is that of one model of the three.
"""
import argparse
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import torch  # noqa: E402

from parity import models, util  # noqa: E402

CLIP_L = {"hidden": 768, "mlp": 3072, "layers": 12, "heads": 12}
CLIP_H = {"hidden": 1024, "mlp": 4096, "layers": 23, "heads": 16}
CLIP_G = {"hidden": 1280, "mlp": 5120, "layers": 32, "heads": 20}
VAE = {"channels": [128, 256, 512, 512], "layers": 2, "groups": 32}
UNET = {
    "sd15": ("sd15", {"channels": [320, 640, 1280, 1280], "layers": 2, "heads": 8, "groups": 32}, 768),
    "sd21": ("sd21", {"channels": [320, 640, 1280, 1280], "layers": 2, "heads": [5, 10, 20, 20], "groups": 32}, 1024),
    "sdxl": ("sdxl", {"channels": [320, 640, 1280], "layers": 2, "heads": [5, 10, 20], "groups": 32, "tlayers": [1, 2, 10],
                      "add_time": 256, "pooled": 1280}, 2048),
}
SIDE = {"sd15": 64, "sd21": 96, "sdxl": 128}
DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}
VOCABULARY = 49408


def weights(model, seed, name, dtype):
    """A state of the model's names and shapes; every parameter from its own stream. The model is on the meta device."""
    norms = {n for n, m in model.named_modules() if isinstance(m, (torch.nn.GroupNorm, torch.nn.LayerNorm))}
    state = {}
    for key, p in model.state_dict().items():
        if not p.is_floating_point():
            continue  # position_ids, which newer classes do not keep in files
        owner, _, leaf = key.rpartition(".")
        z = torch.randn(p.shape, generator=util.gen(seed, name, key))
        if owner in norms:
            z = 1 + 0.15 * z if leaf == "weight" else 0.1 * z
        elif leaf == "bias":
            z = 0.1 * z
        elif "embedding" in key and key.startswith(("embeddings", "text_model.embeddings")):
            z = z * 0.4 / p.shape[1] ** 0.5
        else:
            z = z / p[0].numel() ** 0.5
        state[key] = z.to(dtype)
    return state


class Writer:
    def __init__(self, a):
        self.a, self.out = a, a.out
        self.infix = "." + a.variant if a.variant else ""

    def put(self, part, file, state, config):
        util.save(os.path.join(self.out, part, f"{file}{self.infix}.safetensors"), state)
        util.dump(os.path.join(self.out, part, "config.json"), config)
        print(f"{part}: {sum(v.numel() for v in state.values()) / 1e6:.0f} M numbers in {len(state)} tensors", flush=True)

    def unet(self):
        kind, c, cross = UNET[self.a.what]
        config = dict(models.unet_config(kind, c, cross), sample_size=SIDE[self.a.what])
        with torch.device("meta"):
            m = models.new_unet(config)
        self.put("unet", "diffusion_pytorch_model", weights(m, self.a.seed, "unet", DTYPES[self.a.dtype]), config)

    def vae(self):
        config = dict(models.vae_config(VAE, 0.13025 if self.a.what == "sdxl" else None), sample_size=SIDE[self.a.what] * 8)
        with torch.device("meta"):
            m = models.new_vae(config)
        self.put("vae", "diffusion_pytorch_model", weights(m, self.a.seed, "vae", DTYPES[self.a.dtype]), config)

    def clip(self, part, c, act, proj=None, positions=False):
        arch = "CLIPTextModelWithProjection" if proj else "CLIPTextModel"
        config = models.clip_config(c, VOCABULARY, act, proj, arch)
        with torch.device("meta"):
            m = models.new_clip(config)
        state = {}
        for k, v in weights(m, self.a.seed, part, DTYPES[self.a.dtype]).items():
            state[k if k.startswith(("text_model.", "text_projection.")) else "text_model." + k] = v
        if positions:  # older files on the hub hold them
            state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        self.put(part, "model", state, config)

    def run(self):
        what = self.a.what
        parts = {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
                 "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
        merges = models.real_merges()
        scheduler, index = models.PNDM_SD15, ("StableDiffusionPipeline", "0.6.0", None)
        models.write_tokenizer(os.path.join(self.out, "tokenizer"), merges, pad="!" if what == "sd21" else models.EOS)
        if what == "sdxl":
            scheduler = models.EULER_SDXL
            index = ("StableDiffusionXLPipeline", "0.19.0.dev0", {"force_zeros_for_empty_prompt": True})
            models.write_tokenizer(os.path.join(self.out, "tokenizer_2"), merges, pad="!")
            parts.update(text_encoder_2=["transformers", "CLIPTextModelWithProjection"], tokenizer_2=["transformers", "CLIPTokenizer"])
            self.clip("text_encoder", CLIP_L, "quick_gelu")
            self.clip("text_encoder_2", CLIP_G, "gelu", 1280)
        elif what == "sd21":
            scheduler, index = models.DDIM_SD21, ("StableDiffusionPipeline", "0.10.0", None)
            self.clip("text_encoder", CLIP_H, "gelu")
        else:
            self.clip("text_encoder", CLIP_L, "quick_gelu", positions=True)
        self.vae()
        self.unet()
        util.dump(os.path.join(self.out, "scheduler", "scheduler_config.json"), scheduler)
        parts["scheduler"] = ["diffusers", scheduler["_class_name"]]
        util.dump(os.path.join(self.out, "model_index.json"), models.model_index(parts, *index))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--what", required=True, choices=sorted(UNET))
    ap.add_argument("--out", required=True)
    ap.add_argument("--dtype", default="f16", choices=sorted(DTYPES))
    ap.add_argument("--variant", help="put into the names of the weight files, as in model.fp16.safetensors")
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    util.setup()
    if os.path.exists(os.path.join(a.out, "model_index.json")):
        sys.exit(f"realsize.py: {a.out} holds a model already")
    t = time.time()
    Writer(a).run()
    print(f"{a.what}: {time.time() - t:.0f} s")


if __name__ == "__main__":
    main()
