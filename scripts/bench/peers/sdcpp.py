"""Drawing by stable-diffusion.cpp: one answer a line.

load: a base model's folder in float32. run: a guided picture with Euler's method; when each step ended, and the picture's bytes.
"""
import json
import os
import sys
import time

from stable_diffusion_cpp import StableDiffusion

# The library writes to standard output.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(a):
    print(json.dumps(a), file=answers, flush=True)


model = None
for line in sys.stdin:
    q = json.loads(line)
    if q["op"] == "load":
        model = StableDiffusion(model_path=q["folder"], n_threads=q["threads"], wtype="f32", rng_type="cuda", sampler_rng_type="cuda",
                                vae_decode_only=True, verbose=bool(os.environ.get("BENCH_VERBOSE")), **q["form"])
        answer({"form": ", ".join(q["form"]) or "default"})
    else:
        ends = []
        pictures = model.generate_image(
            prompt=q["prompt"], negative_prompt="", width=q["width"], height=q["height"], cfg_scale=q["guidance"], sample_method="euler",
            scheduler="discrete", sample_steps=q["steps"], seed=q["seed"], progress_callback=lambda step, steps, t: ends.append((step, time.perf_counter())))
        answer({"ends": ends, "picture": list(pictures[0].convert("RGB").tobytes())})
