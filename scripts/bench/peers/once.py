"""One picture or one tuning step by diffusers, and peft, in a process of its own.

    python once.py draw FOLDER PROMPT SIDE STEPS GUIDANCE START.f32 OUT.png
    python once.py step REQUEST
"""
import json
import os
import sys

import torch

torch.set_num_threads(int(os.environ["BENCH_THREADS"]))


def draw(folder, prompt, side, steps, guidance, start, out):
    import numpy as np
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, safety_checker=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    latents = torch.from_numpy(np.fromfile(start, np.float32)).reshape(1, 4, int(side) // pipe.vae_scale_factor, -1)
    pipe(prompt, height=int(side), width=int(side), num_inference_steps=int(steps), guidance_scale=float(guidance), latents=latents).images[0].save(out)
    print(out, flush=True)


def step(request):
    from tuning import Step

    s = Step(json.loads(request), False, False)
    s.keep = True
    seconds, loss, gradients = s.run()
    stride = max(1, gradients.numel() // 4096)
    print(json.dumps({"seconds": seconds, "loss": loss, "picks": gradients[::stride][:4096].tolist()}), flush=True)


{"draw": draw, "step": step}[sys.argv[1]](*sys.argv[2:])
