"""A UNet of a base model's folder by OpenVINO: one answer a line, as models.py answers.

load: diffusers' network converted with static shapes and compiled for latency in a precision. run: one evaluation on numbers that both
sides make, its seconds, and some of the result's elements.
"""
import gc
import json
import sys
import time
import warnings

import numpy as np
import openvino as ov
import torch
from diffusers import UNet2DConditionModel

torch.set_grad_enabled(False)
warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)


def numbers(shape, seed):
    """The same numbers as products.go makes, times four: near the spread of latents."""
    i = np.arange(int(np.prod(shape)), dtype=np.uint32) + np.uint32(seed)
    i = (i * np.uint32(2654435761)) ^ (i >> np.uint32(15))
    return (((i >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24) - np.float32(0.5)) * 4).reshape(shape)


class Plain(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, t, text):
        return self.net(x, t, text).sample


def load(q):
    net = UNet2DConditionModel.from_pretrained(q["folder"], subfolder=q["part"], torch_dtype=torch.float32).eval()
    x = np.ascontiguousarray(numbers((q["batch"], q["height"], q["width"], net.config.in_channels), 1).transpose(0, 3, 1, 2))
    text = numbers((q["batch"], 77, net.config.cross_attention_dim), 2) / 2
    inputs = (x, np.array(500.0, np.float32), text)
    model = ov.convert_model(Plain(net), example_input=tuple(torch.from_numpy(v) for v in inputs), input=[v.shape for v in inputs])
    compiled = ov.Core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": q["precision"],
                                                      "INFERENCE_NUM_THREADS": q["threads"]})
    del net, model
    gc.collect()
    return compiled.create_infer_request(), inputs, f'{ov.__version__.split("-")[0]}, static shapes, latency hint'


request = inputs = None
for line in sys.stdin:
    q = json.loads(line)
    if q["op"] == "load":
        request, inputs, form = load(q)
        request.infer(inputs)
        print(json.dumps({"form": form}), flush=True)
    else:
        begin = time.perf_counter()
        for _ in range(q["times"]):
            request.infer(inputs)
        seconds = (time.perf_counter() - begin) / q["times"]
        y = request.get_output_tensor(0).data.transpose(0, 2, 3, 1).ravel()
        stride = max(1, y.size // 4096)
        print(json.dumps({"seconds": seconds, "picks": [float(v) for v in y[::stride][:4096]]}), flush=True)
