"""A tuning step by diffusers and peft: adapters on UNet and text encoder, latents given; one answer a line.

load: a base model's folder and the layers to adapt, in its best form on this machine: contiguous or channels_last, and under autocast
with the frozen weights in float32 or in bf16, whichever was fastest. run: steps, the seconds of one, the last one's loss, and some of its
gradients.
"""
import contextlib
import gc
import json
import sys
import time

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig, inject_adapter_in_model
from transformers import CLIPTextModel


def numbers(shape, seed, scale):
    """The same numbers as products.go makes, times scale."""
    i = np.arange(int(np.prod(shape)), dtype=np.uint32) + np.uint32(seed)
    i = (i * np.uint32(2654435761)) ^ (i >> np.uint32(15))
    return torch.from_numpy(((i >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)) * np.float32(scale)).reshape(shape)


class Step:
    def __init__(self, q, last, weights):
        bf16 = q["precision"] == "bf16"
        self.name = ("channels_last" if last else "contiguous") + (", autocast" if bf16 else "") + (", frozen weights in bf16" if weights else "")
        dtype = torch.bfloat16 if weights else torch.float32
        self.unet = UNet2DConditionModel.from_pretrained(q["folder"], subfolder="unet", torch_dtype=dtype).requires_grad_(False)
        self.text = CLIPTextModel.from_pretrained(q["folder"], subfolder="text_encoder", torch_dtype=dtype).requires_grad_(False)
        names = {"unet": [], "text_encoder": []}
        for layer in q["layers"]:
            part, _, path = layer.partition(".")
            names[part].append(path)
        have = dict(self.text.named_modules())
        names["text_encoder"] = [n if n in have else n.removeprefix("text_model.") for n in names["text_encoder"]]  # as of transformers 5
        self.factors = []
        for part, net in (("unet", self.unet), ("text_encoder", self.text)):
            inject_adapter_in_model(LoraConfig(r=q["rank"], lora_alpha=q["rank"], lora_dropout=0.0, target_modules=names[part]), net)
            net.train()
            modules = dict(net.named_modules())
            for name in names[part]:
                m, at = modules[name], 1000 * (len(self.factors) // 2)
                for factor, p in enumerate((m.lora_B["default"].weight, m.lora_A["default"].weight)):
                    p.data = numbers(p.shape, at + 500 * factor, q["factor_scale"])
                    self.factors.append(p)
        if last:
            self.unet = self.unet.to(memory_format=torch.channels_last)
        shape = (q["batch"], q["height"], q["width"], self.unet.config.in_channels)
        latents, self.noise = (numbers(shape, seed, q["input_scale"]).permute(0, 3, 1, 2).contiguous() for seed in (1, 2))
        self.t = torch.tensor(q["timesteps"])
        self.ids = torch.tensor(q["ids"])
        self.x = DDPMScheduler.from_pretrained(q["folder"], subfolder="scheduler").add_noise(latents, self.noise, self.t)
        if last:
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.factors, lr=q["learning_rate"], betas=(0.9, 0.999), eps=1e-8, weight_decay=q["weight_decay"], fused=True)
        self.context = (lambda: torch.autocast("cpu", torch.bfloat16)) if bf16 else contextlib.nullcontext

    def run(self):
        begin = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        with self.context():
            pred = self.unet(self.x, self.t, self.text(self.ids).last_hidden_state).sample
        loss = torch.nn.functional.mse_loss(pred.float(), self.noise)
        loss.backward()
        gradients = torch._utils._flatten_dense_tensors([p.grad for p in self.factors]) if self.keep else None
        torch.nn.utils.clip_grad_norm_(self.factors, 1.0)
        self.optimizer.step()
        return time.perf_counter() - begin, loss.item(), gradients

    keep = False


if __name__ == "__main__":
    step = None
    for line in sys.stdin:
        q = json.loads(line)
        if q["op"] == "load":
            torch.set_num_threads(q["threads"])
            forms = [(last, weights) for last in (False, True) for weights in ((False, True) if q["precision"] == "bf16" else (False,))]
            best, tried = None, {}
            for form in forms:
                step = Step(q, *form)
                step.run()
                seconds = min(step.run()[0] for _ in range(q["tries"]))
                tried[step.name] = seconds
                if best is None or seconds < best[0]:
                    best = seconds, form
                step = None
                gc.collect()
            step = Step(q, *best[1])  # afresh, so that its updates are the first
            print(json.dumps({"form": step.name, "tried": tried}), flush=True)
        else:
            seconds = 0
            for i in range(q["times"]):
                step.keep = q["picks"]
                s, loss, gradients = step.run()
                seconds += s
            picks = []
            if gradients is not None:
                stride = max(1, gradients.numel() // 4096)
                picks = gradients[::stride][:4096].tolist()
            print(json.dumps({"seconds": seconds / q["times"], "loss": loss, "picks": picks}), flush=True)
