"""Networks of a base model's folder by diffusers: one answer a line.

load: a part in a precision, in its best form on this machine: contiguous or channels_last, and in bf16 with bf16 weights or under autocast,
whichever was fastest. run: one evaluation on numbers that both sides make, its seconds, and some of the result's elements.
"""
import contextlib
import json
import sys
import time

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

torch.set_grad_enabled(False)


def numbers(shape, seed):
    """The same numbers as products.go makes, times four: near the spread of latents."""
    i = np.arange(int(np.prod(shape)), dtype=np.uint32) + np.uint32(seed)
    i = (i * np.uint32(2654435761)) ^ (i >> np.uint32(15))
    return torch.from_numpy(((i >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)) * 4).reshape(shape)


class Form:
    def __init__(self, q, last, weights, autocast):
        self.name = ("channels_last" if last else "contiguous") + (", bf16 weights" if weights else ", autocast" if autocast else "")
        kind = UNet2DConditionModel if q["part"] == "unet" else AutoencoderKL
        self.net = kind.from_pretrained(q["folder"], subfolder=q["part"], torch_dtype=torch.bfloat16 if weights else torch.float32).eval()
        if q["part"] == "vae":
            self.net.encoder = None
        if last:
            self.net = self.net.to(memory_format=torch.channels_last)
        dtype = torch.bfloat16 if weights else torch.float32
        x = numbers((q["batch"], q["height"], q["width"], self.channels(q["part"])), 1).permute(0, 3, 1, 2).to(dtype)
        self.x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        if q["part"] == "unet":
            self.text = (numbers((q["batch"], 77, self.net.config.cross_attention_dim), 2) / 2).to(dtype)
        self.context = (lambda: torch.autocast("cpu", torch.bfloat16)) if autocast else contextlib.nullcontext
        self.part = q["part"]

    def channels(self, part):
        return self.net.config.in_channels if part == "unet" else self.net.config.latent_channels

    def run(self):
        begin = time.perf_counter()
        with self.context():
            y = self.net(self.x, 500, self.text).sample if self.part == "unet" else self.net.decode(self.x).sample
        seconds = time.perf_counter() - begin
        return seconds, y.float().permute(0, 2, 3, 1).contiguous().flatten()


form = None
for line in sys.stdin:
    q = json.loads(line)
    if q["op"] == "load":
        torch.set_num_threads(q["threads"])
        best, form = None, None
        modes = [(True, False), (False, True)] if q["precision"] == "bf16" else [(False, False)]
        tried = {}
        for last in (False, True):
            for weights, autocast in modes:
                f = Form(q, last, weights, autocast)
                f.run()
                tried[f.name] = min(f.run()[0] for _ in range(q["tries"]))
                if best is None or tried[f.name] < best:
                    best, form = tried[f.name], f
                f = None
        print(json.dumps({"form": form.name, "tried": tried}), flush=True)
    else:
        seconds = 0
        for _ in range(q["times"]):
            s, y = form.run()
            seconds += s
        stride = max(1, y.numel() // 4096)
        print(json.dumps({"seconds": seconds / q["times"], "picks": y[::stride][:4096].tolist()}), flush=True)
