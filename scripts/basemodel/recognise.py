"""How many of the base model's words are recognisable in what it draws.

Draws every thing by its name and, of all the pictures it learnt from, looks for the nearest to the drawing: recognised when that
is a picture of the thing. Distance is that of the blurred pixels, at the best of 25 small shifts.
"""
import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image

import data
import styles

SHIFTS = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]


def features(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [n,64,64,3], in float [n,3,32,32]: half the size, slightly blurred."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return F.avg_pool2d(F.avg_pool2d(x, 3, 1, 1), 2)


def ranks(drawn: torch.Tensor, known: torch.Tensor, names: list[str], wanted: list[str]) -> list[int]:
    """For each drawing, how many other things have a picture nearer to it than any of what was wanted: things share everyday words."""
    best = torch.full((len(drawn), len(known)), float("inf"))
    for dy, dx in SHIFTS:
        moved = torch.roll(known, (dy, dx), (2, 3))
        best = torch.minimum(best, torch.cdist(drawn.flatten(1), moved.flatten(1)))
    out = []
    for row, name in zip(best, wanted):
        own = min(d for d, n in zip(row.tolist(), names) if name in (n, data.ALIASES.get(n)))
        out.append(len({n for d, n in zip(row.tolist(), names) if d < own}))
    return out


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--node-modules", type=Path, required=True)
    args.add_argument("--model", type=Path, required=True, help="the diffusers folder")
    args.add_argument("--device", default="cpu")
    args.add_argument("--seed", type=int, default=0)
    args.add_argument("--looks", default="white", help="comma-separated: white or names of styles")
    args.add_argument("--every", type=int, default=1, help="draw one thing of so many")
    args.add_argument("--steps", type=int, default=20)
    args.add_argument("--sheet", type=Path, help="write the drawings as one picture")
    args = args.parse_args()

    pipe = StableDiffusionPipeline.from_pretrained(args.model, torch_dtype=torch.float32).to(args.device)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    records = data.pictures(args.node_modules)
    names = [r["label"] for r in records]
    things = sorted(set(names))[::args.every]
    for look in args.looks.split(","):
        known = features(np.stack([data.on(r["rgba"], data.BACKGROUNDS["white"]) if look == "white" else styles.styled(r["rgba"], look)
                                   for r in records]))
        prompts = [data.article(n) + ("" if look == "white" else f" in the style of {look}") for n in things]
        drawn = []
        for i in range(0, len(prompts), 16):
            part = prompts[i:i + 16]
            generators = [torch.Generator().manual_seed(args.seed + i + k) for k in range(len(part))]
            images = pipe(part, height=64, width=64, num_inference_steps=args.steps, guidance_scale=4.5, generator=generators, output_type="np").images
            drawn.append((np.clip(images, 0, 1) * 255).round().astype(np.uint8))
        drawn = np.concatenate(drawn)
        rank = ranks(features(drawn), known, names, things)
        print(f"{look}: nearest {sum(r == 0 for r in rank)} of {len(things)}, among five {sum(r < 5 for r in rank)}")
        print("  not first:", ", ".join(n for n, r in zip(things, rank) if r > 0), flush=True)
        if args.sheet:
            wide = 24
            rows = -(-len(drawn) // wide)
            sheet = Image.new("RGB", (wide * 66, rows * 66), "white")
            for i, picture in enumerate(drawn):
                sheet.paste(Image.fromarray(picture), (i % wide * 66, i // wide * 66))
            sheet.save(args.sheet if look == "white" else args.sheet.with_stem(f"{args.sheet.stem}-{look.replace(' ', '-')}"))


if __name__ == "__main__":
    main()
