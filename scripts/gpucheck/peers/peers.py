"""The peer of scripts/gpucheck: the same work in PyTorch with diffusers and peft.

    python peers.py MODEL_FOLDER SIZE STEPS RUNS

MODEL_FOLDER holds configurations only; the weights are what the constructors
draw. Each result is a line of JSON. Without torch, a GPU, diffusers or peft it is
one line that says so.
"""

import gc
import json
import pathlib
import statistics
import sys
import time


def absent(why):
    print(json.dumps({"note": f"PyTorch was not compared: {why}."}))
    sys.exit(0)


try:
    import torch
    from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
    from peft import LoraConfig, inject_adapter_in_model
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
except ImportError as e:
    absent(str(e))
if not torch.cuda.is_available():
    absent("torch finds no GPU here")

folder, size, steps, runs = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
dtype = torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float16
name = "bf16" if dtype == torch.bfloat16 else "f16"
xl = (folder / "text_encoder_2").exists()
torch.manual_seed(1)
versions = f"torch {torch.__version__}"


def config(part):
    return json.loads((folder / part / "config.json").read_text())


vocabulary = config("text_encoder")["vocab_size"]


def network(cls, part):
    with torch.device("cuda"):
        return cls.from_config(config(part)).to(dtype).requires_grad_(False)


def text_network(part):
    cls = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
    with torch.device("cuda"):
        return cls(CLIPTextConfig(**config(part))).to(dtype).requires_grad_(False)


def encode(encoders, ids):
    """Context and pooled state, as the pipelines take them."""
    if not xl:
        return encoders[0](ids).last_hidden_state, None
    outs = [e(ids, output_hidden_states=True) for e in encoders]
    return torch.cat([o.hidden_states[-2] for o in outs], dim=-1), outs[1].text_embeds


def extra(pooled, n):
    if not xl:
        return {}
    return {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": torch.tensor([[size, size, 0, 0, size, size]] * n, device="cuda", dtype=dtype)}}


def report(work, side, step, note=""):
    print(json.dumps({"work": work, "side": side, "precision": name, "step_seconds": step, "peak_bytes": torch.cuda.max_memory_allocated(),
                      "note": (note + "; " if note else "") + versions}), flush=True)


def fresh():
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


@torch.no_grad()
def draw(side, compiled):
    fresh()
    unet, vae = network(UNet2DConditionModel, "unet"), network(AutoencoderKL, "vae")
    unet = unet.to(memory_format=torch.channels_last)
    encoders = [text_network(p) for p in (["text_encoder", "text_encoder_2"] if xl else ["text_encoder"])]
    run = torch.compile(unet, mode="reduce-overhead") if compiled else unet
    ids = torch.randint(0, vocabulary, (2, 77), device="cuda")
    scale = config("vae").get("scaling_factor", 0.18215)

    def once(n):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        scheduler = DPMSolverMultistepScheduler.from_config(config("scheduler") if (folder / "scheduler/config.json").exists()
                                                            else json.loads((folder / "scheduler/scheduler_config.json").read_text()))
        scheduler.set_timesteps(n, device="cuda")
        context, pooled = encode(encoders, ids)
        x = torch.randn(1, 4, size // 8, size // 8, device="cuda", dtype=dtype)
        more = extra(pooled, 2)
        for t in scheduler.timesteps:
            out = run(torch.cat([x, x]), t, encoder_hidden_states=context, **more).sample
            low, high = out.chunk(2)
            x = scheduler.step(low + 7.5 * (high - low), t, x).prev_sample
        vae.decode(x / scale).sample.float().cpu()
        return time.perf_counter() - begun

    short = max(steps // 4, 1)
    once(short), once(steps)
    part, whole = zip(*[(once(short), once(steps)) for _ in range(runs)])
    part, whole = statistics.median(part), statistics.median(whole)
    report(f"draw {size}×{size}, guided", side, (whole - part) / max(steps - short, 1), f"{1 / whole:.3f} images/s with {steps} steps, text and decoding too")


def tune(side, batch, compiled):
    fresh()
    unet = network(UNet2DConditionModel, "unet").to(memory_format=torch.channels_last)
    encoders = [text_network(p) for p in (["text_encoder", "text_encoder_2"] if xl else ["text_encoder"])]
    # The layers that lowrank's default targets: attention and GEGLU projections; in the text encoders attention.
    inject_adapter_in_model(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj"]), unet)
    for e in encoders:
        inject_adapter_in_model(LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"]), e)
    trained = [p for m in [unet, *encoders] for p in m.parameters() if p.requires_grad]
    for p in trained:
        p.data = p.data.float()
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)
    run = torch.compile(unet) if compiled else unet
    latents = torch.randn(4, 4, size // 8, size // 8, device="cuda", dtype=dtype)
    times = []
    for i in range(steps + 8):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        pick = torch.randint(0, 4, (batch,), device="cuda")
        noise = torch.randn(batch, 4, size // 8, size // 8, device="cuda", dtype=dtype)
        t = torch.randint(0, 1000, (batch,), device="cuda")
        noisy = latents[pick] + noise
        with torch.autocast("cuda", dtype=dtype):
            context, pooled = encode(encoders, torch.randint(0, vocabulary, (batch, 77), device="cuda"))
            out = run(noisy, t, encoder_hidden_states=context, **extra(pooled, batch)).sample
        loss = torch.nn.functional.mse_loss(out.float(), noise.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        if i >= 8:
            times.append(time.perf_counter() - begun)
    step = statistics.median(times)
    report(f"tuning step, batch {batch}, {size}×{size}", side, step, f"{batch / step:.2f} samples/s")


for compiled in (False, True):
    draw_side = "diffusers" + (" compiled" if compiled else "")
    tune_side = "diffusers + peft" + (" compiled" if compiled else "")
    for work, call in (("draw", lambda: draw(draw_side, compiled)), ("4", lambda: tune(tune_side, 4, compiled)), ("1", lambda: tune(tune_side, 1, compiled))):
        try:
            call()
        except Exception as e:  # one peer that fails leaves the others
            print(json.dumps({"work": work, "side": draw_side if work == "draw" else tune_side, "precision": name, "note": f"failed: {str(e)[:200]}"}), flush=True)
