"""What should batch norms see? Mixed against fixed batches, live against frozen norms, at equal steps.

    python -m benchmarks.batchnorm --samples PACK [--recipe RECIPE] [--steps 400] [--seeds 1] [--out FOLDER]

A line a variant and seed: the mean of the maps' losses, and all of the validation's figures, over all sources and for
each, on patients held out.
`own_statistics` is the same loss where norms use each image's own statistics in place of the running ones: how far
it lies from the loss is what running statistics cost. A variant that FOLDER knows is not run again, so a stopped
comparison goes on. Without a pack it says so and exits 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from torch import nn

from benchmarks.machine import say, skip
from geryon.train.begin import build
from geryon.train.fit import Where, gather, loop_settings, split_samples
from geryon.train.learner import choose_place
from geryon.train.loop import train
from geryon.train.recipe import Split, read_recipe
from geryon.train.transfer import plan
from geryon.train.validate import Validation

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "geryon-s.yaml"
VARIANTS: dict[str, dict[str, Any]] = {
    "mixed": {"batches": "mixed"},
    "mixed, frozen for the last quarter": {"batches": "mixed", "freeze_norms_after": 0.75},
    "fixed": {"batches": "fixed"},
    "fixed, frozen for the last quarter": {"batches": "fixed", "freeze_norms_after": 0.75},
    "mixed, frozen from the start": {"batches": "mixed", "freeze_norms_after": 0.0},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path)
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop-px", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs") / "batchnorm")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    args = parser.parse_args()
    if args.samples is None or not args.samples.exists():
        skip("batchnorm", "loss on patients held out", "give a pack of samples: --samples PACK")
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seeds):
        for name in args.only:
            done = args.out / f"{name.replace(', ', '-').replace(' ', '_')}-{seed}.json"
            if not done.exists():
                done.write_text(json.dumps(measured(name, seed, args), indent=1), encoding="utf-8")
            told = json.loads(done.read_text(encoding="utf-8"))
            losses = [v for k, v in told["figures"].items() if k.endswith(" loss")]
            size = {"seed": seed, "steps": args.steps, "batch": args.batch, "crop_px": args.crop_px}
            say("batchnorm", f"loss, {name}", value=mean(losses), unit="loss", size=size, **told)
    return 0


def measured(name: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train the variant from ImageNet, with the sources of the recipe that the pack holds, and judge it."""
    recipe, folder = read_recipe(args.recipe), args.out / f"{name.replace(', ', '-').replace(' ', '_')}-{seed}"
    recipe = replace(
        recipe,
        split=Split(validation=0.2, seed=0),
        net=replace(recipe.net, start="imagenet"),
        train=replace(recipe.train, seed=seed),
    )
    samples = gather(recipe, recipe.task_values(), args.out, Where(samples=args.samples), lambda event: None)
    folder.mkdir(exist_ok=True)
    learning, checking = split_samples(samples, recipe, folder, lambda event: None)
    present = {s.source for s in learning}
    settings = loop_settings(recipe, Where())
    settings = replace(
        settings,
        steps=args.steps,
        minutes=0.0,
        batch=args.batch,
        crop_px=args.crop_px,
        ema=0.99,
        best="",
        patience=0,
        epoch_steps=0,
        shares={source: share for source, share in settings.shares.items() if source in present},
        **VARIANTS[name],
    )
    tasks = recipe.task_values()
    losses = {f"{t.name}/{m.name}": m.loss for t in tasks for m in t.maps}
    judge = Validation(samples=checking, losses=losses, device=choose_place(settings).device)
    done = train(
        build(recipe, plan(recipe, None), lambda event: None), learning, losses, settings, out=folder, validate=judge
    )
    return {
        "steps_done": done.step,
        "seconds": round(done.seconds, 1),
        "figures": rounded(done.figures),
        "own_statistics": rounded({k: v for k, v in judge(with_own_statistics(done.network)).items() if " loss" in k}),
    }


def with_own_statistics(network: nn.Module) -> nn.Module:
    """The network with norms that normalise by what they see."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
            module.momentum = 0.0
    return network


def rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}


if __name__ == "__main__":
    sys.exit(main())
