"""Writes gpurunner/torchfile/testdata: adapters and embeddings as they were kept before safetensors, by torch.save.

    python torchfiles.py ../../gpurunner/torchfile/testdata

The base is microBase of gpurunner/lora's tests: 8 channels, one block each way. Element i of tensor k, counted in a
file in the order of saving, is ((7k + i) mod 23 - 11) / 16.
"""
import os
import sys

import torch

OUT = sys.argv[1]
count = 0


def tensor(*shape, dtype=torch.float16):
    global count
    n = 1
    for d in shape:
        n *= d
    t = ((7 * count + torch.arange(n)) % 23 - 11) / 16
    count += 1
    return t.reshape(shape).to(dtype)


def save(name, value):
    global count
    count = 0
    torch.save(value, os.path.join(OUT, name))


BLOCKS = ["down_blocks.0.attentions.0", "up_blocks.0.attentions.0", "up_blocks.0.attentions.1", "mid_block.attentions.0"]

# cloneofsimo/lora until January 2023: lists up, down, up, down, …
factors = []
for _ in BLOCKS:
    for layer in "qkvogqkvo":  # four of attn1, GEGLU, four of attn2
        factors += [tensor(64 if layer == "g" else 8, 1), tensor(1, 8)]
save("x.pt", factors)
save("x.text_encoder.pt", [tensor(8, 1) if i % 2 == 0 else tensor(1, 8) for i in range(8)])
save("x.ti.pt", {"<s1>": tensor(8, dtype=torch.float32), "<s2>": tensor(8, dtype=torch.float32)})

# diffusers 0.12 to 0.14: pytorch_lora_weights.bin
state = {}
for b in BLOCKS:
    for attn in ("attn1", "attn2"):
        for layer in ("to_q", "to_k", "to_v", "to_out"):
            for factor, shape in (("down", (1, 8)), ("up", (8, 1))):
                state[f"{b}.transformer_blocks.0.{attn}.processor.{layer}_lora.{factor}.weight"] = tensor(*shape, dtype=torch.float32)
save("pytorch_lora_weights.bin", state)

# embeddings: diffusers, AUTOMATIC1111, and AUTOMATIC1111 with a ParameterDict
save("learned_embeds.bin", {"<cat>": tensor(8, dtype=torch.float32)})
a1111 = {"string_to_token": {"*": 265}, "name": "cat", "step": 500, "sd_checkpoint": None}
save("cat.pt", {**a1111, "string_to_param": {"*": tensor(2, 8, dtype=torch.float32).requires_grad_()}})
save("cat-parameters.pt", {**a1111, "string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(tensor(2, 8, dtype=torch.float32))})})

# what else a pickle may hold: views that are not in one piece, every type, nested lists, large numbers
base = tensor(6, 4, dtype=torch.float32)
save("views.pt", {
    "transposed": base.t(), "part": base[1:5:2, 1:3], "whole": base, "none": None, "text": "x", "list": [1, -1, 1 << 40, 2.5, True, (1, 2, 3, 4)],
    "bf16": base.to(torch.bfloat16), "int": torch.tensor([1, -2]), "empty": torch.zeros(0), "scalar": torch.tensor(0.5, dtype=torch.float64),
    "size": base.shape, "other": torch.float32,
})
